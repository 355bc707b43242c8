package dispatch_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"millrace/assets"
	"millrace/controllers/controllertest"
	"millrace/schema"
	"millrace/schema/compile"
)

// A story plays work through a graph, with the prompts and skills that are shipped, until every stage has met what it may
// meet: earlier reports, a failed check, a critique, a repair. Each stage's last prompt of it is kept.
type story struct {
	*controllertest.World
	t    *testing.T
	last map[string]string // prompt, by stage
}

func tell(t *testing.T, graphs string) *story {
	t.Helper()
	return &story{t: t, last: map[string]string{}, World: world(t, map[string]string{"modes/test.cue": fmt.Sprintf(`package millrace

modes: test: {
	graphs: {%s}
	runner: "fake"
	runners: fake: {adapter: "command", run: ["true"]}
}
`, graphs)})}
}

// met settles, and keeps the prompt of the request in flight.
func (s *story) met() *schema.Run {
	s.t.Helper()
	s.Settle()
	r := s.Run()
	if r != nil && r.Request != "" {
		text, err := os.ReadFile(s.Path(s.Request(r) + "/" + schema.PromptFile))
		if err != nil {
			s.t.Fatal(err)
		}
		s.last[s.Plan.Kind(r.Plane, r.Node).ID] = string(text)
	}
	return r
}

// end lets the stage that must be next end with an outcome and the files that come with it, "name: text".
func (s *story) end(stage, outcome string, files map[string]string, more ...func(*schema.Completion)) {
	s.t.Helper()
	r := s.met()
	if r == nil || r.Node != stage {
		s.t.Fatalf("not %s is next, but %+v", stage, r)
	}
	c := s.Say(outcome, files)
	for _, change := range more {
		change(c)
	}
	if bad := s.Requests[r.Request].Invalid; len(bad) > 0 {
		s.t.Fatalf("%s writes what is not valid: %v", stage, bad)
	}
	s.met()
}

// report is a file of a stage, of a few lines.
func report(name, text string) map[string]string {
	return map[string]string{name: "# " + strings.TrimSuffix(name, ".md") + "\n\n" + text + "\n"}
}

// and joins files.
func and(all ...map[string]string) map[string]string {
	files := map[string]string{}
	for _, f := range all {
		maps.Copy(files, f)
	}
	return files
}

// head begins a JSON artifact.
func head(kind, by, rest string) string {
	return fmt.Sprintf("{\"schema_version\": 1, \"kind\": %q, \"created_at\": \"2026-11-22T14:00:00Z\", \"created_by\": %q, %s}\n", kind, by, rest)
}

const statusTask = `kind: task
task_id: status-json
title: Print the status as JSON
summary: status takes --json and prints one object.
root_spec_id: json-output
spec_id: json-output
target_paths: [cmd/status.go, cmd/status_test.go]
acceptance:
  - status --json prints one object with every field of the table
  - without the flag the output is as before
required_checks: [go vet ./...]
checks: [{name: status, run: go test ./cmd -run Status, timeout: 5m}]
body: |
  Field names are those of docs/fields.md.
`

const jsonSpec = `kind: spec
spec_id: json-output
title: Machine-readable output
summary: Scripts can read what people read.
goals: [every command that shows something prints it as JSON]
non_goals: [other formats]
constraints: [without the flag the output is as before]
acceptance: [each of those commands takes --json, the field names are documented]
checks: [{name: all, run: go test ./...}]
`

// fails leaves the log of a failed check of the task; passes says that it passed.
func (s *story) fails(c *schema.Completion) {
	log := s.Leave(s.Run(), schema.ChecksFolder+"/after-1.log", "--- FAIL: TestStatusJSON\n    status_test.go:31: no field \"age\"\nFAIL\n")
	c.ChecksAfter = []schema.CheckRecord{{Name: "status", Run: "go test ./cmd -run Status", ExitCode: 1, Log: log}}
}

func passes(c *schema.Completion) {
	c.ChecksAfter = []schema.CheckRecord{{Name: "status", Run: "go test ./cmd -run Status", Passed: true}}
}

