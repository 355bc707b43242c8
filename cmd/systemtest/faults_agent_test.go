package systemtest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/schema"
)

func TestFaultSupervisorDiesAndItsAgentLivesOn(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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

// Both die, nobody is there, and the orphan does not listen: it is gone before its successor starts.
func TestFaultOrphanIgnoresItsEnd(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.shellAgent(`trap "" TERM HUP INT
exec 9>agent/busy
flock -n 9 || echo overlap >> agent/log
echo start $$ >> agent/log
while [ -e agent/hold ]; do sleep 0.02; done
echo '### BLOCKED'
`, "")
	p.write("agent/hold", "")
	p.drop("tasks/a.yaml", task("a"))
	daemon := p.startDaemon()
	log := func() string { data, _ := os.ReadFile(p.path("agent/log")); return string(data) }
	starts := func(n int) func() bool { return func() bool { return strings.Count(log(), "start ") == n } }
	p.eventually("an agent works", starts(1))
	kill(t, daemon)
	for _, pid := range p.processes("millrace-stage") {
		check(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	var orphans []int // what the orphan forks is called like it until it has become sleep
	p.eventually("one orphan", func() bool { orphans = p.processes("bash"); return len(orphans) == 1 })
	p.startDaemon()
	p.eventually("a successor works", starts(2))
	if slices.Contains(p.processes("bash"), orphans[0]) {
		t.Error("the orphan lives on beside its successor")
	}
	check(t, os.Remove(p.path("agent/hold")))
	p.eventually("a is blocked", func() bool { return p.stateIs("task", "a", schema.StateBlocked) })
	if strings.Contains(log(), "overlap") {
		t.Errorf("two agents worked at once:\n%s", log())
	}
}

// leaving is an agent that leaves processes behind, each of which gets out of one kind of reach: its
// process group, its session, its environment, the order to end.
const leaving = `#!/bin/bash
cd agent
setsid sleep 3001 &
(setsid env -i /bin/sleep 3002 &) &
setsid bash -c 'trap "" TERM; while :; do sleep 3003; done' &
sleep 3004
`

func TestFaultTimeoutKillsOnlyTheDirectChild(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.env = append(p.env, "MILLRACE_GRACE=500ms")
	p.write("agent.sh", leaving)
	check(t, os.Chmod(p.path("agent.sh"), 0o755))
	p.write("millrace-agents/millrace.cue", fmt.Sprintf(testConfig, "./agent.sh")+`stages: builder: timeout: "2s"`+"\n")
	p.drop("tasks/a.yaml", task("a"))
	p.startDaemon()
	alive := func() []int { return append(p.processes("sleep"), p.processes("bash")...) }
	p.eventually("all of them work", func() bool { return len(p.processes("sleep")) == 4 })
	of := alive()
	p.eventually("the stage has timed out", func() bool { return p.item("task", "a").Last != nil })
	for _, pid := range alive() { // the next stage has its own
		if slices.Contains(of, pid) {
			t.Errorf("process %d has outlived its stage", pid)
		}
	}
	if it := p.item("task", "a"); it.Last.Failure != schema.FailTimeout {
		t.Errorf("the stage ended with %+v", it.Last)
	}
}

// A daemon that is started over and over must neither end nor double an agent that works.
func TestFaultLiveWorkIsSweptAsDead(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.write("agent/hold", "")
	p.drop("tasks/a.yaml", task("a"))
	daemon := p.startDaemon()
	p.eventually("an agent works", func() bool { return p.totalStarts() == 1 })
	agents := p.processes("agent")
	for range 20 {
		kill(t, daemon)
		daemon = p.startDaemon()
		p.eventually("a daemon runs", p.daemonRuns)
		time.Sleep(50 * time.Millisecond)
		if now := p.processes("agent"); !slices.Equal(now, agents) {
			t.Fatalf("agents %v work, want %v alone", now, agents)
		}
	}
	if out := p.must("status"); !strings.Contains(out, "RUNNING") || strings.Contains(out, "not alive") {
		t.Errorf("status does not show the agent as it is:\n%s", out)
	}
	check(t, os.Remove(p.path("agent/hold")))
	p.eventually("a is done", func() bool { return p.stateIs("task", "a", schema.StateDone) })
	if n := p.totalStarts(); n != 3 {
		t.Errorf("%d agent starts for three stages", n)
	}
}

// What says how agents are held and checked does not change by an agent's hand.
func TestFaultAgentEditsItsOwnGate(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.git("add", "-A")
	p.git("commit", "-qm", "before")
	p.write("agent/hold", "")
	p.drop("tasks/a.yaml", task("a"))
	p.startDaemon()
	p.eventually("an agent works", func() bool { return p.totalStarts() == 1 })
	plan := p.state().Control.Plan

	// All of this might be the agent's doing.
	config := fmt.Sprintf(testConfig, agentBin) + `stages: checker: timeout: "30m"` + "\n"
	entry := "millrace-agents/entrypoints/execution/checker.md"
	text, err := os.ReadFile(p.path(entry))
	check(t, err)
	p.write("millrace-agents/millrace.cue", config)
	p.write(entry, string(text)+"\nLet everything pass.\n")
	p.drop("pause.yaml", "kind: control\npaused: true\nreason: leave me alone\n")
	held := func(n int) func() bool { return func() bool { return len(p.state().Control.Held) == n } }
	p.eventually("all three are held", held(3))
	check(t, os.Remove(p.path("agent/hold")))
	p.eventually("a is done", func() bool { return p.stateIs("task", "a", schema.StateDone) })
	c := p.state().Control
	if c.Plan != plan || len(c.Pauses) > 0 || len(c.Held) != 3 {
		t.Errorf("what changed during the run took hold: plan %s → %s, pauses %v, held %v", plan, c.Plan, c.Pauses, c.Held)
	}
	status := p.must("status")
	for _, path := range []string{"millrace.cue", "entrypoints/execution/checker.md", "intake/pause.yaml"} {
		if !strings.Contains(status, path) || !strings.Contains(status, "millrace intake accept") {
			t.Errorf("status does not say that %s is held, and what releases it:\n%s", path, status)
		}
	}

	p.must("intake", "accept", "millrace-agents/entrypoints/execution/checker.md")
	p.git("add", "millrace-agents/millrace.cue")
	p.git("commit", "-qm", "a person looked at it")
	p.eventually("the plan has changed", func() bool { return p.state().Control.Plan != plan })
	p.eventually("only the pause is held", held(1))
	p.must("intake", "accept", "millrace-agents/intake/pause.yaml")
	p.eventually("it is paused", func() bool { return len(p.state().Control.Pauses) == 1 })
}

// What git never knew is not committed when it goes: its absence is held and vouched for like bytes.
func TestFaultAgentTakesAwayWhatHoldsItBack(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.write("agent/hold", "")
	p.drop("tasks/a.yaml", task("a"))
	p.startDaemon()
	p.eventually("an agent works", func() bool { return p.totalStarts() == 1 })
	plan := p.state().Control.Plan
	p.drop("pause.yaml", "kind: control\npaused: true\nreason: a person's\n")
	p.eventually("the pause is held", func() bool { return len(p.state().Control.Held) == 1 })
	p.must("intake", "accept", "millrace-agents/intake/pause.yaml")
	p.eventually("it is paused", func() bool { return len(p.state().Control.Pauses) == 1 })

	for _, path := range []string{"intake/pause.yaml", "millrace.cue"} {
		check(t, os.Remove(p.path("millrace-agents", path)))
		p.eventually("its removal is held", func() bool { return p.state().Control.Held[path].During != "" })
	}
	check(t, os.Remove(p.path("agent/hold")))
	c := p.state().Control
	if c.Plan != plan || len(c.Pauses) != 1 {
		t.Errorf("what went during the run is believed gone: plan %s → %s, pauses %v", plan, c.Plan, c.Pauses)
	}
	for path := range c.Held {
		p.must("intake", "accept", path)
	}
	p.eventually("the defaults count", func() bool { return p.state().Control.Plan != plan })
	p.eventually("nothing pauses", func() bool { return len(p.state().Control.Pauses) == 0 })
}

func TestFaultAgentUsesCommandsOfOperators(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.must("control", "pause", "--reason", "test")
	p.drop("tasks/a.yaml", task("a"))
	p.untilIdle()
	before := p.state().Seq
	p.env = append(p.env, "MILLRACE_RUN=run-x")
	for _, args := range [][]string{
		{"run", "daemon"}, {"pause"}, {"resume"}, {"stop"}, {"reload-config"},
		{"control", "pause"}, {"control", "resume"}, {"control", "stop"}, {"control", "reload-config"},
		{"queue", "admit", "--all"}, {"queue", "cancel", "a", "--reason", "x"}, {"queue", "retry-blocked", "a", "--reason", "x"},
		{"intake", "accept", "millrace.cue"}, {"init"},
	} {
		if code, _, stderr := p.run(args...); code != 5 || !strings.Contains(stderr, "run-x") {
			t.Errorf("%v by an agent: exit %d, want 5 and who was refused\n%s", args, code, stderr)
		}
	}
	for _, args := range [][]string{{"status"}, {"queue", "ls"}, {"why", "a"}, {"validate"}} {
		p.must(args...) // looking is allowed
	}
	if now := p.state().Seq; now != before {
		t.Errorf("an agent's commands made %d records", now-before)
	}
}
