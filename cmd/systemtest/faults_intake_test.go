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
	p.drop("tasks/good.yaml", task("good"))
	p.untilIdle()
	if p.state().Items[schema.Key{Family: "task", ID: "outside"}] != nil {
		t.Error("a link out of the workspace was followed")
	}
	out := p.must("intake", "ls")
	for _, name := range []string{"link.yaml", "pipe.yaml"} {
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
	if out := p.must("status"); !strings.Contains(out, "queue/a.md") {
		t.Errorf("status does not show the copy:\n%s", out)
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
	_, status, _ := p.run("status")
	if !strings.Contains(status, "hen") || !strings.Contains(status, "egg") {
		t.Errorf("status does not name the cycle:\n%s", status)
	}
	if out := p.must("why", "lost"); !strings.Contains(out, "nobody") {
		t.Errorf("why does not name the missing dependency:\n%s", out)
	}
	_, doctor, _ := p.run("doctor")
	if !strings.Contains(doctor, "nobody") {
		t.Errorf("doctor does not mention the missing dependency:\n%s", doctor)
	}
}

func TestFaultHalfWrittenFiles(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.startDaemon()
	p.eventually("the daemon runs", p.daemonRuns)
	file := p.path("millrace-agents/intake/slow.yaml")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	whole := task("slow", "summary: written in many pieces", "target_paths: [a, b, c]")
	for _, line := range strings.SplitAfter(whole, "\n") {
		if _, err := f.WriteString(line); err != nil {
			t.Fatal(err)
		}
		time.Sleep(60 * time.Millisecond)
	}
	if len(p.state().Items) != 0 {
		t.Error("a file still open for writing was read")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	p.eventually("slow is done", func() bool { return p.stateIs("task", "slow", schema.StateDone) })
	if it := p.item("task", "slow"); it.Generation != 1 {
		t.Errorf("a slowly written task was admitted %d times", it.Generation)
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
	p.git("checkout", "-q", "main")
	p.must("control", "resume", "--reason", "test")
	p.eventually("a is done", func() bool { return p.stateIs("task", "a", schema.StateDone) })
}
