package schema

import (
	"slices"
	"time"
)

// States that have a meaning beyond their folder. A family names its folders itself; these roles are
// what its states are called in the journal.
const (
	StateQueue      = "queue" // claimable (the incident family calls its folder incoming)
	StateActive     = "active"
	StateDone       = "done" // ended well (incident: resolved, blueprint_draft: approved)
	StateBlocked    = "blocked"
	StateCancelled  = "cancelled"
	StateSuperseded = "superseded"
	StateOpen       = "open" // a closure target whose lineage is at work
)

// Ended reports whether nothing will happen to an item in this state by itself.
func Ended(state string) bool {
	return state == StateDone || state == StateCancelled || state == StateSuperseded
}

// An Item is the observed half of one work item: state/status/<family>/<id>.json.
type Item struct {
	SchemaVersion int    `json:"schema_version"`
	Family        string `json:"family"`
	ID            string `json:"id"`
	State         string `json:"state"`
	Path          string `json:"path"` // of its document, below the workspace folder

	Title     string    `json:"title,omitempty"`
	Priority  int       `json:"priority,omitempty"`
	DependsOn []string  `json:"depends_on,omitempty"`
	Target    string    `json:"target_stage,omitempty"` // node that its document asks to begin at
	Fills     []string  `json:"fills,omitempty"`        // fields that such a document fills in: its stage may need one of them
	Blocks    []string  `json:"blocks,omitempty"`       // ids whose dependencies carry this one because it says so
	Lineage   Lineage   `json:"lineage,omitzero"`
	Checks    []Check   `json:"checks,omitempty"`
	CreatedAt time.Time `json:"created_at,omitzero"`
	CreatedBy string    `json:"created_by,omitempty"`

	Generation int          `json:"generation"`                    // counts admitted contents, from 1
	Observed   int          `json:"observed_generation,omitempty"` // what the last run worked on
	Document   Digest       `json:"document"`                      // bytes of the document in its lifecycle folder
	Source     string       `json:"source"`                        // declaration, command, outbox, foreign, runtime
	During     string       `json:"during,omitempty"`              // the run that was active when it appeared, if it may be its work
	Declared   *Declaration `json:"declaration,omitempty"`         // nil: has none

	Run      string         `json:"run,omitempty"`      // current or last run
	Attempts int            `json:"attempts,omitempty"` // runs begun
	Requeues int            `json:"requeues,omitempty"` // by the runtime itself since an operator vouched for it
	Counters map[string]int `json:"counters,omitempty"`
	Last     *Outcome       `json:"last_outcome,omitempty"`
	Blocked  *Blocked       `json:"blocked,omitempty"`
	Cancel   *Cancel        `json:"cancel,omitempty"`    // wanted while active; obeyed when the stage ends
	EndedBy  string         `json:"ended_by,omitempty"`  // prune, command, run, admit --done
	EndedSeq uint64         `json:"ended_seq,omitempty"` // journal record that ended it: what is newer than what
	Raised   string         `json:"raised,omitempty"`    // incident that it is blocked by: the incident's work takes its place
	Remedied string         `json:"remedied,omitempty"`  // incident whose planning ended without such work: it was requeued for that, once
	Closure  *Closure       `json:"closure,omitempty"`   // of a closure target
	Learned  *Learned       `json:"learned,omitempty"`   // a skill change that waits for its moment
	Updated  time.Time      `json:"updated_at"`
	Notes    []Note         `json:"history,omitempty"` // operator's and runtime's interventions, newest last, at most 20

	Blueprint *Blueprint `json:"blueprint,omitempty"` // of a blueprint draft that has a packet

	Approvals map[string]Ruling `json:"approvals,omitempty"` // by approval; what was denied is forgotten when an operator vouches for the item
}

// Key of the item.
func (it *Item) Key() Key { return Key{it.Family, it.ID} }

