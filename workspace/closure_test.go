package workspace

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"millrace/schema"
)

// closureView is a view of a plan whose planning takes closure targets.
func closureView(items ...*schema.Item) *View {
	s := NewState()
	s.Control.Plan = "sha256:p"
	holding := []string{schema.StateQueue, schema.StateActive, schema.StateBlocked}
	p := &schema.Plan{
		Mode: "m", PlaneOrder: []string{"planning", "execution"}, ClosureOrder: []string{"execution", "planning"},
		Exclusive: [][]string{{"planning", "execution"}},
		Families: map[string]*schema.Family{
			"task": {ID: "task", Plane: "execution", HoldsOpen: holding}, "spec": {ID: "spec", Plane: "planning", HoldsOpen: holding},
			"note":              {ID: "note", Plane: "planning"},
			schema.FamilyTarget: {ID: schema.FamilyTarget, Plane: "planning", MadeBy: "runtime"},
		},
		Graphs: map[string]*schema.Graph{
			"execution": {Plane: "execution", Claim: []string{"task"}, Entry: map[string]string{"task": "t"},
				Nodes: map[string]*schema.Node{"t": {Stage: "t", Runner: "r"}}},
			"planning": {Plane: "planning", Claim: []string{"spec", "note", schema.FamilyTarget},
				Entry: map[string]string{"spec": "s", "note": "s", schema.FamilyTarget: "j"},
				Nodes: map[string]*schema.Node{"s": {Stage: "s", Runner: "r"}, "j": {Stage: "j", Runner: "r"}}},
		},
	}
	for i, it := range items {
		it.CreatedAt = time.Unix(int64(i), 0)
		it.Path = it.Family + "/" + it.ID
		s.SetItem(it)
	}
	return &View{State: s, Now: time.Unix(1000, 0), Plans: func(schema.Digest) *schema.Plan { return p }}
}

func piece(family, id, root, state string) *schema.Item {
	it := &schema.Item{Family: family, ID: id, State: state, Lineage: schema.Lineage{RootSpecID: root}}
	if schema.Ended(state) {
		it.EndedBy = byRun
	}
	return it
}

func target(root, state string) *schema.Item {
	it := piece(schema.FamilyTarget, root, root, state)
	it.Closure, it.Generation = &schema.Closure{}, 1
	return it
}

func TestDeferred(t *testing.T) {
	items := []*schema.Item{
		target("r", schema.StateOpen), piece("task", "own", "r", schema.StateQueue), piece("task", "other", "q", schema.StateQueue),
		piece("task", "alone", "", schema.StateQueue), piece("note", "n", "q", schema.StateQueue), piece("spec", "q", "q", schema.StateQueue),
	}
	v := closureView(items...)
	p := v.CurrentPlan()
	var deferred []string
	for _, it := range items {
		if by := v.Deferred(p, it); by != nil {
			deferred = append(deferred, it.ID+" by "+by.ID)
		}
	}
	if want := []string{"other by r", "alone by r", "q by r"}; !slices.Equal(deferred, want) {
		t.Errorf("deferred are %q, want %q", deferred, want)
	}
	if got := v.Claims(p, "task"); len(got) != 1 || got[0].ID != "own" {
		t.Errorf("claimable are %v", got)
	}
	if got := v.PlaneOrder(p); !slices.Equal(got, p.ClosureOrder) {
		t.Errorf("order is %v", got)
	}
	delete(p.Graphs["planning"].Entry, schema.FamilyTarget)
	if Closes(p) || v.Deferred(p, items[2]) != nil || len(v.Claims(p, "task")) != 3 || !slices.Equal(v.PlaneOrder(p), p.PlaneOrder) {
		t.Error("a plan without anybody who judges is held")
	}
}

func TestOpenWork(t *testing.T) {
	v := closureView(
		target("r", schema.StateOpen), piece("task", "queued", "r", schema.StateQueue), piece("task", "blocked", "r", schema.StateBlocked),
		piece("task", "done", "r", schema.StateDone), piece("task", "gone", "r", schema.StateCancelled), piece("note", "n", "r", schema.StateQueue),
		piece("spec", "r", "r", schema.StateActive), piece("task", "other", "q", schema.StateQueue),
	)
	var ids []string
	for it := range v.OpenWork("r") {
		ids = append(ids, it.ID)
	}
	slices.Sort(ids)
	if want := []string{"blocked", "queued", "r"}; !slices.Equal(ids, want) {
		t.Errorf("open work is %q, want %q", ids, want)
	}
}

func TestLineageChecks(t *testing.T) {
	with := func(it *schema.Item, checks ...schema.Check) *schema.Item {
		it.Checks = checks
		return it
	}
	unit := schema.Check{Name: "unit", Run: "make test", Timeout: schema.Duration(time.Minute)}
	slow := schema.Check{Name: "all", Run: "make test", In: ".", Timeout: schema.Duration(time.Hour)}
	v := closureView(
		with(piece("task", "b", "r", schema.StateDone), unit, schema.Check{Name: "unit", Run: "make lint"}),
		with(piece("task", "a", "r", schema.StateDone), schema.Check{Name: "unit", Run: "make test", In: "sub"}),
		with(piece("task", "given-up", "r", schema.StateSuperseded), schema.Check{Name: "old", Run: "false"}),
		with(piece("task", "foreign", "q", schema.StateDone), schema.Check{Name: "else", Run: "true"}),
		with(piece("spec", "r", "r", schema.StateDone), slow),
	)
	var got []string
	for _, c := range v.LineageChecks("r") {
		got = append(got, fmt.Sprintf("%s: %s in %q %v", c.Name, c.Run, c.In, time.Duration(c.Timeout)))
	}
	want := []string{`all: make test in "." 1h0m0s`, `unit: make test in "sub" 0s`, `unit-2: make lint in "" 0s`}
	if !slices.Equal(got, want) {
		t.Errorf("checks are\n%q, want\n%q", got, want)
	}
}

// What is indexed by lineage is the same whatever happened on the way, and in what order.
func TestLineagesAreWhatTheItemsSay(t *testing.T) {
	states := []string{schema.StateQueue, schema.StateActive, schema.StateBlocked, schema.StateDone, schema.StateCancelled, schema.StateOpen}
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := NewState()
		for seq := range uint64(300) {
			root := fmt.Sprintf("r%d", r.IntN(4))
			it := piece([]string{"task", "spec", schema.FamilyTarget}[r.IntN(3)], fmt.Sprintf("%s-%d", root, r.IntN(3)), root, states[r.IntN(len(states))])
			if it.Family != "task" {
				it.ID = root
			}
			if it.Lineage.RootIdeaID = []string{"", "i", "j"}[r.IntN(3)]; it.Family == schema.FamilyTarget {
				it.Closure = &schema.Closure{Reopen: []string{"", "w"}[r.IntN(2)]}
			}
			if schema.Ended(it.State) {
				it.EndedSeq = seq + 1
			}
			it.Path = fmt.Sprintf("%s/%s/%s", it.Family, it.State, it.ID)
			s.SetItem(it)
		}
		fresh := NewState()
		var items []*schema.Item
		for _, it := range s.Items {
			items = append(items, it)
		}
		fresh.setItems(items)
		if !s.lineage.equal(&fresh.lineage) {
			a, _ := json.Marshal(s.Items)
			t.Fatalf("seed %d: the index is\n%+v\nof the items %s it is\n%+v", seed, s.lineage, a, fresh.lineage)
		}
	}
}
