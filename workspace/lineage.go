package workspace

import (
	"iter"
	"maps"
	"slices"

	"millrace/schema"
)

// lineages index the items by the root spec that they descend from, so that a closure target costs what its own
// lineage does, and a round without news nothing.
type lineages struct {
	by      map[string]map[slot]map[schema.Key]*schema.Item // root → family and state → items
	ready   map[rootFamily][]*schema.Item                   // claimable, in claim order
	ended   map[rootFamily]uint64                           // journal record that ended the last of them
	ideas   map[string]map[string]int                       // root → ideas that its lineage names → how often
	targets map[string]*schema.Item                         // closure targets by root, ended ones as well
	open    map[schema.Key]*schema.Item                     // those that have not ended
	reopen  map[schema.Key]*schema.Item                     // those that have, and are to be opened again
	roots   map[string]*schema.Item                         // root specs done by a run: judged, or to be judged
	newest  *schema.Item                                    // of the roots without a target
	learn   map[schema.Key]*schema.Item                     // items whose skill change waits
}

type rootFamily struct{ root, family string }

type slot struct{ family, state string }

func newLineages() lineages {
	return lineages{
		by: map[string]map[slot]map[schema.Key]*schema.Item{}, ready: map[rootFamily][]*schema.Item{},
		ended: map[rootFamily]uint64{}, ideas: map[string]map[string]int{}, targets: map[string]*schema.Item{},
		open: map[schema.Key]*schema.Item{}, reopen: map[schema.Key]*schema.Item{}, roots: map[string]*schema.Item{},
		learn: map[schema.Key]*schema.Item{},
	}
}

func (l *lineages) add(it *schema.Item) {
	k := it.Key()
	if it.Learned != nil {
		l.learn[k] = it
	}
	if it.Family == schema.FamilyTarget {
		l.addTarget(it)
		return
	}
	if judgeable(it) {
		l.roots[it.ID] = it
		if l.targets[it.ID] == nil && endedLater(it, l.newest) {
			l.newest = it
		}
	}
	root := it.Lineage.RootSpecID
	if root == "" {
		return
	}
	slots := l.by[root]
	if slots == nil {
		slots = map[slot]map[schema.Key]*schema.Item{}
		l.by[root] = slots
	}
	at := slot{it.Family, it.State}
	if slots[at] == nil {
		slots[at] = map[schema.Key]*schema.Item{}
	}
	slots[at][k] = it
	if f := (rootFamily{root, it.Family}); it.EndedSeq > l.ended[f] {
		l.ended[f] = it.EndedSeq
	}
	if idea := ideaOf(it); idea != "" {
		if l.ideas[root] == nil {
			l.ideas[root] = map[string]int{}
		}
		l.ideas[root][idea]++
	}
}

func (l *lineages) addTarget(it *schema.Item) {
	l.targets[it.ID] = it
	switch {
	case !schema.Ended(it.State):
		l.open[it.Key()] = it
	case it.Closure != nil && it.Closure.Reopen != "":
		l.reopen[it.Key()] = it
	}
	if l.newest != nil && l.newest.ID == it.ID {
		l.next()
	}
}

func (l *lineages) drop(it *schema.Item) {
	k := it.Key()
	delete(l.learn, k)
	if it.Family == schema.FamilyTarget {
		delete(l.open, k)
		delete(l.reopen, k)
		return // another takes its place in targets: no item is ever forgotten
	}
	if judgeable(it) {
		if delete(l.roots, it.ID); l.newest == it {
			l.next()
		}
	}
	root, at := it.Lineage.RootSpecID, slot{it.Family, it.State}
	slots := l.by[root]
	if slots == nil {
		return
	}
	if delete(slots[at], k); len(slots[at]) == 0 {
		delete(slots, at)
	}
	if len(slots) == 0 {
		delete(l.by, root)
	}
	if f := (rootFamily{root, it.Family}); it.EndedSeq > 0 && it.EndedSeq == l.ended[f] {
		l.endedBefore(f)
	}
	if idea := ideaOf(it); idea != "" {
		if l.ideas[root][idea]--; l.ideas[root][idea] == 0 {
			delete(l.ideas[root], idea)
		}
		if len(l.ideas[root]) == 0 {
			delete(l.ideas, root)
		}
	}
}

