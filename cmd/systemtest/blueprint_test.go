package systemtest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"millrace/schema"
)

const blueprintMode = `package millrace

modes: blueprint: graphs: {execution: "execution.standard", planning: "planning.blueprint"}
`

// record is a JSON artifact.
func record(kind, more string) string {
	return fmt.Sprintf(`{"schema_version": 1, "kind": %q, "created_at": "2026-11-22T08:00:00Z", "created_by": "stage", %s}`, kind, more)
}

// working scripts one draft: a packet, and what is judged of it, for every visit.
func (p *project) working(draft string, decisions ...string) {
	p.t.Helper()
	for n, decision := range decisions {
		ids := fmt.Sprintf(`"blueprint_id": "%s-blueprint", "draft_id": %q, "revision": %d`, draft, draft, n)
		contractor, evaluator := fmt.Sprintf("contractor_blueprint@%d", n+1), fmt.Sprintf("evaluator_blueprint@%d", n+1)
		p.script(draft, contractor, "blueprint_packet.json", record("blueprint_packet", ids+`, "implementation_scope": ["do it"], "task_acceptance": ["it is so"]`))
		evaluation, critique := fmt.Sprintf("%s-evaluation-%d", draft, n), ""
		if decision == "rejected" {
			critique = fmt.Sprintf("%s-critique-%d", draft, n)
			p.script(draft, evaluator, "blueprint_critique.json", record("blueprint_critique",
				ids+fmt.Sprintf(`, "critique_id": %q, "evaluation_id": %q, "required_changes": ["say how"]`, critique, evaluation)))
			critique = fmt.Sprintf(`, "critique_id": %q`, critique)
		} else {
			p.script(draft, evaluator, "generated_task.json", fmt.Sprintf(
				`{"kind": "task", "task_id": "do-%s", "title": "Do %s", "acceptance": ["it is so"], "checks": [{"name": "there", "run": "test -f seed"}]}`, draft, draft))
		}
		p.script(draft, evaluator, "blueprint_evaluation.json", record("blueprint_evaluation",
			ids+fmt.Sprintf(`, "evaluation_id": %q, "decision": %q%s`, evaluation, decision, critique)))
	}
}

// A spec becomes two drafts, one of them is sent back once, both become tasks, and the root is judged and closed.
func TestBlueprintsToTheEnd(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.write("millrace-agents/modes/blueprint.cue", blueprintMode)
	p.write("millrace-agents/millrace.cue", strings.Replace(fmt.Sprintf(testConfig, agentBin), `"standard"`, `"blueprint"`, 1)+`checks: from_agents: "allow"`+"\n")
	p.write("seed", "x")
	p.script("s", "manager_blueprint", "blueprint_manifest.json", record("blueprint_manifest",
		`"manifest_id": "m", "root_spec_id": "s", "source_kind": "spec", "source_id": "s", "draft_ids": ["a", "b"], "draft_count": 2, "strict_sequence": true`))
	p.script("s", "manager_blueprint", "blueprint_drafts.json", record("blueprint_drafts", `"drafts": [
		{"draft_id": "a", "title": "A", "manifest_id": "m", "draft_index": 0, "acceptance_intent": ["it is so"]},
		{"draft_id": "b", "title": "B", "manifest_id": "m", "draft_index": 1, "acceptance_intent": ["it is so"]}]`))
	p.write("agent/a", "evaluator_blueprint BLUEPRINT_REJECTED BLUEPRINT_APPROVED\n")
	p.working("a", "rejected", "approved")
	p.working("b", "approved")
	p.drop("specs/s.yaml", "spec_id: s\ntitle: S\ngoals: [g]\nacceptance: [x]\n")
	p.untilIdle()

	var order []string
	for _, l := range p.log() {
		if l.what == "start" && !slices.Contains([]string{"checker", "updater"}, l.stage) {
			order = append(order, l.item+" "+l.stage)
		}
	}
	want := []string{
		"spec/s planner", "spec/s manager_blueprint",
		"blueprint_draft/a contractor_blueprint", "blueprint_draft/a evaluator_blueprint",
		"blueprint_draft/a contractor_blueprint", "blueprint_draft/a evaluator_blueprint",
		"blueprint_draft/b contractor_blueprint", "blueprint_draft/b evaluator_blueprint",
	}
	if len(order) < len(want) || !slices.Equal(withoutBuilders(order), append(want, "closure_target/s arbiter")) {
		t.Errorf("it went %q", order)
	}
	p.wantState("spec", "s", schema.StateDone)
	for _, id := range []string{"a", "b"} {
		p.wantState("blueprint_draft", id, schema.StateDone)
		p.wantState("task", "do-"+id, schema.StateDone)
		p.lineage("task", "do-"+id, schema.Lineage{RootSpecID: "s", SpecID: "s"})
	}
	if b := p.item("task", "do-b"); !slices.Equal(b.DependsOn, []string{"do-a"}) {
		t.Errorf("do-b waited for %v", b.DependsOn)
	}
	for _, file := range []string{"manifests/m.json", "packets/a-blueprint@0.json", "packets/a-blueprint@1.json", "critiques/a-critique-0.json",
		"evaluations/a-evaluation-0.json", "evaluations/a-evaluation-1.json", "promotions/a.json", "promotions/b.json", "drafts/approved/a.json"} {
		if _, err := os.Stat(p.path("millrace-agents/blueprints", file)); err != nil {
			t.Errorf("not kept: %v", err)
		}
	}
	target := p.item(schema.FamilyTarget, "s")
	if target.State != schema.StateDone || target.Closure.Verdict != schema.VerdictPass || len(target.Closure.Checks) != 1 {
		t.Errorf("the target is %s, %+v", target.State, target.Closure)
	}
	p.must("verify")
	p.must("doctor")
}

func withoutBuilders(order []string) []string {
	return slices.DeleteFunc(slices.Clone(order), func(s string) bool { return strings.HasSuffix(s, " builder") })
}
