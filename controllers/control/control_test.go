package control

import (
	"reflect"
	"testing"
	"time"

	"millrace/reconcile"
	"millrace/schema"
	"millrace/workspace"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

type bench struct {
	t      *testing.T
	state  *workspace.State
	now    time.Time
	daemon string
	git    workspace.GitFacts
	intake workspace.Intake
	plan   *schema.Plan
	older  map[schema.Digest]*schema.Plan
	events []string
}

func newBench(t *testing.T) *bench {
	return &bench{t: t, state: workspace.NewState(), now: start,
		intake: workspace.Intake{Complete: true, Files: map[string]*workspace.IntakeFile{}},
		plan: &schema.Plan{
			Runners: map[string]*schema.Runner{"codex": {Name: "codex", Adapter: "codex"}},
			Stages:  map[string]*schema.StageKind{"hammer": {ID: "hammer", WritesTree: true}},
			Graphs:  map[string]*schema.Graph{"execution": {Nodes: map[string]*schema.Node{"hammer": {Stage: "hammer"}}}},
		}}
}

func (b *bench) propose() reconcile.Proposal {
	b.t.Helper()
	in := b.intake
	v := &workspace.View{State: b.state, Now: b.now, Daemon: b.daemon, Git: b.git, Intake: &in,
		Plans: func(d schema.Digest) *schema.Plan {
			if p := b.older[d]; p != nil {
				return p
			}
			return b.plan
		}}
	p, again := New().Reconcile(v), New().Reconcile(v)
	if !reflect.DeepEqual(p, again) {
		b.t.Fatal("the same view gave two proposals")
	}
	return p
}

// reconcile commits until nothing is proposed; it returns the last proposal, or the one that stops.
func (b *bench) reconcile() reconcile.Proposal {
	b.t.Helper()
	for range 10 {
		p := b.propose()
		if p.Mutation == nil {
			return p
		}
		b.commit(p.Mutation)
		if p.Stop {
			return p
		}
	}
	b.t.Fatal("no fixpoint")
	return reconcile.Proposal{}
}

func (b *bench) commit(m *workspace.Mutation) {
	b.t.Helper()
	rec := &workspace.Record{Seq: b.state.Seq + 1, Time: b.now, By: m.By, Ops: m.Ops}
	if err := b.state.Fold(rec, func(op *workspace.Op) ([]byte, error) { return op.Content(), nil }); err != nil {
		b.t.Fatal(err)
	}
	for _, e := range m.Events {
		b.events = append(b.events, e.Type)
	}
}

func (b *bench) set(change func(*schema.Control)) {
	c := b.state.Control.Clone()
	change(c)
	m := &workspace.Mutation{By: "test"}
	m.PutControl(c)
	b.commit(m)
}

func (b *bench) run(request string) {
	m := &workspace.Mutation{By: "test"}
	m.PutRun(&schema.Run{ID: "run-1", Item: schema.Key{Family: "task", ID: "a"}, State: schema.RunRunning, Plane: "execution", Node: "hammer", Request: request})
	m.PutItem(&schema.Item{Family: "task", ID: "a", State: schema.StateActive, Run: "run-1"})
	b.commit(m)
}

const declaration = "intake/control/pause.yaml"

// declare writes the control declaration; "" removes it.
func (b *bench) declare(content string, doc *schema.Document) {
	b.intake.Control = nil
	delete(b.intake.Files, declaration)
	if content == "" {
		return
	}
	d := schema.DigestOf([]byte(content))
	b.intake.Files[declaration] = &workspace.IntakeFile{Path: declaration, Digest: d, Changed: b.now}
	if doc == nil {
		b.intake.Files[declaration].Unparsed = true
		return
	}
	b.intake.Control = []workspace.Declared{{Path: declaration, File: d, Doc: doc}}
}

func paused(paused bool, reason string) *schema.Document {
	return &schema.Document{Kind: schema.KindControl, Fields: map[string]any{"paused": paused, "reason": reason}}
}

func TestDaemonStartIsRecordedOnce(t *testing.T) {
	b := newBench(t)
	b.set(func(c *schema.Control) { c.Stop = &schema.Stop{Daemon: "daemon-1"} })
	if b.propose().Mutation != nil {
		t.Error("a command does the daemon's bookkeeping")
	}
	b.daemon = "daemon-2"
	b.git = workspace.GitFacts{Repository: true, Branch: "main"}
	b.reconcile()
	c := b.state.Control
	if c.Daemon != "daemon-2" || c.Stop != nil || c.Head == nil || c.Head.Branch != "main" {
		t.Errorf("control is %+v", c)
	}
	if b.state.Seq != 2 {
		t.Errorf("%d commits for a start", b.state.Seq-1)
	}
}

func TestStopIsObeyedOnce(t *testing.T) {
	b := newBench(t)
	b.daemon = "daemon-1"
	b.reconcile()
	b.set(func(c *schema.Control) { c.Stop = &schema.Stop{Daemon: "daemon-1", Reason: "lunch"} })
	if p := b.reconcile(); !p.Stop || b.state.Control.Stop != nil {
		t.Fatalf("proposal %+v, control %+v", p, b.state.Control)
	}
	b.daemon = "daemon-2" // the next start does something
	if p := b.reconcile(); p.Stop {
		t.Error("a spent stop stops again")
	}
	b.set(func(c *schema.Control) { c.Stop = &schema.Stop{Daemon: "daemon-1"} })
	if p := b.reconcile(); p.Stop || b.state.Control.Stop != nil {
		t.Error("another daemon's stop is not dropped")
	}
}

func TestStopCancelsStagesFirst(t *testing.T) {
	b := newBench(t)
	b.daemon = "daemon-1"
	b.reconcile()
	b.run("req-1")
	b.set(func(c *schema.Control) { c.Stop = &schema.Stop{Daemon: "daemon-1", Reason: "lunch", Cancel: true} })
	if p := b.reconcile(); p.Stop || b.state.Control.Stop == nil {
		t.Fatal("it stops before its stages have ended")
	}
	it := b.state.Items[schema.Key{Family: "task", ID: "a"}]
	if c := it.Cancel; c == nil || !c.Now || c.To != schema.StateQueue {
		t.Fatalf("cancel is %+v", c)
	}
	b.run("") // its completion has been applied
	if p := b.reconcile(); !p.Stop || b.state.Control.Stop != nil {
		t.Error("it does not stop when they have")
	}
}

func TestDeclaredPauseFollowsItsDeclaration(t *testing.T) {
	b := newBench(t)
	b.declare("v1", paused(true, "holidays"))
	b.reconcile()
	p := b.state.Control.Pauses["declared"]
	if p.By != declaration || p.Reason != "holidays" || !p.Since.Equal(start) {
		t.Fatalf("pause is %+v", p)
	}
	b.now = b.now.Add(time.Hour)
	b.declare("v2", paused(true, "long holidays"))
	b.reconcile()
	if p := b.state.Control.Pauses["declared"]; p.Reason != "long holidays" || !p.Since.Equal(start) {
		t.Errorf("pause is %+v", p)
	}
	b.declare("broken", nil)
	b.reconcile()
	if _, on := b.state.Control.Pauses["declared"]; !on {
		t.Error("a broken declaration ends the pause")
	}
	b.declare("v3", paused(false, ""))
	b.reconcile()
	if _, on := b.state.Control.Pauses["declared"]; on {
		t.Error("paused: false does not end the pause")
	}
	b.declare("v1", paused(true, ""))
	b.reconcile()
	b.declare("", nil)
	b.intake.Complete = false
	b.reconcile()
	if _, on := b.state.Control.Pauses["declared"]; !on {
		t.Error("ended before everything was read")
	}
	b.intake.Complete = true
	b.reconcile()
	if _, on := b.state.Control.Pauses["declared"]; on {
		t.Error("the removal does not end the pause")
	}
}

func TestTwoControlDeclarationsChangeNothing(t *testing.T) {
	b := newBench(t)
	b.declare("v1", paused(true, ""))
	b.intake.Control = append(b.intake.Control, workspace.Declared{Path: "intake/other.yaml", Doc: paused(false, "")})
	if p := b.propose(); p.Mutation != nil {
		t.Errorf("proposed %s", p.Mutation.Why)
	}
}

func TestAgentsDoNotControl(t *testing.T) {
	b := newBench(t)
	b.declare("v1", paused(true, "review first"))
	b.reconcile()
	b.now = b.now.Add(time.Hour)
	b.run("req-1")
	b.declare("v2", paused(false, ""))
	b.reconcile()
	if _, on := b.state.Control.Pauses["declared"]; !on || b.state.Control.Held[declaration].During != "run-1" {
		t.Fatalf("control is %+v", b.state.Control)
	}
	b.declare("", nil) // nor by removing the file
	b.reconcile()
	if _, on := b.state.Control.Pauses["declared"]; !on {
		t.Fatal("an agent removes the pause")
	}
	b.declare("v2", paused(false, ""))
	b.git.Committed = map[string]schema.Digest{declaration: schema.DigestOf([]byte("v2"))}
	b.reconcile()
	if c := b.state.Control; len(c.Pauses) != 0 || len(c.Held) != 0 {
		t.Errorf("committed, control is %+v", c)
	}
}

func TestRunnerWaits(t *testing.T) {
	b := newBench(t)
	b.set(func(c *schema.Control) {
		c.Runners = map[string]schema.RunnerWait{"codex": {Class: schema.FailNetwork, Until: start.Add(time.Minute), Attempts: 1,
			Config: workspace.RunnerSettings(b.plan, "codex")}}
	})
	if p := b.propose(); p.Mutation != nil || p.After != time.Minute {
		t.Errorf("proposal %+v", p)
	}
	b.now = start.Add(2 * time.Minute) // over, but remembered: a backoff goes on where it was
	if p := b.reconcile(); p.After <= 0 || b.state.Control.Runners["codex"].Attempts != 1 {
		t.Errorf("proposal %+v", p)
	}
	b.now = start.Add(time.Hour)
	if p := b.reconcile(); p.After != 0 || len(b.state.Control.Runners) != 0 {
		t.Errorf("control is %+v", b.state.Control)
	}

	b.set(func(c *schema.Control) {
		c.Runners = map[string]schema.RunnerWait{"codex": {Class: schema.FailAuth, Stalled: true, Config: workspace.RunnerSettings(b.plan, "codex")}}
	})
	if p := b.propose(); p.Mutation != nil || p.After != 0 {
		t.Errorf("a stalled runner is let go: %+v", p)
	}
	b.plan.Runners["codex"].Model = "other"
	b.reconcile()
	if len(b.state.Control.Runners) != 0 {
		t.Error("its configuration changed, and it is still stalled")
	}
}

// A run keeps the settings of its plan: to lift the wait for it would be to start it again and again
// with the settings that failed.
func TestAStallLastsWhileARunHasTheSettingsThatFailed(t *testing.T) {
	b := newBench(t)
	graphs := map[string]*schema.Graph{"execution": {Nodes: map[string]*schema.Node{"hammer": {Stage: "hammer", Runner: "codex"}}}}
	b.plan.Graphs = graphs
	b.older = map[schema.Digest]*schema.Plan{"old": {Graphs: graphs, Runners: map[string]*schema.Runner{"codex": {Name: "codex", Model: "old"}}}}
	b.set(func(c *schema.Control) {
		c.Plan = "new"
		c.Runners = map[string]schema.RunnerWait{"codex": {Class: schema.FailAuth, Stalled: true, Config: workspace.RunnerSettings(b.older["old"], "codex")}}
	})
	parked := func(state string) {
		m := &workspace.Mutation{By: "test"}
		m.PutRun(&schema.Run{ID: "run-1", Item: schema.Key{Family: "task", ID: "a"}, Plan: "old", State: state, Plane: "execution", Node: "hammer"})
		b.commit(m)
	}
	parked(schema.RunParked)
	if p := b.propose(); p.Mutation != nil {
		t.Fatalf("the runner is let go for a run that fails again: %s", p.Mutation.Why)
	}
	parked(schema.RunEnded)
	b.reconcile()
	if len(b.state.Control.Runners) != 0 {
		t.Error("nobody has the settings that failed, and the runner is still stalled")
	}
}

func TestBranchIsRemembered(t *testing.T) {
	b := newBench(t)
	b.git = workspace.GitFacts{Repository: true, Branch: "main"}
	b.reconcile()
	b.now = b.now.Add(time.Hour)
	b.git = workspace.GitFacts{Repository: true, Branch: "feature", Busy: "rebase"}
	b.reconcile()
	if h := b.state.Control.Head; h.Branch != "main" {
		t.Error("a branch is believed while git works")
	}
	b.git.Busy = ""
	b.reconcile()
	if h := b.state.Control.Head; h.Branch != "feature" || h.Before != "main" || !h.Since.Equal(b.now) {
		t.Errorf("head is %+v", h)
	}
}
