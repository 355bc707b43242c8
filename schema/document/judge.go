package document

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/errors"

	"millrace/schema"
)

// judge lets CUE decide on values that passed their shape. Its context is new for every document: a
// context keeps what it has seen.
func (r *Registry) judge(c *checker, definition cue.Value, s *shape, tree *node, value any) {
	v := cuecontext.New().Encode(plain(value, s))
	r.mu.Lock()
	err := definition.Unify(v).Validate(cue.Concrete(true))
	r.mu.Unlock()
	seen := map[string]bool{}
	for _, e := range errors.Errors(err) {
		path := e.Path()
		for len(path) > 0 && (strings.HasPrefix(path[0], "#") || path[0] == definition.Path().String()) {
			path = path[1:]
		}
		n, inner, field := locate(tree, s, path)
		if seen[field] {
			continue
		}
		seen[field] = true
		if inner.wrong != "" {
			c.unfit(n, inner, field)
			continue
		}
		format, args := e.Msg()
		message := fmt.Sprintf(format, args...)
		if strings.Contains(message, "disjunction") {
			message = shown(n) + " matches none of the forms that are allowed here"
		}
		c.add(n.at, field, message, "see the definition "+definition.Path().String())
	}
}

// find looks a definition up, the built-in ones first.
func (r *Registry) find(definition string) (v cue.Value, s *shape, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, s, err = r.lookup(r.root, definition)
	for i := 0; err != nil && i < len(r.own); i++ {
		if own, shape, e := r.lookup(r.own[i], definition); e == nil {
			return own, shape, nil
		}
	}
	return v, s, err
}

// locate walks to the value that an error is about, or to its nearest parent.
func locate(n *node, s *shape, path []string) (*node, *shape, string) {
	field := ""
	for _, step := range path {
		var next *node
		var inner *shape
		if i, err := strconv.Atoi(step); err == nil && n.kind == isList && i < len(n.entries) {
			next, inner, field = n.entries[i], s.entry, field+index(i)
		} else if n.kind == isObject {
			next, inner = n.field(step), s.open
			if f := s.field(step); f != nil {
				inner = f.shape
			}
			field = join(field, step)
		}
		if inner == nil {
			inner = &shape{}
		}
		if next == nil {
			return n, inner, field
		}
		n, s = next, inner
	}
	return n, s, field
}

func index(i int) string { return "[" + strconv.Itoa(i) + "]" }

// plain is a value with Go numbers, as CUE wants them. What a definition leaves open is left out.
func plain(value any, s *shape) any {
	switch v := value.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, _ := v.Float64() // out of range is infinite: CUE refuses that
		return f
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = e
			if s.entry != nil {
				list[i] = plain(e, s.entry)
			}
		}
		return list
	case map[string]any:
		object := make(map[string]any, len(v))
		for name, e := range v {
			inner := s.open
			if f := s.field(name); f != nil {
				inner = f.shape
			}
			if inner != nil && inner.kind != cue.TopKind {
				object[name] = plain(e, inner)
			}
		}
		return object
	}
	return value
}

// CheckJSON checks JSON against a definition such as "#Item"; a path that ends in .md is read as
// headed Markdown.
func (r *Registry) CheckJSON(definition, path string, data []byte) schema.Diagnostics {
	c := &checker{path: path, subject: strings.TrimPrefix(definition, "#")}
	v, s, err := r.find(definition)
	if err != nil {
		c.add(place{}, "", err.Error(), "name a definition of schema/")
		return c.diags
	}
	recs, diags := r.records(path, data, 64*schema.MaxFile)
	if diags != nil {
		return diags
	}
	if recs[0].headed != nil {
		c.labels(recs[0], s, false, false)
	}
	c.title(recs[0], &kind{shape: s})
	c.raw = !r.written[definition]
	value, ok := c.value(recs[0].fields, s, "", c.raw)
	if ok && !c.diags.HasErrors() {
		r.judge(c, v, s, recs[0].fields, value)
	}
	return c.sorted()
}
