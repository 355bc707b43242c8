package workspace

import (
	"slices"

	"millrace/schema"
)

// MaxAbandoned bounds how much work of an abandoned lineage one mutation ends.
const MaxAbandoned = 32

// Abandoned reports whether a closure target is being abandoned: it ends when the work of its lineage has.
func Abandoned(t *schema.Item) bool {
	return !schema.Ended(t.State) && t.Closure != nil && t.Closure.Verdict == schema.VerdictAbandoned
}

// Abandon takes a closure target one step nearer to its end without a verdict: it is marked, queued and blocked work
// of its lineage is cancelled, a part in every mutation, active work when its stage ends; then the target follows. It
// says false, and adds nothing, when there is nothing to do now: the target has ended, or waits for active work.
func (m *Mutation) Abandon(v *View, t *schema.Item, by, why string) bool {
	if schema.Ended(t.State) {
		return false
	}
	t, marked := t.Clone(), !Abandoned(t)
	if marked {
		abandon(v, t, by, why)
	}
	left, n := 0, 0
	for _, it := range slices.SortedFunc(v.OpenWork(t.ID), func(a, b *schema.Item) int { return CompareKeys(a.Key(), b.Key()) }) {
		if left++; n == MaxAbandoned {
			break
		}
		switch {
		case it.State != schema.StateActive:
			m.CancelItem(v, it.Clone(), by, "its root "+t.ID+" was abandoned")
			left--
		case it.Cancel == nil:
			it = it.Clone()
			it.Cancel = &schema.Cancel{By: by, Why: "its root " + t.ID + " was abandoned", At: v.Now, To: schema.StateCancelled}
			it.Updated = v.Now
			m.PutItem(it)
			m.Tell(Event{Type: EvCancelWanted, Item: it.Key(), Plane: v.plane(it), Run: it.Run, To: schema.StateCancelled, Message: it.Cancel.Why})
		default:
			continue // it has been told
		}
		n++
	}
	switch {
	case left > 0 && !marked:
	case left > 0:
		m.PutItem(t)
	case t.State != schema.StateActive:
		m.CancelItem(v, t, by, why)
	case t.Cancel == nil:
		t.Cancel = &schema.Cancel{By: by, Why: why, At: v.Now, Now: true, To: schema.StateCancelled}
		m.PutItem(t)
		m.Tell(Event{Type: EvCancelWanted, Item: t.Key(), Plane: v.plane(t), Run: t.Run, To: schema.StateCancelled, Message: why})
	case marked:
		m.PutItem(t)
	}
	return len(m.Ops) > 0
}

const noteAbandoned = "abandoned"

func abandon(v *View, t *schema.Item, by, why string) {
	t.Closure.Verdict, t.Closure.Judged, t.Closure.At, t.Updated = schema.VerdictAbandoned, v.Seq+1, v.Now, v.Now
	t.Note(schema.Note{At: v.Now, By: by, What: noteAbandoned, Why: why})
}

// AbandonedBy is who abandons a closure target, and why.
func AbandonedBy(t *schema.Item) (by, why string) {
	for _, n := range slices.Backward(t.Notes) {
		if n.What == noteAbandoned {
			return n.By, n.Why
		}
	}
	return "", ""
}

// AbandonRoot says of a root spec that has no closure target, or an ended one, that it will not be judged: what it
// opens is abandoned at once, and ends with the work that its lineage still has. It says false, and does nothing,
// while another target is open.
func (m *Mutation) AbandonRoot(v *View, root *schema.Item, by, why string) bool {
	if v.OpenTarget() != nil {
		return false
	}
	t := v.freshTarget(root)
	t.Closure.Contract = []schema.File{{Path: root.Path, Digest: root.Document}}
	abandon(v, t, by, why)
	m.admitTarget(v, t)
	return true
}
