//go:build agents

package agenttest

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/cmd/agenttest/modelserver"
	"millrace/schema"
	"millrace/workspace/reqdir"
)

// A tool that leaves its group and heeds no signal that can be left unheeded; it writes its process id.
const outlives = `setsid sh -c 'trap "" TERM HUP INT; echo $$ > outlives.pid; while :; do sleep 1; done' & while [ ! -s outlives.pid ]; do sleep 0.05; done; `

// outliving is the process that wrote its id; wait for it.
func (w *world) outliving() int {
	w.t.Helper()
	w.eventually("the tool runs", func() bool {
		info, err := os.Stat(w.path("outlives.pid"))
		return err == nil && info.Size() > 0
	})
	pid, err := strconv.Atoi(strings.TrimSpace(w.read("outlives.pid")))
	check(w.t, err)
	return pid
}

func lives(pid int) bool { return syscall.Kill(pid, 0) == nil }

// pi exits with 0 however its provider fails; what came of it stands in its last message.
func TestPiProviderFailures(t *testing.T) {
	for _, c := range []struct {
		name    string
		how     modelserver.Reply
		failure string
		calls   int // its library asks three times where that may help; pi's own retries are not let
	}{
		{"401", modelserver.Reply{Status: http.StatusUnauthorized}, schema.FailAuth, 1},
		{"403", modelserver.Reply{Status: http.StatusForbidden}, schema.FailAuth, 1},
		{"404, as of an unknown model", modelserver.Reply{Status: http.StatusNotFound}, schema.FailExit, 1},
		{"429", modelserver.Reply{Status: http.StatusTooManyRequests, RetryAfter: time.Second}, schema.FailRateLimited, 3},
		{"500", modelserver.Reply{Status: http.StatusInternalServerError}, schema.FailProvider, 3},
		{"cut", modelserver.Reply{Say: done, Cut: true}, schema.FailNetwork, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := modelserver.Start(t, modelserver.Steps(c.how))
			w := newWorld(t, m.URL(), "pi_rpc")
			got := w.supervise(piRequest())
			wantEnd(t, got, schema.ExitFailed, c.failure, "")
			if got.ExitCode == nil || *got.ExitCode != 0 {
				t.Errorf("exit code %v, signal %q", got.ExitCode, got.Signal)
			}
			if len(m.Calls()) != c.calls || got.Tokens != nil {
				t.Errorf("%d calls, tokens %+v", len(m.Calls()), got.Tokens)
			}
			log, err := os.ReadFile(filepath.Join(w.folder(got), schema.EventsFile))
			check(t, err)
			if strings.Contains(string(log), `"success":true,"attempt"`) || strings.Count(string(log), `"type":"agent_start"`) != 1 {
				t.Errorf("it tried again:\n%s", log)
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, "http://127.0.0.1:9", "pi_rpc")
		req := piRequest()
		req.Runner.EventLog = "none"
		c := w.supervise(req)
		wantEnd(t, c, schema.ExitFailed, schema.FailNetwork, "")
		if _, err := os.Stat(filepath.Join(w.folder(c), schema.EventsFile)); err == nil {
			t.Error("events are kept that nobody wants")
		}
	})
	t.Run("unknown model", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, "http://127.0.0.1:9", "pi_rpc")
		req := piRequest()
		req.Model = "no-model-of-this-name"
		c := w.supervise(req)
		wantEnd(t, c, schema.ExitFailed, schema.FailExit, "")
		if !strings.Contains(c.Detail, `"no-model-of-this-name" not found`) {
			t.Errorf("detail is %q", c.Detail)
		}
	})
}

// In its print mode a provider's failure is an exit code of 0 and nothing more: so the RPC mode.
func TestPiPrintsFailuresAsSuccess(t *testing.T) {
	t.Parallel()
	m := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Status: http.StatusUnauthorized}))
	w := newWorld(t, m.URL(), "pi_rpc")
	cmd := w.command(exec.Command(agentBin(t, "pi"), "-p", "--mode", "json", "-ne", "-ns", "-nc", "--no-session", "do it"))
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), `"stopReason":"error"`) {
		t.Errorf("it does not any more: %v\n%s", err, out)
	}
}

// Silence is ended by the stall clock, whatever the answer would have been; and its tools, wherever they went.
func TestPiStalls(t *testing.T) {
	t.Parallel()
	m := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Run: outlives + "echo started"}, modelserver.Reply{Say: done, Stall: time.Hour}))
	w := newWorld(t, m.URL(), "pi_rpc")
	req := piRequest()
	req.Stall = schema.Duration(8 * time.Second) // on a busy machine Node alone takes half of it to start
	c := w.supervise(req)
	wantEnd(t, c, schema.ExitStalled, schema.FailStalled, "")
	wantTokens(t, "the call that was answered", c.Tokens, 600, 400, 50)
	if pid := w.outliving(); lives(pid) || len(w.processes()) > 0 {
		t.Errorf("left are %v", w.processes())
	}
	if c.Session == nil || c.Session.ID == "" || c.Signal != "" {
		t.Errorf("it was to end by its own way: signal %q, session %+v", c.Signal, c.Session)
	}
}

