package systemtest

import (
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"millrace/schema"
	"millrace/workspace"
)

// size reads how long a long suite shall run; CI takes the short, fixed one.
func size(name string, short int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return short
}

// TestSoakKills lets tasks flow while the daemon, and now and then a supervisor, is killed at random
// moments, also between its fork and its lock. Every task must end done exactly once, every request be
// spent by at most one agent start, every result be applied once, and no two agents ever work on the
// tree at the same time.
func TestSoakKills(t *testing.T) {
	t.Parallel()
	tasks, kills := size("MILLRACE_SOAK_TASKS", 6), size("MILLRACE_SOAK_KILLS", 9)
	seed := int64(size("MILLRACE_SOAK_SEED", 1))
	rng := rand.New(rand.NewSource(seed))
	p := newProject(t)
	p.useFatefulSupervisors()
	p.write("agent/delay", "15")
	for i := range tasks {
		script := ""
		switch i % 5 { // some need a repair, some a second look
		case 1:
			script = "checker FIX_NEEDED\n"
		case 3:
			script = "checker FIX_NEEDED\ndoublechecker FIX_NEEDED\n"
		}
		p.write(fmt.Sprintf("agent/soak-%03d", i), script)
	}
	dropped := 0
	drop := func(through int) {
		for ; dropped < min(through, tasks); dropped++ {
			id := fmt.Sprintf("soak-%03d", dropped)
			p.drop("tasks/"+id+".yaml", task(id))
		}
	}
	killed := map[string]int{}
	for kill := range kills {
		drop(1 + kill*tasks/max(1, kills))
		p.write("agent/slow", strconv.Itoa(max(0, rng.Intn(120)-60)))
		life := time.Duration(50+rng.Intn(950)) * time.Millisecond
		switch fresh := dropped < tasks; {
		case fresh && kill%6 == 1: // a supervisor dies before its lock, and the daemon with it
			drop(dropped + 1)
			p.write("agent/doom", "")
			daemon := p.startDaemon()
			p.eventually("a supervisor is doomed", func() bool { _, err := os.Stat(p.path("agent/doom")); return err != nil })
			p.kill(daemon)
		case fresh && kill%6 == 4: // an agent is at work
			drop(dropped + 1)
			p.write("agent/delay", "500")
			daemon := p.startDaemon()
			p.eventually("an agent works", func() bool { return len(p.processes("agent")) > 0 })
			p.kill(daemon)
			p.write("agent/delay", "15")
		default:
			daemon := p.startDaemon()
			if kill%4 == 3 && p.killSupervisorWithin(life, rng) {
				killed["supervisor"]++
				life = time.Duration(rng.Intn(100)) * time.Millisecond
			}
			time.Sleep(life)
			p.kill(daemon)
		}
		killed["daemon"]++
	}
	drop(tasks)
	check(t, os.RemoveAll(p.path("agent/doom")))
	check(t, os.RemoveAll(p.path("agent/slow")))
	inSoak := p.state().Count("task", schema.StateDone)
	p.must("run", "daemon", "--until", "idle")
	p.must("verify")
	p.assertExactlyOnce(tasks)
	doomed, err := filepath.Glob(p.path("agent/doomed-*"))
	check(t, err)
	awaited := p.awaited()
	t.Logf("seed %d: %d tasks, %d of them done between the kills; killed %v, %d before their lock; %d results were of another daemon's stage",
		seed, tasks, inSoak, killed, len(doomed), awaited)
	if awaited == 0 || len(doomed) == 0 {
		t.Error("no kill came at a moment that matters: the soak has proven little")
	}
}

// useFatefulSupervisors gives the project binaries of its own, of which the supervisor is that of
// testdata/stage.
func (p *project) useFatefulSupervisors() {
	p.t.Helper()
	p.mkdir("bin")
	p.bin = p.path("bin/millrace")
	check(p.t, os.Link(millrace, p.bin))
	check(p.t, os.Link(filepath.Join(filepath.Dir(millrace), "millrace-stage"), p.path("bin/millrace-stage.real")))
	if out, err := exec.Command("go", "build", "-o", p.path("bin/millrace-stage"), "./testdata/stage").CombinedOutput(); err != nil {
		p.t.Fatalf("build: %v\n%s", err, out)
	}
}

func (p *project) kill(cmd *exec.Cmd) {
	p.t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		p.t.Fatalf("it has ended before it was killed: %v", err)
	}
	_ = cmd.Wait() // says that it was killed
}

// killSupervisorWithin kills the next supervisor at a random moment of its life.
func (p *project) killSupervisorWithin(d time.Duration, rng *rand.Rand) bool {
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if pids := p.processes("millrace-stage"); len(pids) > 0 {
			time.Sleep(time.Duration(rng.Intn(60)) * time.Millisecond)
			return syscall.Kill(pids[0], syscall.SIGKILL) == nil
		}
	}
	return false
}

// awaited counts the results that were applied by another daemon than the one that began the stage.
func (p *project) awaited() int {
	n, daemon, by := 0, "", map[string]string{}
	for _, rec := range p.records() {
		for _, e := range rec.Events {
			switch e.Type {
			case workspace.EvDaemon:
				daemon = e.Message
			case workspace.EvStarted:
				by[e.Request] = daemon
			case workspace.EvFinished:
				if by[e.Request] != daemon && e.Class != schema.FailSupervisorLost {
					n++
				}
			}
		}
	}
	return n
}

// assertExactlyOnce holds the journal, the folders and the agent's own log against each other.
func (p *project) assertExactlyOnce(tasks int) {
	t := p.t
	t.Helper()
	s := p.state()
	if got := s.Count("task", schema.StateDone); got != tasks {
		for k, it := range s.Items {
			if it.State != schema.StateDone {
				t.Errorf("%s is %s: %+v", k, it.State, it.Blocked)
			}
		}
		t.Errorf("%d of %d tasks are done", got, tasks)
	}
	entries, err := os.ReadDir(p.path("millrace-agents", "tasks", "done"))
	check(t, err)
	if len(entries) != tasks {
		t.Errorf("tasks/done holds %d documents, want %d", len(entries), tasks)
	}
	began, done, finished := map[string]int{}, map[schema.Key]int{}, map[string]int{}
	for _, rec := range p.records() {
		for _, e := range rec.Events {
			switch e.Type {
			case workspace.EvStarted:
				began[e.Request]++
			case workspace.EvDone:
				done[e.Item]++
			case workspace.EvFinished:
				finished[e.Request]++
			}
		}
	}
	for k, n := range done {
		if n != 1 {
			t.Errorf("%s was done %d times", k, n)
		}
	}
	for request, n := range began {
		if n != 1 || finished[request] != 1 {
			t.Errorf("request %s was begun %d times and its result applied %d times", request, n, finished[request])
		}
	}
	starts := p.starts()
	for request, n := range starts {
		if n != 1 || began[request] != 1 {
			t.Errorf("request %s was spent by %d agent starts (%d on record)", request, n, began[request])
		}
	}
	for _, name := range []string{"millrace", "millrace-stage", "agent"} {
		if pids := p.processes(name); len(pids) > 0 {
			t.Errorf("%s is left behind: %v", name, pids)
		}
	}
}
