package compile_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/schema"
	"millrace/schema/compile"
)

// who is the part of a node that says who runs it, and where that came from.
type who struct{ runner, model, thinking, permission string }

func whoRuns(n *schema.Node) who { return who{n.Runner, n.Model, n.Thinking, n.Permission} }

// layers are all sources of a node's bindings, the strongest first; each case takes one more away.
var layers = []struct {
	name         string
	config, mode string // lines of millrace.cue and of the mode
	graph        string
	want         who
	from         who
}{
	{
		name:   "stages.<stage>",
		config: `stages: checker: {runner: "r1", model: "m1", thinking_level: "minimal", permission: "basic", timeout: "5m", stall_timeout: "1m", max_turns: 9}`,
		want:   who{"r1", "m1", "minimal", "basic"},
		from: who{"stages.checker.runner in millrace.cue", "stages.checker.model in millrace.cue",
			"stages.checker.thinking_level in millrace.cue", "stages.checker.permission in millrace.cue"},
	},
	{
		name:   "workspace by_stage",
		config: `model_assignment: by_stage: checker: "w_stage"`,
		mode:   `stages: checker: {runner: "r2", permission: "elevated"}`,
		want:   who{"r2", "m2", "low", "elevated"},
		from: who{"mode mine, stages.checker", "alias w_stage by model_assignment.by_stage.checker in millrace.cue",
			"alias w_stage by model_assignment.by_stage.checker in millrace.cue", "mode mine, stages.checker"},
	},
	{
		name:   "workspace by_loop",
		config: `model_assignment: by_loop: execution: "w_loop"`,
		mode:   `runner: "r3"`,
		graph:  `permission: "basic"`,
		want:   who{"r3", "m3", "medium", "basic"},
		from: who{"mode mine", "alias w_loop by model_assignment.by_loop.execution in millrace.cue",
			"alias w_loop by model_assignment.by_loop.execution in millrace.cue", "graph mine, nodes.checker"},
	},
	{
		name:   "the mode's stage map",
		config: `runners: r4: permission_by_stage: checker: "elevated"`,
		mode:   `stages: checker: {model: "m4", thinking_level: "high"}`,
		graph:  `runner: "r4"`,
		want:   who{"r4", "m4", "high", "elevated"},
		from:   who{"graph mine, nodes.checker", "mode mine, stages.checker", "mode mine, stages.checker", "runner r4, permission_by_stage"},
	},
	{
		name:   "mode by_stage",
		config: `runners: default_runner: "r5"`,
		mode:   `model_assignment: by_stage: checker: "m_stage"`,
		want:   who{"r5", "m5", "xhigh", "basic"},
		from: who{"runners.default_runner in millrace.cue", "alias m_stage by mode mine, model_assignment.by_stage.checker",
			"alias m_stage by mode mine, model_assignment.by_stage.checker", "runner r5, permission_by_model"},
	},
	{
		name: "mode by_loop",
		mode: `model_assignment: by_loop: execution: "m_loop"`,
		want: who{"codex_cli", "m6", "minimal", "basic"},
		from: who{"runners.default_runner (default)", "alias m_loop by mode mine, model_assignment.by_loop.execution",
			"alias m_loop by mode mine, model_assignment.by_loop.execution", "runner codex_cli"},
	},
	{
		name: "mode default",
		mode: `model_assignment: default: "m_all"`,
		want: who{"codex_cli", "m7", "low", "basic"},
		from: who{"runners.default_runner (default)", "alias m_all by mode mine, model_assignment.default",
			"alias m_all by mode mine, model_assignment.default", "runner codex_cli"},
	},
	{
		name:  "graph node",
		graph: `model: "m8", thinking_level: "medium"`,
		want:  who{"codex_cli", "m8", "medium", "basic"},
		from:  who{"runners.default_runner (default)", "graph mine, nodes.checker", "graph mine, nodes.checker", "runner codex_cli"},
	},
	{
		name:   "workspace default",
		config: `model_assignment: default: "w_all"`,
		want:   who{"codex_cli", "m9", "high", "basic"},
		from: who{"runners.default_runner (default)", "alias w_all by model_assignment.default in millrace.cue",
			"alias w_all by model_assignment.default in millrace.cue", "runner codex_cli"},
	},
	{
		name:   "the runner's own",
		config: `runners: codex_cli: {model: "m10", permission: "basic"}`,
		want:   who{"codex_cli", "m10", "", "basic"},
		from:   who{"runners.default_runner (default)", "runner codex_cli", "", "runner codex_cli"},
	},
	{
		name: "the adapter's default",
		want: who{"codex_cli", "", "", "maximum"},
		from: who{"runners.default_runner (default)", "", "", "default"},
	},
}

