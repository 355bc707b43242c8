package dispatch

import (
	"fmt"
	"strings"

	"millrace/schema"
)

// A page is a prompt being written.
type page struct {
	strings.Builder
	sections []section
	from     int // where the section that is being written begins
}

// A section is one part of a prompt, for the manifest.
type section struct {
	Title  string        `json:"title"` // "" for the entrypoint, with which it begins
	Bytes  int           `json:"bytes"`
	Digest schema.Digest `json:"digest"`
}

func (p *page) line(format string, args ...any) {
	fmt.Fprintf(&p.Builder, format+"\n", args...)
}

func (p *page) head(title string) {
	p.begin(title)
	p.line("\n## %s\n", title)
}

// begin ends one section and begins the next.
func (p *page) begin(title string) {
	p.end()
	p.sections = append(p.sections, section{Title: title})
}

func (p *page) end() {
	if n := len(p.sections); n > 0 {
		text := p.String()[p.from:]
		p.sections[n-1].Bytes, p.sections[n-1].Digest = len(text), schema.DigestOf([]byte(text))
	}
	p.from = p.Len()
}

// list writes entries until the limit in bytes is reached, and then how many are left out and where they are. Of one that
// would take more than a quarter only the first line is told, so that it leaves room for others.
func (p *page) list(limit int, entries []string, rest string) {
	whole := limit
	for i, text := range entries {
		if first, _, more := strings.Cut(text, "\n"); more && len(text) > whole/4 {
			text = first + " …"
		}
		if limit -= len(text) + 1; limit < 0 {
			p.line("- … and %d more, %s.", len(entries)-i, rest)
			return
		}
		p.line("%s", text)
	}
}

// quote sets text apart with a fence that the text itself does not contain.
func (p *page) quote(text string) {
	f := fence(text)
	p.line("%s\n%s\n%s", f, strings.TrimRight(text, "\n"), f)
}

// fence is one that a text does not contain, or "". Tildes leave the backtick fences of a document as they are.
func fence(text string) string {
	f := "~~~"
	for strings.Contains(text, f) {
		if f += "~"; len(f) > maxFence {
			return ""
		}
	}
	return f
}

// What others have written stands on the page either between fences or within a line: neither can begin a line of its
// own there, be it a heading or an outcome.

// inline is such a text in a line.
func inline(text string, limit int) string { return schema.OneLine(text, limit) }

// code is a path or a command in a line. One that does not fit between backticks as it is, is quoted as a program would.
func code(text string) string {
	plain := inline(text, showMessage)
	if plain == text && !strings.Contains(text, "`") {
		return "`" + text + "`"
	}
	return fmt.Sprintf("%q", strings.ReplaceAll(plain, "`", "'"))
}

func colon(text string) string {
	if text = inline(text, showMessage); text == "" {
		return ""
	}
	return ": " + text
}

func titled(title string) string {
	if title = inline(title, showTitle); title == "" {
		return ""
	}
	return " (" + title + ")"
}
