package result_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"millrace/controllers/controllertest"
	"millrace/schema"
	"millrace/workspace"
)

func TestPromotionsAreRefused(t *testing.T) {
	approved := evaluation("a", 0, "approved")
	for name, c := range map[string]struct {
		e, task fields
		class   string
		says    string
	}{
		"a rejection":               {evaluation("a", 0, "rejected"), task("a", nil), schema.FailInvalidArtifact, "decision is rejected"},
		"another revision":          {evaluation("a", 1, "approved"), task("a", nil), schema.FailInvalidArtifact, "the newest packet is a-blueprint@0"},
		"another draft":             {evaluation("b", 0, "approved"), task("a", nil), schema.FailInvalidArtifact, "draft_id is b"},
		"a task of another root":    {approved, task("a", fields{"root_spec_id": "r"}), schema.FailInvalidArtifact, "root_spec_id is r"},
		"a task of another spec":    {approved, task("a", fields{"spec_id": "r"}), schema.FailInvalidArtifact, "spec_id is r"},
		"a task that is done":       {approved, task("a", fields{"status_hint": "done"}), schema.FailInvalidArtifact, "already done"},
		"a task that waits for it":  {approved, task("a", fields{"depends_on": []string{"a"}}), schema.FailInvalidArtifact, "is the document itself"},
		"a task that is there":      {approved, task("old", nil), schema.FailOutboxConflict, "task/old exists with other content"},
		"an invalid task":           {approved, task("a", fields{"acceptance": nil}), schema.FailInvalidArtifact, "acceptance"},
		"a task of the operator's":  {approved, task("mine", nil), schema.FailOutboxConflict, "operator declares task/mine"},
		"checks that are no checks": {approved, task("a", fields{"checks": []fields{{"run": "true"}}}), schema.FailInvalidArtifact, "checks"},
	} {
		t.Run(name, func(t *testing.T) {
			o := blueprintWorld(t, nil).drafted()
			o.Admit(controllertest.Task("old"))
			mine := schema.Key{Family: "task", ID: "mine"}
			o.Intake = &workspace.Intake{ByKey: map[schema.Key][]workspace.Declared{mine: {{Key: mine}}}}
			passed(t, o.pack(packet("a", 0)))
			before := len(o.Seen.Items)
			refused(t, o.approve(c.e, c.task), c.class, c.says)
			if d := o.item("blueprint_draft", "a"); len(o.Seen.Items) != before || o.has("blueprints/promotions") || o.has("blueprints/evaluations") || d.Blueprint.Task != "" {
				t.Errorf("a part was kept: %+v", d)
			}
		})
	}
}

// A draft that a person dropped is worked out like any other.
func TestDraftsOfAnOperator(t *testing.T) {
	o := blueprintWorld(t, nil)
	o.Admit("kind: blueprint_draft\ndraft_id: a\ntitle: A\nmanifest_id: m\ndraft_index: 0\nacceptance_intent: [x]\n")
	o.Settle()
	refused(t, o.pack(packet("a", 0).with(fields{"root_spec_id": "r"})), schema.FailInvalidArtifact, "the work it belongs to has none")
	passed(t, o.repair(decided("rerun_contractor", nil), nil), o.pack(packet("a", 0)), o.approve(evaluation("a", 0, "approved"), task("a", nil)))
	if it := o.Task("a"); it == nil || it.Lineage != (schema.Lineage{}) {
		t.Errorf("task is %+v", it)
	}
	o.keeps("blueprints/promotions/a.json")
}

// A task comes from one draft.
func TestTwoDraftsAreTwoTasks(t *testing.T) {
	o := blueprintWorld(t, nil)
	o.spec()
	passed(t, o.cut(manifest("a", "b"), drafts(draft(0, "a"), draft(1, "b"))))
	passed(t, o.pack(packet("a", 0)), o.approve(evaluation("a", 0, "approved"), task("x", nil)), o.pack(packet("b", 0)))
	refused(t, o.approve(evaluation("b", 0, "approved"), task("x", nil)), schema.FailOutboxConflict, "task/x came from another draft")
}

