package schema

import (
	"fmt"
	"strings"
)

// Severity of a diagnostic: an error rejects, a warning is only shown.
type Severity string

// The two severities.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// A Diagnostic tells a person where a file is wrong, what is wrong and what would be right.
type Diagnostic struct {
	Severity Severity `json:"severity"`
	Path     string   `json:"path"`              // relative to the workspace folder, or as given
	Line     int      `json:"line,omitempty"`    // from 1; 0: the file as a whole
	Column   int      `json:"column,omitempty"`  // from 1
	Subject  string   `json:"subject,omitempty"` // what the file says it is: task "add-api"
	Field    string   `json:"field,omitempty"`   // depends_on[1]
	Message  string   `json:"message"`           // what is wrong
	Hint     string   `json:"hint,omitempty"`    // what would be right
}

// Place is path:line:column as far as known.
func (d Diagnostic) Place() string {
	switch {
	case d.Line == 0:
		return d.Path
	case d.Column == 0:
		return fmt.Sprintf("%s:%d", d.Path, d.Line)
	}
	return fmt.Sprintf("%s:%d:%d", d.Path, d.Line, d.Column)
}

// String is the form in which people meet it, the hint on a line of its own:
//
//	intake/tasks/api.yaml:12:3: task "add-api": depends_on[1]: "Add tests" is not an id
//	  an id has only letters, digits, '.', '_' and '-' (like add-tests)
func (d Diagnostic) String() string {
	parts := []string{}
	for _, p := range []string{d.Place(), d.Subject, d.Field, d.Message} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	s := strings.Join(parts, ": ")
	if d.Severity == Warning {
		s = strings.Replace(s, ": ", ": warning: ", 1)
	}
	if d.Hint != "" {
		s += "\n  " + d.Hint
	}
	return s
}

// Diagnostics is the error that carries several of them.
type Diagnostics []Diagnostic

func (ds Diagnostics) Error() string {
	lines := make([]string, len(ds))
	for i, d := range ds {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}

// HasErrors reports whether any of them rejects.
func (ds Diagnostics) HasErrors() bool {
	for _, d := range ds {
		if d.Severity != Warning {
			return true
		}
	}
	return false
}
