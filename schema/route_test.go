package schema_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"millrace/assets"
	"millrace/schema"
	"millrace/schema/compile"
)

func planOf(t testing.TB, mode string, files map[string][]byte) *schema.Plan {
	t.Helper()
	r := compile.Compile(compile.Source{Mode: mode, Files: files})
	if r.Plan == nil {
		t.Fatal(r.Diags)
	}
	return r.Plan
}

func runAt(node string, entered ...string) *schema.Run {
	run := &schema.Run{ID: "run-1", Plane: "execution", Node: node, Item: schema.Key{Family: "task", ID: "t"}}
	for _, n := range entered {
		run.Steps = append(run.Steps, schema.Step{Node: n})
	}
	return run
}

// spend is a budget with so many passages taken.
func spend(counter string, n int) map[string]int { return map[string]int{counter: n} }

type routeCase struct {
	node    string
	verdict schema.Verdict
	spent   map[string]int
	entered []string

	to      string // node or end
	outcome string // when it is not the verdict's
	class   string
	counter string
	effects []string
	why     string
}

func said(outcome string) schema.Verdict { return schema.Verdict{Outcome: outcome} }

func failed(class string) schema.Verdict {
	return schema.Verdict{Outcome: schema.OutcomeBlocked, Failure: class}
}

func checked(outcome string, passed bool) schema.Verdict {
	return schema.Verdict{Outcome: outcome, ChecksRun: true, ChecksPassed: passed}
}

func resumes(outcome, key string, value any) schema.Verdict {
	return schema.Verdict{Outcome: outcome, Metadata: map[string]any{key: value}}
}

