//go:build agents

package agenttest

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/cmd/agenttest/modelserver"
	"millrace/schema"
	"millrace/workspace/reqdir"
)

// during runs a request, and does something once a file has appeared in the project.
func (w *world) during(req schema.Request, file string, do func(dir string)) *schema.Completion {
	w.t.Helper()
	cmd, dir := w.stage(&req, "Do the work.\n")
	check(w.t, cmd.Start())
	w.eventually(file, func() bool { _, err := os.Stat(w.path(file)); return err == nil })
	do(dir)
	if err := cmd.Wait(); err != nil {
		w.t.Fatalf("supervisor: %v: %s", err, cmd.Stderr)
	}
	if left := w.processes(); len(left) > 0 {
		w.t.Errorf("left running: %v", left)
	}
	c, err := reqdir.ReadCompletion(dir)
	check(w.t, err)
	return c
}

func cancel(dir string) { _ = os.WriteFile(filepath.Join(dir, schema.CancelFile), nil, 0o644) } // its end is what is looked at

// inTool is a command that says when it runs and then takes its time.
const inTool = `touch started; python3 -c "import time; time.sleep(60)" || sleep 60; touch over`

func TestClaudeEndedInATool(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"cancelled", "timeout"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			model := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Run: inTool, Usage: claudeUsage}, modelserver.Reply{Say: "### DONE", Usage: claudeUsage}))
			w := newWorld(t, model.URL(), "claude_code")
			req, end, failure := claudeRequest("elevated"), cancel, schema.FailCancelled
			if how == "timeout" {
				req.Timeout, end, failure = schema.Duration(6*time.Second), func(string) {}, schema.FailTimeout
			}
			c := w.during(req, "started", end)
			wantEnd(t, c, how, failure, "")
			if got := used(c); c.Session == nil || got != "500 400 100 50" && got != "unknown" { // on a busy machine it may be gone before it has told
				t.Errorf("used %s, session %v", got, c.Session)
			}
			if _, err := os.Stat(w.path("over")); err == nil {
				t.Error("the tool went on")
			}
		})
	}
}

// A TERM that reaches the tool only makes claude ask the model again, and end in success; one that reaches claude too
// ends it with code 143 and no result: whatever it is, an ending of ours is no success.
func TestClaudeAfterTerm(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name            string
		all             bool
		failure, wanted string
	}{{"its tool", false, "", "DONE"}, {"itself", true, schema.FailExit, ""}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			model := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Run: inTool}, modelserver.Reply{Say: "### DONE"}))
			w := newWorld(t, model.URL(), "claude_code")
			c := w.during(claudeRequest("elevated"), "started", func(string) {
				for pid, line := range w.processes() {
					if claude := strings.Contains(line, "stream-json"); claude == tt.all && (claude || strings.Contains(line, "started")) {
						_ = syscall.Kill(pid, syscall.SIGTERM)
					}
				}
			})
			exit := schema.ExitCompleted
			if tt.failure != "" {
				exit = schema.ExitFailed
			}
			wantEnd(t, c, exit, tt.failure, tt.wanted)
		})
	}
}

// Its shell is in a session of its own and outlives it.
func TestClaudeKilledLeavesItsShell(t *testing.T) {
	t.Parallel()
	model := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Run: inTool}, modelserver.Reply{Say: "### DONE"}))
	w := newWorld(t, model.URL(), "claude_code")
	survived := false
	c := w.during(claudeRequest("elevated"), "started", func(string) {
		shells := map[int]bool{}
		for pid, line := range w.processes() {
			if strings.Contains(line, "touch started") && !strings.Contains(line, "stream-json") {
				if group, err := syscall.Getpgid(pid); err == nil {
					shells[group] = true
				}
			}
		}
		for pid, line := range w.processes() {
			if strings.Contains(line, "stream-json") {
				survived = len(shells) > 0 && !shells[pid]
				_ = syscall.Kill(-pid, syscall.SIGKILL)
			}
		}
	})
	wantEnd(t, c, schema.ExitFailed, schema.FailExit, "")
	if !survived || !strings.Contains(c.Detail, "signal killed") {
		t.Errorf("its shell was in another group: %v; detail %q", survived, c.Detail)
	}
}

