package compile

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cuelang.org/go/cue/errors"

	"millrace/schema"
)

// wants says in words what a pattern of the definitions asks for.
var wants = map[string]string{
	`^[A-Z][A-Z0-9_]*$`:        "an outcome has capitals, digits and _ (like BUILDER_COMPLETE)",
	`^[a-z][a-z0-9_]*$`:        "a name has lower-case letters, digits and _ (like my_builder)",
	`^[a-z][a-z0-9_.-]*$`:      "a name has lower-case letters, digits, '.', '-' and _ (like execution.mine)",
	`^#[A-Z][A-Za-z0-9]*$`:     "a definition is written like #Task",
	`^#`:                       "a definition is written like #Report",
	`^[A-Za-z_][A-Za-z0-9_]*$`: "the name of a variable has letters, digits and _",
	`^([0-9]+([.][0-9]+)?(ns|us|µs|ms|s|m|h))+$|^0$`: "a duration is a number and a unit (like 90s, 20m or 1h30m)",
}

// What words says of a field that is not there, or not yet, or fits nothing.
const (
	noChoice   = "is none of the things it may be"
	missing    = "is missing"
	incomplete = "has no value yet"
)

const oneValue = "one field has one value, so change it where it was first written"

func contradiction(here, there string, other place) string {
	return fmt.Sprintf("is %s here and %s in %s:%d:%d", here, there, other.path, other.line, other.column)
}

// words picks, among everything CUE says of one field, what helps most.
func words(errs []errors.Error, path []string) (message, hint string, at place) {
	at = written(errs)
	var choices []string
	open := false
	for _, e := range errs {
		format, args := e.Msg()
		text := fmt.Sprintf(format, args...)
		first, second := sides(e)
		switch {
		case strings.Contains(text, "field not allowed"):
			return fmt.Sprintf("unknown field %q", path[len(path)-1]), "", at
		case strings.Contains(text, "required but not present"):
			return missing, "", place{}
		case strings.Contains(text, "out of bound"):
			return outOfBound(text, at)
		case strings.Contains(text, "mismatched types"):
			want, got := mismatch(text, first)
			if other := elsewhere(e); other.line > 0 {
				return contradiction(want, got, other), oneValue, at
			}
			if message == "" {
				message = fmt.Sprintf("%s is wanted, and %s was found", want, got)
			}
			pattern, isText := unquote(strings.TrimPrefix(first, "=~"))
			switch {
			case wants[pattern] != "":
				hint = wants[pattern]
			case isText:
				choices = append(choices, first)
			case first == "string":
				open = true // any other text will do
			}
		case strings.Contains(text, "incompatible list lengths"):
			if strings.Contains(text, "(0 and ") || strings.Contains(text, " and 0)") {
				return "needs at least one entry", "", place{}
			}
			return "is a list of another length in another place", oneValue, at
		case strings.HasPrefix(text, "conflicting values "):
			got, want := second, first
			if other := elsewhere(e); other.line > 0 {
				return contradiction(want, got, other), oneValue, at
			}
			if got != "" {
				choices = append(choices, want)
				message = fmt.Sprintf("%s is not one of the values it may have", got)
			}
		case strings.Contains(text, "incomplete value"), strings.Contains(text, "non-concrete value"):
			return incomplete, "", place{}
		case strings.Contains(text, "empty disjunction"):
		case message == "":
			message = text
		}
	}
	if len(choices) > 0 && hint == "" && !open {
		slices.Sort(choices)
		return message, "it may be " + strings.Join(slices.Compact(choices), ", "), at
	}
	if message == "" {
		message = noChoice
	}
	return message, hint, at
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

// elsewhere is the second of two places of the operator's that contradict each other; none when the
// definition is one of the sides.
func elsewhere(e errors.Error) place {
	var places []place
	for _, pos := range e.InputPositions() {
		if isDefinition(pos.Filename()) {
			break // what follows is how the definition came to be asked
		}
		if at := placeOf(pos); !slices.Contains(places, at) {
			places = append(places, at)
		}
	}
	if len(places) < 2 {
		return place{}
	}
	return places[1]
}

func isDefinition(file string) bool { return strings.HasPrefix(file, definitionsFolder) }

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
		if p, _ := unquote(pattern); wants[p] != "" {
			return value + " does not fit", wants[p], at
		}
	}
	return value + " is out of bounds", "it must be " + bound, at
}

// mismatch names the kinds of two values in words, the definition's first.
func mismatch(text, definition string) (want, got string) {
	_, types, _ := strings.Cut(text, "(mismatched types ")
	want, got, _ = strings.Cut(strings.TrimSuffix(types, ")"), " and ")
	body, _, _ := strings.Cut(strings.TrimPrefix(text, "conflicting values "), " (mismatched")
	if !strings.HasPrefix(body, definition) {
		want, got = got, want
	}
	return kindWords(want), kindWords(got)
}

func kindWords(kind string) string {
	switch kind {
	case "string":
		return "text"
	case "bool":
		return "true or false"
	case "int":
		return "a whole number"
	case "float":
		return "a fraction"
	case "number":
		return "a number"
	case "struct":
		return "a record"
	case "list":
		return "a list"
	}
	return kind
}

func unquote(s string) (string, bool) {
	text, err := strconv.Unquote(s)
	return text, err == nil
}

// syntaxErrors are CUE's own words for files that it cannot read at all.
func syntaxErrors(file string, err error) schema.Diagnostics {
	var ds schema.Diagnostics
	for _, e := range errors.Errors(err) {
		at := written([]errors.Error{e})
		format, args := e.Msg()
		text := fmt.Sprintf(format, args...)
		if text == "" {
			text, at = unwrapped(e.Error(), at)
		}
		if at.path == "" {
			at.path = file
		}
		ds = append(ds, schema.Diagnostic{Severity: schema.Error, Path: at.path, Line: at.line, Column: at.column, Message: text})
	}
	return ds
}

// located is how a reader of another encoding says where it stopped.
var located = regexp.MustCompile(`^[^:]*:([0-9]+): (.*)$`)

// unwrapped takes apart the words of a reader that has no place of its own.
func unwrapped(text string, at place) (string, place) {
	if m := located.FindStringSubmatch(text); m != nil {
		at.line, _ = strconv.Atoi(m[1]) // digits only
		return m[2], at
	}
	return text, at
}
