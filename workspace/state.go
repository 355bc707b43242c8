package workspace

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"millrace/schema"
)

// State is the fold of the journal. It is read from the operations themselves: an item is the
// content last written to its status file, a run that of its run.json, so the projection on disk and
// the state in memory cannot say different things. Values in it are replaced, never changed.
type State struct {
	Seq     uint64        // last record folded
	Hash    schema.Digest // its hash
	Time    time.Time     // its time
	Boot    string        // its boot id
	Items   map[schema.Key]*schema.Item
	Runs    map[string]*schema.Run // those that have not ended
	Control schema.Control
	Hold    map[schema.Key]bool // declarations older than the journal and not released

	byPath     map[string]schema.Key // document path → item
	byDecl     map[string]map[schema.Key]bool
	dependants map[schema.Key]map[schema.Key]bool
	blockers   map[schema.Key]map[schema.Key]bool // items that say they block a key
	ready      map[string][]*schema.Item          // claimable by family, in claim order
	counts     map[string]map[string]int          // family → state → items
	in         map[string]map[schema.Key]bool     // active and blocked items by state: the few that are looked at always
	lineage    lineages
	incidents  incidents
	touched    map[schema.Key]bool // changed since the last Touched
	lastStage  *schema.Outcome     // of the stage whose result was applied last
	bulk       bool                // a long fold is under way: the indexes are made at its end
}

// NewState is the fold of an empty journal.
func NewState() *State {
	return &State{
		Items: map[schema.Key]*schema.Item{}, Runs: map[string]*schema.Run{}, Hold: map[schema.Key]bool{},
		byPath: map[string]schema.Key{}, byDecl: map[string]map[schema.Key]bool{},
		dependants: map[schema.Key]map[schema.Key]bool{}, blockers: map[schema.Key]map[schema.Key]bool{}, ready: map[string][]*schema.Item{},
		counts: map[string]map[string]int{}, in: map[string]map[schema.Key]bool{}, touched: map[schema.Key]bool{},
		lineage: newLineages(), incidents: newIncidents(),
	}
}

// Fold takes in one record. content finds what a record keeps in a blob. On an error the state is as
// it was.
func (s *State) Fold(rec *Record, content func(*Op) ([]byte, error)) error {
	values, err := decodeOps(rec, content)
	if err != nil {
		return err
	}
	s.install(rec, values)
	return nil
}

// A folded value is what one op puts into the state: *schema.Item, *schema.Run, *schema.Control or
// *schema.Hold.
type folded any

// decodeOps reads the values that a record puts into the state.
func decodeOps(rec *Record, content func(*Op) ([]byte, error)) ([]folded, error) {
	var values []folded
	for i := range rec.Ops {
		op := &rec.Ops[i]
		if op.Do != Write || !folds(op.Path) {
			continue
		}
		data, err := []byte(op.JSON), error(nil)
		if data == nil {
			if data, err = content(op); err != nil {
				return nil, fmt.Errorf("read %s of record %d: %w", op.Path, rec.Seq, err)
			}
		}
		v, err := decodeValue(op.Path, data)
		if err != nil {
			return nil, fmt.Errorf("fold %s of record %d: %w", op.Path, rec.Seq, err)
		}
		values = append(values, v)
	}
	return values, nil
}

func isRunFile(path string) bool {
	return strings.HasPrefix(path, RunsDir+"/") && strings.HasSuffix(path, "/run.json") && strings.Count(path, "/") == 2
}

// folds reports whether the file at path is part of the state.
func folds(path string) bool {
	return strings.HasPrefix(path, StatusDir+"/") || path == ControlFile || path == HoldFile || isRunFile(path)
}

func decodeValue(path string, data []byte) (folded, error) {
	var v folded
	var version *int
	var home func() string // where the value belongs
	switch {
	case path == ControlFile:
		c := new(schema.Control)
		v, version, home = c, &c.SchemaVersion, func() string { return ControlFile }
	case path == HoldFile:
		h := new(schema.Hold)
		v, version, home = h, &h.SchemaVersion, func() string { return HoldFile }
	case isRunFile(path):
		r := new(schema.Run)
		v, version, home = r, &r.SchemaVersion, func() string { return RunFile(r.ID) }
	default:
		it := new(schema.Item)
		v, version, home = it, &it.SchemaVersion, func() string { return StatusPath(it.Key()) }
	}
	if err := json.Unmarshal(data, v); err != nil {
		return nil, err
	}
	if *version > schema.Version {
		return nil, &VersionError{path, *version, schema.Version}
	}
	if home() != path {
		return nil, fmt.Errorf("it belongs to %s", home())
	}
	return v, nil
}

