// Package intake owns the declaration table: what happens to an item when its declaration appears,
// changes, breaks, vanishes or comes back, and what becomes of what people do by hand in the runtime's
// folders. It admits, replaces, cancels and restores; nothing else creates items from files.
package intake

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"millrace/schema"
	"millrace/workspace"
)

// Do is what the table orders for one key.
type Do string

// The orders. Those below Cancel only say what is shown: they change nothing.
const (
	Nothing  Do = ""
	Admit    Do = "admit"    // no item yet
	Replace  Do = "replace"  // queued: generation + 1
	Repair   Do = "repair"   // blocked: replaced and requeued as the operator's fix
	Restore  Do = "restore"  // what a prune cancelled is requeued, replaced if it changed meanwhile
	Defer    Do = "defer"    // active: the newest edit waits as the pending generation
	Recall   Do = "recall"   // it is back: a recorded absence, a prune's cancel or a pending edit is withdrawn
	Relocate Do = "relocate" // moved or encoded anew: only the path changes
	Suspect  Do = "suspect"  // an agent may have made the edit: that is recorded
	Miss     Do = "miss"     // its absence is recorded
	Doom     Do = "doom"     // pruned while active: cancelled when its stage ends
	Cancel   Do = "cancel"   // pruned

	Hold     Do = "hold"     // would be done, but waits
	Outdated Do = "outdated" // the item ended, or works, with earlier content
	Reject   Do = "reject"   // will not be done
	Keep     Do = "keep"     // the declaration is broken; the item stays as it is
	Stay     Do = "stay"     // ended by a command, and so it stays while the declaration does not change
)

// Changes reports whether the order changes state.
func (d Do) Changes() bool {
	switch d {
	case Nothing, Hold, Outdated, Reject, Keep, Stay:
		return false
	}
	return true
}

// An Action is what the table orders for one key, and why, in words for people.
type Action struct {
	Do       Do
	Key      schema.Key
	Why      string
	Declared *workspace.Declared // the declaration in question; nil when there is none
	Until    time.Time           // a Hold that ends by itself does so then
}

// Decide looks one key up in the declaration table.
func Decide(v *workspace.View, k schema.Key) Action { return newTable(v).decide(k) }

// Walk decides every key that is declared, or whose item was, in the order in which the controller
// works them off, and says what it has to say of it; Nothing is left out. It is what readers show, and
// costs what exists: the controller looks only where declaration and item may disagree.
func Walk(v *workspace.View) iter.Seq[Action] {
	return func(yield func(Action) bool) {
		if v.Intake == nil {
			return
		}
		keys := slices.Collect(maps.Keys(v.Intake.ByKey))
		for k, it := range v.Items {
			if it.Declared != nil && len(v.Intake.ByKey[k]) == 0 {
				keys = append(keys, k)
			}
		}
		slices.SortFunc(keys, workspace.CompareKeys)
		newTable(v).walk(keys, yield)
	}
}

// A table decides the keys of one view, and remembers what it had to find out about the whole of it.
type table struct {
	v *workspace.View

	counted       bool
	live, missing int // declared items that have not ended; those of them without a declaration

	deps *graph
}

func newTable(v *workspace.View) *table { return &table{v: v} }

func (t *table) walk(keys []schema.Key, yield func(Action) bool) {
	for _, k := range keys {
		a := t.decide(k)
		if a.Do != Nothing && !yield(a) {
			return
		}
	}
}

// decide is the table: rows are what the declaration did, columns the item's state.
func (t *table) decide(k schema.Key) Action {
	it, found := t.v.Items[k], t.v.Intake.ByKey[k]
	a := Action{Key: k}
	switch {
	case len(found) == 0 && (it == nil || it.Declared == nil):
		return a
	case len(found) == 0:
		return t.absent(a, it)
	case len(found) > 1:
		return double(a, it, found)
	}
	a.Declared = &found[0]
	switch f := t.v.Intake.Files[a.Declared.Path]; {
	case f != nil && f.Settling:
		return hold(a, "its declaration is being written")
	case it == nil:
		return t.appeared(a)
	case it.Declared == nil:
		return reject(a, fmt.Sprintf("%s exists already and came from another door (%s); choose another id", k, it.Source))
	case it.Declared.Digest == a.Declared.Digest:
		return t.equal(a, it)
	}
	return t.edited(a, it)
}

