package systemtest

import (
	"fmt"
	"math/rand"
	"os"
	"os/exec"
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
// moments. Every task must end done exactly once, every request be spent by at most one agent start,
// every result be applied once, and no two agents ever work on the tree at the same time.
func TestSoakKills(t *testing.T) {
	tasks, kills := size("MILLRACE_SOAK_TASKS", 10), size("MILLRACE_SOAK_KILLS", 20)
	seed := int64(size("MILLRACE_SOAK_SEED", 1))
	rng := rand.New(rand.NewSource(seed))
	t.Logf("seed %d, %d tasks, %d kills", seed, tasks, kills)

	p := newProject(t)
	p.write("agent/delay", "15")
	for i := range tasks {
		id := fmt.Sprintf("soak-%03d", i)
		switch i % 5 { // some need a repair, some a second look
		case 1:
			p.write("agent/"+id, "checker FIX_NEEDED\n")
		case 3:
			p.write("agent/"+id, "checker FIX_NEEDED\ndoublechecker FIX_NEEDED\n")
		}
	}
	dropped := 0
	for kill := range kills {
		for dropped < tasks && dropped <= kill*tasks/max(1, kills) {
			p.drop(fmt.Sprintf("tasks/soak-%03d.yaml", dropped), task(fmt.Sprintf("soak-%03d", dropped)))
			dropped++
		}
		daemon := p.command("run", "daemon")
		daemon.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := daemon.Start(); err != nil {
			t.Fatal(err)
		}
		life := time.Duration(rng.Intn(600)) * time.Millisecond
		if kill%4 == 3 {
			p.killSupervisorWithin(life, rng)
		} else {
			time.Sleep(life)
		}
		if err := daemon.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = daemon.Wait() // killed, as wanted
	}
	for ; dropped < tasks; dropped++ {
		p.drop(fmt.Sprintf("tasks/soak-%03d.yaml", dropped), task(fmt.Sprintf("soak-%03d", dropped)))
	}
	p.must("run", "daemon", "--until", "idle")
	p.must("verify")
	p.assertExactlyOnce(tasks)
}

// killSupervisorWithin kills the next supervisor at a random moment of its life, from the instant it
// exists, so that the gap between fork and lock is hit as well.
func (p *project) killSupervisorWithin(d time.Duration, rng *rand.Rand) {
	deadline := time.Now().Add(d)
	for time.Now().Before(deadline) {
		if pids := p.processes("millrace-stage"); len(pids) > 0 {
			time.Sleep(time.Duration(rng.Intn(8)) * time.Millisecond)
			_ = syscall.Kill(pids[0], syscall.SIGKILL)
			return
		}
		time.Sleep(200 * time.Microsecond)
	}
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
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != tasks {
		t.Errorf("tasks/done holds %d documents, want %d", len(entries), tasks)
	}
	done, finished := map[schema.Key]int{}, map[string]int{}
	for _, rec := range p.records() {
		for _, e := range rec.Events {
			switch e.Type {
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
	for request, n := range finished {
		if n != 1 {
			t.Errorf("result of %s was applied %d times", request, n)
		}
	}
	for request, n := range p.starts() {
		if n != 1 {
			t.Errorf("request %s was spent by %d agent starts", request, n)
		}
	}
	if out, _ := exec.Command("pgrep", "-f", p.dir).Output(); len(out) > 0 {
		t.Errorf("processes are left behind: %s", out)
	}
}
