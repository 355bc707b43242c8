package workspace

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"millrace/schema"
)

const taskText = `# Add a flag

Task-ID: %ID%
Title: Add a flag

Acceptance:
- it works
`

func taskDoc(id string) string { return strings.ReplaceAll(taskText, "%ID%", id) }

// A watched is a workspace in a temp folder with observers on it.
type watched struct {
	t   *testing.T
	w   *Workspace
	o   *Observers
	dir string

	once sync.Once
}

func observe(t *testing.T, opt ObserveOptions) *watched {
	t.Helper()
	project := tempWorkspace(t)
	if _, err := Init(project, InitOptions{}); err != nil {
		t.Fatal(err)
	}
	return observeAt(t, project, opt)
}

func observeAt(t *testing.T, project string, opt ObserveOptions) *watched {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) })
	w, err := Open(project)
	if err != nil {
		t.Fatal(err)
	}
	o, err := w.Observe(opt)
	if err != nil {
		t.Fatal(err)
	}
	x := &watched{t: t, w: w, o: o, dir: w.Dir}
	t.Cleanup(x.close)
	return x
}

func (x *watched) close() {
	x.once.Do(func() {
		if err := errors.Join(x.o.Close(), x.w.Close()); err != nil {
			x.t.Error(err)
		}
	})
}

// round refreshes once and shows the view to do, under the lock; do may commit.
func (x *watched) round(do func(v *View) *Mutation) {
	x.t.Helper()
	if err := x.o.Refresh(context.Background()); err != nil {
		x.t.Fatal(err)
	}
	x.view(do)
}

func (x *watched) view(do func(v *View) *Mutation) {
	x.t.Helper()
	_, err := x.w.Transact(context.Background(), func(s *State) (*Mutation, error) { return do(x.o.View(s)), nil })
	if err != nil {
		x.t.Fatal(err)
	}
}

// until refreshes as the loop does, on hints and timers, until ok holds of a view.
func (x *watched) until(what string, ok func(v *View) bool) {
	x.t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		done := false
		x.round(func(v *View) *Mutation { done = ok(v); return nil })
		if done {
			return
		}
		if time.Now().After(deadline) {
			x.t.Fatalf("never seen: %s", what)
		}
		x.sleep(time.Until(deadline))
	}
}

// sleep waits as the loop does, at most for so long; it reports whether something woke it.
func (x *watched) sleep(most time.Duration) bool {
	due := most
	if next := x.o.Next(); !next.IsZero() {
		due = min(due, max(0, time.Until(next)))
	}
	select {
	case <-x.o.Hints():
		return true
	case <-time.After(due):
		return due < most
	}
}

// settle refreshes until nothing is due and nothing was hinted at.
func (x *watched) settle() {
	x.t.Helper()
	x.until("rest", func(v *View) bool {
		next := x.o.Next()
		return v.Compiled.Ready && len(x.o.hints) == 0 && (next.IsZero() || time.Until(next) > time.Second)
	})
}

func (x *watched) write(name, data string) {
	x.t.Helper()
	full := filepath.Join(x.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		x.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(data), 0o644); err != nil {
		x.t.Fatal(err)
	}
}

// drop prepares a file elsewhere and renames it in.
func (x *watched) drop(name, data string) {
	x.t.Helper()
	temp := filepath.Join(x.dir, "state", "drop")
	if err := os.WriteFile(temp, []byte(data), 0o644); err != nil {
		x.t.Fatal(err)
	}
	x.rename("state/drop", name)
}

func (x *watched) rename(from, to string) {
	x.t.Helper()
	if err := os.Rename(filepath.Join(x.dir, from), filepath.Join(x.dir, to)); err != nil {
		x.t.Fatal(err)
	}
}

func (x *watched) remove(name string) {
	x.t.Helper()
	if err := os.RemoveAll(filepath.Join(x.dir, name)); err != nil {
		x.t.Fatal(err)
	}
}

func (x *watched) git(args ...string) string {
	x.t.Helper()
	return gitIn(x.t, x.w.Project, args...)
}

func gitIn(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func taskKey(id string) schema.Key { return schema.Key{Family: "task", ID: id} }

// admit commits what intake would: the item with its document in the claimable folder.
func admitDoc(v *View, d Declared) *Mutation {
	doc := v.Registry.Admit(d.Doc, "operator", v.Now)
	data := v.Registry.Render(doc)
	it := &schema.Item{
		SchemaVersion: schema.Version, Family: d.Key.Family, ID: d.Key.ID, State: schema.StateQueue, Generation: 1,
		Path: "tasks/queue/" + d.Key.ID + ".md", Document: schema.DigestOf(data), Source: "declaration",
		Declared: &schema.Declaration{Path: d.Path, Digest: d.Digest}, CreatedAt: v.Now, Updated: v.Now,
	}
	m := &Mutation{By: "test", Why: "admit"}
	m.PutFile(it.Path, "", data)
	m.PutItem(it)
	return m
}

// admitAll reconciles every valid declaration.
func (x *watched) admitAll() {
	x.t.Helper()
	for more := true; more; {
		more = false
		x.until("documents", func(v *View) bool { return v.Compiled.Ready })
		x.view(func(v *View) *Mutation {
			for _, k := range v.Intake.Unreconciled {
				if d := v.Intake.ByKey[k]; len(d) == 1 && v.Items[k] == nil {
					more = true
					return admitDoc(v, d[0])
				}
			}
			return nil
		})
	}
}

func TestInitThenDropIsSeenAndAdmitted(t *testing.T) {
	x := observe(t, ObserveOptions{Watch: true})
	x.settle()
	x.drop("intake/a.md", taskDoc("a"))
	x.until("the declaration", func(v *View) bool { return len(v.Intake.ByKey[taskKey("a")]) == 1 })
	x.round(func(v *View) *Mutation {
		if !v.Intake.Complete || !slices.Equal(v.Intake.Unreconciled, []schema.Key{taskKey("a")}) {
			t.Errorf("unreconciled %v, complete %v", v.Intake.Unreconciled, v.Intake.Complete)
		}
		if v.Compiled.Plan == nil {
			t.Errorf("no plan: %v", v.Compiled.Diags)
		}
		return admitDoc(v, v.Intake.ByKey[taskKey("a")][0])
	})
	x.settle()
	x.round(func(v *View) *Mutation {
		if len(v.Intake.Unreconciled) > 0 || len(v.Hands) > 0 || len(v.Notices) > 0 {
			t.Errorf("unreconciled %v, hands %v, notices %v", v.Intake.Unreconciled, v.Hands, v.Notices)
		}
		if d := v.Intake.ByKey[taskKey("a")][0]; d.Doc != nil || v.Intake.Files["intake/a.md"].Docs[0].Doc != nil {
			t.Error("the document of an admitted declaration is kept in memory")
		}
		return nil
	})
}
