package compile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/errors"

	"millrace/schema"
)

// subtree is one value that was unified with its definition, and where it was written.
type subtree struct {
	value   cue.Value
	def     cue.Value
	root    []string // its path in the files
	at      *places
	subject string
}

// explain turns what CUE has against a value into what a person can act on. Fields that the definition does
// not know are looked for in what was written, because CUE stops looking for them at the first other error.
func (s subtree) explain() schema.Diagnostics {
	var ds schema.Diagnostics
	unknown := map[string]bool{}
	for _, path := range s.at.under(s.root) {
		if within(unknown, path) {
			continue
		}
		if known, ok := descend(s.def, path[len(s.root):]); !ok {
			unknown[key(path)] = true
			name := path[len(path)-1]
			ds = append(ds, s.diagnostic(s.at.name(path...), path, known.refusal(name), known.hint(name)))
		}
	}
	mistakes := len(ds)
	var order []string
	byPath := map[string][]errors.Error{}
	for _, e := range errors.Errors(s.value.Validate(cue.Concrete(true), cue.Final())) {
		k := key(s.path(e))
		if byPath[k] == nil {
			order = append(order, k)
		}
		byPath[k] = append(byPath[k], e)
	}
	for _, k := range order {
		path := strings.Split(k, "\x00")
		if within(unknown, path) {
			continue
		}
		message, hint, at := words(byPath[k], path)
		switch {
		case message == missing:
			message, hint = fmt.Sprintf("%s is missing", path[len(path)-1]), s.purpose(path)
			path = path[:len(path)-1]
		case message == incomplete && (mistakes > 0 || len(order) > 1):
			continue // it follows from what else is wrong
		case message == noChoice && slices.ContainsFunc(order, func(other string) bool { return strings.HasPrefix(other, k+"\x00") }):
			continue // what is wrong inside says more
		}
		if at.line == 0 || at.path == "" {
			at = s.at.value(path...)
		}
		ds = append(ds, s.diagnostic(at, path, message, hint))
	}
	return ds
}

// path is where in the files an error of CUE belongs.
func (s subtree) path(e errors.Error) []string {
	path := labels(e.Path())
	if len(path) > 0 && strings.HasPrefix(path[0], "#") {
		return append(slices.Clone(s.root), path[1:]...)
	}
	return path
}

// within reports whether a path or one around it is marked.
func within(marked map[string]bool, path []string) bool {
	for n := range path {
		if marked[key(path[:n+1])] {
			return true
		}
	}
	return false
}

// purpose is what the definitions say about a field.
func (s subtree) purpose(path []string) string {
	sels := make([]cue.Selector, 0, len(path))
	for _, name := range path[min(len(s.root), len(path)):] {
		sels = append(sels, cue.Str(name))
	}
	if len(sels) == 0 {
		return ""
	}
	last := cue.Str(path[len(path)-1])
	for _, last := range []cue.Selector{last.Required(), last} {
		sels[len(sels)-1] = last
		for _, doc := range s.def.LookupPath(cue.MakePath(sels...)).Doc() {
			return strings.Join(strings.Fields(doc.Text()), " ")
		}
	}
	return ""
}

func (s subtree) diagnostic(at place, path []string, message, hint string) schema.Diagnostic {
	field := path
	if len(path) >= len(s.root) {
		field = path[len(s.root):]
	}
	return schema.Diagnostic{Severity: schema.Error, Path: at.path, Line: at.line, Column: at.column,
		Subject: s.subject, Field: fieldName(field), Message: message, Hint: hint}
}

// names are what a struct of a definition may hold.
type names struct {
	known []string
	free  string // what other names must look like, when there may be others
}

func (n names) refusal(name string) string {
	if n.free != "" {
		return fmt.Sprintf("%q is no name that can stand here", name)
	}
	return fmt.Sprintf("unknown field %q", name)
}

func (n names) hint(name string) string {
	if n.free != "" && nearest(name, n.known) == "" {
		return n.free
	}
	return choice(name, n.known)
}

// freeNames are patterns of names, each with an example that no pattern before it allows.
var freeNames = []struct{ pattern, example string }{
	{`^[A-Z][A-Z0-9_]*$`, "A_0"},
	{`^[a-z][a-z0-9_]*$`, "a_0"},
	{`^[a-z][a-z0-9_.-]*$`, "a-0."},
	{`^[A-Za-z_][A-Za-z0-9_]*$`, "_a"},
}

// descend follows a path into a definition. It fails at the last name of the path only, with the names that
// would have been known there; an unknown name further up has been reported at its own place.
func descend(def cue.Value, path []string) (known names, ok bool) {
	for i, name := range path {
		if def.IncompleteKind()&cue.ListKind != 0 && def.IncompleteKind()&cue.StructKind == 0 {
			def = def.LookupPath(cue.MakePath(cue.AnyIndex))
			continue
		}
		if def.IncompleteKind()&cue.StructKind == 0 || def.IncompleteKind() == cue.TopKind {
			return names{}, true // not a struct there: CUE says so itself
		}
		sel := cue.Str(name)
		if !def.Allows(sel) {
			return namesOf(def), i < len(path)-1
		}
		next := def.LookupPath(cue.MakePath(sel.Optional()))
		if !next.Exists() {
			next = def.LookupPath(cue.MakePath(cue.AnyString))
		}
		if !next.Exists() {
			return names{}, true
		}
		def = next
	}
	return names{}, true
}

func namesOf(def cue.Value) names {
	var n names
	for _, f := range freeNames {
		if def.Allows(cue.Str(f.example)) {
			n.free = wants[f.pattern]
		}
	}
	fields, err := def.Fields(cue.Optional(true))
	if err != nil {
		return n
	}
	for fields.Next() {
		n.known = append(n.known, fields.Selector().Unquoted())
	}
	return n
}

// labels unquotes the names of an error's path.
func labels(path []string) []string {
	out := make([]string, len(path))
	for i, name := range path {
		out[i] = name
		if text, quoted := unquote(name); quoted {
			out[i] = text
		}
	}
	return out
}

// fieldName writes a path as people do: nodes.builder.on.BLOCKED, cooldowns[1].
func fieldName(path []string) string {
	var b strings.Builder
	for i, name := range path {
		if _, err := strconv.Atoi(name); err == nil {
			b.WriteString("[" + name + "]")
			continue
		}
		if i > 0 {
			b.WriteByte('.')
		}
		if strings.ContainsAny(name, ". ") {
			name = strconv.Quote(name)
		}
		b.WriteString(name)
	}
	return b.String()
}
