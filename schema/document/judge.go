package document

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/errors"

	"millrace/schema"
)

// unfitting is how CUE says that a value breaks a bound or a validator.
var unfitting = regexp.MustCompile(`^invalid value .* \((?:out of bound|does not satisfy) (.*)\)$`)

// judge lets CUE decide on the values that passed their shape; what is known to be wrong is not said
// twice. Its context is new for every document: a context keeps what it has seen.
func (r *Registry) judge(c *checker, definition cue.Value, s *shape, tree *node, value any) {
	v := cuecontext.New().Encode(plain(value, s))
	r.mu.Lock()
	err := definition.Unify(v).Validate(cue.Concrete(true))
	r.mu.Unlock()
	for _, e := range errors.Errors(err) {
		path := e.Path()
		for len(path) > 0 && (strings.HasPrefix(path[0], "#") || path[0] == definition.Path().String()) {
			path = path[1:]
		}
		n, inner, field := locate(tree, s, path)
		switch {
		case c.said(field):
			continue
		case inner == nil: // required by a condition
			c.add(n.at, field, "is missing", "add "+field)
			continue
		case inner.wrong != "":
			c.unfit(n, inner, field)
			continue
		}
		format, args := e.Msg()
		message := fmt.Sprintf(format, args...)
		if m := unfitting.FindStringSubmatch(message); m != nil {
			message = shown(n) + " does not satisfy " + m[1]
		} else if strings.Contains(message, "disjunction") {
			message = shown(n) + " matches none of the forms that are allowed here"
		}
		c.add(n.at, field, message, "see the definition "+definition.Path().String())
	}
}

// said reports whether an error about the field, or a part or parent of it, is there already.
func (c *checker) said(field string) bool {
	for _, d := range c.diags {
		if d.Severity != schema.Warning && (within(d.Field, field) || within(field, d.Field)) {
			return true
		}
	}
	return false
}

func within(part, whole string) bool {
	rest, ok := strings.CutPrefix(part, whole)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// locate walks to the value that an error is about; when there is none, to its nearest parent, and the
// shape is nil.
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
		if next == nil {
			return n, nil, field
		}
		if inner == nil {
			inner = &shape{}
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
	_, diags := r.Artifact(definition, path, data)
	return diags
}

// Artifact checks like CheckJSON and returns the record as JSON, whatever it was written in; nil when it is not
// valid.
func (r *Registry) Artifact(definition, path string, data []byte) (json.RawMessage, schema.Diagnostics) {
	r.defined()
	c := &checker{path: path, subject: strings.TrimPrefix(definition, "#")}
	d, err := r.find(definition)
	if err != nil {
		c.add(place{}, "", err.Error(), "name a definition of schema/")
		return nil, c.diags
	}
	recs, diags := r.records(path, data, 64*schema.MaxFile)
	if diags != nil {
		return nil, diags
	}
	if recs[0].headed != nil {
		c.labels(recs[0], d.shape, false, false)
	}
	if d.shape.field("kind") == nil {
		recs[0].fields = recs[0].fields.without("kind")
	}
	c.title(recs[0], &kind{shape: d.shape})
	c.raw = !r.written[definition]
	value, _ := c.value(recs[0].fields, d.shape, "", c.raw)
	if value != nil {
		r.judge(c, d.value, d.shape, recs[0].fields, value)
	}
	diags = c.sorted()
	if diags.HasErrors() {
		return nil, diags
	}
	record, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("marshal %s: %v", path, err)) // plain values only
	}
	return record, diags
}
