package systemtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"millrace/schema"
	"millrace/workspace"
)

// plainMode plans as the shipped modes do, and judges nothing in the end. repair is where a stage that fails leads.
func plainMode(repair string) string {
	mechanic := ""
	if repair != "blocked" {
		mechanic = `mechanic: on: {
			MECHANIC_COMPLETE: {to: "planner", counter: "mechanic_resume_count", limit: 3, then: "blocked", resume: default: {incident: "auditor", probe: "recon"}}
			BLOCKED: mend
		}`
	}
	return fmt.Sprintf(`package millrace

graphs: plain: {
	let mend = {to: %q, counter: "mechanic_attempt_count", limit: 2, then: "blocked"}
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
		%s
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

modes: plain: graphs: {execution: "execution.standard", planning: "plain"}
`, repair, mechanic)
}

// newPlanning is a project whose workspace plans.
func newPlanning(t *testing.T, repair string) *project {
	t.Helper()
	p := newProject(t)
	p.write("millrace-agents/modes/plain.cue", plainMode(repair))
	p.write("millrace-agents/millrace.cue", strings.Replace(fmt.Sprintf(testConfig, agentBin), `"standard"`, `"plain"`, 1))
	return p
}

// script has the agent leave a file at every visit of an item to a stage.
func (p *project) script(item, stage, file, content string) {
	p.t.Helper()
	p.write(filepath.Join("agent/files", item, stage, file), content)
}

func disposed(family, id, more string) string {
	return fmt.Sprintf(`{"schema_version": 1, "kind": "planner_disposition", "created_at": "2026-11-22T08:00:00Z", "created_by": "planner",
"source_work_item_family_id": %q, "source_work_item_id": %q, %s}`, family, id, more)
}

func packet(id, decision, more string) string {
	return fmt.Sprintf("# Packet\n\nRecon-Packet-ID: %s-recon\nProbe-ID: %s\nDecision: %s\n%s", id, id, decision, more)
}

func (p *project) lineage(family, id string, want schema.Lineage) {
	p.t.Helper()
	if it := p.item(family, id); it.Lineage != want {
		p.t.Errorf("%s descends from %+v, want %+v", it.Key(), it.Lineage, want)
	}
}

func (p *project) wantState(family, id, state string) {
	p.t.Helper()
	if it := p.item(family, id); it.State != state {
		_, why, _ := p.run("why", id)
		p.t.Errorf("%s is %s, want it %s\n%s", it.Key(), it.State, state, why)
	}
}

// An idea is planned, cut into two tasks that wait for each other, and built.
func TestAnIdeaIsPlannedAndBuilt(t *testing.T) {
	t.Parallel()
	p := newPlanning(t, "mechanic")
	p.script("idea-shop", "manager", "outbox/a.md", "# First\n\nTask-ID: shop-1\n\nAcceptance:\n- it is done\n")
	p.script("idea-shop", "manager", "outbox/b.yaml", "kind: task\ntask_id: shop-2\ntitle: Second\nacceptance: [it is done]\ndepends_on: [shop-1]\n")
	p.drop("ideas/shop.md", "# A shop\n\nSell things.\n")
	p.untilIdle()
	p.wantState("spec", "idea-shop", schema.StateDone)
	for _, id := range []string{"shop-1", "shop-2"} {
		p.wantState("task", id, schema.StateDone)
		p.lineage("task", id, schema.Lineage{RootIdeaID: "shop", RootSpecID: "idea-shop", SpecID: "idea-shop"})
	}
	var order []string
	for _, l := range p.log() {
		if l.what == "start" && (l.stage == "planner" || l.stage == "manager" || l.stage == "builder") {
			order = append(order, l.item+" "+l.stage)
		}
	}
	want := []string{"spec/idea-shop planner", "spec/idea-shop manager", "task/shop-1 builder", "task/shop-2 builder"}
	if !slices.Equal(order, want) {
		t.Errorf("it went %q", order)
	}
	idea, err := os.ReadFile(p.path("millrace-agents/ideas/shop@1.md"))
	if err != nil || !strings.HasSuffix(string(idea), "\nSell things.\n") {
		t.Errorf("the idea is kept as %q, %v", idea, err)
	}
	p.must("verify")
}

