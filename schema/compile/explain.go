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

// wants says in words what a pattern of the definitions asks for.
var wants = map[string]string{
	`^[A-Z][A-Z0-9_]*$`:                      "an outcome has capitals, digits and _ (like BUILDER_COMPLETE)",
	`^[a-z][a-z0-9_]*$`:                      "a name has lower-case letters, digits and _ (like my_builder)",
	`^[a-z][a-z0-9_.-]*$`:                    "a name has lower-case letters, digits, '.', '-' and _ (like execution.mine)",
	`^#[A-Z][A-Za-z0-9]*$`:                   "a definition is written like #Task",
	`^#`:                                     "a definition is written like #Report",
	`^[A-Za-z_][A-Za-z0-9_]*$`:               "the name of a variable has letters, digits and _",
	`^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$`: "a duration is a number and a unit (like 90s, 20m or 1h30m)",
}

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
	for _, path := range s.at.fields {
		if len(path) <= len(s.root) || !slices.Equal(path[:len(s.root)], s.root) || unknown[key(path[:len(path)-1])] {
			unknown[key(path)] = unknown[key(path[:max(0, len(path)-1)])]
			continue
		}
		if known, ok := descend(s.def, path[len(s.root):]); !ok {
			unknown[key(path)] = true
			name := path[len(path)-1]
			ds = append(ds, s.diagnostic(s.at.name(path...), path, fmt.Sprintf("unknown field %q", name), choice(name, known)))
		}
	}
	var order []string
	byPath := map[string][]errors.Error{}
	for _, e := range errors.Errors(s.value.Validate(cue.Concrete(true), cue.Final())) {
		k := key(labels(e.Path()))
		if byPath[k] == nil {
			order = append(order, k)
		}
		byPath[k] = append(byPath[k], e)
	}
	for _, k := range order {
		path := strings.Split(k, "\x00")
		if unknown[k] {
			continue
		}
		message, hint, at := words(byPath[k], path)
		if at.line == 0 || at.path == "" {
			at = s.at.value(path...)
		}
		ds = append(ds, s.diagnostic(at, path, message, hint))
	}
	return ds
}

func (s subtree) diagnostic(at place, path []string, message, hint string) schema.Diagnostic {
	field := path
	if len(path) >= len(s.root) {
		field = path[len(s.root):]
	}
	return schema.Diagnostic{Severity: schema.Error, Path: at.path, Line: at.line, Column: at.column,
		Subject: s.subject, Field: fieldName(field), Message: message, Hint: hint}
}

// descend follows a path into a definition. It fails at the last name of the path only, with the names that
// would have been known there; an unknown name further up has been reported at its own place.
func descend(def cue.Value, path []string) (known []string, ok bool) {
	for i, name := range path {
		if def.IncompleteKind()&cue.ListKind != 0 && def.IncompleteKind()&cue.StructKind == 0 {
			def = def.LookupPath(cue.MakePath(cue.AnyIndex))
			continue
		}
		if def.IncompleteKind()&cue.StructKind == 0 || def.IncompleteKind() == cue.TopKind {
			return nil, true // not a struct there: CUE says so itself
		}
		sel := cue.Str(name)
		if !def.Allows(sel) {
			return fieldNames(def), i < len(path)-1
		}
		next := def.LookupPath(cue.MakePath(sel.Optional()))
		if !next.Exists() {
			next = def.LookupPath(cue.MakePath(cue.AnyString))
		}
		if !next.Exists() {
			return nil, true
		}
		def = next
	}
	return nil, true
}

func fieldNames(def cue.Value) []string {
	var names []string
	fields, err := def.Fields(cue.Optional(true))
	if err != nil {
		return nil
	}
	for fields.Next() {
		names = append(names, fields.Selector().Unquoted())
	}
	return names
}

