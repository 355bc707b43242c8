package workspace

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/schema"
)

func (x *watched) facts() GitFacts {
	x.t.Helper()
	var g GitFacts
	x.round(func(v *View) *Mutation { g = v.Git; return nil })
	return g
}

func TestGitFacts(t *testing.T) {
	x := observe(t, ObserveOptions{})
	if g := x.facts(); g.Repository || g.Branch != "" || g.Busy != "" {
		t.Errorf("without git: %+v", g)
	}
	x.git("init")
	if g := x.facts(); !g.Repository || g.Branch != "main" || g.Head != "" {
		t.Errorf("unborn: %+v", g)
	}
	x.git("add", ".")
	x.git("commit", "-q", "-m", "one")
	head := strings.TrimSpace(x.git("rev-parse", "HEAD"))
	if g := x.facts(); g.Head != head || g.Busy != "" {
		t.Errorf("committed: %+v, want %s", g, head)
	}
	x.git("pack-refs", "--all")
	if g := x.facts(); g.Head != head {
		t.Errorf("packed: %+v", g)
	}
	x.git("checkout", "-q", "-b", "topic/one")
	if g := x.facts(); g.Branch != "topic/one" || g.Head != head {
		t.Errorf("branch: %+v", g)
	}
	x.git("checkout", "-q", "--detach")
	if g := x.facts(); g.Branch != head || g.Head != head {
		t.Errorf("detached: %+v", g)
	}
	lock := filepath.Join(x.w.Project, ".git", "index.lock")
	if err := os.WriteFile(lock, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if g := x.facts(); !strings.Contains(g.Busy, "index.lock") {
		t.Errorf("locked: %+v", g)
	}
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	for file, says := range map[string]string{"MERGE_HEAD": "merge", "CHERRY_PICK_HEAD": "cherry-pick", "rebase-merge": "rebase"} {
		name := filepath.Join(x.w.Project, ".git", file)
		if err := os.WriteFile(name, []byte(head), 0o644); err != nil {
			t.Fatal(err)
		}
		if g := x.facts(); g.Busy != says {
			t.Errorf("%s: %+v", file, g)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGitFactsOfALinkedWorktree(t *testing.T) {
	x := observe(t, ObserveOptions{})
	x.git("init")
	x.git("add", ".")
	x.git("commit", "-q", "-m", "one")
	head := strings.TrimSpace(x.git("rev-parse", "HEAD"))
	linked := filepath.Join(t.TempDir(), "linked")
	x.git("worktree", "add", "-q", "-b", "side", linked)
	x.close()
	if _, err := Init(linked, InitOptions{}); err != nil {
		t.Fatal(err)
	}
	y := observeAt(t, linked, ObserveOptions{})
	if g := y.facts(); g.Branch != "side" || g.Head != head || g.Busy != "" {
		t.Errorf("linked: %+v, want %s", g, head)
	}
	lock := filepath.Join(x.w.Project, ".git", "worktrees", "linked", "index.lock")
	if err := os.WriteFile(lock, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if g := y.facts(); g.Busy == "" {
		t.Error("the lock of the linked worktree is not seen")
	}
}

func TestBytesInQuestionAreComparedWithHead(t *testing.T) {
	x := observe(t, ObserveOptions{})
	x.git("init")
	x.write("intake/control.yaml", "kind: control\npaused: true\nreason: lunch\n")
	x.until("the control", func(v *View) bool { return len(v.Intake.Control) == 1 })
	state := func(tracked, committed bool) func(v *View) bool {
		return func(v *View) bool {
			f := v.Intake.Files["intake/control.yaml"]
			_, same := v.Git.Committed["intake/control.yaml"]
			return f != nil && f.Tracked == tracked && f.Committed == committed && same == committed
		}
	}
	x.until("untracked", state(false, false))
	x.git("add", ".")
	x.git("commit", "-q", "-m", "pause")
	x.until("committed", state(true, true))
	x.write("intake/control.yaml", "kind: control\npaused: false\nreason: back\n")
	x.until("edited", func(v *View) bool { return state(true, false)(v) && v.Intake.Files["intake/control.yaml"].Digest != "" })
	x.git("commit", "-q", "-a", "-m", "go on")
	x.until("committed again", state(true, true))

	// a held asset and a held configuration
	x.write("modes/own.cue", "// mine\n")
	x.write("millrace.cue", "runtime: lanes: execution: 1\n")
	x.until("the new inputs", func(v *View) bool { return v.Compiled.Files["modes/own.cue"] != "" })
	x.view(func(v *View) *Mutation {
		c := v.Control.Clone()
		c.Held = map[string]schema.HeldChange{"modes/own.cue": {}, "millrace.cue": {}}
		m := &Mutation{By: "test", Why: "hold"}
		m.PutControl(c)
		return m
	})
	held := func(n int) func(v *View) bool {
		return func(v *View) bool {
			found := 0
			for _, p := range []string{"modes/own.cue", "millrace.cue"} {
				if d, ok := v.Git.Committed[p]; ok && d == v.Compiled.Files[p] {
					found++
				}
			}
			return found == n
		}
	}
	x.until("not committed", held(0))
	x.git("add", ".")
	x.git("commit", "-q", "-m", "workflow")
	x.until("both committed", held(2))
}

func TestBranchCheckoutUnderTheObservers(t *testing.T) {
	x := observe(t, ObserveOptions{Watch: true})
	x.git("init")
	x.git("add", ".")
	x.git("commit", "-q", "-m", "empty")
	x.git("checkout", "-q", "-b", "work")
	for _, id := range []string{"a", "b", "c"} {
		x.write("intake/"+id+".md", taskDoc(id))
	}
	x.git("add", ".")
	x.git("commit", "-q", "-m", "work")
	x.until("all", func(v *View) bool { return len(v.Intake.ByKey) == 3 })
	x.admitAll()
	x.git("checkout", "-q", "main")
	x.until("the absence, on another branch", func(v *View) bool {
		return v.Git.Branch == "main" && len(v.Intake.ByKey) == 0 && len(v.Intake.Unreconciled) == 3
	})
	x.git("rm", "-q", Folder+"/intake/.gitkeep")
	if err := os.RemoveAll(filepath.Join(x.w.Dir, IntakeDir)); err != nil { // empty folders in it, which git does not know, kept it
		t.Fatal(err)
	}
	x.until("the folder's absence", func(v *View) bool { return !v.Intake.Complete })
	x.git("reset", "-q", "--hard")
	x.git("checkout", "-q", "work")
	x.until("the return", func(v *View) bool {
		return v.Git.Branch == "work" && len(v.Intake.ByKey) == 3 && len(v.Intake.Unreconciled) == 0
	})
}
