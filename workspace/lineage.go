package workspace

import (
	"iter"
	"slices"

	"millrace/schema"
)

// lineages index the items by the root spec that they descend from, so that a closure target costs what its own
// lineage does.
type lineages struct {
	by    map[string]map[string]map[schema.Key]*schema.Item // root → state → items
	ready map[rootFamily][]*schema.Item                     // claimable, in claim order
	open  map[schema.Key]*schema.Item                       // closure targets that have not ended
	learn map[schema.Key]*schema.Item                       // items whose skill change waits
}

type rootFamily struct{ root, family string }

func newLineages() lineages {
	return lineages{
		by: map[string]map[string]map[schema.Key]*schema.Item{}, ready: map[rootFamily][]*schema.Item{},
		open: map[schema.Key]*schema.Item{}, learn: map[schema.Key]*schema.Item{},
	}
}

func (l *lineages) add(it *schema.Item) {
	k := it.Key()
	if it.Family == schema.FamilyTarget && !schema.Ended(it.State) {
		l.open[k] = it
	}
	if it.Learned != nil {
		l.learn[k] = it
	}
	root := it.Lineage.RootSpecID
	if root == "" || it.Family == schema.FamilyTarget {
		return
	}
	states := l.by[root]
	if states == nil {
		states = map[string]map[schema.Key]*schema.Item{}
		l.by[root] = states
	}
	if states[it.State] == nil {
		states[it.State] = map[schema.Key]*schema.Item{}
	}
	states[it.State][k] = it
}

func (l *lineages) drop(it *schema.Item) {
	k := it.Key()
	delete(l.open, k)
	delete(l.learn, k)
	if states := l.by[it.Lineage.RootSpecID]; states != nil {
		delete(states[it.State], k)
	}
}

func (l *lineages) append(it *schema.Item) {
	if q := (rootFamily{it.Lineage.RootSpecID, it.Family}); q.root != "" {
		l.ready[q] = append(l.ready[q], it)
	}
}

func (l *lineages) sort() {
	for _, q := range l.ready {
		slices.SortFunc(q, claimOrder)
	}
}

func (l *lineages) requeue(it *schema.Item) {
	if q := (rootFamily{it.Lineage.RootSpecID, it.Family}); q.root != "" {
		i, _ := slices.BinarySearchFunc(l.ready[q], it, claimOrder)
		l.ready[q] = slices.Insert(l.ready[q], i, it)
	}
}

func (l *lineages) dequeue(it *schema.Item) {
	q := rootFamily{it.Lineage.RootSpecID, it.Family}
	if i, found := slices.BinarySearchFunc(l.ready[q], it, claimOrder); found {
		if l.ready[q] = slices.Delete(l.ready[q], i, i+1); len(l.ready[q]) == 0 {
			delete(l.ready, q)
		}
	}
}

// ReadyOf lists what Ready does, of one lineage only.
func (s *State) ReadyOf(family, root string) []*schema.Item {
	return s.lineage.ready[rootFamily{root, family}]
}

// Lineage goes over the items that descend from a root spec, itself among them and its closure target not, in no
// order; with states only over those in one of them.
func (s *State) Lineage(root string, states ...string) iter.Seq[*schema.Item] {
	return func(yield func(*schema.Item) bool) {
		for state, items := range s.lineage.by[root] {
			if len(states) > 0 && !slices.Contains(states, state) {
				continue
			}
			for _, it := range items {
				if !yield(it) {
					return
				}
			}
		}
	}
}

// OpenTarget is the closure target that has not ended, or nil. Of more than one, which no law allows, it is the
// first by id.
func (s *State) OpenTarget() *schema.Item {
	var first *schema.Item
	for _, it := range s.lineage.open {
		if first == nil || it.ID < first.ID {
			first = it
		}
	}
	return first
}

// Learned lists the items whose skill change waits, sorted.
func (s *State) Learned() []schema.Key {
	keys := make([]schema.Key, 0, len(s.lineage.learn))
	for k := range s.lineage.learn {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, CompareKeys)
	return keys
}
