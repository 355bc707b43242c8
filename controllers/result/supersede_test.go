package result_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"millrace/controllers/controllertest"
	"millrace/schema"
	"millrace/workspace"
)

// raised has a task that is blocked by the incident it raised, with the incident's auditor in flight.
func raised(t *testing.T, more string) *controllertest.World {
	t.Helper()
	o := planning(t)
	o.Admit(controllertest.Task("a", lineage) + "---\n" + controllertest.Task("on", "depends_on: [a, z]", lineage) + more)
	escalated(o)
	return o
}

// escalated takes the task in flight to an incident.
func escalated(o *controllertest.World) {
	o.TB.Helper()
	o.Settle()
	for _, end := range []string{"BLOCKED", "BLOCKED", "NEEDS_PLANNING"} {
		o.Claim(end, end)
		o.Settle()
	}
}

func TestAnEscalatedTaskWaitsForTheWorkOfItsIncident(t *testing.T) {
	o := raised(t, "")
	it := o.Want("a", schema.StateBlocked, schema.ClassEscalate)
	if it.Raised != "a-incident-1" {
		t.Fatalf("item is %+v", it)
	}
	w := o.View(o.Seen).Waiting(it.Key())
	if w == nil || w.Stalled || !strings.Contains(w.Message, "incident/a-incident-1 takes it up") || !strings.Contains(w.ClearedBy, "takes its place") {
		t.Errorf("it waits %+v", w)
	}
	if r := o.Run(); r.Item.ID != "a-incident-1" || r.Node != "auditor" {
		t.Fatalf("run is %+v", r)
	}
	ends(o, "AUDITOR_COMPLETE", nil)
	ends(o, "PLANNER_COMPLETE", ready("incident", "a-incident-1"))
	o.Want("a", schema.StateBlocked, "")
	ends(o, "MANAGER_COMPLETE", nil, controllertest.Task("b"), controllertest.Task("c", "depends_on: [b, a]"))
	superseded(t, o, "b", "c")
	if c := find(o, "task", "c"); !slices.Equal(c.DependsOn, []string{"b"}) {
		t.Errorf("c is %+v", c) // a task that takes another's place does not wait for it
	}
}

func superseded(t *testing.T, o *controllertest.World, by ...string) {
	t.Helper()
	a := find(o, "task", "a")
	if a.State != schema.StateSuperseded || a.Path != "tasks/superseded/a.md" || a.Raised != "" || a.EndedSeq == 0 || a.EndedBy != "a-incident-1" {
		t.Errorf("a is %+v", a)
	}
	if on := find(o, "task", "on"); !slices.Equal(on.DependsOn, append(slices.Clone(by), "z")) {
		t.Errorf("what waited for a waits for %v", on.DependsOn)
	}
	if n := a.Notes[len(a.Notes)-1]; n.What != "superseded by "+strings.Join(by, ", ")+", planned for incident a-incident-1" {
		t.Errorf("its history says %+v", n)
	}
	if _, err := os.Stat(o.Path(a.Path)); err != nil {
		t.Error(err)
	}
	want := schema.Lineage{RootIdeaID: "idea", RootSpecID: "root", IncidentID: "a-incident-1"}
	for _, id := range by {
		got := find(o, "task", id).Lineage
		if got.SpecID = ""; got != want {
			t.Errorf("%s is of %+v", id, got)
		}
	}
}

// In one commit: nobody sees the new work and the old beside each other.
func TestSupersessionIsOneCommit(t *testing.T) {
	o := raised(t, "")
	ends(o, "AUDITOR_COMPLETE", nil)
	ends(o, "PLANNER_COMPLETE", ready("incident", "a-incident-1"))
	o.Told()
	o.Claim("MANAGER_COMPLETE", "x")
	o.Requests[o.Run().Request].Outbox = []workspace.OutboxFile{o.Parse("b.yaml", controllertest.Task("b"))}
	rec := o.Step()
	var types []string
	for _, e := range rec.Events {
		types = append(types, e.Type+" "+e.Item.ID)
	}
	for _, want := range []string{workspace.EvAdmitted + " b", workspace.EvSuperseded + " a", workspace.EvDone + " a-incident-1"} {
		if !slices.Contains(types, want) {
			t.Errorf("the commit told %q", types)
		}
	}
}

