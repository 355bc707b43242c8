// Package plan keeps the frozen plan current: when what the operator wrote compiles to something else,
// that becomes the plan of new runs. Runs in flight end under their own.
package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"millrace/reconcile"
	"millrace/schema"
	"millrace/workspace"
)

const name = "plan"

type controller struct{}

// New returns the controller.
func New() reconcile.Controller { return controller{} }

func (controller) Name() string { return name }

// Reconcile proposes the plan that the inputs compile to. A plan that does not compile changes nothing:
// the diagnostics are in the view, and status shows them. Neither does one with a change that an agent
// may have made; that it is held is recorded, because the run that made it ends and a daemon restarts.
func (controller) Reconcile(v *workspace.View) reconcile.Proposal {
	c := v.Compiled
	if !c.Ready {
		return reconcile.Proposal{}
	}
	next := v.Control.Clone()
	events := hold(v, next)
	waits := len(heldInputs(next)) > 0
	if c.Plan != nil && !waits && (c.Digest != v.Control.Plan || c.Plan.Mode != v.Control.Mode) {
		return reconcile.Proposal{Mutation: adopt(v, next)}
	}
	if maps.Equal(next.Held, v.Control.Held) {
		return reconcile.Proposal{}
	}
	m := &workspace.Mutation{By: name, Why: "changes of the plan's inputs are held: " + strings.Join(heldInputs(next), ", "), Events: events}
	if !waits {
		m.Why = "held changes of the plan's inputs were taken back"
	}
	m.PutControl(next)
	return reconcile.Proposal{Mutation: m}
}

// hold brings the record of held inputs up to date. A path that is held stays so whatever its bytes,
// until a person commits or accepts them, or they are again those of the current plan.
func hold(v *workspace.View, next *schema.Control) (events []workspace.Event) {
	c := v.Compiled
	for p := range v.Control.Held {
		if isInput(p) && !slices.Contains(c.Changed, p) {
			delete(next.Held, p)
		}
	}
	if v.Control.Plan == "" {
		return nil // what a workspace begins with is its operator's
	}
	writer := v.WriterAt(v.Now)
	for _, p := range c.Changed {
		digest := c.Read[p]
		was, held := v.Control.Held[p]
		switch {
		case v.Vouched(p, digest):
			delete(next.Held, p)
			continue
		case held && was.Digest == digest, !held && writer == "":
			continue
		case !held:
			was = schema.HeldChange{During: writer, Since: v.Now}
		}
		was.Digest = digest
		if next.Held == nil {
			next.Held = map[string]schema.HeldChange{}
		}
		next.Held[p] = was
		events = append(events, workspace.Event{Type: workspace.EvHeld, Path: p, Run: was.During,
			Message: fmt.Sprintf("changed while a stage could write the workspace: commit it, or millrace intake accept %s", p)})
	}
	return events
}

// adopt makes the compiled plan current.
func adopt(v *workspace.View, next *schema.Control) *workspace.Mutation {
	c := v.Compiled
	for _, p := range c.Changed {
		delete(next.Accepted, p)
	}
	next.SchemaVersion, next.Plan, next.Mode = schema.Version, c.Digest, c.Plan.Mode
	m := &workspace.Mutation{By: name, Why: fmt.Sprintf("plan %s (mode %s) is current", c.Digest.Short(), c.Plan.Mode)}
	for _, p := range slices.Sorted(maps.Keys(c.Plan.Inputs)) {
		m.Expect = append(m.Expect, workspace.Input{Path: p, Digest: c.Read[p]})
	}
	m.PutFile(workspace.PlanPath(c.Digest), workspace.Projection, c.Bytes)
	m.PutFile(workspace.PlanFile, workspace.Projection, c.Bytes)
	m.PutControl(next)
	m.Tell(workspace.Event{Type: workspace.EvPlan, Path: workspace.PlanPath(c.Digest), Message: m.Why})
	return m
}

func heldInputs(c *schema.Control) []string {
	var paths []string
	for p := range c.Held {
		if isInput(p) {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	return paths
}

// isInput tells the plan's inputs from declarations, of which some are held as well.
func isInput(p string) bool { return !strings.HasPrefix(p, workspace.IntakeDir+"/") }
