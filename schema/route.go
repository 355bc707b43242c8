package schema

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Verdict is what the runtime holds a finished stage to have said: the normalised result that
// routing starts from.
type Verdict struct {
	Outcome      string         // legal outcome of the stage's kind
	Class        string         // result class
	Failure      string         // failure class when Outcome is the route of a failure
	Message      string         // for people
	Metadata     map[string]any // of terminal_result.json
	ChecksRun    bool           // the item's checks counted after the stage: they were run, or should have been and left no record
	ChecksPassed bool           // all of them left a passing record
	Key          string         // what an effect of the edge decided; "" takes the edge as it is
}

// A Decision is where a run goes next.
type Decision struct {
	Outcome string   // after gates: a gated outcome may have fallen
	Class   string   // of that outcome
	Node    string   // next node, or ""
	End     string   // terminal reached, or ""
	Effects []string // to apply in the same commit, in order
	Counter string   // budget spent by this decision, or ""
	Why     string   // in words, for the trace

	Approval *EdgeApproval // to be given before Node is entered
}

// Effects that an edge or an end may have; the set is closed, and workflow.cue says what each does.
const (
	EffectComplete    = "complete"
	EffectBlock       = "block"
	EffectEscalate    = "escalate"
	EffectDisposition = "disposition"
	EffectHandoff     = "handoff"
	EffectDecompose   = "decompose"
	EffectDraft       = "draft"
	EffectPacket      = "packet"
	EffectCritique    = "critique"
	EffectPromote     = "promote"
	EffectRepair      = "repair"
	EffectProve       = "prove"
	EffectClose       = "close"
	EffectRemediate   = "remediate"
	EffectLearn       = "learn"
)

// A RouteError says why a verdict cannot be routed. Class is the failure class that the stage gets
// instead; its route is Plan.FailureOutcome.
type RouteError struct {
	Class   string
	Node    string
	Outcome string
	Message string
}

func (e *RouteError) Error() string {
	return fmt.Sprintf("route %s of node %s: %s", e.Outcome, e.Node, e.Message)
}

// Route decides where a run goes after a stage of its current node ended with v. counters are the item's
// budgets as spent so far; Route changes nothing. The error is a *RouteError when the agent said something
// illegal, and any other error when the run does not belong to this plan.
func (p *Plan) Route(run *Run, counters map[string]int, v Verdict) (Decision, error) {
	graph, node, kind := p.Graphs[run.Plane], p.Node(run.Plane, run.Node), p.Kind(run.Plane, run.Node)
	if graph == nil || node == nil || kind == nil {
		return Decision{}, fmt.Errorf("route run %s: its plan has no node %q in plane %q", run.ID, run.Node, run.Plane)
	}
	d := Decision{Outcome: v.Outcome, Class: v.Class}
	failed := v.ChecksRun && !v.ChecksPassed
	var why []string
	if fallen, gated := kind.Gate[v.Outcome]; gated && failed {
		why = append(why, fmt.Sprintf("the checks do not pass, so %s counts as %s", v.Outcome, fallen))
		d.Outcome, d.Class = fallen, ""
	}
	if v.Failure != "" {
		why = append(why, fmt.Sprintf("%s takes the route of %s", v.Failure, v.Outcome))
	}
	edge := node.On[d.Outcome]
	classes, legal := kind.Outcomes[d.Outcome]
	if edge == nil || !legal {
		return Decision{}, &RouteError{FailIllegalOutcome, run.Node, d.Outcome,
			fmt.Sprintf("stage %s ends with %s", kind.ID, strings.Join(slices.Sorted(maps.Keys(kind.Outcomes)), ", "))}
	}
	var err error
	if d.Class, err = classOf(classes, d.Class, v.Failure, run.Node, d.Outcome); err != nil {
		return Decision{}, err
	}
	resume := edge.Resume
	if v.Failure != "" {
		resume, v.Key = nil, "" // what a failed stage wished for does not count
	}
	t, err := p.take(run, counters, edge, way{resume, d.Outcome, v.Metadata, v.Key})
	if err != nil {
		return Decision{}, err
	}
	why, d.Effects, d.Approval = append(why, t.why), slices.Clone(edge.Effects), t.approval
	if end := graph.Ends[t.to]; end != nil && end.Gate != nil && failed {
		why = append(why, fmt.Sprintf("the checks do not pass, so the run does not end at %s", t.to))
		if t, err = p.take(run, counters, end.Gate, way{outcome: d.Outcome}); err != nil {
			return Decision{}, err
		}
		why, d.Effects, d.Approval = append(why, t.why), append(d.Effects, end.Gate.Effects...), t.approval
	}
	d.Counter, d.Why = t.counter, strings.Join(why, "; ")
	if end := graph.Ends[t.to]; end != nil {
		d.End, d.Effects = t.to, append(d.Effects, end.Effects...)
	} else {
		d.Node = t.to
	}
	return d, nil
}

// FailureOutcome is the outcome whose edge a failure class takes.
func (p *Plan) FailureOutcome(plane, node, class string) string {
	if g, k := p.Graphs[plane], p.Kind(plane, node); g != nil && k != nil {
		if outcome := g.Failures[class]; outcome != "" && k.Outcomes[outcome] != nil {
			return outcome
		}
	}
	return OutcomeBlocked
}

