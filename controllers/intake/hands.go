package intake

import (
	"fmt"
	"path"
	"strings"

	"millrace/schema"
	"millrace/workspace"
)

// byHand is who ended an item whose document a person moved into an ended folder.
const byHand = "hand"

// hands works off what people did in the runtime's folders. What is not adopted here (copies, edits
// and moves of active documents, strangers that are invalid or whose id is taken) is only shown. A
// view may still show a hand that has been worked off: each case compares with the item first.
func (b *batch) hands() (asks []workspace.Query) {
	for _, h := range b.v.Hands {
		if b.keys == MaxBatch {
			break
		}
		if b.Changed(h.Key) {
			continue // decided with the next view
		}
		it := b.v.Items[h.Key]
		switch {
		case h.What == workspace.HandForeign:
			asks = append(asks, b.foreign(h)...)
		case it == nil:
		case h.What == workspace.HandMoved:
			b.moved(h, it)
		case h.What == workspace.HandEdited:
			asks = append(asks, b.edited(h, it)...)
		case h.What == workspace.HandDeleted:
			asks = append(asks, b.deleted(h, it)...)
		}
	}
	b.forgetHeld()
	return asks
}

// moved adopts a move between lifecycle folders as the operator's act. Only a run makes an item
// active, so a document that was moved there goes back.
func (b *batch) moved(h workspace.Hand, it *schema.Item) {
	if it.State == schema.StateActive || it.Path == h.Path || h.Digest != it.Document {
		return
	}
	b.rest(it.Path, "")
	b.rest(h.Path, h.Digest)
	if why := b.unmovable(h, it); why != "" {
		b.m.MoveFile(h.Path, it.Path, h.Digest)
		b.tell(workspace.EvRestored, it, it.State, why)
		b.did("move back", h.Key)
		return
	}
	next, from := b.Change(h.Key), it.State
	if schema.Ended(from) && h.State == schema.StateQueue {
		next.Generation++ // it is to be done again
	}
	if h.State == schema.StateQueue {
		b.requeue(next)
	}
	b.m.MoveFile(it.Path, h.Path, h.Digest) // has been done; the journal must know
	next.State, next.Path, next.EndedBy, next.EndedSeq = h.State, h.Path, "", 0
	switch {
	case schema.Ended(h.State):
		next.EndedBy, next.EndedSeq, next.Blocked = byHand, b.v.Seq+1, nil
	case h.State == schema.StateBlocked && next.Blocked == nil:
		next.Blocked = &schema.Blocked{Class: byHand, Message: "moved to blocked by hand", Since: b.v.Now}
	}
	why := fmt.Sprintf("moved from %s to %s by hand", from, h.State)
	next.Note(schema.Note{At: b.v.Now, By: operator, What: why})
	b.tell(workspace.EvAdopted, next, next.State, why)
	b.did("adopt move of", h.Key)
}

// unmovable is why a document goes back where it was; "" when its move is the operator's act.
func (b *batch) unmovable(h workspace.Hand, it *schema.Item) string {
	f := b.v.Family(it.Family)
	switch {
	case f != nil && !f.Dropped():
		return "moved by hand, and only Millrace itself moves it"
	case h.State == schema.StateActive:
		return "moved to active by hand; only a run makes an item active"
	case schema.Ended(it.State) && !schema.Ended(h.State):
		if t := b.v.ClosedFor(it.Family, it.ID, it.Lineage); t != nil {
			return workspace.TooLate(t)
		}
	}
	return ""
}

// edited adopts a hand edit of a queued or blocked document as its next generation; where a
// declaration says otherwise, the declaration wins and the edit is kept beside.
func (b *batch) edited(h workspace.Hand, it *schema.Item) []workspace.Query {
	f := b.v.Family(it.Family)
	own := f != nil && !f.Dropped() && it.State != schema.StateActive && !schema.Ended(it.State)
	if !waits(it) && !own || it.Path != h.Path || it.Document == h.Digest {
		return nil
	}
	switch {
	case own:
		return b.revert(h, it, "only Millrace itself writes it")
	case b.v.Fixed(it):
		return b.revert(h, it, "its closure target is open, and it is judged against what it was")
	case it.Declared != nil:
		return b.revert(h, it, "it is declared in "+it.Declared.Path)
	}
	if h.Doc == nil || h.Doc.ID != it.ID || refusal(h.Doc) != "" || untimely(b.v, h.Doc) != "" {
		return nil
	}
	data, ask := b.look(h)
	if data == nil {
		return ask
	}
	b.m.PutFile(h.Path, h.Digest, data)
	next := b.Change(h.Key)
	next.Generation++
	b.content(next, b.v.Registry.Admit(h.Doc, it.CreatedBy, it.CreatedAt))
	next.Document = h.Digest
	why := fmt.Sprintf("edited by hand: generation %d", next.Generation)
	next.Note(schema.Note{At: b.v.Now, By: operator, What: why})
	b.tell(workspace.EvAdopted, next, next.State, why)
	b.did("adopt edit of", h.Key)
	return nil
}

