package workspace

import (
	"encoding/json"
	"time"

	"millrace/schema"
	"millrace/schema/document"
)

// A View is everything a controller may know: the fold of the journal, and what the observers saw.
// Controllers read it and never change it. The same sequence of views gives the same journal.
type View struct {
	*State

	Now      time.Time                     // never before the last record's time
	NewID    func(prefix string) string    // source of ids: sortable by time, unique over hosts and restarts
	Daemon   string                        // instance id of the daemon that asks; "" when a command reconciles
	NoDaemon bool                          // a reader knows that nobody will act on what waits
	Declined map[schema.Key]schema.Waiting // a reader asked the declaration table what it does not admit, and why
	Troubles []Condition                   // a reader was told what the daemon lives with
	Config   *schema.Config                // next-tick settings in force: a held change of checks and auto_recovery is not

	Intake   *Intake
	Compiled Compiled
	Registry *document.Registry      // definitions of every document kind
	Requests map[string]*RequestSeen // every active request, and late reports of lost ones, by id
	Hands    []Hand                  // people's hands in the runtime's half
	Git      GitFacts
	Asked    map[Query]Answer                 // what earlier proposals asked to observe
	Plans    func(schema.Digest) *schema.Plan // archived plans by digest; nil for an unknown one
	Notices  schema.Diagnostics               // what the observers cannot see, or only late; for people
}

// Intake is what the declarations folder holds.
type Intake struct {
	Complete bool                      // a whole scan has been made: absence means something
	Files    map[string]*IntakeFile    // by path below the workspace folder
	ByKey    map[schema.Key][]Declared // settled declarations; more than one reject each other
	Control  []Declared                // declarations of kind control
	Approval []Declared                // declarations of kind approval

	// Unreconciled are the keys whose declaration and item may disagree, sorted: settled, changed,
	// absent or double. It is derived anew from both, never remembered.
	Unreconciled []schema.Key
}

// An IntakeFile is one file below intake/.
type IntakeFile struct {
	Path      string
	Digest    schema.Digest // of the bytes last read
	Docs      []Declared
	Diags     schema.Diagnostics // empty: every document in it is valid
	Unparsed  bool               // not readable as its encoding: it keeps all its items
	Settling  bool               // seen, not read yet
	Tracked   bool               // git knows the path
	Committed bool               // git HEAD has the same bytes
	Changed   time.Time          // when these bytes were first seen
	Since     uint64             // journal sequence then: which runs were active
}

// A Declared is one document of an intake file.
type Declared struct {
	Key    schema.Key // of the item it declares: an idea's is its root spec
	Path   string
	Line   int
	File   schema.Digest    // of the file's bytes: what a mutation resting on it must Expect
	Digest schema.Digest    // of the record as written: identity of the declaration's content
	Doc    *schema.Document // nil when the item already carries this digest
}

// Compiled is what the plan's inputs compile to now.
type Compiled struct {
	Ready   bool // an observation has been made
	Plan    *schema.Plan
	Bytes   []byte // canonical JSON of Plan
	Digest  schema.Digest
	Diags   schema.Diagnostics       // why there is no Plan, or warnings
	Changed []string                 // asset and configuration paths that differ from the current plan's inputs
	Files   map[string]schema.Digest // all inputs as seen
	Read    map[string]schema.Digest // bytes of the files they were read from: what a mutation may expect
}

// RequestSeen is what can be seen of an active request, in the order in which it must be looked at.
type RequestSeen struct {
	Alive      bool                       // the supervisor's lock is held
	Waits      string                     // a reader asked what the agent of a live request waits for, to people; "": nothing that is known
	Since      time.Time                  // it waits since
	Completion *schema.Completion         // readable, complete, and the lock is free
	Broken     string                     // a completion is there but cannot be read: why
	Started    bool                       // spent: an agent may have been started
	Strays     int                        // processes that still carry the request's mark
	Salvage    *schema.Completion         // lost, nothing of it lives: what its files still say; Claim may be nil
	Invalid    schema.Diagnostics         // artifacts whose content breaks their definition
	Records    map[string]json.RawMessage // by file: what valid artifacts that have a definition say, as JSON
	Outbox     []OutboxFile               // parsed outbox documents of Completion or Salvage
}

// Lost reports whether the request was spent and nothing of it lives any more.
func (r *RequestSeen) Lost() bool {
	return r != nil && !r.Alive && r.Completion == nil && r.Started && r.Strays == 0
}

// An OutboxFile is one file of an outbox with what it declares.
type OutboxFile struct {
	Path  string // relative to the outbox
	Docs  []*schema.Document
	Diags schema.Diagnostics
}

// A Hand is something a person did in the runtime's folders.
type Hand struct {
	What   string     // moved, edited, copied, deleted, foreign
	Key    schema.Key // of the item concerned; for foreign the id the file claims
	Path   string     // where the file is
	Was    string     // where the journal says it is (moved, copied, deleted)
	State  string     // lifecycle state of the folder Path lies in
	Digest schema.Digest
	Doc    *schema.Document // when valid
	Diags  schema.Diagnostics
}

// GitFacts is what git says of the project; the zero value is "no git here".
type GitFacts struct {
	Repository bool
	Branch     string // branch of HEAD, or the commit when detached
	Busy       string // operation under way: rebase, merge, checkout (index.lock), …
	Head       string

	Committed map[string]schema.Digest // of the paths in question (held, or an operator's decision): bytes that HEAD has as seen; "": absent, and a commit took it away
}

// A Query asks the observers for something too dear to look at always. The answer is in the next
// view's Asked.
type Query struct {
	Kind string // "file": bytes of a workspace file of at most 1 MiB; "content": bytes the journal once wrote; "tree": git's digest of the working tree
	Arg  string
}

// An Answer to a Query.
type Answer struct {
	Data   []byte
	Digest schema.Digest // "" when there is no such file
	Err    string
}

// AskFile is the query for a file's bytes.
func AskFile(path string) Query { return Query{"file", path} }

// AskContent is the query for bytes that the journal once wrote, by their digest: what a document
// said before a person's hand changed it.
func AskContent(d schema.Digest) Query { return Query{"content", string(d)} }

// AskTree is the query for git's digest of the project's working tree, the workspace folder left out: it is the
// answer's Data, empty where there is no repository.
func AskTree() Query { return Query{Kind: "tree"} }
