package result_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"millrace/controllers/controllertest"
	"millrace/schema"
	"millrace/workspace"
)

// planningGraph plans as the shipped graph does, and judges nothing in the end.
const planningGraph = `package millrace

graphs: plain: {
	let mend = {to: "mechanic", counter: "mechanic_attempt_count", limit: 2, then: "blocked"}
	plane: "planning"
	entry: {incident: "auditor", probe: "recon", spec: "planner"}
	claim: ["incident", "probe", "spec"]
	nodes: {
		recon: on: {
			RECON_TO_EXECUTION: {to: "to_execution", effects: ["handoff"], routes: to_execution: "to_execution"}
			RECON_TO_PLANNING: {to: "to_planning", effects: ["handoff"], routes: to_planning: "to_planning"}
			RECON_NOOP: {to: "noop", effects: ["handoff"], routes: noop: "noop"}
			RECON_BLOCKED: {to: "blocked", effects: ["handoff"], routes: blocked: "blocked"}
			BLOCKED: "blocked"
		}
		auditor: on: {AUDITOR_COMPLETE: "planner", BLOCKED: mend}
		planner: on: {
			PLANNER_COMPLETE: {to: "manager", effects: ["disposition"], routes: {emitted_child_specs: "specs", blocked: "blocked"}}
			BLOCKED: mend
		}
		manager: on: {MANAGER_COMPLETE: "tasks", BLOCKED: mend}
		mechanic: on: {
			MECHANIC_COMPLETE: {to: "planner", counter: "mechanic_resume_count", limit: 3, then: "blocked", resume: default: {incident: "auditor", probe: "recon"}}
			BLOCKED: mend
		}
	}
	ends: {
		tasks: {class: "success", state: "done", effects: ["decompose", "complete"]}
		specs: {class: "success", state: "done"}
		to_execution: {class: "success", state: "done"}
		to_planning: {class: "success", state: "done"}
		noop: {class: "no_op", state: "done"}
		blocked: {class: "blocked", state: "blocked"}
	}
}

modes: test: {graphs: {execution: "execution.standard", planning: "plain"}, runner: "fake", runners: fake: {adapter: "command", run: ["true"]}}
`

func planning(t *testing.T) *controllertest.World {
	t.Helper()
	return world(t, map[string]string{"modes/test.cue": planningGraph})
}

func spec(id string, more ...string) string {
	return fmt.Sprintf("kind: spec\nspec_id: %s\ntitle: Spec %s\ngoals: [g]\nacceptance: [x]\n%s\n", id, id, strings.Join(more, "\n"))
}

func incident(id string, more ...string) string {
	return fmt.Sprintf("kind: incident\nincident_id: %s\ntitle: Incident %s\n%s\n", id, id, strings.Join(more, "\n"))
}

func probe(id string, more ...string) string {
	return fmt.Sprintf("kind: probe\nprobe_id: %s\ntitle: Probe %s\nrequest: r\n%s\n", id, id, strings.Join(more, "\n"))
}

// ends lets the stage in flight end with an outcome: with what its artifacts say, and with what it proposes, a document
// a file.
func ends(o *controllertest.World, outcome string, records map[string]any, outbox ...string) {
	o.TB.Helper()
	if r := o.Run(); r == nil {
		o.TB.Fatalf("no run is left for %s", outcome)
	}
	o.Claim(outcome, "x")
	seen := o.Requests[o.Run().Request]
	seen.Records = map[string]json.RawMessage{}
	for file, record := range records {
		data, err := json.Marshal(record)
		if err != nil {
			o.TB.Fatalf("%v", err)
		}
		seen.Records[file] = data
	}
	for i, doc := range outbox {
		seen.Outbox = append(seen.Outbox, o.Parse(fmt.Sprintf("%d.yaml", i), doc))
	}
	o.Settle()
}

const dispositionFile = "planner_disposition.json"

