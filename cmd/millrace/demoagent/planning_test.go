package demoagent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/schema"
)

const (
	folder  = "millrace-agents/runs/run-1/req-1/"
	askTask = "# Find the best\n\nTask-ID: best\n\nAcceptance:\n- it is the best\n\n---\n\n```question\nWhich one is\nthe best?\n```\n"
	newTask = "# Find the first\n\nTask-ID: first\n\nAcceptance:\n- it is the first\n\n---\n\n```write first.sh\necho a\n```\n"
	spec    = "# S\n\nSpec-ID: s\nRoot-Spec-ID: s\n\nGoals:\n- `best` is there,\n  and works\n- and that is all\n\nAcceptance:\n- nothing else\n\n---\n\nGoals:\n- no field\n\n" +
		"````task best.md\n" + askTask + "````\n\n`````task first.md after best\n" + newTask + "`````\n"
	incident = "# I\n\nIncident-ID: i\nRoot-Spec-ID: s\nSource-Task-ID: best\nTrigger-Reason: consultant ended with NEEDS_PLANNING\n\n" +
		"Evidence-Paths:\n- runs/r/q/consultant_report.md\n"
)

func prompt(item string) string {
	return "# A stage\n\n```text outbox/example.md\n# no task\n```\n\n## Work item\n\n~~~\n" + item + "~~~\n\n## More\n"
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var planned = []schema.Artifact{
	{Name: "planner_disposition", File: "planner_disposition.json", Schema: "#PlannerDisposition"},
	{Name: "planner_summary", File: "planner_summary.md"},
}

// disposed looks at what planner wrote.
func disposed(t *testing.T, dir string, about schema.Key) (summary string) {
	t.Helper()
	var d schema.PlannerDisposition
	if err := json.Unmarshal([]byte(read(t, filepath.Join(dir, folder, "planner_disposition.json"))), &d); err != nil {
		t.Fatal(err)
	}
	if d.SourceFamily != about.Family || d.SourceID != about.ID || d.Disposition != "active_source_ready_for_manager" || d.CreatedAt.IsZero() {
		t.Errorf("planner decides %+v", d)
	}
	return read(t, filepath.Join(dir, folder, "planner_summary.md"))
}

func TestASpecBecomesTheTasksThatStandInIt(t *testing.T) {
	dir, item := t.TempDir(), schema.Key{Family: "spec", ID: "s"}
	ends(t, stage(t, dir, prompt(spec), schema.Request{Stage: "planner", Item: item, Artifacts: planned}), "PLANNER_COMPLETE")
	if s := disposed(t, dir, item); !strings.Contains(s, "best, Find the best") || strings.Contains(s, "first") || strings.Contains(s, "```") {
		t.Errorf("the summary says\n%s", s)
	}
	ends(t, stage(t, dir, prompt(spec), schema.Request{Stage: "manager", Item: item}), "MANAGER_COMPLETE")
	holds(t, filepath.Join(dir, folder, "outbox/best.md"), askTask)
	if all, err := os.ReadDir(filepath.Join(dir, folder, "outbox")); err != nil || len(all) != 1 {
		t.Errorf("proposed are %v %v", all, err)
	}
}

func TestATaskWithAQuestionComesBackAndIsPlannedAnew(t *testing.T) {
	dir, item := t.TempDir(), schema.Key{Family: "incident", ID: "i"}
	for _, s := range []string{"builder", "fixer", "troubleshooter"} {
		out := stage(t, dir, prompt(askTask), schema.Request{Stage: s, Attempt: 1})
		ends(t, out, schema.OutcomeBlocked)
		if !strings.Contains(out, "Which one is the best?") {
			t.Errorf("%s does not say what is open:\n%s", s, out)
		}
	}
	ends(t, stage(t, dir, prompt(askTask), schema.Request{Stage: "consultant"}), "NEEDS_PLANNING")

	put(t, filepath.Join(dir, "millrace-agents/tasks/blocked/best.md"), askTask)
	put(t, filepath.Join(dir, "millrace-agents/specs/done/s.md"), spec)
	report := stage(t, dir, prompt(incident), schema.Request{Stage: "auditor", Item: item})
	ends(t, report, "AUDITOR_COMPLETE")
	for _, said := range []string{"best came back", "Which one is the best?", "runs/r/q/consultant_report.md"} {
		if !strings.Contains(report, said) {
			t.Errorf("the auditor does not say %q:\n%s", said, report)
		}
	}
	ends(t, stage(t, dir, prompt(incident), schema.Request{Stage: "planner", Item: item, Artifacts: planned}), "PLANNER_COMPLETE")
	summary := disposed(t, dir, item)
	// manager sees the incident and the summary, and the spec nowhere
	shown := prompt(incident) + "\n## What earlier stages left\n\nplanner_summary of planner:\n\n~~~\n" + summary + "~~~\n"
	ends(t, stage(t, dir, shown, schema.Request{Stage: "manager", Item: item}), "MANAGER_COMPLETE")
	holds(t, filepath.Join(dir, folder, "outbox/first.md"), newTask)
	if _, err := os.Stat(filepath.Join(dir, folder, "outbox/best.md")); err == nil {
		t.Error("manager proposes the task again that came back")
	}
}

func TestWhatCannotBePlannedIsBlocked(t *testing.T) {
	other := strings.Replace(incident, "Source-Task-ID: best", "Source-Task-ID: other", 1)
	for name, r := range map[string]struct{ stage, family, item string }{
		"spec without tasks":         {"planner", "spec", "# S\n\nSpec-ID: s\n"},
		"prompt without tasks":       {"manager", "spec", "# S\n\nSpec-ID: s\n"},
		"incident of another task":   {"planner", "incident", other},
		"incident without a task":    {"auditor", "incident", "# I\n\nIncident-ID: i\n"},
		"incident of no spec":        {"planner", "incident", "# I\n\nRoot-Spec-ID: gone\nSource-Task-ID: best\n"},
		"task that is a path":        {"manager", "spec", "````task ../best.md\n" + askTask + "````\n"},
		"task in words":              {"manager", "spec", "````task best.md before first\n" + askTask + "````\n"},
		"target that is no document": {"arbiter", "closure_target", "# T\n"},
		"target without a contract":  {"arbiter", "closure_target", `{"root_spec_id": "s", "generation": 2, "contract_paths": ["arbiter/contracts/s@1.md"]}` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, filepath.Join(dir, "millrace-agents/specs/done/s.md"), spec)
			ends(t, stage(t, dir, prompt(r.item), schema.Request{Stage: r.stage, Item: schema.Key{Family: r.family, ID: "x"}}), schema.OutcomeBlocked)
			if _, err := os.Stat(filepath.Join(dir, folder, "outbox")); err == nil {
				t.Error("it proposes something all the same")
			}
		})
	}
}