// always is what every case needs: the names that the layers use.
const always = `
runtime: default_mode: "mine"
runners: {r1: adapter: "codex_cli", r2: adapter: "codex_cli", r3: adapter: "codex_cli", r4: adapter: "codex_cli"}
runners: r5: {adapter: "codex_cli", permission_by_model: m5: "basic", permission: "elevated"}
model_aliases: {
	w_stage: {model: "m2", thinking_level: "low"}
	w_loop: codex_cli: {model: "m3", thinking_level: "medium"}
	w_all: {model: "other", codex_cli: {model: "m9", thinking_level: "high"}}
}
`

func layered(skip int) map[string]string {
	config, mode, graph := always, "", ""
	for _, layer := range layers[skip:] {
		config += layer.config + "\n"
		mode += layer.mode + "\n"
		graph += layer.graph + "\n"
	}
	return map[string]string{
		"millrace.cue": config,
		"modes/mine.cue": `package millrace
modes: mine: graphs: execution: "mine"
modes: mine: model_aliases: {
	m_stage: {model: "m5", thinking_level: "xhigh"}
	m_loop: {model: "m6", thinking_level: "minimal"}
	m_all: {model: "m7", thinking_level: "low"}
}
modes: mine: {
` + mode + "}\n",
		"graphs/mine.cue": `package millrace
graphs: mine: graphs["execution.standard"] & {nodes: checker: {
` + graph + "\n}}\n",
	}
}

func TestWhoDecides(t *testing.T) {
	for i, layer := range layers {
		t.Run(layer.name, func(t *testing.T) {
			r := mustCompile(t, compile.Source{Files: with(layered(i))})
			n := r.Plan.Node("execution", "checker")
			if got := whoRuns(n); got != layer.want {
				t.Errorf("got %+v, want %+v", got, layer.want)
			}
			if got := (who{n.From["runner"], n.From["model"], n.From["thinking_level"], n.From["permission"]}); got != layer.from {
				t.Errorf("from %+v,\nwant %+v", got, layer.from)
			}
			if r.Plan.Runners[n.Runner].Adapter != "codex_cli" {
				t.Error("the plan lacks the runner")
			}
		})
	}
}

func TestLimitsOfAStage(t *testing.T) {
	n := mustCompile(t, compile.Source{Files: with(layered(0))}).Plan.Node("execution", "checker")
	if time.Duration(n.Timeout) != 5*time.Minute || time.Duration(n.Stall) != time.Minute || n.MaxTurns != 9 ||
		n.From["timeout"] != "stages.checker.timeout in millrace.cue" {
		t.Errorf("%+v", n)
	}
	n = mustCompile(t, compile.Source{Files: with(layered(1))}).Plan.Node("execution", "checker")
	if time.Duration(n.Timeout) != time.Hour || time.Duration(n.Stall) != 10*time.Minute || n.MaxTurns != 0 || n.From["timeout"] != "default" {
		t.Errorf("%+v", n)
	}
}

// TestNullTakesTheAdaptersDefault: a mode may ask for no model at all, whatever weaker sources say.
func TestNullTakesTheAdaptersDefault(t *testing.T) {
	files := layered(6)
	files["modes/mine.cue"] += `modes: mine: stages: checker: {model: null, thinking_level: null}` + "\n"
	n := mustCompile(t, compile.Source{Files: with(files)}).Plan.Node("execution", "checker")
	if n.Model != "" || n.Thinking != "" || n.From["model"] != "mode mine, stages.checker" {
		t.Errorf("%q %q %v", n.Model, n.Thinking, n.From)
	}
}

func TestWarningsOfAPlan(t *testing.T) {
	r := mustCompile(t, compile.Source{Files: with(map[string]string{"millrace.cue": `
runtime: {default_mode: "standard", lanes: planing: 2}
stages: chekcer: timeout: "5m"
budgets: fix_cycles_count: 3
model_assignment: {default: "fst", by_stage: {builder: "claude", integrator: "nobody"}}
model_aliases: claude: claude_code: model: "c"
`})})
	want := `millrace.cue:2:44: warning: runtime.lanes.planing: mode "standard" has no plane "planing"
millrace.cue:3:9: warning: stages.chekcer: there is no such stage kind
  did you mean "checker"?
millrace.cue:4:10: warning: budgets.fix_cycles_count: no graph of mode "standard" counts this
  did you mean "fix_cycle_count"?
millrace.cue:5:29: warning: model_assignment: there is no model alias "fst", so nothing is assigned
  did you mean "fast"?
millrace.cue:5:56: warning: model_assignment: model alias "claude" says nothing for the adapter codex_cli, so nothing is assigned
  add model_aliases: claude: codex_cli: {model: …}`
	if got := r.Diags.Error(); got != want {
		t.Errorf("says\n%s", got)
	}
	if !slices.Equal(r.Plan.Warnings, r.Diags) {
		t.Error("the plan does not carry its warnings")
	}
}

