package systemtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/schema"
)

// The tests of this file are named after faults seen in runtimes of this kind (docs/faults.md). Each
// shows what happens here instead.

func (p *project) startDaemon(args ...string) *exec.Cmd {
	p.t.Helper()
	cmd := p.command(append([]string{"run", "daemon"}, args...)...)
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

func (p *project) untilIdle() { p.t.Helper(); p.must("run", "daemon", "--until", "idle") }

func (p *project) stateIs(family, id, state string) bool {
	it := p.state().Items[schema.Key{Family: family, ID: id}]
	return it != nil && it.State == state
}

func (p *project) totalStarts() int {
	n := 0
	for _, c := range p.starts() {
		n += c
	}
	return n
}

func TestFaultKillInAStageLeavesALock(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			p := newProject(t)
			p.write("agent/delay", "700")
			p.drop("tasks/a.yaml", task("a"))
			daemon := p.startDaemon()
			p.eventually("an agent works", func() bool { return p.totalStarts() == 1 })
			if err := daemon.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			_ = daemon.Wait()
			if n := len(p.processes("agent")); n != 1 {
				t.Fatalf("%d agents work after the daemon has gone, want the one", n)
			}
			p.write("agent/delay", "0")
			p.untilIdle() // goes on by itself, nothing to clear
			if !p.stateIs("task", "a", schema.StateDone) {
				t.Fatalf("a is %s", p.item("task", "a").State)
			}
			for request, n := range p.starts() {
				if n != 1 {
					t.Errorf("%s was started %d times", request, n)
				}
			}
			if n := p.totalStarts(); n != 3 {
				t.Errorf("%d agent starts for three stages: something was rerun", n)
			}
		})
	}
}

func TestFaultStopLeavesAFlag(t *testing.T) {
	p := newProject(t)
	p.startDaemon()
	p.eventually("the daemon runs", func() bool { code, _, _ := p.run("lock", "status"); return code == 0 && p.daemonRuns() })
	p.must("control", "stop")
	p.eventually("the daemon has ended", func() bool { return !p.daemonRuns() })
	p.drop("tasks/a.yaml", task("a"))
	p.untilIdle()
	if !p.stateIs("task", "a", schema.StateDone) {
		t.Fatal("a later start obeyed the stop again")
	}
}

func (p *project) daemonRuns() bool {
	var st struct {
		Daemon struct {
			Running bool `json:"running"`
		} `json:"daemon"`
	}
	if err := json.Unmarshal([]byte(p.must("status", "-o", "json")), &st); err != nil {
		p.t.Fatal(err)
	}
	return st.Daemon.Running
}

func TestFaultSingleTicksNeverAdvance(t *testing.T) {
	one, many := newProject(t), newProject(t)
	for _, p := range []*project{one, many} {
		p.drop("tasks/a.yaml", task("a"))
		p.drop("tasks/b.yaml", task("b", "depends_on: [a]"))
	}
	many.must("run", "daemon", "--max-ticks", "4")
	for range 4 {
		one.must("run", "daemon", "--max-ticks", "1")
	}
	if a, b := one.totalStarts(), many.totalStarts(); a != b || a == 0 {
		t.Errorf("four single ticks started %d stages, one run of four ticks %d", a, b)
	}
	for _, id := range []string{"a", "b"} {
		x, y := one.item("task", id), many.item("task", id)
		if x.State != y.State || x.Attempts != y.Attempts {
			t.Errorf("%s: %s after single ticks, %s after one run", id, x.State, y.State)
		}
	}
}

