package compile_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"millrace/schema"
	"millrace/schema/compile"
)

func TestConfigDefaults(t *testing.T) {
	for _, name := range compile.ConfigFiles {
		c, diags := compile.LoadConfig(name, nil)
		if c == nil || len(diags) > 0 {
			t.Fatal(name, diags)
		}
		if c.Runtime.DefaultMode != "default_codex" || time.Duration(c.Runtime.Rescan) != 30*time.Second ||
			!c.Runtime.Prune || c.Runtime.PruneLimit != 0.5 || time.Duration(c.Runtime.PruneSettle) != 5*time.Second ||
			c.Runtime.Settle != 0 || c.Runtime.LogLevel != "info" {
			t.Errorf("runtime defaults: %+v", c.Runtime)
		}
		if c.Runners.Default != "codex_cli" || c.Runners.Named["pi_rpc"].Adapter != "pi_rpc" {
			t.Errorf("runner defaults: %+v", c.Runners)
		}
		if a := c.ModelAliases["deep"].By["codex_cli"]; a.Model != "gpt-5.5" || a.Thinking != "xhigh" {
			t.Errorf("alias defaults: %+v", c.ModelAliases)
		}
		if c.Checks.FromAgents != "approval" || time.Duration(c.Checks.Timeout) != 10*time.Minute {
			t.Errorf("check defaults: %+v", c.Checks)
		}
		if r := c.AutoRecovery; !r.Enabled || !r.DependencyRetry || r.MaxRequeues != 3 || len(r.Cooldowns) != 3 {
			t.Errorf("recovery defaults: %+v", r)
		}
	}
}

// TestConfigEncodings: the same record in every encoding.
func TestConfigEncodings(t *testing.T) {
	same := map[string]string{
		"millrace.cue": `
let minutes = "20m"
runtime: {default_mode: "standard", lanes: execution: 2, prune: false}
runners: {
	default_runner: "mine"
	mine: {adapter: "command", run: ["./agent.sh", "{{prompt_file}}"], prompt: "file", permission_by_stage: checker: "basic"}
}
stages: checker: {runner: "codex-fast", timeout: minutes}
runners: "codex-fast": {adapter: "codex_cli", args: ["-c", "model_verbosity=low"]}
budgets: fix_cycle_count: 4
model_aliases: fast: {model: "m", codex_cli: {model: "n", thinking_level: "low"}}
model_assignment: {default: "fast", by_stage: checker: "deep"}
`,
		"millrace.yaml": `
runtime: {default_mode: standard, lanes: {execution: 2}, prune: false}
runners:
  default_runner: mine
  mine: {adapter: command, run: [./agent.sh, "{{prompt_file}}"], prompt: file, permission_by_stage: {checker: basic}}
  codex-fast: {adapter: codex_cli, args: [-c, model_verbosity=low]}
stages: {checker: {runner: codex-fast, timeout: 20m}}
budgets: {fix_cycle_count: 4}
model_aliases: {fast: {model: m, codex_cli: {model: "n", thinking_level: low}}}
model_assignment: {default: fast, by_stage: {checker: deep}}
`,
		"millrace.json": `{
"runtime": {"default_mode": "standard", "lanes": {"execution": 2}, "prune": false},
"runners": {"default_runner": "mine",
  "mine": {"adapter": "command", "run": ["./agent.sh", "{{prompt_file}}"], "prompt": "file", "permission_by_stage": {"checker": "basic"}},
  "codex-fast": {"adapter": "codex_cli", "args": ["-c", "model_verbosity=low"]}},
"stages": {"checker": {"runner": "codex-fast", "timeout": "20m"}},
"budgets": {"fix_cycle_count": 4},
"model_aliases": {"fast": {"model": "m", "codex_cli": {"model": "n", "thinking_level": "low"}}},
"model_assignment": {"default": "fast", "by_stage": {"checker": "deep"}}}
`,
		"millrace.toml": `
[runtime]
default_mode = "standard"
prune = false
lanes = {execution = 2}
[runners]
default_runner = "mine"
[runners.mine]
adapter = "command"
run = ["./agent.sh", "{{prompt_file}}"]
prompt = "file"
permission_by_stage = {checker = "basic"}
[runners.codex-fast]
adapter = "codex_cli"
args = ["-c", "model_verbosity=low"]
[stages.checker]
runner = "codex-fast"
timeout = "20m"
[budgets]
fix_cycle_count = 4
[model_aliases.fast]
model = "m"
codex_cli = {model = "n", thinking_level = "low"}
[model_assignment]
default = "fast"
by_stage = {checker = "deep"}
`,
	}
	want, diags := compile.LoadConfig("millrace.cue", []byte(same["millrace.cue"]))
	if want == nil {
		t.Fatal(diags)
	}
	if want.Runners.Named["codex-fast"].Name != "codex-fast" || want.Stages["checker"].Timeout != schema.Duration(20*time.Minute) ||
		want.ModelAliases["fast"].By["codex_cli"].Model != "n" || want.ModelAliases["deep"].By["codex_cli"].Model == "" {
		t.Fatalf("%+v", want)
	}
	for name, text := range same {
		got, diags := compile.LoadConfig(name, []byte(text))
		if got == nil {
			t.Errorf("%s: %v", name, diags)
			continue
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is another configuration:\n%+v\n%+v", name, got, want)
		}
	}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if back, diags := compile.LoadConfig("millrace.json", data); !reflect.DeepEqual(back, want) {
		t.Errorf("written and read again: %v\n%s", diags, data)
	}
}

// TestConfigRefused holds the messages: testdata/config/*.{cue,yaml,json,toml} beside their .want.
func TestConfigRefused(t *testing.T) {
	files, err := filepath.Glob("testdata/config/*")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		if filepath.Ext(file) == ".want" {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, diags := compile.LoadConfig("millrace"+filepath.Ext(file), data)
			if c != nil || !diags.HasErrors() {
				t.Fatal("is taken")
			}
			got := diags.Error() + "\n"
			if *update {
				if err := os.WriteFile(file+".want", []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file + ".want")
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("says\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestConfigTooLarge(t *testing.T) {
	c, diags := compile.LoadConfig("millrace.cue", bytes.Repeat([]byte("// x\n"), schema.MaxFile))
	if c != nil || !strings.Contains(diags.Error(), "1 MiB") {
		t.Fatal(diags)
	}
}