func execution(t *testing.T) *story {
	s := tell(t, `execution: "execution.with_integrator"`)
	s.Admit(statusTask)
	built := func() {
		s.end("builder", "BUILDER_COMPLETE", report("builder_summary.md", "cmd/status.go reads --json. go test ./cmd passes."))
		s.end("integrator", "INTEGRATION_COMPLETE", report("integration_report.md", "The flag stands in the help text now."))
	}
	expected := report("checker_expectations.md", "1. `status --json` prints an object that parses.")
	repaired := report("fixer_summary.md", "The field age was left out of the record. It is in it now.")
	built()
	s.end("checker", "FIX_NEEDED", and(expected, report("checker_summary.md", "1 does not hold."),
		report("fix_contract.md", "`status --json` lacks the field age: cmd/status.go, the record.")))
	s.end("fixer", "FIXER_COMPLETE", repaired)
	s.end("doublechecker", "DOUBLECHECK_PASS", report("doublechecker_summary.md", "The field is there."), s.fails)
	s.end("fixer", "FIXER_COMPLETE", repaired)
	s.end("doublechecker", "BLOCKED", nil)
	s.end("troubleshooter", "BLOCKED", nil)
	s.end("consultant", "CONSULT_COMPLETE", report("consultant_report.md", "The test reads a stale file. Clear it first."))
	s.end("troubleshooter", "TROUBLESHOOT_COMPLETE", report("troubleshoot_report.md", "The stale file is gone. Run the test in a temporary folder."))
	built()
	s.end("checker", "CHECKER_PASS", and(expected, report("checker_summary.md", "1 holds: ran it, and it parses.")), passes)
	if r := s.met(); r == nil || r.Node != "updater" {
		t.Fatalf("the run is at %+v", r)
	}
	return s
}

func disposition(family, id string) map[string]string {
	return map[string]string{"planner_disposition.json": head("planner_disposition", "planner", fmt.Sprintf(
		`"source_work_item_family_id": %q, "source_work_item_id": %q, "disposition": "active_source_ready_for_manager"`, family, id))}
}

var (
	planned  = report("planner_summary.md", "The encoder first, then one command after the other.")
	mechanic = report("mechanic_report.md", "Two tasks had one id. Begin each with json-output-.")
)

func planning(t *testing.T) *story {
	s := tell(t, `planning: "planning.standard"`)
	s.Admit(jsonSpec)
	s.end("planner", "PLANNER_COMPLETE", and(planned, disposition("spec", "json-output")))
	s.end("manager", "BLOCKED", nil)
	s.end("mechanic", "MECHANIC_COMPLETE", mechanic)
	s.end("planner", "PLANNER_COMPLETE", and(planned, disposition("spec", "json-output")))
	if r := s.met(); r == nil || r.Node != "manager" {
		t.Fatalf("the run is at %+v", r)
	}
	return s
}

func incident(t *testing.T) *story {
	s := tell(t, `planning: "planning.standard"`)
	s.Admit(`kind: incident
incident_id: status-json-needs-planning
title: The age cannot be printed as asked
source_task_id: status-json
source_stage: consultant
source_plane: execution
severity: high
trigger_reason: NEEDS_PLANNING
observed_symptoms: [the table shows 3d, and the task asks for a number]
evidence_paths: [runs/run-0001/req-0009/consultant_report.md]
`)
	s.end("auditor", "BLOCKED", nil)
	s.end("mechanic", "MECHANIC_COMPLETE", mechanic)
	if r := s.met(); r == nil || r.Node != "auditor" {
		t.Fatalf("the run is at %+v", r)
	}
	return s
}

func probe(t *testing.T) *story {
	s := tell(t, `planning: "planning.standard"`)
	s.Admit("kind: probe\nprobe_id: status-for-scripts\ntitle: Status for scripts\nrequest: A deploy script needs the status in a form that it can read.\nconstraints: [no new dependency]\n")
	s.met()
	return s
}

