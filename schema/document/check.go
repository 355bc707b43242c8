package document

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"cuelang.org/go/cue"

	"millrace/schema"
)

// A checker walks a tree under a shape: it normalises values and says all that is wrong, not only the
// first thing.
type checker struct {
	path    string
	subject string
	named   string // id field that each document of the file must have, "" when the file names its only one
	raw     bool   // what the runtime wrote itself: blanks count, nothing is normalised
	diags   schema.Diagnostics
}

// maxDiags is how much is said about one document; nobody reads more.
const maxDiags = 50

func (c *checker) add(at place, field, message, hint string) {
	if len(c.diags) >= maxDiags {
		return
	}
	c.diags = append(c.diags, schema.Diagnostic{Severity: schema.Error, Path: c.path, Line: at.line,
		Column: at.column, Subject: c.subject, Field: field, Message: message, Hint: hint})
}

func (c *checker) warn(at place, field, message, hint string) {
	before := len(c.diags)
	c.add(at, field, message, hint)
	for i := range c.diags[before:] {
		c.diags[before+i].Severity = schema.Warning
	}
}

// value checks one value and returns it normalised; false: it is absent or was refused. Text below
// the first level stays as it is written, because there it may be a command.
func (c *checker) value(n *node, s *shape, field string, exact bool) (any, bool) {
	blank := n.kind == isText && strings.TrimSpace(n.text) == ""
	switch {
	case s.kind == cue.TopKind:
		return n.value(), true
	case c.raw && n.kind == isNull && s.kind == cue.ListKind: // a nil slice
		return []any{}, true
	case c.raw && n.kind == isNull && s.kind == cue.StructKind && s.open != nil: // a nil map
		return map[string]any{}, true
	case n.kind == isNull, blank && !c.raw:
		return nil, false
	case s.kind == cue.ListKind && n.kind == isList:
		return c.list(n, s, field, exact)
	case s.kind == cue.StructKind && n.kind == isObject:
		return c.object(n, s, field)
	case s.kind == cue.StringKind && n.kind == isText:
		return c.text(n, s, field, exact)
	case s.kind == cue.BoolKind && n.kind == isBool:
		return n.text == "true", true
	case s.kind == cue.IntKind && n.kind == isNumber:
		return c.integer(n, field)
	case s.kind == cue.NumberKind && n.kind == isNumber:
		return json.Number(n.text), true
	case s.kind&(s.kind-1) != 0: // several kinds: CUE decides
		return n.value(), true
	}
	c.mismatch(n, s, field)
	return nil, false
}

func (c *checker) mismatch(n *node, s *shape, field string) {
	switch s.kind {
	case cue.ListKind:
		c.add(n.at, field, shown(n)+" is not a list", "write a list, even of one: ["+flat(n)+"]")
	case cue.StringKind:
		hint := "write text"
		if n.kind == isNumber || n.kind == isBool {
			hint = "quote it to make it text: " + strconv.Quote(n.text)
		}
		c.add(n.at, field, shown(n)+" is not text", hint)
	case cue.BoolKind:
		c.add(n.at, field, shown(n)+" is neither true nor false", "write true or false, without quotes")
	case cue.IntKind:
		c.add(n.at, field, shown(n)+" is not a whole number", "write a number like 3, without quotes")
	case cue.NumberKind:
		c.add(n.at, field, shown(n)+" is not a number", "write a number like 3.5, without quotes")
	default:
		names := make([]string, 0, len(s.fields))
		for _, f := range s.fields {
			names = append(names, f.name)
		}
		hint := "write an object"
		if len(names) > 0 {
			hint += " with " + strings.Join(names, ", ")
		}
		c.add(n.at, field, shown(n)+" is not an object", hint)
	}
}

func (c *checker) text(n *node, s *shape, field string, exact bool) (any, bool) {
	text := n.text
	if c.raw {
		return c.fitting(n, s, field, text)
	}
	if !exact {
		text = tidy(text)
	}
	if len(text) > schema.MaxText {
		c.add(n.at, field, fmt.Sprintf("has %d bytes, more than the %d (64 KiB) a text may have", len(text), schema.MaxText),
			"keep the long text in a file of the project and name that here")
		return nil, false
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }); i >= 0 {
		c.add(n.at, field, fmt.Sprintf("has the control character %U", []rune(text[i:])[0]), "remove it; only line ends and tabs are allowed")
		return nil, false
	}
	return c.fitting(n, s, field, text)
}

// fitting checks what the type says of a text.
func (c *checker) fitting(n *node, s *shape, field, text string) (any, bool) {
	if len(s.choices) > 0 {
		return c.choice(n, s, field, text)
	}
	if s.format == "time" {
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil || t.UTC().Year() < 0 || t.UTC().Year() > 9999 {
			c.unfit(n, s, field)
			return nil, false
		}
		return t.UTC().Format(time.RFC3339Nano), true
	}
	if !s.fits(text) {
		c.unfit(n, s, field)
		return nil, false
	}
	return text, true
}

func (c *checker) choice(n *node, s *shape, field, text string) (any, bool) {
	if slices.Contains(s.choices, text) {
		return text, true
	}
	hint := "write " + s.choices[0]
	if last := len(s.choices) - 1; last > 0 {
		hint = "write " + strings.Join(s.choices[:last], ", ") + " or " + s.choices[last]
	}
	if near := schema.Nearest(text, s.choices, 2); near != "" {
		hint = fmt.Sprintf("did you mean %s? %s", near, hint)
	}
	c.add(n.at, field, shown(n)+" is not allowed here", hint)
	return nil, false
}