func (s *State) install(rec *Record, values []folded) {
	for _, v := range values {
		switch v := v.(type) {
		case *schema.Item:
			s.SetItem(v)
		case *schema.Run:
			s.SetRun(v)
		case *schema.Control:
			s.Control = *v
		case *schema.Hold:
			s.Hold = map[schema.Key]bool{}
			for _, k := range v.Keys {
				s.Hold[k] = true
			}
		}
	}
	s.Seq, s.Hash, s.Time, s.Boot = rec.Seq, rec.Hash, rec.Time, rec.Boot
}

// SetRun replaces a run; one that has ended leaves the state and lives on in its folder.
func (s *State) SetRun(r *schema.Run) {
	if r.State == schema.RunEnded {
		delete(s.Runs, r.ID)
		return
	}
	s.Runs[r.ID] = r
}

// SetItem replaces an item and brings every index up to date.
func (s *State) SetItem(it *schema.Item) {
	k := it.Key()
	if s.bulk {
		s.Items[k] = it
		return
	}
	if old := s.Items[k]; old != nil {
		s.unindex(old)
	}
	s.Items[k] = it
	s.touched[k] = true
	s.index(it)
	s.requeue(it)
	for d := range s.dependants[k] {
		if dep := s.Items[d]; dep != nil && d != k {
			s.dequeue(dep)
			s.requeue(dep)
		}
	}
}

// index adds an item to every index but the queues.
func (s *State) index(it *schema.Item) {
	k := it.Key()
	s.byPath[it.Path] = k
	if it.Last != nil && (s.lastStage == nil || compareOutcomes(it.Last, s.lastStage) > 0) {
		s.lastStage = it.Last
	}
	if it.Declared != nil {
		add(s.byDecl, it.Declared.Path, k)
	}
	for _, d := range it.DependsOn {
		add(s.dependants, schema.Key{Family: k.Family, ID: d}, k)
	}
	for _, b := range it.Blocks {
		add(s.blockers, schema.Key{Family: k.Family, ID: b}, k)
	}
	if s.counts[k.Family] == nil {
		s.counts[k.Family] = map[string]int{}
	}
	s.counts[k.Family][it.State]++
	if it.State == schema.StateActive || it.State == schema.StateBlocked {
		add(s.in, it.State, k)
	}
	s.lineage.add(it)
	s.incidents.add(it)
}

// compareOutcomes orders by time; those of one moment by request, so that the order in which items are
// read does not matter.
func compareOutcomes(a, b *schema.Outcome) int {
	return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Request, b.Request))
}

// setItems fills an empty state: the same as SetItem for each, without keeping the queues in order
// meanwhile.
func (s *State) setItems(items []*schema.Item) {
	s.Items = make(map[schema.Key]*schema.Item, len(items))
	s.byPath = make(map[string]schema.Key, len(items))
	for _, it := range items {
		k := it.Key()
		s.Items[k] = it
		s.index(it)
		s.touched[k] = true
	}
	for _, it := range items {
		if it.State == schema.StateQueue && len(s.Unmet(it)) == 0 {
			s.ready[it.Family] = append(s.ready[it.Family], it)
			s.lineage.append(it)
		}
	}
	for _, q := range s.ready {
		slices.SortFunc(q, claimOrder)
	}
	s.lineage.sort()
}

func add[A, B comparable](m map[A]map[B]bool, a A, b B) {
	if m[a] == nil {
		m[a] = map[B]bool{}
	}
	m[a][b] = true
}

func drop[A, B comparable](m map[A]map[B]bool, a A, b B) {
	if delete(m[a], b); len(m[a]) == 0 {
		delete(m, a)
	}
}

func (s *State) unindex(it *schema.Item) {
	k := it.Key()
	if s.byPath[it.Path] == k { // another item may have taken the path already
		delete(s.byPath, it.Path)
	}
	if it.Declared != nil {
		drop(s.byDecl, it.Declared.Path, k)
	}
	for _, d := range it.DependsOn {
		drop(s.dependants, schema.Key{Family: k.Family, ID: d}, k)
	}
	for _, b := range it.Blocks {
		drop(s.blockers, schema.Key{Family: k.Family, ID: b}, k)
	}
	if s.counts[k.Family][it.State]--; s.counts[k.Family][it.State] == 0 {
		delete(s.counts[k.Family], it.State)
	}
	delete(s.in[it.State], k)
	s.lineage.drop(it)
	s.incidents.drop(it)
	s.dequeue(it)
}

