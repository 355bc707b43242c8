package compile

import (
	"fmt"
	"slices"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/format"

	"millrace/schema"
	"millrace/schema/document"
)

// families reads every family: intake needs those that no graph uses as well.
func (w *workflow) families(r *report) map[string]*schema.Family {
	all := map[string]*schema.Family{}
	for _, id := range w.ids("families") {
		f := new(schema.Family)
		if w.entry("families", "family", id, f, r) {
			f.Source = w.definition(f.Definition)
			w.checkDefinition(f, r)
			all[id] = f
		}
	}
	return all
}

// checkDefinition: a family whose documents nobody could read would take all intake down with it.
func (w *workflow) checkDefinition(f *schema.Family, r *report) {
	at, subj := w.at.value("families", f.ID, "definition"), subject("family", f.ID)
	if !w.value.LookupPath(cue.ParsePath(f.Definition)).Exists() {
		r.errorAt(at, subj, "definition", fmt.Sprintf("there is no definition %s", f.Definition),
			"write it into the family's file, like "+f.Definition+": {"+f.IDField+"!: #ID, title!: #Line}")
		return
	}
	if f.Source == "" {
		return
	}
	if _, err := document.NewRegistry(map[string]*schema.Family{f.ID: f}); err != nil {
		why := strings.TrimPrefix(err.Error(), "compile definition of family "+f.ID+": ")
		r.errorAt(at, subj, "definition", why, "a definition lists the fields of its documents, "+f.IDField+" among them")
	}
}

// fieldsOf lists the fields that documents of any of the named families may have.
func (w *workflow) fieldsOf(families map[string]*schema.Family, ids []string) []string {
	var fields []string
	for _, id := range ids {
		if f := families[id]; f != nil {
			fields = append(fields, namesOf(w.value.LookupPath(cue.ParsePath(f.Definition))).known...)
		}
	}
	slices.Sort(fields)
	return slices.Compact(fields)
}

// definition is the CUE text of a definition that a workflow file brings, with the other definitions of that
// file, which it may need; "" when no file brings it, because it is built in.
func (w *workflow) definition(name string) string {
	f := w.brings(name)
	if f == nil {
		return ""
	}
	var decls []ast.Decl
	for _, decl := range f.Decls {
		_, isImport := decl.(*ast.ImportDecl)
		if label := definitionLabel(decl); isImport || label != "" {
			decls = append(decls, decl)
		}
	}
	text, err := format.Node(&ast.File{Decls: decls})
	if err != nil {
		return ""
	}
	return string(text)
}

// brings is the workflow file that defines a name, or nil.
func (w *workflow) brings(name string) *ast.File {
	for _, f := range w.syntax {
		if slices.ContainsFunc(f.Decls, func(d ast.Decl) bool { return definitionLabel(d) == name }) {
			return f
		}
	}
	return nil
}

// definitionLabel is the label of a definition or of a hidden field; "" of anything else.
func definitionLabel(decl ast.Decl) string {
	field, ok := decl.(*ast.Field)
	if !ok {
		return ""
	}
	label, _, err := ast.LabelName(field.Label)
	if err != nil || label[0] != '#' && label[0] != '_' {
		return ""
	}
	return label
}

// describes reports whether an artifact can be held to a definition: a built-in one, or one that stands in the file of
// a family, because that is what becomes part of the plan.
func (w *workflow) describes(name string, families map[string]*schema.Family) bool {
	f := w.brings(name)
	if f == nil {
		return w.value.LookupPath(cue.ParsePath(name)).Exists()
	}
	for _, family := range families {
		if w.brings(family.Definition) == f {
			return true
		}
	}
	return false
}