// Checks that agents propose are run as the policy says, whatever file they came in.
func TestChecksOfGeneratedTasks(t *testing.T) {
	for policy, run := range map[string]bool{"allow": true, "deny": false} {
		o := blueprintWorld(t, map[string]string{"millrace.yaml": "checks:\n  from_agents: " + policy + "\n"}).drafted()
		passed(t, o.pack(packet("a", 0)), o.approve(evaluation("a", 0, "approved"),
			task("a", fields{"checks": []fields{{"name": "c", "run": "true"}}})))
		if it := o.Task("a"); (len(it.Checks) > 0) != run || (len(it.Notes) == 0) != run {
			t.Errorf("%s: task is %+v", policy, it)
		}
	}
}

// spent has the revision budget of draft a spent: the mechanic is asked. The newest packet is revision 3, rejected.
func (o *blueprints) spent() *blueprints {
	o.t.Helper()
	for i := range 4 {
		passed(o.t, o.pack(packet("a", i)), o.reject(evaluation("a", i, "rejected"), critique("a", i)))
	}
	if r := o.Run(); r.Node != "mechanic_blueprint" {
		o.t.Fatalf("run is %+v", r)
	}
	o.keeps("blueprints/critiques/a-critique-3.json")
	return o
}

func TestRepairGoesOnAtTheContractor(t *testing.T) {
	o := blueprintWorld(t, nil).drafted().spent()
	passed(t, o.repair(decided("rerun_contractor", fields{"next_resume_stage": "contractor_blueprint"}), nil))
	if p := o.prompt(); !strings.Contains(p, "a-critique-3") || !strings.Contains(p, "What failed.") {
		t.Errorf("the contractor is shown neither critique nor report:\n%s", p)
	}
	passed(t, o.pack(packet("a", 4)), o.approve(evaluation("a", 4, "approved"), task("a", nil)))
	if d := o.item("blueprint_draft", "a"); d.State != schema.StateDone || d.Blueprint.Task != "a" {
		t.Errorf("draft is %+v", d)
	}
}

func TestRepairGoesOnAtTheEvaluator(t *testing.T) {
	o := blueprintWorld(t, nil).drafted().spent()
	passed(t, o.repair(decided("rerun_evaluator", nil), nil))
	// What it said before stays: another judgement has another id.
	refused(t, o.approve(evaluation("a", 3, "approved"), task("a", nil)), schema.FailOutboxConflict,
		"blueprints/evaluations/a-evaluation-3.json", "critique_id, decision", "another id")
	passed(t, o.repair(decided("rerun_evaluator", nil), nil))
	passed(t, o.approve(evaluation("a", 3, "approved").with(fields{"evaluation_id": "a-evaluation-3-2"}), task("a", nil)))
	if d := o.item("blueprint_draft", "a"); d.State != schema.StateDone {
		t.Errorf("draft is %+v", d)
	}
}

func TestRepairBlocks(t *testing.T) {
	o := blueprintWorld(t, nil).drafted().spent()
	passed(t, o.repair(decided("block", fields{"reason": "the draft wants two things"}), nil))
	if d := o.item("blueprint_draft", "a"); d.State != schema.StateBlocked || d.Blocked.Message != "the draft wants two things" {
		t.Errorf("draft is %+v", d)
	}
	// Requeued, it is worked out in a new run from what the run before left.
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test", Why: "requeue"}
		m.Requeue(v, v.Items[schema.Key{Family: "blueprint_draft", ID: "a"}].Clone(), schema.Note{By: "operator", What: "requeued"}, true)
		return m
	})
	o.Settle()
	if p := o.prompt(); len(o.Run().Steps) > 0 || !strings.Contains(p, "a-critique-3") || !strings.Contains(p, "How to do it, revision 3.") {
		t.Errorf("the contractor is shown neither critique nor blueprint:\n%s", p)
	}
	refused(t, o.pack(packet("a", 0)), schema.FailInvalidArtifact, "it must be 4")
}