// words picks, among everything CUE says of one field, what helps most.
func words(errs []errors.Error, path []string) (message, hint string, at place) {
	at = written(errs)
	var choices []string
	for _, e := range errs {
		format, args := e.Msg()
		text := fmt.Sprintf(format, args...)
		first, second := sides(e)
		switch {
		case strings.Contains(text, "field not allowed"):
			return fmt.Sprintf("unknown field %q", path[len(path)-1]), "", at
		case strings.Contains(text, "required but not present"):
			return fmt.Sprintf("%s is missing", fieldName(path[len(path)-1:])), "", place{}
		case strings.Contains(text, "out of bound"):
			return outOfBound(text, at)
		case strings.Contains(text, "mismatched types"):
			if message == "" {
				message = mismatch(text, first)
			}
		case strings.Contains(text, "incompatible list lengths"):
			return "needs at least one entry", "", place{}
		case strings.HasPrefix(text, "conflicting values "):
			got, want := second, first
			if got != "" {
				choices = append(choices, want)
				message = fmt.Sprintf("%s is not one of the values it may have", got)
			}
		case strings.Contains(text, "incomplete value"), strings.Contains(text, "non-concrete value"):
			return "has no value yet", "", place{}
		case strings.Contains(text, "empty disjunction"):
		case message == "":
			message = text
		}
	}
	if len(choices) > 0 {
		slices.Sort(choices)
		return message, "it may be " + strings.Join(slices.Compact(choices), ", "), at
	}
	if message == "" {
		message = errs[0].Error()
	}
	return message, "", at
}

// sides gives the two values of a conflict, the definition's first.
func sides(e errors.Error) (definition, value string) {
	format, args := e.Msg()
	if !strings.HasPrefix(format, "conflicting values") || len(args) < 2 {
		return "", ""
	}
	a, b := fmt.Sprint(args[0]), fmt.Sprint(args[1])
	if pos := e.InputPositions(); len(pos) > 1 && !isDefinition(pos[0].Filename()) && isDefinition(pos[1].Filename()) {
		a, b = b, a
	}
	return a, b
}

func isDefinition(file string) bool { return file == workflowFile || file == configFile }

// written is where the operator wrote what CUE complains about.
func written(errs []errors.Error) place {
	for _, e := range errs {
		for _, pos := range append(e.InputPositions(), e.Position()) {
			if at := placeOf(pos); at.line > 0 && !isDefinition(at.path) {
				return at
			}
		}
	}
	return place{}
}

func outOfBound(text string, at place) (string, string, place) {
	value, bound, _ := strings.Cut(strings.TrimPrefix(text, "invalid value "), " (out of bound ")
	bound = strings.TrimSuffix(bound, ")")
	if pattern, isPattern := strings.CutPrefix(bound, "=~"); isPattern {
		if p, err := strconv.Unquote(pattern); err == nil && wants[p] != "" {
			return value + " does not fit", wants[p], at
		}
	}
	return value + " is out of bounds", "it must be " + bound, at
}

// mismatch names the kinds of value in words.
func mismatch(text, definition string) string {
	_, types, _ := strings.Cut(text, "(mismatched types ")
	a, b, _ := strings.Cut(strings.TrimSuffix(types, ")"), " and ")
	body, _, _ := strings.Cut(strings.TrimPrefix(text, "conflicting values "), " (mismatched")
	want, got := a, b
	if !strings.HasPrefix(body, definition) {
		want, got = b, a
	}
	name := func(t string) string {
		switch t {
		case "string":
			return "text"
		case "bool":
			return "true or false"
		case "int", "float", "number":
			return "a number"
		case "struct":
			return "fields in braces"
		case "list":
			return "a list"
		}
		return t
	}
	return fmt.Sprintf("%s is wanted, and %s was found", name(want), name(got))
}

// labels unquotes the names of an error's path.
func labels(path []string) []string {
	out := make([]string, len(path))
	for i, name := range path {
		out[i] = name
		if u, err := strconv.Unquote(name); err == nil {
			out[i] = u
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
