package workspace

import (
	"encoding/json"
	"fmt"
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

// RunnerWait is what keeps a runner from being given a stage of the plan now, if anything does. A wait
// concerns the settings that it was met with: a run of the current plan does not wait when they have
// changed since; a run of an older plan, which cannot get the new ones, does.
func (v *View) RunnerWait(p *schema.Plan, plan schema.Digest, runner string) (schema.RunnerWait, bool) {
	w, ok := v.Control.Runners[runner]
	if !ok || !w.Stalled && !w.Until.After(v.Now) {
		return w, false
	}
	if plan == v.Control.Plan && w.Config != "" && w.Config != RunnerSettings(p, runner) {
		return w, false
	}
	return w, true
}

// RunnerSettings is the digest of a plan's settings of a runner: what RunnerWait.Config names. It is ""
// for a runner that the plan does not use.
func RunnerSettings(p *schema.Plan, runner string) schema.Digest {
	r := p.Runners[runner]
	if r == nil {
		return ""
	}
	data, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("marshal runner %s: %v", runner, err)) // text only
	}
	return schema.DigestOf(data)
}