// The task of an approved blueprint is repaired in its form, and by nobody but the mechanic.
func TestRepairOfATask(t *testing.T) {
	repaired := map[string]string{"repaired_generated_task.json": task("a", nil).json()}
	o := blueprintWorld(t, nil).drafted()
	passed(t, o.pack(packet("a", 0)))
	refused(t, o.approve(evaluation("a", 0, "approved"), task("a", fields{"acceptance": nil})), schema.FailInvalidArtifact)
	refused(t, o.repair(decided("apply_repaired_generated_task", nil), nil), schema.FailMissingArtifact, "repaired_generated_task.json")
	o.Now = o.Now.Add(1)
	s := o.repair(decided("apply_repaired_generated_task", nil), repaired)
	passed(t, s)
	if d := o.item("blueprint_draft", "a"); d.State != schema.StateDone || d.Blueprint.Task != "a" || !slices.Contains(s.Spawned, schema.Key{Family: "task", ID: "a"}) {
		t.Errorf("draft is %+v", d)
	}
	o.keeps("blueprints/evaluations/a-evaluation-0.json", "blueprints/promotions/a.json")
	if it := o.Task("a"); it.CreatedBy != "mechanic_blueprint" || it.Lineage.RootSpecID != "s" {
		t.Errorf("task is %+v", it)
	}
	t.Run("not of a rejected one", func(t *testing.T) {
		o := blueprintWorld(t, nil).drafted().spent()
		refused(t, o.repair(decided("apply_repaired_generated_task", nil), repaired), schema.FailInvalidArtifact, "nothing approved")
	})
	t.Run("not of one that was not finished", func(t *testing.T) {
		o := blueprintWorld(t, nil).drafted()
		passed(t, o.pack(packet("a", 0)))
		r := o.Run()
		o.Write(r, o.Fail(schema.FailTimeout), map[string]string{"blueprint_evaluation.json": evaluation("a", 0, "approved").json()})
		o.settled(r.ID)
		refused(t, o.repair(decided("apply_repaired_generated_task", nil), repaired), schema.FailInvalidArtifact, "runner_timeout")
	})
	t.Run("not of a changed evaluation", func(t *testing.T) {
		o := blueprintWorld(t, nil).drafted()
		passed(t, o.pack(packet("a", 0)))
		r := o.Run()
		request := o.Request(r)
		refused(t, o.approve(evaluation("a", 0, "approved"), task("a", fields{"acceptance": nil})), schema.FailInvalidArtifact)
		if err := os.WriteFile(o.Path(request+"/blueprint_evaluation.json"), []byte("{}"), 0o666); err != nil {
			t.Fatal(err)
		}
		refused(t, o.repair(decided("apply_repaired_generated_task", nil), repaired), schema.FailInvalidArtifact, "is no longer what the supervisor listed")
	})
}

func TestRepairsAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		d     fields
		meta  string
		class string
		says  string
	}{
		"a stage of another action":      {decided("rerun_evaluator", fields{"next_resume_stage": "contractor_blueprint"}), "", schema.FailInvalidArtifact, "that is what rerun_contractor does"},
		"a stage after the end":          {decided("block", fields{"next_resume_stage": "contractor_blueprint"}), "", schema.FailInvalidArtifact, "ends the run"},
		"a stage for other work":         {decided("rerun_manager", nil), "", schema.FailInvalidArtifact, "manager_blueprint, which does not work on items of family blueprint_draft"},
		"two stages":                     {decided("rerun_contractor", fields{"next_resume_stage": "contractor_blueprint"}), "evaluator_blueprint", schema.FailInvalidArtifact, "the metadata names evaluator_blueprint"},
		"a stage that was never entered": {decided("rerun_contractor", fields{"next_resume_stage": "planner"}), "", schema.FailIllegalOutcome, "planner"},
		"no stage at all":                {decided("rerun_contractor", fields{"next_resume_stage": "nobody"}), "", schema.FailIllegalOutcome, "nobody"},
		"a packet that is not there":     {decided("rerun_evaluator", nil), "", schema.FailInvalidArtifact, "no packet yet"},
	} {
		t.Run(name, func(t *testing.T) {
			o := blueprintWorld(t, nil).drafted()
			if strings.HasPrefix(name, "a packet") {
				passed(t, o.says("contractor_blueprint", "BLOCKED", nil))
			} else {
				passed(t, o.pack(packet("a", 0)), o.says("evaluator_blueprint", "BLOCKED", nil))
			}
			r := o.Run()
			done := o.Say("MECHANIC_BLUEPRINT_COMPLETE", map[string]string{
				"blueprint_repair_decision.json": c.d.json(), "mechanic_report.md": "What failed.\n"})
			if c.meta != "" {
				done.Claim.Metadata = map[string]any{"resume_stage": c.meta}
			}
			refused(t, o.settled(r.ID), c.class, c.says)
		})
	}
}

