package simulate_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"millrace/controllers/controllertest"
	"millrace/controllers/dispatch"
	"millrace/controllers/recovery"
	"millrace/controllers/result"
	"millrace/schema"
	"millrace/schema/simulate"
)

// TestAsInEarnest: what is played goes where the controllers take the same results, and spends the same.
func TestAsInEarnest(t *testing.T) {
	for seed := range 15 {
		chance := rand.New(rand.NewPCG(uint64(seed), 1))
		o := controllertest.T(t, nil, result.New(), recovery.New(), dispatch.New())
		o.Admit(controllertest.Task("a"))
		o.Settle()
		s, err := simulate.Enter(o.Plan, schema.Key{Family: "task", ID: "a"}, "")
		if err != nil {
			t.Fatal(err)
		}
		for o.Run() != nil {
			v := verdict(o.Plan, s.Plane, s.Node, s.Legal, chance.IntN)
			v.ChecksRun, v.Key = false, ""
			if v.Failure == schema.FailCancelled || v.Failure == schema.FailNotStarted {
				v.Failure = schema.FailExit // those are started anew by another hand
			}
			if wish := v.Metadata; wish != nil {
				for key := range wish {
					wish[key] = []string{"builder", "checker", "updater", "consultant"}[chance.IntN(4)]
				}
			}
			if v.Failure != "" {
				o.Fail(v.Failure)
			} else {
				c := o.Claim(v.Outcome, fmt.Sprint(len(s.Moves)))
				c.Claim.Metadata = v.Metadata
			}
			o.Settle()
			if !slices.Contains(s.Legal, v.Outcome) && v.Failure == "" {
				v = schema.Verdict{Failure: schema.FailIllegalOutcome} // judged before it is routed
			}
			if err := s.Play(v); err != nil {
				t.Fatal(err)
			}
		}
		it := o.Task("a")
		var run schema.Run
		data, err := os.ReadFile(o.Path("runs/" + it.Run + "/run.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &run); err != nil {
			t.Fatal(err)
		}
		for i, step := range run.Steps {
			if m := s.Moves[i]; m.Node != step.Node || m.To != step.To || m.Outcome != step.Outcome || m.Failure != step.Failure || m.Counter != step.Counter {
				t.Errorf("seed %d: step %d is %+v, played as %+v", seed, i, step, m)
			}
		}
		if len(s.Moves) != len(run.Steps) || s.End != run.End || s.State != it.State {
			t.Errorf("seed %d: ended at %s as %s after %d steps, played: %s, %s, %d", seed, run.End, it.State, len(run.Steps), s.End, s.State, len(s.Moves))
		}
		for counter, b := range s.Spent {
			if b.Spent != it.Counters[counter] {
				t.Errorf("seed %d: %s is %d, played: %d", seed, counter, it.Counters[counter], b.Spent)
			}
		}
	}
}
