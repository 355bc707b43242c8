package workspace

import (
	"fmt"
	"strings"

	"millrace/schema"
)

// Untold says that a document asks for a stage and does not tell it what to work on.
func Untold(target string, lacks []string) string {
	return fmt.Sprintf("target_stage %s must be told what to work on, by %s", target, strings.Join(lacks, " or "))
}

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