// standardRoutes is every way through execution.standard.
var standardRoutes = []routeCase{
	{node: "builder", verdict: said("BUILDER_COMPLETE"), to: "checker", class: "success", why: "BUILDER_COMPLETE → checker"},
	{node: "builder", verdict: said("BLOCKED"), to: "troubleshooter", class: "blocked", counter: "troubleshoot_attempt_count",
		why: "BLOCKED → troubleshooter (troubleshoot_attempt_count 1 of 2)"},
	{node: "builder", verdict: said("BLOCKED"), spent: spend("troubleshoot_attempt_count", 1), to: "troubleshooter", class: "blocked",
		counter: "troubleshoot_attempt_count", why: "BLOCKED → troubleshooter (troubleshoot_attempt_count 2 of 2)"},
	{node: "builder", verdict: said("BLOCKED"), spent: spend("troubleshoot_attempt_count", 2), to: "consultant", class: "blocked",
		why: "BLOCKED → consultant, as troubleshoot_attempt_count is spent (2)"},

	{node: "checker", verdict: said("CHECKER_PASS"), to: "updater", class: "success", why: "CHECKER_PASS → updater"},
	{node: "checker", verdict: checked("CHECKER_PASS", true), to: "updater", class: "success", why: "CHECKER_PASS → updater"},
	{node: "checker", verdict: checked("CHECKER_PASS", false), to: "fixer", outcome: "FIX_NEEDED", class: "followup_needed", counter: "fix_cycle_count",
		why: "the checks do not pass, so CHECKER_PASS counts as FIX_NEEDED; FIX_NEEDED → fixer (fix_cycle_count 1 of 2)"},
	{node: "checker", verdict: checked("CHECKER_PASS", false), spent: spend("fix_cycle_count", 2), to: "troubleshooter", outcome: "FIX_NEEDED",
		class: "followup_needed", why: "the checks do not pass, so CHECKER_PASS counts as FIX_NEEDED; FIX_NEEDED → troubleshooter, as fix_cycle_count is spent (2)"},
	{node: "checker", verdict: said("FIX_NEEDED"), to: "fixer", class: "followup_needed", counter: "fix_cycle_count", why: "FIX_NEEDED → fixer (fix_cycle_count 1 of 2)"},
	{node: "checker", verdict: checked("FIX_NEEDED", true), spent: spend("fix_cycle_count", 1), to: "fixer", class: "followup_needed", counter: "fix_cycle_count",
		why: "FIX_NEEDED → fixer (fix_cycle_count 2 of 2)"},
	{node: "checker", verdict: said("FIX_NEEDED"), spent: spend("fix_cycle_count", 2), to: "troubleshooter", class: "followup_needed",
		why: "FIX_NEEDED → troubleshooter, as fix_cycle_count is spent (2)"},
	{node: "checker", verdict: said("BLOCKED"), to: "troubleshooter", class: "blocked", counter: "troubleshoot_attempt_count",
		why: "BLOCKED → troubleshooter (troubleshoot_attempt_count 1 of 2)"},
	{node: "checker", verdict: said("BLOCKED"), spent: spend("troubleshoot_attempt_count", 3), to: "consultant", class: "blocked",
		why: "BLOCKED → consultant, as troubleshoot_attempt_count is spent (2)"},

	{node: "fixer", verdict: said("FIXER_COMPLETE"), to: "doublechecker", class: "success", why: "FIXER_COMPLETE → doublechecker"},
	{node: "fixer", verdict: said("BLOCKED"), to: "troubleshooter", class: "blocked", counter: "troubleshoot_attempt_count",
		why: "BLOCKED → troubleshooter (troubleshoot_attempt_count 1 of 2)"},
	{node: "fixer", verdict: said("BLOCKED"), spent: spend("troubleshoot_attempt_count", 2), to: "consultant", class: "blocked",
		why: "BLOCKED → consultant, as troubleshoot_attempt_count is spent (2)"},

	{node: "doublechecker", verdict: checked("DOUBLECHECK_PASS", true), to: "updater", class: "success", why: "DOUBLECHECK_PASS → updater"},
	{node: "doublechecker", verdict: checked("DOUBLECHECK_PASS", false), spent: spend("fix_cycle_count", 1), to: "fixer", outcome: "FIX_NEEDED",
		class: "followup_needed", counter: "fix_cycle_count",
		why: "the checks do not pass, so DOUBLECHECK_PASS counts as FIX_NEEDED; FIX_NEEDED → fixer (fix_cycle_count 2 of 2)"},
	{node: "doublechecker", verdict: said("FIX_NEEDED"), spent: spend("fix_cycle_count", 1), to: "fixer", class: "followup_needed", counter: "fix_cycle_count",
		why: "FIX_NEEDED → fixer (fix_cycle_count 2 of 2)"},
	{node: "doublechecker", verdict: said("FIX_NEEDED"), spent: spend("fix_cycle_count", 2), to: "troubleshooter", class: "followup_needed",
		why: "FIX_NEEDED → troubleshooter, as fix_cycle_count is spent (2)"},
	{node: "doublechecker", verdict: said("BLOCKED"), to: "troubleshooter", class: "blocked", counter: "troubleshoot_attempt_count",
		why: "BLOCKED → troubleshooter (troubleshoot_attempt_count 1 of 2)"},
	{node: "doublechecker", verdict: said("BLOCKED"), spent: spend("troubleshoot_attempt_count", 2), to: "consultant", class: "blocked",
		why: "BLOCKED → consultant, as troubleshoot_attempt_count is spent (2)"},

	{node: "updater", verdict: said("UPDATE_COMPLETE"), to: "update_complete", class: "success", effects: []string{"complete"}, why: "UPDATE_COMPLETE → update_complete"},
	{node: "updater", verdict: checked("UPDATE_COMPLETE", true), spent: spend("fix_cycle_count", 2), to: "update_complete", class: "success",
		effects: []string{"complete"}, why: "UPDATE_COMPLETE → update_complete"},
	{node: "updater", verdict: checked("UPDATE_COMPLETE", false), to: "fixer", class: "success", counter: "fix_cycle_count",
		why: "UPDATE_COMPLETE → update_complete; the checks do not pass, so the run does not end at update_complete; UPDATE_COMPLETE → fixer (fix_cycle_count 1 of 2)"},
	{node: "updater", verdict: checked("UPDATE_COMPLETE", false), spent: spend("fix_cycle_count", 2), to: "troubleshooter", class: "success",
		why: "UPDATE_COMPLETE → update_complete; the checks do not pass, so the run does not end at update_complete; UPDATE_COMPLETE → troubleshooter, as fix_cycle_count is spent (2)"},
	{node: "updater", verdict: said("BLOCKED"), to: "troubleshooter", class: "blocked", counter: "troubleshoot_attempt_count",
		why: "BLOCKED → troubleshooter (troubleshoot_attempt_count 1 of 2)"},
	{node: "updater", verdict: said("BLOCKED"), spent: spend("troubleshoot_attempt_count", 2), to: "consultant", class: "blocked",
		why: "BLOCKED → consultant, as troubleshoot_attempt_count is spent (2)"},

	{node: "troubleshooter", verdict: said("TROUBLESHOOT_COMPLETE"), entered: []string{"builder", "troubleshooter"}, to: "builder", class: "success",
		counter: "troubleshoot_resume_count", why: "TROUBLESHOOT_COMPLETE → builder (troubleshoot_resume_count 1 of 3)"},
	{node: "troubleshooter", verdict: resumes("TROUBLESHOOT_COMPLETE", "resume_stage", "checker"), entered: []string{"builder", "checker"}, to: "checker",
		class: "success", counter: "troubleshoot_resume_count", why: "TROUBLESHOOT_COMPLETE → checker, named by resume_stage (troubleshoot_resume_count 1 of 3)"},
	{node: "troubleshooter", verdict: resumes("TROUBLESHOOT_COMPLETE", "resume_stage", "troubleshooter"), entered: []string{"builder"}, to: "troubleshooter",
		class: "success", counter: "troubleshoot_resume_count", why: "TROUBLESHOOT_COMPLETE → troubleshooter, named by resume_stage (troubleshoot_resume_count 1 of 3)"},
	{node: "troubleshooter", verdict: resumes("TROUBLESHOOT_COMPLETE", "resume_stage", ""), entered: []string{"builder"}, to: "builder",
		class: "success", counter: "troubleshoot_resume_count", why: "TROUBLESHOOT_COMPLETE → builder (troubleshoot_resume_count 1 of 3)"},
	{node: "troubleshooter", verdict: resumes("TROUBLESHOOT_COMPLETE", "target_stage", "checker"), entered: []string{"builder", "checker"}, to: "builder",
		class: "success", counter: "troubleshoot_resume_count", why: "TROUBLESHOOT_COMPLETE → builder (troubleshoot_resume_count 1 of 3)"},
	{node: "troubleshooter", verdict: resumes("TROUBLESHOOT_COMPLETE", "resume_stage", "checker"), entered: []string{"builder", "checker"},
		spent: spend("troubleshoot_resume_count", 3), to: "consultant", class: "success",
		why: "TROUBLESHOOT_COMPLETE → consultant, as troubleshoot_resume_count is spent (3)"},
	{node: "troubleshooter", verdict: said("BLOCKED"), to: "consultant", class: "blocked", why: "BLOCKED → consultant"},

	{node: "consultant", verdict: said("CONSULT_COMPLETE"), to: "troubleshooter", class: "success", counter: "consultant_invocations",
		why: "CONSULT_COMPLETE → troubleshooter (consultant_invocations 1 of 2)"},
	{node: "consultant", verdict: resumes("CONSULT_COMPLETE", "target_stage", "builder"), entered: []string{"builder"}, to: "builder", class: "success",
		counter: "consultant_invocations", why: "CONSULT_COMPLETE → builder, named by target_stage (consultant_invocations 1 of 2)"},
	{node: "consultant", verdict: resumes("CONSULT_COMPLETE", "resume_stage", "fixer"), entered: []string{"builder", "fixer"}, to: "fixer", class: "success",
		counter: "consultant_invocations", why: "CONSULT_COMPLETE → fixer, named by resume_stage (consultant_invocations 1 of 2)"},
	{node: "consultant", verdict: said("CONSULT_COMPLETE"), spent: spend("consultant_invocations", 2), to: "blocked", class: "success",
		effects: []string{"block"}, why: "CONSULT_COMPLETE → blocked, as consultant_invocations is spent (2)"},
	{node: "consultant", verdict: said("NEEDS_PLANNING"), to: "needs_planning", class: "escalate_planning", effects: []string{"block", "escalate"},
		why: "NEEDS_PLANNING → needs_planning"},
	{node: "consultant", verdict: said("BLOCKED"), to: "blocked", class: "blocked", effects: []string{"block"}, why: "BLOCKED → blocked"},

	{node: "builder", verdict: failed(schema.FailTimeout), to: "troubleshooter", class: "recoverable_failure", counter: "troubleshoot_attempt_count",
		why: "runner_timeout takes the route of BLOCKED; BLOCKED → troubleshooter (troubleshoot_attempt_count 1 of 2)"},
	{node: "updater", verdict: failed(schema.FailMissingArtifact), spent: spend("troubleshoot_attempt_count", 2), to: "consultant", class: "recoverable_failure",
		why: "missing_artifact takes the route of BLOCKED; BLOCKED → consultant, as troubleshoot_attempt_count is spent (2)"},
	{node: "consultant", verdict: failed(schema.FailMissingOutcome), to: "blocked", class: "recoverable_failure", effects: []string{"block"},
		why: "missing_outcome takes the route of BLOCKED; BLOCKED → blocked"},
}