func TestAnIncidentsChildSpecsCarryIt(t *testing.T) {
	o := raised(t, "")
	ends(o, "AUDITOR_COMPLETE", nil)
	ends(o, "PLANNER_COMPLETE", disposed("incident", "a-incident-1", "emitted_child_specs", "p1", "p2"), spec("p1"), spec("p2"))
	o.Want("a", schema.StateBlocked, "")
	for _, id := range []string{"p1", "p2"} {
		if it := find(o, "spec", id); it.Lineage.IncidentID != "a-incident-1" || it.Lineage.RootSpecID != "root" || it.Lineage.RootIdeaID != "idea" {
			t.Errorf("child is %+v", it)
		}
	}
	ends(o, "PLANNER_COMPLETE", disposed("spec", "p1", "emitted_child_specs", "p11"), spec("p11"))
	for o.Run().Item.ID != "p11" { // whichever comes first
		ends(o, "PLANNER_COMPLETE", disposed("spec", o.Run().Item.ID, "blocked"))
	}
	ends(o, "PLANNER_COMPLETE", ready("spec", "p11"))
	o.Want("a", schema.StateBlocked, "")
	ends(o, "MANAGER_COMPLETE", nil, controllertest.Task("b"))
	superseded(t, o, "b")
}

// Only the first work takes its place; what follows finds nothing to replace.
func TestOnlyTheFirstWorkSupersedes(t *testing.T) {
	o := raised(t, "")
	ends(o, "AUDITOR_COMPLETE", nil)
	ends(o, "PLANNER_COMPLETE", disposed("incident", "a-incident-1", "emitted_child_specs", "p1", "p2"), spec("p1"), spec("p2"))
	ends(o, "PLANNER_COMPLETE", ready("spec", "p1"))
	ends(o, "MANAGER_COMPLETE", nil, controllertest.Task("b"))
	ends(o, "PLANNER_COMPLETE", ready("spec", "p2"))
	ends(o, "MANAGER_COMPLETE", nil, controllertest.Task("c"))
	superseded(t, o, "b")
}

// What depends on the old task and is depended on by the new one would wait for itself.
func TestWorkThatWaitsForWhatItReplacesIsDeclined(t *testing.T) {
	o := raised(t, "---\n"+controllertest.Task("z"))
	o.Settle()
	ends(o, "AUDITOR_COMPLETE", nil)
	ends(o, "PLANNER_COMPLETE", ready("incident", "a-incident-1"))
	ends(o, "MANAGER_COMPLETE", nil, controllertest.Task("b", "depends_on: [on]"), controllertest.Task("c"))
	superseded(t, o, "c")
	if o.Task("b") != nil {
		t.Errorf("b is %+v", o.Task("b"))
	}
	told := slices.ContainsFunc(o.Events, func(e workspace.Event) bool {
		return e.Type == workspace.EvDeclined && e.Item.ID == "b" && strings.Contains(e.Message, "it would depend on itself: [task/b task/on")
	})
	if !told {
		t.Error("nobody is told that b was declined")
	}
}

// An operator's word goes before planning's.
func TestARetriedTaskIsNotSuperseded(t *testing.T) {
	o := raised(t, "")
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test"}
		m.Requeue(v, v.Items[schema.Key{Family: "task", ID: "a"}].Clone(), schema.Note{By: "test", What: "retried"}, true)
		return m
	})
	ends(o, "AUDITOR_COMPLETE", nil)
	ends(o, "PLANNER_COMPLETE", ready("incident", "a-incident-1"))
	ends(o, "MANAGER_COMPLETE", nil, controllertest.Task("b"))
	if a := find(o, "task", "a"); a.State != schema.StateQueue && a.State != schema.StateActive || a.Raised != "" {
		t.Errorf("a is %+v", a)
	}
}

// Work without a root raises incidents as well, and its work takes its place.
func TestEscalationWithoutARoot(t *testing.T) {
	o := planning(t)
	o.Admit(controllertest.Task("a"))
	escalated(o)
	x := find(o, "incident", "a-incident-1")
	if x.Lineage != (schema.Lineage{IncidentID: "a-incident-1"}) || find(o, "task", "a").Raised != x.ID {
		t.Fatalf("incident is %+v", x)
	}
	ends(o, "AUDITOR_COMPLETE", nil)
	ends(o, "PLANNER_COMPLETE", ready("incident", x.ID))
	ends(o, "MANAGER_COMPLETE", nil, controllertest.Task("b"))
	if a, b := find(o, "task", "a"), find(o, "task", "b"); a.State != schema.StateSuperseded || b.Lineage != x.Lineage {
		t.Errorf("a is %+v, b is %+v", a, b)
	}
}

// end cancels an item, as its operator would.
func end(o *controllertest.World, family, id, why string) {
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m, it := &workspace.Mutation{By: "test"}, v.Items[schema.Key{Family: family, ID: id}].Clone()
		if r := v.RunOf(it); r != nil {
			m.EndRun(v, r.Clone(), schema.StateCancelled)
		}
		m.CancelItem(v, it, "command", why)
		return m
	})
}

