package result

import (
	"fmt"
	"slices"

	"millrace/schema"
	"millrace/workspace"
)

// ruled follows what was decided before of the approval that a decision needs: nobody is asked twice.
func (h *harvest) ruled(d schema.Decision) schema.Decision {
	a := d.Approval
	if a == nil {
		return d
	}
	id := schema.ApprovalID(h.item.Key(), h.run.Generation, h.run.Plane, d.Node, a.Capability, a)
	ruling, decided := h.item.Approvals[id]
	if !decided {
		return d
	}
	d.Approval = nil
	d.Why += fmt.Sprintf("; %s by %s", ruling.Word(), ruling.By)
	if ruling.Decision == schema.DecisionApprove {
		return d
	}
	d.Why += " → " + a.Denied
	end := h.plan.Graphs[h.run.Plane].Ends[a.Denied]
	if end == nil {
		d.Node = a.Denied
		return d
	}
	d.Node, d.End, d.Effects = "", a.Denied, append(slices.Clone(d.Effects), end.Effects...)
	why := workspace.Denial(a.Capability, ruling, h.run.ID, h.step.Node)
	h.why = &why
	return d
}
