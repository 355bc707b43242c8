package workspace

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"millrace/schema"
)

func ids(items []*schema.Item) []string {
	var out []string
	for _, it := range items {
		out = append(out, it.ID)
	}
	return out
}

func queued(id string, priority int, age time.Duration, depends ...string) *schema.Item {
	it := task(id, "queue", docBytes(id))
	it.Priority, it.CreatedAt, it.DependsOn = priority, epoch.Add(-age), depends
	return it
}

func TestClaimOrder(t *testing.T) {
	s := NewState()
	for _, it := range []*schema.Item{
		queued("young", 5, 0), queued("old", 5, time.Hour), queued("urgent", 9, 0), queued("b", 5, time.Minute), queued("a", 5, time.Minute),
	} {
		s.SetItem(it)
	}
	if got := fmt.Sprint(ids(s.Ready("task"))); got != "[urgent old a b young]" {
		t.Errorf("%s", got)
	}
}

func TestDependantsBecomeReadyWhenWhatTheyNeedIsDone(t *testing.T) {
	s := NewState()
	s.SetItem(queued("B", 5, 0, "A", "C"))
	s.SetItem(queued("A", 5, 0))
	if got := fmt.Sprint(ids(s.Ready("task")), s.Unmet(s.Find("B")[0])); got != "[A] [task/A task/C]" {
		t.Errorf("%s", got)
	}
	for _, id := range []string{"A", "C"} {
		s.SetItem(task(id, "done", nil))
	}
	if got := fmt.Sprint(ids(s.Ready("task"))); got != "[B]" {
		t.Errorf("%s", got)
	}
	s.SetItem(task("A", "blocked", nil))
	if got := s.Ready("task"); len(got) != 0 {
		t.Errorf("%v", ids(got))
	}
	if got := fmt.Sprint(s.Dependants(schema.Key{Family: "task", ID: "A"})); got != "[task/B]" {
		t.Errorf("%s", got)
	}
}

func TestItemsMaySwapPaths(t *testing.T) {
	s := NewState()
	a, b := queued("A", 5, 0), queued("B", 5, 0)
	a.Path, b.Path = "tasks/queue/1.md", "tasks/queue/2.md"
	s.SetItem(a)
	s.SetItem(b)
	a, b = a.Clone(), b.Clone()
	a.Path, b.Path = b.Path, a.Path
	s.SetItem(a)
	s.SetItem(b)
	if s.ByPath("tasks/queue/1.md") != b || s.ByPath("tasks/queue/2.md") != a {
		t.Error("paths are lost")
	}
}