func double(a Action, it *schema.Item, found []workspace.Declared) Action {
	paths := make([]string, len(found))
	for i, d := range found {
		paths[i] = d.Path
	}
	slices.Sort(paths)
	a.Declared = &found[0]
	if it == nil || it.Declared == nil {
		return reject(a, fmt.Sprintf("declared more than once: %s; keep one", strings.Join(paths, ", ")))
	}
	for i, d := range found {
		if d.Path == it.Declared.Path {
			a.Declared = &found[i]
		}
	}
	if returned(it) && it.Declared.Digest == a.Declared.Digest {
		return do(a, Recall, "its declaration is there again")
	}
	return reject(a, fmt.Sprintf("declared more than once: %s; the admitted %s stays as it is; keep one", strings.Join(paths, ", "), a.Key))
}

// appeared is the row of a declaration without an item.
func (t *table) appeared(a Action) Action {
	if t.v.Hold[a.Key] {
		return hold(a, "older than this workspace; millrace queue admit "+a.Key.ID+" runs it")
	}
	if r, ok := t.acceptable(a); !ok {
		return r
	}
	return do(a, Admit, "declared in "+a.Declared.Path)
}

// equal is the row of a declaration that is as it was admitted.
func (t *table) equal(a Action, it *schema.Item) Action {
	switch {
	case it.State == schema.StateCancelled && it.EndedBy == byPrune:
		if r, ok := t.placed(a); !ok {
			return r
		}
		if closed := t.v.ClosedFor(it.Family, it.ID, it.Lineage); closed != nil {
			return reject(a, workspace.TooLate(closed))
		}
		return do(a, Restore, "its declaration is there again")
	case returned(it):
		return do(a, Recall, "its declaration is there again")
	case it.Declared.Pending != "":
		return do(a, Recall, "the edit that waited was taken back")
	case it.Declared.Path != a.Declared.Path:
		return do(a, Relocate, "moved from "+it.Declared.Path)
	case it.State == schema.StateCancelled:
		return show(a, Stay, "ended by "+it.EndedBy+"; it stays ended while its declaration does not change")
	}
	return a
}

// edited is the row of a declaration that says something else than what was admitted.
func (t *table) edited(a Action, it *schema.Item) Action {
	switch {
	case t.v.Fixed(it):
		return show(a, Outdated, "edited while its closure target is open: it is judged against what it was when that opened, and nothing of the edit is applied; declare what is new as another spec")
	case it.State == schema.StateActive:
		d := it.Declared
		if d.Pending == a.Declared.Digest && d.Path == a.Declared.Path && !returned(it) {
			return show(a, Outdated, "the edit waits until it leaves active")
		}
		return do(a, Defer, "edited while active: the edit waits until it leaves active")
	case schema.Ended(it.State) && (it.State != schema.StateCancelled || it.EndedBy != byPrune):
		return show(a, Outdated, fmt.Sprintf("edited after it was %s; nothing reruns; declare it under another id to do it again", it.State))
	}
	if it.State == schema.StateBlocked {
		if s, suspected := t.suspect(a); suspected {
			return s
		}
	}
	if r, ok := t.acceptable(a); !ok {
		return r
	}
	switch it.State {
	case schema.StateBlocked:
		return do(a, Repair, "its declaration was edited")
	case schema.StateQueue:
		return do(a, Replace, "its declaration was edited")
	}
	return do(a, Restore, "its declaration is there again, edited")
}

// suspect keeps an edit that an agent may have made from taking an item out of blocked. It is recorded
// once seen, so that neither the end of the run nor a restart makes it trustworthy.
func (t *table) suspect(a Action) (Action, bool) {
	v, d := t.v, a.Declared
	f := v.Intake.Files[d.Path]
	if f == nil || v.Vouched(d.Path, f.Digest) {
		return a, false
	}
	why := fmt.Sprintf("edited while a stage could write the workspace: commit it, or millrace intake accept %s", d.Path)
	if h, ok := v.Control.Held[d.Path]; ok && h.Digest == f.Digest {
		return hold(a, why), true
	}
	if v.WriterAt(f.Changed) != "" {
		return do(a, Suspect, why), true
	}
	return a, false
}

