package intake

import (
	"strings"
	"testing"
	"time"

	"millrace/schema"
	"millrace/workspace"
)

const long = time.Minute // longer than any settle time

// admitted is a world with one admitted task in the given state; the clock has moved on.
func admitted(t *testing.T, state string) *world {
	t.Helper()
	w := newWorld(t)
	w.drop("tasks/keep.md", task("keep", "Stays"))
	w.drop("tasks/a.md", task("a", "First"))
	w.reconcile()
	switch state {
	case schema.StateBlocked, schema.StateDone:
		w.put("a", schema.StateActive)
		w.put("a", state)
	case schema.StateActive, schema.StateCancelled:
		w.put("a", state)
	}
	w.now = w.now.Add(long)
	return w
}

func (w *world) want(id, state string, generation int) *schema.Item {
	w.t.Helper()
	it := w.item(id)
	if it.State != state || it.Generation != generation {
		w.t.Fatalf("%s is %s, generation %d; want %s, generation %d", id, it.State, it.Generation, state, generation)
	}
	if want := "tasks/" + state + "/" + id + ".md"; it.Path != want {
		w.t.Fatalf("%s lies at %s, want %s", id, it.Path, want)
	}
	return it
}

func (w *world) document(id string) string { return string(w.disk[w.item(id).Path]) }

func (w *world) orders(id string, do Do, why string) {
	w.t.Helper()
	a := Decide(w.view(), key(id))
	if a.Do != do || !strings.Contains(a.Why, why) {
		w.t.Fatalf("the table orders %q (%s) for %s; want %q with %q", a.Do, a.Why, id, do, why)
	}
}

func TestAdmission(t *testing.T) {
	w := newWorld(t)
	w.git = workspace.GitFacts{Repository: true, Branch: "main"}
	w.drop("tasks/a.md", task("a", "First", "Priority: 7"))
	w.reconcile()
	it := w.want("a", schema.StateQueue, 1)
	if it.Priority != 7 || it.CreatedBy != "operator" || !it.CreatedAt.Equal(start) || it.Source != "declaration" {
		t.Errorf("admitted as %+v", it)
	}
	if d := it.Declared; d == nil || d.Path != "intake/tasks/a.md" || d.Branch != "main" || d.Digest == "" {
		t.Errorf("declared as %+v", it.Declared)
	}
	if doc := w.document("a"); !strings.HasPrefix(doc, "# First\n") || !strings.Contains(doc, "Created-By: operator") {
		t.Errorf("document is not canonical:\n%s", doc)
	}
	if !w.told(workspace.EvAdmitted) {
		t.Error("no event tells of the admission")
	}
	if w.commits != 2 { // the first made the world
		t.Errorf("%d commits for one admission", w.commits-1)
	}
}

func TestIdeaBecomesRootSpec(t *testing.T) {
	w := newWorld(t)
	w.drop("ideas/faster.md", "# Make it faster\n\nIt is slow.\n")
	w.reconcile()
	k := schema.Key{Family: "spec", ID: "idea-faster"}
	it := w.state.Items[k]
	if it == nil || it.Lineage.RootIdeaID != "faster" || it.Lineage.RootSpecID != "idea-faster" {
		t.Fatalf("the idea became %+v", it)
	}
	if !strings.Contains(string(w.disk["ideas/faster@1.md"]), "It is slow.") {
		t.Error("the idea's text is not kept")
	}
	w.drop("ideas/faster.md", "# Make it faster\n\nIt is very slow.\n")
	w.reconcile()
	if it := w.state.Items[k]; it.Generation != 2 || w.disk["ideas/faster@2.md"] == nil || w.disk["ideas/faster@1.md"] == nil {
		t.Errorf("the edited idea became %+v", it)
	}
}

