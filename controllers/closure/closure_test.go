package closure_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"millrace/controllers/closure"
	"millrace/controllers/controllertest"
	"millrace/controllers/dispatch"
	"millrace/controllers/recovery"
	"millrace/controllers/result"
	"millrace/schema"
	"millrace/workspace"
)

var judged = map[string]string{"modes/test.cue": controllertest.Judged}

func world(t *testing.T) *controllertest.World {
	t.Helper()
	return controllertest.T(t, judged, result.New(), recovery.New(), closure.New(), dispatch.New())
}

func task(id, root string) string {
	if root == "" {
		return controllertest.Task(id)
	}
	return controllertest.Task(id, "root_spec_id: "+root)
}

// target is the closure target of a root, in the state that the test wants.
func target(t *testing.T, o *controllertest.World, root, state string) *schema.Item {
	t.Helper()
	it := o.Seen.Target(root)
	if it == nil || it.State != state {
		t.Fatalf("the target of %s is %+v, want it %s", root, it, state)
	}
	return it
}

// begun has a root spec with two tasks, planned, its target open.
func begun(t *testing.T) *controllertest.World {
	t.Helper()
	o := world(t)
	o.Admit(controllertest.Spec("r"))
	o.Settle()
	o.Admit(task("a", "r"))
	o.Admit(task("b", "r"))
	o.Play("MANAGER_COMPLETE")
	return o
}

func TestTargetFromClaimToVerdict(t *testing.T) {
	o := world(t)
	o.Admit(controllertest.Spec("r"))
	o.Settle()
	it := target(t, o, "r", schema.StateOpen)
	if o.Item("spec", "r").EndedSeq != 0 || it.Generation != 1 || it.Path != "arbiter/targets/open/r.json" || !o.Saw(workspace.EvOpened) {
		t.Fatalf("target is %+v", it)
	}
	contract, err := os.ReadFile(o.Path("arbiter/contracts/r@1.md"))
	if err != nil || schema.DigestOf(contract) != o.Item("spec", "r").Document || it.Closure.Contract[0].Digest != schema.DigestOf(contract) {
		t.Fatalf("contract is %q (%v), the target says %+v", contract, err, it.Closure.Contract)
	}
	o.Admit(task("a", "r"))
	o.Play("MANAGER_COMPLETE")
	target(t, o, "r", schema.StateOpen)
	o.Play("BUILDER_COMPLETE")
	target(t, o, "r", schema.StateActive)
	if r := o.Run(); r.Node != "arbiter" {
		t.Fatalf("run is %+v", r)
	}
	if got := o.Play("REMEDIATION_NEEDED"); got[0] != "arbiter" {
		t.Fatal(got)
	}
	o.Play("ARBITER_COMPLETE") // nothing has come of it: it is ready again
	if it := target(t, o, "r", schema.StateDone); it.EndedBy != "run" || o.Seen.OpenTarget() != nil {
		t.Errorf("target is %+v", it)
	}
	if whys := o.Settle(); len(whys) > 0 {
		t.Errorf("it went on: %q", whys)
	}
}

func TestOtherRootsWait(t *testing.T) {
	o := world(t)
	o.Admit(controllertest.Spec("r"))
	o.Settle()
	o.Admit(task("a", "r") + "---\n" + task("alone", "") + "---\n" + controllertest.Spec("s") + "---\n" + task("b", "s"))
	o.Admit("kind: learning_request\nlearning_request_id: l\ntitle: Learn\n")
	o.Settle()
	if r := o.RunIn("learning"); r == nil || r.Item.ID != "l" {
		t.Fatalf("learning is held: %+v", r)
	}
	o.CompleteRun(o.RunIn("planning"), "MANAGER_COMPLETE")
	o.Settle()
	if r := o.RunIn("execution"); r == nil || r.Item.ID != "a" {
		t.Fatalf("execution has %+v", r)
	}
	v := o.View(o.Seen)
	for _, k := range []schema.Key{{Family: "task", ID: "alone"}, {Family: "task", ID: "b"}, {Family: "spec", ID: "s"}} {
		w := v.Waiting(k)
		if w == nil || w.Reason != workspace.WaitClosure || !strings.Contains(w.Message, "target of r ") || !strings.Contains(w.ClearedBy, "millrace closure abandon r") {
			t.Errorf("%s waits for %+v", k, w)
		}
	}
	if w := v.Waiting(workspace.TargetKey("r")); w == nil || w.Reason != workspace.WaitLineage || !strings.Contains(w.Message, "task/a is active") {
		t.Errorf("the target waits for %+v", w)
	}
	if w := v.Idle("planning"); w == nil || w.Reason != workspace.WaitClosure {
		t.Errorf("planning waits for %+v", w)
	}
	o.CompleteRun(o.RunIn("execution"), "BUILDER_COMPLETE")
	o.Settle()
	o.CompleteRun(o.RunIn("planning"), "ARBITER_COMPLETE")
	o.Settle()
	if r := o.RunIn("planning"); r == nil || r.Item.ID != "s" {
		t.Fatalf("planning has %+v", r)
	}
	if got := target(t, o, "s", schema.StateOpen); got.Lineage.RootSpecID != "s" {
		t.Errorf("target is %+v", got)
	}
}

