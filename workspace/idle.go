package workspace

import (
	"fmt"
	"slices"

	"millrace/schema"
)

// Idle says why nothing runs in a plane; nil when something does, or is about to.
func (v *View) Idle(plane string) *schema.Waiting {
	if all := v.IdleObstacles(plane); len(all) > 0 {
		return &all[0]
	}
	return nil
}

// IdleObstacles are all reasons why nothing runs in a plane, those that need somebody to act first.
func (v *View) IdleObstacles(plane string) []schema.Waiting {
	for _, r := range v.Runs {
		if r.Plane == plane && r.Request != "" {
			return nil
		}
	}
	if head := v.head(plane); head != nil {
		return v.Obstacles(head.Key())
	}
	all := v.Standing()
	if v.Intake != nil && len(v.Intake.Unreconciled) == 0 { // a daemon would find nothing to do
		all = slices.DeleteFunc(all, func(w schema.Waiting) bool { return w.Reason == WaitNoDaemon })
	}
	return append(append(all, v.unclosed(plane)...), v.noWork(plane))
}

// unclosed is what closure has against new work of a plane in which nothing is queued.
func (v *View) unclosed(plane string) []schema.Waiting {
	p := v.CurrentPlan()
	if plane != ClosurePlane(p) {
		return nil
	}
	if f := v.Fault(p, plane); f != nil {
		return []schema.Waiting{unjudged(f)}
	}
	if t := v.Holding(p); t != nil {
		return v.Obstacles(t.Key())
	}
	return nil
}

// head is the item of a plane whose obstacle is the plane's: an active one that stands still, the
// first to be claimed, or the first that depends on others.
func (v *View) head(plane string) *schema.Item {
	for _, r := range v.ActiveRuns() {
		if it := v.Items[r.Item]; r.Plane == plane && it != nil {
			return it
		}
	}
	families := v.claimed(plane)
	for _, f := range families {
		if ready := v.Claims(v.CurrentPlan(), f); len(ready) > 0 {
			return ready[0]
		}
	}
	for _, f := range families {
		if ready := v.Ready(f); len(ready) > 0 {
			return ready[0]
		}
	}
	var first *schema.Item
	for _, it := range v.Items {
		if it.State == schema.StateQueue && slices.Contains(families, it.Family) && (first == nil || claimOrder(it, first) < 0) {
			first = it
		}
	}
	return first
}

func (v *View) claimed(plane string) []string {
	if p := v.CurrentPlan(); p != nil && p.Graphs[plane] != nil {
		return p.Graphs[plane].Claim
	}
	return nil
}

func (v *View) noWork(plane string) schema.Waiting {
	w := schema.Waiting{Reason: WaitNoWork, Message: "nothing is queued", ClearedBy: "a file dropped into " + IntakeDir + "/"}
	n := 0
	for _, f := range v.claimed(plane) {
		n += v.Count(f, schema.StateBlocked)
	}
	if n > 0 {
		w.Message = fmt.Sprintf("nothing is queued; %d blocked", n)
		w.ClearedBy = "millrace queue retry-blocked ID --reason …, or " + w.ClearedBy
	}
	return w
}
