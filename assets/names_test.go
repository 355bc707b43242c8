package assets_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"millrace/assets"
	"millrace/schema/compile"
)

// shipped are the ids of the baseline's stage kinds, graphs and modes.
func shipped(t *testing.T) map[string]string {
	t.Helper()
	names := map[string]string{}
	modes, diags := compile.Modes(assets.Files())
	if len(modes) == 0 {
		t.Fatal(diags)
	}
	for _, m := range modes {
		names[m.ID] = "mode"
		for _, alias := range m.Aliases {
			names[alias] = "mode"
		}
		r := compile.Compile(compile.Source{Mode: m.ID, Files: assets.Files()})
		if r.Plan == nil {
			t.Fatal(r.Diags)
		}
		for _, g := range r.Plan.Graphs {
			names[g.ID] = "graph"
		}
		for id := range r.Plan.Stages {
			names[id] = "stage"
		}
	}
	return names
}

// TestGoNamesNoWorkflow: stages, graphs and modes are data. Go text that names one would give ours a privilege
// that an operator's do not have. The demo agent plays stages and may know them; tests may, too.
func TestGoNamesNoWorkflow(t *testing.T) {
	names := shipped(t)
	read := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch name := d.Name(); {
			case name == "assets", name == "testdata", name == "demoagent", name == "bin",
				name != ".." && strings.HasPrefix(name, "."), strings.HasSuffix(name, "test"):
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		read++
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if f, ok := call.Fun.(*ast.SelectorExpr); ok && strings.HasSuffix(f.Sel.Name, "Var") {
					return false // a flag is no mode, even when it is called like one
				}
			}
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			if text, err := strconv.Unquote(lit.Value); err == nil && names[text] != "" {
				t.Errorf("%s names the %s %q", fset.Position(lit.Pos()), names[text], text)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if read < 10 {
		t.Fatalf("only %d files were read: is %s the repository?", read, must(os.Getwd()))
	}
}

func must(s string, err error) string {
	if err != nil {
		return err.Error()
	}
	return s
}