// A Declaration ties an item to the file that declares it.
type Declaration struct {
	Path    string     `json:"path"`                   // below the workspace folder, when last seen
	Digest  Digest     `json:"digest"`                 // of the admitted record
	Branch  string     `json:"branch,omitempty"`       // git HEAD's branch when last seen
	Absent  *time.Time `json:"absent_since,omitempty"` // first sight of its absence
	Pending Digest     `json:"pending,omitempty"`      // newest edit that waits for the item to leave active
}

// Outcome of one stage, as the runtime understood it.
type Outcome struct {
	Run     string    `json:"run"`
	Request string    `json:"request"`
	Node    string    `json:"node"`
	Outcome string    `json:"outcome"`
	Class   string    `json:"class,omitempty"`
	Failure string    `json:"failure_class,omitempty"`
	At      time.Time `json:"at"`
}

// Blocked says why an item is blocked.
type Blocked struct {
	Class   string    `json:"failure_class"`
	Message string    `json:"message"`
	Run     string    `json:"run,omitempty"`
	Node    string    `json:"node,omitempty"`
	Since   time.Time `json:"since"`
}

// Cancel is a wanted end of an active item.
type Cancel struct {
	By  string    `json:"by"` // prune or command
	Why string    `json:"why"`
	At  time.Time `json:"at"`
	Now bool      `json:"now,omitempty"` // end the running stage as well
	To  string    `json:"to"`            // state that follows: cancelled, or queue for retry-active
	// Sent is the request whose cancel file has been committed, so that it is asked once.
	Sent string `json:"sent,omitempty"`
}

// A Closure is what a closure target has beyond any other item. The item's id is that of its root spec, its
// generation counts how often the root was opened.
type Closure struct {
	Contract []File        `json:"contract"`               // root spec and idea as they were when it opened, below the workspace folder
	Verdict  string        `json:"verdict,omitempty"`      // the latest: pass, gaps, unproven, abandoned
	Judged   uint64        `json:"judged_seq,omitempty"`   // journal record of the latest verdict
	At       time.Time     `json:"judged_at,omitzero"`     //
	Verdicts int           `json:"verdicts,omitempty"`     // given in this generation
	Kept     []string      `json:"kept,omitempty"`         // files of the latest verdict: rubric, verdict, report
	Gaps     []string      `json:"gaps,omitempty"`         // titles, of the latest verdict
	Checks   []CheckRecord `json:"checks,omitempty"`       // that the latest verdict rests on
	Tree     string        `json:"tree,omitempty"`         // working tree that they ran on
	Stalled  uint64        `json:"stalled_seq,omitempty"`  // journal record that blocked it
	Reopened string        `json:"reopened_for,omitempty"` // why a generation above the first was opened
	Reopen   string        `json:"reopen_for,omitempty"`   // of an ended target: why another generation is wanted; it opens when no other target is open
}

// A RootFault is why a root spec that is done and was never judged cannot be opened: planning waits until that is
// settled.
type RootFault struct {
	Spec      string    `json:"spec"`
	Class     string    `json:"failure_class"`
	Message   string    `json:"message"`
	ClearedBy string    `json:"cleared_by"`
	Since     time.Time `json:"since"`
}

// Verdicts of a closure target.
const (
	VerdictPass      = "pass"
	VerdictGaps      = "gaps"
	VerdictUnproven  = "unproven"  // closed without any check to prove it
	VerdictAbandoned = "abandoned" // ended by the operator
)

// A Learned is a change of a skill that a stage has decided on and that is not in skills/learned/ yet.
type Learned struct {
	Skill   string `json:"skill"`
	Run     string `json:"run"`
	Request string `json:"request"`
	Files   []File `json:"files"` // relative to the request folder
}

