package intake

import (
	"fmt"

	"millrace/schema"
	"millrace/workspace"
)

// operator is who declared what a file declares, unless the file says otherwise.
const operator = "operator"

// apply turns an order of the table into operations.
func (b *batch) apply(a Action) {
	switch a.Do {
	case Admit:
		b.admit(a)
	case Replace, Repair, Restore:
		b.replace(a)
	case Defer, Recall, Relocate:
		b.redeclare(a)
	case Suspect:
		b.suspect(a)
	case Miss, Doom, Cancel:
		b.prune(a)
	}
	b.did(string(a.Do), a.Key)
}

func (b *batch) admit(a Action) {
	doc := b.v.Registry.Admit(a.Declared.Doc, operator, b.v.Now)
	it, data := b.fresh(doc, "declaration")
	it.Declared, it.During = b.declaration(a.Declared), b.writer(a)
	b.m.PutFile(it.Path, "", data)
	b.keepIdea(a, it)
	b.Put(it)
	b.Arrange(it, doc, operator)
	b.tell(workspace.EvAdmitted, it, it.State, a.Why)
}

// writer is the run that may have written the declaration.
func (b *batch) writer(a Action) string {
	if f := b.v.Intake.Files[a.Declared.Path]; f != nil {
		return b.v.WriterAt(f.Changed)
	}
	return ""
}

// replace gives an item the declared content, if it changed, and a place in the queue.
func (b *batch) replace(a Action) {
	it := b.Change(a.Key)
	from, queued := it.State, it.State == schema.StateQueue
	to := it.Path
	if !queued {
		to = b.v.DocumentPath(it, schema.StateQueue)
	}
	if a.Declared.Digest != it.Declared.Digest {
		was := schema.Digest("")
		if queued {
			was = it.Document
		} else {
			b.m.RemoveFile(it.Path, it.Document)
		}
		doc := b.v.Registry.Admit(a.Declared.Doc, it.CreatedBy, it.CreatedAt)
		b.m.PutFile(to, was, b.content(it, doc))
		it.Generation++
		it.During = b.writer(a)
		b.keepIdea(a, it)
		b.Arrange(it, doc, operator)
		b.tell(workspace.EvReplaced, it, schema.StateQueue, a.Why)
	} else {
		b.m.MoveFile(it.Path, to, it.Document)
	}
	it.Path, it.Declared = to, b.declaration(a.Declared)
	if !queued {
		b.requeue(it)
		it.Note(schema.Note{At: b.v.Now, By: operator, What: fmt.Sprintf("%s from %s", a.Do, from), Why: a.Why})
		b.tell(workspace.EvRequeued, it, schema.StateQueue, a.Why)
	}
	b.release(a.Declared.Path)
}

// requeue clears what kept an item out of the queue. An operator's fix gives back its budgets.
func (b *batch) requeue(it *schema.Item) {
	it.State, it.EndedBy, it.EndedSeq, it.Blocked, it.Cancel, it.Raised = schema.StateQueue, "", 0, nil, nil, ""
	it.Afresh()
}

// redeclare changes only what is known of the declaration.
func (b *batch) redeclare(a Action) {
	it := b.Change(a.Key)
	admitted, was := it.Declared.Digest, it.Declared
	it.Declared = b.declaration(a.Declared)
	it.Declared.Digest = admitted
	event := workspace.EvRestored
	switch {
	case a.Do == Defer:
		it.Declared.Pending = a.Declared.Digest
		event = workspace.EvPending
	case a.Do == Relocate:
		event = workspace.EvRelocated
	case a.Declared.Digest != admitted:
		it.Declared.Pending = was.Pending
	}
	if it.Cancel != nil && it.Cancel.By == byPrune {
		it.Cancel = nil
	}
	b.tell(event, it, it.State, a.Why)
}