// TestArbiterBelievesChecks: a point of the contract holds when the checks pass that it names, and is a gap when one
// fails or when there is none to show it.
func TestArbiterBelievesChecks(t *testing.T) {
	best, rest := schema.Check{Name: "best", Run: "true"}, schema.Check{Name: "rest", Run: "true"}
	fails := schema.Check{Name: "rest", Run: "exit 3"}
	for name, c := range map[string]struct {
		checks  []schema.Check
		outcome string
		results string // of the criteria
	}{
		"all pass":  {[]schema.Check{best, rest}, "ARBITER_COMPLETE", "pass pass pass"},
		"one fails": {[]schema.Check{best, fails}, "REMEDIATION_NEEDED", "pass gap gap"},
		"no checks": {nil, "REMEDIATION_NEEDED", "gap gap gap"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, filepath.Join(dir, "millrace-agents/arbiter/contracts/s@1.md"), spec)
			target := `{"closure_target_id": "s", "root_spec_id": "s", "generation": 1, "contract_paths": ["arbiter/contracts/s@1.idea.md", "arbiter/contracts/s@1.md"]}`
			writes := []schema.Artifact{{Name: "rubric", File: "rubric.md"}, {Name: "verdict", File: "verdict.json", Schema: "#Verdict"}}
			ends(t, stage(t, dir, prompt(target+"\n"), schema.Request{Stage: "arbiter", Checks: c.checks, Artifacts: writes}), c.outcome)
			var v schema.ClosureVerdict
			if err := json.Unmarshal([]byte(read(t, filepath.Join(dir, folder, "verdict.json"))), &v); err != nil {
				t.Fatal(err)
			}
			var results, texts []string
			for _, k := range v.Criteria {
				results, texts = append(results, k.Result), append(texts, k.Text)
				if want := map[bool]string{true: "fresh", false: "missing"}[len(c.checks) > 0]; k.Provenance != want {
					t.Errorf("%s is %s", k.Text, k.Provenance)
				}
			}
			if got := strings.Join(results, " "); got != c.results || len(v.Gaps) != strings.Count(got, "gap") || (v.Verdict == "pass") != (len(v.Gaps) == 0) {
				t.Errorf("got %s: %s, %v", v.Verdict, got, v.Gaps)
			}
			if want := "`best` is there, and works|and that is all|nothing else"; strings.Join(texts, "|") != want {
				t.Errorf("the criteria are %q", texts)
			}
			if len(c.checks) > 0 && strings.Join(v.Criteria[0].Evidence, "|") != "check best: `true` (runs/run-1/req-1/checks/before-1.log)" {
				t.Errorf("the evidence is %q", v.Criteria[0].Evidence)
			}
			if r := read(t, filepath.Join(dir, folder, "rubric.md")); !strings.Contains(r, "- c3: nothing else\n") {
				t.Errorf("the rubric is\n%s", r)
			}
		})
	}
}