// TestFaultASettingThatNoAgentReads: what an adapter does not keep, and what is wrong with a runner or an alias that nothing takes yet,
// stops nobody.
func TestFaultASettingThatNoAgentReads(t *testing.T) {
	r := mustCompile(t, compile.Source{Files: with(map[string]string{"millrace.cue": `
runtime: default_mode: "mine"
runners: {later: {adapter: "claude", run: ["claude"]}, soon: {adapter: "command"}}
runners: mine: {adapter: "command", run: ["./agent.sh"]}
stages: {
	builder: {runner: "claude_code", max_turns: 30}
	checker: {runner: "codex_cli", max_turns: 5}
	fixer: {runner: "mine", max_turns: 5, thinking_level: "as it likes"}
}
model_aliases: fast: codex: model: "x"
`,
		"modes/mine.cue":  "package millrace\nmodes: mine: {graphs: {execution: \"mine\", planning: \"planning.standard\"}, runner: \"pi_rpc\"}\n",
		"graphs/mine.cue": "package millrace\ngraphs: mine: graphs[\"execution.standard\"] & {nodes: updater: max_turns: 3}\n",
	})})
	want := `graphs/mine.cue:2:63: warning: max_turns: pi_rpc, which runs stage updater, has no turns to count: the limit is not kept
  timeout and stall_timeout are kept with every agent
millrace.cue:3:19: warning: runners.later.adapter: there is no adapter "claude"
  did you mean "claude_code"?
millrace.cue:3:56: warning: runners.soon: run is missing: the adapter command does not know what to start
  add the command line, like run: ["./agent.sh", "{{prompt_file}}"]
millrace.cue:7:33: warning: max_turns: codex_cli, which runs stage checker, has no turns to count: the limit is not kept
  timeout and stall_timeout are kept with every agent
millrace.cue:10:22: warning: model_aliases.fast.codex: there is no adapter "codex"
  did you mean "codex_cli"?`
	if got := r.Diags.Error(); got != want {
		t.Errorf("says\n%s", got)
	}
}

// TestAdaptersAreKnown: what compiling, doctor and the documentation say of an adapter is there to be said.
func TestAdaptersAreKnown(t *testing.T) {
	for _, name := range schema.AdapterNames() {
		a := schema.AdapterOf(name)
		for _, permission := range []string{"basic", "elevated", "maximum"} {
			if p := a.Terms().Permit(permission); p.Permission != permission || p.Means == "" {
				t.Errorf("%s: nothing is said of permission %s", name, permission)
			}
		}
		if a.Program != "" && (a.Package == "" || a.Oldest == "" || a.Newest == "" || len(a.Keys) == 0 || a.Folder == "" || len(a.Thinking) == 0 || a.Terms().SignIn == "" || len(a.Terms().Settings) == 0) {
			t.Errorf("%s: facts are missing: %+v", name, a)
		}
	}
}

// TestMistakesAside: what the plan does not use is warned about and changes nothing.
func TestMistakesAside(t *testing.T) {
	before := mustCompile(t, compile.Source{Mode: "standard", Files: with(nil)})
	after := mustCompile(t, compile.Source{Mode: "standard", Files: with(map[string]string{
		"modes/mine.cue":        "package millrace\nmodes: mine: {graphs: execution: \"nowhere\", runer: \"x\"}\n",
		"graphs/mine.cue":       "package millrace\ngraphs: mine: plane: \"execution\"\n",
		"stages/mine.cue":       "package millrace\nstages: mine: plane: 3\n",
		"entrypoints/unused.md": "text\n", "skills/unused/SKILL.md": "text\n", "graphs/notes.txt": "no CUE", "graphs/.mine.cue.swp": "no CUE",
	})})
	if after.Digest != before.Digest {
		t.Errorf("another plan:\n%s", strings.Join(compile.Diff(before.Plan, after.Plan), "\n"))
	}
	if len(after.Diags) < 3 || after.Diags.HasErrors() {
		t.Errorf("says %v", after.Diags)
	}
}

