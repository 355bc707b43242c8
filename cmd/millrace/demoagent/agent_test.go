package demoagent

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/schema"
)

const task = "# Greet\n\nwords\n\n```sh\nwrite nothing\n```\n\n" +
	"```write lib/greet.sh first-attempt\necho helo\n```\n\n" +
	"```write lib/greet.sh\n# Greets.\necho hello\n```\n\n" +
	"```replace README.md\n| greet | planned |\n====\n| greet | ready |\n```\n"

// stage plays one stage in a fresh or given project and returns what it printed.
func stage(t *testing.T, project, prompt string, r schema.Request) string {
	t.Helper()
	t.Chdir(project)
	r.Run, r.ID = "run-1", "req-1"
	dir := filepath.Join(project, "millrace-agents", "runs", r.Run, r.ID)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, schema.RequestFile), string(data))
	var out bytes.Buffer
	env := map[string]string{schema.RunEnv: r.Run, schema.RequestEnv: r.ID}
	if err := Run(t.Context(), strings.NewReader(prompt), &out, func(k string) string { return env[k] }); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

func holds(t *testing.T, path, want string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil || string(data) != want {
		t.Errorf("%s holds %q (%v), want %q", path, data, err, want)
	}
}

func ends(t *testing.T, out, outcome string) {
	t.Helper()
	if !strings.HasSuffix(out, "\n### "+outcome+"\n") {
		t.Errorf("want outcome %s, got:\n%s", outcome, out)
	}
}

func TestFirstAttemptIsWrongAndFixerRepairsIt(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "README.md"), "| greet | planned |\n| other | planned |\n")
	checks := []schema.Check{{Name: "says hello", Run: `test "$(sh lib/greet.sh)" = hello`}}

	ends(t, stage(t, dir, task, schema.Request{Stage: "builder", Attempt: 1}), "BUILDER_COMPLETE")
	holds(t, filepath.Join(dir, "lib/greet.sh"), "echo helo\n")
	holds(t, filepath.Join(dir, "README.md"), "| greet | ready |\n| other | planned |\n")

	fix := []schema.Artifact{{Name: "fix_contract", File: "fix_contract.md", On: []string{"FIX_NEEDED"}}}
	ends(t, stage(t, dir, task, schema.Request{Stage: "checker", Attempt: 2, Checks: checks, Artifacts: fix}), "FIX_NEEDED")
	if _, err := os.Stat(filepath.Join(dir, "millrace-agents/runs/run-1/req-1/fix_contract.md")); err != nil {
		t.Error(err)
	}

	ends(t, stage(t, dir, task, schema.Request{Stage: "fixer", Attempt: 3}), "FIXER_COMPLETE")
	holds(t, filepath.Join(dir, "lib/greet.sh"), "# Greets.\necho hello\n")
	ends(t, stage(t, dir, task, schema.Request{Stage: "doublechecker", Attempt: 4, Checks: checks}), "DOUBLECHECK_PASS")

	ends(t, stage(t, dir, task, schema.Request{Stage: "updater", Attempt: 5}), "UPDATE_COMPLETE")
	holds(t, filepath.Join(dir, "millrace-agents/outline.md"), "# Outline\n\n- `README.md`\n- `lib/greet.sh`: Greets.\n")
}

func TestWhatCannotBeFollowedIsBlocked(t *testing.T) {
	for name, prompt := range map[string]string{
		"no block":      "# Only words\n",
		"outside":       "```write ../escape\nx\n```\n",
		"runtime half":  "```write millrace-agents/millrace.cue\nx\n```\n",
		"missing file":  "```replace gone.md\na\n====\nb\n```\n",
		"no separator":  "```replace there.md\na\n```\n",
		"ambiguous":     "```replace there.md\nsame\n====\nother\n```\n",
		"part of lines": "```replace there.md\nam\n====\nother\n```\n",
		"unfinished":    "```write a.md\nhalf",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, filepath.Join(dir, "there.md"), "same\nsame\n")
			ends(t, stage(t, dir, prompt, schema.Request{Stage: "builder", Attempt: 1}), schema.OutcomeBlocked)
			holds(t, filepath.Join(dir, "there.md"), "same\nsame\n")
			if _, err := os.Stat(filepath.Join(dir, "../escape")); err == nil {
				t.Error("wrote outside of the project")
			}
		})
	}
	ends(t, stage(t, t.TempDir(), task, schema.Request{Stage: "poet", Attempt: 1}), schema.OutcomeBlocked)
}

func TestAlone(t *testing.T) {
	err := Run(t.Context(), strings.NewReader(""), new(bytes.Buffer), func(string) string { return "" })
	if !errors.Is(err, ErrAlone) {
		t.Errorf("got %v", err)
	}
}
