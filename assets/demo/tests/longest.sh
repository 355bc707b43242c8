same 'three' "$(printf 'one\nthree\nten\n' | sh textkit longest 2>&1)"
same 'three' "$(printf 'one\nthree' | sh textkit longest 2>&1)" # the last line has no line end
same '' "$(printf '' | sh textkit longest 2>&1)"