func TestInputs(t *testing.T) {
	r := mustCompile(t, compile.Source{Files: with(map[string]string{
		"millrace.yaml":  "runtime: {default_mode: default_codex_integrated}\n",
		"graphs/own.cue": "package millrace\n_unused: 1\n",
	})})
	got := slices.Sorted(maps.Keys(r.Inputs))
	want := []string{"families/blueprint_draft.cue", "families/closure_target.cue", "families/incident.cue", "families/learning_request.cue", "families/probe.cue", "families/spec.cue", "families/task.cue",
		"graphs/execution.standard.cue", "graphs/execution.with_integrator.cue", "graphs/own.cue", "graphs/planning.standard.cue", "millrace.yaml",
		"modes/codex.cue", "modes/triggers.cue", "skills/INDEX.md", "skills/shared/deep-audit/SKILL.md", "stages/execution.cue", "stages/planning.cue"}
	for _, stage := range []string{"builder", "checker", "consultant", "doublechecker", "fixer", "integrator", "troubleshooter", "updater"} {
		want = append(want, "entrypoints/execution/"+stage+".md", "skills/stage/execution/"+stage+"-core/SKILL.md")
	}
	for _, stage := range []string{"arbiter", "auditor", "manager", "mechanic", "planner", "recon"} {
		want = append(want, "entrypoints/planning/"+stage+".md", "skills/stage/planning/"+stage+"-core/SKILL.md")
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("inputs are\n%s", strings.Join(got, "\n"))
	}
	for name := range r.Inputs {
		if !compile.IsInput(name) {
			t.Errorf("%s is an input, and IsInput does not know it", name)
		}
	}
	for _, name := range []string{"intake/tasks/a.md", "state/control.json", "modes/x.yaml", "graphs/.x.cue", "graphs/x.cue~", "entrypoints/x.txt", "outline.md", "millrace.yml"} {
		if compile.IsInput(name) {
			t.Errorf("%s is no input", name)
		}
	}
}

// TestWhatMakesAnotherPlan: a setting that no run depends on changes nothing but the digest of its file.
func TestWhatMakesAnotherPlan(t *testing.T) {
	at := func(config string) *schema.Plan {
		return mustCompile(t, compile.Source{Mode: "standard", Files: with(map[string]string{"millrace.cue": config})}).Plan
	}
	plain := at("// nothing\n")
	for config, want := range map[string]string{
		`runtime: {rescan: "5s", prune: false, log_level: "debug", default_mode: "demo"}`: "",
		`budgets: fix_cycle_count: 5`: `~ graphs.execution.ends.update_complete.gate.limit: 2 → 5
~ graphs.execution.nodes.checker.on.FIX_NEEDED.limit: 2 → 5
~ graphs.execution.nodes.doublechecker.on.FIX_NEEDED.limit: 2 → 5
`,
		`stages: checker: {timeout: "5m", model: "m"}`: `+ graphs.execution.nodes.checker.model: "m"
~ graphs.execution.nodes.checker.timeout: "1h" → "5m"
`,
		`runtime: lanes: execution: 2`:           "~ lanes.execution: 1 → 2\n",
		`runners: codex_cli: args: ["-v"]`:       "+ runners.codex_cli.args: [\"-v\"]\n",
		`checks: timeout: "1m"`:                  "~ checks.timeout: \"10m\" → \"1m\"\n",
		`auto_recovery: {cooldowns: ["1m"]}`:     "~ auto_recovery.cooldowns: [\"5m\",\"15m\",\"1h\"] → [\"1m\"]\n",
		`stages: checker: runner: "claude_code"`: "~ graphs.execution.nodes.checker.runner: \"codex_cli\" → \"claude_code\"\n+ runners.claude_code\n",
	} {
		lines := compile.Diff(plain, at(config))
		found := slices.Index(lines, "~ millrace.cue: the file changed")
		if found < 0 {
			t.Fatalf("%s: the file is no input: %v", config, lines)
		}
		sorted := slices.Delete(lines, found, found+1)
		if got := strings.Join(append(sorted, ""), "\n"); got != want {
			t.Errorf("%s:\n%s", config, got)
		}
	}
	if lines := compile.Diff(plain, plain); len(lines) > 0 {
		t.Errorf("a plan differs from itself: %v", lines)
	}
}

func TestBudgetsAreOverridden(t *testing.T) {
	r := mustCompile(t, compile.Source{Mode: "standard", Files: with(map[string]string{"millrace.cue": "budgets: {fix_cycle_count: 5, consultant_invocations: 0, incident_limit: 2}\n"})})
	if r.Plan.IncidentLimit != 2 || len(r.Diags) > 0 {
		t.Errorf("%d incidents a root, %v", r.Plan.IncidentLimit, r.Diags)
	}
	g := r.Plan.Graphs["execution"]
	if g.Nodes["checker"].On["FIX_NEEDED"].Limit != 5 || g.Ends["update_complete"].Gate.Limit != 5 || g.Nodes["builder"].On["BLOCKED"].Limit != 2 {
		t.Error("limits are not as configured")
	}
	run := &schema.Run{Plane: "execution", Node: "consultant", Item: schema.Key{Family: "task", ID: "t"}}
	if d, err := r.Plan.Route(run, nil, schema.Verdict{Outcome: "CONSULT_COMPLETE"}); err != nil || d.End != "blocked" {
		t.Errorf("a budget of none is spent at once: %+v %v", d, err)
	}
}
