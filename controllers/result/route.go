package result

import (
	"errors"
	"fmt"
	"maps"

	"millrace/schema"
)

// route takes the run where its plan says.
func (h *harvest) route(v schema.Verdict) {
	v, d, err := h.decision(v)
	if err != nil {
		h.blockHere(v, schema.FailIllegalOutcome, err.Error())
		return
	}
	if v.Failure == "" && h.stuck(d) {
		h.blockHere(v, schema.FailNoProgress, fmt.Sprintf("%s ended with %s three times, and neither its files nor the working tree had changed", h.step.Node, d.Outcome))
		return
	}
	v.Outcome, v.Class = d.Outcome, d.Class
	h.fail(v)
	h.effects, h.step.Counter = d.Effects, d.Counter
	if d.Counter != "" {
		if h.item.Counters == nil {
			h.item.Counters = map[string]int{}
		}
		h.item.Counters[d.Counter]++
	}
	h.step.Outcome = v.Outcome // effects tell of it
	h.admit()
	for _, e := range d.Effects {
		if h.item.Cancel == nil || e == schema.EffectComplete {
			h.effect(e) // work that is not wanted any more is neither blocked nor escalated
		}
	}
	h.decide(v, firstOf(d.Node, d.End), d.Why)
	if d.End == "" && h.state == "" {
		h.run.Node, h.run.Restarts = d.Node, 0
		h.stay(schema.RunRunning)
		return
	}
	h.end(v, d)
}

// decision asks the plan. A failure takes the outcome that the plan gives its class; a resume target
// that is not legal is such a failure.
func (h *harvest) decision(v schema.Verdict) (schema.Verdict, schema.Decision, error) {
	if v.Failure != "" {
		v = h.failureVerdict(v)
	}
	d, err := h.plan.Route(h.run, h.item.Counters, v)
	if refused := (*schema.RouteError)(nil); errors.As(err, &refused) && v.Failure == "" {
		v = h.failureVerdict(h.failed(refused.Class, refused.Error()))
		h.admitted, h.declined = nil, nil
		d, err = h.plan.Route(h.run, h.item.Counters, v)
	}
	return v, d, err
}

// failureVerdict gives a failure its outcome; the class follows from that. What it leads to is held
// against the checks like anything else.
func (h *harvest) failureVerdict(v schema.Verdict) schema.Verdict {
	v.Outcome = h.plan.FailureOutcome(h.run.Plane, h.run.Node, v.Failure)
	v.ChecksRun, v.ChecksPassed = h.checks()
	return v
}

// fail remembers the first failure of the run: it is what a blocked item says.
func (h *harvest) fail(v schema.Verdict) {
	if h.run.FirstFailure == "" {
		h.run.FirstFailure = v.Failure
	}
}

// end closes the run at a terminal. An end that is wanted wins over every state but done: what was
// completed is complete, whoever does not want it any more.
func (h *harvest) end(v schema.Verdict, d schema.Decision) {
	state := h.state
	if end := h.plan.Graphs[h.run.Plane].Ends[d.End]; end != nil && state == "" {
		state = end.State
	}
	if h.item.Cancel != nil && state != schema.StateDone {
		h.leave()
		return
	}
	h.m.EndRun(h.View, h.run, firstOf(d.End, state))
	h.m.PutTrace(h.run)
	switch state {
	case schema.StateDone:
		h.m.Complete(h.View, h.item)
	case schema.StateBlocked:
		h.m.Block(h.View, h.item, h.blocked(v))
	default:
		h.item.EndedBy = "run"
		h.m.MoveItem(h.View, h.item, state)
	}
}

// blocked says why: the first failure of the run, else what the run ended with.
func (h *harvest) blocked(v schema.Verdict) schema.Blocked {
	b := schema.Blocked{Class: firstOf(h.run.FirstFailure, v.Class), Message: v.Message, Run: h.run.ID, Node: h.step.Node}
	for _, s := range h.run.Steps {
		if s.Failure != "" && s.Failure == h.run.FirstFailure {
			b.Node, b.Message = s.Node, s.Message
			break
		}
	}
	if b.Message == "" {
		b.Message = fmt.Sprintf("%s ended with %s", h.step.Node, v.Outcome)
	}
	return b
}

// blockHere ends a run that the plan cannot or must not take any further.
func (h *harvest) blockHere(v schema.Verdict, class, message string) {
	v.Failure, v.Message = class, message
	h.fail(v)
	h.decide(v, schema.StateBlocked, class+": "+message)
	if h.item.Cancel != nil {
		h.leave()
		return
	}
	h.m.EndRun(h.View, h.run, schema.StateBlocked)
	h.m.PutTrace(h.run)
	h.m.Block(h.View, h.item, schema.Blocked{Class: class, Message: message, Run: h.run.ID, Node: h.step.Node})
}

// sameThrice is how often a stage may come to the same in every respect.
const sameThrice = 3

// stuck reports whether the stage has now come to the same for the third time: outcome, files and the
// working tree as it was last known. BLOCKED is left to the graph's budgets, which lead to help; and
// without a known tree nothing is claimed about it.
func (h *harvest) stuck(d schema.Decision) bool {
	if d.Outcome == schema.OutcomeBlocked {
		return false
	}
	now := h.step
	now.Outcome = d.Outcome
	steps := append(append([]schema.Step(nil), h.run.Steps...), now)
	tree, same := "", 0
	trees := make([]string, len(steps))
	for i, s := range steps {
		tree = firstOf(s.Tree, tree)
		trees[i] = tree
	}
	for i, s := range steps {
		if s.Node == now.Node && s.Outcome == now.Outcome && s.Failure == "" && trees[i] == tree &&
			maps.Equal(s.Artifacts, now.Artifacts) {
			same++
		}
	}
	return tree != "" && same >= sameThrice
}
