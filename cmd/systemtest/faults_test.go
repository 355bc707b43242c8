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
			if code, stdout, _ := p.run("verify"); code != 1 || !strings.Contains(stdout, "doctor --repair") {
				t.Errorf("verify does not say what mends what nobody has written since: exit %d\n%s", code, stdout)
			}
			p.must("doctor", "--repair")
			p.must("verify")
		})
	}
}

// The journal is the truth: what is damaged in it cannot be made up, and is named.
func TestFaultDamagedJournalIsNamed(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.drop("tasks/a.yaml", task("a"))
	p.untilIdle()
	segments, err := filepath.Glob(p.path("millrace-agents/state/journal/*"))
	check(t, err)
	data, err := os.ReadFile(segments[0])
	check(t, err)
	lines := bytes.SplitAfter(data, []byte("\n"))
	lines[len(lines)/2] = bytes.Replace(lines[len(lines)/2], []byte(":"), []byte(";"), 1)
	check(t, os.WriteFile(segments[0], bytes.Join(lines, nil), 0o644))
	for _, args := range [][]string{{"verify"}, {"doctor"}} {
		code, stdout, stderr := p.run(args...)
		if code == 0 || !strings.Contains(stdout+stderr, filepath.Base(segments[0])) {
			t.Errorf("%v: exit %d, want a message that names the segment\n%s%s", args, code, stdout, stderr)
		}
	}
	p.must("status") // from the snapshot
	check(t, os.Remove(p.path("millrace-agents/state/snapshot")))
	for _, args := range [][]string{{"status"}, {"run", "daemon", "--until", "idle"}, {"verify"}, {"doctor"}, {"history"}} {
		code, stdout, stderr := p.run(args...)
		if code == 0 || strings.Contains(stderr, "goroutine") || !strings.Contains(stdout+stderr, filepath.Base(segments[0])) {
			t.Errorf("%v without a snapshot: exit %d, want a message that names the segment\n%s%s", args, code, stdout, stderr)
		}
		t.Logf("%v: exit %d\n%s%s", args, code, stdout, stderr)
	}
}

func TestFaultTwoDaemonsStartedTogether(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	type end struct {
		pid, code int
		said      string
	}
	ended := make(chan end, 4)
	for range cap(ended) {
		cmd := p.command("run", "daemon")
		var said bytes.Buffer
		cmd.Stderr = &said
		check(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		go func() {
			_ = cmd.Wait()
			ended <- end{cmd.Process.Pid, cmd.ProcessState.ExitCode(), said.String()}
		}()
	}
	var others []end
	for len(others) < cap(ended)-1 {
		select {
		case e := <-ended:
			others = append(others, e)
		case <-time.After(time.Minute):
			t.Fatalf("%d of %d daemons have ended, want all but one", len(others), cap(ended))
		}
	}
	one := p.processes("millrace")
	if len(one) != 1 {
		t.Fatalf("daemons %v run, want one", one)
	}
	for _, e := range others {
		if e.code != 6 || !strings.Contains(e.said, fmt.Sprintf("process %d", one[0])) {
			t.Errorf("a daemon beside process %d: exit %d, want 6 and who holds the workspace:\n%s", one[0], e.code, e.said)
		}
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

// Every start in a container's fresh pid namespace has the same pids.
func TestFaultRunIdsRepeat(t *testing.T) {
	t.Parallel()
	fresh := []string{"unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"}
	if exec.Command(fresh[0], append(fresh[1:], "true")...).Run() != nil {
		t.Log("no pid namespaces to be had here: the ids of ordinary starts are compared")
		fresh = []string{"env"}
	}
	p, script := newProject(t), ""
	for _, stage := range []string{"builder", "troubleshooter", "consultant"} {
		script += stage + strings.Repeat(" BLOCKED", 20) + "\n"
	}
	p.write("agent/x", script)
	seen, evidence := map[string]bool{}, ""
	for try := range 3 {
		if try == 0 {
			p.drop("tasks/x.yaml", task("x"))
		} else {
			p.must("queue", "retry-blocked", "x", "--reason", "test")
		}
		cmd := p.command("run", "daemon", "--until", "idle")
		cmd.Path, cmd.Args = "", append(append(slices.Clone(fresh), millrace), cmd.Args[1:]...)
		path, err := exec.LookPath(fresh[0])
		check(t, err)
		cmd.Path = path
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
		entries, err := os.ReadDir(p.path("millrace-agents/runs"))
		check(t, err)
		if len(entries) != try+1 {
			t.Fatalf("%d run folders after %d runs", len(entries), try+1)
		}
		for _, e := range entries {
			if name := e.Name(); !seen[name] {
				seen[name] = true
				evidence += listing(t, p.path("millrace-agents/runs", name))
			}
		}
	}
	if now := listing(t, p.path("millrace-agents/runs")); !sameLines(now, evidence) {
		t.Errorf("evidence of an earlier run was changed:\n%s\nwas\n%s", now, evidence)
	}
	p.must("verify")
}

// sameLines reports whether everything that was listed is still listed as it was.
func sameLines(now, was string) bool {
	for line := range strings.Lines(was) {
		if !strings.Contains(now, line) {
			return false
		}
	}
	return true
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

// A daemon works on when nobody reads its monitor any more.
func TestFaultPanicWhenTheMonitorIsClosed(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"basic", "json"} {
		p := newProject(t)
		p.drop("tasks/a.yaml", task("a"))
		stderr, err := p.readOneLine("run", "daemon", "--until", "idle", "--monitor", kind)
		if err != nil || strings.Contains(stderr, "panic") || strings.Contains(stderr, "pipe") {
			t.Errorf("the daemon of a closed %s monitor: %v\n%s", kind, err, stderr)
		}
		if !p.stateIs("task", "a", schema.StateDone) {
			t.Error("work ended with the monitor")
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