func TestFaultDamagedStateFileStopsEverything(t *testing.T) {
	damage := map[string]string{"empty": "", "truncated": `{"schema_ver`, "wrong type": `["a list"]`}
	for name, bytes := range damage {
		t.Run(name, func(t *testing.T) {
			p := newProject(t)
			p.drop("tasks/a.yaml", task("a"))
			p.untilIdle()
			var hit int
			for _, rel := range []string{"applied", "snapshot", "checkpoint", "control.json", "compiled_plan.json", "status/task/a.json"} {
				file := p.path("millrace-agents", "state", filepath.FromSlash(rel))
				if _, err := os.Stat(file); err == nil {
					hit++
					if err := os.WriteFile(file, []byte(bytes), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			if hit < 4 {
				t.Fatalf("only %d state files to damage", hit)
			}
			p.must("status")
			p.drop("tasks/b.yaml", task("b"))
			p.untilIdle()
			if !p.stateIs("task", "b", schema.StateDone) || !p.stateIs("task", "a", schema.StateDone) {
				t.Error("work did not go on over damaged projections")
			}
		})
	}
}

func TestFaultOneBadByteKillsTheDaemon(t *testing.T) {
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

func TestFaultTwoDaemonsStartedTogether(t *testing.T) {
	p := newProject(t)
	first := p.startDaemon()
	p.eventually("the daemon runs", p.daemonRuns)
	code, _, stderr := p.run("run", "daemon")
	if code != 6 || !strings.Contains(stderr, fmt.Sprint(first.Process.Pid)) {
		t.Errorf("second daemon: exit %d, want 6 and the holder's pid %d:\n%s", code, first.Process.Pid, stderr)
	}
}

func TestFaultReusedPidHoldsAStaleLock(t *testing.T) {
	p := newProject(t)
	p.untilIdle()
	// The message of a daemon long gone names a pid that lives again: ours.
	p.write("millrace-agents/state/daemon.json", fmt.Sprintf(`{"pid": %d, "instance": "gone"}`, os.Getpid()))
	if p.daemonRuns() {
		t.Error("status believes a message instead of the kernel's lock")
	}
	p.untilIdle()
}

func TestFaultRunIdsRepeat(t *testing.T) {
	a, b := newProject(t), newProject(t)
	seen := map[string]bool{}
	for _, p := range []*project{a, b} {
		p.drop("tasks/x.yaml", task("x"))
		p.untilIdle()
		entries, err := os.ReadDir(p.path("millrace-agents/runs"))
		if err != nil || len(entries) == 0 {
			t.Fatalf("no run folders: %v", err)
		}
		for _, e := range entries {
			if seen[e.Name()] {
				t.Errorf("run id %s came twice", e.Name())
			}
			seen[e.Name()] = true
		}
	}
}

func TestFaultPanicWhenStdoutIsClosed(t *testing.T) {
	p := newProject(t)
	for i := range 300 {
		p.drop(fmt.Sprintf("tasks/t%03d.yaml", i), task(fmt.Sprintf("t%03d", i), "depends_on: [never]"))
	}
	p.untilIdle()
	for _, args := range [][]string{
		{"queue", "ls"}, {"status"}, {"history"}, {"history", "-o", "json"}, {"intake", "ls"}, {"get", "task", "-o", "yaml"}, {"help"},
	} {
		stderr, err := p.readOneLine(args...)
		if err != nil {
			t.Errorf("%v | head -n 1: %v", args, err)
		}
		if stderr != "" {
			t.Errorf("%v | head -n 1 is noisy:\n%s", args, stderr)
		}
	}
}

// readOneLine runs a command whose reader goes away after the first line.
func (p *project) readOneLine(args ...string) (stderr string, err error) {
	p.t.Helper()
	r, w, err := os.Pipe()
	check(p.t, err)
	cmd := p.command(args...)
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = w, &errs
	check(p.t, cmd.Start())
	check(p.t, w.Close())
	var one [1]byte
	_, err = r.Read(one[:])
	check(p.t, err)
	check(p.t, r.Close())
	err = cmd.Wait()
	return errs.String(), err
}

func TestFaultSupervisorDiesAndItsAgentLivesOn(t *testing.T) {
	p := newProject(t)
	p.write("agent/delay", "2000")
	p.drop("tasks/a.yaml", task("a"))
	p.startDaemon()
	p.eventually("an agent works", func() bool { return p.totalStarts() == 1 })
	agents, supervisors := p.processes("agent"), p.processes("millrace-stage")
	if len(agents) != 1 || len(supervisors) != 1 {
		t.Fatalf("agents %v, supervisors %v", agents, supervisors)
	}
	p.write("agent/delay", "0")
	if err := syscall.Kill(supervisors[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.eventually("a is done", func() bool { return p.stateIs("task", "a", schema.StateDone) })
	if slices.Contains(p.processes("agent"), agents[0]) { // its pid may stay, as a zombie that nobody reaps
		t.Error("the orphaned agent lives on")
	}
	p.starts() // reports an overlap: the orphan had ended before the second agent began
}

func TestFaultOneExpiredKeyBlocksTheQueue(t *testing.T) {
	p := newProject(t)
	p.write("millrace-agents/millrace.cue", strings.Replace(fmt.Sprintf(testConfig, agentBin), agentBin, "/nowhere/agent", 1))
	for _, id := range []string{"a", "b", "c"} {
		p.drop("tasks/"+id+".yaml", task(id))
	}
	p.untilIdle()
	s := p.state()
	if n := s.Count("task", schema.StateBlocked); n != 0 {
		t.Errorf("%d tasks were blocked by a runner that cannot run", n)
	}
	if w := s.Control.Runners["agent"]; !w.Stalled || w.Class != schema.FailRunnerNotFound {
		t.Errorf("the runner is not stalled: %+v", w)
	}
	if out := p.must("why", "b"); !strings.Contains(out, "agent") {
		t.Errorf("why does not name the runner:\n%s", out)
	}
	p.write("millrace-agents/millrace.cue", fmt.Sprintf(testConfig, agentBin))
	p.untilIdle() // the configuration changed: the runner is tried again
	if n := p.state().Count("task", schema.StateDone); n != 3 {
		t.Errorf("%d of 3 tasks done after the runner was mended", n)
	}
	if n := p.item("task", "a").Counters; len(n) != 0 {
		t.Errorf("the runner's failure spent repair budgets: %v", n)
	}
}

func TestFaultFreshCloneRunsAllAgain(t *testing.T) {
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

func TestFaultOwnWritesWakeTheReconciler(t *testing.T) {
	p := newProject(t)
	p.drop("tasks/a.yaml", task("a"))
	daemon := p.startDaemon()
	p.eventually("a is done", func() bool { return p.stateIs("task", "a", schema.StateDone) })
	time.Sleep(4 * time.Second) // whatever the end of the work stirred up settles
	before := written(t, daemon.Process.Pid)
	files := listing(t, p.path("millrace-agents"))
	time.Sleep(3 * time.Second)
	if after := written(t, daemon.Process.Pid); after != before {
		t.Errorf("an idle daemon made %d write calls in three seconds", after-before)
	}
	if now := listing(t, p.path("millrace-agents")); now != files {
		t.Errorf("an idle daemon changed the workspace:\n%s\n%s", files, now)
	}
}

// written counts the write system calls that a process has made.
func written(t *testing.T, pid int) (calls int) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if _, err := fmt.Sscanf(line, "syscw: %d", &calls); err == nil {
			return calls
		}
	}
	t.Fatal("no syscw in /proc io")
	return 0
}

func listing(t *testing.T, dir string) string {
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, path, info.Size(), info.ModTime().UnixNano())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
