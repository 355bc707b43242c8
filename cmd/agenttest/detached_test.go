//go:build agents

package agenttest

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"millrace/cmd/agenttest/modelserver"
	"millrace/schema"
	"millrace/workspace"
)

// daemon starts one in the background. kill -9 of it is all that the test knows of its end.
func (w *world) daemon() *exec.Cmd {
	w.t.Helper()
	started := w.daemons()
	cmd := w.command(exec.Command(filepath.Join(w.bin, "millrace"), "run", "daemon"))
	check(w.t, cmd.Start())
	w.t.Cleanup(func() { kill(cmd) })
	w.eventually("a daemon runs", func() bool { return w.daemons() > started })
	return cmd
}

// kill ends a process at once, and returns when it has ended.
func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// events are those of a type in the journal, oldest first.
func (w *world) events(kind string) []workspace.Event {
	w.t.Helper()
	opened, err := workspace.Open(w.dir)
	check(w.t, err)
	defer opened.Close()
	var all []workspace.Event
	for rec, err := range opened.Records(1) {
		check(w.t, err)
		for _, e := range rec.Events {
			if e.Type == kind {
				all = append(all, e)
			}
		}
	}
	return all
}

func (w *world) daemons() int { return len(w.events(workspace.EvDaemon)) }

// detached are the processes of requests: supervisors, and apart from them agents and their tools.
func (w *world) detached() (supervisors, others []int) {
	for pid, line := range w.processes() {
		switch filepath.Base(strings.Fields(line)[0]) {
		case "millrace":
		case "millrace-stage":
			supervisors = append(supervisors, pid)
		default:
			others = append(others, pid)
		}
	}
	slices.Sort(supervisors)
	return supervisors, others
}

// changing does something while an agent works, and sees that it goes on under the same supervisor. What it has
// started to look around for a moment may have ended.
func (w *world) changing(what string, change func()) {
	w.t.Helper()
	supervisors, agents := w.detached()
	change()
	supervisorsNow, agentsNow := w.detached()
	same := slices.ContainsFunc(agents, func(pid int) bool { return slices.Contains(agentsNow, pid) })
	if len(supervisors) != 1 || !slices.Equal(supervisorsNow, supervisors) || !same {
		w.t.Errorf("after %s %v under %v are at work, want %v under %v", what, agentsNow, supervisorsNow, agents, supervisors)
	}
}

// The daemon is killed in the middle of each agent's work, twice: the same daemon comes back while the builder works,
// a newer one at another place while the checker does. Both times the agent is awaited, and nothing is paid twice.
func TestDaemonKilledAndUpgraded(t *testing.T) {
	eachAgent(t, func(t *testing.T, adapter string) {
		held := map[string]chan struct{}{"builder": make(chan struct{}), "checker": make(chan struct{})}
		asked := map[string]chan struct{}{"builder": make(chan struct{}), "checker": make(chan struct{})}
		m := newTeam()
		m.twist = func(at work, c modelserver.Call, r modelserver.Reply) modelserver.Reply {
			if ch := asked[at.stage]; ch != nil && len(c.Results) == 1 {
				delete(asked, at.stage)
				close(ch)
				r.Hold = held[at.stage]
			}
			return r
		}
		building, checking := asked["builder"], asked["checker"]
		w := newWorld(t, modelserver.Start(t, m.script).URL(), adapter)
		w.drop("tasks/greet.yaml", greet)

		daemon := w.daemon()
		w.await("the builder asks", building)
		w.changing("the daemon's death", func() {
			kill(daemon)
			daemon = w.daemon()
		})
		close(held["builder"])

		w.await("the checker asks", checking)
		w.changing("the upgrade", func() {
			kill(daemon)
			w.bin = filepath.Join(built, "fresh")
			if v := w.must("version"); !strings.Contains(v, upgraded) {
				t.Fatalf("the binary is not the new one: %s", v)
			}
			w.daemon()
		})
		close(held["checker"])
		w.eventually("the task is done", func() bool { return w.task("greet").State == schema.StateDone })

		m.assertPaid(t, w.assertWent("greet", "BUILDER_COMPLETE", "CHECKER_PASS", "UPDATE_COMPLETE"))
		if again := w.events(workspace.EvRestarted); len(again) > 0 {
			t.Errorf("stages were started again: %+v", again)
		}
	})
}