// acceptable says whether the declared record may become an item's content, or why not.
func (t *table) acceptable(a Action) (Action, bool) {
	d := a.Declared
	if d.Doc == nil {
		return hold(a, "its declaration has not been read yet"), false
	}
	if r, ok := t.placed(a); !ok {
		return r, false
	}
	if why := refusal(d.Doc); why != "" {
		return reject(a, why), false
	}
	if why := untimely(t.v, d.Doc); why != "" {
		return reject(a, why), false
	}
	if why := misplaced(t.v.CurrentPlan(), d.Doc); why != "" {
		return reject(a, why), false
	}
	if why := untold(t.v.CurrentPlan(), d.Doc); why != "" {
		return reject(a, why), false
	}
	if cycle := t.graph().cycle(a.Key); cycle != nil {
		return reject(a, "its dependencies form a cycle: "+strings.Join(cycle, " → ")), false
	}
	return a, true
}

// refusal is why a valid record cannot be an item whatever else there is; "" when it can.
func refusal(d *schema.Document) string {
	if hint, _ := d.Fields["status_hint"].(string); hint == schema.StateDone {
		return "its status_hint says done, so there is nothing to run; take the hint out, or millrace queue admit --done " + d.ID
	}
	if _, err := d.Head(); err != nil { // a definition of the operator's may give the common fields other types
		return fmt.Sprintf("its common fields cannot be read: %v", err)
	}
	return ""
}

// untimely is why a document that could be an item must not be one in this workspace now; "" when it may.
func untimely(v *workspace.View, d *schema.Document) string {
	family, id := d.Kind, d.ID
	if d.Kind == schema.KindIdea {
		return ""
	}
	if f := v.Family(family); f != nil && !f.Dropped() {
		return workspace.MadeByRuntime(f)
	}
	head, err := d.Head()
	if err != nil {
		return ""
	}
	if t := v.ClosedFor(family, id, head.Lineage); t != nil {
		return workspace.TooLate(t)
	}
	return ""
}

// misplaced is why the stage that a document comes from is not of the plane that it names; "" when it
// is, or the plan does not know the stage.
func misplaced(p *schema.Plan, d *schema.Document) string {
	stage, _ := d.Fields["source_stage"].(string)
	named, _ := d.Fields["source_plane"].(string)
	if p == nil || stage == "" || named == "" {
		return ""
	}
	if k := p.Stages[stage]; k != nil && k.Plane != named {
		return fmt.Sprintf("source_plane: %s is a stage of the plane %s, not of %q", stage, k.Plane, named)
	}
	return ""
}

// untold is why the stage that a document asks for does not know what to work on; "" when it does, or the plan does
// not know the stage.
func untold(p *schema.Plan, d *schema.Document) string {
	target, _ := d.Fields["target_stage"].(string)
	if p == nil || target == "" {
		return ""
	}
	for _, plane := range p.PlaneOrder {
		if g := p.Graphs[plane]; g.Entry[d.Kind] != "" && g.Begin(d.Kind, target) != "" {
			if lacks := p.Lacks(plane, target, d.Fills()); len(lacks) > 0 {
				return workspace.Untold(target, lacks) + "; add one of them, or leave target_stage out to begin at " + g.Entry[d.Kind]
			}
		}
	}
	return ""
}

// placed says whether the plan knows where an item of the family lies.
func (t *table) placed(a Action) (Action, bool) {
	fam := t.v.Family(a.Key.Family)
	if fam == nil {
		return hold(a, fmt.Sprintf("no family %q is known; families are defined below families/", a.Key.Family)), false
	}
	for _, s := range []string{schema.StateQueue, schema.StateCancelled} {
		if fam.Folders[s] == "" {
			return hold(a, fmt.Sprintf("family %s names no folder for the state %s", fam.ID, s)), false
		}
	}
	return a, true
}

// returned reports whether the item's absence has had consequences that a return takes back.
func returned(it *schema.Item) bool {
	return it.Declared.Absent != nil || it.Cancel != nil && it.Cancel.By == byPrune
}

func do(a Action, d Do, why string) Action {
	a.Do, a.Why = d, why
	return a
}

func show(a Action, d Do, why string) Action { return do(a, d, why) }
func hold(a Action, why string) Action       { return do(a, Hold, why) }
func reject(a Action, why string) Action     { return do(a, Reject, why) }
