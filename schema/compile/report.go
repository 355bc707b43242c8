package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"millrace/schema"
)

// report gathers diagnostics, each once.
type report struct {
	all  schema.Diagnostics
	side map[string]bool // of assets that the plan does not use: shown, but no part of the plan
}

func (r *report) add(ds ...schema.Diagnostic) {
	for _, d := range ds {
		if !slices.Contains(r.all, d) {
			r.all = append(r.all, d)
		}
	}
}

// aside adds what is wrong with an asset that the plan does not use: nothing depends on it now.
func (r *report) aside(ds ...schema.Diagnostic) {
	for _, d := range ds {
		d.Severity = schema.Warning
		if r.side == nil {
			r.side = map[string]bool{}
		}
		r.side[d.String()] = true
		r.add(d)
	}
}

func (r *report) errorAt(at place, subject, field, message, hint string) {
	r.add(schema.Diagnostic{Severity: schema.Error, Path: at.path, Line: at.line, Column: at.column,
		Subject: subject, Field: field, Message: message, Hint: hint})
}

func (r *report) warnAt(at place, subject, field, message, hint string) {
	r.add(schema.Diagnostic{Severity: schema.Warning, Path: at.path, Line: at.line, Column: at.column,
		Subject: subject, Field: field, Message: message, Hint: hint})
}

func (r *report) failed() bool { return r.all.HasErrors() }

func (r *report) sorted() schema.Diagnostics { return sorted(r.all) }

// sorted brings diagnostics into the order of the files.
func sorted(ds schema.Diagnostics) schema.Diagnostics {
	ds = slices.Clone(ds)
	slices.SortStableFunc(ds, func(a, b schema.Diagnostic) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
	})
	return ds
}

// plan is what belongs into a plan that compiled: the warnings about what it is made of.
func (r *report) plan() schema.Diagnostics {
	return slices.DeleteFunc(r.sorted(), func(d schema.Diagnostic) bool { return r.side[d.String()] })
}

func subject(kind, id string) string { return fmt.Sprintf("%s %q", kind, id) }

// choice is the hint for a name that is none of the known ones.
func choice(got string, known []string) string {
	if near := nearest(got, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	switch {
	case len(known) == 0:
		return "there are none yet"
	case len(known) > 12:
		return "there are " + strings.Join(known[:12], ", ") + ", …"
	}
	return "there are " + strings.Join(known, ", ")
}

// nearest is the known name that got was probably meant to be, or "".
func nearest(got string, known []string) string {
	return schema.Nearest(got, known, max(2, min(3, len(got)/3)))
}

func joined(a, b string) string {
	if b == "" {
		return a
	}
	return a + "." + b
}
