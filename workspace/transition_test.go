package workspace_test

import (
	"testing"
	"time"

	"millrace/schema"
	"millrace/workspace"
)

func view(items ...*schema.Item) *workspace.View {
	s := workspace.NewState()
	for _, it := range items {
		s.SetItem(it)
	}
	return &workspace.View{State: s, Now: time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC)}
}

func queued(family, id, path string) *schema.Item {
	return &schema.Item{Family: family, ID: id, State: schema.StateQueue, Path: path, Generation: 1, Document: "sha256:00"}
}

func TestFamiliesAreKnownWithoutAPlan(t *testing.T) {
	v := view()
	if f := v.Family(schema.FamilyIncident); f == nil || f.Folders[schema.StateQueue] != "incidents/incoming" {
		t.Fatalf("incident is %+v", f)
	}
	own := &schema.Plan{Families: map[string]*schema.Family{"chore": {ID: "chore", Extension: ".md", Folders: map[string]string{"queue": "chores/open"}}}}
	v.Compiled.Plan = own
	if v.Family("chore") == nil || len(v.Families()) != 1 {
		t.Error("what the inputs compile to is not asked")
	}
	if v.Family(schema.FamilySpec) == nil {
		t.Error("the embedded families are not asked")
	}
	current := &schema.Plan{Families: map[string]*schema.Family{"task": {ID: "task"}}}
	v.Control.Plan = "sha256:01"
	v.Plans = func(schema.Digest) *schema.Plan { return current }
	if len(v.Families()) != 1 || v.Families()["task"] == nil {
		t.Error("the current plan is not asked first")
	}
}

func TestDocumentPath(t *testing.T) {
	v := view()
	for _, c := range []struct {
		it          *schema.Item
		state, want string
	}{
		{queued("task", "a", "tasks/queue/a.md"), schema.StateDone, "tasks/done/a.md"},
		{queued(schema.FamilyIncident, "i", "incidents/incoming/i.md"), schema.StateDone, "incidents/resolved/i.md"},
		{queued(schema.FamilyIncident, "i", "incidents/incoming/i.md"), schema.StateSuperseded, "incidents/superseded/i.md"},
		{queued("forgotten", "x", "own/queue/x.json"), schema.StateBlocked, "own/blocked/x.json"},
	} {
		if got := v.DocumentPath(c.it, c.state); got != c.want {
			t.Errorf("%s in state %s lies at %s, want %s", c.it.Key(), c.state, got, c.want)
		}
	}
}

func TestTransitionsLeaveNothingBehind(t *testing.T) {
	v := view()
	m := &workspace.Mutation{}
	it := queued("task", "a", "tasks/queue/a.md")
	it.Counters = map[string]int{"x": 2}

	m.Block(v, it, schema.Blocked{Class: schema.FailExit, Message: "no"})
	if it.State != schema.StateBlocked || !it.Blocked.Since.Equal(v.Now) || it.Path != "tasks/blocked/a.md" {
		t.Fatalf("blocked: %+v", it)
	}
	it.Requeues = 1
	m.Requeue(v, it, schema.Note{By: "recovery", What: "requeued"}, false)
	if it.Blocked != nil || it.Counters["x"] != 2 || it.Requeues != 1 || len(it.Notes) != 1 || !it.Notes[0].At.Equal(v.Now) {
		t.Fatalf("requeued: %+v", it)
	}
	m.Block(v, it, schema.Blocked{Class: schema.FailExit})
	m.Requeue(v, it, schema.Note{By: "operator", What: "retried"}, true)
	if len(it.Counters) != 0 || it.Requeues != 0 {
		t.Fatalf("retried: %+v", it)
	}
	m.MoveItem(v, it, schema.StateActive)
	it.Cancel = &schema.Cancel{By: "prune", To: schema.StateCancelled}
	m.CancelItem(v, it, "prune", "gone")
	if it.Cancel != nil || it.EndedBy != "prune" || it.Path != "tasks/cancelled/a.md" {
		t.Fatalf("cancelled: %+v", it)
	}
	m.Requeue(v, it, schema.Note{By: "intake", What: "requeued"}, true)
	if it.EndedBy != "" {
		t.Fatalf("back: %+v", it)
	}
	m.Supersede(v, it, "command", "better")
	if it.State != schema.StateSuperseded || it.EndedBy != "command" {
		t.Fatalf("superseded: %+v", it)
	}
	moves := 0
	for _, op := range m.Ops {
		if op.Do == workspace.Move {
			moves++
			if op.Was != it.Document {
				t.Errorf("move of %s does not name its bytes", op.Path)
			}
		}
	}
	if moves != 8 || len(m.Events) != 7 {
		t.Errorf("%d moves, %d events", moves, len(m.Events))
	}
}

