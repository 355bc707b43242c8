//go:build agents

package agenttest

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"millrace/cmd/agenttest/modelserver"
)

// apis are what each adapter's agent speaks.
var apis = map[string]string{"codex_cli": "responses", "pi_rpc": "chat", "claude_code": "messages"}

// eachAgent runs a test for every real agent.
func eachAgent(t *testing.T, test func(t *testing.T, adapter string)) {
	t.Parallel()
	for _, adapter := range slices.Sorted(maps.Keys(apis)) {
		t.Run(adapter, func(t *testing.T) {
			t.Parallel()
			test(t, adapter)
		})
	}
}

// A whole task is done by each agent. The operator has chosen the mode and edited nothing: what makes the agent ask the
// test's model is the agent's own setting, where its user keeps it.
func TestWholeTask(t *testing.T) {
	eachAgent(t, func(t *testing.T, adapter string) {
		m := newTeam()
		s := modelserver.Start(t, m.script)
		w := newWorld(t, s.URL(), adapter)
		config := w.read("millrace-agents/millrace.cue")
		w.drop("tasks/greet.yaml", greet)
		w.must("run", "daemon", "--until", "idle")
		m.assertPaid(t, w.assertWent("greet", "BUILDER_COMPLETE", "CHECKER_PASS", "UPDATE_COMPLETE"))
		if got := w.read("greeting.txt"); got != "hello, world\n" {
			t.Errorf("greeting.txt says %q", got)
		}
		if w.read("millrace-agents/millrace.cue") != config || strings.Contains(config, s.URL()) {
			t.Errorf("the configuration is not that of init:\n%s", config)
		}
		for _, c := range s.Calls() {
			if c.API != apis[adapter] || c.Key != fakeKey {
				t.Errorf("somebody asked by %s, with the key %q", c.API, c.Key)
			}
		}
		if others := s.Others(); len(others) > 0 {
			t.Errorf("asked was for %q, too", others)
		}
		w.assertNoKey()
		if left := w.processes(); len(left) > 0 {
			t.Errorf("left running: %v", left)
		}
	})
}

// One task, and another agent for each of its stages.
func TestThreeAgentsOnOneTask(t *testing.T) {
	t.Parallel()
	m := newTeam()
	s := modelserver.Start(t, m.script)
	w := newWorld(t, s.URL())
	w.configure(`stages: {builder: runner: "pi_rpc", checker: runner: "claude_code", updater: runner: "codex_cli"}`)
	w.drop("tasks/greet.yaml", greet)
	w.must("run", "daemon", "--until", "idle")
	m.assertPaid(t, w.assertWent("greet", "BUILDER_COMPLETE", "CHECKER_PASS", "UPDATE_COMPLETE"))
	var asked []string
	for _, c := range s.Calls() {
		asked = append(asked, stageLine.FindStringSubmatch(c.Prompt)[1]+" by "+c.API)
	}
	if got, want := slices.Compact(asked), []string{"builder by chat", "checker by messages", "updater by responses"}; !slices.Equal(got, want) {
		t.Errorf("asked were %q, want %q", got, want)
	}
}

// The checker sends the work back once, and what it wrote is what the fixer is told to read.
func TestWorkIsSentBack(t *testing.T) {
	t.Parallel()
	m := newTeam()
	m.outcomes = map[string][]string{"checker": {"FIX_NEEDED"}}
	s := modelserver.Start(t, m.script)
	w := newWorld(t, s.URL(), "codex_cli")
	w.drop("tasks/greet.yaml", greet)
	w.must("run", "daemon", "--until", "idle")
	m.assertPaid(t, w.assertWent("greet", "BUILDER_COMPLETE", "FIX_NEEDED", "FIXER_COMPLETE", "DOUBLECHECK_PASS", "UPDATE_COMPLETE"))
	if got := w.read("greeting.txt"); got != "hello, world\n# mended\n" {
		t.Errorf("greeting.txt says %q", got)
	}
	told := false
	for _, c := range s.Calls() {
		told = told || strings.Contains(c.Prompt, "- Stage: fixer") && strings.Contains(c.Prompt, "fix_contract.md")
	}
	if !told {
		t.Error("no fixer was told of the fix contract")
	}
}

// assertNoKey looks for the key in all that was written, by whomever.
func (w *world) assertNoKey() {
	w.t.Helper()
	for _, root := range []string{w.dir, w.home} {
		check(w.t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if bytes.Contains(data, []byte(fakeKey)) {
				w.t.Errorf("%s holds the key", path)
			}
			return err
		}))
	}
}
