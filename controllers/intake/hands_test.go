package intake

import (
	"strings"
	"testing"

	"millrace/schema"
	"millrace/workspace"
)

// foreign puts a file into a lifecycle folder by hand.
func (w *world) foreign(path, text string) workspace.Hand {
	w.disk[path] = []byte(text)
	doc, diags := w.registry.ParseStored("task", path, []byte(text))
	state := strings.Split(path, "/")[1]
	id := strings.TrimSuffix(strings.Split(path, "/")[2], ".md")
	return workspace.Hand{What: workspace.HandForeign, Key: key(id), Path: path, State: state,
		Digest: schema.DigestOf([]byte(text)), Doc: doc, Diags: diags}
}

func (w *world) handMove(id, state string) {
	from := w.item(id).Path
	to := "tasks/" + state + "/" + id + ".md"
	w.disk[to] = w.disk[from]
	delete(w.disk, from)
	w.hands = []workspace.Hand{{What: workspace.HandMoved, Key: key(id), Path: to, Was: from, State: state, Digest: w.item(id).Document}}
}

func TestMovedByHand(t *testing.T) {
	t.Run("blocked to queue", func(t *testing.T) {
		w := admitted(t, schema.StateBlocked)
		w.handMove("a", schema.StateQueue)
		w.reconcile()
		if it := w.want("a", schema.StateQueue, 1); it.Blocked != nil || it.Counters != nil {
			t.Errorf("still carries %+v", it)
		}
	})
	t.Run("queue to cancelled", func(t *testing.T) {
		w := admitted(t, schema.StateQueue)
		w.handMove("a", schema.StateCancelled)
		w.reconcile()
		if it := w.want("a", schema.StateCancelled, 1); it.EndedBy != "hand" {
			t.Errorf("ended by %q", it.EndedBy)
		}
	})
	t.Run("done to queue", func(t *testing.T) {
		w := admitted(t, schema.StateDone)
		w.handMove("a", schema.StateQueue)
		w.reconcile()
		w.want("a", schema.StateQueue, 2)
	})
	t.Run("done to blocked", func(t *testing.T) {
		w := admitted(t, schema.StateDone)
		w.handMove("a", schema.StateBlocked)
		w.reconcile()
		if it := w.want("a", schema.StateBlocked, 1); it.EndedBy != "" || it.Blocked == nil {
			t.Errorf("it is %+v", it)
		}
		w.check()
	})
	t.Run("queue to active goes back", func(t *testing.T) {
		w := admitted(t, schema.StateQueue)
		w.handMove("a", schema.StateActive)
		p := New().Reconcile(w.view())
		w.apply(p.Mutation)
		w.hands = nil
		w.reconcile()
		w.want("a", schema.StateQueue, 1)
		w.check()
	})
	t.Run("active is only shown", func(t *testing.T) {
		w := admitted(t, schema.StateActive)
		w.handMove("a", schema.StateQueue)
		before := w.commits
		w.reconcile()
		if w.commits != before {
			t.Error("the move of an active document was adopted")
		}
	})
}

func TestEditedByHand(t *testing.T) {
	edit := func(w *world, text string) {
		it := w.item("a")
		w.disk[it.Path] = []byte(text)
		doc, diags := w.registry.ParseStored("task", it.Path, []byte(text))
		w.hands = []workspace.Hand{{What: workspace.HandEdited, Key: key("a"), Path: it.Path, State: it.State,
			Digest: schema.DigestOf([]byte(text)), Doc: doc, Diags: diags}}
	}
	t.Run("with a declaration", func(t *testing.T) {
		w := admitted(t, schema.StateQueue)
		was := w.document("a")
		edit(w, task("a", "Scribbled"))
		w.apply(New().Reconcile(w.asking()).Mutation)
		w.hands = nil
		w.check()
		w.want("a", schema.StateQueue, 1)
		if w.document("a") != was {
			t.Errorf("the document is\n%s", w.document("a"))
		}
		kept := false
		for p, data := range w.disk {
			kept = kept || strings.HasPrefix(p, workspace.ForeignDir+"/") && strings.Contains(string(data), "Scribbled")
		}
		if !kept {
			t.Error("the edit is lost")
		}
	})
	t.Run("without", func(t *testing.T) {
		w := newWorld(t)
		w.hands = []workspace.Hand{w.foreign("tasks/queue/a.md", task("a", "By hand"))}
		w.reconcile()
		edit(w, task("a", "Better", "Priority: 3"))
		w.reconcile()
		if it := w.want("a", schema.StateQueue, 2); it.Title != "Better" || it.Priority != 3 {
			t.Errorf("adopted as %+v", it)
		}
	})
	t.Run("active is only shown", func(t *testing.T) {
		w := admitted(t, schema.StateActive)
		edit(w, task("a", "Scribbled"))
		if p := New().Reconcile(w.view()); p.Mutation != nil {
			t.Errorf("proposed %s", p.Mutation.Why)
		}
	})
}