func TestInvariantsFindWhatIsBroken(t *testing.T) {
	active := func(id, run string) *schema.Item { it := task(id, "active", nil); it.Run = run; return it }
	run := func(id, item string) *schema.Run {
		return &schema.Run{ID: id, Item: schema.Key{Family: "task", ID: item}, State: schema.RunRunning}
	}
	for name, c := range map[string]struct {
		items []*schema.Item
		runs  []*schema.Run
		laws  []string
	}{
		"nothing":             {nil, nil, nil},
		"whole":               {[]*schema.Item{active("A", "r"), queued("B", 1, 0)}, []*schema.Run{run("r", "A")}, nil},
		"active, no run":      {[]*schema.Item{active("A", "r")}, nil, []string{LawRuns}},
		"run of another":      {[]*schema.Item{active("A", "r"), queued("B", 1, 0)}, []*schema.Run{run("r", "B")}, []string{LawRuns, LawRuns}},
		"run of no item":      {nil, []*schema.Run{run("r", "A")}, []string{LawRuns}},
		"run of queued item":  {[]*schema.Item{queued("A", 1, 0)}, []*schema.Run{run("r", "A")}, []string{LawRuns}},
		"one path for two":    {[]*schema.Item{at(queued("A", 1, 0), "p/x"), at(queued("B", 1, 0), "p/x")}, nil, []string{LawOneFolder}},
		"blocked, no reason":  {[]*schema.Item{with("blocked", func(it *schema.Item) { it.Blocked = nil })}, nil, []string{LawReasons}},
		"queued, old reason":  {[]*schema.Item{with("queue", func(it *schema.Item) { it.Blocked = &schema.Blocked{} })}, nil, []string{LawReasons}},
		"ended by nobody":     {[]*schema.Item{with("done", func(it *schema.Item) { it.EndedBy = "" })}, nil, []string{LawReasons}},
		"ended, yet queued":   {[]*schema.Item{with("queue", func(it *schema.Item) { it.EndedBy = "prune" })}, nil, []string{LawReasons}},
		"ended, to be ended":  {[]*schema.Item{with("cancelled", func(it *schema.Item) { it.Cancel = &schema.Cancel{} })}, nil, []string{LawReasons}},
		"two targets open":    {[]*schema.Item{target("r", "open"), target("q", "blocked")}, nil, []string{LawReasons, LawClosure}},
		"closed, work left":   {[]*schema.Item{target("r", "done"), piece("task", "a", "r", "queue")}, nil, []string{LawClosure}},
		"given up, work left": {[]*schema.Item{target("r", "cancelled"), piece("task", "a", "r", "queue")}, nil, []string{LawClosure}},
		"closed, done":        {[]*schema.Item{target("r", "done"), piece("task", "a", "r", "done"), piece("learning_request", "l", "r", "queue")}, nil, nil},
		"closed, to reopen":   {[]*schema.Item{piece("task", "a", "r", "queue"), reopening(target("r", "done"))}, nil, nil},
		"its root is redone":  {[]*schema.Item{target("r", "done"), piece("spec", "r", "r", "queue"), piece("task", "a", "r", "queue")}, nil, nil},
	} {
		s := NewState()
		for _, it := range c.items {
			if it.Path == "" {
				it.Path = it.Family + "/" + it.ID
			}
			s.SetItem(it)
		}
		for _, r := range c.runs {
			s.SetRun(r)
		}
		var laws []string
		for _, f := range s.Invariants() {
			if f.Law != LawIndexes { // two items on one path: which of them the index names is nobody's business
				laws = append(laws, f.Law)
			}
		}
		if !slices.Equal(laws, c.laws) {
			t.Errorf("%s: %v, want %v", name, s.Invariants(), c.laws)
		}
	}
}

func reopening(t *schema.Item) *schema.Item {
	t.Closure.Reopen = "more"
	return t
}

func with(state string, change func(*schema.Item)) *schema.Item {
	it := task("A", state, nil)
	change(it)
	return it
}

func TestInvariantsFindAnIndexThatWentAstray(t *testing.T) {
	s := NewState()
	s.SetItem(queued("A", 1, 0))
	s.counts["task"]["queue"]++
	s.ready["task"] = nil
	if found := s.Invariants(); len(found) != 2 || found[0].Law != LawIndexes || found[1].Law != LawIndexes {
		t.Errorf("found %v", found)
	}
}

func at(it *schema.Item, path string) *schema.Item { it.Path = path; return it }

// anyItem draws an item with whatever fields the snapshot must keep.
func anyItem(t *rapid.T) *schema.Item {
	id := rapid.SampledFrom([]string{"A", "B", "C", "D", "E"}).Draw(t, "id")
	it := task(id, rapid.SampledFrom([]string{"queue", "done", "blocked", "cancelled"}).Draw(t, "state"), docBytes(id))
	it.Family = rapid.SampledFrom([]string{"task", "spec"}).Draw(t, "family")
	it.Path = it.Family + "s/" + it.State + "/" + id + ".md"
	it.Priority = rapid.IntRange(-2, 2).Draw(t, "priority")
	it.DependsOn = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"A", "B", "C", "D", "E"}), 0, 2, rapid.ID[string]).Draw(t, "depends")
	it.CreatedAt = epoch.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "age")) * time.Hour)
	switch rapid.IntRange(0, 3).Draw(t, "extra") {
	case 0:
		it.Declared = nil
		it.Cancel = &schema.Cancel{By: "prune", At: epoch, Now: true}
	case 1:
		absent := epoch
		it.Declared.Absent = &absent
		it.Blocked = &schema.Blocked{Class: "runner_exit", Since: epoch}
	case 2:
		it.Counters = map[string]int{"fix": 2, "zero": 0}
		it.Checks = []schema.Check{{Name: "unit", Run: "go test"}}
		it.Note(schema.Note{At: epoch, By: "me", What: "retry"})
	}
	return it
}

