//go:build agents

package agenttest

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"millrace/cmd/agenttest/modelserver"
	"millrace/schema"
	"millrace/workspace"
)

// hurry ends an agent soon that would try again and again for minutes.
func (w *world) hurry(adapter string) {
	if adapter == "claude_code" {
		w.configure(`stages: builder: stall_timeout: "10s"`)
	}
}

// failing is a model that fails so for as long as it is set.
func failing(m *team, how modelserver.Reply) *atomic.Bool {
	fails := new(atomic.Bool)
	fails.Store(true)
	m.twist = func(_ work, _ modelserver.Call, r modelserver.Reply) modelserver.Reply {
		if fails.Load() {
			return how
		}
		return r
	}
	return fails
}

// An expired key stops the runner, and nothing else: no task is blocked, no budget spent, and when the operator has a
// new key all of it is done.
func TestExpiredKeyStallsTheRunner(t *testing.T) {
	eachAgent(t, func(t *testing.T, adapter string) {
		m := newTeam()
		expired := failing(m, modelserver.Reply{Status: http.StatusUnauthorized})
		w := newWorld(t, modelserver.Start(t, m.script).URL(), adapter)
		w.hurry(adapter)
		w.drop("tasks/greet.yaml", greet)
		w.drop("tasks/other.yaml", "kind: task\ntask_id: other\ntitle: Other\nacceptance: [x]\n")
		w.daemon()
		w.eventually("the runner is stalled", func() bool { return w.state().Control.Runners[adapter].Stalled })
		if wait := w.state().Control.Runners[adapter]; wait.Class != schema.FailAuth {
			t.Errorf("the runner waits for %+v", wait)
		}
		if greet, other := w.task("greet"), w.task("other"); greet.State != schema.StateActive || other.State != schema.StateQueue {
			t.Errorf("greet is %s, other %s", greet.State, other.State)
		}
		expired.Store(false)
		w.must("control", "resume", "--runner", adapter)
		w.eventually("both are done", func() bool {
			return w.task("greet").State == schema.StateDone && w.task("other").State == schema.StateDone
		})
		for _, id := range []string{"greet", "other"} {
			if it := w.task(id); len(it.Counters) > 0 || it.Attempts != 1 {
				t.Errorf("%s took %d attempts and spent %v", id, it.Attempts, it.Counters)
			}
		}
	})
}

// A rate limit is waited for as long as the provider says, and then the work goes on by itself. Codex keeps to itself
// what the provider says: there the runner waits as long as for any trouble, unless somebody knows better.
func TestRateLimitIsWaitedFor(t *testing.T) {
	eachAgent(t, func(t *testing.T, adapter string) {
		after, tells := map[string]time.Duration{
			"pi_rpc":      2 * time.Second, // it waits itself, twice, before it says so
			"claude_code": 6 * time.Second, // it waits itself for longer and longer, at last for as long as it likes
		}[adapter]
		m := newTeam()
		limited := failing(m, modelserver.Reply{Status: http.StatusTooManyRequests, RetryAfter: after})
		w := newWorld(t, modelserver.Start(t, m.script).URL(), adapter)
		w.hurry(adapter)
		w.drop("tasks/greet.yaml", greet)
		w.daemon()
		w.eventually("the runner waits", func() bool { return len(w.events(workspace.EvRunnerWaits)) == 1 })
		limited.Store(false)
		if !tells {
			wait := w.state().Control.Runners[adapter]
			if after = wait.Until.Sub(w.trace().Nodes[0].Ended); after < 25*time.Second {
				t.Errorf("the runner waits for %s: %+v", after, wait)
			}
			w.must("control", "resume", "--runner", adapter)
			after = 0
		}
		w.eventually("the task is done", func() bool { return w.task("greet").State == schema.StateDone })
		trace := w.assertWent("greet", "", "BUILDER_COMPLETE", "CHECKER_PASS", "UPDATE_COMPLETE")
		first, second := trace.Nodes[0], trace.Nodes[1]
		if waited := second.Started.Sub(first.Ended); first.Failure != schema.FailRateLimited || waited < after || waited > after+15*time.Second {
			t.Errorf("after %s the next request began %s later, want %s", first.Failure, waited, after)
		}
	})
}