// disposed is what a planner's file says of an item.
func disposed(family, id, disposition string, specs ...string) map[string]any {
	return map[string]any{dispositionFile: schema.PlannerDisposition{SourceFamily: family, SourceID: id, Disposition: disposition, EmittedSpecIDs: specs}}
}

func ready(family, id string) map[string]any {
	return disposed(family, id, "active_source_ready_for_manager")
}

func find(o *controllertest.World, family, id string) *schema.Item {
	o.TB.Helper()
	it := o.Seen.Items[schema.Key{Family: family, ID: id}]
	if it == nil {
		o.TB.Fatalf("there is no %s %s", family, id)
	}
	return it
}

// said is the message of the newest step of the run in flight, or why an item is blocked.
func stepOf(o *controllertest.World, run string) schema.Step {
	o.TB.Helper()
	data, err := os.ReadFile(o.Path(workspace.RunFile(run)))
	var r schema.Run
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil || len(r.Steps) == 0 {
		o.TB.Fatalf("run %s is %+v, %v", run, r, err)
	}
	return r.Steps[len(r.Steps)-1]
}

func TestASpecBecomesTasks(t *testing.T) {
	o := planning(t)
	o.Admit(spec("s", "root_idea_id: i", "root_spec_id: root"))
	o.Settle()
	ends(o, "PLANNER_COMPLETE", ready("spec", "s"))
	ends(o, "MANAGER_COMPLETE", nil, controllertest.Task("a"), controllertest.Task("b", "depends_on: [a]"))
	if s := find(o, "spec", "s"); s.State != schema.StateDone || s.Path != "specs/done/s.md" {
		t.Errorf("spec is %+v", s)
	}
	want := schema.Lineage{RootIdeaID: "i", RootSpecID: "root", SpecID: "s"}
	for _, id := range []string{"a", "b"} {
		if it := find(o, "task", id); it.Lineage != want || it.Source != "outbox" || it.CreatedBy != "manager" {
			t.Errorf("task is %+v", it)
		}
	}
	o.Play("BUILDER_COMPLETE", "CHECKER_PASS", "UPDATE_COMPLETE", "BUILDER_COMPLETE", "CHECKER_PASS", "UPDATE_COMPLETE")
	o.Want("b", schema.StateDone, "")
}

