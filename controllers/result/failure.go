package result

import (
	"fmt"
	"slices"
	"time"

	"millrace/schema"
	"millrace/workspace"
)

// Limits of what is tried again without asking anybody.
const (
	maxRestarts = schema.MaxRestarts // of one node, after its request was lost
	firstWait   = 30 * time.Second   // for a runner; doubles
	longestWait = 15 * time.Minute
	waitInAll   = 6 * time.Hour // of one run for one runner; then it takes the BLOCKED route
)

// again reports whether a lost request may be followed by another one for the same node. One that started no agent
// always may.
func (h *harvest) again() bool {
	return (h.kind.RetrySafe() || h.run.Held != nil) && h.run.Restarts < maxRestarts
}

// restart starts the same node anew: nothing was decided, so no budget is spent.
func (h *harvest) restart(v schema.Verdict) {
	h.run.Restarts++
	h.decide(v, h.run.Node, fmt.Sprintf("%s: restart %d of %d", v.Failure, h.run.Restarts, maxRestarts))
	h.m.Tell(workspace.Event{
		Type: workspace.EvRestarted, Item: h.run.Item, Run: h.run.ID, Request: h.step.Request, Plane: h.run.Plane,
		Node: h.run.Node, Class: v.Failure, Message: v.Message,
	})
	h.stay(schema.RunRunning)
}

// stalls reports whether a runner-scope failure waits for a person rather than for time.
func stalls(class string) bool {
	return class == schema.FailRunnerNotFound || class == schema.FailAuth
}

// exhausted reports whether the run has waited for this node's runner as long as it may, at whichever of
// its nodes. What somebody had to put right, however long that took, was no wait.
func (h *harvest) exhausted(class string) bool {
	if stalls(class) {
		return false
	}
	runner, since := h.runner(h.run.Node), h.Now
	for _, s := range slices.Backward(h.run.Steps) {
		if schema.Scope(s.Failure) != "runner" || stalls(s.Failure) || h.runner(s.Node) != runner {
			break
		}
		since = s.Ended
	}
	return h.Now.Sub(since) >= waitInAll
}

// runner of a node of the run's graph; "" for a node that its plan does not have.
func (h *harvest) runner(node string) string {
	if n := h.plan.Node(h.run.Plane, node); n != nil {
		return n.Runner
	}
	return ""
}

// backOff keeps the runner away from all work; the run waits for it where it is, with all it has.
func (h *harvest) backOff(v schema.Verdict) {
	runner := h.runner(h.run.Node)
	w := h.wait(runner, v)
	c := h.Control.Clone()
	if c.Runners == nil {
		c.Runners = map[string]schema.RunnerWait{}
	}
	c.Runners[runner] = w
	c.SchemaVersion = schema.Version
	h.m.PutControl(c)
	e := workspace.Event{Type: workspace.EvRunnerWaits, Item: h.run.Item, Run: h.run.ID, Class: v.Failure, Path: runner, Message: v.Message}
	why := fmt.Sprintf("%s: runner %s waits until %s", v.Failure, runner, w.Until.Format(time.RFC3339))
	if w.Stalled {
		e.Type = workspace.EvRunnerStalled
		why = fmt.Sprintf("%s: runner %s is stalled until its configuration changes or it is resumed", v.Failure, runner)
	}
	h.decide(v, h.run.Node, why)
	h.m.Tell(e)
	h.stay(schema.RunParked)
}

// wait is what the runner has to wait for now. Failures of requests that were under way when it began to
// wait do not make the wait longer.
func (h *harvest) wait(runner string, v schema.Verdict) schema.RunnerWait {
	w := schema.RunnerWait{Class: v.Failure, Message: v.Message, First: h.Now, Attempts: 1,
		Config: workspace.RunnerSettings(h.plan, runner), Stalled: stalls(v.Failure)}
	if old, ok := h.Control.Runners[runner]; ok && old.Config == w.Config {
		w.First, w.Attempts = old.First, old.Attempts
		if !old.Until.After(h.Now) {
			w.Attempts++
		}
		w.Stalled = w.Stalled || old.Stalled
	}
	if w.Stalled {
		return w
	}
	d := time.Duration(h.c.RetryAfter)
	if d <= 0 {
		d = longestWait
		if n := w.Attempts - 1; n < 5 {
			d = firstWait << n
		}
	}
	w.Until = h.Now.Add(d)
	if old := h.Control.Runners[runner].Until; old.After(w.Until) {
		w.Until = old
	}
	return w
}

// served lifts a wait: the runner has begun and finished a stage since.
func (h *harvest) served() {
	runner := h.runner(h.step.Node)
	w, ok := h.Control.Runners[runner]
	if !ok || !h.c.Started.After(w.First) || w.Config != workspace.RunnerSettings(h.plan, runner) {
		return
	}
	c := h.Control.Clone()
	delete(c.Runners, runner)
	h.m.PutControl(c)
	h.m.Tell(workspace.Event{Type: workspace.EvRunnerResumed, Path: runner, Message: "it has served a stage"})
}