// The supervisor is killed, too, and with it what it knew: the next request goes on with the agent's session. The model
// is shown what was said and done before, nothing is done twice, and nothing is counted twice.
func TestSupervisorKilledSessionGoesOn(t *testing.T) {
	eachAgent(t, func(t *testing.T, adapter string) {
		var once sync.Once
		var remembered atomic.Bool
		edited := make(chan struct{})
		m := newTeam()
		m.twist = func(at work, c modelserver.Call, r modelserver.Reply) modelserver.Reply {
			if at.stage != "builder" {
				return r
			}
			if len(m.as) == 1 && len(c.Results) == len(edits(c.API)) {
				r.Stall = never
				once.Do(func() { close(edited) })
			}
			if at.again && strings.Contains(c.Prompt, "You were interrupted") {
				remembered.Store(true)
			}
			return r
		}
		w := newWorld(t, modelserver.Start(t, m.script).URL(), adapter)
		w.drop("tasks/greet.yaml", greet)
		w.daemon()
		w.await("the builder has edited", edited)
		supervisors, _ := w.detached()
		for _, pid := range supervisors {
			check(t, syscall.Kill(pid, syscall.SIGKILL))
		}
		w.eventually("the task is done", func() bool { return w.task("greet").State == schema.StateDone })
		trace := w.assertWent("greet", "", "BUILDER_COMPLETE", "CHECKER_PASS", "UPDATE_COMPLETE")
		if len(supervisors) != 1 || trace.Nodes[0].Failure != schema.FailSupervisorLost {
			t.Errorf("supervisors %v were killed; the first request: %+v", supervisors, trace.Nodes[0])
		}
		untold := ""
		if adapter == "claude_code" { // says what it has used when it ends, and not before
			untold = trace.Nodes[0].Request
		}
		m.assertCountedOnce(t, trace, untold)
		if !remembered.Load() {
			t.Error("the model was not shown what was said before, or not told that it was interrupted")
		}
		if got := w.read("greeting.txt"); got != "hello, world\n" {
			t.Errorf("greeting.txt says %q", got)
		}
	})
}

// Cancelling a task ends its agent and all that the agent has started, wherever that went.
func TestCancelEndsTheAgentAndItsTools(t *testing.T) {
	eachAgent(t, func(t *testing.T, adapter string) {
		m := newTeam()
		m.twist = func(_ work, _ modelserver.Call, _ modelserver.Reply) modelserver.Reply {
			return modelserver.Reply{Run: "sleep 3001 & setsid sleep 3002 & (setsid env -i $(command -v sleep) 3003 &) & sleep 3004"}
		}
		w := newWorld(t, modelserver.Start(t, m.script).URL(), adapter)
		w.drop("tasks/greet.yaml", greet)
		daemon := w.daemon()
		w.eventually("its tools are at work", func() bool { return len(sleepers(w)) == 4 })
		w.must("queue", "cancel", "greet", "--now", "--reason", "test")
		w.eventually("the task is cancelled", func() bool { return w.task("greet").State == schema.StateCancelled })
		kill(daemon)
		if left := w.processes(); len(left) > 0 || len(sleepers(w)) > 0 {
			t.Errorf("left running: %v, %v", left, sleepers(w))
		}
		w.must("verify")
	})
}

// sleepers are the processes called sleep whose folder is the project, with or without its environment.
func sleepers(w *world) []int {
	var pids []int
	for pid, line := range commandLines() {
		if cwd := folderOf(pid); strings.HasPrefix(filepath.Base(line), "sleep 300") && cwd == w.dir {
			pids = append(pids, pid)
		}
	}
	return pids
}