// A spec is planned again by the manager, or at an earlier stage of its run that the decision names.
func TestRepairOfASpec(t *testing.T) {
	for _, more := range []fields{nil, {"next_resume_stage": "manager_blueprint"}} {
		o := blueprintWorld(t, nil)
		o.spec()
		passed(t, o.says("manager_blueprint", "BLOCKED", nil), o.repair(decided("rerun_manager", more), nil))
		if r := o.Run(); r.Node != "manager_blueprint" {
			t.Errorf("with %v the run is %+v", more, r)
		}
	}
	o := blueprintWorld(t, nil)
	o.Admit("kind: incident\nincident_id: inc\ntitle: I\nroot_spec_id: r\n")
	o.Settle()
	passed(t, o.says("auditor", "BLOCKED", nil), o.repair(decided("rerun_manager", fields{"next_resume_stage": "auditor"}), nil))
	if r := o.Run(); r.Node != "auditor" {
		t.Errorf("run is %+v", r)
	}
	passed(t, o.says("auditor", "BLOCKED", nil))
	refused(t, o.repair(decided("apply_repaired_generated_task", nil), map[string]string{"repaired_generated_task.json": task("a", nil).json()}),
		schema.FailInvalidArtifact, "only for a blueprint draft")
}

// again has spec s, or a draft, worked on anew: what it leaves now has to be what was kept.
func (o *blueprints) again(k schema.Key) {
	o.t.Helper()
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test", Why: "again"}
		it := v.Items[k].Clone()
		m.Requeue(v, it, schema.Note{By: "operator", What: "requeued"}, true)
		return m
	})
	o.Settle()
}

// lose has the request in flight lost with what it said, as when a machine went down right after.
func (o *blueprints) lose() {
	o.t.Helper()
	r := o.Run()
	o.Requests[r.Request] = &workspace.RequestSeen{Started: true}
	o.Settle()
	if now := o.Run(); now == nil || now.Request == r.Request || now.Node != r.Node {
		o.t.Fatalf("run is %+v, want %s asked again", now, r.Node)
	}
}

