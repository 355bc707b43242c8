package workspace

import (
	"cmp"
	"fmt"
	"slices"

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

// eachOther is the closure target that an item keeps open while what the item needs waits for its end, or nil.
func (v *View) eachOther(it, needed *schema.Item) *schema.Item {
	if p := v.CurrentPlan(); p != nil && needed.State == schema.StateQueue {
		if t := v.Deferred(p, needed); t != nil && it.Lineage.RootSpecID == t.ID {
			return t
		}
	}
	return nil
}

// open is what a closure target waits for: the work of its lineage, with the first of it that needs somebody.
func (v *View) open(t *schema.Item) []schema.Waiting {
	n, waits := 0, 0
	var first *schema.Item
	known := map[schema.Key]bool{}
	for it := range v.OpenWork(t.ID) {
		n++
		if v.stuck(it, known) {
			waits++
		}
		if first == nil || v.needier(it, first) < 0 {
			first = it
		}
	}
	if first == nil {
		return v.Standing() // closure makes it ready, or ends it
	}
	if Abandoned(t) {
		return []schema.Waiting{{Reason: WaitLineage, Since: t.Closure.At, ClearedBy: "the end of that work",
			Message: fmt.Sprintf("being abandoned; %d of its lineage left to end, %s is %s", n, first.Key(), inWords(first.State))}}
	}
	w := schema.Waiting{Reason: WaitLineage, Since: t.Updated, ClearedBy: "the end of that work", Stalled: waits == n,
		Message: fmt.Sprintf("%d of its lineage left to do; %s is %s", n, first.Key(), inWords(first.State))}
	if need := v.inNeed(first); need != nil {
		w.ClearedBy = need.ClearedBy
		if first.State != schema.StateBlocked {
			w.Message += " and " + need.Message
		}
	}
	return []schema.Waiting{w}
}

// needier orders work: what only somebody can clear first, blocked work before what waits for it, then by key.
func (v *View) needier(x, y *schema.Item) int {
	rank := func(it *schema.Item) int {
		switch {
		case v.inNeed(it) == nil:
			return 2
		case it.State == schema.StateBlocked:
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(rank(x), rank(y)), CompareKeys(x.Key(), y.Key()))
}

// inNeed is what only somebody can clear of an item, as far as the item itself says it, or nil.
func (v *View) inNeed(it *schema.Item) *schema.Waiting {
	switch it.State {
	case schema.StateBlocked:
		if w := v.blocked(it); w.Stalled {
			return &w
		}
	case schema.StateQueue:
		for _, w := range v.dependencies(it) {
			if w.Stalled {
				return &w
			}
		}
	}
	return nil
}

// stuck reports whether an item goes no further until somebody acts, be it for what it needs. known keeps the answers.
func (v *View) stuck(it *schema.Item, known map[schema.Key]bool) bool {
	if was, ok := known[it.Key()]; ok {
		return was
	}
	known[it.Key()] = true // of a circle, every item is
	is := v.inNeed(it) != nil
	if !is && it.State == schema.StateQueue {
		is = slices.ContainsFunc(v.Unmet(it), func(k schema.Key) bool { return v.Items[k] != nil && v.stuck(v.Items[k], known) })
	}
	known[it.Key()] = is
	return is
}
