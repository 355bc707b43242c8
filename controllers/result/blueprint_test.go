package result_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"millrace/assets"
	"millrace/controllers/controllertest"
	"millrace/schema"
	"millrace/workspace"
)

// fields are those of a JSON file.
type fields map[string]any

func (f fields) with(more fields) fields {
	all := maps.Clone(f)
	maps.Copy(all, more)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

func (f fields) json() string {
	data, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func head(kind string) fields {
	return fields{"schema_version": 1, "kind": kind, "created_at": "2026-11-22T08:00:00Z", "created_by": "stage"}
}

func manifest(ids ...string) fields {
	return head("blueprint_manifest").with(fields{
		"manifest_id": "m", "root_spec_id": "s", "source_kind": "spec", "source_id": "s", "draft_ids": ids, "draft_count": len(ids),
	})
}

func draft(i int, id string, needs ...string) fields {
	d := fields{"draft_id": id, "title": "Draft " + id, "manifest_id": "m", "draft_index": i, "acceptance_intent": []string{"it is so"}}
	if len(needs) > 0 {
		d["depends_on_draft_ids"] = needs
	}
	return d
}

func drafts(all ...fields) fields { return head("blueprint_drafts").with(fields{"drafts": all}) }

func packet(id string, revision int) fields {
	return head("blueprint_packet").with(fields{
		"blueprint_id": id + "-blueprint", "draft_id": id, "revision": revision,
		"implementation_scope": []string{"do it"}, "task_acceptance": []string{"it is so"},
	})
}

func evaluation(id string, revision int, decision string) fields {
	return head("blueprint_evaluation").with(fields{
		"evaluation_id": fmt.Sprintf("%s-evaluation-%d", id, revision), "blueprint_id": id + "-blueprint", "draft_id": id,
		"revision": revision, "decision": decision,
	})
}

func critique(id string, revision int) fields {
	return head("blueprint_critique").with(fields{
		"critique_id": fmt.Sprintf("%s-critique-%d", id, revision), "evaluation_id": fmt.Sprintf("%s-evaluation-%d", id, revision),
		"blueprint_id": id + "-blueprint", "draft_id": id, "revision": revision, "required_changes": []string{"say how"},
	})
}

func task(id string, more fields) fields {
	return fields{"kind": "task", "task_id": id, "title": "Do " + id, "acceptance": []string{"it is so"}}.with(more)
}

func decided(action string, more fields) fields {
	return head("blueprint_repair_decision").with(fields{"repair_action": action, "reason": "so it goes on"}).with(more)
}

// A play of blueprints: the shipped graph, in which specs are cut at once.
type blueprints struct {
	*controllertest.World
	t *testing.T
}

func blueprintWorld(t *testing.T, more map[string]string) *blueprints {
	t.Helper()
	graph := string(assets.Files()["graphs/planning.blueprint.cue"])
	files := map[string]string{
		"graphs/planning.blueprint.cue": strings.Replace(graph, `spec: "planner"`, `spec: "manager_blueprint"`, 1),
		"modes/test.cue": `package millrace

modes: test: {
	graphs: planning: "planning.blueprint"
	runner: "fake"
	runners: fake: {adapter: "command", run: ["true"]}
}
`,
	}
	maps.Copy(files, more)
	return &blueprints{world(t, files), t}
}

func (o *blueprints) item(family, id string) *schema.Item {
	return o.Seen.Items[schema.Key{Family: family, ID: id}]
}

// spec begins the planning of spec s, or of another item.
func (o *blueprints) spec(more ...string) {
	o.Admit("kind: spec\nspec_id: s\ntitle: S\ngoals: [g]\nacceptance: [x]\n" + strings.Join(more, "\n") + "\n")
	o.Settle()
}

// says has the stage in flight end, and wants it to have been at a node; it returns the step.
func (o *blueprints) says(node, outcome string, files map[string]string) schema.Step {
	o.t.Helper()
	r := o.Run()
	if r == nil || r.Node != node {
		o.t.Fatalf("run is %+v, want it at %s", r, node)
	}
	o.Say(outcome, files)
	return o.settled(r.ID)
}

func (o *blueprints) settled(run string) schema.Step {
	o.t.Helper()
	o.Settle()
	var r schema.Run
	read(o.t, o.World, workspace.RunFile(run), &r)
	return r.Steps[len(r.Steps)-1]
}

func (o *blueprints) cut(m, d fields) schema.Step {
	o.t.Helper()
	return o.says("manager_blueprint", "MANAGER_BLUEPRINT_COMPLETE", map[string]string{
		"blueprint_manifest.json": m.json(), "blueprint_drafts.json": d.json()})
}

func (o *blueprints) pack(p fields) schema.Step {
	o.t.Helper()
	return o.says("contractor_blueprint", "BLUEPRINT_CANDIDATE_READY", map[string]string{
		"blueprint_packet.json": p.json(), "blueprint.md": fmt.Sprintf("How to do it, revision %v.\n", p["revision"])})
}

func (o *blueprints) approve(e, task fields) schema.Step {
	o.t.Helper()
	return o.says("evaluator_blueprint", "BLUEPRINT_APPROVED", map[string]string{
		"blueprint_evaluation.json": e.json(), "generated_task.json": task.json()})
}

func (o *blueprints) reject(e, c fields) schema.Step {
	o.t.Helper()
	return o.says("evaluator_blueprint", "BLUEPRINT_REJECTED", map[string]string{
		"blueprint_evaluation.json": e.json(), "blueprint_critique.json": c.json()})
}

func (o *blueprints) repair(d fields, more map[string]string) schema.Step {
	o.t.Helper()
	files := map[string]string{"blueprint_repair_decision.json": d.json(), "mechanic_report.md": "What failed.\n"}
	maps.Copy(files, more)
	return o.says("mechanic_blueprint", "MECHANIC_BLUEPRINT_COMPLETE", files)
}

// refused wants a step to have failed, saying so.
func refused(t *testing.T, s schema.Step, class string, says ...string) {
	t.Helper()
	if s.Failure != class || s.Outcome != schema.OutcomeBlocked {
		t.Fatalf("step is %+v, want %s", s, class)
	}
	for _, text := range says {
		if !strings.Contains(s.Message, text) {
			t.Errorf("it does not say %q: %s", text, s.Message)
		}
	}
}

func passed(t *testing.T, steps ...schema.Step) {
	t.Helper()
	for _, s := range steps {
		if s.Failure != "" {
			t.Fatalf("%s failed with %s: %s", s.Node, s.Failure, s.Message)
		}
	}
}

func (o *blueprints) has(file string) bool {
	o.t.Helper()
	_, err := os.Stat(o.Path(file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		o.t.Fatal(err)
	}
	return err == nil
}

func (o *blueprints) keeps(files ...string) {
	o.t.Helper()
	for _, file := range files {
		if !o.has(file) {
			o.t.Errorf("%s is not kept", file)
		}
	}
}

func (o *blueprints) prompt() string {
	o.t.Helper()
	data, err := os.ReadFile(o.Path(o.Request(o.Run()) + "/" + schema.PromptFile))
	if err != nil {
		o.t.Fatal(err)
	}
	return string(data)
}

// drafted has spec s cut into one draft, whose contractor is asked.
func (o *blueprints) drafted() *blueprints {
	o.t.Helper()
	o.spec()
	passed(o.t, o.cut(manifest("a"), drafts(draft(0, "a"))))
	return o
}

func TestBlueprintsBecomeTasks(t *testing.T) {
	o := blueprintWorld(t, nil)
	o.spec("root_idea_id: i")
	s := o.cut(manifest("a", "b"), drafts(draft(0, "a"), draft(1, "b", "a")))
	passed(t, s)
	if len(s.Spawned) != 2 || o.item("spec", "s").State != schema.StateDone {
		t.Errorf("step is %+v", s)
	}
	o.keeps("blueprints/manifests/m.json", "blueprints/drafts/active/a.json", "blueprints/drafts/queue/b.json")
	var m schema.BlueprintManifest
	read(t, o.World, "blueprints/manifests/m.json", &m)
	if m.RootIdeaID != "i" || m.RootSpecID != "s" || m.SourceSpecID != "s" {
		t.Errorf("manifest is %+v", m)
	}
	b := o.item("blueprint_draft", "b")
	if want := (schema.Lineage{RootSpecID: "s", RootIdeaID: "i", SpecID: "s"}); b.Lineage != want || !slices.Equal(b.DependsOn, []string{"a"}) || b.CreatedBy != "manager_blueprint" {
		t.Errorf("b is %+v", b)
	}

	passed(t, o.pack(packet("a", 0)))
	o.keeps("blueprints/packets/a-blueprint@0.json", "blueprints/packets/a-blueprint@0.md")
	passed(t, o.reject(evaluation("a", 0, "rejected"), critique("a", 0)))
	o.keeps("blueprints/evaluations/a-evaluation-0.json", "blueprints/critiques/a-critique-0.json")
	if p := o.prompt(); !strings.Contains(p, "say how") || !strings.Contains(p, "How to do it, revision 0.") {
		t.Errorf("the contractor is not shown the critique:\n%s", p)
	}
	passed(t, o.pack(packet("a", 1)))
	if p := o.prompt(); !strings.Contains(p, "How to do it, revision 1.") {
		t.Errorf("the evaluator is not shown the packet:\n%s", p)
	}
	s = o.approve(evaluation("a", 1, "approved"), task("do-a", nil))
	passed(t, s)
	if len(s.Spawned) != 1 || s.Spawned[0] != (schema.Key{Family: "task", ID: "do-a"}) {
		t.Errorf("step is %+v", s)
	}
	o.keeps("blueprints/promotions/a.json", "blueprints/evaluations/a-evaluation-1.json", "blueprints/drafts/approved/a.json", "tasks/queue/do-a.md")
	var p schema.Promotion
	read(t, o.World, "blueprints/promotions/a.json", &p)
	if p.GeneratedTaskID != "do-a" || p.ManifestID != "m" || p.EvaluationID != "a-evaluation-1" || p.RootSpecID != "s" || p.PromotedBy != "evaluator_blueprint" {
		t.Errorf("promotion is %+v", p)
	}
	for _, file := range p.Paths {
		o.keeps(file)
	}

	passed(t, o.pack(packet("b", 0)))
	// It names the draft, whose task has another id.
	passed(t, o.approve(evaluation("b", 0, "approved"), task("b", fields{"depends_on": []string{"a"}})))
	if it := o.Task("b"); it == nil || !slices.Equal(it.DependsOn, []string{"do-a"}) || it.CreatedBy != "evaluator_blueprint" || it.Source != "outbox" {
		t.Errorf("task b is %+v", it)
	}
	if it, want := o.Task("do-a"), (schema.Lineage{RootSpecID: "s", RootIdeaID: "i", SpecID: "s"}); it.Lineage != want || it.State != schema.StateQueue {
		t.Errorf("task do-a is %+v", it)
	}
	if o.Seen.Count("task", schema.StateQueue) != 2 || o.Seen.Count("blueprint_draft", schema.StateDone) != 2 {
		t.Errorf("items are %v", slices.Collect(maps.Keys(o.Seen.Items)))
	}
}

// What the drafts of an incident become carries its id, so that the work that raised it can be replaced.
func TestBlueprintsOfAnIncident(t *testing.T) {
	graph := string(assets.Files()["graphs/planning.blueprint.cue"])
	o := blueprintWorld(t, map[string]string{
		"graphs/planning.blueprint.cue": strings.Replace(graph, `incident: "auditor", blueprint_draft: "con`, `incident: "manager_blueprint", blueprint_draft: "con`, 1),
	})
	o.Admit(controllertest.Task("broken", "root_spec_id: r") + "---\n" + controllertest.Task("later", "root_spec_id: r", "depends_on: [broken]"))
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test", Why: "escalate"}
		it := v.Items[schema.Key{Family: "task", ID: "broken"}].Clone()
		it.Raised = "inc"
		m.Block(v, it, schema.Blocked{Class: schema.ClassEscalate, Message: "plan again"})
		return m
	})
	o.Admit("kind: incident\nincident_id: inc\ntitle: I\nroot_spec_id: r\nsource_task_id: broken\n")
	o.Settle()
	m := manifest("a").with(fields{"root_spec_id": nil, "source_kind": "incident", "source_id": "inc"})
	passed(t, o.cut(m, drafts(draft(0, "a"))), o.pack(packet("a", 0)), o.approve(evaluation("a", 0, "approved"), task("a", nil)))
	if it := o.Task("a"); it == nil || it.Lineage.IncidentID != "inc" || it.Lineage.RootSpecID != "r" {
		t.Errorf("task is %+v", it)
	}
	if broken, later := o.Task("broken"), o.Task("later"); broken.State != schema.StateSuperseded || !slices.Equal(later.DependsOn, []string{"a"}) {
		t.Errorf("broken is %+v, later is %+v", broken, later)
	}
	if it := o.item("incident", "inc"); it.State != schema.StateDone {
		t.Errorf("incident is %+v", it)
	}
}

func TestStrictSequence(t *testing.T) {
	o := blueprintWorld(t, nil)
	o.spec()
	passed(t, o.cut(manifest("a", "b", "c").with(fields{"strict_sequence": true}), drafts(draft(0, "a"), draft(1, "b"), draft(2, "c", "a"))))
	if b, c := o.item("blueprint_draft", "b"), o.item("blueprint_draft", "c"); !slices.Equal(b.DependsOn, []string{"a"}) || !slices.Equal(c.DependsOn, []string{"a", "b"}) {
		t.Errorf("b waits for %v, c for %v", b.DependsOn, c.DependsOn)
	}
	text, err := os.ReadFile(o.Path("blueprints/drafts/queue/b.json"))
	if err != nil || !strings.Contains(string(text), `"depends_on_draft_ids"`) {
		t.Errorf("the document of b says %s (%v)", text, err)
	}
}

func TestDraftsAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		m, d  fields
		class string
		says  string
	}{
		"another order":              {manifest("b", "a"), drafts(draft(0, "a"), draft(1, "b")), schema.FailInvalidArtifact, "same order"},
		"one that is not listed":     {manifest("a"), drafts(draft(0, "a"), draft(1, "b")), schema.FailInvalidArtifact, "must be the same"},
		"a wrong count":              {manifest("a").with(fields{"draft_count": 2}), drafts(draft(0, "a")), schema.FailInvalidArtifact, "draft_count is 2"},
		"a wrong index":              {manifest("a"), drafts(draft(1, "a")), schema.FailInvalidArtifact, "draft_index of a is 1"},
		"one twice":                  {manifest("a", "a"), drafts(draft(0, "a"), draft(1, "a")), schema.FailInvalidArtifact, "twice"},
		"another manifest":           {manifest("a"), drafts(draft(0, "a").with(fields{"manifest_id": "n"})), schema.FailInvalidArtifact, "manifest_id of a is n"},
		"a dependency elsewhere":     {manifest("a"), drafts(draft(0, "a", "z")), schema.FailInvalidArtifact, "a depends on z"},
		"a circle":                   {manifest("a", "b"), drafts(draft(0, "a", "b"), draft(1, "b", "a")), schema.FailInvalidArtifact, "depend on itself"},
		"a sequence against itself":  {manifest("a", "b").with(fields{"strict_sequence": true}), drafts(draft(0, "a", "b"), draft(1, "b")), schema.FailInvalidArtifact, "depend on itself"},
		"another root":               {manifest("a").with(fields{"root_spec_id": "r"}), drafts(draft(0, "a")), schema.FailInvalidArtifact, "root_spec_id is r, but must be s"},
		"an idea that nobody had":    {manifest("a").with(fields{"root_idea_id": "i"}), drafts(draft(0, "a")), schema.FailInvalidArtifact, "leave it out"},
		"another source":             {manifest("a").with(fields{"source_id": "t"}), drafts(draft(0, "a")), schema.FailInvalidArtifact, "source_id is t"},
		"another kind of source":     {manifest("a").with(fields{"source_kind": "incident"}), drafts(draft(0, "a")), schema.FailInvalidArtifact, "source_kind is incident"},
		"a draft with another root":  {manifest("a"), drafts(draft(0, "a").with(fields{"root_spec_id": "r"})), schema.FailInvalidArtifact, "root_spec_id is r"},
		"a draft that is no draft":   {manifest("a"), drafts(draft(0, "a").with(fields{"title": nil})), schema.FailInvalidArtifact, "title"},
		"a draft of an operator's":   {manifest("mine"), drafts(draft(0, "mine")), schema.FailOutboxConflict, "operator declares"},
		"an id that stands for more": {manifest("old"), drafts(draft(0, "old")), schema.FailOutboxConflict, "exists with other content"},
	} {
		t.Run(name, func(t *testing.T) {
			o := blueprintWorld(t, nil)
			o.spec()
			if c.m["draft_ids"].([]string)[0] == "old" {
				o.Admit("kind: blueprint_draft\ndraft_id: old\ntitle: Old\nmanifest_id: m\ndraft_index: 0\nacceptance_intent: [x]\n")
			}
			mine := schema.Key{Family: "blueprint_draft", ID: "mine"}
			o.Intake = &workspace.Intake{ByKey: map[schema.Key][]workspace.Declared{mine: {{Key: mine}}}}
			before := len(o.Seen.Items)
			refused(t, o.cut(c.m, c.d), c.class, c.says)
			if o.has("blueprints/manifests/m.json") || len(o.Seen.Items) != before {
				t.Errorf("a part was kept: %v", slices.Collect(maps.Keys(o.Seen.Items)))
			}
			if r := o.Run(); r.Node != "mechanic_blueprint" {
				t.Errorf("run is %+v", r)
			}
		})
	}
}

func TestPacketsAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		p    fields
		says string
	}{
		"a revision that nothing led to": {packet("a", 1), "it must be 0"},
		"another draft":                  {packet("a", 0).with(fields{"draft_id": "b"}), "draft_id is b, but must be a"},
		"another manifest":               {packet("a", 0).with(fields{"manifest_id": "n"}), "manifest_id is n"},
		"another root":                   {packet("a", 0).with(fields{"root_spec_id": "r"}), "root_spec_id is r"},
	} {
		t.Run(name, func(t *testing.T) {
			o := blueprintWorld(t, nil).drafted()
			refused(t, o.pack(c.p), schema.FailInvalidArtifact, "blueprint_packet.json", c.says)
			if o.has("blueprints/packets") || o.item("blueprint_draft", "a").Blueprint != nil {
				t.Error("something was kept")
			}
		})
	}
	for name, c := range map[string]struct {
		p     fields
		class string
		says  string
	}{
		"the rejected revision again": {packet("a", 0), schema.FailInvalidArtifact, "it must be 1"},
		"a revision too far":          {packet("a", 2), schema.FailInvalidArtifact, "it must be 1"},
		"another blueprint":           {packet("a", 1).with(fields{"blueprint_id": "other"}), schema.FailInvalidArtifact, "the blueprint of blueprint_draft/a is a-blueprint"},
	} {
		t.Run(name, func(t *testing.T) {
			o := blueprintWorld(t, nil).drafted()
			passed(t, o.pack(packet("a", 0)), o.reject(evaluation("a", 0, "rejected"), critique("a", 0)))
			refused(t, o.pack(c.p), c.class, c.says)
		})
	}
}

func TestCritiquesAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		e, c fields
		says string
	}{
		"an approval":               {evaluation("a", 0, "approved"), critique("a", 0), "decision is approved"},
		"another revision":          {evaluation("a", 1, "rejected"), critique("a", 0), "the newest packet is a-blueprint@0"},
		"a critique of another":     {evaluation("a", 0, "rejected"), critique("a", 0).with(fields{"revision": 1}), "blueprint_critique.json: revision is 1"},
		"another draft":             {evaluation("a", 0, "rejected").with(fields{"draft_id": "b"}), critique("a", 0), "draft_id is b"},
		"another blueprint":         {evaluation("a", 0, "rejected").with(fields{"blueprint_id": "b"}), critique("a", 0), "blueprint_id is b"},
		"a critique of its own":     {evaluation("a", 0, "rejected"), critique("a", 0).with(fields{"evaluation_id": "e"}), "evaluation_id is e"},
		"an evaluation of its own":  {evaluation("a", 0, "rejected").with(fields{"critique_id": "c"}), critique("a", 0), "critique_id is c"},
		"a manifest of another one": {evaluation("a", 0, "rejected"), critique("a", 0).with(fields{"manifest_id": "n"}), "manifest_id is n"},
	} {
		t.Run(name, func(t *testing.T) {
			o := blueprintWorld(t, nil).drafted()
			passed(t, o.pack(packet("a", 0)))
			refused(t, o.reject(c.e, c.c), schema.FailInvalidArtifact, c.says)
			if o.has("blueprints/critiques") || o.has("blueprints/evaluations") || o.item("blueprint_draft", "a").Blueprint.Rejected {
				t.Error("something was kept")
			}
		})
	}
}

