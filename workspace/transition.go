package workspace

import (
	"path"
	"sync"

	"millrace/assets"
	"millrace/schema"
	"millrace/schema/compile"
)

// This file holds the transitions of an item's and a run's life that more than one door may take: a
// stage's result, a pruned declaration, a command. Each takes a clone (Item.Clone, Run.Clone), changes
// it and adds everything that belongs together to the mutation: the rename of the document, the
// status and the event. So they come last: a change made to the clone afterwards needs another Put.

// Family is what is known of a family: by the current plan, else by what the plan's inputs compile to
// now, else by the embedded baseline. Nil when nobody knows it.
func (v *View) Family(id string) *schema.Family {
	if f := v.Families()[id]; f != nil {
		return f
	}
	return builtinFamilies()[id]
}

// Families are those of the current plan, else of what the inputs compile to now, else the embedded
// ones: a workspace whose workflow does not compile still knows where its documents lie.
func (v *View) Families() map[string]*schema.Family {
	if v.Control.Plan != "" && v.Plans != nil {
		if p := v.Plans(v.Control.Plan); p != nil {
			return p.Families
		}
	}
	if v.Compiled.Plan != nil {
		return v.Compiled.Plan.Families
	}
	return builtinFamilies()
}

// DocumentPath is where the document of an item in the given state lies. For an item whose family is
// no longer known, or has no folder for the state, that is a sibling of the folder it lies in now,
// named like the state: whatever happened to the workflow, an item can always leave where it is.
func (v *View) DocumentPath(it *schema.Item, state string) string {
	if f := v.Family(it.Family); f != nil {
		if folder := f.Folders[state]; folder != "" {
			return path.Join(folder, it.ID+f.Extension)
		}
	}
	return path.Join(path.Dir(path.Dir(it.Path)), state, path.Base(it.Path))
}

// MoveItem takes an item to another state: the document to the state's folder, the status after it.
// What no longer holds goes: only a blocked item says why it is blocked, only an active one that it
// is to be cancelled, only an ended one by whom.
func (m *Mutation) MoveItem(v *View, it *schema.Item, state string) {
	to := v.DocumentPath(it, state)
	if to != it.Path {
		m.MoveFile(it.Path, to, it.Document)
	}
	it.State, it.Path, it.Updated = state, to, v.Now
	if state != schema.StateBlocked {
		it.Blocked, it.Raised = nil, ""
	}
	if state != schema.StateActive {
		it.Cancel = nil
	}
	if c := it.Closure; c != nil {
		if c.Stalled = 0; state == schema.StateBlocked {
			c.Stalled = v.Seq + 1
		}
	}
	it.EndedSeq = 0
	if schema.Ended(state) {
		it.EndedSeq = v.Seq + 1 // of the record that this becomes
	} else {
		it.EndedBy = ""
	}
	m.PutItem(it)
}

// byRun is who ended an item that was completed.
const byRun = "run"

// plane is the plane that works on an item, as events name it.
func (v *View) plane(it *schema.Item) string {
	if f := v.Family(it.Family); f != nil {
		return f.Plane
	}
	return ""
}

// Complete ends an item well.
func (m *Mutation) Complete(v *View, it *schema.Item) {
	it.EndedBy = byRun
	m.MoveItem(v, it, schema.StateDone)
	e := Event{Type: EvDone, Item: it.Key(), Plane: v.plane(it), Run: it.Run, To: schema.StateDone}
	if c := it.Closure; c != nil {
		e.Message = "closed with the verdict " + c.Verdict
	}
	m.Tell(e)
}

// Block takes an item out of the way until somebody does something about the reason. Since is
// stamped here.
func (m *Mutation) Block(v *View, it *schema.Item, why schema.Blocked) {
	why.Since = v.Now
	it.Blocked = &why
	m.MoveItem(v, it, schema.StateBlocked)
	m.Tell(Event{Type: EvBlocked, Item: it.Key(), Plane: v.plane(it), Run: why.Run, Node: why.Node, Class: why.Class, Message: why.Message})
}

// Requeue makes an item claimable again and notes by whom and why; At is stamped here. fresh also
// gives it its budgets back, which is right when an operator vouches for it, and only then.
func (m *Mutation) Requeue(v *View, it *schema.Item, note schema.Note, fresh bool) {
	note.At = v.Now
	it.Note(note)
	if fresh {
		it.Afresh()
	}
	m.MoveItem(v, it, schema.StateQueue)
	m.Tell(Event{Type: EvRequeued, Item: it.Key(), Plane: v.plane(it), Run: it.Run, To: schema.StateQueue, Message: note.Why})
}

// CancelItem ends an item that is not to be done any more; by is what Item.EndedBy says (prune,
// command). An active item must have no request in flight: see Item.Cancel.
func (m *Mutation) CancelItem(v *View, it *schema.Item, by, why string) {
	it.EndedBy = by
	it.Note(schema.Note{At: v.Now, By: by, What: "cancelled", Why: why})
	m.MoveItem(v, it, schema.StateCancelled)
	m.Tell(Event{Type: EvCancelled, Item: it.Key(), Plane: v.plane(it), Run: it.Run, To: schema.StateCancelled, Message: why})
}

// Supersede ends an item that others replace.
func (m *Mutation) Supersede(v *View, it *schema.Item, by, why string) {
	it.EndedBy = by
	it.Note(schema.Note{At: v.Now, By: by, What: "superseded", Why: why})
	m.MoveItem(v, it, schema.StateSuperseded)
	m.Tell(Event{Type: EvSuperseded, Item: it.Key(), Plane: v.plane(it), Run: it.Run, To: schema.StateSuperseded, Message: why})
}

// EndRun closes a run at a terminal, or at the state its item was taken to instead. It waits for no approval then.
func (m *Mutation) EndRun(v *View, r *schema.Run, end string) {
	if r.Approval != nil {
		m.Resolve(r, schema.Ruling{Decision: schema.DecisionWithdrawn, By: m.By, Reason: "its run ended: " + end, At: v.Now})
	}
	r.State, r.Request, r.Ended, r.End = schema.RunEnded, "", v.Now, end
	m.PutRun(r)
	m.Tell(Event{Type: EvRunEnded, Item: r.Item, Run: r.ID, Plane: r.Plane, Node: r.Node, To: end})
}

// RunOf is the run of an active item, or nil.
func (s *State) RunOf(it *schema.Item) *schema.Run {
	if r := s.Runs[it.Run]; r != nil && r.Item == it.Key() {
		return r
	}
	return nil
}

// builtinFamilies are those of the embedded baseline: what an untouched workspace compiles to.
var builtinFamilies = sync.OnceValue(func() map[string]*schema.Family {
	p := compile.Compile(compile.Source{Files: assets.Files()}).Plan
	if p == nil {
		return nil // a test of the assets says so before anybody meets it
	}
	return p.Families
})
