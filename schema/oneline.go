package schema

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// OneLine makes one line of at most limit bytes of what somebody else wrote: without control characters, so that it
// neither moves a terminal's cursor nor begins a line of its own where it is shown.
func OneLine(text string, limit int) string {
	if len(text) > 4*limit { // what cannot be shown need not be looked at
		text = text[:4*limit]
	}
	plain := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsGraphic(r), r == utf8.RuneError:
			return -1
		}
		return r
	}, text)
	line := strings.Join(strings.Fields(plain), " ")
	if len(line) <= limit {
		return line
	}
	return strings.TrimRight(strings.ToValidUTF8(line[:limit-len(cutMark)], ""), " ") + cutMark
}

const cutMark = "…"
