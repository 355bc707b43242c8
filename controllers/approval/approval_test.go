package approval

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"millrace/controllers/controllertest"
	"millrace/controllers/dispatch"
	"millrace/controllers/result"
	"millrace/schema"
	"millrace/workspace"
)

// press is a graph with two approvals: to print leads back to the typist when it is denied, to ship ends the item.
var press = map[string]string{
	"modes/test.cue": `package millrace

modes: test: {
	graphs: execution: "press"
	runner: "fake"
	runners: fake: {adapter: "command", run: ["true"]}
}
`,
	"graphs/press.cue": `package millrace

graphs: press: {
	plane: "execution"
	entry: task: "typist"
	nodes: {
		typist: on: {
			TYPED: {to: "printer", counter: "typed", limit: 2, then: "stuck", approval: {capability: "print", reason: "paper costs money", denied: "typist"}}
			BLOCKED: "stuck"
		}
		printer: on: {
			PRINTED: {to: "courier", approval: {capability: "ship", reason: "it leaves the house", denied: "stuck"}}
			SMUDGED: {to: "typist", counter: "smudges", limit: 2, then: "stuck"}
			BLOCKED: "stuck"
		}
		courier: on: {SHIPPED: "gone", BLOCKED: "stuck"}
	}
	ends: {
		gone:  {class: "success", state: "done"}
		stuck: {class: "blocked", state: "blocked"}
	}
}
`,
	"stages/press.cue": `package millrace

stages: typist: {plane: "execution", owns: ["task"], outcomes: TYPED: ["success"], entrypoint: "entrypoints/press.md", skill: "skills/press/SKILL.md"}
stages: printer: {plane: "execution", owns: ["task"], outcomes: {PRINTED: ["success"], SMUDGED: ["followup_needed"]},
	entrypoint: "entrypoints/press.md", skill: "skills/press/SKILL.md", writes_workspace: true}
stages: courier: {plane: "execution", owns: ["task"], outcomes: SHIPPED: ["success"], entrypoint: "entrypoints/press.md", skill: "skills/press/SKILL.md"}
`,
	"entrypoints/press.md":  "# Press\n",
	"skills/press/SKILL.md": "# Press\n",
}

type world struct {
	*controllertest.World
	t *testing.T
}

func newWorld(t *testing.T) *world {
	t.Helper()
	o := &world{controllertest.T(t, press, result.New(), New(), dispatch.New()), t}
	o.Intake = &workspace.Intake{Complete: true, Files: map[string]*workspace.IntakeFile{}}
	return o
}

