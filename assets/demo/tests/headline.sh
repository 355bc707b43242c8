same 'THREE' "$(printf 'one\nthree\n' | sh textkit headline 2>&1)"
