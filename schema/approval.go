package schema

import (
	"encoding/json"
	"fmt"
	"path"
	"time"
)

// A Pending is an approval that a run waits for: approvals/pending/<item>/<node>/<capability>/<fingerprint>.json.
// Once decided it is kept below approvals/resolved/, with what was decided.
type Pending struct {
	SchemaVersion int       `json:"schema_version"`
	ID            string    `json:"approval"` // item/node/capability/fingerprint
	Item          Key       `json:"item"`
	Generation    int       `json:"generation"`
	Run           string    `json:"run"`
	Plan          Digest    `json:"plan"` // that asks
	Plane         string    `json:"plane"`
	After         string    `json:"after"` // node whose result came to it
	Outcome       string    `json:"outcome"`
	Node          string    `json:"node"` // entered once it is approved
	Capability    string    `json:"capability"`
	Reason        string    `json:"reason"` // the plan's words for what is asked
	Denied        string    `json:"denied"` // node or end taken when it is denied
	Asked         time.Time `json:"asked_at"`
	Ruling        *Ruling   `json:"ruling,omitempty"` // nil: it is pending
}

// A Ruling is what became of an approval.
type Ruling struct {
	Decision string    `json:"decision"` // approve, deny, withdrawn
	By       string    `json:"by"`
	Reason   string    `json:"reason,omitempty"`
	Declared string    `json:"declared_in,omitempty"` // file of the declaration that decided it
	At       time.Time `json:"at"`
}

// Decisions of a ruling; a declaration has one of the first two.
const (
	DecisionApprove   = "approve"
	DecisionDeny      = "deny"
	DecisionWithdrawn = "withdrawn" // the run ended, so nothing is asked any more
)

// Word is a decision as a sentence has it.
func (r Ruling) Word() string {
	switch r.Decision {
	case DecisionApprove:
		return "approved"
	case DecisionDeny:
		return "denied"
	}
	return r.Decision
}

// ApprovalID names what is asked for an item at a node. The fingerprint binds generation and grant, so that another
// content of the item, or another grant, is asked anew; whatever the attempt, the same is asked once.
func ApprovalID(item Key, generation int, plane, node, capability string, grant any) string {
	data, err := json.Marshal(struct {
		Item       Key
		Generation int
		Plane      string
		Node       string
		Grant      any
	}{item, generation, plane, node, grant})
	if err != nil {
		panic(fmt.Sprintf("marshal grant of %s: %v", node, err)) // our own types always marshal
	}
	return path.Join(item.ID, node, capability, DigestOf(data).Short())
}