// A Blueprint is how far a draft has been worked out.
type Blueprint struct {
	ID       string            `json:"blueprint_id"`
	Revision int               `json:"revision"`                    // of the newest packet
	Rejected bool              `json:"rejected,omitempty"`          // the newest packet was
	Kept     map[string]string `json:"kept,omitempty"`              // the newest file of each artifact, below the workspace folder
	Task     string            `json:"generated_task_id,omitempty"` // that it became
}

// A Note is one intervention.
type Note struct {
	At   time.Time `json:"at"`
	By   string    `json:"by"`
	What string    `json:"what"`
	Why  string    `json:"why,omitempty"`
}

// States of a run.
const (
	RunRunning = "running" // a stage runs or is about to
	RunParked  = "parked"  // waits after its entry
	RunEnded   = "ended"
)

// A Run is one passage of an item through a graph: runs/<id>/run.json.
type Run struct {
	SchemaVersion int       `json:"schema_version"`
	ID            string    `json:"id"`
	Item          Key       `json:"item"`
	Generation    int       `json:"generation"`
	Plan          Digest    `json:"plan"`
	Plane         string    `json:"plane"`
	Graph         string    `json:"graph"`
	State         string    `json:"state"`
	Node          string    `json:"node"`               // current or next node
	Request       string    `json:"request,omitempty"`  // in flight; "" while the next stage waits to start
	Restarts      int       `json:"restarts,omitempty"` // of this node after run-scope failures
	Rechecks      int       `json:"rechecks,omitempty"` // of a closure's checks, because the tree had moved
	Held          *Held     `json:"held,omitempty"`     // claim that the next request of this node only runs the checks of
	Steps         []Step    `json:"steps,omitempty"`
	Started       time.Time `json:"started_at"`
	Ended         time.Time `json:"ended_at,omitzero"`
	End           string    `json:"end,omitempty"`           // terminal it reached, or cancelled
	FirstFailure  string    `json:"first_failure,omitempty"` // class of the first failure
	Approval      *Pending  `json:"approval,omitempty"`      // that it waits for, parked at Node

	// Salvaged stands for the completion of a request that was lost or wrote none that can be read:
	// what recovery could establish. It is applied like any other.
	Salvaged *Completion `json:"salvaged,omitempty"`
}

// Resumes is the session that the request at the run's node goes on with, or nil: that of the last request, when it had
// to do the same and came to nothing for a reason that was not the stage's. A held claim starts no agent.
func (r *Run) Resumes() *Session {
	if len(r.Steps) == 0 || r.Held != nil {
		return nil
	}
	last := &r.Steps[len(r.Steps)-1]
	if last.Node != r.Node || last.To != r.Node || last.Failure == "" || Scope(last.Failure) == "stage" {
		return nil
	}
	return last.Session
}

// Wrote reports whether a stage of the run may have changed the working tree.
func (r *Run) Wrote() bool {
	return slices.ContainsFunc(r.Steps, func(s Step) bool { return s.Wrote })
}

// Entered lists the nodes that the run has been in, in order of first entry.
func (r *Run) Entered() []string {
	var nodes []string
	seen := map[string]bool{}
	for _, s := range r.Steps {
		if !seen[s.Node] {
			seen[s.Node] = true
			nodes = append(nodes, s.Node)
		}
	}
	return nodes
}

// Lost reports whether the request was given up and has not been heard of since.
func (s *Step) Lost() bool { return s.Failure == FailSupervisorLost && !s.Late }