// judgement is the end of a root whose work came to something, after a verdict with a gap.
func judgement(t *testing.T) *story {
	s := tell(t, `execution: "execution.standard", planning: "planning.standard"`)
	s.Admit(jsonSpec)
	s.Finish(schema.Key{Family: schema.FamilySpec, ID: "json-output"})
	s.Admit(statusTask)
	s.end("builder", "BUILDER_COMPLETE", report("builder_summary.md", "cmd/status.go reads --json."))
	s.end("checker", "CHECKER_PASS", and(report("checker_expectations.md", "It parses."), report("checker_summary.md", "It does.")), passes)
	s.end("updater", "UPDATE_COMPLETE", report("updater_summary.md", "docs/fields.md names the fields."), passes)
	if it := s.Task("status-json"); it.State != schema.StateDone {
		t.Fatalf("the task is %+v", it)
	}
	s.Ready("json-output")
	if r := s.met(); r == nil || r.Node != "arbiter" {
		t.Fatalf("the run is at %+v", r)
	}
	return s
}

func blueprint(t *testing.T) *story {
	s := tell(t, `planning: "planning.blueprint"`)
	ids := func(revision int) string {
		return fmt.Sprintf(`"blueprint_id": "json-output-status-blueprint", "draft_id": "json-output-status", "manifest_id": "json-output-manifest", "revision": %d`, revision)
	}
	packet := func(revision int) map[string]string {
		return and(report("blueprint.md", "status reads a flag."), map[string]string{"blueprint_packet.json": head("blueprint_packet", "contractor_blueprint",
			ids(revision)+`, "implementation_scope": ["read the flag in cmd/status.go"], "task_acceptance": ["it prints one object"]`)})
	}
	s.Admit(jsonSpec)
	s.end("planner", "PLANNER_COMPLETE", and(planned, disposition("spec", "json-output")))
	s.end("manager_blueprint", "MANAGER_BLUEPRINT_COMPLETE", map[string]string{
		"blueprint_manifest.json": head("blueprint_manifest", "manager_blueprint", `"manifest_id": "json-output-manifest", "root_spec_id": "json-output",
 "source_kind": "spec", "source_id": "json-output", "draft_ids": ["json-output-status"], "draft_count": 1, "global_acceptance_intent": ["the output without the flag stays"]`),
		"blueprint_drafts.json": head("blueprint_drafts", "manager_blueprint", `"drafts": [{"draft_id": "json-output-status", "title": "Print the status as JSON",
 "manifest_id": "json-output-manifest", "draft_index": 0, "scope": ["the flag --json of status"], "acceptance_intent": ["it prints one object"]}]`),
	})
	s.end("contractor_blueprint", "BLUEPRINT_CANDIDATE_READY", packet(0))
	s.end("evaluator_blueprint", "BLUEPRINT_REJECTED", map[string]string{
		"blueprint_evaluation.json": head("blueprint_evaluation", "evaluator_blueprint", `"evaluation_id": "json-output-status-evaluation-0", `+ids(0)+
			`, "decision": "rejected", "critique_id": "json-output-status-critique-0"`),
		"blueprint_critique.json": head("blueprint_critique", "evaluator_blueprint", `"critique_id": "json-output-status-critique-0",
 "evaluation_id": "json-output-status-evaluation-0", `+ids(0)+`, "required_changes": ["name the test that compares the fields"]`),
	})
	s.end("contractor_blueprint", "BLUEPRINT_CANDIDATE_READY", packet(1))
	s.end("evaluator_blueprint", "BLOCKED", nil)
	if r := s.met(); r == nil || r.Node != "mechanic_blueprint" {
		t.Fatalf("the run is at %+v", r)
	}
	return s
}

const lesson = `kind: learning_request
learning_request_id: flaky-tests
title: Tests that fail now and then
requested_action: improve
originating_run_ids: [run-0001]
artifact_paths: [runs/run-0001/req-0009/troubleshoot_report.md]
`

func learning(t *testing.T) *story {
	s := tell(t, `execution: "execution.standard", learning: "learning.standard"`)
	s.Admit(lesson)
	s.end("analyst", "ANALYST_COMPLETE", report("research_packet.md", "Three of four repairs concerned tests which pass when run alone."))
	s.end("professor", "PROFESSOR_COMPLETE", map[string]string{"skill_candidate/SKILL.md": "---\nname: flaky-tests\ndescription: How to tell a flaky test.\n---\n\n# Flaky tests\n\n1. Run it alone.\n"})
	if r := s.met(); r == nil || r.Node != "curator" {
		t.Fatalf("the run is at %+v", r)
	}
	return s
}

