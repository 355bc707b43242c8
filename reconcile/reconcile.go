// Package reconcile owns the loop that drives the controllers to a fixpoint, one mutation at a time,
// and the executor that keeps every active request supervised.
package reconcile

import (
	"time"

	"millrace/workspace"
)

// A Controller brings observed state one step closer to what is declared. It is a pure function of
// the view: it asks neither disk, clock, git nor chance.
type Controller interface {
	Name() string
	Reconcile(seen *workspace.View) Proposal
}

// A Proposal is a controller's answer.
type Proposal struct {
	Mutation *workspace.Mutation // nil: settled
	Observe  []workspace.Query   // too dear to observe always; found in the next view
	After    time.Duration       // > 0: look again then, without a hint
	Settles  bool                // After settles what was dropped: a tick waits for it
	Stop     bool                // the loop ends when the mutation is committed
}
