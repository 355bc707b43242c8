same 'MILL' "$(printf 'mill\n' | sh textkit upper 2>&1)"
same 'A1 B2' "$(printf 'a1 b2' | sh textkit upper 2>&1)"
