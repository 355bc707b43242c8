// Package closure owns the way of a closure target between its opening and its verdict: ready when nothing of its
// lineage is left to do, open again when there is, taken up anew when it stalled and work has ended since, abandoned
// with its root. It also opens the roots that nobody opened when they were claimed. Dispatch claims what is ready like
// any item, and result judges.
package closure

import (
	"millrace/reconcile"
	"millrace/schema"
	"millrace/workspace"
)

const name = "closure"

type controller struct{}

// New makes the controller.
func New() reconcile.Controller { return controller{} }

func (controller) Name() string { return name }

// Reconcile follows the open closure target; without one it opens the next.
func (controller) Reconcile(v *workspace.View) reconcile.Proposal {
	t := v.OpenTarget()
	switch {
	case t == nil:
		return next(v)
	case v.Control.RootFault != nil: // what stood in the way of opening one does so no longer
		return reconcile.Proposal{Mutation: fault(v, nil)}
	}
	return reconcile.Proposal{Mutation: follow(v, t)}
}

// follow takes an open target to the state that its lineage gives it; nil when it has that.
func follow(v *workspace.View, t *schema.Item) *workspace.Mutation {
	root := v.Items[schema.Key{Family: schema.FamilySpec, ID: t.ID}]
	given := root != nil && (root.State == schema.StateCancelled || root.State == schema.StateSuperseded)
	switch {
	case workspace.Abandoned(t):
		by, why := workspace.AbandonedBy(t)
		return abandon(v, t, by, why)
	case given:
		return abandon(v, t, name, "its root spec was "+root.State)
	}
	busy := working(v, t.ID)
	switch {
	case t.State == schema.StateOpen && !busy:
		return move(v, t, schema.StateQueue, workspace.EvReady, "nothing of its lineage is left to do")
	case t.State == schema.StateQueue && busy:
		return move(v, t, schema.StateOpen, workspace.EvReturned, "its lineage has work again")
	case t.State == schema.StateBlocked && t.Closure != nil && v.LastEnded(t.ID) > t.Closure.Stalled:
		state, event := schema.StateQueue, workspace.EvReady
		if busy {
			state, event = schema.StateOpen, workspace.EvReturned
		}
		return move(v, t, state, event, "work of its lineage has ended since it stalled")
	}
	return nil
}

func working(v *workspace.View, root string) bool {
	for range v.OpenWork(root) {
		return true
	}
	return false
}

func abandon(v *workspace.View, t *schema.Item, by, why string) *workspace.Mutation {
	m := &workspace.Mutation{By: name, Why: "abandon " + t.Key().String() + ": " + why}
	if !m.Abandon(v, t, by, why) {
		return nil
	}
	return m
}

func move(v *workspace.View, t *schema.Item, state, event, why string) *workspace.Mutation {
	m := &workspace.Mutation{By: name, Why: t.Key().String() + ": " + why}
	t = t.Clone()
	m.MoveItem(v, t, state)
	m.Tell(workspace.Event{Type: event, Item: t.Key(), Plane: plane(v), To: state, Path: t.Path, Message: why})
	return m
}

func plane(v *workspace.View) string {
	if f := v.Family(schema.FamilyTarget); f != nil {
		return f.Plane
	}
	return ""
}