func (b *batch) revert(h workspace.Hand, it *schema.Item, because string) []workspace.Query {
	data, ask := b.recall(it.Document)
	if data == nil {
		return ask
	}
	b.rest(h.Path, h.Digest)
	b.m.PutFile(h.Path, "", data) // the commit keeps what stands in the way
	why := fmt.Sprintf("edited by hand, but %s: the edit is kept under %s", because, workspace.ForeignDir)
	b.tell(workspace.EvRestored, it, it.State, why)
	b.did("revert edit of", h.Key)
	return nil
}

// deleted restores a lifecycle document: the journal has its bytes.
func (b *batch) deleted(h workspace.Hand, it *schema.Item) []workspace.Query {
	if h.Was != it.Path {
		return nil
	}
	data, ask := b.recall(it.Document)
	if data == nil {
		return ask
	}
	b.rest(it.Path, "")
	b.m.PutFile(it.Path, "", data)
	b.tell(workspace.EvRestored, it, it.State, "its document was deleted by hand; to end it: millrace queue cancel "+it.ID)
	b.did("restore document of", h.Key)
	return nil
}

// look finds the bytes of a document that is adopted as it is. They are written once more, over
// themselves, so that the journal has them when the file is lost.
func (b *batch) look(h workspace.Hand) ([]byte, []workspace.Query) {
	q := workspace.AskFile(h.Path)
	answer, answered := b.v.Asked[q]
	if !answered {
		return nil, []workspace.Query{q}
	}
	if answer.Err != "" || answer.Digest != h.Digest {
		return nil, nil // it changes just now; the next hint tells
	}
	b.rest(h.Path, h.Digest)
	return answer.Data, nil
}

// recall finds bytes that the journal once wrote.
func (b *batch) recall(d schema.Digest) ([]byte, []workspace.Query) {
	q := workspace.AskContent(d)
	answer, answered := b.v.Asked[q]
	if !answered {
		return nil, []workspace.Query{q}
	}
	if answer.Err != "" || answer.Digest != d {
		return nil, nil // nothing to restore; the hand stays shown
	}
	return answer.Data, nil
}

// foreign adopts a valid document that somebody put into a claimable folder, as it is and where it is.
func (b *batch) foreign(h workspace.Hand) []workspace.Query {
	switch {
	case h.Doc == nil || h.State != schema.StateQueue || b.v.Family(h.Key.Family) == nil || b.Item(h.Key) != nil || b.v.Hold[h.Key]:
		return nil
	case len(b.v.Intake.ByKey[h.Key]) > 0: // its declaration decides
		return nil
	}
	if refusal(h.Doc) != "" || untimely(b.v, h.Doc) != "" || b.t.graph().cycle(h.Key) != nil {
		return nil
	}
	data, ask := b.look(h)
	if data == nil {
		return ask
	}
	b.m.PutFile(h.Path, h.Digest, data)
	doc := b.v.Registry.Admit(h.Doc, operator, b.v.Now)
	it, _ := b.fresh(doc, "foreign")
	it.Path, it.Document, it.During = h.Path, h.Digest, b.v.WriterAt(b.v.Now)
	b.Put(it)
	b.Arrange(it, doc, operator)
	b.tell(workspace.EvAdopted, it, it.State, "found in "+path.Dir(h.Path))
	b.did("adopt", h.Key)
	return nil
}

// forgetHeld drops what is recorded of a held intake file whose bytes are no longer there.
func (b *batch) forgetHeld() {
	if !b.v.Intake.Complete {
		return
	}
	for p, h := range b.v.Control.Held {
		if !strings.HasPrefix(p, workspace.IntakeDir+"/") {
			continue
		}
		now := schema.Digest("")
		if f := b.v.Intake.Files[p]; f != nil {
			if f.Settling {
				continue
			}
			now = f.Digest
		}
		if now != h.Digest {
			delete(b.changeControl().Held, p)
		}
	}
	if b.control != nil && b.keys == 0 {
		b.keys, b.first = 1, "forget held files that changed since"
	}
}
