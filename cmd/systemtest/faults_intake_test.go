package systemtest

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/schema"
)

func TestFaultOneBadByteKillsTheDaemon(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.drop("tasks/bad.yaml", strings.Replace(task("bad"), "Task bad", "Task \xff bad", 1))
	p.drop("tasks/good.yaml", task("good"))
	p.untilIdle()
	if !p.stateIs("task", "good", schema.StateDone) {
		t.Error("the good one did not go on")
	}
	out := p.must("intake", "ls")
	if !strings.Contains(out, "bad.yaml") || !strings.Contains(out, "byte") {
		t.Errorf("intake ls does not name the file and the offset:\n%s", out)
	}
}

func TestFaultSymlinkIsFollowed(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	outside := filepath.Join(t.TempDir(), "outside.yaml")
	if err := os.WriteFile(outside, []byte(task("outside")), 0o644); err != nil {
		t.Fatal(err)
	}
	p.mkdir("millrace-agents/intake/tasks")
	if err := os.Symlink(outside, p.path("millrace-agents/intake/tasks/link.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(p.path("millrace-agents/intake/tasks/pipe.yaml"), 0o644); err != nil {
		t.Fatal(err)
	}
	elsewhere := t.TempDir()
	check(t, os.WriteFile(filepath.Join(elsewhere, "inside.yaml"), []byte(task("inside")), 0o644))
	check(t, os.Symlink(elsewhere, p.path("millrace-agents/intake/linked")))
	p.drop("folder.yaml/good.yaml", task("good")) // a folder is a folder, whatever its name
	p.untilIdle()
	for _, id := range []string{"outside", "inside"} {
		if p.state().Items[schema.Key{Family: "task", ID: id}] != nil {
			t.Errorf("a link out of the workspace was followed to %s", id)
		}
	}
	if !p.stateIs("task", "good", schema.StateDone) {
		t.Error("a file in a folder was ignored")
	}
	out := p.must("intake", "ls")
	for _, name := range []string{"link.yaml", "pipe.yaml", "intake/linked"} {
		if !strings.Contains(out, name) {
			t.Errorf("intake ls does not show %s:\n%s", name, out)
		}
	}
}

func TestFaultIDBothQueuedAndDoneLoopsForEver(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.drop("tasks/a.yaml", task("a"))
	p.untilIdle()
	before := p.totalStarts()
	done, err := os.ReadFile(p.path("millrace-agents/tasks/done/a.md"))
	if err != nil {
		t.Fatal(err)
	}
	p.write("millrace-agents/tasks/queue/a.md", string(done)) // by hand, into the claimable folder
	p.untilIdle()
	if n := p.totalStarts(); n != before {
		t.Errorf("%d agents were launched for an id that is done", n-before)
	}
	for _, args := range [][]string{{"status"}, {"doctor"}} {
		if _, out, _ := p.run(args...); !strings.Contains(out, "tasks/queue/a.md: a copy of task/a, which is done") {
			t.Errorf("%v does not show the copy:\n%s", args, out)
		}
	}
	p.drop("again.yaml", task("a")) // nor by the front door
	p.untilIdle()
	if n := p.totalStarts(); n != before {
		t.Errorf("%d agents were launched for an id that is done", n-before)
	}
	if out := p.must("intake", "ls"); !strings.Contains(out, "declared more than once") {
		t.Errorf("intake ls does not show the second declaration:\n%s", out)
	}
}

func TestFaultDependencyCycleIsSilentlyIdle(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.drop("tasks/cycle.yaml", task("hen", "depends_on: [egg]")+"---\n"+task("egg", "depends_on: [hen]"))
	p.drop("tasks/lost.yaml", task("lost", "depends_on: [nobody]"))
	p.untilIdle()
	if n := p.totalStarts(); n != 0 {
		t.Errorf("%d agents were started", n)
	}
	for _, want := range []struct{ in, says string }{
		{"status", "egg → hen → egg"}, {"status", "needs nobody, which does not exist"},
		{"doctor", "egg → hen → egg"}, {"doctor", "needs nobody, which does not exist"},
		{"why lost", "needs nobody, which does not exist"}, {"why hen", "hen → egg → hen"}, {"why egg", "egg → hen → egg"},
		{"intake ls", "egg → hen → egg"},
	} {
		if _, out, _ := p.run(strings.Fields(want.in)...); !strings.Contains(out, want.says) {
			t.Errorf("%s does not say %q:\n%s", want.in, want.says, out)
		}
	}
	p.drop("tasks/lost.yaml", task("lost")) // and what was shown is what clears it
	p.drop("tasks/cycle.yaml", task("hen", "depends_on: [egg]")+"---\n"+task("egg"))
	p.untilIdle()
	if n := p.state().Count("task", schema.StateDone); n != 3 {
		t.Errorf("%d of 3 tasks are done", n)
	}
}

func TestFaultHalfWrittenFiles(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.startDaemon()
	p.eventually("the daemon runs", p.daemonRuns)
	slowly := map[string]string{
		"slow.yaml":       task("slow", "summary: written in many pieces", "target_paths: [a, b, c]"),
		"ideas/slowly.md": "# Slowly\n\nHalf of\n\nan idea is\n\nno idea.\n",
	}
	open := map[string]*os.File{}
	for name := range slowly {
		check(t, os.MkdirAll(filepath.Dir(p.path("millrace-agents/intake", name)), 0o755))
		f, err := os.Create(p.path("millrace-agents/intake", name))
		check(t, err)
		open[name] = f
	}
	for i := range 8 {
		for name, text := range slowly {
			_, err := open[name].WriteString(text[i*len(text)/8 : (i+1)*len(text)/8])
			check(t, err)
		}
		time.Sleep(80 * time.Millisecond)
	}
	if n := len(p.state().Items); n != 0 {
		t.Errorf("%d items came of files still open for writing", n)
	}
	if out := p.must("intake", "ls"); strings.Contains(out, "rejected") {
		t.Errorf("a slow writer was rejected:\n%s", out)
	}
	for _, f := range open {
		check(t, f.Close())
	}
	p.eventually("slow is done", func() bool { return p.stateIs("task", "slow", schema.StateDone) })
	p.eventually("the idea is a spec", func() bool { return p.state().Items[schema.Key{Family: "spec", ID: "idea-slowly"}] != nil })
	if it := p.item("task", "slow"); it.Generation != 1 {
		t.Errorf("a slowly written task was admitted %d times", it.Generation)
	}
	kept, err := filepath.Glob(p.path("millrace-agents/ideas/*"))
	check(t, err)
	if len(kept) != 1 {
		t.Fatalf("ideas kept: %v, want one", kept)
	}
	if text, err := os.ReadFile(kept[0]); err != nil || !strings.Contains(string(text), "no idea.") {
		t.Errorf("half an idea was kept (%v):\n%s", err, text)
	}
}

func TestFaultEmptyIdeaStartsThePlanner(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.drop("ideas/empty.md", "\n\n")
	p.untilIdle()
	if n := len(p.state().Items); n != 0 {
		t.Errorf("%d items came of an empty idea", n)
	}
	if out := p.must("intake", "ls"); !strings.Contains(out, "empty.md") {
		t.Errorf("intake ls does not show the empty idea:\n%s", out)
	}
}

func TestFaultFreshCloneRunsAllAgain(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.drop("tasks/a.yaml", task("a"))
	p.drop("tasks/b.yaml", task("b"))
	p.untilIdle()
	p.git("add", "-A")
	p.git("commit", "-qm", "work")
	clone := &project{t: t, dir: filepath.Join(t.TempDir(), "clone")}
	p.git("clone", "-q", p.dir, clone.dir)
	t.Cleanup(clone.endStrays)
	clone.must("init")
	clone.mkdir("agent")
	if err := os.Remove(clone.path("agent/log")); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	clone.untilIdle()
	if n := clone.totalStarts(); n != 0 {
		t.Fatalf("a fresh clone started %d agents", n)
	}
	if out := clone.must("status"); !strings.Contains(out, "older than this workspace") || !strings.Contains(out, "queue admit") {
		t.Errorf("status does not show what is held and how to release it:\n%s", out)
	}
	clone.must("queue", "admit", "--done", "a")
	clone.must("queue", "admit", "b")
	clone.untilIdle()
	if !clone.stateIs("task", "b", schema.StateDone) || !clone.stateIs("task", "a", schema.StateDone) {
		t.Error("released work did not end done")
	}
	if n := clone.totalStarts(); n != 3 {
		t.Errorf("%d agent starts, want the three of b alone", n)
	}
}

func TestFaultBranchCheckoutCancelsWork(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.git("add", "-A")
	p.git("commit", "-qm", "empty")
	p.git("branch", "empty")
	p.must("control", "pause", "--reason", "test")
	p.drop("tasks/a.yaml", task("a"))
	p.startDaemon()
	p.eventually("a is queued", func() bool { return p.stateIs("task", "a", schema.StateQueue) })
	p.git("add", "-A")
	p.git("commit", "-qm", "a")
	time.Sleep(time.Second)
	p.git("checkout", "-q", "empty")
	time.Sleep(2 * time.Second) // several prune_settle
	if !p.stateIs("task", "a", schema.StateQueue) {
		t.Fatalf("a checkout cancelled work: a is %s", p.item("task", "a").State)
	}
	if out := p.must("status"); !strings.Contains(out, "branch") {
		t.Errorf("status does not say what is held, and why:\n%s", out)
	}
	p.git("checkout", "-q", "main")
	p.must("control", "resume", "--reason", "test")
	p.eventually("a is done", func() bool { return p.stateIs("task", "a", schema.StateDone) })
}

// What a prune did cancel comes back with its declaration, where it was.
func TestFaultPrunedWorkNeverComesBack(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.must("control", "pause", "--reason", "test")
	p.drop("tasks/a.yaml", task("a"))
	p.startDaemon()
	p.eventually("a is queued", func() bool { return p.stateIs("task", "a", schema.StateQueue) })
	file := p.path("millrace-agents/intake/tasks/a.yaml")
	check(t, os.Rename(file, file+".tmp"))
	p.eventually("a is cancelled", func() bool { return p.stateIs("task", "a", schema.StateCancelled) })
	check(t, os.Rename(file+".tmp", file))
	p.eventually("a is queued again", func() bool { return p.stateIs("task", "a", schema.StateQueue) })
	p.must("control", "resume")
	p.eventually("a is done", func() bool { return p.stateIs("task", "a", schema.StateDone) })
	if it := p.item("task", "a"); it.Generation != 1 {
		t.Errorf("a came back as generation %d", it.Generation)
	}
}