func TestCycles(t *testing.T) {
	a, b, ended := queued("task", "a", "tasks/queue/a.md"), queued("task", "b", "tasks/queue/b.md"), queued("task", "e", "tasks/done/e.md")
	a.DependsOn, b.DependsOn, ended.DependsOn, ended.State = []string{"b"}, []string{"c"}, []string{"c"}, schema.StateDone
	v := view(a, b, ended)
	for _, c := range []struct {
		needs, blocks, instead []string
		way                    int // keys on it
	}{
		{needs: []string{"a"}, way: 4}, {needs: []string{"d"}}, {needs: []string{"c"}, way: 2}, {needs: []string{"e"}},
		{blocks: []string{"b"}}, {needs: []string{"d"}, blocks: []string{"d"}, way: 3},
		{needs: []string{"a"}, instead: []string{"b"}, way: 3}, {needs: []string{"b"}, instead: []string{"a"}, way: 3},
	} {
		it := queued("task", "c", "tasks/queue/c.md")
		it.DependsOn = c.needs
		list := func(ids []string) (all []any) {
			for _, id := range ids {
				all = append(all, id)
			}
			return all
		}
		doc := &schema.Document{Kind: "task", ID: "c", Fields: map[string]any{"blocks": list(c.blocks), "supersedes": list(c.instead)}}
		way := v.Draft(&workspace.Mutation{}).Cycle(it, doc)
		if len(way) != c.way || c.way > 0 && (way[0] != it.Key() || way[c.way-1] != it.Key()) {
			t.Errorf("needs %v, blocks %v: the way is %v", c.needs, c.blocks, way)
		}
	}
}

func TestRoom(t *testing.T) {
	v := view()
	p := &schema.Plan{Lanes: map[string]int{"execution": 2}, Exclusive: [][]string{{"execution", "planning"}}}
	run := func(id, plane, state string, wrote bool) {
		v.SetRun(&schema.Run{ID: id, Plane: plane, State: state, Steps: []schema.Step{{Wrote: wrote}}})
	}
	run("1", "execution", schema.RunRunning, false)
	run("2", "execution", schema.RunParked, false) // takes no lane
	for plane, want := range map[string]bool{"execution": true, "planning": false, "learning": true} {
		if taken, ok := v.Room(p, plane, ""); ok != want || !ok && taken != "1" {
			t.Errorf("room in %s: %v (%s)", plane, ok, taken)
		}
	}
	run("3", "execution", schema.RunParked, true) // one tree, one unfinished change
	if _, ok := v.Room(p, "execution", ""); ok {
		t.Error("a third run has room")
	}
	if _, ok := v.Room(p, "execution", "3"); !ok {
		t.Error("the run that has the lane has no room")
	}
}

func TestTraceIsTheRunToldAsAGraph(t *testing.T) {
	r := &schema.Run{ID: "r", State: schema.RunRunning, Node: "checker", Request: "q2",
		Steps: []schema.Step{{Request: "q1", Node: "builder", Outcome: "BUILDER_COMPLETE", To: "checker", Why: "because"}}}
	tr := workspace.TraceOf(r)
	if len(tr.Nodes) != 2 || tr.Nodes[1].Request != "q2" || tr.Edges[0].Next != 1 || tr.Edges[0].Why != "because" {
		t.Errorf("trace is %+v", tr)
	}
	r.State, r.End = schema.RunEnded, "blocked"
	tr = workspace.TraceOf(r)
	if len(tr.Nodes) != 1 || tr.Edges[0].Next != -1 || tr.End != "blocked" {
		t.Errorf("trace is %+v", tr)
	}
}
