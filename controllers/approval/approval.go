// Package approval owns what becomes of approvals: it matches the declarations of decisions with the runs that wait
// for them. What nobody asked for changes nothing, and what an agent may have written waits for a person.
package approval

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"millrace/reconcile"
	"millrace/schema"
	"millrace/workspace"
)

const name = "approval"

type controller struct{}

// New makes the controller.
func New() reconcile.Controller { return controller{} }

func (controller) Name() string { return name }

// Reconcile notes which declarations are doubted, and then applies the first decision that counts, oldest run first.
func (controller) Reconcile(v *workspace.View) reconcile.Proposal {
	if v.Intake == nil {
		return reconcile.Proposal{}
	}
	if m := doubts(v); m != nil {
		return reconcile.Proposal{Mutation: m}
	}
	for _, r := range v.ActiveRuns() {
		it := v.Items[r.Item]
		if r.Approval == nil || it == nil || it.State != schema.StateActive || it.Run != r.ID || it.Cancel != nil {
			continue // not asked, or about to be withdrawn
		}
		count, _ := v.Decisions(r.Approval.ID)
		if len(count) == 0 || workspace.Contradiction(count) != nil {
			continue
		}
		if m := decide(v, r.Clone(), it.Clone(), count[0]); m != nil {
			return reconcile.Proposal{Mutation: m}
		}
	}
	return reconcile.Proposal{}
}

// doubts brings the record of held declarations up to date. It is made when they appear, asked for or not: by the time
// somebody asks, the stage that could have written them may be forgotten. What has been decided holds nothing any more.
func doubts(v *workspace.View) *workspace.Mutation {
	if len(v.Intake.Approval) == 0 {
		return nil
	}
	next := v.Control.Clone()
	var events []workspace.Event
	for _, d := range v.Intake.Approval {
		f := v.Intake.Files[d.Path]
		if f == nil || f.Settling {
			continue
		}
		was, held := next.Held[d.Path]
		run, doubted := v.Doubted(d.Path, f.Digest)
		switch {
		case spent(v, f, ""):
			delete(next.Held, d.Path)
			delete(next.Accepted, d.Path)
		case !doubted:
			delete(next.Held, d.Path)
		case !held || was.Digest != f.Digest:
			if next.Held == nil {
				next.Held = map[string]schema.HeldChange{}
			}
			next.Held[d.Path] = schema.HeldChange{Digest: f.Digest, During: run, Since: v.Now}
			events = append(events, workspace.Event{Type: workspace.EvHeld, Path: d.Path, Run: run, Message: fmt.Sprintf(
				"it decides an approval and appeared while a stage could write the workspace: commit it, or millrace intake accept %s", d.Path)})
		}
	}
	if maps.Equal(next.Held, v.Control.Held) && maps.Equal(next.Accepted, v.Control.Accepted) {
		return nil
	}
	m := &workspace.Mutation{By: name, Why: "note which declarations of approvals are held", Events: events}
	m.PutControl(next)
	return m
}

// spent reports whether every document of a file is a decision that has been made; also is one that is being made.
func spent(v *workspace.View, f *workspace.IntakeFile, also string) bool {
	return !slices.ContainsFunc(f.Docs, func(d workspace.Declared) bool {
		return d.Key.Family != schema.KindApproval || d.Key.ID != also && v.Ruling(d.Key.ID) == nil
	})
}

// decide is the one mutation that a decision becomes. Run and item are clones.
func decide(v *workspace.View, r *schema.Run, it *schema.Item, said workspace.Said) *workspace.Mutation {
	p := r.Approval
	ruling := schema.Ruling{Decision: said.Decision, By: cmp.Or(said.By, said.Path), Reason: said.Reason, Declared: said.Path, At: v.Now}
	m := &workspace.Mutation{By: name, Expect: []workspace.Input{{Path: said.Path, Digest: said.File}},
		Why: fmt.Sprintf("%s of %s is %s by %s: %s", p.Capability, r.Item, ruling.Word(), ruling.By, said.Reason)}
	if it.Approvals == nil {
		it.Approvals = map[string]schema.Ruling{}
	}
	it.Approvals[p.ID] = ruling
	it.Updated = v.Now
	m.Resolve(r, ruling)
	if n := len(r.Steps); n > 0 {
		r.Steps[n-1].Why += fmt.Sprintf("; %s by %s", ruling.Word(), ruling.By)
	}
	if said.Decision == schema.DecisionApprove {
		goOn(m, r, it)
	} else if !deny(v, m, r, it, p, ruling) {
		return nil
	}
	release(v, m, said)
	return m
}

// goOn lets the run enter its node when there is room.
func goOn(m *workspace.Mutation, r *schema.Run, it *schema.Item) {
	m.PutItem(it)
	m.PutRun(r)
	m.PutTrace(r)
}

// deny leads the run where its plan says; false when nobody has that plan any more, which is recovery's to tell.
func deny(v *workspace.View, m *workspace.Mutation, r *schema.Run, it *schema.Item, p *schema.Pending, ruling schema.Ruling) bool {
	if v.Plans == nil {
		return false
	}
	plan := v.Plans(r.Plan)
	if plan == nil || plan.Graphs[r.Plane] == nil {
		return false
	}
	if n := len(r.Steps); n > 0 {
		r.Steps[n-1].To, r.Steps[n-1].Why = p.Denied, r.Steps[n-1].Why+" → "+p.Denied
	}
	end := plan.Graphs[r.Plane].Ends[p.Denied]
	if end == nil {
		r.Node, r.Restarts = p.Denied, 0
		goOn(m, r, it)
		return true
	}
	m.EndRun(v, r, p.Denied)
	m.PutTrace(r)
	switch end.State {
	case schema.StateDone:
		m.Complete(v, it)
	case schema.StateBlocked:
		m.Block(v, it, workspace.Denial(p.Capability, ruling, r.ID, p.After))
	default:
		if schema.Ended(end.State) {
			it.EndedBy = "run"
		}
		m.MoveItem(v, it, end.State)
	}
	return true
}

// release forgets that a file was held or accepted when nothing else in it is to be decided.
func release(v *workspace.View, m *workspace.Mutation, said workspace.Said) {
	_, held := v.Control.Held[said.Path]
	_, accepted := v.Control.Accepted[said.Path]
	if !held && !accepted || !spent(v, v.Intake.Files[said.Path], said.Key.ID) {
		return
	}
	c := v.Control.Clone()
	delete(c.Held, said.Path)
	delete(c.Accepted, said.Path)
	m.PutControl(c)
}
