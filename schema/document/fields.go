package document

import (
	"fmt"
	"strings"

	"cuelang.org/go/cue"

	"millrace/schema"
)

// labels turns headed Markdown into fields of a kind, and what is left into the body. Where labels
// are judged strictly, one that nearly is a known one is an error; else it is kept with a warning.
func (c *checker) labels(rec *record, s *shape, idea, strict bool) {
	rec.fields = &node{at: rec.at, kind: isObject}
	var body []string
	free := false
	for _, p := range rec.headed.parts {
		name := unlabel(p.label)
		f := s.field(name)
		switch {
		case p.label == "", idea && (free || f == nil && name != "kind"):
			body = append(body, p.lines...)
			free = free || p.label != "" || strings.TrimSpace(p.lines[0]) != ""
		case name == "kind" && f == nil:
			// the envelope's: read already
		case f == nil:
			body = append(body, p.lines...)
			c.strange(p, s, strict)
		default:
			value, left := c.labelled(p, f)
			body = append(body, left...)
			rec.fields.fields = append(rec.fields.fields, member{place{p.line, 1}, name, value})
		}
	}
	rest := rec.headed.rest
	if rec.headed.cut && idea && free {
		rest = append([]string{"---"}, rest...)
	}
	rec.body = strings.Join(append(body, rest...), "\n")
	rec.bodyAt = place{rec.headed.at, 1}
}

// strange reports a label that is no field.
func (c *checker) strange(p part, s *shape, strict bool) {
	labels := []string{"Kind"}
	for _, f := range s.fields {
		labels = append(labels, f.label)
	}
	near := schema.Nearest(p.label, labels, 2)
	switch at := (place{p.line, 1}); {
	case near != "" && strict:
		c.add(at, p.label, "is not a known label", fmt.Sprintf("did you mean %s? Text that only looks like a label goes below a line ---", near))
	case near != "" && !p.behind:
		c.warn(at, p.label, "is not a known label; the line is kept in the body", fmt.Sprintf("did you mean %s?", near))
	case !p.behind:
		c.warn(at, p.label, "is not a known label; the line is kept in the body", "move it below a line --- if it is text")
	}
}

// labelled reads a label's value as the field's type wants it. Lines that cannot belong to it are
// returned: they are free text.
func (c *checker) labelled(p part, f *fieldShape) (*node, []string) {
	at := place{p.line, len(p.label) + 2}
	text := &node{at: at, kind: isText, text: strings.Join(p.more, "\n")}
	if p.value != nil {
		text.at = p.value.at
		text.text = strings.Join(append([]string{p.value.text}, p.more...), "\n")
	}
	if f.kind != cue.ListKind {
		var left []string
		if len(p.items) > 0 {
			if strings.TrimSpace(text.text) == "" {
				return &node{at: p.items[0].at, kind: isList, entries: p.items}, nil
			}
			left = p.lines[p.items[0].at.line-p.line:]
		}
		return c.scalar(text, f.shape, f.name), left
	}
	list := &node{at: at, kind: isList}
	if strings.TrimSpace(text.text) != "" {
		list.entries = append(list.entries, text)
	}
	list.entries = append(list.entries, p.items...)
	if f.none && len(list.entries) == 1 && means(list.entries[0].text) {
		list.entries = nil
	}
	for i, e := range list.entries {
		if f.entry != nil {
			list.entries[i] = c.scalar(e, f.entry, fmt.Sprintf("%s[%d]", f.name, i))
		}
	}
	return list, nil
}

// means reports whether a text says that a list is empty.
func means(text string) bool {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "none", "n/a", "-":
		return true
	}
	return false
}

// scalar reads text as the type wants it; what cannot be read stays text, and the check says so.
func (c *checker) scalar(n *node, s *shape, field string) *node {
	text := strings.TrimSpace(n.text)
	switch {
	case text == "":
		return &node{at: n.at}
	case s.kind == cue.BoolKind:
		switch strings.ToLower(text) {
		case "true", "yes":
			return &node{at: n.at, kind: isBool, text: "true"}
		case "false", "no":
			return &node{at: n.at, kind: isBool, text: "false"}
		}
	case s.kind == cue.IntKind, s.kind == cue.NumberKind:
		if v, f := readJSONAt([]byte(text), n.at); f == nil && v.kind == isNumber {
			return v
		}
	case s.kind == cue.StructKind, s.kind == cue.ListKind, s.kind == cue.TopKind:
		v, f := readJSONAt([]byte(text), n.at)
		if f == nil {
			return v
		}
		c.add(f.at, field, f.message, "write it as JSON in one line")
		return &node{at: n.at}
	}
	return n
}
