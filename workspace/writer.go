package workspace

import (
	"time"

	"millrace/schema"
)

// afterglow is how long after a stage's result a file that is first seen still counts as the stage's
// work: the news of it may arrive later than that of the completion.
const afterglow = 150 * time.Millisecond

// WriterAt names the run that may have written a file which was first seen at t: one whose stage may
// write the workspace and runs, or has just ended. "" means that only a person can have written it.
func (v *View) WriterAt(t time.Time) string {
	for _, r := range v.ActiveRuns() {
		if r.Request != "" && v.writes(r) {
			return r.ID
		}
	}
	if last := v.lastStage; last != nil && agentRan(last) && !t.After(last.At.Add(afterglow)) && v.nodeWrites(last.Node) {
		return last.Run
	}
	return ""
}

// agentRan reports whether a stage came so far that its agent was started.
func agentRan(o *schema.Outcome) bool {
	return o.Failure != schema.FailRunnerNotFound && o.Failure != schema.FailNotStarted
}

// nodeWrites asks the current plan, as the run that ended may be gone.
func (v *View) nodeWrites(node string) bool {
	if v.Plans == nil {
		return true
	}
	p := v.Plans(v.Control.Plan)
	if p == nil {
		return true
	}
	known := false
	for plane := range p.Graphs {
		if k := p.Kind(plane, node); k != nil {
			if k.WritesTree {
				return true
			}
			known = true
		}
	}
	return !known
}

// writes errs on the side of caution: a stage that no plan describes may write.
func (v *View) writes(r *schema.Run) bool {
	if v.Plans == nil {
		return true
	}
	p := v.Plans(r.Plan)
	if p == nil {
		return true
	}
	k := p.Kind(r.Plane, r.Node)
	return k == nil || k.WritesTree
}

// Vouched reports whether somebody stands behind a file's bytes (no digest: behind its absence): they
// are committed to git, or were accepted by command, or are a learned skill's as the runtime wrote it.
func (v *View) Vouched(path string, is schema.Digest) bool {
	if learned, ok := v.Control.Learned[path]; ok && learned == is {
		return true
	}
	if accepted, ok := v.Control.Accepted[path]; ok && accepted == is {
		return true
	}
	committed, ok := v.Git.Committed[path]
	return ok && committed == is
}

// Doubted reports whether an operator's file must wait for a person's word, because its bytes (no digest: its
// absence) may be an agent's work, and during which run they appeared.
func (v *View) Doubted(path string, is schema.Digest) (run string, doubted bool) {
	if v.Vouched(path, is) {
		return "", false
	}
	if h, ok := v.Control.Held[path]; ok && h.Digest == is {
		return h.During, true
	}
	changed := v.Now
	if f := v.Intake.Files[path]; f != nil {
		changed = f.Changed
	}
	run = v.WriterAt(changed)
	return run, run != ""
}