func TestReplays(t *testing.T) {
	s, later := schema.Key{Family: "spec", ID: "s"}, fields{"created_at": "2026-11-22T09:00:00Z", "created_by": "another"}
	for name, c := range map[string]struct {
		m, d  fields
		class string
		says  string
	}{
		"equal":              {manifest("a").with(later), drafts(draft(0, "a").with(later)).with(later), "", ""},
		"another manifest":   {manifest("a").with(fields{"spec_summary": "x"}), drafts(draft(0, "a")), schema.FailOutboxConflict, "blueprints/manifests/m.json is kept already and says otherwise (spec_summary)"},
		"another draft":      {manifest("a"), drafts(draft(0, "a").with(fields{"summary": "x"})), schema.FailOutboxConflict, "blueprint_draft/a exists with other content"},
		"more drafts":        {manifest("a", "b"), drafts(draft(0, "a"), draft(1, "b")), schema.FailOutboxConflict, "(draft_count, draft_ids)"},
		"another manifest's": {manifest("a").with(fields{"manifest_id": "n"}), drafts(draft(0, "a").with(fields{"manifest_id": "n"})), schema.FailOutboxConflict, "blueprint_draft/a exists"},
	} {
		t.Run("drafts/"+name, func(t *testing.T) {
			o := blueprintWorld(t, nil).drafted()
			passed(t, o.says("contractor_blueprint", "BLOCKED", nil), o.repair(decided("block", nil), nil))
			before, was := maps.Clone(o.Seen.Items), o.content("blueprints/manifests/m.json")
			o.again(s)
			o.lose()
			step := o.cut(c.m, c.d)
			if c.class != "" {
				refused(t, step, c.class, c.says)
			} else if passed(t, step); len(step.Spawned) > 0 || o.item("spec", "s").State != schema.StateDone {
				t.Errorf("step is %+v", step)
			}
			k := schema.Key{Family: "blueprint_draft", ID: "a"}
			if len(o.Seen.Items) != len(before) || o.Seen.Items[k].Document != before[k].Document || o.content("blueprints/manifests/m.json") != was {
				t.Errorf("a is %+v", o.Seen.Items[k])
			}
		})
	}
	for name, c := range map[string]struct {
		p     fields
		text  string
		class string
		says  string
	}{
		"equal":          {packet("a", 0).with(later), "text", "", ""},
		"the next":       {packet("a", 1), "other", "", ""},
		"another packet": {packet("a", 0).with(fields{"summary": "x"}), "text", schema.FailOutboxConflict, "blueprints/packets/a-blueprint@0.json is kept already and says otherwise (summary)"},
		"another text":   {packet("a", 0), "other", schema.FailOutboxConflict, "blueprints/packets/a-blueprint@0.md is kept already"},
	} {
		t.Run("packet/"+name, func(t *testing.T) {
			o := blueprintWorld(t, nil).drafted()
			say := func(p fields, text string) schema.Step {
				return o.says("contractor_blueprint", "BLUEPRINT_CANDIDATE_READY", map[string]string{"blueprint_packet.json": p.json(), "blueprint.md": text})
			}
			passed(t, say(packet("a", 0), "text"), o.says("evaluator_blueprint", "BLOCKED", nil), o.repair(decided("rerun_contractor", nil), nil))
			was := o.content("blueprints/packets/a-blueprint@0.json")
			o.lose()
			step := say(c.p, c.text)
			if c.class != "" {
				refused(t, step, c.class, c.says)
			} else if passed(t, step); o.Run().Node != "evaluator_blueprint" {
				t.Errorf("run is %+v", o.Run())
			}
			if o.content("blueprints/packets/a-blueprint@0.json") != was || o.content("blueprints/packets/a-blueprint@0.md") != "text" {
				t.Error("what was kept has changed")
			}
		})
	}
}

// What an evaluator says is kept under its id, for good.
func TestReplaysOfJudgements(t *testing.T) {
	later := fields{"created_at": "2026-11-22T09:00:00Z"}
	o := blueprintWorld(t, nil).drafted()
	passed(t, o.pack(packet("a", 0)), o.reject(evaluation("a", 0, "rejected"), critique("a", 0)), o.pack(packet("a", 1)))
	o.lose()
	e := evaluation("a", 1, "rejected").with(fields{"evaluation_id": "a-evaluation-0"})
	refused(t, o.reject(e, critique("a", 1).with(fields{"evaluation_id": "a-evaluation-0"})), schema.FailOutboxConflict, "blueprints/evaluations/a-evaluation-0.json")
	passed(t, o.repair(decided("rerun_evaluator", nil), nil))
	refused(t, o.reject(evaluation("a", 1, "rejected"), critique("a", 1).with(fields{"critique_id": "a-critique-0"})), schema.FailOutboxConflict, "blueprints/critiques/a-critique-0.json")
	passed(t, o.repair(decided("rerun_evaluator", nil), nil))
	passed(t, o.reject(evaluation("a", 1, "rejected"), critique("a", 1)))

	// The same judgement of the same packet, once more, changes nothing.
	was := o.content("blueprints/critiques/a-critique-1.json")
	passed(t, o.says("contractor_blueprint", "BLOCKED", nil))
	if o.Run() != nil {
		t.Fatalf("run is %+v", o.Run())
	}
	o.again(schema.Key{Family: "blueprint_draft", ID: "a"})
	passed(t, o.says("contractor_blueprint", "BLOCKED", nil), o.repair(decided("rerun_evaluator", nil), nil))
	passed(t, o.reject(evaluation("a", 1, "rejected").with(later), critique("a", 1).with(later)))
	if o.content("blueprints/critiques/a-critique-1.json") != was {
		t.Error("the critique has changed")
	}
}