// declare puts a decision into intake/, in a file of its own.
func (o *world) declare(file, id, decision string) {
	o.t.Helper()
	name := "intake/approvals/" + file
	fields := map[string]any{"approval": id, "decision": decision, "reason": "because of " + file, "by": "nora"}
	digest := schema.DigestOf([]byte(file + id + decision))
	d := workspace.Declared{Key: schema.Key{Family: schema.KindApproval, ID: id}, Path: name, File: digest,
		Doc: &schema.Document{Kind: schema.KindApproval, ID: id, Fields: fields}}
	text := []byte(file + id + decision)
	check(o.t, os.MkdirAll(filepath.Dir(o.Path(name)), 0o777))
	check(o.t, os.WriteFile(o.Path(name), text, 0o666))
	o.Intake.Approval = slices.DeleteFunc(o.Intake.Approval, func(d workspace.Declared) bool { return d.Path == name })
	o.Intake.Approval = append(o.Intake.Approval, d)
	o.Intake.Files[name] = &workspace.IntakeFile{Path: name, Digest: digest, Docs: []workspace.Declared{d}, Changed: o.Now}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// asked is the approval that the only run waits for, as the file says it.
func (o *world) asked() *schema.Pending {
	o.t.Helper()
	r := o.Run()
	if r == nil || r.Approval == nil || r.State != schema.RunParked || r.Request != "" {
		o.t.Fatalf("nothing is asked: %+v", r)
	}
	data, err := os.ReadFile(o.Path(workspace.PendingPath(r.Approval.ID)))
	check(o.t, err)
	p := new(schema.Pending)
	check(o.t, json.Unmarshal(data, p))
	if p.ID != r.Approval.ID || p.Item != r.Item || p.Plan != r.Plan || p.Ruling != nil {
		o.t.Fatalf("the file says %+v", p)
	}
	return p
}

// resolved is what became of an approval, as the file says it; it is pending no more.
func (o *world) resolved(p *schema.Pending) schema.Ruling {
	o.t.Helper()
	if _, err := os.Stat(o.Path(workspace.PendingPath(p.ID))); !errors.Is(err, fs.ErrNotExist) {
		o.t.Errorf("%s is still pending: %v", p.ID, err)
	}
	data, err := os.ReadFile(o.Path(workspace.ResolvedPath(p)))
	check(o.t, err)
	kept := new(schema.Pending)
	check(o.t, json.Unmarshal(data, kept))
	if kept.Ruling == nil {
		o.t.Fatalf("%s is kept without a ruling", p.ID)
	}
	return *kept.Ruling
}

// node is where the only run has a stage at work.
func (o *world) node() string {
	o.t.Helper()
	r := o.Run()
	if r == nil || r.Request == "" {
		o.t.Fatalf("no stage is at work: %+v", r)
	}
	return r.Node
}

func TestFaultApprovalDoesNotWait(t *testing.T) {
	o := newWorld(t)
	o.Admit(controllertest.Task("a"))
	o.Play("TYPED")
	p := o.asked()
	if p.Node != "printer" || p.After != "typist" || p.Capability != "print" || p.Reason != "paper costs money" || p.Denied != "typist" ||
		!strings.HasPrefix(p.ID, "a/printer/print/") {
		t.Errorf("asks %+v", p)
	}
	if !o.Saw(workspace.EvAsked) {
		t.Error("no event tells of it")
	}
	v := o.View(o.Seen)
	if w := v.Waiting(p.Item); w == nil || w.Reason != workspace.WaitApproval || !w.Stalled || !strings.Contains(w.ClearedBy, "millrace approvals approve "+p.ID) {
		t.Errorf("it waits for %+v", w)
	}

	o.declare("other.yaml", "b/printer/print/000000000000", schema.DecisionApprove)
	if done := o.Settle(); len(done) > 0 {
		t.Errorf("what nobody asked for did %q", done)
	}
	o.declare("a.yaml", p.ID, schema.DecisionApprove)
	o.Settle()
	if o.node() != "printer" {
		t.Errorf("it is at %s", o.node())
	}
	if r := o.resolved(p); r.Decision != schema.DecisionApprove || r.By != "nora" || r.Reason != "because of a.yaml" || r.Declared != "intake/approvals/a.yaml" || r.At.IsZero() {
		t.Errorf("resolved as %+v", r)
	}
	if why := o.Run().Steps[0].Why; !strings.Contains(why, "approved by nora") {
		t.Errorf("the trace says %q", why)
	}
}

func TestFaultRetryAsksAgain(t *testing.T) {
	o := newWorld(t)
	o.Admit(controllertest.Task("a"))
	o.Play("TYPED")
	p := o.asked()
	o.declare("a.yaml", p.ID, schema.DecisionApprove)
	o.Play("SMUDGED") // back to the typist, and through the same edge again
	delete(o.Intake.Files, "intake/approvals/a.yaml")
	o.Intake.Approval = nil
	o.Play("TYPED")
	if o.node() != "printer" {
		t.Fatalf("the same is asked again: %+v", o.Run().Approval)
	}
	o.Play("BLOCKED")
	o.retry("a")
	o.Play("TYPED")
	if o.node() != "printer" {
		t.Errorf("a retry asks again: %+v", o.Run().Approval)
	}
}

func (o *world) retry(id string) {
	o.t.Helper()
	it := o.Want(id, schema.StateBlocked, "")
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test", Why: "retry"}
		m.Requeue(v, it.Clone(), schema.Note{By: "command", What: "retried", Why: "test"}, true)
		return m
	})
	o.Settle()
}

