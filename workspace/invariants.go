package workspace

import (
	"fmt"
	"maps"
	"slices"

	"millrace/schema"
)

// A Finding is one broken law, or one place where the folder is not what the journal says.
type Finding struct {
	Law     string `json:"law"`            // a Law constant
	Path    string `json:"path,omitempty"` // below the workspace folder
	Message string `json:"message"`
	Repair  string `json:"repair"` // what a person does about it
}

// The laws that Invariants and Verify check; docs/invariants.md lists them.
const (
	LawOneFolder = "one-folder" // an item is in exactly one lifecycle folder
	LawLanes     = "lanes"      // running runs never exceed the plan's lanes
	LawRuns      = "runs"       // active items and living runs name each other
	LawClosure   = "closure"    // at most one closure target is open, and one that has ended has no work left
	LawReasons   = "reasons"    // an item says why it is where it is, and nothing that is over
	LawPaid      = "paid"       // every paid request had a record before it started
	LawProjected = "projection" // folders equal the fold of the journal
	LawChain     = "chain"      // the hash chain is whole
	LawApplied   = "applied"    // the last record is carried out
	LawEvidence  = "evidence"   // what a record names by digest is there
	LawIndexes   = "indexes"    // what is derived equals what it is derived from
)

const repairReport = "this is an error of millrace: keep the workspace and report it with `millrace history`"

// Invariants checks every law that the state alone can break.
func (s *State) Invariants() []Finding { return s.invariants(builtinFamilies()) }

func (s *State) invariants(families map[string]*schema.Family) []Finding {
	var found []Finding
	broken := func(law, path, format string, args ...any) {
		found = append(found, Finding{law, path, fmt.Sprintf(format, args...), repairReport})
	}
	owner := map[string]schema.Key{}
	for _, k := range slices.SortedFunc(maps.Keys(s.Items), CompareKeys) {
		it := s.Items[k]
		if it.Key() != k {
			broken(LawIndexes, StatusPath(k), "item %s is filed under %s", it.Key(), k)
		}
		if first, taken := owner[it.Path]; taken {
			broken(LawOneFolder, it.Path, "items %s and %s share one document", first, k)
		}
		owner[it.Path] = k
		if why := unreasoned(it); why != "" {
			broken(LawReasons, StatusPath(k), "%s item %s %s", it.State, k, why)
		}
		if it.State == schema.StateActive {
			if r := s.Runs[it.Run]; r == nil {
				broken(LawRuns, StatusPath(k), "active item %s has no living run (run %q)", k, it.Run)
			} else if r.Item != k {
				broken(LawRuns, RunFile(r.ID), "run %s of active item %s belongs to %s", r.ID, k, r.Item)
			}
		}
	}
	for _, r := range s.ActiveRuns() {
		if it := s.Items[r.Item]; it == nil {
			broken(LawRuns, RunFile(r.ID), "run %s belongs to no item (%s)", r.ID, r.Item)
		} else if it.State != schema.StateActive || it.Run != r.ID {
			broken(LawRuns, RunFile(r.ID), "run %s has not ended, but its item %s is %s in run %q", r.ID, r.Item, it.State, it.Run)
		}
	}
	return slices.Concat(found, s.closureFindings(families), s.indexFindings())
}

// closureFindings looks at what is judged. The families say what work holds a closure target open.
func (s *State) closureFindings(families map[string]*schema.Family) []Finding {
	var found []Finding
	var open []string
	for _, id := range slices.Sorted(maps.Keys(s.lineage.targets)) {
		t := s.lineage.targets[id]
		if !schema.Ended(t.State) {
			open = append(open, id)
			continue
		}
		if s.RootClosed(id) == nil {
			continue // it opens again
		}
		for it := range s.Lineage(id) {
			if f := families[it.Family]; f != nil && slices.Contains(f.HoldsOpen, it.State) {
				found = append(found, Finding{LawClosure, StatusPath(t.Key()),
					fmt.Sprintf("the closure target of %s has ended, and %s %s is left", id, inWords(it.State), it.Key()), repairReport})
				break
			}
		}
	}
	if len(open) > 1 {
		found = append(found, Finding{LawClosure, StatusPath(TargetKey(open[1])), fmt.Sprintf("more than one closure target is open: %v", open), repairReport})
	}
	return found
}

// unreasoned is what an item lacks, or says although it is over; "".
func unreasoned(it *schema.Item) string {
	switch {
	case it.State == schema.StateBlocked && it.Blocked == nil:
		return "does not say why"
	case it.State != schema.StateBlocked && it.Blocked != nil:
		return "says that it is blocked: " + it.Blocked.Message
	case schema.Ended(it.State) && it.EndedBy == "":
		return "does not say by whom it was ended"
	case !schema.Ended(it.State) && it.EndedBy != "":
		return "says that it was ended by " + it.EndedBy
	case it.State != schema.StateActive && it.Cancel != nil:
		return "is still to be ended by " + it.Cancel.By
	}
	return ""
}

// indexFindings compares the incremental indexes with ones made anew.
func (s *State) indexFindings() []Finding {
	fresh := NewState()
	fresh.setItems(slices.Collect(maps.Values(s.Items)))
	var found []Finding
	differs := func(name string) {
		found = append(found, Finding{LawIndexes, "", fmt.Sprintf("the index %s is not what the items say", name), repairReport})
	}
	for family := range s.counts {
		if !slices.Equal(s.ready[family], fresh.ready[family]) {
			differs("ready/" + family)
		}
		for state, n := range s.counts[family] {
			if n != fresh.counts[family][state] {
				differs("counts/" + family + "/" + state)
			}
		}
	}
	for _, state := range []string{schema.StateActive, schema.StateBlocked} {
		if !maps.Equal(s.in[state], fresh.in[state]) {
			differs("in/" + state)
		}
	}
	if !maps.Equal(s.byPath, fresh.byPath) {
		differs("paths")
	}
	if !maps.EqualFunc(s.byDecl, fresh.byDecl, maps.Equal) {
		differs("declarations")
	}
	if !maps.EqualFunc(s.dependants, fresh.dependants, maps.Equal) {
		differs("dependants")
	}
	if !s.lineage.equal(&fresh.lineage) {
		differs("lineages")
	}
	return found
}
