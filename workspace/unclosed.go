package workspace

import (
	"fmt"

	"millrace/schema"
)

// Unclosed says what is in the way of everything being done and every closure target closed; nothing when it is so.
// Work that never holds a target open does not count.
func (v *View) Unclosed() []string {
	var left []string
	say := func(format string, args ...any) { left = append(left, fmt.Sprintf(format, args...)) }
	if t := v.OpenTarget(); t != nil {
		say("the closure target of %s is %s", t.ID, standing(t))
	}
	if t := v.ToReopen(); t != nil {
		say("%s is to be judged again", t.ID)
	}
	if p := v.CurrentPlan(); Closes(p) && v.Unjudged() != nil {
		say("%s was never judged", v.Unjudged().ID)
		if f := v.Fault(p, ClosurePlane(p)); f != nil {
			left[len(left)-1] += ": " + because(f.Class, f.Message)
		}
	}
	families := v.Families()
	for _, id := range sorted(families) {
		for _, state := range families[id].HoldsOpen {
			if n := v.Count(id, state); n > 0 {
				say("%d %s %s", n, id, inWords(state))
			}
		}
	}
	return append(left, v.unadmitted()...)
}

// unadmitted is what is declared and no item.
func (v *View) unadmitted() []string {
	if v.Intake == nil {
		return nil
	}
	var left []string
	for _, path := range sorted(v.Intake.Files) {
		if v.Intake.Files[path].Diags.HasErrors() {
			left = append(left, path+" is not valid")
		}
	}
	n, first := 0, schema.Key{}
	for _, k := range v.Intake.Unreconciled {
		if v.Items[k] == nil && len(v.Intake.ByKey[k]) > 0 {
			if n++; n == 1 {
				first = k
			}
		}
	}
	if n > 0 {
		left = append(left, fmt.Sprintf("%d declared and not admitted, %s first", n, first))
	}
	return left
}
