package schema

import "time"

// EvidenceFile is what a request that had been given up reported after all, in the form of a Result.
const EvidenceFile = "evidence.json"

// MaxRestarts is how often one node of a run may start anew after its request was lost, with nothing decided.
const MaxRestarts = 2

// A Result is what the runtime holds a request to have come to, and what it decided: result.json,
// written in the commit that applies the completion.
type Result struct {
	SchemaVersion int           `json:"schema_version"`
	Request       string        `json:"request"`
	Run           string        `json:"run"`
	Item          Key           `json:"item"`
	Generation    int           `json:"generation"`
	Plan          Digest        `json:"plan"`
	Plane         string        `json:"plane"`
	Node          string        `json:"node"`
	Stage         string        `json:"stage"`
	Exit          string        `json:"exit"`
	Outcome       string        `json:"outcome,omitempty"` // "" when the failure took no route
	Class         string        `json:"class,omitempty"`
	Failure       string        `json:"failure_class,omitempty"`
	Message       string        `json:"message,omitempty"`
	Claim         *Claim        `json:"claim,omitempty"`
	Artifacts     []File        `json:"artifacts,omitempty"`
	Tokens        *Tokens       `json:"tokens,omitempty"` // nil: unknown, which is not zero
	Cost          *Cost         `json:"cost,omitempty"`
	ChecksBefore  []CheckRecord `json:"checks_before,omitempty"`
	ChecksAfter   []CheckRecord `json:"checks_after,omitempty"`
	TreeBefore    string        `json:"tree_before,omitempty"`
	TreeAfter     string        `json:"tree_after,omitempty"`
	To            string        `json:"to,omitempty"` // node or end
	Why           string        `json:"why,omitempty"`
	Counter       string        `json:"counter,omitempty"`
	Effects       []string      `json:"effects,omitempty"`
	Spawned       []Key         `json:"spawned,omitempty"`
	Declined      []Declined    `json:"declined,omitempty"` // outbox documents that were not admitted
	Started       time.Time     `json:"started_at,omitzero"`
	Ended         time.Time     `json:"ended_at"`
	Applied       time.Time     `json:"applied_at"`
	Evidence      bool          `json:"evidence_only,omitempty"` // the request had been given up: it changed nothing
}

// Declined is an outbox document that was not admitted.
type Declined struct {
	Path string `json:"path"` // relative to the outbox
	Item Key    `json:"item,omitzero"`
	Why  string `json:"why"`
}
