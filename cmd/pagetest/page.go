// Package pagetest does what a page of the documentation tells its reader to do, and holds what is printed against what
// the page says. Only tests import it.
package pagetest

import (
	"regexp"
	"strings"
)

// A Block is a fenced block of a Markdown text with the text before it; the last one has no fence.
type Block struct {
	Before, Fence, Body, Close string
	Section                    string // heading of the second level that it stands under
	Lang                       string // of what it shows: console is typed
	File                       string // the file that it shows; "": none
}

// Blocks cuts a text into its fenced blocks.
func Blocks(text string) []Block {
	var all []Block
	var b Block
	inside, section := false, ""
	for line := range strings.Lines(text) {
		fenced := strings.HasPrefix(line, "```")
		switch {
		case fenced && inside:
			b.Close = line
			all = append(all, b)
			b, inside = Block{}, false
		case fenced:
			b.Fence, b.Section, inside = line, section, true
			lang, args, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "```")), " ")
			b.Lang = lang
			if name, shown := strings.CutPrefix(args, "file="); shown {
				b.File = name
			}
		case inside:
			b.Body += line
		default:
			if heading, ok := strings.CutPrefix(line, "## "); ok {
				section = strings.TrimSpace(heading)
			}
			b.Before += line
		}
	}
	return append(all, b)
}

// Text is the block as it stands on the page.
func (b Block) Text() string { return b.Before + b.Fence + b.Body + b.Close }

// gap is the line that stands for any lines.
const gap = "\n…\n"

// elide keeps the reader's "…": what was printed there stays left out.
func elide(old, got string) string {
	head, tail, cut := strings.Cut("\n"+old, gap)
	if !cut {
		return got
	}
	head = strings.TrimPrefix(head+"\n", "\n")
	lines := strings.SplitAfter(got, "\n")
	first, last := strings.Count(head, "\n"), strings.Count(tail, "\n")
	if first+last > len(lines)-1 {
		return got
	}
	return strings.Join(lines[:first], "") + "…\n" + strings.Join(lines[len(lines)-1-last:], "")
}

// variable is what differs from run to run, and what stands for it.
var variable = []struct {
	form *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`/\S*/(tour|desk|project|millrace-stage|codex|claude|pi)\b`), "PATH"},
	{regexp.MustCompile(`git version \S+`), "GIT"},
	{regexp.MustCompile(`\d+ watches`), "WATCHES"},
	{regexp.MustCompile(`(run|req|daemon)-\d{8}T\d{6}\.\d{3}Z-[0-9a-f]+`), "ID"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d\b`), "TIME"},
	{regexp.MustCompile(`\b[0-9a-f]{12}\b`), "DIGEST"},
	{regexp.MustCompile(`\b(\d+m)?\d+(\.\d+)?(ms|s)\b`), "DURATION"},
	{regexp.MustCompile(`\b(process|daemon) \d+`), "PROCESS"},
	{regexp.MustCompile(`\b\d+ tokens`), "TOKENS"},
	{regexp.MustCompile(`[ \t]+`), " "},
}

func form(text string) string {
	for _, v := range variable {
		text = v.form.ReplaceAllString(text, v.name)
	}
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.Join(lines, "\n")
}

func sameForm(want, got string) bool {
	want, got = "\n"+form(want)+"\n", "\n"+form(got)+"\n"
	head, tail, cut := strings.Cut(want, gap)
	if !cut {
		return want == got
	}
	head, tail = head+"\n", "\n"+tail
	return strings.HasPrefix(got, head) && strings.HasSuffix(got, tail) && len(got) >= len(head)+len(tail)-1
}