func TestDenialTakesItsEdge(t *testing.T) {
	o := newWorld(t)
	o.Admit(controllertest.Task("a"))
	o.Play("TYPED")
	p := o.asked()
	o.declare("a.yaml", p.ID, schema.DecisionDeny)
	o.Settle()
	if o.node() != "typist" {
		t.Fatalf("denied, it is at %s", o.node())
	}
	if s := o.Run().Steps[0]; s.To != "typist" || !strings.Contains(s.Why, "denied by nora → typist") {
		t.Errorf("the trace says %+v", s)
	}
	if r := o.resolved(p); r.Decision != schema.DecisionDeny {
		t.Errorf("resolved as %+v", r)
	}
	o.Play("TYPED") // what was denied stays so: nobody is asked twice
	if o.node() != "typist" || o.Run().Approval != nil {
		t.Fatalf("it is at %s", o.node())
	}
	o.Play("TYPED") // and the budget ends it
	o.Want("a", schema.StateBlocked, "")

	o.retry("a") // an operator vouches for it: it is asked anew, and the declaration still says no
	delete(o.Intake.Files, "intake/approvals/a.yaml")
	o.Intake.Approval = nil
	o.Play("TYPED")
	again := o.asked()
	if again.ID != p.ID {
		t.Errorf("the same question is called %s and %s", p.ID, again.ID)
	}
	o.declare("b.yaml", p.ID, schema.DecisionApprove)
	o.Settle()
	o.resolved(again)
	o.resolved(p) // the first answer is kept beside it
}

func TestDeniedEndBlocksTheItem(t *testing.T) {
	o := newWorld(t)
	o.Admit(controllertest.Task("a"))
	o.Play("TYPED")
	o.declare("print.yaml", o.asked().ID, schema.DecisionApprove)
	o.Play("PRINTED")
	p := o.asked()
	o.accept("ship.yaml", p.ID, schema.DecisionDeny)
	o.Settle()
	it := o.Want("a", schema.StateBlocked, schema.FailApprovalDenied)
	if b := it.Blocked; b.Node != "printer" || b.Message != "ship was denied by nora: because of ship.yaml" {
		t.Errorf("blocked by %+v", b)
	}
	if w := o.View(o.Seen).Waiting(it.Key()); !strings.HasPrefix(w.ClearedBy, "decision: approve in intake/approvals/ship.yaml, then ") {
		t.Errorf("cleared by %s", w.ClearedBy)
	}
	if c := o.Seen.Control; len(c.Held)+len(c.Accepted) > 0 {
		t.Errorf("control remembers %+v %+v", c.Held, c.Accepted)
	}
}

// accept declares a decision that an operator has vouched for.
func (o *world) accept(file, id, decision string) {
	o.t.Helper()
	o.declare(file, id, decision)
	name := "intake/approvals/" + file
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test", Why: "accept"}
		c := v.Control.Clone()
		c.Accepted = map[string]schema.Digest{name: o.Intake.Files[name].Digest}
		delete(c.Held, name)
		m.PutControl(c)
		return m
	})
}

// A parked run whose stages have not touched the tree leaves its lane to others; one that has keeps it.
func TestParkedRunsAndLanes(t *testing.T) {
	o := newWorld(t)
	o.Admit(controllertest.Task("a") + "---\n" + controllertest.Task("b"))
	o.Play("TYPED")
	p := o.askedFor("a")
	o.Settle()
	if len(o.Seen.Lanes()) != 1 || len(o.Seen.ActiveRuns()) != 2 {
		t.Fatalf("a waits for its approval alone: %+v", o.Seen.Lanes())
	}
	b := o.Seen.Runs[o.Task("b").Run]
	o.CompleteRun(b, "BLOCKED")
	o.declare("a.yaml", p.ID, schema.DecisionApprove)
	o.Settle()
	o.Admit(controllertest.Task("c"))
	o.Play("PRINTED")
	if len(o.Seen.ActiveRuns()) != 1 || o.asked().Capability != "ship" {
		t.Fatal("the printer's change is unfinished, and its lane was given away")
	}
	w := o.View(o.Seen).Waiting(o.Task("c").Key())
	if w == nil || w.Reason != workspace.WaitLane || !w.Stalled || !strings.Contains(w.ClearedBy, "millrace approvals approve a/courier/ship/") {
		t.Errorf("c waits for %+v", w)
	}
}

