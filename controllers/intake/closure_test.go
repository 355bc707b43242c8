package intake

import (
	"strings"
	"testing"

	"millrace/schema"
	"millrace/workspace"
)

const rootSpec = "kind: spec\nspec_id: r\ntitle: %\ngoals: [g]\nacceptance: [a]\n"

func spec(title string) string { return strings.ReplaceAll(rootSpec, "%", title) }

var rootKey = schema.Key{Family: "spec", ID: "r"}

// opened is a world with a declared root spec that has been claimed, its target open.
func opened(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.drop("specs/r.yaml", spec("First"))
	w.reconcile()
	m, v := &workspace.Mutation{By: "test"}, w.view()
	m.OpenTarget(v, v.Items[rootKey], map[string][]byte{workspace.ContractSpec: []byte("as it was")})
	w.apply(m)
	w.now = w.now.Add(long)
	return w
}

// closed is that world when root and target have ended.
func closed(t *testing.T, state string) *world {
	t.Helper()
	w := opened(t)
	m, v := &workspace.Mutation{By: "test"}, w.view()
	m.Complete(v, v.Items[rootKey].Clone())
	target := v.Target("r").Clone()
	target.EndedBy = "run"
	m.MoveItem(v, target, state)
	w.apply(m)
	return w
}

func (w *world) root() *schema.Item { return w.state.Items[rootKey] }

func TestRootOfAnOpenTargetStaysAsItIs(t *testing.T) {
	for _, state := range []string{schema.StateQueue, schema.StateActive, schema.StateBlocked, schema.StateDone} {
		t.Run(state, func(t *testing.T) {
			w := opened(t)
			m, v := &workspace.Mutation{By: "test"}, w.view()
			switch it := v.Items[rootKey].Clone(); state {
			case schema.StateBlocked:
				m.Block(v, it, schema.Blocked{Class: "x"})
			case schema.StateDone:
				m.Complete(v, it)
			case schema.StateActive:
				m.MoveItem(v, it, state)
			}
			if len(m.Ops) > 0 {
				w.apply(m)
			}
			w.drop("specs/r.yaml", spec("Second"))
			before := w.commits
			w.reconcile()
			if a := Decide(w.view(), rootKey); a.Do != Outdated || !strings.Contains(a.Why, "closure target is open") {
				t.Errorf("the table orders %+v", a)
			}
			if it := w.root(); w.commits != before || it.State != state || it.Title != "First" || it.Declared.Pending != "" {
				t.Errorf("it is %+v after %d commits", it, w.commits-before)
			}
		})
	}
	t.Run("by hand", func(t *testing.T) {
		w := opened(t)
		it := w.root()
		text := strings.Replace(string(w.disk[it.Path]), "First", "Second", 1)
		w.disk[it.Path] = []byte(text)
		doc, _ := w.registry.ParseStored("spec", it.Path, []byte(text))
		w.hands = []workspace.Hand{{What: workspace.HandEdited, Key: rootKey, Path: it.Path, State: it.State, Digest: schema.DigestOf([]byte(text)), Doc: doc}}
		w.apply(New().Reconcile(w.asking()).Mutation)
		if w.hands = nil; strings.Contains(string(w.disk[it.Path]), "Second") {
			t.Error("the edit is applied")
		}
		w.check()
	})
}

