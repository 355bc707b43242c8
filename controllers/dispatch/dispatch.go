// Package dispatch owns the choice of what starts next and the mutation that records it before anything
// is paid: the stage's request, its prompt and what it was shown. Starting the process is the
// executor's work, level-triggered from that record.
package dispatch

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"time"

	"millrace/reconcile"
	"millrace/schema"
	"millrace/workspace"
)

type controller struct{}

// New makes the controller.
func New() reconcile.Controller { return controller{} }

func (controller) Name() string { return "dispatch" }

// Reconcile starts at most one stage: the next one of a run before the first one of an item, because
// what has begun is worth more than what has not.
func (controller) Reconcile(v *workspace.View) reconcile.Proposal {
	if len(v.Control.Pauses) > 0 || stopping(v) || v.Plans == nil {
		return reconcile.Proposal{}
	}
	c := &chooser{View: v, current: v.Plans(v.Control.Plan)}
	if p := c.runs(); p != nil {
		return *p
	}
	if p := c.claims(); p != nil {
		return *p
	}
	return reconcile.Proposal{After: c.after}
}

func stopping(v *workspace.View) bool {
	return v.Control.Stop != nil && v.Control.Stop.Daemon == v.Daemon
}

// A chooser goes over the candidates of one view.
type chooser struct {
	*workspace.View
	current *schema.Plan  // new runs take it; nil while there is none
	after   time.Duration // when another look is worth it; 0: never by itself
}

// runs offers the runs that wait for their next stage, in plane order and oldest first.
func (c *chooser) runs() *reconcile.Proposal {
	waiting := slices.DeleteFunc(c.ActiveRuns(), func(r *schema.Run) bool { return r.Request != "" || r.Approval != nil })
	slices.SortStableFunc(waiting, func(a, b *schema.Run) int { return cmp.Compare(c.rank(a.Plane), c.rank(b.Plane)) })
	for _, r := range waiting {
		it, p := c.Items[r.Item], c.Plans(r.Plan)
		if it == nil || it.State != schema.StateActive || it.Run != r.ID || it.Cancel != nil || p == nil || p.Kind(r.Plane, r.Node) == nil {
			continue // to be cancelled, or recovery's to repair
		}
		if r.Held == nil && c.waits(p, r.Plan, p.Node(r.Plane, r.Node).Runner) { // a held claim starts no agent
			if r.State == schema.RunRunning {
				return park(r)
			}
			continue
		}
		if r.State == schema.RunParked && !c.room(cmp.Or(c.current, p), r.Plane, r.ID) {
			continue
		}
		if p := c.offer(&stage{plan: p, run: r.Clone(), item: it}); p != nil {
			return p
		}
	}
	return nil
}

// claims offers the queue: planes in the plan's order, families in the graph's, items in claim order; of what a
// closure target can hold, its own lineage only. An item that cannot go never stands in the way of another.
func (c *chooser) claims() *reconcile.Proposal {
	if c.current == nil || c.Compiled.Plan == nil {
		return nil // while the inputs do not compile nobody knows under what new work would run
	}
	touched := c.handled()
	for _, plane := range c.PlaneOrder(c.current) {
		g := c.current.Graphs[plane]
		if g == nil || c.Overdue(c.current, plane) || !c.room(c.current, plane, "") {
			continue
		}
		for _, family := range g.Claim {
			waits := map[string]bool{}
			for node := range begins(g, family) {
				waits[node] = c.waits(c.current, c.Control.Plan, g.Nodes[node].Runner)
			}
			if !slices.Contains(slices.Collect(maps.Values(waits)), false) {
				continue
			}
			for _, it := range c.Claims(c.current, family) {
				if node := g.Begin(family, it.Target); node == "" || waits[node] || touched[it.Key()] || len(c.current.Lacks(plane, it.Target, it.Fills)) > 0 {
					continue
				}
				if p := c.offer(c.first(plane, g, it)); p != nil {
					return p
				}
			}
		}
	}
	return nil
}

// begins are the nodes where items of a family may begin.
func begins(g *schema.Graph, family string) iter.Seq[string] {
	return slices.Values(append([]string{g.Entry[family]}, g.Targets[family]...))
}

// first is the first stage of an item's new run.
func (c *chooser) first(plane string, g *schema.Graph, it *schema.Item) *stage {
	return &stage{plan: c.current, item: it, claim: true, run: &schema.Run{
		SchemaVersion: schema.Version, Item: it.Key(), Generation: it.Generation, Plan: c.Control.Plan,
		Plane: plane, Graph: g.ID, State: schema.RunRunning, Node: g.Begin(it.Family, it.Target), Started: c.Now,
	}}
}

// offer starts a stage when all that its prompt shows has been read; else it asks for that, and nothing
// else is chosen meanwhile, so that the order holds.
func (c *chooser) offer(s *stage) *reconcile.Proposal {
	switch missing, ok := s.read(c.View); {
	case !ok: // the document is not what the journal says, or was read before it changed
		if !c.handled()[s.item.Key()] {
			c.soon(lookAgain)
		}
		return nil
	case len(missing) > 0:
		return &reconcile.Proposal{Observe: missing, After: c.after}
	}
	if !c.opens(s) {
		return &reconcile.Proposal{Mutation: s.start(c.View)}
	}
	contract, missing := c.Contract(s.item, s.document.Data)
	if len(missing) > 0 {
		return &reconcile.Proposal{Observe: missing, After: c.after}
	}
	m := s.start(c.View)
	m.OpenTarget(c.View, s.item, contract)
	return &reconcile.Proposal{Mutation: m}
}

// opens reports whether starting the stage claims a root spec that is to be judged in the end: its closure target
// opens in the same commit, so that it is judged against what it was when it began.
func (c *chooser) opens(s *stage) bool {
	return s.claim && workspace.IsRoot(s.item) && workspace.Closes(s.plan) && c.OpenTarget() == nil
}

// waits reports whether the runner is to be left alone, and remembers until when.
func (c *chooser) waits(p *schema.Plan, plan schema.Digest, runner string) bool {
	w, wait := c.RunnerWait(p, plan, runner)
	if wait && !w.Stalled {
		c.soon(w.Until.Sub(c.Now))
	}
	return wait
}

// lookAgain is when a document that was not as expected is read again.
const lookAgain = time.Second

func (c *chooser) soon(d time.Duration) {
	if c.after == 0 || d < c.after {
		c.after = d
	}
}

func (c *chooser) room(p *schema.Plan, plane, run string) bool {
	_, ok := c.Room(p, plane, run)
	return ok
}

// rank is the place of a plane in the current plan's order; planes it does not have come last.
func (c *chooser) rank(plane string) int {
	if c.current != nil {
		if i := slices.Index(c.PlaneOrder(c.current), plane); i >= 0 {
			return i
		}
	}
	return 1 << 10
}

// handled are the items that somebody has a hand on: what the folders say of them is not settled.
func (c *chooser) handled() map[schema.Key]bool {
	keys := map[schema.Key]bool{}
	for _, h := range c.Hands {
		keys[h.Key] = true
	}
	return keys
}

// park says of a run that its next stage waits for its runner.
func park(r *schema.Run) *reconcile.Proposal {
	r = r.Clone()
	r.State = schema.RunParked
	m := &workspace.Mutation{By: "dispatch", Why: r.Node + " of " + r.Item.String() + " waits for its runner"}
	m.PutRun(r)
	return &reconcile.Proposal{Mutation: m}
}