// suspect records that an agent may have made the declaration's bytes.
func (b *batch) suspect(a Action) {
	f := b.v.Intake.Files[a.Declared.Path]
	c := b.changeControl()
	if c.Held == nil {
		c.Held = map[string]schema.HeldChange{}
	}
	run := b.v.WriterAt(f.Changed)
	c.Held[f.Path] = schema.HeldChange{Digest: f.Digest, During: run, Since: b.v.Now}
	b.rest(f.Path, f.Digest)
	b.m.Tell(workspace.Event{Type: workspace.EvHeld, Item: a.Key, Path: f.Path, Run: run, Message: a.Why})
}

// release forgets that a file was held once its bytes have been taken over.
func (b *batch) release(p string) {
	_, held := b.v.Control.Held[p]
	_, accepted := b.v.Control.Accepted[p]
	if held || accepted {
		c := b.changeControl()
		delete(c.Held, p)
		delete(c.Accepted, p)
	}
}

func (b *batch) prune(a Action) {
	it := b.Change(a.Key)
	d := *it.Declared
	it.Declared = &d
	digest := schema.Digest("")
	if f := b.v.Intake.Files[d.Path]; f != nil {
		digest = f.Digest // it still declares others
	}
	b.rest(d.Path, digest)
	now := b.v.Now
	switch a.Do {
	case Miss:
		d.Absent, d.Branch = &now, b.t.lastBranch()
		b.tell(workspace.EvPruneSeen, it, it.State, a.Why)
	case Doom:
		it.Cancel = &schema.Cancel{By: byPrune, Why: a.Why, At: now, To: schema.StateCancelled}
		b.tell(workspace.EvCancelWanted, it, schema.StateCancelled, a.Why)
	case Cancel:
		b.End(it, schema.StateCancelled, byPrune)
		d.Absent = nil
		b.tell(workspace.EvCancelled, it, it.State, a.Why)
	}
}

// waits reports whether an item may still be rearranged: it neither runs nor has ended.
func waits(it *schema.Item) bool {
	return it.State == schema.StateQueue || it.State == schema.StateBlocked
}

// fresh makes the item of a document, and the bytes of its canonical form.
func (b *batch) fresh(doc *schema.Document, source string) (*schema.Item, []byte) {
	it, data, err := b.v.NewItem(doc, source)
	if err != nil {
		panic(err.Error()) // the table has asked for family and head before
	}
	it.DependsOn = b.Needs(doc)
	return it, data
}

// content takes another document over into an item.
func (b *batch) content(it *schema.Item, doc *schema.Document) []byte {
	n, data := b.fresh(doc, it.Source)
	it.Document = n.Document
	it.Title, it.Priority, it.Lineage, it.Checks = n.Title, n.Priority, n.Lineage, n.Checks
	it.Target, it.Fills = n.Target, n.Fills
	it.CreatedAt, it.CreatedBy, it.DependsOn = n.CreatedAt, n.CreatedBy, n.DependsOn
	return data
}

// keepIdea stores the idea that became a root spec: each generation once, never changed.
func (b *batch) keepIdea(a Action, it *schema.Item) {
	if idea := a.Declared.Doc; idea.Kind == schema.KindIdea {
		b.m.PutFile(workspace.IdeaPath(idea.ID, it.Generation), "", b.v.Registry.Render(idea))
	}
}

// declaration is how an item remembers where it is declared, and what a batch rests on.
func (b *batch) declaration(d *workspace.Declared) *schema.Declaration {
	b.rest(d.Path, d.File)
	return &schema.Declaration{Path: d.Path, Digest: d.Digest, Branch: b.v.Git.Branch}
}

func (b *batch) tell(event string, it *schema.Item, to, why string) {
	e := workspace.Event{Type: event, Item: it.Key(), To: to, Path: it.Path, Message: why}
	if fam := b.v.Family(it.Family); fam != nil {
		e.Plane = fam.Plane
	}
	b.m.Tell(e)
}