func TestEdited(t *testing.T) {
	edit := task("a", "Second")
	t.Run("queued", func(t *testing.T) {
		w := admitted(t, schema.StateQueue)
		w.drop("tasks/a.md", edit)
		w.orders("a", Replace, "edited")
		w.reconcile()
		w.want("a", schema.StateQueue, 2)
		if !strings.HasPrefix(w.document("a"), "# Second\n") {
			t.Errorf("document is\n%s", w.document("a"))
		}
	})
	t.Run("active", func(t *testing.T) {
		w := admitted(t, schema.StateActive)
		w.drop("tasks/a.md", edit)
		w.reconcile()
		it := w.want("a", schema.StateActive, 1)
		if it.Declared.Pending == "" || !strings.HasPrefix(w.document("a"), "# First\n") {
			t.Fatalf("the edit does not wait: %+v", it.Declared)
		}
		w.orders("a", Outdated, "waits")
		first := it.Declared.Pending
		w.drop("tasks/a.md", task("a", "Third"))
		w.reconcile()
		if next := w.item("a").Declared.Pending; next == first {
			t.Error("a newer edit does not take the older one's place")
		}
		w.put("a", schema.StateQueue) // left active other than by completion
		w.reconcile()
		if it := w.want("a", schema.StateQueue, 2); it.Declared.Pending != "" || it.Title != "Third" {
			t.Errorf("the pending edit was not applied: %+v", it)
		}
	})
	t.Run("active, then completed", func(t *testing.T) {
		w := admitted(t, schema.StateActive)
		w.drop("tasks/a.md", edit)
		w.reconcile()
		w.put("a", schema.StateDone)
		w.reconcile()
		w.want("a", schema.StateDone, 1)
		w.orders("a", Outdated, "under another id")
	})
	t.Run("active, then blocked", func(t *testing.T) {
		w := admitted(t, schema.StateActive)
		w.drop("tasks/a.md", edit)
		w.declare("a", true) // by a person, though a stage runs
		w.reconcile()
		w.put("a", schema.StateBlocked)
		w.reconcile()
		w.want("a", schema.StateQueue, 2)
	})
	t.Run("active, and taken back", func(t *testing.T) {
		w := admitted(t, schema.StateActive)
		was := w.declared["intake/tasks/a.md"]
		w.drop("tasks/a.md", edit)
		w.reconcile()
		w.drop("tasks/a.md", was)
		w.reconcile()
		if it := w.want("a", schema.StateActive, 1); it.Declared.Pending != "" {
			t.Error("the edit still waits")
		}
	})
	t.Run("blocked", func(t *testing.T) {
		w := admitted(t, schema.StateBlocked)
		w.drop("tasks/a.md", edit)
		w.orders("a", Repair, "edited")
		w.reconcile()
		it := w.want("a", schema.StateQueue, 2)
		if it.Counters != nil || it.Blocked != nil {
			t.Errorf("counters or blocked metadata stay: %+v", it)
		}
		if n := len(it.Notes); n == 0 || it.Notes[n-1].By != "operator" {
			t.Errorf("the fix is not audited: %+v", it.Notes)
		}
	})
	for _, state := range []string{schema.StateDone, schema.StateCancelled} {
		t.Run(state, func(t *testing.T) {
			w := admitted(t, state)
			w.drop("tasks/a.md", edit)
			before := w.commits
			w.reconcile()
			w.want("a", state, 1)
			w.orders("a", Outdated, "nothing reruns")
			if w.commits != before {
				t.Error("an edit of an ended item's declaration changes state")
			}
		})
	}
}

// declare marks a task's declaration as committed to git as it is now.
func (w *world) declare(id string, committed bool) {
	p := "intake/tasks/" + id + ".md"
	if w.git.Committed == nil {
		w.git.Committed = map[string]schema.Digest{}
	}
	delete(w.git.Committed, p)
	if committed {
		w.git.Committed[p] = schema.DigestOf([]byte(w.declared[p]))
	}
}

func TestInvalidKeepsEverything(t *testing.T) {
	broken := map[string]string{"not a record": "no heading here\n\tat all: [", "invalid record": "# A\n\nTask-ID: a\n"}
	for name, text := range broken {
		for _, state := range []string{schema.StateQueue, schema.StateActive, schema.StateBlocked, schema.StateDone} {
			t.Run(name+", "+state, func(t *testing.T) {
				w := admitted(t, state)
				before := w.item("a")
				w.drop("tasks/a.md", text)
				w.reconcile()
				w.now = w.now.Add(long)
				w.reconcile()
				if w.item("a") != before {
					t.Errorf("the item changed: %+v", w.item("a"))
				}
				if !schema.Ended(state) {
					w.orders("a", Keep, "not valid")
				}
			})
		}
	}
}