// equal compares two indexes of the same items.
func (l *lineages) equal(o *lineages) bool {
	return maps.EqualFunc(l.by, o.by, func(a, b map[slot]map[schema.Key]*schema.Item) bool { return maps.EqualFunc(a, b, maps.Equal) }) &&
		maps.EqualFunc(l.ready, o.ready, slices.Equal) && maps.Equal(l.ended, o.ended) && maps.EqualFunc(l.ideas, o.ideas, maps.Equal) &&
		maps.Equal(l.targets, o.targets) && maps.Equal(l.open, o.open) && maps.Equal(l.reopen, o.reopen) &&
		maps.Equal(l.roots, o.roots) && l.newest == o.newest && maps.Equal(l.learn, o.learn)
}

// next finds the newest root that is to be judged anew: the one there was has got its target, or has left.
func (l *lineages) next() {
	l.newest = nil
	for id, it := range l.roots {
		if l.targets[id] == nil && endedLater(it, l.newest) {
			l.newest = it
		}
	}
}

// endedBefore finds the last end of a lineage's family anew: an ended item has left that state.
func (l *lineages) endedBefore(f rootFamily) {
	delete(l.ended, f)
	for at, items := range l.by[f.root] {
		if at.family != f.family || !schema.Ended(at.state) {
			continue
		}
		for _, it := range items {
			if it.EndedSeq > l.ended[f] {
				l.ended[f] = it.EndedSeq
			}
		}
	}
}

// judgeable reports whether an item is a root spec that was carried out here. One that ended elsewhere, or by a
// person's hand, was never claimed: there is nothing to judge it by.
func judgeable(it *schema.Item) bool {
	root := it.Lineage.RootSpecID
	return it.Family == schema.FamilySpec && it.State == schema.StateDone && it.EndedBy == byRun && (root == it.ID || root == "")
}

// endedLater orders roots by when they ended.
func endedLater(a, b *schema.Item) bool {
	switch {
	case a == nil || b == nil:
		return a != nil
	case a.EndedSeq != b.EndedSeq:
		return a.EndedSeq > b.EndedSeq
	}
	return a.ID < b.ID
}

// ideaOf is the idea that work of a lineage says it comes from; what was given up says nothing.
func ideaOf(it *schema.Item) string {
	if it.State == schema.StateCancelled || it.State == schema.StateSuperseded {
		return ""
	}
	return it.Lineage.RootIdeaID
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
		for at, items := range s.lineage.by[root] {
			if len(states) > 0 && !slices.Contains(states, at.state) {
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
func (s *State) OpenTarget() *schema.Item { return firstByID(s.lineage.open) }

// Target is the closure target of a root spec, whatever its state, or nil.
func (s *State) Target(root string) *schema.Item { return s.lineage.targets[root] }

// Targets goes over all closure targets, in no order.
func (s *State) Targets() iter.Seq[*schema.Item] {
	return func(yield func(*schema.Item) bool) {
		for _, it := range s.lineage.targets {
			if !yield(it) {
				return
			}
		}
	}
}

// ToReopen is the ended closure target that is to be opened again next, or nil.
func (s *State) ToReopen() *schema.Item { return firstByID(s.lineage.reopen) }

// Unjudged is the root spec done last of those that never had a closure target, or nil.
func (s *State) Unjudged() *schema.Item { return s.lineage.newest }

// IdeasOf counts the different ideas that the work of a lineage says it comes from.
func (s *State) IdeasOf(root string) int { return len(s.lineage.ideas[root]) }

func firstByID(items map[schema.Key]*schema.Item) *schema.Item {
	var first *schema.Item
	for _, it := range items {
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
