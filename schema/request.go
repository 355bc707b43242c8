package schema

import (
	"cmp"
	"time"
)

// Files of a request folder, runs/<run>/<request>/. Millrace commits request.json, prompt.md,
// context.json and skills/; all else belongs to the supervisor until its completion is applied.
const (
	RequestFile    = "request.json"
	PromptFile     = "prompt.md"
	ContextFile    = "context.json"
	StartedFile    = "started"         // created O_EXCL: the request is spent
	SupervisorLock = "supervisor.lock" // held while the request is alive; never deleted
	CancelFile     = "cancel"          // committed by Millrace: end the agent
	CompletionFile = "completion.json" // written once by the supervisor
	ResultFile     = "result.json"     // committed by Millrace: the normalised result
	TerminalFile   = "terminal_result.json"
	StdoutFile     = "stdout.txt"
	StderrFile     = "stderr.txt"
	FinalFile      = "final.md"     // the agent's final message, where the adapter tells it apart
	EventsFile     = "events.jsonl" // what an agent that speaks in events said, as event_log_policy has it
	SessionFile    = "session.json" // by the supervisor, as soon as the agent names it: a Session
	InvocationFile = "invocation.json"
	OutboxFolder   = "outbox"
	ChecksFolder   = "checks"               // logs: before-1.log, after-1.log, …
	ChecksFile     = "checks_before.json"   // by the supervisor, for the agent: what the checks said before it
	EvidenceWindow = "evidence_window.json" // committed by Millrace for the judge of a lineage: an Evidence
	HeldFolder     = "held"                 // of a run, not of a request: files of a Held claim
	AgentsFolder   = "agents"               // of a run: by runner, its agent's own folder for what it remembers
	RequestEnv     = "MILLRACE_REQUEST"     // marks every process of a request
	RunEnv         = "MILLRACE_RUN"         // commands refuse to act as an operator when it is set
)

// A Request asks a supervisor for one stage: runs/<run>/<request>/request.json. Paths in it are
// relative to the request folder; the project folder is four levels up, above millrace-agents.
type Request struct {
	SchemaVersion int        `json:"schema_version"`
	ID            string     `json:"request"` // unique over hosts and restarts; MILLRACE_REQUEST
	Run           string     `json:"run"`
	Attempt       int        `json:"attempt"` // requests of this run so far, from 1
	Plane         string     `json:"plane"`
	Node          string     `json:"node"`
	Stage         string     `json:"stage"`
	Item          Key        `json:"item"`
	Generation    int        `json:"generation"`
	Plan          Digest     `json:"plan"`
	Outcomes      []string   `json:"outcomes"` // legal ones, sorted
	Runner        Runner     `json:"runner"`
	Model         string     `json:"model,omitempty"`
	Thinking      string     `json:"thinking_level,omitempty"`
	Permission    string     `json:"permission,omitempty"`
	Timeout       Duration   `json:"timeout"`
	Stall         Duration   `json:"stall_timeout"`
	MaxTurns      int        `json:"max_turns,omitempty"`
	Artifacts     []Artifact `json:"artifacts,omitempty"`
	Checks        []Check    `json:"checks,omitempty"`        // of the item
	ChecksBefore  bool       `json:"checks_before,omitempty"` // run them before the agent
	ChecksAfter   []string   `json:"checks_after,omitempty"`  // run them after these outcomes
	Tree          bool       `json:"tree,omitempty"`          // digest the working tree before and after
	Held          *Held      `json:"held,omitempty"`          // start no agent: run the checks and complete with this claim
	Session       *Session   `json:"session,omitempty"`       // of an earlier request of the same node, to be gone on with
	Created       time.Time  `json:"created_at"`
}

// A Held is what the agent of an earlier request has claimed and is not paid for again: only the checks that the
// claim rests on run anew. Its files are laid out again in the folder of the request that carries it.
type Held struct {
	Request string `json:"request"` // whose agent claimed it
	Claim   Claim  `json:"claim"`
	Files   []File `json:"files,omitempty"` // artifacts and outbox as they were listed; committed below held/ of the run
}

// A Session is an agent's own memory of a conversation, as far as others need to know it: session.json in the request
// folder while the agent works, in the completion, and in the request that goes on with it.
type Session struct {
	Request string  `json:"request"`           // whose agent it was
	ID      string  `json:"session,omitempty"` // as the agent calls it
	Tokens  *Tokens `json:"tokens,omitempty"`  // that it had used in all when it was last heard of; nil: unknown
	Waiting string  `json:"waiting,omitempty"` // what the agent waits for now, to people
}

// Exit kinds of a completion.
const (
	ExitCompleted  = "completed"
	ExitFailed     = "failed"
	ExitTimeout    = "timeout"
	ExitStalled    = "stalled"
	ExitCancelled  = "cancelled"
	ExitNotStarted = "not_started"
)