func TestAPlannersDispositionDecides(t *testing.T) {
	for name, c := range map[string]struct {
		records     map[string]any
		outbox      []string
		state, node string
		says        string // of the failed step, or of the blocked item
	}{
		"the source goes on":     {records: ready("spec", "s"), state: schema.StateActive, node: "manager"},
		"child specs replace it": {disposed("spec", "s", "emitted_child_specs", "b", "a"), []string{spec("a"), spec("b")}, schema.StateDone, "", ""},
		"a person has to decide": {map[string]any{dispositionFile: schema.PlannerDisposition{SourceFamily: "spec", SourceID: "s", Disposition: "blocked",
			RecommendedNextAction: "say which database"}}, nil, schema.StateBlocked, "", "say which database"},

		"nothing was written":               {nil, nil, schema.StateActive, "mechanic", dispositionFile + " is needed, which was not written"},
		"about another item":                {ready("spec", "t"), nil, schema.StateActive, "mechanic", "is about spec/t, and the work item is spec/s"},
		"about another family":              {ready("incident", "s"), nil, schema.StateActive, "mechanic", "is about incident/s, and the work item is spec/s"},
		"child specs and none is listed":    {disposed("spec", "s", "emitted_child_specs"), []string{spec("a")}, schema.StateActive, "mechanic", "lists none"},
		"one of them is not there":          {disposed("spec", "s", "emitted_child_specs", "a", "b"), []string{spec("a")}, schema.StateActive, "mechanic", "lists the spec b, which the outbox does not bring"},
		"one of them was declined":          {disposed("spec", "s", "emitted_child_specs", "a"), []string{spec("a", "root_spec_id: other")}, schema.StateActive, "mechanic", "(0.yaml: root_spec_id is other, but spec/s"},
		"one of them is not listed":         {disposed("spec", "s", "emitted_child_specs", "a"), []string{spec("a"), spec("b")}, schema.StateActive, "mechanic", "brings the spec b, which emitted_spec_ids"},
		"the source goes on and specs come": {ready("spec", "s"), []string{spec("a")}, schema.StateActive, "mechanic", "and the outbox proposes a"},
		"the source goes on and lists some": {disposed("spec", "s", "active_source_ready_for_manager", "a"), nil, schema.StateActive, "mechanic", "lists a"},
		"a person decides and specs come":   {disposed("spec", "s", "blocked"), []string{spec("a")}, schema.StateActive, "mechanic", "and the outbox proposes a"},
	} {
		t.Run(name, func(t *testing.T) {
			o := planning(t)
			o.Admit(spec("s", "root_spec_id: r", "incident_id: x"))
			o.Settle()
			ends(o, "PLANNER_COMPLETE", c.records, c.outbox...)
			s := find(o, "spec", "s")
			step := stepOf(o, s.Run)
			if s.State != c.state {
				t.Fatalf("spec is %+v after %+v", s, step)
			}
			if c.node != "" && o.Run().Node != c.node {
				t.Fatalf("run is %+v", o.Run())
			}
			if c.node == "mechanic" && (step.Failure == "" || !strings.Contains(step.Message, c.says)) {
				t.Errorf("step is %+v", step)
			}
			if c.state == schema.StateBlocked && (s.Blocked.Class != schema.ClassBlocked || !strings.Contains(s.Blocked.Message, c.says)) {
				t.Errorf("blocked is %+v", s.Blocked)
			}
			children := o.Seen.Count("spec", schema.StateQueue) + o.Seen.Count("spec", schema.StateActive)
			if c.state != schema.StateDone {
				if want := map[string]int{schema.StateActive: 1}[c.state]; children != want {
					t.Errorf("%d specs are left, want %d", children, want)
				}
				return
			}
			for _, id := range []string{"a", "b"} {
				want := schema.Lineage{RootSpecID: "r", SpecID: id, IncidentID: "x"}
				it := find(o, "spec", id)
				text, err := os.ReadFile(o.Path(it.Path))
				if it.Lineage != want || err != nil || !strings.Contains(string(text), "Parent-Spec-ID: s\n") || !strings.Contains(string(text), "Source-Type: derived_spec\nSource-ID: s\n") {
					t.Errorf("child is %+v, %v\n%s", it, err, text)
				}
			}
		})
	}
}

// A stage that is asked again may propose what it has proposed before.
func TestAReplayOfChildSpecsIsAccepted(t *testing.T) {
	o := planning(t)
	o.Admit(spec("s") + "---\n" + spec("z"))
	o.Settle()
	ends(o, "PLANNER_COMPLETE", disposed("spec", "s", "emitted_child_specs", "a"), spec("a"))
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test"}
		m.Requeue(v, v.Items[schema.Key{Family: "spec", ID: "s"}].Clone(), schema.Note{By: "test", What: "reopened"}, true)
		return m
	})
	for o.Run() == nil || o.Run().Item.ID != "s" {
		ends(o, "PLANNER_COMPLETE", disposed(o.Run().Item.Family, o.Run().Item.ID, "blocked"))
	}
	ends(o, "PLANNER_COMPLETE", disposed("spec", "s", "emitted_child_specs", "a"), spec("a"))
	if s := find(o, "spec", "s"); s.State != schema.StateDone || len(stepOf(o, s.Run).Spawned) != 0 {
		t.Errorf("spec is %+v, step %+v", s, stepOf(o, s.Run))
	}
}

const packetFile = "recon_packet.md"

func reconPacket(probe, decision, task, spec string) map[string]any {
	return map[string]any{packetFile: schema.ReconPacket{ID: "p", ProbeID: probe, Decision: decision, EmittedTaskID: task, EmittedSpecID: spec, InterpretedGoal: "find out"}}
}

