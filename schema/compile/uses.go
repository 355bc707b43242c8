package compile

import (
	"slices"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/literal"
)

// A part is one entry of a section, like stages.builder; with id "" the whole section.
type part struct{ section, id string }

// A declared piece of a file: what it adds to, and what it refers to. With section "" it serves everything:
// definitions, hidden fields.
type declared struct {
	part
	file string
	refs []part
}

// uses finds the files that the given parts were made from, so that a file which adds nothing to a plan is
// none of its inputs. It follows references, and where it cannot tell it takes the file.
func (w *workflow) uses(parts []part) []string {
	var all []declared
	for _, f := range w.syntax {
		all = append(all, pieces(f)...)
	}
	taken := make([]bool, len(all))
	var files []string
	for queue := append([]part{{}}, parts...); len(queue) > 0; queue = queue[1:] {
		want := queue[0]
		for i, d := range all {
			if taken[i] || d.section != want.section || want.id != "" && d.id != "" && d.id != want.id {
				continue
			}
			taken[i] = true
			files = append(files, d.file)
			queue = append(queue, d.refs...)
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// pieces takes a file apart.
func pieces(f *ast.File) []declared {
	var all []declared
	for _, decl := range f.Decls {
		field, ok := decl.(*ast.Field)
		if !ok {
			if refs := references(decl); len(refs) > 0 || !inert(decl) {
				all = append(all, declared{part{}, f.Filename, refs})
			}
			continue
		}
		section, _, err := ast.LabelName(field.Label)
		if err != nil || sections[section] == "" {
			all = append(all, declared{part{}, f.Filename, references(field.Value)})
			continue
		}
		s, literally := field.Value.(*ast.StructLit)
		if !literally {
			all = append(all, declared{part{section, ""}, f.Filename, references(field.Value)})
			continue
		}
		for _, elt := range s.Elts {
			id := ""
			if inner, isField := elt.(*ast.Field); isField {
				if name, _, err := ast.LabelName(inner.Label); err == nil {
					id = name
				}
			}
			all = append(all, declared{part{section, id}, f.Filename, references(elt)})
		}
	}
	return all
}

// inert reports whether a declaration says nothing by itself.
func inert(decl ast.Decl) bool {
	switch decl.(type) {
	case *ast.Package, *ast.ImportDecl, *ast.CommentGroup, *ast.Attribute:
		return true
	}
	return false
}

// references are the parts that an expression names: graphs["x"], stages.builder, or a section as a whole.
func references(node ast.Node) []part {
	var refs []part
	ast.Walk(node, func(n ast.Node) bool {
		switch e := n.(type) {
		case *ast.Field:
			refs = append(refs, references(e.Value)...)
			if _, _, err := ast.LabelName(e.Label); err != nil { // computed: a plain name is no reference
				refs = append(refs, references(e.Label)...)
			}
			return false
		case *ast.SelectorExpr:
			if x, ok := e.X.(*ast.Ident); ok && sections[x.Name] != "" {
				id, _, err := ast.LabelName(e.Sel)
				if err != nil {
					id = ""
				}
				refs = append(refs, part{x.Name, id})
				return false
			}
		case *ast.IndexExpr:
			if x, ok := e.X.(*ast.Ident); ok && sections[x.Name] != "" {
				id := ""
				if lit, isText := e.Index.(*ast.BasicLit); isText {
					if s, err := literal.Unquote(lit.Value); err == nil {
						id = s
					}
				}
				refs = append(refs, part{x.Name, id})
				return id == "" // a computed index may name more
			}
		case *ast.Ident:
			if sections[e.Name] != "" {
				refs = append(refs, part{e.Name, ""})
			}
		}
		return true
	}, nil)
	return refs
}
