package intake_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"millrace/controllers/control"
	"millrace/controllers/intake"
	"millrace/controllers/plan"
	"millrace/reconcile"
	"millrace/schema"
	"millrace/workspace"
)

// A daemon runs the loop over a real workspace with every controller that decides about files.
type daemon struct {
	t   *testing.T
	dir string // millrace-agents
	w   *workspace.Workspace
}

func newDaemon(t *testing.T, git bool) *daemon {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) })
	project := t.TempDir()
	if git {
		runGit(t, project, "init", "-q", "-b", "main")
	}
	if _, err := workspace.Init(project, workspace.InitOptions{Mode: "standard"}); err != nil {
		t.Fatal(err)
	}
	w, err := workspace.Open(project)
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{t, w.Dir, w}
	d.write("millrace.cue", "runtime: {default_mode: \"standard\", prune_settle: \"1s\"}\nrunners: {default_runner: \"fake\", fake: {adapter: \"command\", run: [\"true\"]}}\n")
	d.start()
	return d
}

// start runs a daemon until the test ends; when it returns, the daemon has its plan.
func (d *daemon) start() {
	d.t.Helper()
	obs, err := d.w.Observe(workspace.ObserveOptions{Watch: true, Daemon: "daemon-test"})
	if err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(d.t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := reconcile.Run(ctx, reconcile.Options{Workspace: d.w, Observers: obs,
			Controllers: []reconcile.Controller{control.New(), plan.New(), intake.New()}})
		done <- err
	}()
	d.t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			d.t.Errorf("the daemon ended with %v", err)
		}
		d.verify()
		if err := errors.Join(obs.Close(), d.w.Close()); err != nil {
			d.t.Error(err)
		}
	})
	d.until("a plan", func(s *workspace.State) bool { return s.Control.Plan != "" })
}

func (d *daemon) verify() {
	d.t.Helper()
	s, err := d.w.Load()
	if err != nil {
		d.t.Fatal(err)
	}
	for _, f := range s.Invariants() {
		d.t.Errorf("invariant: %+v", f)
	}
	for k, it := range s.Items {
		data, err := os.ReadFile(filepath.Join(d.dir, it.Path))
		if err != nil || schema.DigestOf(data) != it.Document {
			d.t.Errorf("%s: its document %s is not what the journal says (%v)", k, it.Path, err)
		}
	}
}

// until waits for the state, as a reader without the lock sees it.
func (d *daemon) until(what string, ok func(*workspace.State) bool) *workspace.State {
	d.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		s, err := d.w.Load()
		if err != nil {
			d.t.Fatal(err)
		}
		if ok(s) {
			return s
		}
		if time.Now().After(end) {
			d.t.Fatalf("waited in vain for %s; items %+v, control %+v", what, s.Items, s.Control)
		}
	}
}

func (d *daemon) item(id, state string, generation int) *schema.Item {
	d.t.Helper()
	k := schema.Key{Family: "task", ID: id}
	s := d.until(fmt.Sprintf("%s %s, generation %d", id, state, generation), func(s *workspace.State) bool {
		it := s.Items[k]
		return it != nil && it.State == state && it.Generation == generation
	})
	return s.Items[k]
}

func (d *daemon) write(name, text string) {
	d.t.Helper()
	path := filepath.Join(d.dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *daemon) remove(name string) {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.dir, name)); err != nil {
		d.t.Fatal(err)
	}
}

func (d *daemon) move(from, to string) {
	d.t.Helper()
	if err := os.Rename(filepath.Join(d.dir, from), filepath.Join(d.dir, to)); err != nil {
		d.t.Fatal(err)
	}
}

func runGit(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"}, args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %s: %v\n%s", args[0], err, out)
	}
}

func taskText(id, title string) string {
	return fmt.Sprintf("# %s\n\nTask-ID: %s\n\nAcceptance:\n- it works\n", title, id)
}

func TestFileFromDropToPruneAndBack(t *testing.T) {
	d := newDaemon(t, false)
	d.write("intake/tasks/a.md", taskText("a", "First"))
	d.item("a", schema.StateQueue, 1)
	d.write("intake/tasks/a.md", taskText("a", "Second"))
	d.item("a", schema.StateQueue, 2)
	d.move("intake/tasks/a.md", "intake/_a.md") // an ignored name: it is gone
	d.item("a", schema.StateCancelled, 2)
	d.move("intake/_a.md", "intake/tasks/elsewhere.md")
	it := d.item("a", schema.StateQueue, 2)
	if it.Declared.Path != "intake/tasks/elsewhere.md" {
		t.Errorf("declared in %s", it.Declared.Path)
	}
}