func TestReconHandsOver(t *testing.T) {
	t.Run("a task of the probe's lineage", func(t *testing.T) {
		o := planning(t)
		o.Admit(probe("p", "root_spec_id: root", "root_idea_id: i"))
		o.Settle()
		ends(o, "RECON_TO_EXECUTION", reconPacket("p", "to_execution", "a", ""), controllertest.Task("a"))
		want := schema.Lineage{RootIdeaID: "i", RootSpecID: "root", SpecID: "root"}
		if it := find(o, "task", "a"); it.Lineage != want || find(o, "probe", "p").State != schema.StateDone {
			t.Errorf("task is %+v", it)
		}
	})
	t.Run("a task without lineage", func(t *testing.T) {
		o := planning(t)
		o.Admit(probe("p"))
		o.Settle()
		ends(o, "RECON_TO_EXECUTION", reconPacket("p", "to_execution", "a", ""), controllertest.Task("a"))
		if it := find(o, "task", "a"); it.Lineage != (schema.Lineage{}) {
			t.Errorf("task is %+v", it)
		}
	})
	t.Run("a spec that is its own root", func(t *testing.T) {
		o := planning(t)
		o.Admit(probe("p"))
		o.Settle()
		ends(o, "RECON_TO_PLANNING", reconPacket("p", "to_planning", "", "s"), spec("s"))
		s := find(o, "spec", "s")
		text, err := os.ReadFile(o.Path(s.Path))
		if s.Lineage != (schema.Lineage{RootSpecID: "s", SpecID: "s"}) || err != nil || !strings.Contains(string(text), "Source-Type: probe\nSource-ID: p\n") {
			t.Errorf("spec is %+v, %v\n%s", s, err, text)
		}
		if o.Run().Item.ID != "s" || o.Run().Node != "planner" {
			t.Errorf("run is %+v", o.Run())
		}
	})
	t.Run("a spec below the probe's root", func(t *testing.T) {
		o := planning(t)
		o.Admit(probe("p", "root_spec_id: root"))
		o.Settle()
		ends(o, "RECON_TO_PLANNING", reconPacket("p", "to_planning", "", "s"), spec("s"))
		if s := find(o, "spec", "s"); s.Lineage.RootSpecID != "root" {
			t.Errorf("spec is %+v", s)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		o := planning(t)
		o.Admit(probe("p"))
		o.Settle()
		ends(o, "RECON_NOOP", reconPacket("p", "noop", "", ""))
		if p := find(o, "probe", "p"); p.State != schema.StateDone {
			t.Errorf("probe is %+v", p)
		}
	})
	t.Run("to a person", func(t *testing.T) {
		o := planning(t)
		o.Admit(probe("p"))
		o.Settle()
		ends(o, "RECON_BLOCKED", reconPacket("p", "blocked", "", ""))
		p := find(o, "probe", "p")
		if p.State != schema.StateBlocked || p.Blocked.Class != schema.ClassBlocked || !strings.Contains(p.Blocked.Message, "/recon_packet.md decides blocked: find out") {
			t.Errorf("probe is %+v", p.Blocked)
		}
	})
}

func TestReconHandoffInvalid(t *testing.T) {
	task, two := []string{controllertest.Task("a")}, []string{controllertest.Task("a"), controllertest.Task("b")}
	for name, c := range map[string]struct {
		outcome string
		records map[string]any
		outbox  []string
		says    string
	}{
		"no packet":                      {"RECON_TO_EXECUTION", nil, task, packetFile + " is needed, which was not written"},
		"about another probe":            {"RECON_TO_EXECUTION", reconPacket("q", "to_execution", "a", ""), task, "is about q, and the work item is p"},
		"a decision for another outcome": {"RECON_TO_EXECUTION", reconPacket("p", "to_planning", "", "s"), []string{spec("s")}, "decides to_planning, which does not go with RECON_TO_EXECUTION"},
		"no task is named":               {"RECON_TO_EXECUTION", reconPacket("p", "to_execution", "", ""), task, "has no emitted_task_id"},
		"no task is proposed":            {"RECON_TO_EXECUTION", reconPacket("p", "to_execution", "a", ""), nil, "hands over the task a, which the outbox does not bring"},
		"the task was declined": {"RECON_TO_EXECUTION", reconPacket("p", "to_execution", "a", ""), []string{controllertest.Task("a", "root_spec_id: r")},
			"(0.yaml: root_spec_id is r, but probe/p, which it comes from, has none"},
		"another task is proposed":     {"RECON_TO_EXECUTION", reconPacket("p", "to_execution", "c", ""), task, "the outbox brings the task a, not just c"},
		"two tasks are proposed":       {"RECON_TO_EXECUTION", reconPacket("p", "to_execution", "a", ""), two, "brings the task a, b, not just a"},
		"a spec beside the task":       {"RECON_TO_EXECUTION", reconPacket("p", "to_execution", "a", ""), append(task, spec("s")), "brings the spec s"},
		"a spec is named as well":      {"RECON_TO_EXECUTION", reconPacket("p", "to_execution", "a", "s"), task, "emitted_spec_id names s"},
		"no spec is proposed":          {"RECON_TO_PLANNING", reconPacket("p", "to_planning", "", "s"), nil, "hands over the spec s, which the outbox does not bring"},
		"a task beside the spec":       {"RECON_TO_PLANNING", reconPacket("p", "to_planning", "", "s"), []string{spec("s"), controllertest.Task("a")}, "brings the task a"},
		"nothing to do and a task":     {"RECON_NOOP", reconPacket("p", "noop", "", ""), task, "decides noop, and the outbox brings the task a"},
		"nothing to do and names one":  {"RECON_NOOP", reconPacket("p", "noop", "a", ""), nil, "emitted_task_id names a"},
		"a person decides, and a spec": {"RECON_BLOCKED", reconPacket("p", "blocked", "", ""), []string{spec("s")}, "brings the spec s"},
	} {
		t.Run(name, func(t *testing.T) {
			o := planning(t)
			o.Admit(probe("p"))
			o.Settle()
			ends(o, c.outcome, c.records, c.outbox...)
			p := find(o, "probe", "p")
			if p.State != schema.StateBlocked || p.Blocked.Class != schema.FailHandoff || !strings.Contains(p.Blocked.Message, c.says) {
				t.Fatalf("probe is %+v", p.Blocked)
			}
			if n := len(o.Seen.Items); n != 1 {
				t.Errorf("%d items", n)
			}
			if len(c.outbox) > 0 && !o.Saw(workspace.EvDeclined) {
				t.Error("nobody is told what became of the outbox")
			}
		})
	}
}

// A packet that is not there, or breaks its definition, is a handoff that does not hold as well.
func TestReconHandoffInvalidByItsFile(t *testing.T) {
	for name, change := range map[string]func(c *schema.Completion, seen *workspace.RequestSeen){
		"missing": func(c *schema.Completion, _ *workspace.RequestSeen) { c.Artifacts = nil },
		"malformed": func(_ *schema.Completion, seen *workspace.RequestSeen) {
			seen.Invalid = schema.Diagnostics{{Severity: schema.Error, Path: packetFile, Message: "is wrong"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := planning(t)
			o.Admit(probe("p"))
			o.Settle()
			change(o.Claim("RECON_NOOP", "x"), o.Requests[o.Run().Request])
			o.Settle()
			if p := find(o, "probe", "p"); p.State != schema.StateBlocked || p.Blocked.Class != schema.FailHandoff || !strings.Contains(p.Blocked.Message, packetFile) {
				t.Errorf("probe is %+v", p.Blocked)
			}
		})
	}
}

func TestADecompositionWithoutATaskIsInvalid(t *testing.T) {
	for name, c := range map[string]struct {
		outbox []string
		says   string
	}{
		"nothing":           {nil, "MANAGER_COMPLETE proposes no task that can be admitted: write each task into outbox/, or end with BLOCKED"},
		"an invalid task":   {[]string{"kind: task\ntask_id: a\ntitle: A\n"}, "acceptance"},
		"a foreign lineage": {[]string{controllertest.Task("a", "spec_id: t")}, "spec_id is t, but spec/s, which it comes from, says s"},
	} {
		t.Run(name, func(t *testing.T) {
			o := planning(t)
			o.Admit(spec("s"))
			o.Settle()
			ends(o, "PLANNER_COMPLETE", ready("spec", "s"))
			ends(o, "MANAGER_COMPLETE", nil, c.outbox...)
			step := stepOf(o, o.Run().ID)
			if o.Run().Node != "mechanic" || step.Failure != schema.FailMissingArtifact || !strings.Contains(step.Message, c.says) {
				t.Errorf("step is %+v", step)
			}
		})
	}
}

func TestAReplayOfADecompositionIsAccepted(t *testing.T) {
	o := planning(t)
	o.Admit(controllertest.Task("a", "root_spec_id: s", "spec_id: s", "created_at: 2026-11-22T08:00:00Z", "created_by: manager") + "---\n" + spec("s"))
	o.Settle()
	ends(o, "PLANNER_COMPLETE", ready("spec", "s"))
	ends(o, "MANAGER_COMPLETE", nil, controllertest.Task("a"))
	if s := find(o, "spec", "s"); s.State != schema.StateDone {
		t.Errorf("spec is %+v, step %+v", s, stepOf(o, s.Run))
	}
}

// An incident that names no root descends from the root of the spec that it names.
func TestAnIncidentsTasks(t *testing.T) {
	for name, c := range map[string]struct {
		more string
		want schema.Lineage
	}{
		"with its lineage": {"root_spec_id: root\nroot_idea_id: i\nsource_spec_id: part", schema.Lineage{RootIdeaID: "i", RootSpecID: "root", SpecID: "part", IncidentID: "x"}},
		"by its spec":      {"source_spec_id: part", schema.Lineage{RootSpecID: "root", SpecID: "part", IncidentID: "x"}},
		"without any":      {"", schema.Lineage{IncidentID: "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := planning(t)
			o.Admit(spec("part", "root_spec_id: root", "parent_spec_id: root"))
			o.Admit(incident("x", c.more))
			o.Settle()
			ends(o, "AUDITOR_COMPLETE", nil)
			ends(o, "PLANNER_COMPLETE", ready("incident", "x"))
			ends(o, "MANAGER_COMPLETE", nil, controllertest.Task("a"))
			if it := find(o, "task", "a"); it.Lineage != c.want {
				t.Errorf("task is %+v", it.Lineage)
			}
			if x := find(o, "incident", "x"); x.State != schema.StateDone || x.Path != "incidents/resolved/x.md" {
				t.Errorf("incident is %+v", x)
			}
		})
	}
}

func TestPlanningTakesFamiliesInTheGraphsOrder(t *testing.T) {
	o := planning(t)
	o.Admit(spec("s") + "---\n" + probe("p") + "---\n" + incident("x") + "---\n" + controllertest.Task("t", "priority: 9") + "---\n" + incident("y"))
	o.Settle()
	var took []string
	for o.Run() != nil && o.Run().Plane == "planning" {
		took = append(took, o.Run().Item.ID)
		for r := o.Run(); o.Run() != nil && o.Run().ID == r.ID; {
			ends(o, schema.OutcomeBlocked, nil)
		}
	}
	if !slices.Equal(took, []string{"x", "y", "p", "s"}) || o.Run() == nil || o.Run().Item.ID != "t" {
		t.Errorf("took %v", took)
	}
}
