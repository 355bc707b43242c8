package workspace

import (
	"slices"
	"strings"
	"testing"

	"millrace/schema"
)

// broken finds the laws that a state breaks.
func broken(s *State) []string {
	var laws []string
	for _, f := range s.Invariants() {
		laws = append(laws, f.Law)
	}
	return laws
}

func TestEveryLawIsNoticedWhenBroken(t *testing.T) {
	run := func(id, item string) *schema.Run {
		return &schema.Run{SchemaVersion: 1, ID: id, Item: schema.Key{Family: "task", ID: item}, State: schema.RunRunning, Plane: "execution"}
	}
	item := func(id, state string, change ...func(*schema.Item)) *schema.Item {
		it := task(id, state, docBytes(id))
		if state == schema.StateActive {
			it.Run = "run-" + id
		}
		for _, c := range change {
			c(it)
		}
		return it
	}
	for name, c := range map[string]struct {
		law   string
		items []*schema.Item
		runs  []*schema.Run
	}{
		"all is well":                {"", []*schema.Item{item("A", "queue"), item("B", "active"), item("C", "blocked"), item("D", "done")}, []*schema.Run{run("run-B", "B")}},
		"two items share a document": {LawOneFolder, []*schema.Item{item("A", "queue"), item("B", "queue", func(it *schema.Item) { it.Path = "tasks/queue/A.md" })}, nil},
		"active without a run":       {LawRuns, []*schema.Item{item("A", "active")}, nil},
		"active in another's run":    {LawRuns, []*schema.Item{item("A", "active", func(it *schema.Item) { it.Run = "run-B" }), item("B", "active")}, []*schema.Run{run("run-B", "B")}},
		"a run of a queued item":     {LawRuns, []*schema.Item{item("A", "queue")}, []*schema.Run{run("run-A", "A")}},
		"a run of nobody":            {LawRuns, nil, []*schema.Run{run("run-A", "A")}},
		"blocked without a reason":   {LawReasons, []*schema.Item{item("A", "blocked", func(it *schema.Item) { it.Blocked = nil })}, nil},
		"queued with an old reason":  {LawReasons, []*schema.Item{item("A", "queue", func(it *schema.Item) { it.Blocked = &schema.Blocked{} })}, nil},
		"ended by nobody":            {LawReasons, []*schema.Item{item("A", "done", func(it *schema.Item) { it.EndedBy = "" })}, nil},
		"ended and queued":           {LawReasons, []*schema.Item{item("A", "queue", func(it *schema.Item) { it.EndedBy = "prune" })}, nil},
		"cancelled and to be":        {LawReasons, []*schema.Item{item("A", "cancelled", func(it *schema.Item) { it.Cancel = &schema.Cancel{} })}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewState()
			for _, it := range c.items {
				s.SetItem(it)
			}
			for _, r := range c.runs {
				s.SetRun(r)
			}
			if laws := broken(s); c.law == "" && len(laws) > 0 || c.law != "" && !slices.Contains(laws, c.law) {
				t.Errorf("found %v, want %q", s.Invariants(), c.law)
			}
		})
	}
	t.Run("an index that went astray", func(t *testing.T) {
		s := NewState()
		s.SetItem(item("A", "queue"))
		s.counts["task"]["queue"]++
		s.ready["task"] = nil
		if laws := broken(s); !slices.Contains(laws, LawIndexes) {
			t.Errorf("found %v", laws)
		}
	})
}

// TestInvariantEveryPaidRequestIsOnRecord: an agent that was started without a record that asks for it
// would be paid and forgotten.
func TestInvariantEveryPaidRequestIsOnRecord(t *testing.T) {
	w := newWorkspace(t)
	claimed(t, w)
	m := &Mutation{By: "t"}
	m.PutJSON("runs/run-A/req-1/request.json", schema.Request{SchemaVersion: 1, ID: "req-1", Run: "run-A"})
	mustCommit(t, w, m)
	put(t, w, "runs/run-A/req-1/started", "{}\n")
	if found, err := w.Verify(t.Context()); err != nil || len(found) > 0 {
		t.Fatalf("verify: %v %v", err, found)
	}
	put(t, w, "runs/run-A/req-2/started", "{}\n")
	found, err := w.Verify(t.Context())
	if err != nil || len(found) != 1 || found[0].Law != LawPaid || !strings.Contains(found[0].Path, "req-2") {
		t.Errorf("verify: %v %v", err, found)
	}
}
