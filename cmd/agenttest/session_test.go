//go:build agents

package agenttest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"millrace/cmd/agenttest/modelserver"
	"millrace/schema"
)

var summaryFile = regexp.MustCompile("\\| `(millrace-agents/runs/[^`]*/builder_summary.md)` \\| BUILDER_COMPLETE")

// A supervisor is killed while its agent works. The daemon takes notice, the next agent goes on with the session and is
// told so, what the first one paid for stays in its memory, and every token is counted once.
func TestALostAgentIsNotPaidAgain(t *testing.T) {
	t.Parallel()
	m := modelserver.Start(t, func(c modelserver.Call) modelserver.Reply {
		switch file := summaryFile.FindStringSubmatch(c.Prompt); {
		case c.N == 1:
			return modelserver.Reply{Run: "echo begun > begun.txt; sleep 60"}
		case len(c.Results) == 0 && file != nil && strings.Contains(c.Prompt, "You were interrupted"):
			return modelserver.Reply{Run: fmt.Sprintf("cat begun.txt > %s", file[1])}
		case file != nil:
			return modelserver.Reply{Say: "It is built.\n\n### BUILDER_COMPLETE"}
		}
		return modelserver.Reply{Say: "The model\nknows no more.\n\n### BLOCKED"}
	})
	w := newWorld(t, m.URL(), "pi_rpc")
	w.drop("tasks/a.yaml", "kind: task\ntask_id: a\ntitle: Build it\nacceptance: [it is built]\n")
	daemon := w.command(exec.Command(filepath.Join(w.bin, "millrace"), "run", "daemon"))
	check(t, daemon.Start())
	defer func() { _ = daemon.Process.Kill(); _ = daemon.Wait() }()
	w.eventually("the agent works, and has told what it used", func() bool {
		found, err := filepath.Glob(w.path("millrace-agents", "runs", "*", "*", schema.SessionFile))
		if _, begun := os.Stat(w.path("begun.txt")); err != nil || begun != nil || len(found) != 1 {
			return false
		}
		data, err := os.ReadFile(found[0])
		return err == nil && strings.Contains(string(data), `"tokens"`)
	})
	for pid, line := range w.processes() {
		if strings.HasPrefix(line, filepath.Join(w.bin, "millrace-stage")) {
			check(t, syscall.Kill(pid, syscall.SIGKILL))
		}
	}
	w.eventually("the task is blocked", func() bool { return w.task("a").State == schema.StateBlocked })
	if it := w.task("a"); it.Blocked.Message != "The model knows no more." {
		t.Errorf("it is blocked by %+v", it.Blocked)
	}
	trace := w.must("runs", "trace", "latest")
	for _, want := range []string{"supervisor_lost: restart 1 of 2", "≥1.1k tokens", "2.1k tokens", "BUILDER_COMPLETE", "The model knows no more."} {
		if !strings.Contains(trace, want) {
			t.Errorf("the trace does not say %q:\n%s", want, trace)
		}
	}
	calls := m.Calls()
	if second := string(calls[1].Body); strings.Count(second, "# This request") != 2 || !strings.Contains(second, "begun.txt") {
		t.Errorf("the model was not shown what went before:\n%s", second)
	}
}

// Whichever agent gives up, its reason is taken from its last words.
func TestABlockedAgentSaysWhy(t *testing.T) {
	t.Parallel()
	for _, adapter := range []string{"codex_cli", "pi_rpc", "claude_code"} {
		t.Run(adapter, func(t *testing.T) {
			t.Parallel()
			m := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Run: "echo looked"},
				modelserver.Reply{Say: "I looked.\n\nThe database\nis not there.\n\n### BLOCKED"}))
			w := newWorld(t, m.URL(), adapter)
			c := w.supervise(schema.Request{Runner: schema.Runner{Adapter: adapter}})
			if c.Claim == nil || c.Claim.Outcome != schema.OutcomeBlocked || c.Claim.Message() != "The database is not there." {
				t.Errorf("it claims %+v: %s", c.Claim, c.Detail)
			}
		})
	}
}
