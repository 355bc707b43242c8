package result_test

import (
	"slices"
	"strings"
	"testing"

	"millrace/controllers/closure"
	"millrace/controllers/controllertest"
	"millrace/controllers/dispatch"
	"millrace/controllers/recovery"
	"millrace/controllers/result"
	"millrace/schema"
	"millrace/workspace"
)

// way is a workflow of one stage for each kind of work, and the shipped way of judging.
const way = `package millrace

graphs: "planning.way": {
	plane: "planning"
	entry: {incident: "manager", spec: "manager", closure_target: "arbiter"}
	claim: ["incident", "spec", "closure_target"]
	nodes: {
		manager: on: {MANAGER_COMPLETE: "planned", BLOCKED: "blocked"}
		arbiter: on: graphs["planning.standard"].nodes.arbiter.on
	}
	ends: {
		planned: {class: "success", state: "done"}
		blocked: {class: "blocked", state: "blocked"}
		for name in ["arbiter_complete", "remediation_needed"] {(name): graphs["planning.standard"].ends[name]}
	}
}

graphs: "execution.way": {
	plane: "execution"
	entry: task: "builder"
	nodes: builder: on: {BUILDER_COMPLETE: "built", BLOCKED: "blocked"}
	ends: {
		built: {class: "success", state: "done"}
		blocked: {class: "blocked", state: "blocked"}
	}
}

modes: test: {
	graphs: {execution: "execution.way", planning: "planning.way"}
	runner: "fake"
	runners: fake: {adapter: "command", run: ["true"]}
}
`

// A root from its claim to its end: planned, built, judged to have a gap, planned and built again, let go although
// a check fails, repaired, and closed on proof that had to be given twice.
func TestALineageFromItsClaimToItsEnd(t *testing.T) {
	o := controllertest.T(t, map[string]string{"modes/test.cue": way}, result.New(), recovery.New(), closure.New(), dispatch.New())
	gitIn(t, o.W.Project, "init", "-q")
	change(t, o, "one")
	o.Admit(controllertest.Spec("root", "checks: [{name: unit, run: make}]"))
	o.Admit(controllertest.Spec("wait"))
	o.Settle()
	next := func(node, outcome string, work ...string) {
		t.Helper()
		if r := o.Run(); r == nil || r.Node != node || r.Item.ID == "wait" {
			t.Fatalf("the run is %+v, not %s; the target is %+v", r, node, o.Target("root"))
		}
		o.Claim(outcome, o.Run().Request)
		for _, id := range work {
			f := o.Parse(id+".yaml", controllertest.Task(id))
			o.Requests[o.Run().Request].Outbox = append(o.Requests[o.Run().Request].Outbox, f)
		}
		o.Settle()
	}
	judge := func(outcome, verdict string, change func([]schema.CheckRecord)) {
		t.Helper()
		if r := o.Run(); r == nil || r.Node != "arbiter" || o.Target("root").State != schema.StateActive {
			t.Fatalf("the run is %+v; the target is %+v", r, o.Target("root"))
		}
		records := o.Passed()
		if change != nil {
			change(records)
		}
		o.Judge(outcome, verdict, records)
	}

	next("manager", "MANAGER_COMPLETE", "a")
	if it := o.Target("root"); it == nil || it.State != schema.StateOpen {
		t.Fatalf("the target is %+v", it)
	}
	next("builder", "BUILDER_COMPLETE")
	judge(remedies, gaps("The fields are not documented"), nil)
	o.Settle()
	next("manager", "MANAGER_COMPLETE", "b") // the incident
	next("builder", "BUILDER_COMPLETE")
	judge(closes, pass(), func(r []schema.CheckRecord) { r[0].Passed, r[0].ExitCode = false, 1 })
	o.Settle()
	next("manager", "MANAGER_COMPLETE", "c")
	next("builder", "BUILDER_COMPLETE")
	judge(closes, pass(), nil)
	change(t, o, "two")
	o.Settle()
	o.Rechecked(o.Passed())
	o.Settle()

	c := wantTarget(t, o, schema.StateDone, schema.VerdictPass, "").Closure
	if c.Verdicts != 3 || len(incidents(o)) != 2 || o.Target("wait") == nil {
		t.Errorf("closure %+v, %d incidents, wait %+v", c, len(incidents(o)), o.Target("wait"))
	}
	for _, k := range []string{"a", "b", "c"} {
		if it := o.Task(k); it.State != schema.StateDone || it.Lineage.RootSpecID != "root" {
			t.Errorf("%s is %+v", k, it)
		}
	}
	var names []string
	for _, n := range []string{"1", "2", "3"} {
		names = append(names, content(t, o, "arbiter/verdicts/root@1-"+n+".json"))
	}
	if !slices.Equal(names, []string{gaps("The fields are not documented"), pass(), pass()}) {
		t.Errorf("the verdicts are %q", names)
	}
	// Other roots have waited for all of this.
	if r := o.Run(); r == nil || r.Item.ID != "wait" {
		t.Errorf("the run is %+v", r)
	}
}

// Planning that answers an incident with nothing brings the target to its judge again, and then to a person.
func TestALineageThatGoesNowhereStalls(t *testing.T) {
	o := controllertest.T(t, map[string]string{"modes/test.cue": way}, result.New(), recovery.New(), closure.New(), dispatch.New())
	o.Admit(controllertest.Spec("root"))
	o.Play("MANAGER_COMPLETE")
	for range 2 {
		o.Judge(remedies, gaps("still"), nil)
		o.Settle()
		if r := o.Run(); r != nil {
			if r.Item.Family != schema.FamilyIncident {
				t.Fatalf("the run is %+v", r)
			}
			o.Play("MANAGER_COMPLETE")
		}
	}
	it := wantTarget(t, o, schema.StateBlocked, schema.VerdictGaps, schema.StallRepeated)
	if r := o.Run(); r != nil || len(incidents(o)) != 1 {
		t.Fatalf("the run is %+v", r)
	}
	// Work that ends afterwards is what the judge was lacking.
	o.Admit(controllertest.Task("late", "root_spec_id: root"))
	o.Play("BUILDER_COMPLETE")
	if r := o.Run(); r == nil || r.Item != it.Key() {
		t.Errorf("the run is %+v", r)
	}
	if text := content(t, o, workspace.RequestDir(o.Run().ID, o.Run().Request)+"/prompt.md"); !strings.Contains(text, "task late") || !strings.Contains(text, ", new") {
		t.Errorf("the prompt is\n%s", text)
	}
}
