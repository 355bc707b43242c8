package document

import (
	"bytes"
	"cmp"
	"regexp"
	"strings"
)

// headed is Markdown with labelled fields, taken apart by its syntax alone: which labels are fields
// is decided when the kind is known.
type headed struct {
	parts []part
	rest  []string // after the separator: body, whatever it holds
	cut   bool     // a line --- ended the fields
	at    int      // line where rest begins
}

// A part is a label with what belongs to it, or a line of free text with the blank lines after it.
type part struct {
	line   int
	lines  []string // as they stand, for the body
	label  string   // "" for free text
	value  *node    // text on the label's line, nil when there is none
	more   []string // indented lines that go on with the value
	items  []*node  // "- " lines
	behind bool     // stands behind free text
}

var (
	labelLine  = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9]*(?:[-_][A-Za-z0-9]+)*):(?:[ \t]+(.*))?$`)
	itemLine   = regexp.MustCompile(`^([ \t]*)[-*](?:[ \t]+(.*))?$`)
	headLine   = regexp.MustCompile(`^#{1,6}(?:[ \t]|$)`)
	fenceLine  = regexp.MustCompile("^ {0,3}(?:```|~~~)")
	titleLine  = regexp.MustCompile(`^#[ \t]+(.*)$`)
	separators = map[string]bool{"---": true}
)

// readMarkdown reads Markdown with front matter or headed fields.
func readMarkdown(src []byte) ([]*record, *fault) {
	lines := strings.Split(string(src), "\n")
	if strings.TrimRight(lines[0], " \t") == "---" {
		for i, l := range lines[1:] {
			if l = strings.TrimRight(l, " \t"); l == "---" || l == "..." {
				return frontMatter(lines[1:i+1], lines[i+2:], i+3)
			}
		}
	}
	rec := &record{at: place{1, 1}, alone: true}
	first := 0
	for strings.TrimSpace(lines[first]) == "" {
		first++
	}
	rec.at.line = first + 1
	if m := titleLine.FindStringSubmatch(lines[first]); m != nil {
		rec.heading = textAt(first+1, lines[first], m[1])
		first++
	}
	rec.headed = takeApart(lines, first)
	return []*record{rec}, nil
}

// frontMatter reads YAML between two lines ---; what follows is title and body.
func frontMatter(head, rest []string, line int) ([]*record, *fault) {
	src := []byte("\n" + strings.Join(head, "\n") + "\n") // the first line is kept for its number
	rec := &record{at: place{1, 1}, fields: &node{at: place{1, 1}, kind: isObject}, alone: true}
	if len(bytes.TrimSpace(src)) > 0 {
		nodes, f := yamlNodes(src)
		if f != nil {
			return nil, f
		}
		if len(nodes) > 0 && nodes[0].kind != isNull {
			if nodes[0].kind != isObject {
				return nil, &fault{nodes[0].at, "the front matter is " + nodes[0].kind.String() + ", not fields", "write fields and their values, like title: Add tests"}
			}
			rec.fields, rec.at = nodes[0], nodes[0].at
		}
	}
	for len(rest) > 0 && strings.TrimSpace(rest[0]) == "" {
		rest, line = rest[1:], line+1
	}
	if len(rest) > 0 {
		if m := titleLine.FindStringSubmatch(rest[0]); m != nil {
			given := rec.fields.field("title")
			if given == nil || given.kind == isNull || tidy(given.text) == strings.TrimSpace(m[1]) {
				rec.heading = textAt(line, rest[0], m[1])
				rest, line = rest[1:], line+1
			}
		}
	}
	rec.body, rec.bodyAt = strings.Join(rest, "\n"), place{line, 1}
	return []*record{rec}, nil
}

// textAt is the text of a part of a line, with its place.
func textAt(line int, whole, part string) *node {
	return &node{at: place{line, strings.LastIndex(whole, part) + 1}, kind: isText, text: strings.TrimSpace(part)}
}

// takeApart splits lines into labels with their values, free text, and what follows a separator, a
// heading or a code fence, where no labels are looked for.
func takeApart(lines []string, from int) *headed {
	h := &headed{at: len(lines) + 1}
	free := false
	for i := from; i < len(lines); {
		l := lines[i]
		if separators[strings.TrimRight(l, " \t")] {
			h.cut, h.rest, h.at = true, lines[i+1:], i+2
			break
		}
		if headLine.MatchString(l) || fenceLine.MatchString(l) {
			h.rest, h.at = lines[i:], i+1
			break
		}
		m := labelLine.FindStringSubmatch(l)
		if m == nil {
			start := i
			for i == start || i < len(lines) && strings.TrimSpace(lines[i]) == "" {
				i++
			}
			free = free || strings.TrimSpace(l) != ""
			h.parts = append(h.parts, part{line: start + 1, lines: lines[start:i]})
			continue
		}
		p := part{line: i + 1, label: m[1], behind: free}
		if strings.TrimSpace(m[2]) != "" {
			p.value = textAt(i+1, l, m[2])
		}
		end := p.follow(lines, i+1)
		p.lines = lines[i:end]
		h.parts = append(h.parts, p)
		i = end
	}
	return h
}

// follow takes the lines that belong to a label: its value's further lines, then list items. Blank
// lines belong to it only when more of it follows. It returns the index of the first line after it.
func (p *part) follow(lines []string, i int) int {
	start := skipBlank(lines, i)
	if p.value != nil || start == len(lines) || !itemLine.MatchString(lines[start]) {
		i, p.more = indented(lines, i, 2)
		start = i
	}
	indent := -1
	for j := start; j < len(lines); j = skipBlank(lines, j) {
		l := lines[j]
		m := itemLine.FindStringSubmatch(l)
		if m == nil || indent >= 0 && len(m[1]) != indent || separators[strings.TrimRight(l, " \t")] {
			break
		}
		indent = len(m[1])
		item := textAt(j+1, l, m[2])
		var more []string
		j, more = indented(lines, j+1, indent+2)
		item.text = strings.Join(append([]string{item.text}, more...), "\n")
		p.items = append(p.items, item)
		i = j
	}
	return i
}

func skipBlank(lines []string, i int) int {
	for i < len(lines) && strings.TrimSpace(lines[i]) == "" {
		i++
	}
	return i
}

// indented takes the lines from i on that are indented by at least n, without their indentation.
func indented(lines []string, i, n int) (int, []string) {
	var more []string
	for {
		j := skipBlank(lines, i)
		if j == len(lines) || strings.TrimLeft(lines[j][:min(n, len(lines[j]))], " ") != "" {
			return i, more
		}
		for ; i < j; i++ {
			more = append(more, "")
		}
		more = append(more, lines[j][n:])
		i = j + 1
	}
}

// names lists the labels before free text, as field names: what the file says it is.
func (h *headed) names() map[string]*node {
	names := map[string]*node{}
	for _, p := range h.parts {
		if name := unlabel(p.label); p.label != "" && !p.behind && names[name] == nil {
			names[name] = cmp.Or(p.value, &node{at: place{p.line, 1}})
		}
	}
	return names
}
