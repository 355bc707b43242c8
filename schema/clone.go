package schema

import (
	"maps"
	"slices"
)

// Clone copies an item so that a controller can change what it found in a view.
func (it *Item) Clone() *Item {
	c := *it
	c.DependsOn = slices.Clone(it.DependsOn)
	c.Blocks = slices.Clone(it.Blocks)
	c.Fills = slices.Clone(it.Fills)
	c.Checks = slices.Clone(it.Checks)
	c.Counters = maps.Clone(it.Counters)
	c.Notes = slices.Clone(it.Notes)
	c.Approvals = maps.Clone(it.Approvals)
	c.Declared = clone(it.Declared)
	c.Last = clone(it.Last)
	c.Blocked = clone(it.Blocked)
	c.Cancel = clone(it.Cancel)
	c.Closure = clone(it.Closure) // its lists are replaced, never changed
	c.Learned = clone(it.Learned)
	if c.Blueprint = clone(it.Blueprint); c.Blueprint != nil {
		c.Blueprint.Kept = maps.Clone(it.Blueprint.Kept)
	}
	return &c
}

// MaxNotes bounds an item's intervention history; older ones stay in the journal.
const MaxNotes = 20

// Note adds an intervention, dropping the oldest beyond MaxNotes.
func (it *Item) Note(n Note) {
	it.Notes = append(it.Notes, n)
	if len(it.Notes) > MaxNotes {
		it.Notes = slices.Clone(it.Notes[len(it.Notes)-MaxNotes:])
	}
}

// Afresh gives an item its budgets back, and lets be asked again what was denied: an operator vouches for it. What was
// approved stays so.
func (it *Item) Afresh() {
	it.Counters, it.Requeues, it.Remedied = nil, 0, ""
	maps.DeleteFunc(it.Approvals, func(_ string, r Ruling) bool { return r.Decision != DecisionApprove })
}

// Clone copies a run. Steps are appended to, never changed, so their contents are shared.
func (r *Run) Clone() *Run {
	c := *r
	c.Steps = slices.Clone(r.Steps)
	c.Approval = clone(r.Approval)
	return &c
}

// Clone copies the runtime-wide state.
func (c *Control) Clone() *Control {
	n := *c
	n.Pauses = maps.Clone(c.Pauses)
	n.Stop = clone(c.Stop)
	n.Head = clone(c.Head)
	n.Runners = maps.Clone(c.Runners)
	n.Accepted = maps.Clone(c.Accepted)
	n.Held = maps.Clone(c.Held)
	n.RootFault = clone(c.RootFault)
	n.Learned = maps.Clone(c.Learned)
	return &n
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}
