package document

import (
	"strings"
	"unicode"
)

// tidyBody is the normal form of free text: "\n" line ends, no blank lines around it.
func tidyBody(body string) string {
	body = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(body)
	body = strings.TrimRightFunc(body, unicode.IsSpace)
	for {
		first, rest, more := strings.Cut(body, "\n")
		if !more || strings.TrimSpace(first) != "" {
			return body
		}
		body = rest
	}
}