func TestRoutesOfStandardExecution(t *testing.T) {
	plan := planOf(t, "standard", assets.Files())
	graph := plan.Graphs["execution"]
	taken := map[string]bool{}
	for _, c := range standardRoutes {
		before := maps.Clone(c.spent)
		run := runAt(c.node, c.entered...)
		d, err := plan.Route(run, c.spent, c.verdict)
		if err != nil {
			t.Errorf("%s %s: %v", c.node, c.verdict.Outcome, err)
			continue
		}
		want := schema.Decision{Outcome: c.outcome, Class: c.class, Counter: c.counter, Effects: c.effects, Why: c.why}
		if want.Outcome == "" {
			want.Outcome = c.verdict.Outcome
		}
		if graph.Nodes[c.to] != nil {
			want.Node = c.to
		} else {
			want.End = c.to
		}
		if d.Outcome != want.Outcome || d.Class != want.Class || d.Counter != want.Counter || d.Node != want.Node || d.End != want.End ||
			!slices.Equal(d.Effects, want.Effects) || d.Why != want.Why {
			t.Errorf("%s %s:\n got %+v\nwant %+v", c.node, c.verdict.Outcome, d, want)
		}
		if !maps.Equal(before, c.spent) {
			t.Errorf("%s %s: Route changed the counters", c.node, c.verdict.Outcome)
		}
		taken[c.node+" "+d.Outcome+" → "+c.to] = true
	}
	for name, node := range graph.Nodes {
		for outcome, edge := range node.On {
			for _, to := range []string{edge.To, edge.Then} {
				if way := name + " " + outcome + " → " + to; to != "" && !taken[way] {
					t.Errorf("no case for %s", way)
				}
			}
		}
	}
}

