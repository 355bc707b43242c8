package result

import (
	"fmt"
	"path"
	"slices"

	"millrace/schema"
	"millrace/workspace"
)

// claim is what the agent said; of a held claim, what it said then.
func (h *harvest) claim() *schema.Claim {
	if h.c.Claim != nil && h.run.Held != nil {
		return &h.run.Held.Claim
	}
	return h.c.Claim
}

// tampered names a file of a held claim that is not what it was when the claim was made.
func (h *harvest) tampered() string {
	if h.run.Held == nil {
		return ""
	}
	for _, f := range h.run.Held.Files {
		if !slices.ContainsFunc(slices.Concat(h.c.Artifacts, h.c.Outbox), func(g schema.File) bool { return g.Path == f.Path && g.Digest == f.Digest }) {
			return f.Path
		}
	}
	return ""
}

// checkAgain runs the checks of a good judgement once more. The judge is not paid again: what it said is held until
// the checks have been run on the tree as it is.
func (h *harvest) checkAgain(v schema.Verdict) {
	held := &schema.Held{Request: h.run.Request, Claim: *h.claim()}
	if h.run.Held != nil {
		held.Request = h.run.Held.Request
	}
	for _, f := range slices.Concat(h.c.Artifacts, h.c.Outbox) {
		if data, answered, why := h.listed(f); answered && why == "" {
			h.m.PutFile(path.Join(workspace.RunDir(h.run.ID), schema.HeldFolder, f.Path), workspace.Projection, data)
			held.Files = append(held.Files, f)
		}
	}
	h.run.Held, h.run.Restarts = held, 0
	h.run.Rechecks++
	h.admitted, h.declined = nil, nil // proposed again with the claim
	h.decide(v, h.run.Node, fmt.Sprintf("%s: the checks run again, %d of %d", h.recheck, h.run.Rechecks, maxRechecks))
	h.stay(schema.RunRunning)
}