func TestDisappears(t *testing.T) {
	gone := func(t *testing.T, state string) *world {
		w := admitted(t, state)
		w.drop("tasks/a.md", "")
		if after := w.reconcile(); !schema.Ended(state) && (after <= 0 || after > 5*time.Second) {
			t.Fatalf("the timer is %s, want the rest of prune_settle", after)
		}
		if !schema.Ended(state) {
			if it := w.item("a"); it.State != state || it.Declared.Absent == nil || !it.Declared.Absent.Equal(w.now) {
				t.Fatalf("the absence is not recorded: %+v", it)
			}
			w.orders("a", Hold, "cancelled at")
		}
		w.now = w.now.Add(5 * time.Second)
		w.reconcile()
		return w
	}
	for _, state := range []string{schema.StateQueue, schema.StateBlocked} {
		t.Run(state, func(t *testing.T) {
			w := gone(t, state)
			if it := w.want("a", schema.StateCancelled, 1); it.EndedBy != "prune" {
				t.Errorf("ended by %q", it.EndedBy)
			}
		})
	}
	t.Run("active", func(t *testing.T) {
		w := gone(t, schema.StateActive)
		it := w.want("a", schema.StateActive, 1)
		if c := it.Cancel; c == nil || c.By != "prune" || c.Now || c.To != schema.StateCancelled {
			t.Errorf("cancel is %+v", it.Cancel)
		}
	})
	t.Run("done", func(t *testing.T) {
		w := gone(t, schema.StateDone)
		w.want("a", schema.StateDone, 1)
	})
}

func TestComesBackEqual(t *testing.T) {
	for _, state := range []string{schema.StateQueue, schema.StateBlocked, schema.StateActive, schema.StateDone} {
		t.Run(state, func(t *testing.T) {
			w := admitted(t, state)
			text := w.declared["intake/tasks/a.md"]
			w.drop("tasks/a.md", "")
			w.reconcile()
			w.now = w.now.Add(long)
			w.reconcile()
			w.drop("other/a.md", text) // elsewhere, which is no edit
			w.reconcile()
			want := state
			if state == schema.StateBlocked {
				want = schema.StateQueue
			}
			it := w.want("a", want, 1)
			if it.Cancel != nil || it.Declared.Absent != nil || state != schema.StateDone && it.Declared.Path != "intake/other/a.md" {
				t.Errorf("after its return: %+v, %+v", it, it.Declared)
			}
		})
	}
	t.Run("before the settle time", func(t *testing.T) {
		w := admitted(t, schema.StateQueue)
		text := w.declared["intake/tasks/a.md"]
		w.drop("tasks/a.md", "")
		w.reconcile()
		w.drop("tasks/a.md", text)
		w.reconcile()
		if it := w.want("a", schema.StateQueue, 1); it.Declared.Absent != nil {
			t.Error("the absence is still recorded")
		}
	})
	t.Run("edited meanwhile", func(t *testing.T) {
		w := admitted(t, schema.StateQueue)
		w.drop("tasks/a.md", "")
		w.reconcile()
		w.now = w.now.Add(long)
		w.reconcile()
		w.drop("tasks/a.md", task("a", "Second"))
		w.reconcile()
		if it := w.want("a", schema.StateQueue, 2); it.Title != "Second" {
			t.Errorf("it came back as %q", it.Title)
		}
	})
}

