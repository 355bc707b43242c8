package workspace

import (
	"fmt"
	"path"
	"strings"

	"millrace/schema"
)

// ApprovalsDir holds the approvals that are asked for, and those that were.
const ApprovalsDir = "approvals"

// PendingPath is where an approval lies while a run waits for it.
func PendingPath(id string) string { return path.Join(ApprovalsDir, "pending", id+".json") }

// ResolvedPath is where an approval is kept that a run waits for no more. Another run may ask again for what was
// denied.
func ResolvedPath(p *schema.Pending) string {
	return path.Join(ApprovalsDir, "resolved", p.ID+"@"+p.Run+".json")
}

// Ask notes on a run, whose node is the one to be approved, that it waits for somebody to decide.
func (m *Mutation) Ask(v *View, r *schema.Run, a *schema.EdgeApproval, after, outcome string) {
	r.Approval = &schema.Pending{
		SchemaVersion: schema.Version, ID: schema.ApprovalID(r.Item, r.Generation, r.Plane, r.Node, a.Capability, a),
		Item: r.Item, Generation: r.Generation, Run: r.ID, Plan: r.Plan, Plane: r.Plane, After: after, Outcome: outcome,
		Node: r.Node, Capability: a.Capability, Reason: a.Reason, Denied: a.Denied, Asked: v.Now,
	}
	m.PutJSON(PendingPath(r.Approval.ID), r.Approval)
	m.Tell(approvalEvent(EvAsked, r.Approval, a.Reason))
}

// Resolve takes the question away from a run and keeps what came of it.
func (m *Mutation) Resolve(r *schema.Run, ruling schema.Ruling) {
	kept := *r.Approval
	kept.Ruling, r.Approval = &ruling, nil
	m.Ops = append(m.Ops, Op{Do: Remove, Path: PendingPath(kept.ID), Was: Projection})
	m.PutJSON(ResolvedPath(&kept), &kept)
	event := map[string]string{schema.DecisionApprove: EvApproved, schema.DecisionDeny: EvDenied}[ruling.Decision]
	if event == "" {
		event = EvWithdrawn
	}
	m.Tell(approvalEvent(event, &kept, because("by "+ruling.By, ruling.Reason)))
}

func approvalEvent(event string, p *schema.Pending, message string) Event {
	return Event{Type: event, Item: p.Item, Run: p.Run, Plane: p.Plane, Node: p.Node, Path: p.ID, Message: message}
}

// Denial is what a denied approval leaves of a blocked item.
func Denial(capability string, r schema.Ruling, run, node string) schema.Blocked {
	return schema.Blocked{Class: schema.FailApprovalDenied, Run: run, Node: node,
		Message: because(fmt.Sprintf("%s was denied by %s", capability, r.By), r.Reason)}
}

// denier is the file that denied an item what it needs.
func denier(it *schema.Item) string {
	var last schema.Ruling
	for _, id := range sorted(it.Approvals) {
		if r := it.Approvals[id]; r.Decision == schema.DecisionDeny && !r.At.Before(last.At) {
			last = r
		}
	}
	if last.Declared == "" {
		return "the declaration that denied it"
	}
	return last.Declared
}

// Ruling is what was decided of an approval; nil while nothing was.
func (s *State) Ruling(id string) *schema.Ruling {
	item, _, _ := strings.Cut(id, "/")
	for _, it := range s.Find(item) {
		if r, ok := it.Approvals[id]; ok {
			return &r
		}
	}
	return nil
}

// AskedFor is the approval of that id which a run waits for, or nil.
func (s *State) AskedFor(id string) *schema.Pending {
	for _, r := range s.Runs {
		if r.Approval != nil && r.Approval.ID == id {
			return r.Approval
		}
	}
	return nil
}

// A Said is a declaration of a decision.
type Said struct {
	Declared
	schema.Approval
}

// Decisions are the declarations that decide an approval, by place: those that count, and those that wait for a
// person's word because an agent may have written them.
func (v *View) Decisions(id string) (count, held []Said) {
	if v.Intake == nil {
		return nil, nil
	}
	for _, d := range v.Intake.Approval {
		s := Said{Declared: d}
		f := v.Intake.Files[d.Path]
		if d.Key.ID != id || d.Doc == nil || f == nil || f.Settling || d.Doc.Decode(&s.Approval) != nil {
			continue
		}
		if _, doubted := v.Doubted(d.Path, d.File); doubted {
			held = append(held, s)
		} else {
			count = append(count, s)
		}
	}
	return count, held
}

// Contradiction is a declaration that says something else than the first of its approval, or nil: then none of them
// counts.
func Contradiction(count []Said) *Said {
	for i := range count {
		if count[i].Decision != count[0].Decision {
			return &count[i]
		}
	}
	return nil
}

// asked is why a run waits for an approval, with what decides it.
func (v *View) asked(p *schema.Pending) schema.Waiting {
	w := schema.Waiting{Reason: WaitApproval, Since: p.Asked, Stalled: true,
		Message:   fmt.Sprintf("%s is not approved: %s", p.Capability, p.Reason),
		ClearedBy: fmt.Sprintf("millrace approvals approve %s --reason … (or deny)", p.ID)}
	count, held := v.Decisions(p.ID)
	switch other := Contradiction(count); {
	case other != nil:
		w.Message = fmt.Sprintf("%s is not approved: %s says %s and %s says %s", p.Capability, count[0].Path, count[0].Decision, other.Path, other.Decision)
		w.ClearedBy = "a change of one of them"
	case len(count) > 0: // about to be applied
		w.Stalled, w.ClearedBy = false, "its turn: "+count[0].Path+" decides it"
	case len(held) > 0:
		w.Message = fmt.Sprintf("%s is not approved: %s decides it, and a stage could have written that", p.Capability, held[0].Path)
		w.ClearedBy = fmt.Sprintf("a commit of it, or millrace intake accept %s", held[0].Path)
	}
	return w
}
