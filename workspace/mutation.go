package workspace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"millrace/schema"
)

// A Mutation is the unit of change: every change of runtime-owned state is one of these, committed
// under the lock. It happens whole or not at all.
type Mutation struct {
	By     string  // controller or command
	Why    string  // one line for the audit trail
	Expect []Input // files it rests on that others may touch
	Ops    []Op
	Events []Event
}

// An Input is a file that the decision rested on; if its bytes have changed since, the commit is
// refused with ErrMoved and decided anew. Digest "" expects that there is no such file.
type Input struct {
	Path   string        `json:"path"`
	Digest schema.Digest `json:"digest"`
}

// OpKind is what an Op does.
type OpKind string

// The four operations.
const (
	Write  OpKind = "write"
	Move   OpKind = "move"
	Remove OpKind = "remove"
	Append OpKind = "append"
)

// Projection as an Op's Was says that the file is the runtime's own projection: whatever lies there
// is overwritten. Any other Was protects a stranger's bytes: they are kept under state/foreign.
const Projection schema.Digest = "*"

// An Op changes one file. Exactly one of JSON, Text, Bytes and Blob carries a write's or an append's
// content; the journal stays readable that way. Applying it twice is applying it once.
type Op struct {
	Do     OpKind          `json:"do"`
	Path   string          `json:"path"`
	To     string          `json:"to,omitempty"`     // move
	Was    schema.Digest   `json:"was,omitempty"`    // what is replaced, moved or removed; "": nothing is there
	Digest schema.Digest   `json:"digest,omitempty"` // write: the bytes afterwards
	JSON   json.RawMessage `json:"json,omitempty"`   // written indented, see Content
	Text   string          `json:"text,omitempty"`
	Bytes  []byte          `json:"bytes,omitempty"`
	Blob   int64           `json:"blob,omitempty"`   // size of the content kept in state/blobs/<digest>
	Offset int64           `json:"offset,omitempty"` // append: where it begins
}

// Content of a write or an append that the record itself carries; nil when a blob holds it.
func (o *Op) Content() []byte {
	switch {
	case o.JSON != nil:
		return indent(o.JSON)
	case o.Text != "":
		return []byte(o.Text)
	}
	return o.Bytes
}

func indent(raw []byte) []byte {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		panic(fmt.Sprintf("indent json: %v", err)) // only marshalled values get here
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// PutJSON adds a write of a JSON projection.
func (m *Mutation) PutJSON(path string, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("marshal %s: %v", path, err)) // our own types always marshal
	}
	m.Ops = append(m.Ops, Op{Do: Write, Path: path, Was: Projection, JSON: raw, Digest: schema.DigestOf(indent(raw))})
}

// PutItem adds the write of an item's status: the way every change of an item is made.
func (m *Mutation) PutItem(it *schema.Item) { m.PutJSON(StatusPath(it.Key()), it) }

// PutRun adds the write of a run's state.
func (m *Mutation) PutRun(r *schema.Run) { m.PutJSON(RunFile(r.ID), r) }

// PutControl adds the write of the runtime-wide state.
func (m *Mutation) PutControl(c *schema.Control) { m.PutJSON(ControlFile, c) }

// PutFile adds a write of bytes over what is known to be there ("" for nothing, Projection for
// whatever is there).
func (m *Mutation) PutFile(path string, was schema.Digest, data []byte) {
	op := Op{Do: Write, Path: path, Was: was, Digest: schema.DigestOf(data)}
	if utf8.Valid(data) {
		op.Text = string(data)
	} else {
		op.Bytes = data
	}
	m.Ops = append(m.Ops, op)
}

// MoveFile adds a rename of the file with the given bytes.
func (m *Mutation) MoveFile(from, to string, is schema.Digest) {
	m.Ops = append(m.Ops, Op{Do: Move, Path: from, To: to, Was: is})
}

// RemoveFile adds the removal of the file with the given bytes.
func (m *Mutation) RemoveFile(path string, is schema.Digest) {
	m.Ops = append(m.Ops, Op{Do: Remove, Path: path, Was: is})
}