func TestPruneHolds(t *testing.T) {
	removed := func(t *testing.T) *world {
		w := admitted(t, schema.StateQueue)
		w.drop("tasks/a.md", "")
		return w
	}
	t.Run("while git is busy", func(t *testing.T) {
		w := removed(t)
		w.git = workspace.GitFacts{Repository: true, Branch: "main", Busy: "rebase"}
		w.reconcile()
		w.orders("a", Hold, "git is busy (rebase)")
		if w.item("a").Declared.Absent != nil {
			t.Error("an absence seen while git works is recorded")
		}
	})
	t.Run("on another branch", func(t *testing.T) {
		w := newWorld(t)
		w.git = workspace.GitFacts{Repository: true, Branch: "main"}
		w.head("main", "")
		w.drop("tasks/a.md", task("a", "First"))
		w.reconcile()
		w.now = w.now.Add(long)
		text := w.declared["intake/tasks/a.md"]
		w.git.Branch = "feature"
		w.head("feature", "main") // the control controller saw it
		w.drop("tasks/a.md", "")
		w.reconcile()
		w.now = w.now.Add(long)
		w.reconcile()
		w.want("a", schema.StateQueue, 1)
		w.orders("a", Hold, "last seen on branch main; HEAD is on feature")

		w.git.Branch = "main"
		w.head("main", "feature")
		w.reconcile()
		w.want("a", schema.StateQueue, 1) // what comes back with the branch may be noticed later
		w.drop("tasks/a.md", text)
		w.reconcile()
		if it := w.want("a", schema.StateQueue, 1); it.Declared.Absent != nil {
			t.Error("still missed")
		}
	})
	t.Run("while pruning is off", func(t *testing.T) {
		w := removed(t)
		w.config.Runtime.Prune = false
		w.reconcile()
		w.orders("a", Hold, "pruning is off")
	})
	t.Run("while too many go at once", func(t *testing.T) {
		w := newWorld(t)
		for _, id := range []string{"a", "b", "c"} {
			w.drop("tasks/"+id+".md", task(id, id))
		}
		w.reconcile()
		w.now = w.now.Add(long)
		w.drop("tasks/a.md", "")
		w.drop("tasks/b.md", "")
		w.reconcile()
		w.now = w.now.Add(long)
		w.reconcile()
		w.want("a", schema.StateQueue, 1)
		w.orders("a", Hold, "2 of 3")
		w.config.Runtime.PruneLimit = 0.7
		w.reconcile()
		w.want("a", schema.StateCancelled, 1)
		w.want("b", schema.StateCancelled, 1)
	})
	t.Run("but not for the only one", func(t *testing.T) {
		w := newWorld(t)
		w.drop("tasks/a.md", task("a", "Only"))
		w.reconcile()
		w.drop("tasks/a.md", "")
		w.reconcile()
		w.now = w.now.Add(long)
		w.reconcile()
		w.want("a", schema.StateCancelled, 1)
	})
	t.Run("while the file is written", func(t *testing.T) {
		w := admitted(t, schema.StateQueue)
		w.drop("tasks/a.md", "# half\n")
		w.settling["intake/tasks/a.md"] = true
		before := w.commits
		w.reconcile()
		if w.commits != before {
			t.Error("something was decided about a half-written file")
		}
	})
	t.Run("before everything has been read", func(t *testing.T) {
		w := removed(t)
		v := w.view()
		v.Intake.Complete = false
		if p := New().Reconcile(v); p.Mutation != nil {
			t.Errorf("proposed %s", p.Mutation.Why)
		}
	})
}

func (w *world) head(branch, before string) {
	c := w.state.Control.Clone()
	c.Head = &schema.GitHead{Branch: branch, Before: before, Since: w.now}
	m := &workspace.Mutation{By: "test"}
	m.PutControl(c)
	w.apply(m)
}

func TestMovedOrEncodedAnewIsNoEdit(t *testing.T) {
	w := admitted(t, schema.StateQueue)
	w.drop("tasks/a.md", "")
	w.drop("tasks/deep/b.yaml", "task_id: a\ntitle: First\nacceptance: [it works]\n")
	w.orders("a", Relocate, "moved")
	w.reconcile()
	it := w.want("a", schema.StateQueue, 1)
	if it.Declared.Path != "intake/tasks/deep/b.yaml" {
		t.Errorf("declared in %s", it.Declared.Path)
	}
}