// The shipped graph, as it is: the planner decides that the spec is cut.
func TestBlueprintsOfAPlannedSpec(t *testing.T) {
	o := blueprintWorld(t, map[string]string{"graphs/planning.blueprint.cue": string(assets.Files()["graphs/planning.blueprint.cue"])})
	o.spec()
	disposition := head("planner_disposition").with(fields{
		"source_work_item_family_id": "spec", "source_work_item_id": "s", "disposition": "active_source_ready_for_manager"})
	passed(t, o.says("planner", "PLANNER_COMPLETE", map[string]string{"planner_disposition.json": disposition.json(), "planner_summary.md": "Two parts.\n"}))
	if p := o.prompt(); !strings.Contains(p, "Two parts.") {
		t.Errorf("the manager is not shown the plan:\n%s", p)
	}
	// The manager's repair may begin with the planner.
	passed(t, o.says("manager_blueprint", "BLOCKED", nil), o.repair(decided("rerun_manager", fields{"next_resume_stage": "planner"}), nil),
		o.says("planner", "PLANNER_COMPLETE", map[string]string{"planner_disposition.json": disposition.json(), "planner_summary.md": "Two parts.\n"}),
		o.cut(manifest("a"), drafts(draft(0, "a"))), o.pack(packet("a", 0)), o.approve(evaluation("a", 0, "approved"), task("a", nil)))
	if it := o.Task("a"); it == nil || it.Lineage.SpecID != "s" {
		t.Errorf("task is %+v", it)
	}
}