// A Step is one applied stage result and the routing decision that followed.
type Step struct {
	Request   string            `json:"request"`
	Node      string            `json:"node"`
	Stage     string            `json:"stage"`
	Outcome   string            `json:"outcome"`
	Class     string            `json:"class"`
	Failure   string            `json:"failure_class,omitempty"`
	Message   string            `json:"message,omitempty"`
	Artifacts map[string]Digest `json:"artifacts,omitempty"`
	Tree      string            `json:"tree,omitempty"` // working tree after the stage
	Tokens    *Tokens           `json:"tokens,omitempty"`
	Started   time.Time         `json:"started_at,omitzero"`
	Ended     time.Time         `json:"ended_at"`
	To        string            `json:"to"`                // node or end
	Why       string            `json:"why"`               // the routing decision in words
	Counter   string            `json:"counter,omitempty"` // budget that it spent
	Spawned   []Key             `json:"spawned,omitempty"`
	Wrote     bool              `json:"wrote,omitempty"` // may have changed the working tree
	Failed    []CheckRecord     `json:"failed_checks,omitempty"`
	Late      bool              `json:"late,omitempty"`    // given up as lost; what it reported after all is filed as evidence
	Session   *Session          `json:"session,omitempty"` // that the next request of the same node may go on with
}

// Control is the runtime-wide state: state/control.json.
type Control struct {
	SchemaVersion int                   `json:"schema_version"`
	Pauses        map[string]Pause      `json:"pauses,omitempty"` // by source: operator, declared, usage_governance
	Stop          *Stop                 `json:"stop,omitempty"`
	Runners       map[string]RunnerWait `json:"runners,omitempty"`
	Accepted      map[string]Digest     `json:"accepted,omitempty"` // held files that a person accepted, by path
	Held          map[string]HeldChange `json:"held,omitempty"`     // files an agent may have changed, by path
	Learned       map[string]Digest     `json:"learned,omitempty"`  // what the runtime wrote last below skills/learned/, by path; "": it removed the file
	Plan          Digest                `json:"plan,omitempty"`     // current frozen plan
	Mode          string                `json:"mode,omitempty"`
	Daemon        string                `json:"daemon,omitempty"`     // instance of the daemon that started last
	Head          *GitHead              `json:"head,omitempty"`       // git HEAD as last seen
	RootFault     *RootFault            `json:"root_fault,omitempty"` // what keeps planning from going on
}

// GitHead remembers a change of git's branch: a declaration that vanishes right after one was last seen
// on the branch before.
type GitHead struct {
	Branch string    `json:"branch"`
	Before string    `json:"before,omitempty"`
	Since  time.Time `json:"since"`
}

// A Pause is one reason why nothing is dispatched.
type Pause struct {
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`
}

// Stop asks one daemon, by its instance, to end. Another daemon drops it: a stop is spent once.
type Stop struct {
	Daemon string    `json:"daemon"`
	Reason string    `json:"reason,omitempty"`
	Cancel bool      `json:"cancel,omitempty"`
	At     time.Time `json:"at"`
}

// RunnerWait keeps a failing runner away from the queue.
type RunnerWait struct {
	Class    string    `json:"failure_class"`
	Message  string    `json:"message,omitempty"`
	Stalled  bool      `json:"stalled,omitempty"` // until configuration changes or an operator resumes it
	Config   Digest    `json:"config,omitempty"`  // of the runner's settings when it stalled
	First    time.Time `json:"first"`
	Until    time.Time `json:"until,omitzero"`
	Attempts int       `json:"attempts"`
}

// HeldChange is an operator's file that changed while a stage could have written it.
type HeldChange struct {
	Digest Digest    `json:"digest"`
	During string    `json:"during"`
	Since  time.Time `json:"since"`
}

// Hold lists the declarations that git already tracked when the journal was new: state/hold.json.
type Hold struct {
	SchemaVersion int       `json:"schema_version"`
	Since         time.Time `json:"since"`
	Keys          []Key     `json:"keys"`
}

// Waiting says why something does not move, in the one form that every reader shows.
type Waiting struct {
	Reason    string     `json:"reason"` // a constant of waiting.go's catalogue: dependency, paused, …
	Message   string     `json:"message"`
	Since     time.Time  `json:"since,omitzero"`
	Until     *time.Time `json:"until,omitempty"`
	ClearedBy string     `json:"cleared_by"`        // a command, a file or an event
	Stalled   bool       `json:"stalled,omitempty"` // will not go away by itself
}
