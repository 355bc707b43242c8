package compile

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/token"
)

// A place is where something stands in a file.
type place struct {
	path         string
	line, column int
}

func placeOf(pos token.Pos) place {
	if !pos.IsValid() {
		return place{}
	}
	p := pos.Position()
	return place{p.Filename, p.Line, p.Column}
}

// places knows where the fields of some files were written. What was made by an expression is not in it, and
// is found at the nearest field around it that was.
type places struct {
	names  map[string]place      // of a field's name
	values map[string]place      // of its value; of a struct, its name
	fields map[string][][]string // by entry (two names deep): paths in the order of the files
	file   string                // where to point when nothing is known
}

func newPlaces(file string) *places {
	return &places{names: map[string]place{}, values: map[string]place{}, fields: map[string][][]string{}, file: file}
}

// addFile records the fields of one parsed file.
func (p *places) addFile(f *ast.File) { p.addDecls(nil, f.Decls) }

func (p *places) addDecls(prefix []string, decls []ast.Decl) {
	for _, decl := range decls {
		switch d := decl.(type) {
		case *ast.Field:
			name, _, err := ast.LabelName(d.Label)
			if err != nil {
				continue // a pattern or a computed name
			}
			p.add(append(slices.Clip(prefix), name), d.Label.Pos(), d.Value)
		case *ast.EmbedDecl:
			if s, ok := d.Expr.(*ast.StructLit); ok {
				p.addDecls(prefix, s.Elts)
			}
		}
	}
}

func (p *places) add(path []string, name token.Pos, value ast.Expr) {
	k := key(path)
	if _, known := p.names[k]; !known {
		p.names[k] = placeOf(name)
		p.values[k] = placeOf(name)
		entry := key(path[:min(2, len(path))])
		p.fields[entry] = append(p.fields[entry], path)
	}
	switch v := value.(type) {
	case *ast.StructLit:
		p.addDecls(path, v.Elts)
	case *ast.ListLit:
		p.values[k] = placeOf(value.Pos())
		for i, e := range v.Elts {
			p.add(append(slices.Clip(path), strconv.Itoa(i)), e.Pos(), e)
		}
	case *ast.BinaryExpr:
		p.add(path, name, v.X)
		p.add(path, name, v.Y)
	default:
		if at := placeOf(value.Pos()); at.line > 0 {
			p.values[k] = at
		}
	}
}

func key(path []string) string { return strings.Join(path, "\x00") }

// under lists the paths of the fields that were written below a path, outer ones first.
func (p *places) under(root []string) [][]string {
	var below [][]string
	if len(root) < 2 {
		for _, entry := range slices.Sorted(maps.Keys(p.fields)) {
			below = append(below, p.fields[entry]...)
		}
	} else {
		below = p.fields[key(root[:2])]
	}
	return slices.DeleteFunc(slices.Clone(below), func(path []string) bool {
		return len(path) <= len(root) || !slices.Equal(path[:len(root)], root)
	})
}

// value is where the value of a field stands, else the nearest field around it.
func (p *places) value(path ...string) place { return p.find(p.values, path) }

// name is where the name of a field stands, else the nearest field around it.
func (p *places) name(path ...string) place { return p.find(p.names, path) }

// written reports whether a field was written out.
func (p *places) written(path ...string) bool { _, ok := p.names[key(path)]; return ok }

func (p *places) find(in map[string]place, path []string) place {
	for n := len(path); n > 0; n-- {
		if at, ok := in[key(path[:n])]; ok {
			return at
		}
		in = p.names // around what is missing: the name says more than the value
	}
	return place{path: p.file}
}