func TestTwoDeclarationsRejectEachOther(t *testing.T) {
	w := newWorld(t)
	w.drop("tasks/a.md", task("x", "One"))
	w.drop("tasks/b.md", task("x", "Two"))
	w.reconcile()
	if len(w.state.Items) != 0 {
		t.Fatal("one of two was admitted")
	}
	w.orders("x", Reject, "intake/tasks/a.md, intake/tasks/b.md")
	w.drop("tasks/b.md", "")
	w.reconcile()
	w.want("x", schema.StateQueue, 1)
	w.drop("tasks/b.md", task("x", "Two"))
	w.reconcile()
	if it := w.want("x", schema.StateQueue, 1); it.Title != "One" {
		t.Errorf("the admitted one is now %q", it.Title)
	}
	w.orders("x", Reject, "stays as it is")
}

func TestEndedByCommandStaysEnded(t *testing.T) {
	w := admitted(t, schema.StateCancelled)
	before := w.commits
	w.reconcile()
	if w.commits != before {
		t.Error("an ended item came back")
	}
	w.orders("a", Stay, "ended by command")
	for a := range Walk(w.view()) {
		if a.Key == key("a") && a.Do == Stay {
			return
		}
	}
	t.Error("a walk over all declarations does not tell")
}

func TestRefused(t *testing.T) {
	t.Run("status hint done", func(t *testing.T) {
		w := newWorld(t)
		w.drop("tasks/a.md", task("a", "Done already", "Status-Hint: done"))
		w.hands = []workspace.Hand{w.foreign("tasks/queue/b.md", task("b", "Done as well", "Status-Hint: done"))}
		w.reconcile()
		if len(w.state.Items) != 0 {
			t.Error("it was admitted")
		}
	})
	t.Run("older than the workspace", func(t *testing.T) {
		w := newWorld(t)
		w.state.Hold[key("a")] = true
		w.drop("tasks/a.md", task("a", "Old"))
		w.reconcile()
		w.orders("a", Hold, "older than this workspace")
		delete(w.state.Hold, key("a"))
		w.reconcile()
		w.want("a", schema.StateQueue, 1)
	})
	t.Run("an id from another door", func(t *testing.T) {
		w := newWorld(t)
		w.hands = []workspace.Hand{w.foreign("tasks/queue/a.md", task("a", "By hand"))}
		w.reconcile()
		w.drop("tasks/a.md", task("a", "Declared"))
		w.reconcile()
		w.orders("a", Reject, "another door (foreign)")
		w.want("a", schema.StateQueue, 1)
	})
	t.Run("a dependency cycle", func(t *testing.T) {
		for _, together := range []bool{true, false} {
			w := newWorld(t)
			w.drop("tasks/a.md", task("a", "A", "Depends-On: c"))
			w.drop("tasks/b.md", task("b", "B", "Depends-On: a"))
			if !together {
				w.reconcile()
			}
			w.drop("tasks/c.md", task("c", "C", "Depends-On: b"))
			w.drop("tasks/d.md", task("d", "D", "Depends-On: c"))
			w.reconcile()
			w.orders("c", Reject, "c → b → a → c")
			w.want("d", schema.StateQueue, 1) // it waits for one that is refused; that is no cycle
			if _, there := w.state.Items[key("a")]; there == together {
				t.Errorf("together %v: a admitted %v", together, there)
			}
		}
	})
	t.Run("a dependency on itself", func(t *testing.T) {
		w := newWorld(t)
		w.drop("tasks/a.md", task("a", "A", "Depends-On: a"))
		w.reconcile()
		if len(w.state.Items) != 0 {
			t.Error("it was admitted")
		}
	})
	t.Run("a stage of another plane", func(t *testing.T) {
		w := newWorld(t)
		w.plan.Stages = map[string]*schema.StageKind{"builder": {ID: "builder", Plane: "execution"}}
		for plane, want := range map[string]Do{"planning": Reject, "execution": Admit} {
			w.drop("incidents/i.md", "# I\n\nIncident-ID: i\nSource-Stage: builder\nSource-Plane: "+plane+"\n")
			if a := Decide(w.view(), schema.Key{Family: "incident", ID: "i"}); a.Do != want {
				t.Errorf("%s: decides %+v", plane, a)
			}
		}
	})
	t.Run("a stage that is not told what to work on", func(t *testing.T) {
		w := newWorld(t)
		w.plan.PlaneOrder = []string{"learning"}
		w.plan.Stages = map[string]*schema.StageKind{"mend": {ID: "mend", NeedsOneOf: []string{"target_skill_id", "preferred_output_paths"}}, "look": {ID: "look"}}
		w.plan.Graphs["learning"] = &schema.Graph{Entry: map[string]string{"learning_request": "look"}, Targets: map[string][]string{"learning_request": {"mend"}},
			Nodes: map[string]*schema.Node{"look": {Stage: "look"}, "mend": {Stage: "mend"}}}
		for more, want := range map[string]Do{
			"Target-Stage: mend\n": Reject, "Target-Stage: mend\nTarget-Skill-ID: s\n": Admit, "Target-Stage: look\n": Admit, "": Admit,
			"Target-Stage: mend\n\nPreferred-Output-Paths:\n- skills/learned/s\n": Admit,
		} {
			w.drop("learning/l.md", "# L\n\nLearning-Request-ID: l\n"+more)
			a := Decide(w.view(), schema.Key{Family: "learning_request", ID: "l"})
			if a.Do != want || want == Reject && !strings.Contains(a.Why, "mend must be told what to work on, by target_skill_id or preferred_output_paths; add one of them") {
				t.Errorf("%q: decides %+v", more, a)
			}
		}
	})
	t.Run("a cycle by taking a place", func(t *testing.T) {
		w := newWorld(t)
		w.drop("tasks/old.md", task("old", "Old"))
		w.drop("tasks/x.md", task("x", "X", "Depends-On: old"))
		w.reconcile()
		w.drop("tasks/new.md", task("new", "New", "Depends-On: x", "Supersedes: old"))
		w.reconcile()
		w.orders("new", Reject, "cycle")
		w.want("old", schema.StateQueue, 1)
	})
	t.Run("a cycle by blocks", func(t *testing.T) {
		w := newWorld(t)
		w.drop("tasks/a.md", task("a", "A", "Blocks: b", "Depends-On: b"))
		w.drop("tasks/b.md", task("b", "B"))
		w.reconcile()
		w.orders("a", Reject, "cycle")
	})
}

