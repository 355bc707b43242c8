package document

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"cuelang.org/go/cue"
)

// A shape is what a reader needs of a CUE definition to name what is wrong with a value and where:
// CUE stays the judge, the shape explains. Shapes are derived from the definitions and shared.
type shape struct {
	name     string // of the definition: #ID; "" for one written in place
	kind     cue.Kind
	patterns []pattern
	format   string // check that has no pattern: time
	wrong    string // how a diagnostic says that a value does not fit
	right    string // what would fit
	choices  []string
	fields   []*fieldShape
	open     *shape // what further fields of an object hold; nil: there may be none
	entry    *shape // of a list
	least    int    // entries a list must have
}

type pattern struct {
	*regexp.Regexp
	not bool
}

type fieldShape struct {
	name     string
	label    string // in headed Markdown: Task-ID
	required bool
	none     bool   // "none" means an empty list
	admit    string // what admission fills in: now, by
	preset   any    // default of the definition
	*shape
}

func (s *shape) field(name string) *fieldShape {
	for _, f := range s.fields {
		if f.name == name {
			return f
		}
	}
	return nil
}

// label is a field's name in headed Markdown.
func label(name string) string {
	words := strings.Split(name, "_")
	for i, w := range words {
		switch {
		case w == "id" || w == "ids":
			words[i] = "ID" + w[2:]
		case w != "":
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, "-")
}

// unlabel is the field name that a label stands for, in whatever case it is written.
func unlabel(text string) string { return strings.ToLower(strings.ReplaceAll(text, "-", "_")) }

// shaper derives shapes, each named definition once.
type shaper struct {
	known map[string]*shape
}

func (b *shaper) shape(v cue.Value) (*shape, error) {
	name := ""
	if root, path := v.ReferencePath(); len(path.Selectors()) == 1 && path.Selectors()[0].IsDefinition() {
		name = path.String()
		if s := b.known[name]; s != nil {
			return s, nil
		}
		v = root.LookupPath(path)
	}
	s := &shape{name: name, kind: v.IncompleteKind()}
	if name != "" {
		b.known[name] = s // before its parts: a definition may name itself
	}
	s.notes(v)
	if s.kind == cue.BottomKind { // a struct with conditions on fields that only a document gives
		s.kind = cue.StructKind
	}
	switch s.kind {
	case cue.StructKind:
		return s, b.object(s, v)
	case cue.ListKind:
		return s, b.list(s, v)
	}
	s.constraints(v)
	return s, nil
}

// notes reads the attributes that say how to speak of the definition.
func (s *shape) notes(v cue.Value) {
	for _, a := range v.Attributes(cue.FieldAttr) {
		text, err := a.String(0)
		if err != nil {
			continue
		}
		switch a.Name() {
		case "wrong":
			s.wrong = text
		case "right":
			s.right = text
		case "format":
			s.format = text
		}
	}
}

// constraints collects patterns and choices; what it does not understand is left to CUE.
func (s *shape) constraints(v cue.Value) {
	op, args := v.Expr()
	switch op {
	case cue.AndOp:
		for _, a := range args {
			s.constraints(a)
		}
	case cue.SelectorOp: // a part of the constraint has a name: #ID & …
		part := cue.Dereference(v)
		if again, _ := part.Expr(); again == cue.SelectorOp {
			return
		}
		if s.wrong == "" {
			s.notes(part)
		}
		s.constraints(part)
	case cue.RegexMatchOp, cue.NotRegexMatchOp:
		text, err := args[len(args)-1].String()
		if err != nil {
			return
		}
		if re, err := regexp.Compile(text); err == nil {
			s.patterns = append(s.patterns, pattern{re, op == cue.NotRegexMatchOp})
		}
	case cue.OrOp:
		for _, a := range args {
			text, err := a.String()
			if err != nil {
				s.choices = nil
				return
			}
			s.choices = append(s.choices, text)
		}
	case cue.NoOp:
		if text, err := v.String(); err == nil && v.IsConcrete() {
			s.choices = []string{text}
		}
	}
}

func (b *shaper) list(s *shape, v cue.Value) (err error) {
	entry := v.LookupPath(cue.MakePath(cue.AnyIndex))
	if !entry.Exists() {
		return nil
	}
	if s.entry, err = b.shape(entry); err != nil {
		return err
	}
	fixed, err := v.List()
	if err != nil {
		return fmt.Errorf("read list of %s: %w", v.Path(), err)
	}
	for fixed.Next() {
		s.least++
	}
	return nil
}

func (b *shaper) object(s *shape, v cue.Value) (err error) {
	if rest := v.LookupPath(cue.MakePath(cue.AnyString)); rest.Exists() {
		if s.open, err = b.shape(rest); err != nil {
			return err
		}
	}
	fields, err := v.Fields(cue.Optional(true))
	if err != nil {
		return fmt.Errorf("read fields of %s: %w", v.Path(), err)
	}
	for fields.Next() {
		sel, value := fields.Selector(), fields.Value()
		f := &fieldShape{name: sel.Unquoted(), required: sel.ConstraintType() == cue.RequiredConstraint}
		f.label = label(f.name)
		if f.shape, err = b.shape(value); err != nil {
			return err
		}
		if err := f.attributes(value); err != nil {
			return err
		}
		s.fields = append(s.fields, f)
	}
	return nil
}

// attributes reads what concerns the field and not its type.
func (f *fieldShape) attributes(v cue.Value) error {
	for _, a := range v.Attributes(cue.FieldAttr) {
		switch a.Name() {
		case "admit":
			f.admit, _ = a.String(0)
		case "none":
			f.none = true
		}
	}
	if f.kind&(cue.ListKind|cue.StructKind) != 0 {
		return nil
	}
	if preset, ok := v.Default(); ok && preset.IsConcrete() && len(f.choices) != 1 {
		data, err := preset.MarshalJSON()
		if err != nil {
			return fmt.Errorf("read default of %s: %w", v.Path(), err)
		}
		return json.Unmarshal(data, &f.preset)
	}
	return nil
}

// fits reports whether text passes what the shape knows of its constraints.
func (s *shape) fits(text string) bool {
	for _, p := range s.patterns {
		if p.MatchString(text) == p.not {
			return false
		}
	}
	return true
}
