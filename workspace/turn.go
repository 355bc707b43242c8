package workspace

import (
	"fmt"
	"slices"

	"millrace/schema"
)

// turn is why an item that could go is not the one that goes.
func (v *View) turn(p *schema.Plan, plane string, it *schema.Item) []schema.Waiting {
	if taken, ok := v.Room(p, plane, ""); !ok {
		r := v.Runs[taken]
		w := schema.Waiting{Reason: WaitLane, Since: r.Started, ClearedBy: "the end of run " + r.ID,
			Message: fmt.Sprintf("the %s lane is taken by %s (%s)", plane, r.Item.ID, where(r))}
		if r.Approval != nil {
			w.ClearedBy, w.Stalled = v.asked(r.Approval).ClearedBy, true
		}
		if r.Plane != plane {
			w.Reason = WaitExclusive
			w.Message = fmt.Sprintf("%s is busy with %s, and %s may not run beside it", r.Plane, r.Item.ID, plane)
		}
		return []schema.Waiting{w}
	}
	if ahead, first := v.ahead(p, plane, it); ahead > 0 {
		return []schema.Waiting{{Reason: WaitTurn, ClearedBy: "its turn; a higher priority brings it forward",
			Message: fmt.Sprintf("%d ahead of it, %s first", ahead, first.Key())}}
	}
	return nil
}

func where(r *schema.Run) string {
	if r.Approval != nil {
		return fmt.Sprintf("waiting for %s to be approved, with an unfinished change", r.Approval.Capability)
	}
	if r.State == schema.RunParked {
		return "parked at " + r.Node + " with an unfinished change"
	}
	return "at " + r.Node
}

// ahead counts the items that are claimed before one, in planes that go first and in its own. Items
// of a family enter at one node, so a runner that waits holds all of them or none.
func (v *View) ahead(p *schema.Plan, plane string, it *schema.Item) (n int, first *schema.Item) {
	for _, other := range v.PlaneOrder(p) {
		g := p.Graphs[other]
		if g == nil || v.Fault(p, other) != nil || other != plane && !excludes(p, plane, other) {
			continue
		}
		for _, f := range g.Claim {
			ready := v.Claims(p, f)
			if f == it.Family {
				i, _ := slices.BinarySearchFunc(ready, it, claimOrder)
				ready = ready[:i]
			}
			if len(v.runner(p, v.Control.Plan, p.Node(other, g.Entry[f]))) == 0 && len(ready) > 0 {
				if n += len(ready); first == nil {
					first = ready[0]
				}
			}
			if f == it.Family {
				return n, first
			}
		}
	}
	return n, first
}