// asking answers what the controller wants to observe and returns the view with the answers.
func (w *world) asking() *workspace.View {
	for _, q := range New().Reconcile(w.view()).Observe {
		w.asked[q] = w.answer(q)
	}
	return w.view()
}

func TestDeletedDocumentIsRestored(t *testing.T) {
	for _, state := range []string{schema.StateQueue, schema.StateActive, schema.StateDone} {
		w := admitted(t, state)
		it := w.item("a")
		was := w.document("a")
		delete(w.disk, it.Path)
		w.hands = []workspace.Hand{{What: workspace.HandDeleted, Key: key("a"), Path: it.Path, Was: it.Path, State: state}}
		w.apply(New().Reconcile(w.asking()).Mutation)
		if w.document("a") != was {
			t.Errorf("%s: restored as\n%s", state, w.document("a"))
		}
		w.hands = nil
		w.check()
	}
}

func TestForeign(t *testing.T) {
	t.Run("valid is adopted as it is", func(t *testing.T) {
		w := newWorld(t)
		text := task("a", "By hand")
		w.hands = []workspace.Hand{w.foreign("tasks/queue/a.md", text)}
		w.reconcile()
		it := w.want("a", schema.StateQueue, 1)
		if it.Source != "foreign" || it.Declared != nil || w.document("a") != text {
			t.Errorf("adopted as %+v", it)
		}
	})
	t.Run("an id that is done is refused", func(t *testing.T) {
		w := admitted(t, schema.StateDone)
		w.hands = []workspace.Hand{w.foreign("tasks/queue/a.md", task("a", "Again"))}
		before := w.commits
		w.reconcile()
		if w.commits != before {
			t.Error("an id is both queued and done")
		}
	})
	for name, path := range map[string]string{"invalid": "tasks/queue/b.md", "not claimable": "tasks/done/b.md"} {
		t.Run(name+" is only shown", func(t *testing.T) {
			w := newWorld(t)
			text := task("b", "B")
			if name == "invalid" {
				text = "# B\n"
			}
			w.hands = []workspace.Hand{w.foreign(path, text)}
			w.reconcile()
			if len(w.state.Items) != 0 {
				t.Error("it was adopted")
			}
		})
	}
}

func TestAgentsAreNotOperators(t *testing.T) {
	t.Run("what appears while a stage writes is marked", func(t *testing.T) {
		w := admitted(t, schema.StateActive)
		w.drop("tasks/b.md", task("b", "B"))
		w.reconcile()
		if it := w.want("b", schema.StateQueue, 1); it.During != w.item("a").Run {
			t.Errorf("during is %q", it.During)
		}
	})
	t.Run("an edit then does not requeue a blocked item", func(t *testing.T) {
		w := admitted(t, schema.StateBlocked)
		w.put("keep", schema.StateActive)
		w.drop("tasks/a.md", task("a", "Second"))
		w.reconcile()
		w.want("a", schema.StateBlocked, 1)
		if h := w.state.Control.Held["intake/tasks/a.md"]; h.During == "" {
			t.Fatal("that it is held is not recorded")
		}
		w.put("keep", schema.StateDone)
		w.now = w.now.Add(long)
		w.reconcile()
		w.want("a", schema.StateBlocked, 1) // the end of the run makes it no one else's
		w.orders("a", Hold, "intake accept")
		w.declare("a", true)
		w.reconcile()
		w.want("a", schema.StateQueue, 2)
		if len(w.state.Control.Held) != 0 {
			t.Error("it is still recorded as held")
		}
	})
	t.Run("unless it is accepted by command", func(t *testing.T) {
		w := admitted(t, schema.StateBlocked)
		w.put("keep", schema.StateActive)
		w.drop("tasks/a.md", task("a", "Second"))
		w.reconcile()
		c := w.state.Control.Clone()
		c.Accepted = map[string]schema.Digest{"intake/tasks/a.md": schema.DigestOf([]byte(w.declared["intake/tasks/a.md"]))}
		m := &workspace.Mutation{By: "test"}
		m.PutControl(c)
		w.apply(m)
		w.reconcile()
		w.want("a", schema.StateQueue, 2)
	})
	t.Run("taken back, it is forgotten", func(t *testing.T) {
		w := admitted(t, schema.StateBlocked)
		was := w.declared["intake/tasks/a.md"]
		w.put("keep", schema.StateActive)
		w.drop("tasks/a.md", task("a", "Second"))
		w.reconcile()
		w.drop("tasks/a.md", was)
		w.reconcile()
		if len(w.state.Control.Held) != 0 {
			t.Error("it is still recorded as held")
		}
	})
}
