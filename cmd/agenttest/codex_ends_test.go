//go:build agents

package agenttest

import (
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"millrace/cmd/agenttest/modelserver"
	"millrace/schema"
	"millrace/workspace/reqdir"
)

// A provider that cannot be reached is waited for without an end, whatever codex is told of trying again: the stall clock
// ends it, and tells why.
func TestCodexWaitsForTheNetworkForEver(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	url := "http://" + closed.Addr().String()
	check(t, closed.Close())
	w := newWorld(t, url, "codex_cli")
	req := codexAsks(codexGivesUp...)
	req.Stall = schema.Duration(3 * time.Second)
	c := w.supervise(req)
	wantEnd(t, c, schema.ExitStalled, schema.FailNetwork, "")
	if !strings.Contains(w.codexEvents(c), "waiting for network") || !strings.Contains(c.Detail, "waiting for network") {
		t.Errorf("detail %q, events %s", c.Detail, w.codexEvents(c))
	}
	if c.Session == nil || c.Tokens != nil {
		t.Errorf("session %+v, tokens %+v", c.Session, c.Tokens)
	}
}

// Failures of the provider, each by its class.
func TestCodexFailures(t *testing.T) {
	for _, f := range []struct {
		reply modelserver.Reply
		class string
	}{
		{modelserver.Reply{Status: 401}, schema.FailAuth},
		{modelserver.Reply{Status: 403}, schema.FailAuth},
		{modelserver.Reply{Status: 500}, schema.FailProvider},
		{modelserver.Reply{Status: 429}, schema.FailRateLimited},
		{modelserver.Reply{Say: strings.Repeat("half ", 10000), Cut: true}, schema.FailNetwork},
		{modelserver.Reply{Status: 400}, schema.FailExit},
	} {
		model := modelserver.Start(t, modelserver.Steps(f.reply))
		w := newWorld(t, model.URL(), "codex_cli")
		c := w.supervise(codexAsks(codexGivesUp...))
		wantEnd(t, c, schema.ExitFailed, f.class, "")
		if c.ExitCode == nil || *c.ExitCode != 1 || !strings.Contains(w.codexEvents(c), `"turn.failed"`) {
			t.Errorf("status %d: %s", f.reply.Status, c.Detail)
		}
	}
}

// codex heeds the retry-after of a 429 itself, and says nothing of it; that it waits is no progress.
func TestCodexRetriesAreNoProgress(t *testing.T) {
	var mu sync.Mutex
	var asked []time.Time
	model := modelserver.Start(t, func(modelserver.Call) modelserver.Reply {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, time.Now())
		return modelserver.Reply{Status: 429, RetryAfter: time.Second}
	})
	w := newWorld(t, model.URL(), "codex_cli")
	req := codexAsks("model_providers.mock.stream_max_retries", "100")
	req.Stall = schema.Duration(3 * time.Second)
	c := w.supervise(req)
	wantEnd(t, c, schema.ExitStalled, schema.FailRateLimited, "")
	if n := strings.Count(w.codexEvents(c), "Reconnecting"); n < 2 || c.RetryAfter != 0 {
		t.Errorf("%d attempts were told of, retry after %v", n, c.RetryAfter)
	}
	mu.Lock()
	defer mu.Unlock()
	for i := 1; i < len(asked); i++ {
		if d := asked[i].Sub(asked[i-1]); d < 900*time.Millisecond {
			t.Errorf("it asked again after %v", d)
		}
	}
}

// A model that says nothing is no trouble of the network.
func TestCodexStalls(t *testing.T) {
	model := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Stall: time.Minute}))
	w := newWorld(t, model.URL(), "codex_cli")
	req := codexAsks()
	req.Stall = schema.Duration(2 * time.Second)
	c := w.supervise(req)
	wantEnd(t, c, schema.ExitStalled, schema.FailStalled, "")
	if left := w.processes(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// While the model uses tools that are no event, codex says nothing; its record does.
func TestCodexWorksSilently(t *testing.T) {
	silent := modelserver.Reply{Tool: "get_goal", Args: map[string]any{}, Stall: 800 * time.Millisecond}
	w := newWorld(t, modelserver.Start(t, modelserver.Steps(silent, silent, silent, silent, silent, modelserver.Reply{Say: done})).URL(), "codex_cli")
	req := codexAsks()
	req.Stall = schema.Duration(2 * time.Second)
	c := w.supervise(req)
	wantEnd(t, c, schema.ExitCompleted, "", "DONE")
	if n := strings.Count(w.codexEvents(c), `"item.`); n != 2 {
		t.Errorf("%d events tell of the tools: %s", n, w.codexEvents(c))
	}
}

// TERM ends codex at once: exit code 143, and no word of it. Whoever sent it, that is no success.
func TestCodexIsTerminated(t *testing.T) {
	model := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Run: "touch began; sleep 61"}))
	w := newWorld(t, model.URL(), "codex_cli")
	req := codexAsks()
	cmd, dir := w.stage(&req, "Do the work.\n")
	check(t, cmd.Start())
	w.eventually("the tool runs", func() bool { _, err := os.Stat(w.path("began")); return err == nil })
	for pid, line := range w.processes() {
		if strings.Contains(line, "codex exec --json") || strings.Contains(line, "codex.js exec --json") {
			check(t, syscall.Kill(pid, syscall.SIGTERM))
		}
	}
	check(t, cmd.Wait())
	c, err := reqdir.ReadCompletion(dir)
	check(t, err)
	wantEnd(t, c, schema.ExitFailed, schema.FailExit, "")
	if !strings.Contains(c.Detail, "interrupted") || strings.Contains(w.codexEvents(c), "turn.completed") || (c.ExitCode == nil || *c.ExitCode != 143) && c.Signal != "SIGTERM" {
		t.Errorf("detail %q, exit code %v, signal %s", c.Detail, c.ExitCode, c.Signal)
	}
	w.wantCodexTokens("the call whose tool was ended", c.Tokens, 600, 400, 0, 50, 10)
	if left := w.processes(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// codex leaves tools behind that went into a session of their own; the supervisor does not.
func TestCodexToolsOutliveIt(t *testing.T) {
	tool := modelserver.Reply{Run: "setsid nohup sleep 301 > /dev/null 2>&1 & echo started"}
	sleeps := func(w *world) (n int) {
		for _, line := range w.processes() {
			if strings.HasPrefix(line, "sleep 301") {
				n++
			}
		}
		return n
	}
	w := newWorld(t, modelserver.Start(t, modelserver.Steps(tool, modelserver.Reply{Say: done})).URL(), "codex_cli")
	check(t, w.codex("-").Run())
	if sleeps(w) != 1 {
		t.Errorf("codex ends its tools now: %v", w.processes())
	}
	w = newWorld(t, modelserver.Start(t, modelserver.Steps(tool, modelserver.Reply{Say: done})).URL(), "codex_cli")
	wantEnd(t, w.supervise(codexAsks()), schema.ExitCompleted, "", "DONE")
	if left := w.processes(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestCodexHugeOutput(t *testing.T) {
	model := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Run: "yes 0123456789 | head -c 20000000"}, modelserver.Reply{Say: done}))
	w := newWorld(t, model.URL(), "codex_cli")
	c := w.supervise(codexAsks())
	wantEnd(t, c, schema.ExitCompleted, "", "DONE")
	if n := len(w.codexEvents(c)); n < 100_000 || n > 8<<20 {
		t.Errorf("%d bytes of events", n)
	}
	if given := model.Calls()[1].Results; len(given) != 1 || len(given[0]) > 1<<20 {
		t.Errorf("%d results for the model", len(given))
	}
}