func (o *world) askedFor(id string) *schema.Pending {
	o.t.Helper()
	r := o.Seen.Runs[o.Task(id).Run]
	if r == nil || r.Approval == nil {
		o.t.Fatalf("nothing is asked for %s: %+v", id, r)
	}
	return r.Approval
}

// TestFaultAgentApprovesItsOwnRequest: a decision that appears while a stage may write the workspace is held, also when
// it appears before anybody asks.
func TestFaultAgentApprovesItsOwnRequest(t *testing.T) {
	o := newWorld(t)
	o.Admit(controllertest.Task("a"))
	o.Play("TYPED")
	o.declare("print.yaml", o.asked().ID, schema.DecisionApprove)
	o.Settle()
	if o.node() != "printer" {
		t.Fatal("the printer should be at work")
	}
	r := o.Run()
	ship := o.Plan.Graphs["execution"].Nodes["printer"].On["PRINTED"].Approval
	id := schema.ApprovalID(r.Item, r.Generation, r.Plane, "courier", ship.Capability, ship)
	o.declare("mine.yaml", id, schema.DecisionApprove)
	o.Settle()
	if h := o.Seen.Control.Held["intake/approvals/mine.yaml"]; h.During != r.ID {
		t.Fatalf("held is %+v", o.Seen.Control.Held)
	}
	o.Play("PRINTED")
	p := o.asked()
	if p.ID != id {
		t.Fatalf("asks %s, not %s", p.ID, id)
	}
	if w := o.View(o.Seen).Waiting(p.Item); !strings.Contains(w.ClearedBy, "millrace intake accept intake/approvals/mine.yaml") {
		t.Errorf("cleared by %s", w.ClearedBy)
	}
	o.accept("mine.yaml", id, schema.DecisionApprove)
	o.Settle()
	if o.node() != "courier" {
		t.Errorf("accepted, it is at %s", o.node())
	}
	if c := o.Seen.Control; len(c.Held)+len(c.Accepted) > 0 {
		t.Errorf("control remembers %+v %+v", c.Held, c.Accepted)
	}
}

func TestContradictionsRejectEachOther(t *testing.T) {
	o := newWorld(t)
	o.Admit(controllertest.Task("a"))
	o.Play("TYPED")
	p := o.asked()
	o.declare("one.yaml", p.ID, schema.DecisionApprove)
	o.declare("two.yaml", p.ID, schema.DecisionDeny)
	if done := o.Settle(); len(done) > 0 || o.Run().Approval == nil {
		t.Fatalf("it did %q", done)
	}
	w := o.View(o.Seen).Waiting(p.Item)
	if !strings.Contains(w.Message, "one.yaml says approve") || !strings.Contains(w.Message, "two.yaml says deny") {
		t.Errorf("it waits: %s", w.Message)
	}
	o.declare("two.yaml", p.ID, schema.DecisionApprove)
	o.Settle()
	if o.node() != "printer" {
		t.Error("two that agree are one")
	}
}

func TestEndedRunAsksNoMore(t *testing.T) {
	o := newWorld(t)
	o.Admit(controllertest.Task("a"))
	o.Play("TYPED")
	p := o.asked()
	o.Do(func(v *workspace.View) *workspace.Mutation {
		it := v.Items[p.Item].Clone()
		it.Cancel = &schema.Cancel{By: "command", Why: "not now", At: v.Now, To: schema.StateCancelled}
		m := &workspace.Mutation{By: "test", Why: "cancel"}
		m.PutItem(it)
		return m
	})
	o.declare("late.yaml", p.ID, schema.DecisionApprove)
	o.Settle()
	o.Want("a", schema.StateCancelled, "")
	if r := o.resolved(p); r.Decision != schema.DecisionWithdrawn || r.By != "result" {
		t.Errorf("resolved as %+v", r)
	}
}
