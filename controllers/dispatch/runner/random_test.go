package runner

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"millrace/schema"
	"millrace/workspace/reqdir"
)

// Killed at any moment, a request is started by at most one agent, and its files say truly how far
// it came.
func TestSupervisorKilledAtRandomMoments(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 8
	}
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	again, lost, done := 0, 0, 0
	for range rounds {
		b := newBench(t, `echo x >> $MILLRACE_REQUEST_DIR/starts; setsid sleep 30 & sleep 0.01; echo "### DONE"`)
		b.request.Checks, b.request.ChecksAfter = []schema.Check{{Name: "c", Run: "sleep 0.01"}}, []string{"DONE"}
		cmd := b.command()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rng.IntN(80_000)) * time.Microsecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if err := reqdir.Await(t.Context(), b.dir); err != nil {
			t.Fatal(err)
		}
		started, err := reqdir.Started(b.dir)
		if err != nil {
			t.Fatal(err)
		}
		starts, _ := os.ReadFile(b.dir + "/starts")
		switch {
		case b.exists(schema.CompletionFile):
			done++
			b.want(b.completion(), schema.ExitCompleted, "", "DONE")
		case !started:
			again++
			if len(starts) > 0 {
				t.Fatalf("seed %d: an agent was started before its request was spent", seed)
			}
			b.want(b.run(), schema.ExitCompleted, "", "DONE")
			starts, _ = os.ReadFile(b.dir + "/starts")
		default:
			lost++
			if err := reqdir.EndStrays(t.Context(), b.dir); err != nil {
				t.Fatal(err)
			}
			c, err := reqdir.Salvage(b.dir)
			if err != nil {
				t.Fatal(err)
			}
			if starts, _ = os.ReadFile(b.dir + "/starts"); c.Claim != nil && len(starts) == 0 || c.Failure != schema.FailSupervisorLost {
				t.Errorf("seed %d: salvaged %+v after %q", seed, c, starts)
			}
		}
		if left, err := reqdir.Strays(b.dir); string(starts) != "x\n" && len(starts) > 0 || err != nil || len(left) > 0 {
			t.Errorf("seed %d: starts %q, strays %v, %v", seed, starts, left, err)
		}
	}
	t.Logf("seed %d: %d started again, %d lost, %d done", seed, again, lost, done)
}