// Gob leaves out what points to a zero, and cannot carry what it was not told of.
func TestItemsSurviveGob(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var look func(path string, of reflect.Type)
	look = func(path string, of reflect.Type) {
		if seen[of] || of == reflect.TypeFor[time.Time]() {
			return
		}
		seen[of] = true
		switch of.Kind() {
		case reflect.Interface:
			t.Errorf("%s may be anything", path)
		case reflect.Pointer:
			if of.Elem().Kind() != reflect.Struct {
				t.Errorf("%s points to %s: a zero there comes back as nothing", path, of.Elem())
			}
			look(path, of.Elem())
		case reflect.Slice, reflect.Array, reflect.Map:
			look(path+"[]", of.Elem())
		case reflect.Struct:
			for f := range of.Fields() {
				look(path+"."+f.Name, f.Type)
			}
		}
	}
	look("Item", reflect.TypeFor[schema.Item]())
}

func TestFoldEqualsSnapshotEqualsEveryOrderOfReading(t *testing.T) {
	w := newWorkspace(t)
	reader := reopen(t, w)
	rapid.Check(t, func(t *rapid.T) {
		for range rapid.IntRange(1, 5).Draw(t, "commits") {
			m := &Mutation{By: "test"}
			for range rapid.IntRange(1, 4).Draw(t, "ops") {
				switch rapid.IntRange(0, 9).Draw(t, "op") {
				case 0:
					used, code := rapid.Int64Range(0, 1).Draw(t, "tokens"), rapid.IntRange(0, 1).Draw(t, "exit code")
					m.PutRun(&schema.Run{SchemaVersion: 1, ID: rapid.SampledFrom([]string{"r1", "r2"}).Draw(t, "run"),
						State: rapid.SampledFrom([]string{schema.RunRunning, schema.RunEnded}).Draw(t, "run state"), Started: epoch,
						Steps: []schema.Step{{Request: "q", Started: epoch, Ended: epoch, Tokens: &schema.Tokens{Input: &used, Output: &used}}},
						Salvaged: &schema.Completion{Request: "q", ExitCode: &code, Ended: epoch, Claim: &schema.Claim{Outcome: "DONE",
							Metadata: map[string]any{"notes": []any{"an agent's", map[string]any{"own": true}}}}}})
				case 1:
					m.PutControl(&schema.Control{SchemaVersion: 1, Mode: rapid.String().Draw(t, "mode"),
						Pauses: map[string]schema.Pause{"operator": {By: "me", Since: epoch}}})
				case 2:
					m.PutJSON(HoldFile, &schema.Hold{SchemaVersion: 1, Keys: []schema.Key{{Family: "task", ID: "H"}}})
				default:
					m.PutItem(anyItem(t))
				}
			}
			if _, err := w.Transact(t.Context(), func(*State) (*Mutation, error) { return m, nil }); err != nil {
				t.Fatal(err)
			}
		}
		if rapid.Bool().Draw(t, "checkpoint") {
			data, err := encodeSnapshot(w.state, w.last)
			if err == nil {
				err = w.message(Snapshot, data)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		incremental := stateJSON(w.state)
		loaded, err := w.Load()
		if err != nil {
			t.Fatal(err)
		}
		if got := stateJSON(loaded); got != incremental {
			t.Fatalf("snapshot and tail:\n%s\nincremental:\n%s", got, incremental)
		}
		fold := NewState()
		for rec, err := range w.Records(1) {
			if err == nil {
				err = fold.Fold(rec, w.Content)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if got := stateJSON(fold); got != incremental {
			t.Fatalf("fold:\n%s\nincremental:\n%s", got, incremental)
		}
		if _, err := reader.Transact(t.Context(), func(s *State) (*Mutation, error) {
			if got := stateJSON(s); got != incremental {
				t.Fatalf("other process:\n%s\nincremental:\n%s", got, incremental)
			}
			return nil, nil
		}); err != nil {
			t.Fatal(err)
		}
		for _, s := range []*State{w.state, loaded, fold} {
			if found := s.indexFindings(); len(found) > 0 {
				t.Fatalf("%+v", found)
			}
		}
	})
}
