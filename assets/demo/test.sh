#!/bin/sh
# test.sh [NAME…]: runs tests/NAME.sh, or all of them. Exit 1 when one fails.
cd "$(dirname "$0")" || exit 1
[ $# -gt 0 ] || set -- $(cd tests && ls | sed 's/\.sh$//')

# same WANT GOT: one assertion.
same() {
	[ "$1" = "$2" ] && return
	printf '    want %s\n    got  %s\n' "$1" "$2"
	bad=1
}

failed=0
for name; do
	bad=0
	. "./tests/$name.sh"
	if [ "$bad" = 0 ]; then
		echo "ok   $name"
	else
		echo "FAIL $name"
		failed=1
	fi
done
exit $failed
