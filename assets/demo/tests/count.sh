same 3 "$(printf 'a\nb\nc\n' | sh textkit count)"
same 0 "$(printf '' | sh textkit count)"