func TestRootClosed(t *testing.T) {
	late := task("late", "Late", "Root-Spec-ID: r")
	for state, word := range map[string]string{schema.StateDone: "judged and closed", schema.StateCancelled: "abandoned"} {
		t.Run(state, func(t *testing.T) {
			w := closed(t, state)
			w.drop("tasks/late.md", late)
			w.reconcile()
			if w.state.Items[key("late")] != nil {
				t.Fatal("it is admitted")
			}
			w.orders("late", Reject, "root_closed: its root r was "+word)
			w.hands = []workspace.Hand{w.foreign("tasks/queue/other.md", task("other", "Other", "Root-Spec-ID: r"))}
			before := w.commits
			if w.reconcile(); w.commits != before || w.state.Items[key("other")] != nil {
				t.Error("what was put there by hand is adopted")
			}
			if what, _ := w.view().Words(w.hands[0]); !strings.Contains(what, "root_closed") {
				t.Errorf("it is said: %s", what)
			}
			w.hands = nil
			delete(w.disk, "tasks/queue/other.md")
			m := &workspace.Mutation{By: "queue"}
			if !m.ReopenRoot(w.view(), "r", "operator", "late") {
				t.Fatal("it is not reopened")
			}
			w.apply(m)
			w.reconcile()
			w.want("late", schema.StateQueue, 1)
			w.check()
		})
	}
	t.Run("back into the queue by hand", func(t *testing.T) {
		w := opened(t)
		w.drop("tasks/a.md", task("a", "A", "Root-Spec-ID: r"))
		w.reconcile()
		m, v := &workspace.Mutation{By: "test"}, w.view()
		for _, k := range []schema.Key{key("a"), rootKey, workspace.TargetKey("r")} {
			m.Complete(v, v.Items[k].Clone())
		}
		w.apply(m)
		w.handMove("a", schema.StateQueue)
		w.apply(New().Reconcile(w.view()).Mutation)
		w.hands = nil
		w.want("a", schema.StateDone, 1)
		w.check()
	})
	t.Run("pruned and back", func(t *testing.T) {
		w := opened(t)
		w.drop("tasks/a.md", task("a", "A", "Root-Spec-ID: r"))
		w.reconcile()
		m, v := &workspace.Mutation{By: "test"}, w.view()
		m.CancelItem(v, v.Items[key("a")].Clone(), byPrune, "")
		for _, k := range []schema.Key{rootKey, workspace.TargetKey("r")} {
			m.Complete(v, v.Items[k].Clone())
		}
		w.apply(m)
		w.orders("a", Reject, "root_closed")
		w.drop("tasks/a.md", task("a", "Another", "Root-Spec-ID: r"))
		w.orders("a", Reject, "root_closed")
	})
	t.Run("its root spec comes back", func(t *testing.T) {
		w := opened(t)
		m, v := &workspace.Mutation{By: "test"}, w.view()
		m.CancelItem(v, v.Items[rootKey].Clone(), byPrune, "")
		m.CancelItem(v, v.Target("r").Clone(), "closure", "")
		w.apply(m)
		w.reconcile() // the declaration is there
		if it := w.root(); it.State != schema.StateQueue {
			t.Errorf("it is %+v", it)
		}
		w.drop("tasks/late.md", late)
		w.reconcile()
		w.want("late", schema.StateQueue, 1)
		w.check()
	})
}

const targetText = `kind: closure_target
closure_target_id: q
title: Mine
root_spec_id: q
generation: 1
rubric_path: a
verdict_path: b
report_path: c
contract_paths: [d]
`

func TestNobodyDropsClosureTargets(t *testing.T) {
	w := opened(t)
	w.drop("q.yaml", targetText)
	w.reconcile()
	k := workspace.TargetKey("q")
	if a := Decide(w.view(), k); a.Do != Reject || !strings.Contains(a.Why, "declare a spec") || w.state.Items[k] != nil {
		t.Errorf("the table orders %+v", a)
	}
	w.drop("q.yaml", "")
	at := "arbiter/targets/queue/q.json"
	w.disk[at] = w.disk[w.state.Target("r").Path]
	doc, _ := w.registry.ParseStored(schema.FamilyTarget, at, []byte(targetText))
	w.hands = []workspace.Hand{{What: workspace.HandForeign, Key: k, Path: at, State: schema.StateQueue, Digest: schema.DigestOf(w.disk[at]), Doc: doc}}
	if p := New().Reconcile(w.asking()); p.Mutation != nil {
		t.Errorf("it proposes %s", p.Mutation.Why)
	}
	if what, repair := w.view().Words(w.hands[0]); !strings.Contains(what, "declare a spec") || repair != "move it away" {
		t.Errorf("it is said: %s: %s", what, repair)
	}
}

func TestHandsOnATarget(t *testing.T) {
	t.Run("moved", func(t *testing.T) {
		w := opened(t)
		it := w.state.Target("r")
		to := "arbiter/targets/done/r.json"
		w.disk[to] = w.disk[it.Path]
		delete(w.disk, it.Path)
		w.hands = []workspace.Hand{{What: workspace.HandMoved, Key: it.Key(), Path: to, Was: it.Path, State: schema.StateDone, Digest: it.Document}}
		w.apply(New().Reconcile(w.view()).Mutation)
		if w.hands = nil; w.state.Target("r").State != schema.StateOpen || w.disk[it.Path] == nil {
			t.Errorf("target is %+v", w.state.Target("r"))
		}
		w.check()
	})
	t.Run("edited", func(t *testing.T) {
		w := opened(t)
		it := w.state.Target("r")
		was := string(w.disk[it.Path])
		w.disk[it.Path] = []byte("{}")
		w.hands = []workspace.Hand{{What: workspace.HandEdited, Key: it.Key(), Path: it.Path, State: it.State, Digest: schema.DigestOf([]byte("{}"))}}
		w.apply(New().Reconcile(w.asking()).Mutation)
		if w.hands = nil; string(w.disk[it.Path]) != was {
			t.Errorf("document is %s", w.disk[it.Path])
		}
		w.check()
	})
}
