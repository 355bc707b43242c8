package intake

import (
	"slices"

	"millrace/schema"
	"millrace/workspace"
)

// A graph is the dependencies as they would be if every declaration that waits were admitted. Cycles
// are looked for in it, and not only in what is admitted, so that two files that depend on each other
// are both refused, whichever is read first.
type graph struct {
	t        *table
	blockers map[schema.Key][]string // ids of waiting declarations that say they block a key
	instead  map[schema.Key]string   // the id of a waiting declaration that takes the place of a key

	strangers map[schema.Key][]string // dependencies of documents found in claimable folders

	// Tarjan's strongly connected components, found as far as asked.
	index   map[schema.Key]int
	low     map[schema.Key]int
	stack   []schema.Key
	onStack map[schema.Key]bool
	loops   map[schema.Key][]schema.Key // members of the component of a key that is in a cycle
}

func (t *table) graph() *graph {
	if t.deps != nil {
		return t.deps
	}
	g := &graph{
		t: t, blockers: map[schema.Key][]string{}, instead: map[schema.Key]string{}, strangers: map[schema.Key][]string{},
		index: map[schema.Key]int{}, low: map[schema.Key]int{}, onStack: map[schema.Key]bool{}, loops: map[schema.Key][]schema.Key{},
	}
	t.deps = g
	for _, k := range t.v.Intake.Unreconciled {
		if doc := t.waiting(k); doc != nil {
			for _, b := range doc.IDs("blocks") {
				to := schema.Key{Family: k.Family, ID: b}
				g.blockers[to] = append(g.blockers[to], k.ID)
			}
			for _, old := range doc.IDs("supersedes") {
				if it := t.v.Items[schema.Key{Family: k.Family, ID: old}]; it != nil && waits(it) && old != k.ID {
					g.instead[it.Key()] = k.ID
				}
			}
		}
	}
	for _, h := range t.v.Hands {
		if h.What == workspace.HandForeign && h.Doc != nil && t.v.Items[h.Key] == nil {
			g.strangers[h.Key] = dependencies(h.Doc, t.v.Family(h.Key.Family))
		}
	}
	return g
}

// waiting is the declared record of a key that is not an item's content yet.
func (t *table) waiting(k schema.Key) *schema.Document {
	found := t.v.Intake.ByKey[k]
	if len(found) != 1 {
		return nil
	}
	if it := t.v.Items[k]; it != nil && (schema.Ended(it.State) || it.Declared == nil || it.Declared.Digest == found[0].Digest) {
		return nil
	}
	return found[0].Doc
}

func (g *graph) edges(k schema.Key) []schema.Key {
	var ids []string
	it := g.t.v.Items[k]
	switch doc := g.t.waiting(k); {
	case doc != nil:
		ids = dependencies(doc, g.t.v.Family(k.Family))
	case it != nil && schema.Ended(it.State):
		return nil
	case it != nil:
		ids = it.DependsOn
	}
	ids = slices.Concat(ids, g.strangers[k], g.blockers[k])
	keys := make([]schema.Key, len(ids))
	for i, id := range ids {
		keys[i] = schema.Key{Family: k.Family, ID: id}
		if by := g.instead[keys[i]]; by != "" && by != k.ID {
			keys[i].ID = by
		}
	}
	return append(keys, g.t.v.Blockers(k)...)
}

// dependencies lists what a document of the family depends on.
func dependencies(d *schema.Document, fam *schema.Family) []string {
	if fam == nil || fam.Dependency == "" {
		return nil
	}
	return d.IDs(fam.Dependency)
}

// cycle names the ids of a dependency cycle through k, k first and last; nil when there is none.
func (g *graph) cycle(k schema.Key) []string {
	if _, seen := g.index[k]; !seen {
		g.visit(k)
	}
	if g.loops[k] == nil {
		return nil
	}
	from := map[schema.Key]schema.Key{}
	for queue := []schema.Key{k}; len(queue) > 0; queue = queue[1:] {
		for _, to := range g.edges(queue[0]) {
			if to == k {
				return route(k, queue[0], from)
			}
			if _, seen := from[to]; !seen && slices.Contains(g.loops[k], to) {
				from[to] = queue[0]
				queue = append(queue, to)
			}
		}
	}
	return nil
}

func route(k, last schema.Key, from map[schema.Key]schema.Key) []string {
	ids := []string{k.ID}
	for at := last; at != k; at = from[at] {
		ids = append(ids, at.ID)
	}
	ids = append(ids, k.ID)
	slices.Reverse(ids)
	return ids
}

func (g *graph) visit(k schema.Key) {
	n := len(g.index) + 1
	g.index[k], g.low[k] = n, n
	g.stack = append(g.stack, k)
	g.onStack[k] = true
	itself := false
	for _, to := range g.edges(k) {
		switch {
		case to == k:
			itself = true
		case g.index[to] == 0:
			g.visit(to)
			g.low[k] = min(g.low[k], g.low[to])
		case g.onStack[to]:
			g.low[k] = min(g.low[k], g.index[to])
		}
	}
	if g.low[k] != g.index[k] {
		return
	}
	at := len(g.stack) - 1
	for g.stack[at] != k {
		at--
	}
	members := slices.Clone(g.stack[at:])
	g.stack = g.stack[:at]
	for _, m := range members {
		delete(g.onStack, m)
		if len(members) > 1 || itself {
			g.loops[m] = members
		}
	}
}