func TestHandsInTheLifecycleFolders(t *testing.T) {
	d := newDaemon(t, false)
	for _, id := range []string{"moved", "edited", "deleted"} {
		d.write("intake/tasks/"+id+".md", taskText(id, id))
		d.item(id, schema.StateQueue, 1)
	}
	d.move("tasks/queue/moved.md", "tasks/cancelled/moved.md")
	d.item("moved", schema.StateCancelled, 1)

	path := filepath.Join(d.dir, "tasks/queue/edited.md")
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d.write("tasks/queue/edited.md", taskText("edited", "Scribbled"))
	d.until("the edit is reverted", func(*workspace.State) bool {
		now, err := os.ReadFile(path)
		return err == nil && string(now) == string(was)
	})
	kept := 0
	err = filepath.WalkDir(filepath.Join(d.dir, workspace.ForeignDir), func(p string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			if data, _ := os.ReadFile(p); strings.Contains(string(data), "Scribbled") {
				kept++
			}
		}
		return err
	})
	if err != nil || kept != 1 {
		t.Errorf("the edit is kept %d times (%v)", kept, err)
	}

	d.remove("tasks/queue/deleted.md")
	d.until("the document is restored", func(*workspace.State) bool {
		_, err := os.Stat(filepath.Join(d.dir, "tasks/queue/deleted.md"))
		return err == nil
	})

	d.write("tasks/queue/foreign.md", taskText("foreign", "By hand"))
	it := d.item("foreign", schema.StateQueue, 1)
	if it.Source != "foreign" || it.Declared != nil {
		t.Errorf("adopted as %+v", it)
	}
	d.write("tasks/queue/foreign.md", taskText("foreign", "By hand, better"))
	if it := d.item("foreign", schema.StateQueue, 2); it.Title != "By hand, better" {
		t.Errorf("titled %q", it.Title)
	}
	d.remove("tasks/queue/foreign.md")
	d.until("the adopted document is restored", func(*workspace.State) bool {
		data, err := os.ReadFile(filepath.Join(d.dir, "tasks/queue/foreign.md"))
		return err == nil && strings.Contains(string(data), "better")
	})
}

func TestBurstDoesNotTripTheBreaker(t *testing.T) {
	d := newDaemon(t, false)
	const files = 500
	for i := range files {
		d.write(fmt.Sprintf("intake/tasks/t%03d.md", i), taskText(fmt.Sprintf("t%03d", i), "One of many"))
	}
	s := d.until("all are queued", func(s *workspace.State) bool { return s.Count("task", schema.StateQueue) == files })
	if most := uint64(files/4 + 20); s.Seq > most {
		t.Errorf("%d records for %d admissions", s.Seq, files)
	}
}

func TestCheckoutUnderTheDaemon(t *testing.T) {
	d := newDaemon(t, true)
	runGit(t, d.w.Project, "add", "-A")
	runGit(t, d.w.Project, "commit", "-qm", "workspace")
	runGit(t, d.w.Project, "branch", "bare")
	for _, id := range []string{"a", "b"} {
		d.write("intake/tasks/"+id+".md", taskText(id, id))
		d.item(id, schema.StateQueue, 1)
	}
	runGit(t, d.w.Project, "add", "-A")
	runGit(t, d.w.Project, "commit", "-qm", "tasks")

	runGit(t, d.w.Project, "checkout", "-q", "bare") // both declarations vanish
	d.until("the absence is seen", func(s *workspace.State) bool {
		it := s.Items[schema.Key{Family: "task", ID: "a"}]
		return it.Declared.Absent != nil && it.Declared.Branch == "main"
	})
	time.Sleep(2 * time.Second) // longer than prune_settle
	d.item("a", schema.StateQueue, 1)
	d.item("b", schema.StateQueue, 1)

	runGit(t, d.w.Project, "checkout", "-q", "main")
	d.until("they are back", func(s *workspace.State) bool {
		for _, it := range s.Items {
			if it.State != schema.StateQueue || it.Declared.Absent != nil {
				return false
			}
		}
		return true
	})
}

func TestSettleAdmitsWithoutADaemon(t *testing.T) {
	project := t.TempDir()
	if _, err := workspace.Init(project, workspace.InitOptions{Mode: "standard"}); err != nil {
		t.Fatal(err)
	}
	w, err := workspace.Open(project)
	if err != nil {
		t.Fatal(err)
	}
	obs, err := w.Observe(workspace.ObserveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(obs.Close(), w.Close()); err != nil {
			t.Error(err)
		}
	}()
	d := &daemon{t, w.Dir, w}
	d.write("millrace.cue", "runtime: default_mode: \"standard\"\nrunners: {default_runner: \"fake\", fake: {adapter: \"command\", run: [\"true\"]}}\n")
	d.write("intake/tasks/a.md", taskText("a", "First"))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err = reconcile.Settle(ctx, reconcile.Options{Workspace: w, Observers: obs,
		Controllers: []reconcile.Controller{control.New(), plan.New(), intake.New()}})
	if err != nil {
		t.Fatal(err)
	}
	d.item("a", schema.StateQueue, 1)
	d.verify()
}