func TestRouteRefusesWhatIsIllegal(t *testing.T) {
	plan := planOf(t, "standard", assets.Files())
	for name, c := range map[string]struct {
		run     *schema.Run
		verdict schema.Verdict
		want    string
	}{
		"outcome of another stage": {runAt("builder"), said("CHECKER_PASS"), "route CHECKER_PASS of node builder: stage builder ends with BLOCKED, BUILDER_COMPLETE"},
		"class":                    {runAt("builder"), schema.Verdict{Outcome: "BUILDER_COMPLETE", Class: "blocked"}, `route BUILDER_COMPLETE of node builder: result class "blocked" is not one of success`},
		"resume at an unknown node": {runAt("troubleshooter"), resumes("TROUBLESHOOT_COMPLETE", "resume_stage", "bilder"),
			`route TROUBLESHOOT_COMPLETE of node troubleshooter: resume_stage names "bilder", which is no node of the graph`},
		"resume at an end": {runAt("troubleshooter"), resumes("TROUBLESHOOT_COMPLETE", "resume_stage", "update_complete"),
			`route TROUBLESHOOT_COMPLETE of node troubleshooter: resume_stage names "update_complete", which is no node of the graph`},
		"resume at a node not entered": {runAt("troubleshooter", "builder"), resumes("TROUBLESHOOT_COMPLETE", "resume_stage", "updater"),
			"route TROUBLESHOOT_COMPLETE of node troubleshooter: resume_stage names updater, which this run has not entered"},
		"resume at an excluded node": {runAt("troubleshooter", "consultant"), resumes("TROUBLESHOOT_COMPLETE", "resume_stage", "consultant"),
			"route TROUBLESHOOT_COMPLETE of node troubleshooter: resume_stage may not name consultant"},
		"consultant resumes at itself": {runAt("consultant", "consultant"), resumes("CONSULT_COMPLETE", "target_stage", "consultant"),
			"route CONSULT_COMPLETE of node consultant: target_stage may not name consultant"},
		"resume at no text": {runAt("troubleshooter", "builder"), resumes("TROUBLESHOOT_COMPLETE", "resume_stage", []any{"builder"}),
			"route TROUBLESHOOT_COMPLETE of node troubleshooter: resume_stage names no node: [builder]"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := plan.Route(c.run, nil, c.verdict)
			var illegal *schema.RouteError
			if !errors.As(err, &illegal) || illegal.Class != schema.FailIllegalOutcome {
				t.Fatalf("%v", err)
			}
			if err.Error() != c.want {
				t.Errorf("says %q", err)
			}
		})
	}
	foreign := runAt("builder")
	foreign.Item.Family = "spec"
	foreign.Steps = []schema.Step{{Node: "builder"}}
	foreign.Node = "troubleshooter"
	if _, err := plan.Route(foreign, nil, resumes("TROUBLESHOOT_COMPLETE", "resume_stage", "builder")); err == nil || !strings.Contains(err.Error(), "family spec") {
		t.Errorf("resumed at a node that does not own the item: %v", err)
	}
	if _, err := plan.Route(runAt("nowhere"), nil, said("BLOCKED")); err == nil || errors.As(err, new(*schema.RouteError)) {
		t.Errorf("a run of another plan: %v", err)
	}
}