// unfit says that a value breaks its type, in the type's own words when it has some.
func (c *checker) unfit(n *node, s *shape, field string) {
	wrong, right := s.wrong, s.right
	if wrong == "" {
		wrong = "does not fit " + strings.TrimPrefix(s.name, "#")
	}
	if strings.Contains(right, "{slug}") {
		slug := schema.Slug(n.text)
		if slug == "" || slug == n.text {
			slug = "add-tests"
		}
		right = strings.ReplaceAll(right, "{slug}", slug)
	}
	c.add(n.at, field, shown(n)+" "+wrong, right)
}

func (c *checker) integer(n *node, field string) (any, bool) {
	i, ok := new(big.Int).SetString(n.text, 10)
	switch {
	case !ok:
		c.add(n.at, field, shown(n)+" is not a whole number", "write a number like 3, without a fraction")
		return nil, false
	case !i.IsInt64():
		c.add(n.at, field, shown(n)+" is too large", "use a number of at most 18 digits")
		return nil, false
	}
	return json.Number(i.String()), true
}

func (c *checker) list(n *node, s *shape, field string, exact bool) (any, bool) {
	if len(n.entries) > schema.MaxItems && !c.raw {
		c.add(n.at, field, fmt.Sprintf("has %d entries, more than the %d a list may have", len(n.entries), schema.MaxItems),
			"split the document, or keep the list in a file of the project and name that here")
		return nil, false
	}
	list := []any{}
	before := len(c.diags)
	for i, e := range n.entries {
		if s.entry == nil {
			list = append(list, e.value())
		} else if v, ok := c.value(e, s.entry, fmt.Sprintf("%s[%d]", field, i), exact); ok {
			list = append(list, v)
		}
	}
	if len(list) == 0 && !exact || len(c.diags) > before {
		return nil, false
	}
	return list, true
}

func (c *checker) object(n *node, s *shape, field string) (any, bool) {
	object := map[string]any{}
	before := len(c.diags)
	seen := map[string]place{}
	refused := map[string]bool{} // said to be wrong already: not missing as well
	for _, f := range n.fields {
		at := join(field, f.name)
		if first, twice := seen[f.name]; twice {
			c.add(f.at, at, fmt.Sprintf("is there twice, first in line %d", first.line), "keep one of them")
			refused[f.name] = true
			continue
		}
		seen[f.name] = f.at
		known := s.field(f.name)
		inner := s.open
		if known != nil {
			inner = known.shape
		}
		if inner == nil {
			c.unknown(f, s, field)
			continue
		}
		count := len(c.diags)
		if v, ok := c.value(f.value, inner, at, field != "" || known == nil); ok {
			object[f.name] = v
		}
		refused[f.name] = refused[f.name] || len(c.diags) > count
	}
	for _, f := range s.fields {
		if _, ok := object[f.name]; !ok && f.required && !refused[f.name] {
			c.missing(n, f, field)
		}
	}
	return object, len(c.diags) == before
}

// sorted puts the diagnostics in the order in which a reader meets their places.
func (c *checker) sorted() schema.Diagnostics {
	slices.SortStableFunc(c.diags, func(a, b schema.Diagnostic) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return c.diags
}

// missing points at the object that lacks the field, or at the field that is there with nothing in it.
func (c *checker) missing(n *node, f *fieldShape, field string) {
	at, message := n.at, "is missing"
	for _, m := range n.fields {
		if m.name == f.name {
			at, message = m.at, "is empty"
		}
	}
	hint := "add " + f.name
	switch {
	case f.name == c.named && field == "":
		hint += ": in a file of several documents each names its own"
	case f.least > 0:
		hint += " with at least one entry"
	case len(f.choices) > 0:
		hint += ": " + strings.Join(f.choices, " or ")
	}
	c.add(at, join(field, f.name), message, hint)
}

func (c *checker) unknown(f member, s *shape, field string) {
	if len(c.diags) >= maxDiags {
		return // before the names are compared
	}
	names := make([]string, 0, len(s.fields))
	for _, known := range s.fields {
		names = append(names, known.name)
	}
	hint := "remove it"
	if len(names) > 0 {
		hint = "known are " + strings.Join(names, ", ")
	}
	if near := schema.Nearest(f.name, names, max(2, len(f.name)/3)); near != "" {
		hint = fmt.Sprintf("did you mean %s?", near)
	}
	c.add(f.at, join(field, f.name), "is not a known field", hint)
}

// tidy is the normal form of a text: no blank ends, "\n" line ends, no blanks before them. Headed
// Markdown can carry exactly this.
func tidy(text string) string {
	text = strings.TrimSpace(text)
	if !strings.ContainsAny(text, "\r\n") {
		return text
	}
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRightFunc(l, unicode.IsSpace)
	}
	return strings.Join(lines, "\n")
}

func join(field, name string) string {
	if field == "" {
		return name
	}
	return field + "." + name
}

// shown is how a diagnostic quotes a value.
func shown(n *node) string {
	switch n.kind {
	case isText:
		text := n.text
		if runes := []rune(text); len(runes) > 60 {
			text = string(runes[:57]) + "..."
		}
		return strconv.Quote(text)
	case isNumber, isBool:
		return n.text[:min(len(n.text), 60)]
	}
	return n.kind.String()
}

// flat is a short scalar for use in a hint.
func flat(n *node) string {
	if n.kind == isText || n.kind == isNumber {
		return shown(n)
	}
	return "…"
}
