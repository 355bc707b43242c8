package workspace

import (
	"fmt"

	"millrace/schema"
)

// LearnedWaits says why the skill change of an item is not made yet: until no run of another plane has a lane. Nil
// when nothing is in its way.
func (v *View) LearnedWaits(it *schema.Item) *schema.Waiting {
	for _, w := range v.Standing() {
		if w.Reason != WaitPlan { // what is learned may be what the plan lacks
			return &w
		}
	}
	for _, l := range v.Lanes() {
		if l.Plane == v.plane(it) {
			continue
		}
		r := v.Runs[l.Run]
		return &schema.Waiting{Reason: WaitExclusive, Since: r.Started, ClearedBy: "the end of the work of other planes",
			Message: fmt.Sprintf("its change of skill %s waits while %s works on %s", it.Learned.Skill, l.Plane, r.Item.ID)}
	}
	return nil
}
