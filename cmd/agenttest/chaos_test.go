//go:build agents

package agenttest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"millrace/cmd/agenttest/modelserver"
	"millrace/schema"
	"millrace/workspace"
)

const (
	chaosSeed  = 20261122
	chaosTasks = 3
	chaosEnv   = "AGENTTEST_CHAOS_TASKS" // more of them, for as long as one cares to watch
)

// Daemon, supervisor and agent are killed at moments that a fixed seed chooses. Whatever the tasks come to, the journal
// holds, nothing is left running, no request is begun twice, and none costs more than the model was paid.
func TestKillsAtRandomMoments(t *testing.T) {
	tasks := chaosTasks
	if text := os.Getenv(chaosEnv); text != "" {
		n, err := strconv.Atoi(text)
		check(t, err)
		tasks = n
	}
	eachAgent(t, func(t *testing.T, adapter string) {
		random := rand.New(rand.NewPCG(chaosSeed, 0))
		m := newTeam()
		var given atomic.Int64 // tokens, of answers that may have come too late, too
		script := func(c modelserver.Call) modelserver.Reply {
			r := m.script(c)
			if r.Usage == (modelserver.Usage{}) {
				r.Usage = modelserver.Usage{Input: 1000, Output: 50}
			}
			given.Add(r.Usage.Input + r.Usage.Output)
			return r
		}
		m.twist = func(_ work, _ modelserver.Call, r modelserver.Reply) modelserver.Reply {
			r.Stall = 100 * time.Millisecond // room to be killed in
			return r
		}
		w := newWorld(t, modelserver.Start(t, script).URL(), adapter)
		for n := range tasks {
			w.drop(fmt.Sprintf("tasks/greet-%d.yaml", n), fmt.Sprintf("title: Greet the world\nacceptance: [greeting.txt greets the world]\n# %d\n", n))
		}
		kills := w.harry(random, tasks)
		w.must("run", "daemon", "--until", "idle")
		w.must("verify")
		w.eventually("nothing is left running", func() bool { return len(w.processes()) == 0 })
		t.Logf("kills: %v; %s", kills, w.must("status"))
		m.mu.Lock()
		defer m.mu.Unlock()
		for request, n := range m.begun {
			if n != 1 {
				t.Errorf("%d agents began request %s", n, request)
			}
		}
		seen, told := map[string]bool{}, int64(0)
		for _, e := range w.events(workspace.EvFinished) {
			if seen[e.Request] {
				t.Errorf("request %s is twice in the record", e.Request)
			}
			seen[e.Request] = true
			told += e.Tokens.Total()
			if e.Class == schema.ClassSuccess && e.Tokens.Total() == 0 {
				t.Errorf("request %s (%s) did its work, and nobody knows its tokens", e.Request, e.Outcome)
			}
		}
		if told > given.Load() {
			t.Errorf("%d tokens are on record, the model gave %d", told, given.Load())
		}
	})
}

// harry kills who works on the tasks until each of them is done or blocked; the last daemon, too. It returns how often
// whom.
func (w *world) harry(random *rand.Rand, tasks int) map[string]int {
	w.t.Helper()
	daemon, kills := w.daemon(), map[string]int{}
	ended := func() bool {
		n, items := 0, w.state().Items
		for _, it := range items {
			if it.State == schema.StateDone || it.State == schema.StateBlocked {
				n++
			}
		}
		return n >= tasks && n == len(items)
	}
	for deadline := time.Now().Add(time.Duration(tasks) * 40 * time.Second); !ended(); {
		if time.Now().After(deadline) {
			w.t.Fatalf("they never ended, after %v\n%s", kills, w.must("status"))
		}
		time.Sleep(time.Duration(200+random.IntN(2500)) * time.Millisecond)
		switch who := random.IntN(10); {
		case who < 5:
			kill(daemon)
			kills["daemon"]++
			daemon = w.daemon()
		case who < 8:
			kills["supervisor"] += w.killOne(random, "millrace-stage")
		default:
			kills["agent"] += w.killOne(random, "")
		}
	}
	kill(daemon)
	return kills
}

// killOne kills one of the detached processes of a program, or with "" one of the others.
func (w *world) killOne(random *rand.Rand, program string) int {
	var pids []int
	for pid, line := range w.processes() {
		name := filepath.Base(strings.Fields(line)[0])
		if name == program || program == "" && name != "millrace" && name != "millrace-stage" {
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		return 0
	}
	slices.Sort(pids)
	_ = syscall.Kill(pids[random.IntN(len(pids))], syscall.SIGKILL)
	return 1
}