// Everything that planning takes, dropped at once: claimed in the graph's order, and taken to its end.
func TestWhatIsDroppedIsPlanned(t *testing.T) {
	t.Parallel()
	p := newPlanning(t, "mechanic")
	p.drop("specs/big.yaml", "spec_id: big\ntitle: Big\ngoals: [g]\nacceptance: [x]\n")
	p.drop("probes/ask.yaml", "probe_id: ask\ntitle: Ask\nrequest: is it so?\n")
	p.drop("probes/plan.yaml", "probe_id: plan\ntitle: Plan\nrequest: plan it\nroot_spec_id: big\n")
	p.drop("incidents/bad.yaml", "incident_id: bad\ntitle: Bad\nsource_spec_id: big\n")
	p.drop("tasks/last.yaml", task("last", "priority: 9"))

	p.script("big", "planner", "planner_disposition.json", disposed("spec", "big", `"disposition": "emitted_child_specs", "emitted_spec_ids": ["big-1"]`))
	p.script("big", "planner", "outbox/big-1.yaml", "kind: spec\ntitle: Part\ngoals: [g]\nacceptance: [x]\n")
	p.script("big-1", "manager", "outbox/big-1-a.yaml", task("big-1-a"))
	p.write("agent/ask", "recon RECON_TO_EXECUTION\n")
	p.script("ask", "recon", "recon_packet.md", packet("ask", "to_execution", "Emitted-Task-ID: ask-a\n"))
	p.script("ask", "recon", "outbox/ask-a.yaml", task("ask-a"))
	p.write("agent/plan", "recon RECON_TO_PLANNING\n")
	p.script("plan", "recon", "recon_packet.md", packet("plan", "to_planning", "Emitted-Spec-ID: plan-s\n"))
	p.script("plan", "recon", "outbox/plan-s.yaml", "kind: spec\ntitle: Planned\ngoals: [g]\nacceptance: [x]\n")
	p.script("plan-s", "manager", "outbox/plan-a.yaml", task("plan-a"))
	p.script("bad", "manager", "outbox/bad-a.yaml", task("bad-a"))
	p.untilIdle()

	for _, k := range []schema.Key{{Family: "spec", ID: "big"}, {Family: "spec", ID: "big-1"}, {Family: "spec", ID: "plan-s"}, {Family: "probe", ID: "ask"},
		{Family: "probe", ID: "plan"}, {Family: "incident", ID: "bad"}, {Family: "task", ID: "last"}, {Family: "task", ID: "big-1-a"},
		{Family: "task", ID: "ask-a"}, {Family: "task", ID: "plan-a"}, {Family: "task", ID: "bad-a"}} {
		p.wantState(k.Family, k.ID, schema.StateDone)
	}
	p.lineage("spec", "big", schema.Lineage{RootSpecID: "big", SpecID: "big"})
	p.lineage("spec", "big-1", schema.Lineage{RootSpecID: "big", SpecID: "big-1"})
	p.lineage("task", "big-1-a", schema.Lineage{RootSpecID: "big", SpecID: "big-1"})
	p.lineage("task", "ask-a", schema.Lineage{})
	p.lineage("spec", "plan-s", schema.Lineage{RootSpecID: "big", SpecID: "plan-s"})
	p.lineage("task", "plan-a", schema.Lineage{RootSpecID: "big", SpecID: "plan-s"})
	p.lineage("task", "bad-a", schema.Lineage{RootSpecID: "big", SpecID: "big", IncidentID: "bad"})

	var claimed []string
	for _, l := range p.log() {
		if family, _, _ := strings.Cut(l.item, "/"); l.what == "start" && !slices.Contains(claimed, family) {
			claimed = append(claimed, family)
		}
	}
	if want := []string{"incident", "probe", "spec", "task"}; !slices.Equal(claimed, want) {
		t.Errorf("families were claimed in the order %q", claimed)
	}
	p.must("verify")
}

// A task that cannot be built as it is goes to planning and comes back as two others; what waited for it waits for them.
func TestFaultTheTaskThatRaisedAnIncidentStaysBlocked(t *testing.T) {
	t.Parallel()
	p := newPlanning(t, "mechanic")
	p.drop("specs/root.yaml", "spec_id: root\ntitle: Root\ngoals: [g]\nacceptance: [x]\n")
	p.script("root", "manager", "outbox/a.yaml", task("a")+"---\n"+task("on", "depends_on: [a]"))
	p.write("agent/a", "builder BLOCKED\ntroubleshooter BLOCKED\nconsultant NEEDS_PLANNING\n")
	p.script("a-incident-1", "manager", "outbox/b.yaml", task("b"))
	p.script("a-incident-1", "manager", "outbox/c.yaml", task("c", "depends_on: [b]"))
	p.untilIdle()
	p.wantState("incident", "a-incident-1", schema.StateDone)
	p.wantState("task", "a", schema.StateSuperseded)
	for _, id := range []string{"b", "c", "on"} {
		p.wantState("task", id, schema.StateDone)
	}
	p.lineage("task", "c", schema.Lineage{RootSpecID: "root", SpecID: "root", IncidentID: "a-incident-1"})
	if on := p.item("task", "on"); !slices.Equal(on.DependsOn, []string{"b", "c"}) {
		t.Errorf("on waited for %v", on.DependsOn)
	}
	text, err := os.ReadFile(p.path("millrace-agents/incidents/resolved/a-incident-1.md"))
	for _, want := range []string{"Root-Spec-ID: root\n", "Source-Spec-ID: root\n", "Source-Task-ID: a\n", "/consultant_report.md\n"} {
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("the incident does not say %q, %v:\n%s", want, err, text)
		}
	}
	p.must("verify")
}

// The one that ended planning without work goes on once, after a restart as well.
func TestARemedyIsTriedOnceOverRestarts(t *testing.T) {
	t.Parallel()
	p := newPlanning(t, "mechanic")
	p.drop("tasks/a.yaml", task("a"))
	p.write("agent/a", "builder BLOCKED\ntroubleshooter BLOCKED\nconsultant NEEDS_PLANNING\n")
	p.write("agent/a-incident-1", "auditor BLOCKED\nmechanic BLOCKED BLOCKED BLOCKED\n")
	p.untilIdle()
	p.wantState("incident", "a-incident-1", schema.StateBlocked)
	p.wantState("task", "a", schema.StateBlocked)
	p.must("queue", "cancel", "a-incident-1", "--reason", "try it with the older interface")
	p.wantState("task", "a", schema.StateBlocked) // no daemon runs
	p.untilIdle()
	p.wantState("task", "a", schema.StateDone)
	requeued := 0
	for _, rec := range p.records() {
		for _, e := range rec.Events {
			if rec.By == "recovery" && e.Type == workspace.EvRequeued && e.Item.ID == "a" {
				if requeued++; !strings.Contains(e.Message, "try it with the older interface") {
					t.Errorf("the remedy is %q", e.Message)
				}
			}
		}
	}
	if requeued != 1 {
		t.Errorf("it was requeued %d times", requeued)
	}
}