// Work of an open root that needs work of another one waits for ever: that is said wherever somebody looks.
func TestFaultRootsWaitForEachOtherInSilence(t *testing.T) {
	o := begun(t)
	o.Admit(task("other", "s"))
	o.Admit(controllertest.Task("c", "root_spec_id: r", "depends_on: [other]") + "---\n" + controllertest.Task("d", "root_spec_id: r", "depends_on: [c]"))
	o.Settle()
	v := o.View(o.Seen)
	if w := v.Waiting(workspace.TargetKey("r")); w == nil || w.Stalled || !strings.Contains(w.Message, "task/c is queued and needs other") {
		t.Errorf("while others are at work, the target waits for %+v", w)
	}
	o.Play("BUILDER_COMPLETE", "BUILDER_COMPLETE")
	v = o.View(o.Seen)
	for _, k := range []schema.Key{{Family: "task", ID: "c"}, workspace.TargetKey("r")} {
		w := v.Waiting(k)
		if w == nil || !w.Stalled || !strings.Contains(w.Message, "needs other, which is not begun before the closure target of r has ended") ||
			!strings.Contains(w.ClearedBy, "other taken out of the dependencies of c") || !strings.Contains(w.ClearedBy, "millrace closure abandon r") {
			t.Errorf("%s waits for %+v", k, w)
		}
	}
	if w := v.Waiting(schema.Key{Family: "task", ID: "d"}); w == nil || w.Stalled || !strings.Contains(w.Message, "needs c") {
		t.Errorf("d waits for %+v", w)
	}
	if whys := o.Settle(); len(whys) > 0 {
		t.Errorf("it went on: %q", whys)
	}
}

// A blocked task whose incident is at work is nothing that somebody must clear.
func TestWorkThatIsPlannedAnewIsNotStuck(t *testing.T) {
	o := begun(t)
	o.Admit("kind: incident\nincident_id: i\ntitle: Look\nroot_spec_id: r\n")
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test", Why: "escalate"}
		it := v.Items[schema.Key{Family: "task", ID: "b"}].Clone()
		it.Raised = "i"
		m.Block(v, it, schema.Blocked{Class: schema.ClassEscalate, Message: "plan again"})
		return m
	})
	if w := o.View(o.Seen).Waiting(workspace.TargetKey("r")); w == nil || w.Stalled || strings.Contains(w.ClearedBy, "retry-blocked") {
		t.Errorf("the target waits for %+v", w)
	}
}

// Execution goes before planning while a target is open: what is planned is finished first.
func TestOrderWhileATargetIsOpen(t *testing.T) {
	o := begun(t)
	o.Admit("kind: incident\nincident_id: i\ntitle: Look\nroot_spec_id: r\n")
	o.Play("BUILDER_COMPLETE")
	if r := o.Run(); r.Item.ID != "b" {
		t.Fatalf("run is %+v", r)
	}
	if w := o.View(o.Seen).Waiting(schema.Key{Family: "incident", ID: "i"}); w == nil || w.Reason != workspace.WaitExclusive {
		t.Errorf("the incident waits for %+v", w)
	}
	o.Play("BUILDER_COMPLETE", "MANAGER_COMPLETE")
	target(t, o, "r", schema.StateActive)
}