func TestPlanningThatEndsWithoutATaskRequeuesOnce(t *testing.T) {
	o := raised(t, "")
	end(o, "incident", "a-incident-1", "the builder only lacked a compiler, which is there now")
	o.Settle()
	a := o.Want("a", schema.StateActive, "")
	if a.Raised != "" || a.Remedied != "a-incident-1" {
		t.Fatalf("a is %+v", a)
	}
	r := o.Run()
	prompt, err := os.ReadFile(o.Path(workspace.RequestDir(r.ID, r.Request) + "/" + schema.PromptFile))
	if err != nil || !strings.Contains(string(prompt), "planning of incident a-incident-1 ended without work that takes its place: incident/a-incident-1 is cancelled: the builder only lacked a compiler") {
		t.Errorf("the prompt does not tell the remedy, %v:\n%s", err, prompt)
	}
	if n := a.Counters["troubleshoot_attempt_count"]; n != 1 {
		t.Errorf("its budgets are %v: only an operator gives them back", a.Counters)
	}
	escalated(o)
	if a = o.Want("a", schema.StateBlocked, schema.ClassEscalate); a.Raised != "a-incident-2" {
		t.Fatalf("a is %+v", a)
	}
	end(o, "incident", "a-incident-2", "no")
	if whys := o.Settle(); len(whys) > 0 {
		t.Errorf("it did %q", whys)
	}
	o.Want("a", schema.StateBlocked, schema.ClassEscalate)
	if w := o.View(o.Seen).Waiting(a.Key()); w == nil || !w.Stalled || strings.Contains(w.Message, "takes it up") {
		t.Errorf("it waits %+v", w)
	}
}

// Planning that says so itself, in a graph that lets it: what it said is found in its run.
func TestTheRemedyIsWhatPlanningSaid(t *testing.T) {
	o := world(t, map[string]string{"modes/test.cue": strings.Replace(planningGraph, "AUDITOR_COMPLETE: \"planner\"", "AUDITOR_COMPLETE: \"noop\"", 1)})
	o.Admit(controllertest.Task("a", lineage))
	escalated(o)
	o.Claim("AUDITOR_COMPLETE", "x").Claim.Metadata = map[string]any{"message": "use the older interface"}
	o.Settle()
	a := o.Want("a", schema.StateActive, "")
	why := a.Notes[len(a.Notes)-1].Why
	for _, want := range []string{"incident/a-incident-1 is done, auditor ended with AUDITOR_COMPLETE: use the older interface; read millrace-agents/runs/", "/auditor_report.md"} {
		if !strings.Contains(why, want) {
			t.Errorf("the remedy does not say %q: %s", want, why)
		}
	}
}

// While anything that carries the incident may still bring work, the task waits.
func TestPlanningThatGoesOnIsWaitedFor(t *testing.T) {
	o := raised(t, "")
	ends(o, "AUDITOR_COMPLETE", nil)
	ends(o, "PLANNER_COMPLETE", disposed("incident", "a-incident-1", "emitted_child_specs", "p1", "p2"), spec("p1"), spec("p2"))
	end(o, "spec", "p1", "no")
	o.Settle()
	o.Want("a", schema.StateBlocked, "")
	ends(o, "PLANNER_COMPLETE", disposed("spec", "p2", "blocked"))
	o.Want("a", schema.StateBlocked, "") // its operator is asked about p2
	end(o, "spec", "p2", "not that either")
	o.Settle()
	a := o.Want("a", schema.StateActive, "")
	if why := a.Notes[len(a.Notes)-1].Why; !strings.Contains(why, "spec/p2 is cancelled: not that either") {
		t.Errorf("the remedy is %q", why)
	}
}

func TestIncidentLimitStallsTheClosureTarget(t *testing.T) {
	o := world(t, map[string]string{"modes/test.cue": planningGraph, "millrace.yaml": "budgets:\n  incident_limit: 0\n"})
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test"}
		data := []byte("{}\n")
		it := &schema.Item{SchemaVersion: schema.Version, Family: schema.FamilyTarget, ID: "root", State: schema.StateOpen, Generation: 1,
			Document: schema.DigestOf(data), Source: "runtime", Lineage: schema.Lineage{RootSpecID: "root"}, Updated: v.Now}
		it.Path = v.DocumentPath(it, it.State)
		m.AdmitItem(it, data)
		return m
	})
	o.Admit(controllertest.Task("a", lineage))
	escalated(o)
	if a := o.Want("a", schema.StateBlocked, schema.ClassEscalate); a.Raised != "" {
		t.Errorf("a is %+v", a)
	}
	target := find(o, schema.FamilyTarget, "root")
	if b := target.Blocked; target.State != schema.StateBlocked || b.Class != schema.StallIncidentLimit ||
		b.Message != "root has raised 0 incidents already (budget incident_limit), and task/a asks for another; raise budgets.incident_limit, or settle it and retry" {
		t.Errorf("target is %+v, %+v", target, b)
	}
}