// An agent that was told to end was ended, whatever it says.
func TestPiIsCancelled(t *testing.T) {
	t.Parallel()
	m := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Run: outlives + "sleep 60"}, modelserver.Reply{Say: done}))
	w := newWorld(t, m.URL(), "pi_rpc")
	req := piRequest()
	cmd, dir := w.stage(&req, "Do the work.\n")
	check(t, cmd.Start())
	pid := w.outliving()
	began := time.Now()
	w.write(filepath.Join("millrace-agents", "runs", req.Run, req.ID, schema.CancelFile), "enough\n")
	check(t, cmd.Wait())
	c, err := reqdir.ReadCompletion(dir)
	check(t, err)
	wantEnd(t, c, schema.ExitCancelled, schema.FailCancelled, "")
	if lives(pid) || len(w.processes()) > 0 {
		t.Errorf("left are %v", w.processes())
	}
	if took := time.Since(began); c.Signal != "" || took > 15*time.Second {
		t.Errorf("it was to end by its own way: signal %q, after %v", c.Signal, took)
	}
}

// A session that was lost in the middle of a tool, with everything that ran, can be gone on with.
func TestPiGoesOnAfterItWasKilled(t *testing.T) {
	t.Parallel()
	m := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Run: outlives + "sleep 60"}, modelserver.Reply{Say: done}))
	w := newWorld(t, m.URL(), "pi_rpc")
	req := piRequest()
	cmd, dir := w.stage(&req, "Do the work.\n")
	check(t, cmd.Start())
	w.outliving()
	check(t, cmd.Process.Kill())
	w.endStrays()
	if cmd.Wait() == nil {
		t.Fatal("the supervisor was to be killed")
	}
	lost, err := reqdir.Salvage(dir)
	check(t, err)
	wantEnd(t, lost, schema.ExitFailed, schema.FailSupervisorLost, "")
	next := piRequest()
	next.Session = lost.Session
	c := w.supervise(next)
	wantEnd(t, c, schema.ExitCompleted, "", "DONE")
	wantTokens(t, "what went on", c.Tokens, 600, 400, 50)
	wantTokens(t, "the session", c.Session.Tokens, 1200, 800, 100)
	calls := m.Calls()
	if last := string(calls[len(calls)-1].Body); len(calls) != 2 || !strings.Contains(last, "outlives.pid") || !strings.Contains(last, `"role":"tool"`) {
		t.Errorf("%d calls; the model was shown\n%s", len(calls), last)
	}
}

// When its input ends in the middle of a tool, pi leaves: with exit code 0, and without the tool.
func TestPiLeavesItsToolWhenItsInputEnds(t *testing.T) {
	t.Parallel()
	m := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Run: "echo $$ > outlives.pid; sleep 60; true"}, modelserver.Reply{Say: done}))
	w := newWorld(t, m.URL(), "pi_rpc")
	// a pi whose input ends once its tool runs, and which notes whether the tool outlived it
	w.write("short-pi", "#!/bin/sh\n(head -n 2; while [ ! -s outlives.pid ]; do sleep 0.1; done) | '"+agentBin(t, "pi")+`' "$@"
echo $? > code; kill -0 $(cat outlives.pid) && touch left; exit 0
`)
	check(t, os.Chmod(w.path("short-pi"), 0o755))
	req := piRequest()
	req.Runner.Command = w.path("short-pi")
	c := w.supervise(req)
	wantEnd(t, c, schema.ExitFailed, schema.FailExit, "")
	if _, err := os.Stat(w.path("left")); err != nil || w.read("code") != "0\n" {
		t.Errorf("it does not any more: exit code %s, %v", w.read("code"), err)
	}
	if pid := w.outliving(); lives(pid) || len(w.processes()) > 0 {
		t.Errorf("left are %v", w.processes())
	}
}

// However much a tool prints, and a model says.
func TestPiHugeOutput(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("word ", 40_000)
	m := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Run: "yes 'a line' | head -c 50000000"}, modelserver.Reply{Say: long + "\n" + done}))
	w := newWorld(t, m.URL(), "pi_rpc")
	req := piRequest()
	req.Runner.EventLog = "full"
	c := w.supervise(req)
	wantEnd(t, c, schema.ExitCompleted, "", "DONE")
	for _, f := range c.Transcripts {
		if f.Size > 9<<20 {
			t.Errorf("%s has %d bytes", f.Path, f.Size)
		}
	}
	if final, err := os.ReadFile(filepath.Join(w.folder(c), schema.FinalFile)); err != nil || len(final) < len(long) {
		t.Errorf("final message of %d bytes (%v)", len(final), err)
	}
}