func TestReadyIsTakenBack(t *testing.T) {
	o := begun(t)
	o.Controllers = o.Controllers[:3] // nothing starts
	o.Play("BUILDER_COMPLETE")
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test"}
		m.CancelItem(v, v.Items[schema.Key{Family: "task", ID: "b"}].Clone(), "command", "")
		return m
	})
	o.Settle()
	target(t, o, "r", schema.StateQueue)
	o.Admit(task("c", "r"))
	o.Settle()
	target(t, o, "r", schema.StateOpen)
}

func TestStalledUntilLineageWorkEnds(t *testing.T) {
	o := begun(t)
	o.Play("BUILDER_COMPLETE", "BUILDER_COMPLETE", "BLOCKED")
	it := target(t, o, "r", schema.StateBlocked)
	if it.Closure.Stalled != o.Seen.Seq {
		t.Fatalf("stalled by record %d, the last is %d", it.Closure.Stalled, o.Seen.Seq)
	}
	o.Admit(task("alone", ""))
	if whys := o.Settle(); len(whys) > 0 {
		t.Fatalf("it did %q", whys)
	}
	if w := o.View(o.Seen).Waiting(schema.Key{Family: "task", ID: "alone"}); w == nil || !w.Stalled || !strings.Contains(w.ClearedBy, "millrace closure retry r") {
		t.Errorf("alone waits for %+v", w)
	}
	if w := o.View(o.Seen).Idle("planning"); w == nil || w.Reason != workspace.WaitBlocked {
		t.Errorf("planning waits for %+v", w)
	}
	o.Admit(task("c", "r"))
	o.Settle()
	target(t, o, "r", schema.StateBlocked)
	o.Play("BLOCKED")
	target(t, o, "r", schema.StateBlocked) // blocked is not ended
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test"}
		m.Requeue(v, v.Items[schema.Key{Family: "task", ID: "c"}].Clone(), schema.Note{By: "operator", What: "requeued"}, true)
		return m
	})
	o.Play("BUILDER_COMPLETE")
	if !o.Saw(workspace.EvReady) || o.Saw(workspace.EvReturned) {
		t.Errorf("it is ready, and was told as %q", o.Told())
	}
	o.Play("ARBITER_COMPLETE")
	target(t, o, "r", schema.StateDone)
}

func end(o *controllertest.World, k schema.Key) {
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test"}
		m.CancelItem(v, v.Items[k].Clone(), "command", "not wanted")
		return m
	})
}

func TestCancelledRootIsAbandoned(t *testing.T) {
	o := world(t)
	o.Admit(controllertest.Spec("r"))
	o.Settle()
	const many = 3*workspace.MaxAbandoned + 1
	for i := range many {
		o.Admit(task(fmt.Sprintf("t%03d", i), "r"))
	}
	o.Admit(task("alone", ""))
	o.Play("BLOCKED") // the spec
	o.Settle()
	first := o.Run().Item.ID
	end(o, schema.Key{Family: "spec", ID: "r"})
	commits := len(o.Settle())
	if commits > many/workspace.MaxAbandoned+2 {
		t.Errorf("it took %d commits", commits)
	}
	if it := target(t, o, "r", schema.StateOpen); !workspace.Abandoned(it) {
		t.Errorf("target is %+v", it)
	}
	if r := o.Run(); r.Item.ID != first || o.Task(first).Cancel == nil {
		t.Fatalf("run is %+v", r)
	}
	if whys := o.Settle(); len(whys) > 0 {
		t.Errorf("it went on: %q", whys)
	}
	o.Play("BLOCKED")
	it := target(t, o, "r", schema.StateCancelled)
	if it.Closure.Verdict != schema.VerdictAbandoned || it.EndedBy == "" {
		t.Errorf("target is %+v", it.Closure)
	}
	if n := o.Seen.Count("task", schema.StateCancelled); n != many {
		t.Errorf("%d tasks are cancelled", n)
	}
	if r := o.Run(); r == nil || r.Item.ID != "alone" {
		t.Errorf("then runs %+v", r)
	}
}

