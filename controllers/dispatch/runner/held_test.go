package runner

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/schema"
	"millrace/workspace/reqdir"
)

// held makes a request whose claim was made by another one's agent; should an agent start after all, it leaves a mark.
func held(t *testing.T, checks ...schema.Check) *bench {
	t.Helper()
	b := newBench(t, `touch agent-was-here; echo "### BLOCKED"`)
	b.write(filepath.Join(b.dir, "verdict.json"), "{}\n")
	b.write(filepath.Join(b.dir, schema.OutboxFolder, "a.md"), "# A\n")
	b.request.Artifacts = []schema.Artifact{{Name: "verdict", File: "verdict.json"}}
	b.request.Checks, b.request.ChecksBefore = checks, true
	b.request.Held = &schema.Held{Request: "req-before", Claim: schema.Claim{
		Outcome: "DONE", Class: "success", Metadata: map[string]any{"message": "all is well"}, Source: schema.StdoutFile,
	}}
	return b
}

func (b *bench) noAgent() {
	b.t.Helper()
	if _, err := os.Stat(filepath.Join(b.project, "agent-was-here")); !errors.Is(err, fs.ErrNotExist) {
		b.t.Errorf("an agent was started: %v", err)
	}
	if b.exists(schema.InvocationFile) || b.exists(schema.StdoutFile) {
		b.t.Error("the folder tells of an agent")
	}
}

func TestHeldClaimRunsItsChecksAndNoAgent(t *testing.T) {
	b := held(t, schema.Check{Name: "good", Run: "echo fine"}, schema.Check{Name: "bad", Run: "exit 3"})
	c := b.run()
	b.want(c, schema.ExitCompleted, "", "DONE")
	b.noAgent()
	if c.Claim.Class != "success" || c.Claim.Metadata["message"] != "all is well" || !c.Started.IsZero() || c.Tokens != nil {
		t.Errorf("completion is %+v", c)
	}
	if len(c.ChecksBefore) != 2 || !c.ChecksBefore[0].Passed || c.ChecksBefore[1].ExitCode != 3 || b.read("checks/before-1.log") != "fine\n" {
		t.Errorf("checks are %+v", c.ChecksBefore)
	}
	if len(c.Artifacts) != 1 || c.Artifacts[0].Path != "verdict.json" || len(c.Outbox) != 1 || !b.exists(schema.StartedFile) {
		t.Errorf("it lists %+v and %+v", c.Artifacts, c.Outbox)
	}
	// The request is spent like any other.
	if err := b.command().Run(); err != nil {
		t.Error(err)
	}
	if again := b.completion(); !again.Ended.Equal(c.Ended) {
		t.Error("it ran twice")
	}
}

// Whatever instruction its supervisor dies at, nothing is taken for the word of an agent, unless all was said.
func TestHeldClaimWhoseSupervisorIsKilled(t *testing.T) {
	for phase, spent := range map[string]bool{"locked": false, "started": true, "held": true, "ended": true, "completing": true} {
		t.Run(phase, func(t *testing.T) {
			b := held(t, schema.Check{Name: "x", Run: `echo '{"stage":"build","terminal_result":"BLOCKED"}' > $MILLRACE_REQUEST_DIR/terminal_result.json`})
			b.env = []string{killAtEnv + "=" + phase}
			b.killed()
			b.noAgent()
			if b.exists(schema.StartedFile) != spent || b.exists(schema.CompletionFile) {
				t.Fatalf("spent is %v", b.exists(schema.StartedFile))
			}
			if !spent { // the next supervisor takes it
				b.env = nil
				b.want(b.run(), schema.ExitCompleted, "", "DONE")
				b.noAgent()
				return
			}
			c, err := reqdir.Salvage(b.dir)
			if err != nil {
				t.Fatal(err)
			}
			b.want(c, schema.ExitFailed, schema.FailSupervisorLost, "")
		})
	}
}

// All but the last rename of its completion was done: that stands.
func TestHeldClaimWithAnUnfinishedCompletion(t *testing.T) {
	b := held(t, schema.Check{Name: "x", Run: "true"})
	c := b.run()
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(b.dir, schema.CompletionFile)); err != nil {
		t.Fatal(err)
	}
	b.write(filepath.Join(b.dir, ".completion.json.tmp"), string(data))
	s, err := reqdir.Salvage(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	b.want(s, schema.ExitFailed, schema.FailSupervisorLost, "DONE")
	if len(s.ChecksBefore) != 1 {
		t.Errorf("its checks are %+v", s.ChecksBefore)
	}
}

func TestHeldClaimIsCancelledWhileItsChecksRun(t *testing.T) {
	b := held(t, schema.Check{Name: "slow", Run: "touch $MILLRACE_REQUEST_DIR/running; sleep 60"}, schema.Check{Name: "next", Run: "true"})
	cmd := b.command()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the check runs", func() bool { return b.exists("running") })
	b.write(filepath.Join(b.dir, schema.CancelFile), "operator: enough\n")
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, cmd.Stderr)
	}
	c := b.completion()
	b.want(c, schema.ExitCancelled, schema.FailCancelled, "")
	b.noAgent()
	if len(c.ChecksBefore) != 1 || c.ChecksBefore[0].Passed {
		t.Errorf("checks are %+v", c.ChecksBefore)
	}
}

// One tree frames all checks, or the evidence says which of them moved it.
func TestChecksTellWhetherTheyChangedTheTree(t *testing.T) {
	b := newBench(t, `cat made >> seen; echo "### DONE"`)
	b.write(filepath.Join(b.project, "a"), "1\n")
	git(t, b.project, "init", "-q")
	b.request.Checks = []schema.Check{{Name: "looks", Run: "cat a"}, {Name: "makes", Run: "echo x > made"}, {Name: "looks too", Run: "cat made"}}
	b.request.ChecksBefore = true
	r := b.run().ChecksBefore
	if len(r) != 3 || r[0].Tree == "" || r[0].TreeAfter != "" || r[1].Tree != r[0].Tree || r[2].TreeAfter != "" {
		t.Fatalf("records are %+v", r)
	}
	if r[1].TreeAfter == r[1].Tree || r[1].TreeAfter != r[2].Tree || !r[1].Passed || !strings.Contains(r[1].Detail, "changed the working tree") {
		t.Errorf("the second is %+v, the third ran on %s", r[1], r[2].Tree)
	}
}