func library(t *testing.T) *story {
	s := tell(t, `execution: "execution.standard", learning: "learning.standard"`)
	s.Admit(strings.Replace(lesson, "requested_action: improve", "requested_action: install\ntarget_stage: librarian", 1))
	s.met()
	return s
}

// TestEveryPromptAsAWhole renders the whole prompt of every stage kind that the shipped graphs have, as an agent reads it.
// -update writes them anew; read what changed.
func TestEveryPromptAsAWhole(t *testing.T) {
	all := map[string]string{}
	for _, told := range []struct {
		play   func(*testing.T) *story
		stages []string
	}{
		{execution, []string{"builder", "integrator", "checker", "fixer", "doublechecker", "updater", "troubleshooter", "consultant"}},
		{planning, []string{"planner", "manager", "mechanic"}}, {incident, []string{"auditor"}}, {probe, []string{"recon"}},
		{judgement, []string{"arbiter"}},
		{blueprint, []string{"manager_blueprint", "contractor_blueprint", "evaluator_blueprint", "mechanic_blueprint"}},
		{learning, []string{"analyst", "professor", "curator"}}, {library, []string{"librarian"}},
	} {
		s := told.play(t)
		for _, stage := range told.stages {
			text := s.last[stage]
			file := filepath.Join("testdata", "prompts", stage+".md")
			if *update {
				if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if text != string(want) {
				t.Errorf("the prompt of %s is not %s; -update writes it anew. From where they differ:\n%s", stage, file, rest(text, string(want)))
			}
			sound(t, s.World, stage, text)
			all[stage] = text
		}
	}
	for _, stage := range shippedStages(t) {
		if all[stage] == "" {
			t.Errorf("no story meets %s", stage)
		}
	}
}

// rest is a text from the first line on in which it differs from another.
func rest(text, other string) string {
	from := 0
	for i := range min(len(text), len(other)) {
		if text[i] != other[i] {
			break
		}
		if text[i] == '\n' {
			from = i + 1
		}
	}
	return text[from:min(len(text), from+1000)]
}

// shippedStages are the kinds in the graphs of all shipped modes.
func shippedStages(t *testing.T) []string {
	t.Helper()
	modes, _ := compile.Modes(assets.Files())
	found := map[string]bool{}
	for _, m := range modes {
		r := compile.Compile(compile.Source{Mode: m.ID, Files: assets.Files()})
		if r.Plan == nil {
			t.Fatal(r.Diags)
		}
		for id := range r.Plan.Stages {
			found[id] = true
		}
	}
	if len(found) < 20 {
		t.Fatalf("only %d stages are shipped", len(found))
	}
	return slices.Sorted(maps.Keys(found))
}

var (
	laidOut = regexp.MustCompile("`millrace-agents/(runs/[^`]*/skills/[^`]*)`")
	inText  = regexp.MustCompile("(?m)^- `### ([A-Z_]+)`")
)

// sound holds a whole prompt to what must be so in each.
func sound(t *testing.T, o *controllertest.World, stage, text string) {
	t.Helper()
	kind := o.Plan.Stages[stage]
	if len(text) > 24<<10 {
		t.Errorf("the prompt of %s has %d bytes", stage, len(text))
	}
	if claim, _, _ := schema.DetectClaim(stage, slices.Sorted(maps.Keys(kind.Outcomes)), "x", nil, text); claim != nil {
		t.Errorf("who repeats the prompt of %s has ended with %s", stage, claim.Outcome)
	}
	said := map[string]int{}
	for _, m := range inText.FindAllStringSubmatch(text, -1) {
		said[m[1]]++
	}
	for outcome := range kind.Outcomes {
		if said[outcome] != 2 { // with its meaning by the entrypoint, with its class by the request
			t.Errorf("the prompt of %s says %s %d times", stage, outcome, said[outcome])
		}
	}
	if len(said) != len(kind.Outcomes) {
		t.Errorf("the prompt of %s offers %v", stage, said)
	}
	skills := laidOut.FindAllStringSubmatch(text, -1)
	if len(skills) == 0 {
		t.Errorf("the prompt of %s names no skill", stage)
	}
	for _, m := range skills {
		if _, err := os.Stat(o.Path(m[1])); err != nil {
			t.Errorf("%s is sent to a skill that is not laid out: %v", stage, err)
		}
	}
}