// A Completion is a supervisor's one report: completion.json.
type Completion struct {
	SchemaVersion int           `json:"schema_version"`
	Request       string        `json:"request"`
	Run           string        `json:"run"`
	Exit          string        `json:"exit"`
	ExitCode      *int          `json:"exit_code,omitempty"`
	Signal        string        `json:"signal,omitempty"`
	Failure       string        `json:"failure_class,omitempty"`
	Detail        string        `json:"detail,omitempty"`
	RetryAfter    Duration      `json:"retry_after,omitempty"`
	Started       time.Time     `json:"started_at,omitzero"`
	Ended         time.Time     `json:"ended_at"`
	Claim         *Claim        `json:"claim,omitempty"` // what the agent said, nil when it said nothing usable
	Transcripts   []File        `json:"transcripts,omitempty"`
	Artifacts     []File        `json:"artifacts,omitempty"`
	Outbox        []File        `json:"outbox,omitempty"`
	Tokens        *Tokens       `json:"tokens,omitempty"` // nil: unknown, which is not zero
	Cost          *Cost         `json:"cost,omitempty"`
	Session       *Session      `json:"session,omitempty"`
	ChecksBefore  []CheckRecord `json:"checks_before,omitempty"`
	ChecksAfter   []CheckRecord `json:"checks_after,omitempty"`
	TreeBefore    string        `json:"tree_before,omitempty"`
	TreeAfter     string        `json:"tree_after,omitempty"`
}

// A Claim is the outcome an agent claims; the runtime decides what follows.
type Claim struct {
	Outcome   string         `json:"outcome"`
	Class     string         `json:"class,omitempty"`
	Summaries []string       `json:"summary_artifact_paths,omitempty"`
	Metadata  map[string]any `json:"metadata,omitempty"`
	Source    string         `json:"source"` // terminal_result.json, or the transcript it stood in
}

// A File is listed with what is needed to know it again.
type File struct {
	Path    string `json:"path"` // relative to the request folder
	Size    int64  `json:"size"`
	Digest  Digest `json:"digest"`
	Dropped int64  `json:"dropped,omitempty"` // bytes beyond a transcript's cap
}

// Tokens by class, as the provider counts them. A nil field is unknown.
type Tokens struct {
	Input      *int64 `json:"input,omitempty"` // uncached
	CachedRead *int64 `json:"cached_read,omitempty"`
	CacheWrite *int64 `json:"cache_write,omitempty"`
	Output     *int64 `json:"output,omitempty"`
	Reasoning  *int64 `json:"reasoning,omitempty"`
}

// Since is what was used since there were before; what is unknown of either stays as it is.
func (t *Tokens) Since(before *Tokens) *Tokens {
	if t == nil {
		return nil
	}
	if before == nil {
		before = &Tokens{}
	}
	return t.with(before, func(now, then *int64) *int64 {
		if now == nil {
			return nil
		}
		d := *now
		if then != nil {
			d -= *then
		}
		d = max(0, d)
		return &d
	})
}

// Plus is what both used together; what only one of them knows is as that one has it.
func (t *Tokens) Plus(more *Tokens) *Tokens {
	if t == nil || more == nil {
		return cmp.Or(t, more)
	}
	return t.with(more, func(a, b *int64) *int64 {
		if a == nil || b == nil {
			return cmp.Or(a, b)
		}
		sum := *a + *b
		return &sum
	})
}

// with makes one of two, class by class.
func (t *Tokens) with(u *Tokens, of func(a, b *int64) *int64) *Tokens {
	return &Tokens{Input: of(t.Input, u.Input), CachedRead: of(t.CachedRead, u.CachedRead), CacheWrite: of(t.CacheWrite, u.CacheWrite),
		Output: of(t.Output, u.Output), Reasoning: of(t.Reasoning, u.Reasoning)}
}

// Total of the known classes; reasoning is part of output.
func (t *Tokens) Total() int64 {
	var sum int64
	if t != nil {
		for _, n := range []*int64{t.Input, t.CachedRead, t.CacheWrite, t.Output} {
			if n != nil {
				sum += *n
			}
		}
	}
	return sum
}

// maxTokens of one request: more is no count but a mistake.
const maxTokens = 1 << 40

// Credible is t, or unknown when a number in it cannot be: sums are made of these.
func (t *Tokens) Credible() *Tokens {
	if t == nil {
		return nil
	}
	for _, n := range []*int64{t.Input, t.CachedRead, t.CacheWrite, t.Output, t.Reasoning} {
		if n != nil && (*n < 0 || *n > maxTokens) {
			return nil
		}
	}
	return t
}

// Known reports whether the sum is all there is: a request whose input or output nobody counted is not known by half.
func (t *Tokens) Known() bool { return t != nil && t.Input != nil && t.Output != nil }

// Cost of a request in US dollars; Reported is false for an estimate.
type Cost struct {
	USD      float64 `json:"usd"`
	Reported bool    `json:"reported"`
}

// Credible is c, or unknown when it cannot be.
func (c *Cost) Credible() *Cost {
	if c == nil || c.USD < 0 || c.USD > maxUSD {
		return nil
	}
	return c
}

const maxUSD = 1e6 // of one request

// A CheckRecord is the evidence one check gave.
type CheckRecord struct {
	Name     string   `json:"name"`
	Run      string   `json:"run"`
	ExitCode int      `json:"exit_code"` // -1: ended by us or never started
	Passed   bool     `json:"passed"`
	Detail   string   `json:"detail,omitempty"` // timeout, cannot start, …
	Duration Duration `json:"duration"`
	Log      File     `json:"log"`
	Tree     string   `json:"tree,omitempty"` // working tree it ran on

	TreeAfter string `json:"tree_after,omitempty"` // working tree that it left, when that is another
}