// A judgement under way is ended at once when nobody wants it any more.
func TestAbandonedWhileItIsJudged(t *testing.T) {
	o := begun(t)
	o.Play("BUILDER_COMPLETE", "BUILDER_COMPLETE")
	r := o.Run()
	o.Requests = map[string]*workspace.RequestSeen{r.Request: {Alive: true, Started: true}}
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test"}
		if !m.Abandon(v, v.Target("r"), "command", "enough") {
			t.Error("nothing is done")
		}
		return m
	})
	o.Settle()
	if _, err := os.Stat(o.Path(o.Request(r) + "/" + schema.CancelFile)); err != nil {
		t.Fatal(err)
	}
	o.Fail(schema.FailCancelled)
	o.Settle()
	it := target(t, o, "r", schema.StateCancelled)
	if it.Closure.Verdict != schema.VerdictAbandoned || it.EndedBy != "command" || o.Run() != nil {
		t.Errorf("target is %+v", it)
	}
}

func TestIdeasAreCopied(t *testing.T) {
	o := world(t)
	o.Do(func(*workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test"}
		m.PutFile("ideas/x@1.md", "", []byte("# X\n\nIdea-ID: x\nTitle: X\n"))
		return m
	})
	o.Admit(controllertest.Spec("idea-x", "root_idea_id: x"))
	o.Settle()
	data, err := os.ReadFile(o.Path("arbiter/contracts/idea-x@1.idea.md"))
	if err != nil || !strings.Contains(string(data), "Idea-ID: x") {
		t.Fatalf("%q, %v", data, err)
	}
	if it := target(t, o, "idea-x", schema.StateOpen); len(it.Closure.Contract) != 2 || it.Lineage.RootIdeaID != "x" {
		t.Errorf("target is %+v", it)
	}
	doc, err := os.ReadFile(o.Path("arbiter/targets/open/idea-x.json"))
	if err != nil || !strings.Contains(string(doc), `"arbiter/verdicts/idea-x@1-1.json"`) || !strings.Contains(string(doc), `"root_idea_id": "x"`) {
		t.Errorf("%s, %v", doc, err)
	}
}

// An idea that is not kept is no reason to hold a spec back: the spec says what is wanted.
func TestClaimWithoutAnIdea(t *testing.T) {
	o := world(t)
	o.Admit(controllertest.Spec("r", "root_idea_id: nowhere"))
	o.Settle()
	it := target(t, o, "r", schema.StateOpen)
	if len(it.Closure.Contract) != 1 || len(it.Notes) != 1 || !strings.Contains(it.Notes[0].Why, "nowhere") {
		t.Errorf("target is %+v", it)
	}
}

func TestReopenedRoot(t *testing.T) {
	o := begun(t)
	o.Play("BUILDER_COMPLETE", "BUILDER_COMPLETE", "ARBITER_COMPLETE")
	if v := o.View(o.Seen); v.ClosedFor("task", "late", schema.Lineage{RootSpecID: "r"}) == nil {
		t.Fatal("work of a closed root is welcome")
	}
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test"}
		if !m.ReopenRoot(v, "r", "operator", "for task/late") {
			t.Error("it is not reopened")
		}
		return m
	})
	if v := o.View(o.Seen); v.ClosedFor("task", "late", schema.Lineage{RootSpecID: "r"}) != nil {
		t.Fatal("work of a reopened root is refused")
	}
	o.Admit(task("late", "r"))
	o.Settle()
	it := target(t, o, "r", schema.StateOpen)
	if it.Generation != 2 || it.Closure.Reopened != "for task/late" || it.Closure.Reopen != "" || it.Closure.Contract[0].Path != "arbiter/contracts/r@2.md" {
		t.Errorf("target is %+v, %+v", it, it.Closure)
	}
	if _, err := os.Stat(o.Path("arbiter/targets/closed/r.json")); !os.IsNotExist(err) {
		t.Errorf("the closed one is still there: %v", err)
	}
	o.Play("BUILDER_COMPLETE", "ARBITER_COMPLETE")
	target(t, o, "r", schema.StateDone)
}

// A wish waits until no other target is open: there is one at a time.
func TestReopenedRootWaitsForTheOpenOne(t *testing.T) {
	o := begun(t)
	o.Play("BUILDER_COMPLETE", "BUILDER_COMPLETE", "ARBITER_COMPLETE")
	o.Admit(controllertest.Spec("s"))
	o.Settle()
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test"}
		m.ReopenRoot(v, "r", "operator", "")
		return m
	})
	o.Admit(task("late", "r"))
	o.Play("MANAGER_COMPLETE", "ARBITER_COMPLETE")
	target(t, o, "r", schema.StateOpen)
	if r := o.Run(); r.Item.ID != "late" {
		t.Errorf("run is %+v", r)
	}
}

