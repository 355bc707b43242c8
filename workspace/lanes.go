package workspace

import (
	"slices"

	"millrace/schema"
)

// Lane is one run's place among those that may run at the same time.
type Lane struct{ Plane, Run string }

// Lanes lists the runs that occupy a lane, by run id: those that run, and parked ones whose stages may
// have changed the working tree, because there is one tree and one unfinished change of it.
func (s *State) Lanes() []Lane {
	var lanes []Lane
	for _, r := range s.ActiveRuns() {
		if r.State == schema.RunRunning || r.Wrote() {
			lanes = append(lanes, Lane{r.Plane, r.ID})
		}
	}
	return lanes
}

// Room reports whether a run of the plane may run beside those that do, under the plan's lanes and
// exclusions; run names one that is not to be counted against itself ("" for a new one). When there
// is no room, taken is the run that has it.
func (s *State) Room(p *schema.Plan, plane, run string) (taken string, ok bool) {
	free := max(1, p.Lanes[plane])
	for _, l := range s.Lanes() {
		if l.Run == run {
			continue
		}
		if l.Plane == plane {
			if free--; free <= 0 {
				return l.Run, false
			}
		} else if excludes(p, plane, l.Plane) {
			return l.Run, false
		}
	}
	return "", true
}

func excludes(p *schema.Plan, a, b string) bool {
	for _, group := range p.Exclusive {
		if slices.Contains(group, a) && slices.Contains(group, b) {
			return true
		}
	}
	return false
}