func TestFailedStageHasNoWish(t *testing.T) {
	plan := planOf(t, "standard", assets.Files())
	v := schema.Verdict{Outcome: "TROUBLESHOOT_COMPLETE", Failure: schema.FailExit, Metadata: map[string]any{"resume_stage": "nowhere"}}
	d, err := plan.Route(runAt("troubleshooter"), nil, v)
	if err != nil || d.Node != "builder" {
		t.Fatal(d, err)
	}
}

func TestIntegratorRoutes(t *testing.T) {
	plan := planOf(t, "default_codex_integrated", assets.Files())
	for _, c := range []struct{ node, outcome, to, counter string }{
		{"builder", "BUILDER_COMPLETE", "integrator", ""},
		{"builder", "BLOCKED", "troubleshooter", "troubleshoot_attempt_count"},
		{"integrator", "INTEGRATION_COMPLETE", "checker", ""},
		{"integrator", "BLOCKED", "troubleshooter", "troubleshoot_attempt_count"},
	} {
		d, err := plan.Route(runAt(c.node), nil, said(c.outcome))
		if err != nil || d.Node != c.to || d.Counter != c.counter {
			t.Errorf("%s %s: %+v %v", c.node, c.outcome, d, err)
		}
	}
	d, err := plan.Route(runAt("integrator"), spend("troubleshoot_attempt_count", 2), said("BLOCKED"))
	if err != nil || d.Node != "consultant" {
		t.Errorf("%+v %v", d, err)
	}
	standard := planOf(t, "standard", assets.Files()).Graphs["execution"]
	for name, node := range plan.Graphs["execution"].Nodes {
		if name == "builder" || name == "integrator" {
			continue
		}
		for outcome, edge := range node.On {
			if s := standard.Nodes[name].On[outcome]; edge.To != s.To || edge.Then != s.Then || edge.Limit != s.Limit {
				t.Errorf("%s %s differs from the standard graph", name, outcome)
			}
		}
	}
}