// claimOrder is the order within a family: priority descending, then age, then id.
func claimOrder(a, b *schema.Item) int {
	if a.Priority != b.Priority {
		return b.Priority - a.Priority
	}
	if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
		return c
	}
	return strings.Compare(a.ID, b.ID)
}

func (s *State) requeue(it *schema.Item) {
	if it.State != schema.StateQueue || len(s.Unmet(it)) > 0 {
		return
	}
	q := s.ready[it.Family]
	i, _ := slices.BinarySearchFunc(q, it, claimOrder)
	s.ready[it.Family] = slices.Insert(q, i, it)
	s.lineage.requeue(it)
}

func (s *State) dequeue(it *schema.Item) {
	q := s.ready[it.Family]
	if i, found := slices.BinarySearchFunc(q, it, claimOrder); found {
		s.ready[it.Family] = slices.Delete(q, i, i+1)
		s.lineage.dequeue(it)
	}
}

// Unmet lists the dependencies of an item that are not done.
func (s *State) Unmet(it *schema.Item) []schema.Key {
	var keys []schema.Key
	for _, d := range it.DependsOn {
		k := schema.Key{Family: it.Family, ID: d}
		if dep := s.Items[k]; dep == nil || dep.State != schema.StateDone {
			keys = append(keys, k)
		}
	}
	return keys
}

// Ready lists the claimable items of a family whose dependencies are done, first to claim first. The
// caller must not change it.
func (s *State) Ready(family string) []*schema.Item { return s.ready[family] }

// Dependants lists the items that name k in their dependencies, sorted.
func (s *State) Dependants(k schema.Key) []schema.Key { return sortedKeys(s.dependants[k]) }

// Blockers lists the items that name k as what they block, sorted.
func (s *State) Blockers(k schema.Key) []schema.Key { return sortedKeys(s.blockers[k]) }

// DeclaredIn lists the items whose declaration was last seen in the file, sorted.
func (s *State) DeclaredIn(path string) []schema.Key { return sortedKeys(s.byDecl[path]) }

// Count of a family's items in a state.
func (s *State) Count(family, state string) int { return s.counts[family][state] }

// Active lists the active items, sorted.
func (s *State) Active() []schema.Key { return sortedKeys(s.in[schema.StateActive]) }

// Blocked goes over the blocked items, in no order: there may be many.
func (s *State) Blocked() iter.Seq[*schema.Item] {
	return func(yield func(*schema.Item) bool) {
		for k := range s.in[schema.StateBlocked] {
			if !yield(s.Items[k]) {
				return
			}
		}
	}
}

// ByPath finds the item whose document is at path, or nil.
func (s *State) ByPath(path string) *schema.Item {
	if k, ok := s.byPath[path]; ok {
		return s.Items[k]
	}
	return nil
}

// Find lists the items with an id in whatever family, sorted by family.
func (s *State) Find(id string) []*schema.Item {
	var found []*schema.Item
	for family := range s.counts {
		if it := s.Items[schema.Key{Family: family, ID: id}]; it != nil {
			found = append(found, it)
		}
	}
	slices.SortFunc(found, func(a, b *schema.Item) int { return strings.Compare(a.Family, b.Family) })
	return found
}

// Touched returns, once, the keys of the items that changed since the last call.
func (s *State) Touched() []schema.Key {
	keys := sortedKeys(s.touched)
	clear(s.touched)
	return keys
}

// ActiveRuns lists the runs that have not ended, oldest first.
func (s *State) ActiveRuns() []*schema.Run {
	runs := make([]*schema.Run, 0, len(s.Runs))
	for _, r := range s.Runs {
		runs = append(runs, r)
	}
	slices.SortFunc(runs, func(a, b *schema.Run) int { return strings.Compare(a.ID, b.ID) })
	return runs
}

// CompareKeys orders keys by family, then id.
func CompareKeys(a, b schema.Key) int {
	if c := strings.Compare(a.Family, b.Family); c != 0 {
		return c
	}
	return strings.Compare(a.ID, b.ID)
}

func sortedKeys(set map[schema.Key]bool) []schema.Key {
	keys := make([]schema.Key, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, CompareKeys)
	return keys
}
