// Package control keeps the runtime-wide state: which daemon runs, whether it was asked to stop, what
// is declared about pausing, and which runners wait.
package control

import (
	"maps"
	"slices"
	"strings"
	"time"

	"millrace/reconcile"
	"millrace/schema"
	"millrace/workspace"
)

const name = "control"

type controller struct{}

// New returns the controller.
func New() reconcile.Controller { return controller{} }

func (controller) Name() string { return name }

// Reconcile looks at one concern after the other; the first that has something to change proposes it.
func (controller) Reconcile(v *workspace.View) reconcile.Proposal {
	if m := started(v); m != nil {
		return reconcile.Proposal{Mutation: m}
	}
	if p := stop(v); p.Mutation != nil {
		return p
	}
	if m := branch(v); m != nil {
		return reconcile.Proposal{Mutation: m}
	}
	if m := declared(v); m != nil {
		return reconcile.Proposal{Mutation: m}
	}
	return runners(v)
}

func propose(next *schema.Control, why string, events ...workspace.Event) *workspace.Mutation {
	next.SchemaVersion = schema.Version
	m := &workspace.Mutation{By: name, Why: why, Events: events}
	m.PutControl(next)
	return m
}

// started records a daemon's start, and drops a stop that was meant for another.
func started(v *workspace.View) *workspace.Mutation {
	if v.Daemon == "" || v.Control.Daemon == v.Daemon {
		return nil
	}
	next := v.Control.Clone()
	next.Daemon = v.Daemon
	if next.Stop != nil && next.Stop.Daemon != v.Daemon {
		next.Stop = nil
	}
	seeBranch(v, next)
	return propose(next, "daemon "+v.Daemon+" starts", workspace.Event{Type: workspace.EvDaemon, Message: v.Daemon})
}

// stop obeys a stop once, and drops one that is addressed to another daemon. With Cancel, the stages in
// flight are ended first; the loop starts nothing meanwhile.
func stop(v *workspace.View) reconcile.Proposal {
	s := v.Control.Stop
	if s == nil || v.Daemon == "" {
		return reconcile.Proposal{}
	}
	next := v.Control.Clone()
	next.Stop = nil
	if s.Daemon != v.Daemon {
		return reconcile.Proposal{Mutation: propose(next, "drop a stop meant for daemon "+s.Daemon)}
	}
	if s.Cancel {
		if m, waits := cancelStages(v, s); m != nil || waits {
			return reconcile.Proposal{Mutation: m}
		}
	}
	m := propose(next, because("stop", s.Reason), workspace.Event{Type: workspace.EvStopped, Message: s.Reason})
	return reconcile.Proposal{Mutation: m, Stop: true}
}

// cancelStages wants the end of all stages in flight (recovery tells their supervisors); the items go
// back to the queue. It waits until the last completion has been applied.
func cancelStages(v *workspace.View, s *schema.Stop) (m *workspace.Mutation, waits bool) {
	m = &workspace.Mutation{By: name, Why: because("cancel stages before the stop", s.Reason)}
	for _, r := range v.ActiveRuns() {
		if r.Request == "" {
			continue
		}
		waits = true
		it := v.Items[r.Item]
		if it == nil || it.Cancel != nil && it.Cancel.Now {
			continue
		}
		it = it.Clone()
		if it.Cancel == nil {
			it.Cancel = &schema.Cancel{By: "command", Why: because("stop --cancel", s.Reason), At: v.Now, To: schema.StateQueue}
		}
		it.Cancel.Now = true
		it.Updated = v.Now
		m.PutItem(it)
		m.Tell(workspace.Event{Type: workspace.EvCancelWanted, Item: it.Key(), Run: r.ID, Request: r.Request, To: it.Cancel.To, Message: it.Cancel.Why})
	}
	if len(m.Ops) == 0 {
		return nil, waits
	}
	return m, true
}

func because(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + why
}

// branch records that git's HEAD moved to another branch: what vanishes from intake right after was
// last seen on the branch before, which holds its prune.
func branch(v *workspace.View) *workspace.Mutation {
	next := v.Control.Clone()
	if !seeBranch(v, next) {
		return nil
	}
	return propose(next, "HEAD is on "+v.Git.Branch)
}

func seeBranch(v *workspace.View, next *schema.Control) bool {
	if !v.Git.Repository || v.Git.Busy != "" || next.Head != nil && next.Head.Branch == v.Git.Branch {
		return false
	}
	h := &schema.GitHead{Branch: v.Git.Branch, Since: v.Now}
	if next.Head != nil {
		h.Before = next.Head.Branch
	}
	next.Head = h
	return true
}

// grace is how long a wait that is over is remembered: a runner that fails again within it goes on
// where its backoff was.
const grace = 15 * time.Minute

// runners clears waits that are over and those met under settings that nobody has any more. A wait whose
// time has come holds nothing back; the timer makes the loop look again then.
func runners(v *workspace.View) reconcile.Proposal {
	var p reconcile.Proposal
	next := v.Control.Clone()
	var events []workspace.Event
	var cleared []string
	for _, runner := range slices.Sorted(maps.Keys(v.Control.Runners)) {
		w, why := v.Control.Runners[runner], ""
		switch {
		case changed(v, runner, w):
			why = "its settings have changed"
		case w.Stalled:
		case v.Now.Before(w.Until):
			p.After = sooner(p.After, w.Until.Sub(v.Now))
		case v.Now.Before(w.Until.Add(grace)):
			p.After = sooner(p.After, w.Until.Add(grace).Sub(v.Now))
		default:
			why = "its wait is over"
		}
		if why != "" {
			delete(next.Runners, runner)
			cleared = append(cleared, runner)
			events = append(events, workspace.Event{Type: workspace.EvRunnerResumed, Path: runner, Message: why})
		}
	}
	if len(cleared) > 0 {
		p.Mutation = propose(next, "runners wait no more: "+strings.Join(cleared, ", "), events...)
	}
	return p
}

// changed reports whether neither the current plan nor a run of an older one has the settings that a
// runner failed with. (A run cannot get other settings than its plan's: without its wait it would be
// started again and again with those that failed.)
func changed(v *workspace.View, runner string, w schema.RunnerWait) bool {
	if w.Config == "" || v.Plans == nil {
		return false
	}
	current := v.Plans(v.Control.Plan)
	if current == nil || w.Config == workspace.RunnerSettings(current, runner) {
		return false
	}
	for _, r := range v.ActiveRuns() {
		p := v.Plans(r.Plan)
		if p == nil || r.Plan == v.Control.Plan {
			continue
		}
		if n := p.Node(r.Plane, r.Node); n != nil && n.Runner == runner && w.Config == workspace.RunnerSettings(p, runner) {
			return false
		}
	}
	return true
}

func sooner(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}