// A promotion that was made is made once.
func TestReplaysOfPromotions(t *testing.T) {
	a := schema.Key{Family: "blueprint_draft", ID: "a"}
	for name, c := range map[string]struct {
		task  fields
		class string
		says  string
	}{
		"equal":           {task("a", nil), "", ""},
		"other content":   {task("a", fields{"summary": "x"}), schema.FailOutboxConflict, "task/a exists with other content"},
		"another task":    {task("b", nil), schema.FailOutboxConflict, "became task a already"},
		"another writing": {task("a", fields{"created_by": "me", "created_at": "2026-01-01T00:00:00Z"}), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := blueprintWorld(t, nil).drafted()
			passed(t, o.pack(packet("a", 0)), o.approve(evaluation("a", 0, "approved"), task("a", nil)))
			was, document := o.content("blueprints/promotions/a.json"), o.Task("a").Document
			o.again(a)
			passed(t, o.pack(packet("a", 0)))
			o.lose()
			s := o.approve(evaluation("a", 0, "approved"), c.task)
			if c.class != "" {
				refused(t, s, c.class, c.says)
			} else if passed(t, s); len(s.Spawned) > 0 || o.Seen.Items[a].State != schema.StateDone {
				t.Errorf("step is %+v", s)
			}
			if o.content("blueprints/promotions/a.json") != was || o.Task("a").Document != document || o.Task("b") != nil {
				t.Error("what was promoted has changed")
			}
		})
	}
}

// A person's file in the place of a record is told of, and stays.
func TestNoRecordIsOverwritten(t *testing.T) {
	o := blueprintWorld(t, nil).drafted()
	if err := os.MkdirAll(o.Path("blueprints/packets"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.Path("blueprints/packets/a-blueprint@0.json"), []byte("mine"), 0o666); err != nil {
		t.Fatal(err)
	}
	refused(t, o.pack(packet("a", 0)), schema.FailOutboxConflict, "blueprints/packets/a-blueprint@0.json", "it is no record")
	if o.content("blueprints/packets/a-blueprint@0.json") != "mine" {
		t.Error("it was overwritten")
	}
}

// Work that nobody wants any more is ended, and what it had come to is kept.
func TestUnwantedDraftsAreKept(t *testing.T) {
	o := blueprintWorld(t, nil).drafted()
	a := schema.Key{Family: "blueprint_draft", ID: "a"}
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test", Why: "cancel"}
		it := v.Items[a].Clone()
		it.Cancel = &schema.Cancel{By: "command", Why: "not wanted", At: v.Now, To: schema.StateCancelled}
		m.PutItem(it)
		return m
	})
	r := o.Run()
	o.Say("BLUEPRINT_CANDIDATE_READY", map[string]string{"blueprint_packet.json": packet("a", 0).json(), "blueprint.md": "text"})
	o.settled(r.ID)
	if it := o.Seen.Items[a]; it.State != schema.StateCancelled || it.Blueprint == nil {
		t.Errorf("draft is %+v", it)
	}
	o.keeps("blueprints/packets/a-blueprint@0.json")
}

// A prompt shows a draft as its document: JSON that a reader can read.
func TestDraftsAreShownReadably(t *testing.T) {
	o := blueprintWorld(t, nil).drafted()
	_, rest, _ := strings.Cut(o.prompt(), "## Work item")
	if !strings.Contains(rest, "  \"draft_id\": \"a\",\n") || !json.Valid([]byte(o.content(o.item("blueprint_draft", "a").Path))) {
		t.Errorf("the prompt shows\n%s", rest)
	}
}

func (o *blueprints) content(file string) string {
	o.t.Helper()
	data, err := os.ReadFile(o.Path(file))
	if err != nil {
		o.t.Fatal(err)
	}
	return string(data)
}
