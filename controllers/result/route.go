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
	d = h.ruled(d)
	h.fail(v)
	if h.recheck != "" && v.Failure == "" {
		h.checkAgain(v)
		return
	}
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
		h.effect(e)
	}
	h.raise(v)
	h.decide(v, firstOf(d.Node, d.End), d.Why)
	if d.End == "" && h.state == "" {
		h.run.Node, h.run.Restarts, h.run.Held = d.Node, 0, nil
		state := schema.RunRunning
		if d.Approval != nil && h.item.Cancel == nil {
			h.m.Ask(h.View, h.run, d.Approval, h.step.Node, d.Outcome)
			state = schema.RunParked
		}
		h.stay(state)
		return
	}
	h.end(v, d)
}

// decision asks the plan. A failure takes the outcome that the plan gives its class. A resume target that is not
// legal is such a failure, and so is a result that does not bear out the effects it would have.
func (h *harvest) decision(v schema.Verdict) (schema.Verdict, schema.Decision, error) {
	if v.Failure != "" {
		return h.divert(v)
	}
	if h.edge = h.plan.EdgeOf(h.run, v); h.edge != nil {
		key, refused := h.foresee(h.edge.Effects)
		if refused != nil {
			return h.divert(*refused)
		}
		if v.Key = key; h.resume != "" {
			v.Metadata = map[string]any{h.edge.Resume.Keys[0]: h.resume}
		}
	}
	d, err := h.plan.Route(h.run, h.item.Counters, v)
	if refused := (*schema.RouteError)(nil); errors.As(err, &refused) {
		return h.divert(h.failed(refused.Class, refused.Error()))
	}
	if end := h.plan.Graphs[h.run.Plane].Ends[d.End]; err == nil && end != nil {
		if _, refused := h.foresee(end.Effects); refused != nil {
			return h.divert(*refused)
		}
	}
	return v, d, err
}

// divert routes a failure; what a failed stage proposed is neither admitted nor kept.
func (h *harvest) divert(v schema.Verdict) (schema.Verdict, schema.Decision, error) {
	h.withdraw(v.Failure)
	h.kept, h.blueprint, h.resume, h.why, h.closing = nil, nil, "", nil, closing{}
	v = h.failureVerdict(v)
	d, err := h.plan.Route(h.run, h.item.Counters, v)
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
		why := h.blocked(v)
		if h.why != nil {
			why = *h.why
		}
		h.m.Block(h.View, h.item, why)
	default:
		if schema.Ended(state) {
			h.item.EndedBy = "run"
		}
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
	h.withdraw(class)
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
	if d.Outcome == schema.OutcomeBlocked || h.run.Held != nil { // a held claim comes to the same on purpose
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