func TestClaudeAndAFailingProvider(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	closed := "http://" + free.Addr().String()
	check(t, free.Close())
	for _, tt := range []struct {
		name    string
		reply   modelserver.Reply
		url     string
		exit    string
		failure string
		detail  string
	}{
		{"429", modelserver.Reply{Status: 429, RetryAfter: 20 * time.Second}, "", schema.ExitStalled, schema.FailRateLimited, "status 429"},
		{"429 for an hour", modelserver.Reply{Status: 429, RetryAfter: time.Hour}, "", schema.ExitFailed, schema.FailRateLimited, "429"},
		{"refused", modelserver.Reply{}, closed, schema.ExitStalled, schema.FailNetwork, "cannot be reached"},
		{"401", modelserver.Reply{Status: 401}, "", schema.ExitStalled, schema.FailAuth, "status 401"},
		{"403", modelserver.Reply{Status: 403}, "", schema.ExitFailed, schema.FailAuth, "authenticate"},
		{"500", modelserver.Reply{Status: 500}, "", schema.ExitStalled, schema.FailProvider, "status 500"},
		{"529", modelserver.Reply{Status: 529}, "", "", schema.FailProvider, "529"}, // gives up early, about when it is stalled
		{"cut", modelserver.Reply{Say: strings.Repeat("half ", 10_000), Cut: true}, "", "", schema.FailNetwork, ""},
		{"silence", modelserver.Reply{Stall: time.Minute}, "", schema.ExitStalled, schema.FailStalled, "without a sign"},
		{"unknown model", modelserver.Reply{Status: 404}, "", schema.ExitFailed, schema.FailExit, "selected model"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.url == "" {
				tt.url = modelserver.Start(t, modelserver.Steps(tt.reply)).URL()
			}
			w := newWorld(t, tt.url, "claude_code")
			req := claudeRequest("elevated")
			req.Stall = schema.Duration(6 * time.Second) // a busy machine takes seconds to start it
			c := w.supervise(req)
			if c.Failure != tt.failure || c.Claim != nil || tt.exit != "" && c.Exit != tt.exit || !strings.Contains(c.Detail, tt.detail) {
				t.Errorf("%s, %s: %s", c.Exit, c.Failure, c.Detail)
			}
			if wait := time.Duration(c.RetryAfter); (tt.name == "429") != (wait >= 20*time.Second && wait < time.Minute) {
				t.Errorf("retry after %v", wait)
			}
			w.assertNoKey()
		})
	}
}

// A stream that is cut once is asked for again.
func TestClaudeAfterACutStream(t *testing.T) {
	t.Parallel()
	model := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Say: strings.Repeat("half ", 10_000), Cut: true}, modelserver.Reply{Say: "### DONE"}))
	w := newWorld(t, model.URL(), "claude_code")
	wantEnd(t, w.supervise(claudeRequest("elevated")), schema.ExitCompleted, "", "DONE")
}

func TestClaudeSpendsItsTurns(t *testing.T) {
	t.Parallel()
	model := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Run: "echo again >> turns.txt", Usage: claudeUsage}))
	w := newWorld(t, model.URL(), "claude_code")
	req := claudeRequest("elevated")
	req.MaxTurns = 2
	c := w.supervise(req)
	wantEnd(t, c, schema.ExitFailed, schema.FailExit, "")
	if !strings.Contains(c.Detail, "max_turns 2") || used(c) != "1000 800 200 100" || c.ExitCode == nil || *c.ExitCode != 1 {
		t.Errorf("detail %q, used %s, exit code %v", c.Detail, used(c), c.ExitCode)
	}
}

func TestClaudeAndHugeOutput(t *testing.T) {
	t.Parallel()
	model := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Run: `head -c 30000000 /dev/zero | tr '\0' x`}, modelserver.Reply{Say: "### DONE"}))
	w := newWorld(t, model.URL(), "claude_code")
	c := w.supervise(claudeRequest("elevated"))
	wantEnd(t, c, schema.ExitCompleted, "", "DONE")
	if info, err := os.Stat(filepath.Join(w.folder(c), schema.EventsFile)); err != nil || info.Size() > 9<<20 {
		t.Errorf("%v bytes of events (%v)", info.Size(), err)
	}
}