// ChecksAfter lists, sorted, the outcomes of a node after which the item's checks decide: those that the
// kind gates, and those whose edge leads to a gated end.
func (p *Plan) ChecksAfter(plane, node string) []string {
	n, k := p.Node(plane, node), p.Kind(plane, node)
	if n == nil || k == nil {
		return nil
	}
	ends := p.Graphs[plane].Ends
	gated := func(target string) bool { return ends[target] != nil && ends[target].Gate != nil }
	var outcomes []string
	for _, outcome := range slices.Sorted(maps.Keys(n.On)) {
		edge := n.On[outcome]
		if k.Gate[outcome] != "" || gated(edge.To) || gated(edge.Then) {
			outcomes = append(outcomes, outcome)
		}
	}
	return outcomes
}

// classOf keeps a class that the outcome may carry, and else takes the default: for a failure
// "recoverable_failure" where that is legal.
func classOf(legal []string, class, failure, node, outcome string) (string, error) {
	if class == "" && failure != "" {
		class = ClassRecoverable
	}
	switch {
	case slices.Contains(legal, class):
		return class, nil
	case len(legal) == 0:
		return "", fmt.Errorf("route %s of node %s: its kind gives it no class", outcome, node)
	case class == "" || failure != "":
		return legal[0], nil
	}
	return "", &RouteError{FailIllegalOutcome, node, outcome,
		fmt.Sprintf("result class %q is not one of %s", class, strings.Join(legal, ", "))}
}

// EdgeOf is the edge that a verdict takes from the run's node, after the kind's gates; nil when it has none.
func (p *Plan) EdgeOf(run *Run, v Verdict) *Edge {
	n, k := p.Node(run.Plane, run.Node), p.Kind(run.Plane, run.Node)
	if n == nil || k == nil {
		return nil
	}
	if fallen, gated := k.Gate[v.Outcome]; gated && v.ChecksRun && !v.ChecksPassed {
		return n.On[fallen]
	}
	return n.On[v.Outcome]
}

// taken is one edge followed.
type taken struct {
	to, counter, why string
	approval         *EdgeApproval
}

// A way is what may choose another target than an edge's To.
type way struct {
	resume   *Resume
	outcome  string
	metadata map[string]any
	key      string
}

// take follows an edge: its budget first, then what an effect decided, then the wish of a stage that may
// choose where to resume.
func (p *Plan) take(run *Run, counters map[string]int, e *Edge, w way) (taken, error) {
	spent := counters[e.Counter]
	if e.Counter != "" && spent >= e.Limit {
		return taken{to: e.Then, why: fmt.Sprintf("%s → %s, as %s is spent (%d)", w.outcome, e.Then, e.Counter, e.Limit)}, nil
	}
	t := taken{to: e.To, counter: e.Counter, approval: e.Approval}
	why := ""
	switch {
	case w.key != "" && e.Routes[w.key] != "":
		t.to, why = e.Routes[w.key], ", as "+w.key+" says"
		if kind := p.Kind(run.Plane, t.to); kind != nil && !slices.Contains(kind.Owns, run.Item.Family) {
			return taken{}, &RouteError{FailInvalidArtifact, run.Node, w.outcome,
				fmt.Sprintf("%s leads to %s, which does not work on items of family %s", w.key, t.to, run.Item.Family)}
		}
	case w.resume != nil:
		if to := w.resume.Default[run.Item.Family]; to != "" {
			t.to = to
		}
		key, to, err := p.wish(run, w.resume, w.outcome, w.metadata)
		if err != nil {
			return taken{}, err
		}
		if to != "" {
			t.to, why = to, ", named by "+key
		}
	}
	t.why = fmt.Sprintf("%s → %s%s", w.outcome, t.to, why)
	if e.Counter != "" {
		t.why += fmt.Sprintf(" (%s %d of %d)", e.Counter, spent+1, e.Limit)
	}
	if e.Approval != nil {
		t.why += " (once " + e.Approval.Capability + " is approved)"
	}
	return t, nil
}

// wish is the node that the metadata names to resume at, with the key that named it; "" when none does.
func (p *Plan) wish(run *Run, resume *Resume, outcome string, metadata map[string]any) (key, to string, err error) {
	illegal := func(format string, args ...any) (string, string, error) {
		return "", "", &RouteError{FailIllegalOutcome, run.Node, outcome, fmt.Sprintf(format, args...)}
	}
	for _, key := range resume.Keys {
		value, named := metadata[key]
		if !named || value == nil || value == "" {
			continue
		}
		to, isText := value.(string)
		if !isText {
			return illegal("%s names no node: %v", key, value)
		}
		kind := p.Kind(run.Plane, to)
		switch {
		case kind == nil:
			return illegal("%s names %q, which is no node of the graph", key, to)
		case slices.Contains(resume.Not, to):
			return illegal("%s may not name %s", key, to)
		case !slices.Contains(run.Entered(), to) && to != run.Node:
			return illegal("%s names %s, which this run has not entered", key, to)
		case !slices.Contains(kind.Owns, run.Item.Family):
			return illegal("%s names %s, which does not work on items of family %s", key, to, run.Item.Family)
		}
		return key, to, nil
	}
	return "", "", nil
}