func TestBlocksAddsADependency(t *testing.T) {
	for name, order := range map[string][]string{"together": {"ab"}, "blocker first": {"a", "b"}, "blocked first": {"b", "a"}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for _, ids := range order {
				if strings.Contains(ids, "a") {
					w.drop("tasks/a.md", task("a", "A", "Blocks: b"))
				}
				if strings.Contains(ids, "b") {
					w.drop("tasks/b.md", task("b", "B"))
				}
				w.reconcile()
			}
			if deps := w.item("b").DependsOn; len(deps) != 1 || deps[0] != "a" {
				t.Errorf("b depends on %v", deps)
			}
			w.drop("tasks/b.md", task("b", "B again"))
			w.reconcile()
			if deps := w.item("b").DependsOn; len(deps) != 1 || deps[0] != "a" {
				t.Errorf("after an edit b depends on %v", deps)
			}
		})
	}
}

func TestSupersedes(t *testing.T) {
	w := newWorld(t)
	w.drop("tasks/old.md", task("old", "Old"))
	w.drop("tasks/next.md", task("next", "Next", "Depends-On: old"))
	w.reconcile()
	w.drop("tasks/new.md", task("new", "New", "Supersedes: old"))
	w.reconcile()
	w.want("old", schema.StateSuperseded, 1)
	if deps := w.item("next").DependsOn; len(deps) != 1 || deps[0] != "new" {
		t.Errorf("its dependant depends on %v", deps)
	}
}

func TestBurstIsBatched(t *testing.T) {
	w := newWorld(t)
	for i := range 100 {
		id := "t" + string(rune('a'+i/26)) + string(rune('a'+i%26))
		w.drop("tasks/"+id+".md", task(id, id))
	}
	before := w.commits
	w.reconcile()
	if n := w.commits - before; n != 4 {
		t.Errorf("%d commits for 100 admissions of at most %d", n, MaxBatch)
	}
	if n := w.state.Count("task", schema.StateQueue); n != 100 {
		t.Errorf("%d are queued", n)
	}
}
