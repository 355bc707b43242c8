package systemtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"millrace/schema"
)

// The tests named TestFault… are named after faults seen in runtimes of this kind; docs/faults.md lists
// them. Each shows what happens here instead.

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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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

func TestFaultTwoDaemonsStartedTogether(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	first := p.startDaemon()
	p.eventually("the daemon runs", p.daemonRuns)
	code, _, stderr := p.run("run", "daemon")
	if code != 6 || !strings.Contains(stderr, fmt.Sprint(first.Process.Pid)) {
		t.Errorf("second daemon: exit %d, want 6 and the holder's pid %d:\n%s", code, first.Process.Pid, stderr)
	}
}

func TestFaultReusedPidHoldsAStaleLock(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