func TestChecksAfter(t *testing.T) {
	plan := planOf(t, "standard", assets.Files())
	for node, want := range map[string][]string{
		"builder": nil, "checker": {"CHECKER_PASS"}, "fixer": nil, "doublechecker": {"DOUBLECHECK_PASS"}, "updater": {"UPDATE_COMPLETE"},
		"troubleshooter": nil, "consultant": nil, "nowhere": nil,
	} {
		if got := plan.ChecksAfter("execution", node); !slices.Equal(got, want) {
			t.Errorf("%s: %v", node, got)
		}
	}
}

func TestFailureOutcome(t *testing.T) {
	files := assets.Files()
	files["graphs/mine.cue"] = []byte(`package millrace
graphs: "execution.standard": failures: {runner_timeout: "FIX_NEEDED", runner_exit: "BLOCKED"}
`)
	plan := planOf(t, "standard", files)
	for _, c := range []struct{ node, class, want string }{
		{"checker", schema.FailTimeout, "FIX_NEEDED"},
		{"builder", schema.FailTimeout, "BLOCKED"}, // has no such outcome
		{"checker", schema.FailExit, "BLOCKED"},
		{"checker", schema.FailStalled, "BLOCKED"},
		{"nowhere", schema.FailTimeout, "BLOCKED"},
	} {
		if got := plan.FailureOutcome("execution", c.node, c.class); got != c.want {
			t.Errorf("%s %s: %s", c.node, c.class, got)
		}
	}
	d, err := plan.Route(runAt("checker"), nil, schema.Verdict{Outcome: "FIX_NEEDED", Failure: schema.FailTimeout})
	if err != nil || d.Node != "fixer" || d.Class != "followup_needed" {
		t.Errorf("%+v %v", d, err)
	}
}

// TestEveryRunEnds plays random outcomes, checks and wishes: within the steps that the budgets allow, each run
// comes to an end.
func TestEveryRunEnds(t *testing.T) {
	for _, mode := range []string{"standard", "default_codex_integrated"} {
		plan := planOf(t, mode, assets.Files())
		graph := plan.Graphs["execution"]
		nodes := slices.Sorted(maps.Keys(graph.Nodes))
		budgets := map[string]int{}
		for _, node := range graph.Nodes {
			for _, e := range node.On {
				if e.Counter != "" {
					budgets[e.Counter] = max(budgets[e.Counter], e.Limit)
				}
			}
		}
		bound := len(nodes) // without spending, no node is entered twice
		for _, limit := range budgets {
			bound += limit * len(nodes)
		}
		rapid.Check(t, func(t *rapid.T) {
			run, counters := runAt(graph.Entry["task"]), map[string]int{}
			for step := 1; ; step++ {
				if step > bound {
					t.Fatalf("no end after %d steps: %v", bound, run.Entered())
				}
				kind := plan.Kind("execution", run.Node)
				v := schema.Verdict{
					Outcome:      rapid.SampledFrom(slices.Sorted(maps.Keys(kind.Outcomes))).Draw(t, "outcome"),
					ChecksRun:    rapid.Bool().Draw(t, "checks run"),
					ChecksPassed: rapid.Bool().Draw(t, "checks pass"),
				}
				if rapid.Bool().Draw(t, "wishes") {
					key := rapid.SampledFrom([]string{"resume_stage", "target_stage"}).Draw(t, "key")
					v.Metadata = map[string]any{key: rapid.SampledFrom(nodes).Draw(t, "wish")}
				}
				d, err := plan.Route(run, counters, v)
				if illegal, is := errors.AsType[*schema.RouteError](err); is { // what the runtime does then
					v = schema.Verdict{Outcome: plan.FailureOutcome("execution", run.Node, illegal.Class), Failure: illegal.Class}
					d, err = plan.Route(run, counters, v)
				}
				if err != nil {
					t.Fatal(err)
				}
				if d.Counter != "" {
					counters[d.Counter]++
				}
				run.Steps = append(run.Steps, schema.Step{Node: run.Node})
				if d.End != "" {
					end := graph.Ends[d.End]
					if end.Gate != nil && v.ChecksRun && !v.ChecksPassed {
						t.Fatalf("ended at %s although the checks do not pass", d.End)
					}
					return
				}
				if d.Node == "" {
					t.Fatalf("leads nowhere: %+v", d)
				}
				run.Node = d.Node
			}
		})
	}
}
