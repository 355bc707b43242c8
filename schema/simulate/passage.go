// Package simulate owns playing a plan with made-up outcomes: where would an item go if its stages ended so?
// Routing is Plan.Route, as in earnest. There are no agents, no files and no time.
package simulate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"millrace/schema"
)

// A Passage is one item's way through the graph of its family.
type Passage struct {
	Item  schema.Key        `json:"item"`
	Line  int               `json:"line,omitempty"` // of the script, where it begins
	Plane string            `json:"plane"`
	Graph string            `json:"graph"`
	Moves []Move            `json:"moves"`
	Spent map[string]Budget `json:"budgets"`            // every budget of the graph, by counter
	Node  string            `json:"node,omitempty"`     // where it stands; "" when it has ended
	Legal []string          `json:"outcomes,omitempty"` // with which that node may end
	End   string            `json:"end,omitempty"`      // terminal it has come to
	State string            `json:"state"`              // of the item: active until the end

	plan *schema.Plan
	run  *schema.Run
}

// A Move is one stage that ended, and where that led.
type Move struct {
	Line    int      `json:"line,omitempty"` // of the script
	Node    string   `json:"node"`
	Said    string   `json:"said"` // as the script has it: an outcome or a failure class
	Outcome string   `json:"outcome,omitempty"`
	Class   string   `json:"class,omitempty"`
	Failure string   `json:"failure_class,omitempty"`
	To      string   `json:"to"` // node or end
	Counter string   `json:"counter,omitempty"`
	Effects []string `json:"effects,omitempty"`
	Why     string   `json:"why"`
}

// A Budget is how often an item may take an edge, and how often it has.
type Budget struct {
	Spent int `json:"spent"`
	Limit int `json:"limit"`
}

// Enter begins an item's way where its family does, or at the node that its document would name as target_stage.
func Enter(p *schema.Plan, item schema.Key, target string) (*Passage, error) {
	f := p.Families[item.Family]
	if f == nil {
		return nil, fmt.Errorf("there is no family %q", item.Family)
	}
	g := p.Graphs[f.Plane]
	if g == nil || g.Entry[item.Family] == "" {
		return nil, fmt.Errorf("no graph of mode %s takes items of family %s", p.Mode, item.Family)
	}
	node := g.Begin(item.Family, target)
	if node == "" {
		return nil, fmt.Errorf("an item of family %s cannot begin at %q", item.Family, target)
	}
	s := &Passage{Item: item, Plane: g.Plane, Graph: g.ID, Moves: []Move{}, Spent: budgets(g), State: schema.StateActive, plan: p}
	s.run = &schema.Run{ID: item.String(), Item: item, Plane: g.Plane, Graph: g.ID}
	s.stand(node)
	return s, nil
}

// budgets are those of a graph, unspent.
func budgets(g *schema.Graph) map[string]Budget {
	all := map[string]Budget{}
	add := func(e *schema.Edge) {
		if e != nil && e.Counter != "" {
			all[e.Counter] = Budget{Limit: max(all[e.Counter].Limit, e.Limit)}
		}
	}
	for _, n := range g.Nodes {
		for _, e := range n.On {
			add(e)
		}
	}
	for _, end := range g.Ends {
		add(end.Gate)
	}
	return all
}

func (s *Passage) stand(node string) {
	s.Node, s.run.Node, s.Legal = node, node, nil
	if kind := s.plan.Kind(s.Plane, node); kind != nil {
		s.Legal = slices.Sorted(maps.Keys(kind.Outcomes))
	}
}

// Ended reports whether the item has come to a terminal.
func (s *Passage) Ended() bool { return s.Node == "" }

// Play ends the stage where the item stands with a verdict, as the runtime would take it: one with a failure class
// needs no outcome.
func (s *Passage) Play(v schema.Verdict) error {
	kind := s.plan.Kind(s.Plane, s.Node)
	if kind == nil {
		return fmt.Errorf("%s has ended at %s", s.Item, s.End)
	}
	move := Move{Node: s.Node, Said: v.Outcome, Failure: v.Failure}
	if v.Failure != "" {
		move.Said = v.Failure
	}
	switch scope := schema.Scope(v.Failure); {
	case v.Failure != "" && scope == "runner":
		s.stay(move, v.Failure+": the run waits here until its runner serves again")
		return nil
	case v.Failure != "" && scope == "run" && kind.RetrySafe() && s.run.Restarts < schema.MaxRestarts:
		s.run.Restarts++
		s.stay(move, fmt.Sprintf("%s: restart %d of %d", v.Failure, s.run.Restarts, schema.MaxRestarts))
		return nil
	case v.Failure == schema.FailNoProgress: // has no route: nothing would come of going on
		move.To, move.Why = schema.StateBlocked, v.Failure+": the item is blocked"
		s.end(move, schema.StateBlocked, schema.StateBlocked)
		return nil
	}
	d, v, err := s.route(v)
	if err != nil {
		return err
	}
	move.Outcome, move.Class, move.Failure = d.Outcome, d.Class, v.Failure
	move.Counter, move.Effects, move.Why = d.Counter, d.Effects, d.Why
	if v.Message != "" {
		move.Why = v.Message + "; " + move.Why
	}
	if d.Counter != "" {
		b := s.Spent[d.Counter]
		b.Spent++
		s.Spent[d.Counter] = b
	}
	if d.End != "" {
		move.To = d.End
		s.end(move, d.End, s.plan.Graphs[s.Plane].Ends[d.End].State)
		return nil
	}
	move.To = d.Node
	s.keep(move)
	s.run.Restarts = 0
	s.stand(d.Node)
	return nil
}

// route asks the plan. What it refuses becomes a failure of the stage, with the reason as the verdict's message.
func (s *Passage) route(v schema.Verdict) (schema.Decision, schema.Verdict, error) {
	counters := map[string]int{}
	for name, b := range s.Spent {
		counters[name] = b.Spent
	}
	if v.Failure != "" {
		v.Outcome = s.plan.FailureOutcome(s.Plane, s.Node, v.Failure)
	}
	d, err := s.plan.Route(s.run, counters, v)
	if refused := (*schema.RouteError)(nil); errors.As(err, &refused) && v.Failure == "" {
		v = schema.Verdict{
			Outcome: s.plan.FailureOutcome(s.Plane, s.Node, refused.Class), Failure: refused.Class, Message: refused.Message,
			ChecksRun: v.ChecksRun, ChecksPassed: v.ChecksPassed,
		}
		d, err = s.plan.Route(s.run, counters, v)
	}
	return d, v, err
}

// stay leaves the item where it is: nothing was decided, so no budget is spent.
func (s *Passage) stay(move Move, why string) {
	move.To, move.Why = s.Node, why
	s.keep(move)
}

func (s *Passage) keep(move Move) {
	s.Moves = append(s.Moves, move)
	s.run.Steps = append(s.run.Steps, schema.Step{Node: move.Node, Outcome: move.Outcome, To: move.To})
}

func (s *Passage) end(move Move, end, state string) {
	s.keep(move)
	s.Node, s.Legal, s.End, s.State = "", nil, end, state
}

// Budgets says in words what has been spent: "fix_cycle_count 1 of 2".
func (s *Passage) Budgets() string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(s.Spent)) {
		if b := s.Spent[name]; b.Spent > 0 {
			words = append(words, fmt.Sprintf("%s %d of %d", name, b.Spent, b.Limit))
		}
	}
	return strings.Join(words, ", ")
}