// Tell adds an event.
func (m *Mutation) Tell(e Event) { m.Events = append(m.Events, e) }

// An Event is what happened, for people and for tails; state is never read from it.
type Event struct {
	Type    string          `json:"type"`
	Item    schema.Key      `json:"item,omitzero"`
	Run     string          `json:"run,omitempty"`
	Request string          `json:"request,omitempty"`
	Plane   string          `json:"plane,omitempty"`
	Node    string          `json:"node,omitempty"`
	Stage   string          `json:"stage,omitempty"`
	Outcome string          `json:"outcome,omitempty"`
	Class   string          `json:"class,omitempty"` // result or failure class
	To      string          `json:"to,omitempty"`    // route or new state
	Path    string          `json:"path,omitempty"`
	Message string          `json:"message,omitempty"`
	Tokens  *schema.Tokens  `json:"tokens,omitempty"`
	Elapsed schema.Duration `json:"elapsed,omitempty"`
}

// Types of event. The list is a contract (docs/json-output.md).
const (
	EvWorkspace     = "workspace.created"
	EvPlan          = "plan.current"
	EvPlanRejected  = "plan.rejected" // of the monitor: what does not compile changes nothing, so no record says it
	EvAdmitted      = "item.admitted"
	EvReplaced      = "item.replaced"
	EvPending       = "item.edit_pending"
	EvRelocated     = "item.relocated" // its declaration was moved or encoded anew: no edit
	EvRequeued      = "item.requeued"
	EvPruneSeen     = "item.prune_seen"
	EvCancelWanted  = "item.cancel_wanted"
	EvCancelled     = "item.cancelled"
	EvSuperseded    = "item.superseded"
	EvDone          = "item.done"
	EvBlocked       = "item.blocked"
	EvAdopted       = "item.adopted" // a person's hand in the runtime's folders
	EvRestored      = "item.restored"
	EvStarted       = "stage.started"
	EvFinished      = "stage.finished"
	EvRestarted     = "stage.restarted" // run-scope failure: same node again
	EvEvidence      = "stage.evidence"  // completion of a request that is no longer current
	EvRunEnded      = "run.ended"
	EvPaused        = "control.paused"
	EvResumed       = "control.resumed"
	EvStop          = "control.stop"
	EvStopped       = "control.stopped"
	EvDaemon        = "daemon.started"
	EvRunnerWaits   = "runner.waits"
	EvRunnerStalled = "runner.stalled"
	EvRunnerResumed = "runner.resumed"
	EvHeld          = "change.held"
	EvAccepted      = "change.accepted"
	EvAsked         = "approval.asked"
	EvApproved      = "approval.approved"
	EvDenied        = "approval.denied"
	EvWithdrawn     = "approval.withdrawn" // its run ended undecided
	EvForeign       = "foreign.kept"
	EvDeclined      = "outbox.declined"
	EvOpened        = "closure.opened"   // a root spec is to be judged when its lineage has nothing left to do
	EvReady         = "closure.ready"    // it can be judged
	EvReturned      = "closure.returned" // it cannot: there is work again, or it stalled and work has ended since
	EvFault         = "closure.fault"    // a root that was never judged cannot be opened
	EvLearned       = "skill.learned"    // below skills/learned/ a skill is as a stage decided
	EvUnlearned     = "skill.declined"   // a decided change was not made, and why
)

// A Record is a committed mutation as it stands in the journal, one line each.
type Record struct {
	Seq    uint64        `json:"seq"`
	Prev   schema.Digest `json:"prev"` // hash of the record before; "" for the first
	Time   time.Time     `json:"time"`
	Boot   string        `json:"boot"` // kernel boot id: a new one means a power cut may have happened
	By     string        `json:"by"`
	Why    string        `json:"why"`
	Expect []Input       `json:"expect,omitempty"`
	Ops    []Op          `json:"ops"`
	Events []Event       `json:"events,omitempty"`

	Hash    schema.Digest `json:"-"` // of this record's own line
	Segment string        `json:"-"` // file it stands in
	Offset  int64         `json:"-"` // of its line
}
