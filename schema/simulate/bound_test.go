package simulate_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"millrace/schema"
)

// A bound is how many stages an item can go through at most, worked out from a graph's edges and limits alone: the
// longest way through its nodes, what is spent of its budgets, and which nodes may be resumed. It asks
// Plan.Route nothing.
type bound struct {
	plan   *schema.Plan
	graph  *schema.Graph
	family string
	weigh  func(node string) int    // what one visit of the node counts
	mark   func(e *schema.Edge) int // what taking the edge counts

	nodes, counters []string
	known           map[place]int
	best            map[place]hop
	open            map[place]bool
}

// A place is all that decides where a run can go on.
type place struct {
	node    string
	spent   [8]uint8 // by index of counters
	entered uint64   // bits by index of nodes
}

// A hop is where an edge may lead, and a verdict that leads there.
type hop struct {
	to      place
	verdict schema.Verdict
	marks   int
}

func boundOf(p *schema.Plan, plane, family string) *bound {
	b := &bound{plan: p, graph: p.Graphs[plane], family: family, known: map[place]int{}, best: map[place]hop{}, open: map[place]bool{}}
	b.weigh, b.mark = func(string) int { return 1 }, func(*schema.Edge) int { return 0 }
	b.nodes, b.counters = slices.Sorted(maps.Keys(b.graph.Nodes)), slices.Sorted(maps.Keys(limits(b.graph)))
	return b
}

// limits of a graph's budgets.
func limits(g *schema.Graph) map[string]int {
	all := map[string]int{}
	for e := range edges(g) {
		if e.Counter != "" {
			all[e.Counter] = max(all[e.Counter], e.Limit)
		}
	}
	return all
}

// edges of nodes and gates.
func edges(g *schema.Graph) func(yield func(*schema.Edge) bool) {
	return func(yield func(*schema.Edge) bool) {
		for _, name := range slices.Sorted(maps.Keys(g.Nodes)) {
			on := g.Nodes[name].On
			for _, outcome := range slices.Sorted(maps.Keys(on)) {
				if !yield(on[outcome]) {
					return
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(g.Ends)) {
			if gate := g.Ends[name].Gate; gate != nil && !yield(gate) {
				return
			}
		}
	}
}

// at is the bound from a node on; false when there is none.
func (b *bound) at(node string) (int, bool) { return b.longest(place{node: node}) }

func (b *bound) longest(at place) (int, bool) {
	if b.graph.Nodes[at.node] == nil {
		return 0, true
	}
	if n, ok := b.known[at]; ok {
		return n, true
	}
	if b.open[at] {
		return 0, false // back where it was, with nothing spent between
	}
	b.open[at] = true
	defer delete(b.open, at)
	most := -1
	for _, w := range b.hops(at) {
		n, bounded := b.longest(w.to)
		if !bounded {
			return 0, false
		}
		if n += w.marks; n > most {
			most, b.best[at] = n, w
		}
	}
	b.known[at] = most + b.weigh(at.node)
	return b.known[at], true
}

// witness is a play that takes as long as the bound allows.
func (b *bound) witness(node string) []schema.Verdict {
	var all []schema.Verdict
	for at := (place{node: node}); b.graph.Nodes[at.node] != nil; at = b.best[at].to {
		all = append(all, b.best[at].verdict)
	}
	return all
}

func (b *bound) hops(at place) []hop {
	var all []hop
	n := b.graph.Nodes[at.node]
	kind := b.plan.Stages[n.Stage]
	now := at
	now.entered |= 1 << slices.Index(b.nodes, at.node)
	for _, outcome := range slices.Sorted(maps.Keys(n.On)) {
		ways := b.edge(now, n.On[outcome], schema.Verdict{Outcome: outcome}, b.fails(outcome))
		for _, w := range ways {
			if end := b.graph.Ends[w.to.node]; end != nil && end.Gate != nil && kind.Gate[outcome] == "" {
				w.verdict.ChecksRun = true
				ways = append(ways, b.edge(now, end.Gate, w.verdict, false)...)
			}
		}
		all = append(all, ways...)
	}
	return all
}

// fails reports whether some failure takes the route of the outcome.
func (b *bound) fails(outcome string) bool {
	return outcome == schema.OutcomeBlocked || slices.Contains(slices.Collect(maps.Values(b.graph.Failures)), outcome)
}

// edge is where an edge may lead: its then once the budget is spent, else its target, or what an effect or the stage
// chooses in its place.
func (b *bound) edge(at place, e *schema.Edge, v schema.Verdict, failure bool) []hop {
	var all []hop
	lead := func(to string, v schema.Verdict, marks int) {
		next := at
		next.node = to
		all = append(all, hop{next, v, marks})
	}
	if i := slices.Index(b.counters, e.Counter); i >= 0 {
		if int(at.spent[i]) >= e.Limit {
			lead(e.Then, v, 0)
			return all
		}
		at.spent[i]++
	}
	owned := func(to string) bool {
		n := b.graph.Nodes[to]
		return n == nil || slices.Contains(b.plan.Stages[n.Stage].Owns, b.family)
	}
	plain := e.To
	if e.Resume != nil && e.Resume.Default[b.family] != "" {
		plain = e.Resume.Default[b.family]
		if failure {
			lead(e.To, schema.Verdict{Failure: schema.FailExit}, b.mark(e))
		}
	}
	lead(plain, v, b.mark(e))
	for _, key := range slices.Sorted(maps.Keys(e.Routes)) {
		if owned(e.Routes[key]) {
			v.Key = key
			lead(e.Routes[key], v, b.mark(e))
		}
	}
	v.Key = ""
	for i, node := range b.nodes {
		if e.Resume != nil && at.entered&(1<<i) != 0 && owned(node) && !slices.Contains(e.Resume.Not, node) {
			v.Metadata = map[string]any{e.Resume.Keys[0]: node}
			lead(node, v, b.mark(e))
		}
	}
	return all
}

// A ledger counts how often each budgeted edge was taken, from where runs were seen to go.
type ledger struct {
	graph *schema.Graph
	taken map[string]int
}

// note looks at a step; an error says that a budget was overdrawn.
func (l *ledger) note(node, outcome, to string) error {
	e := l.graph.Nodes[node].On[outcome]
	if e == nil {
		return fmt.Errorf("%s has no edge for %s", node, outcome)
	}
	if end := l.graph.Ends[e.To]; end != nil && end.Gate != nil && to != e.To {
		e = end.Gate
	}
	if e.Counter == "" || to == e.Then && to != e.To {
		return nil
	}
	if l.taken[e.Counter]++; l.taken[e.Counter] > e.Limit {
		return fmt.Errorf("%s → %s is the %d. passage that spends %s, whose limit is %d", node, to, l.taken[e.Counter], e.Counter, e.Limit)
	}
	return nil
}

// path of a passage, for a message.
func path(nodes []string) string { return strings.Join(nodes, " → ") }
