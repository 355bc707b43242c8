// Package recovery owns what went wrong around a stage rather than in it: requests that were lost,
// wanted ends that a running stage must hear of, work that a passing trouble has blocked or that planning has found
// nothing for, and items and runs that do not fit each other. Every repair is a mutation like any other, so it is audited.
package recovery

import (
	"fmt"
	"path"

	"millrace/reconcile"
	"millrace/schema"
	"millrace/workspace"
)

const name = "recovery"

type controller struct{}

// New makes the controller.
func New() reconcile.Controller { return controller{} }

func (controller) Name() string { return name }

// Reconcile proposes the first repair there is.
func (controller) Reconcile(v *workspace.View) reconcile.Proposal {
	for _, repair := range []func(*workspace.View) *workspace.Mutation{lost, cancels, strays, orphans, unbegun} {
		if m := repair(v); m != nil {
			return reconcile.Proposal{Mutation: m}
		}
	}
	if m, asks := fruitless(v); m != nil || len(asks) > 0 {
		return reconcile.Proposal{Mutation: m, Observe: asks}
	}
	m, after := requeue(v)
	return reconcile.Proposal{Mutation: m, After: after}
}

// lost establishes what a request came to that was spent and of which nothing lives, or whose completion
// cannot be read. The result controller applies it like any completion: it takes the outcome that the
// agent had already named, or starts the node again when its kind allows that.
func lost(v *workspace.View) *workspace.Mutation {
	for _, r := range v.ActiveRuns() {
		seen := v.Requests[r.Request]
		if r.Request == "" || r.Salvaged != nil || !gone(seen) {
			continue
		}
		r = r.Clone()
		r.Salvaged = presumed(v, r, seen)
		m := &workspace.Mutation{By: name, Why: fmt.Sprintf("request %s of %s was lost: %s", r.Request, r.Item, r.Salvaged.Detail)}
		m.PutRun(r)
		return m
	}
	return nil
}

// gone reports whether nothing more can come of a request.
func gone(seen *workspace.RequestSeen) bool {
	if seen == nil || seen.Alive || seen.Completion != nil || seen.Strays > 0 {
		return false
	}
	return seen.Lost() || seen.Broken != ""
}

func presumed(v *workspace.View, r *schema.Run, seen *workspace.RequestSeen) *schema.Completion {
	if seen.Salvage != nil {
		return seen.Salvage
	}
	c := &schema.Completion{
		SchemaVersion: schema.Version, Request: r.Request, Run: r.ID, Exit: schema.ExitFailed,
		Failure: schema.FailSupervisorLost, Detail: "its supervisor is gone and left no completion", Ended: v.Now,
	}
	if seen.Broken != "" {
		c.Detail = "its completion cannot be read: " + seen.Broken
	}
	return c
}

// cancels tells a running stage that its end is wanted now: the first of two steps. The item stays
// active, in its lane, until the completion that follows is applied.
func cancels(v *workspace.View) *workspace.Mutation {
	for _, k := range v.Active() {
		it := v.Items[k]
		r := v.RunOf(it)
		if r == nil || r.Request == "" || it.Cancel == nil || !it.Cancel.Now || it.Cancel.Sent == r.Request {
			continue
		}
		it = it.Clone()
		it.Cancel.Sent, it.Updated = r.Request, v.Now
		m := &workspace.Mutation{By: name, Why: fmt.Sprintf("end %s of %s now: %s", r.Node, k, it.Cancel.Why)}
		m.PutFile(path.Join(workspace.RequestDir(r.ID, r.Request), schema.CancelFile), workspace.Projection,
			[]byte(it.Cancel.By+": "+it.Cancel.Why+"\n"))
		m.PutItem(it)
		return m
	}
	return nil
}

// strays ends runs that no active item knows, once nothing of their request lives.
func strays(v *workspace.View) *workspace.Mutation {
	for _, r := range v.ActiveRuns() {
		it := v.Items[r.Item]
		if it != nil && it.State == schema.StateActive && it.Run == r.ID || alive(v, r) {
			continue
		}
		m := &workspace.Mutation{By: name, Why: fmt.Sprintf("end run %s: %s is not its item any more", r.ID, r.Item)}
		r = r.Clone()
		m.EndRun(v, r, schema.StateCancelled)
		m.PutTrace(r)
		return m
	}
	return nil
}

// alive errs on the side of caution: a request that has not been looked at may be.
func alive(v *workspace.View, r *schema.Run) bool {
	if r.Request == "" {
		return false
	}
	seen := v.Requests[r.Request]
	return seen == nil || seen.Alive || seen.Strays > 0 || !seen.Started && seen.Completion == nil
}

// orphans takes active items back that have no run, or one whose plan nobody has any more.
func orphans(v *workspace.View) *workspace.Mutation {
	for _, k := range v.Active() {
		it := v.Items[k]
		r := v.RunOf(it)
		if r == nil {
			m := &workspace.Mutation{By: name, Why: fmt.Sprintf("requeue %s: it is active without a run", k)}
			m.Requeue(v, it.Clone(), schema.Note{By: name, What: "requeued", Why: "it was active without a run"}, false)
			return m
		}
		if v.Plans == nil || alive(v, r) {
			continue
		}
		if why := planless(v.Plans(r.Plan), r); why != "" {
			m := &workspace.Mutation{By: name, Why: fmt.Sprintf("block %s: %s", k, why)}
			r, it = r.Clone(), it.Clone()
			m.EndRun(v, r, schema.StateBlocked)
			m.PutTrace(r)
			m.Block(v, it, schema.Blocked{Class: "plan_missing", Message: why, Run: r.ID, Node: r.Node})
			return m
		}
	}
	return nil
}

func planless(p *schema.Plan, r *schema.Run) string {
	switch {
	case p == nil:
		return fmt.Sprintf("the plan %s that its run began under is not archived any more; retry it under the current one", r.Plan.Short())
	case p.Kind(r.Plane, r.Node) == nil:
		return fmt.Sprintf("the plan %s has no node %s; retry it under the current one", r.Plan.Short(), r.Node)
	}
	return ""
}
