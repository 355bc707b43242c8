package plan

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"millrace/schema"
	"millrace/workspace"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// a bench holds a state and what the inputs compile to.
type bench struct {
	t     *testing.T
	state *workspace.State
	git   workspace.GitFacts
	c     workspace.Compiled
}

func newBench(t *testing.T) *bench { return &bench{t: t, state: workspace.NewState()} }

const config = "millrace.cue"

// write gives the configuration other bytes, which compile to another plan.
func (b *bench) write(text string) {
	d := schema.DigestOf([]byte(text))
	b.c = workspace.Compiled{
		Ready: true, Bytes: []byte(`{"plan":"` + text + `"}`), Read: map[string]schema.Digest{config: d},
		Plan: &schema.Plan{SchemaVersion: 1, Mode: "mode-" + text, Inputs: map[string]schema.Digest{config: d},
			Stages: map[string]*schema.StageKind{"hammer": {ID: "hammer", WritesTree: true}, "look": {ID: "look"}},
			Graphs: map[string]*schema.Graph{"execution": {Nodes: map[string]*schema.Node{"hammer": {Stage: "hammer"}, "look": {Stage: "look"}}}}},
	}
	b.c.Digest = schema.DigestOf(b.c.Bytes)
	if b.state.Control.Plan != "" && b.state.Control.Plan != b.c.Digest {
		b.c.Changed = []string{config}
	}
}

func (b *bench) propose() *workspace.Mutation {
	b.t.Helper()
	v := &workspace.View{State: b.state, Now: now, Compiled: b.c, Git: b.git,
		Plans: func(schema.Digest) *schema.Plan { return b.c.Plan }}
	p, again := New().Reconcile(v), New().Reconcile(v)
	if !reflect.DeepEqual(p, again) {
		b.t.Fatal("the same view gave two proposals")
	}
	return p.Mutation
}

// reconcile commits until nothing is proposed and says how often.
func (b *bench) reconcile() int {
	b.t.Helper()
	for n := range 10 {
		m := b.propose()
		if m == nil {
			return n
		}
		b.commit(m)
	}
	b.t.Fatal("no fixpoint")
	return 0
}

func (b *bench) commit(m *workspace.Mutation) {
	b.t.Helper()
	rec := &workspace.Record{Seq: b.state.Seq + 1, Time: now, By: m.By, Ops: m.Ops}
	if err := b.state.Fold(rec, func(op *workspace.Op) ([]byte, error) { return op.Content(), nil }); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) run(node string) {
	m := &workspace.Mutation{By: "test"}
	m.PutRun(&schema.Run{ID: "run-1", State: schema.RunRunning, Plane: "execution", Node: node, Request: "req-1"})
	b.commit(m)
}

func (b *bench) endRun() {
	m := &workspace.Mutation{By: "test"}
	m.PutRun(&schema.Run{ID: "run-1", State: schema.RunEnded})
	b.commit(m)
}

func (b *bench) current(text string) bool { return b.state.Control.Mode == "mode-"+text }

func TestWhatCompilesBecomesCurrent(t *testing.T) {
	b := newBench(t)
	if b.propose() != nil {
		t.Error("proposed before anything was observed")
	}
	b.write("one")
	m := b.propose()
	if m == nil || !slices.Equal(m.Expect, []workspace.Input{{Path: config, Digest: b.c.Read[config]}}) {
		t.Fatalf("proposed %+v", m)
	}
	written := map[string]string{}
	for i := range m.Ops {
		written[m.Ops[i].Path] = string(m.Ops[i].Content())
	}
	if written[workspace.PlanPath(b.c.Digest)] != string(b.c.Bytes) || written[workspace.PlanFile] != string(b.c.Bytes) {
		t.Errorf("wrote %v", written)
	}
	if len(m.Events) != 1 || m.Events[0].Type != workspace.EvPlan {
		t.Errorf("tells %+v", m.Events)
	}
	if b.reconcile() != 1 || b.state.Control.Plan != b.c.Digest || !b.current("one") {
		t.Errorf("control is %+v", b.state.Control)
	}
	b.write("two")
	if b.reconcile() != 1 || !b.current("two") {
		t.Errorf("control is %+v", b.state.Control)
	}
}

func TestWhatDoesNotCompileChangesNothing(t *testing.T) {
	b := newBench(t)
	b.write("one")
	b.reconcile()
	b.c = workspace.Compiled{Ready: true, Changed: []string{config}, Diags: schema.Diagnostics{{Severity: schema.Error, Path: config, Message: "broken"}}}
	if n := b.reconcile(); n != 0 || !b.current("one") {
		t.Errorf("%d commits for a plan that does not compile", n)
	}
}

func TestChangeDuringAStageIsHeld(t *testing.T) {
	held := func(t *testing.T) *bench {
		b := newBench(t)
		b.write("one")
		b.reconcile()
		b.run("hammer")
		b.write("two")
		if n := b.reconcile(); n != 1 || !b.current("one") {
			t.Fatalf("%d commits, mode %s", n, b.state.Control.Mode)
		}
		if h := b.state.Control.Held[config]; h.During != "run-1" || h.Digest != b.c.Read[config] || !h.Since.Equal(now) {
			t.Fatalf("held as %+v", h)
		}
		b.endRun()
		if n := b.reconcile(); n != 0 || !b.current("one") {
			t.Fatal("the end of the run releases it")
		}
		return b
	}
	released := func(t *testing.T, b *bench, text string) {
		t.Helper()
		b.reconcile()
		if c := b.state.Control; !b.current(text) || len(c.Held) != 0 || len(c.Accepted) != 0 {
			t.Errorf("control is %+v", c)
		}
	}
	t.Run("until it is committed", func(t *testing.T) {
		b := held(t)
		b.git.Committed = map[string]schema.Digest{config: b.c.Read[config]}
		released(t, b, "two")
	})
	t.Run("until it is accepted", func(t *testing.T) {
		b := held(t)
		c := b.state.Control.Clone()
		c.Accepted = map[string]schema.Digest{config: b.c.Read[config]}
		m := &workspace.Mutation{By: "test"}
		m.PutControl(c)
		b.commit(m)
		released(t, b, "two")
	})
	t.Run("until it is taken back", func(t *testing.T) {
		b := held(t)
		b.write("one")
		released(t, b, "one")
	})
	t.Run("and so are further changes of it", func(t *testing.T) {
		b := held(t)
		b.write("three")
		if n := b.reconcile(); n != 1 || !b.current("one") || b.state.Control.Held[config].Digest != b.c.Read[config] {
			t.Errorf("held as %+v", b.state.Control.Held)
		}
	})
	t.Run("but not by a stage that writes nothing", func(t *testing.T) {
		b := newBench(t)
		b.write("one")
		b.reconcile()
		b.run("look")
		b.write("two")
		released(t, b, "two")
	})
}