// A root spec that is to be done again opens its next generation when it is claimed.
func TestRootSpecDoneAgain(t *testing.T) {
	o := begun(t)
	o.Play("BUILDER_COMPLETE", "BUILDER_COMPLETE", "ARBITER_COMPLETE")
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test"}
		it := v.Items[schema.Key{Family: "spec", ID: "r"}].Clone()
		it.Generation++
		m.Requeue(v, it, schema.Note{By: "operator", What: "reopened"}, true)
		return m
	})
	o.Settle()
	if it := target(t, o, "r", schema.StateOpen); it.Generation != 2 || it.Attempts != 1 {
		t.Errorf("target is %+v", it)
	}
}

// Without anybody who judges nothing is opened, and nothing held.
func TestPlanThatDoesNotClose(t *testing.T) {
	mode := controllertest.Judged
	for _, judge := range []string{
		`, closure_target: "arbiter"`, `, "closure_target"`,
		"\t\tarbiter: on: {ARBITER_COMPLETE: \"judged\", REMEDIATION_NEEDED: \"again\", BLOCKED: \"blocked\"}\n",
		"\t\tjudged: {class: \"success\", state: \"done\"}\n", "\t\tagain: {class: \"followup_needed\", state: \"open\", effects: []}\n",
	} {
		mode = strings.Replace(mode, judge, "", 1)
	}
	o := controllertest.T(t, map[string]string{"modes/test.cue": mode}, result.New(), closure.New(), dispatch.New())
	o.Admit(controllertest.Spec("r"))
	o.Admit(task("alone", ""))
	o.Play("MANAGER_COMPLETE")
	if o.Seen.Target("r") != nil || o.Run() == nil || o.Run().Item.ID != "alone" {
		t.Fatalf("target is %+v, run %+v", o.Seen.Target("r"), o.Run())
	}
	o.Play("BUILDER_COMPLETE")
	o.Freeze(judged) // now there is somebody: what was done is judged
	o.Settle()
	if it := target(t, o, "r", schema.StateActive); it.Generation != 1 {
		t.Errorf("target is %+v", it)
	}
}

// An idle round costs the same however many roots and items there are.
func TestIdleRoundsDoNotGrow(t *testing.T) {
	measure := func(n int) time.Duration {
		s := workspace.NewState()
		s.Control.Plan = "sha256:p"
		put := func(it *schema.Item) {
			it.Path, it.Generation = it.Family+"/"+it.State+"/"+it.ID, 1
			s.SetItem(it)
		}
		for i := range n {
			root := fmt.Sprintf("r%d", i)
			l := schema.Lineage{RootSpecID: root}
			put(&schema.Item{Family: "spec", ID: root, State: schema.StateDone, EndedBy: "run", EndedSeq: uint64(i + 1), Lineage: l})
			put(&schema.Item{Family: schema.FamilyTarget, ID: root, State: schema.StateDone, EndedBy: "run", Lineage: l, Closure: &schema.Closure{}})
			put(&schema.Item{Family: "learning_request", ID: root, State: schema.StateQueue, Lineage: schema.Lineage{RootSpecID: "now"}})
			put(&schema.Item{Family: "task", ID: root, State: schema.StateDone, EndedBy: "run", EndedSeq: uint64(i + 1), Lineage: schema.Lineage{RootSpecID: "now"}})
		}
		put(&schema.Item{Family: "task", ID: "left", State: schema.StateBlocked, Lineage: schema.Lineage{RootSpecID: "now"}})
		put(&schema.Item{Family: schema.FamilyTarget, ID: "now", State: schema.StateBlocked, Lineage: schema.Lineage{RootSpecID: "now"}, Closure: &schema.Closure{Stalled: uint64(n + 1)}})
		o := world(t)
		v := o.View(s)
		c := closure.New()
		c.Reconcile(v)
		begin := time.Now()
		for range 200 {
			if p := c.Reconcile(v); p.Mutation != nil {
				t.Fatalf("it proposes %s", p.Mutation.Why)
			}
		}
		return time.Since(begin)
	}
	few, many := measure(50), measure(5000)
	if many > 20*few+50*time.Millisecond {
		t.Errorf("200 rounds took %v with 50 roots and %v with 5000", few, many)
	}
}
