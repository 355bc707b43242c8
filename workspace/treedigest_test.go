package workspace

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// asksTree is what the observers answer now.
func (x *watched) asksTree() Answer {
	x.t.Helper()
	x.o.Ask([]Query{AskTree()})
	var a Answer
	x.round(func(v *View) *Mutation {
		got, answered := v.Asked[AskTree()]
		if !answered {
			x.t.Fatal("nobody answered")
		}
		a = got
		return nil
	})
	return a
}

func TestTheWorkingTreeIsDigestedWhenAskedFor(t *testing.T) {
	x := observe(t, ObserveOptions{})
	if a := x.asksTree(); len(a.Data) != 0 || a.Err != "" {
		t.Errorf("without a repository: %+v", a)
	}
	x.git("init")
	file := filepath.Join(x.w.Project, "main.txt")
	if err := os.WriteFile(file, []byte("one\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	x.git("add", "main.txt")
	want := strings.TrimSpace(x.git("write-tree"))
	if a := x.asksTree(); string(a.Data) != want || a.Err != "" {
		t.Errorf("answered %q (%s), git says %s", a.Data, a.Err, want)
	}
	// What lies in the workspace folder does not count; an untracked file of the project does.
	if err := os.WriteFile(filepath.Join(x.dir, "outline.md"), []byte("x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if a := x.asksTree(); string(a.Data) != want {
		t.Errorf("the workspace folder counts: %q", a.Data)
	}
	if err := os.WriteFile(file+".new", []byte("two\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if a := x.asksTree(); string(a.Data) == want || len(a.Data) != len(want) {
		t.Errorf("after a new file: %q (%s)", a.Data, a.Err)
	}
	if err := os.WriteFile(filepath.Join(x.w.Project, ".git", "HEAD"), []byte("broken"), 0o644); err != nil {
		t.Fatal(err)
	}
	if a := x.asksTree(); a.Err == "" || len(a.Data) != 0 {
		t.Errorf("of a broken repository: %+v", a)
	}
}
