package workspace

import (
	"fmt"

	"millrace/schema"
)

// deferred is what closure has against the claim of an item.
func (v *View) deferred(p *schema.Plan, plane string, it *schema.Item) []schema.Waiting {
	if f := v.Fault(p, plane); f != nil && holds(p, it.Family) {
		return []schema.Waiting{unjudged(f)}
	}
	t := v.Deferred(p, it)
	if t == nil {
		return nil
	}
	w := schema.Waiting{Reason: WaitClosure, Since: t.CreatedAt,
		Message:   fmt.Sprintf("the closure target of %s is %s, and nothing else is begun until it has ended", t.ID, standing(t)),
		ClearedBy: fmt.Sprintf("the end of what millrace why %s names, or millrace closure abandon %s --reason …", t.Key(), t.ID)}
	if t.State == schema.StateBlocked {
		w.Stalled, w.ClearedBy = true, fmt.Sprintf("%s, or millrace closure abandon %s --reason …", retry(t), t.ID)
	}
	return []schema.Waiting{w}
}

// standing is the state of a closure target in words.
func standing(t *schema.Item) string {
	switch {
	case Abandoned(t):
		return "being abandoned"
	case t.State == schema.StateQueue:
		return "ready to be judged"
	case t.State == schema.StateActive:
		return "being judged"
	case t.State == schema.StateBlocked:
		return "stalled"
	}
	return t.State
}

func unjudged(f *schema.RootFault) schema.Waiting {
	return schema.Waiting{Reason: WaitUnjudged, Since: f.Since, Message: because(f.Class, f.Message), ClearedBy: f.ClearedBy, Stalled: true}
}

// open is what a closure target waits for: the work of its lineage, with the first of it that needs somebody.
func (v *View) open(t *schema.Item) []schema.Waiting {
	n, waits := 0, 0
	var first *schema.Item
	for it := range v.OpenWork(t.ID) {
		if n++; it.State == schema.StateBlocked {
			waits++
		}
		if first == nil || it.State == schema.StateBlocked && first.State != it.State ||
			(it.State == schema.StateBlocked) == (first.State == schema.StateBlocked) && CompareKeys(it.Key(), first.Key()) < 0 {
			first = it
		}
	}
	if first == nil {
		return v.Standing() // closure makes it ready, or ends it
	}
	w := schema.Waiting{Reason: WaitLineage, Since: t.Updated, ClearedBy: "the end of that work",
		Message: fmt.Sprintf("%d of its lineage left to do; %s is %s", n, first.Key(), inWords(first.State))}
	if waits > 0 {
		w.Stalled, w.ClearedBy = waits == n, retry(first)
	}
	return []schema.Waiting{w}
}
