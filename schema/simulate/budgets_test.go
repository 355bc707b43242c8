package simulate_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"millrace/assets"
	"millrace/schema"
	"millrace/schema/compile"
	"millrace/schema/simulate"
)

// TestMain fixes the seed of random plays unless one is asked for: what fails in CI fails everywhere.
func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "rapid.seed" })
	if !asked {
		if err := flag.Set("rapid.seed", "1"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func planOf(t testing.TB, mode string) *schema.Plan {
	t.Helper()
	r := compile.Compile(compile.Source{Mode: mode, Files: assets.Files()})
	if r.Plan == nil {
		t.Fatal(r.Diags)
	}
	return r.Plan
}

// shipped are the plans of all shipped modes, each graph once.
func shipped(t *testing.T) map[string]*schema.Plan {
	t.Helper()
	modes, diags := compile.Modes(assets.Files())
	if diags.HasErrors() || len(modes) == 0 {
		t.Fatal(diags)
	}
	plans := map[string]*schema.Plan{}
	for _, m := range modes {
		plans[m.ID] = planOf(t, m.ID)
	}
	return plans
}

// An entry is one way for items to begin.
type entry struct{ plane, family, node string }

func entries(p *schema.Plan) []entry {
	var all []entry
	for _, plane := range slices.Sorted(maps.Keys(p.Graphs)) {
		g := p.Graphs[plane]
		for _, family := range slices.Sorted(maps.Keys(g.Entry)) {
			for _, node := range append([]string{g.Entry[family]}, g.Targets[family]...) {
				all = append(all, entry{plane, family, node})
			}
		}
	}
	return all
}

// stageFailures are the failure classes that take a route; those of runners only wait.
var stageFailures = []string{schema.FailCancelled, schema.FailConflicting, schema.FailExit, schema.FailIllegalOutcome,
	schema.FailInvalidArtifact, schema.FailMissingArtifact, schema.FailMissingOutcome, schema.FailNotStarted, schema.FailOutboxConflict,
	schema.FailStalled, schema.FailSupervisorLost, schema.FailTimeout}

// A walk plays an item to its end with verdicts that pick chooses: pick(n) is a number below n. A stubborn one avoids
// ends as long as it can. It returns the nodes it met, and an error when it met more than most stages or
// spent more than the budgets of lawful, the plan as it should be.
func walk(p, lawful *schema.Plan, from entry, most int, stubborn bool, pick func(n int) int) ([]string, error) {
	s, err := simulate.Enter(p, schema.Key{Family: from.family, ID: "x"}, from.node)
	if err != nil {
		return nil, err
	}
	g := p.Graphs[from.plane]
	nodes := slices.Sorted(maps.Keys(g.Nodes))
	l := ledger{lawful.Graphs[from.plane], map[string]int{}}
	var met []string
	for !s.Ended() {
		met = append(met, s.Node)
		if len(met) > most {
			return met, fmt.Errorf("stage %d, and the budgets allow %d: %s", len(met), most, path(met))
		}
		v := verdict(p, from.plane, s.Node, nodes, pick)
		for range 20 {
			if !stubborn || !ends(p, from, s, met, v) {
				break
			}
			v = verdict(p, from.plane, s.Node, nodes, pick)
		}
		before := len(s.Moves)
		if err := s.Play(v); err != nil {
			return met, err
		}
		m := s.Moves[before]
		if m.To == "" {
			return met, fmt.Errorf("%s leads nowhere: %+v", m.Node, m)
		}
		if end := g.Ends[s.End]; end != nil && end.Gate != nil && v.ChecksRun && !v.ChecksPassed {
			return met, fmt.Errorf("ended at %s although the checks do not pass", s.End)
		}
		if m.Outcome == "" { // nothing was decided
			continue
		}
		if err := l.note(m.Node, m.Outcome, m.To); err != nil {
			return met, fmt.Errorf("%w: %s", err, path(met))
		}
	}
	return met, nil
}

// ends reports whether the verdict would end the run if it had the budgets that are left.
func ends(p *schema.Plan, from entry, s *simulate.Passage, met []string, v schema.Verdict) bool {
	counters := map[string]int{}
	for name, b := range s.Spent {
		counters[name] = b.Spent
	}
	run := &schema.Run{Item: s.Item, Plane: from.plane, Node: s.Node}
	for _, n := range met {
		run.Steps = append(run.Steps, schema.Step{Node: n})
	}
	if v.Failure != "" {
		v.Outcome = p.FailureOutcome(from.plane, s.Node, v.Failure)
	}
	d, err := p.Route(run, counters, v)
	if refused, is := errors.AsType[*schema.RouteError](err); is {
		d, err = p.Route(run, counters, schema.Verdict{Outcome: p.FailureOutcome(from.plane, s.Node, refused.Class), Failure: refused.Class})
	}
	return err != nil || d.End != ""
}

// verdict is anything that a stage may come to, legal or not.
func verdict(p *schema.Plan, plane, node string, nodes []string, pick func(n int) int) schema.Verdict {
	v := schema.Verdict{ChecksRun: pick(2) == 0, ChecksPassed: pick(2) == 0}
	if pick(6) == 0 {
		v.Failure = stageFailures[pick(len(stageFailures))]
		return v
	}
	outcomes := slices.Sorted(maps.Keys(p.Kind(plane, node).Outcomes))
	if pick(20) == 0 {
		outcomes = []string{"NO_SUCH_OUTCOME"}
	}
	v.Outcome = outcomes[pick(len(outcomes))]
	e := p.Node(plane, node).On[v.Outcome]
	if e != nil && len(e.Routes) > 0 && pick(2) == 0 {
		keys := append(slices.Sorted(maps.Keys(e.Routes)), "no_such_key")
		v.Key = keys[pick(len(keys))]
	}
	if e != nil && e.Resume != nil && pick(4) > 0 {
		wishes := append(slices.Clone(nodes), "no_such_node")
		v.Metadata = map[string]any{e.Resume.Keys[pick(len(e.Resume.Keys))]: wishes[pick(len(wishes))]}
	}
	return v
}

// requests weighs a node with the requests that one visit may take: a lost one is started anew.
func requests(p *schema.Plan, plane string) func(node string) int {
	return func(node string) int {
		if p.Kind(plane, node).RetrySafe() {
			return 1 + schema.MaxRestarts
		}
		return 1
	}
}

// TestBudgetsEndEveryRun: whatever the stages come to, in every shipped mode and from every entry, a run ends within
// what its budgets give, and spends none of them beyond its limit.
func TestBudgetsEndEveryRun(t *testing.T) {
	for mode, p := range shipped(t) {
		t.Run(mode, func(t *testing.T) {
			for _, from := range entries(p) {
				b := boundOf(p, from.plane, from.family)
				b.weigh = requests(p, from.plane)
				most, bounded := b.at(from.node)
				if !bounded {
					t.Fatalf("%+v has no bound", from)
				}
				rapid.Check(t, func(t *rapid.T) {
					pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") }
					if _, err := walk(p, p, from, most, rapid.Bool().Draw(t, "stubborn"), pick); err != nil {
						t.Fatalf("%+v: %v", from, err)
					}
				})
			}
		})
	}
}

// spare are budgets that no run can spend to their end, as others are spent before.
var spare = []string{"planning.standard mechanic_resume_count"}

// TestLostBudgetIsCaught: a graph without one of its budgets lets a run exceed what the plan promises, and the plays
// above see it.
func TestLostBudgetIsCaught(t *testing.T) {
	for graph, mode := range graphs(t) {
		lawful := planOf(t, mode)
		plane := planeOf(lawful, graph)
		for counter, limit := range limits(lawful.Graphs[plane]) {
			p := planOf(t, mode)
			dropped := drop(p, plane, counter)
			matters := false
			for _, from := range entries(lawful) {
				if from.plane == plane {
					b := boundOf(p, plane, from.family)
					b.weigh, b.mark = func(string) int { return 0 }, func(e *schema.Edge) int { return dropped[e] }
					n, bounded := b.at(from.node)
					matters = matters || !bounded || n > limit
				}
			}
			if matters == slices.Contains(spare, graph+" "+counter) {
				t.Errorf("%s without %s: can it be overdrawn? %v", graph, counter, matters)
			}
			if matters && !caught(p, lawful, plane) {
				t.Errorf("%s without %s: no play exceeds what the budgets give", graph, counter)
			}
		}
	}
}

// drop takes the effect of a budget away: its edges, which it returns, may be taken for ever.
func drop(p *schema.Plan, plane, counter string) map[*schema.Edge]int {
	dropped := map[*schema.Edge]int{}
	for e := range edges(p.Graphs[plane]) {
		if e.Counter == counter {
			e.Counter, e.Limit, e.Then = "", 0, ""
			dropped[e] = 1
		}
	}
	return dropped
}

// graphs are the shipped ones, each with a mode that takes it.
func graphs(t *testing.T) map[string]string {
	t.Helper()
	modes := map[string]string{}
	for mode, p := range shipped(t) {
		for _, g := range p.Graphs {
			modes[g.ID] = mode
		}
	}
	return modes
}

func planeOf(p *schema.Plan, graph string) string {
	for plane, g := range p.Graphs {
		if g.ID == graph {
			return plane
		}
	}
	return ""
}

// caught reports whether one of some stubborn plays exceeds what the lawful plan gives.
func caught(p, lawful *schema.Plan, plane string) bool {
	chance := rand.New(rand.NewPCG(1, 1))
	most := map[entry]int{}
	for range 10_000 {
		for _, from := range entries(lawful) {
			if from.plane != plane {
				continue
			}
			if most[from] == 0 {
				b := boundOf(lawful, plane, from.family)
				b.weigh = requests(lawful, plane)
				most[from], _ = b.at(from.node)
			}
			if _, err := walk(p, lawful, from, most[from], true, chance.IntN); err != nil {
				return true
			}
		}
	}
	return false
}

// TestBoundIsTight: from every entry there is a play that needs every stage which the bound allows.
func TestBoundIsTight(t *testing.T) {
	for graph, mode := range graphs(t) {
		p := planOf(t, mode)
		for _, from := range entries(p) {
			if from.plane != planeOf(p, graph) {
				continue
			}
			b := boundOf(p, from.plane, from.family)
			most, _ := b.at(from.node)
			s, err := simulate.Enter(p, schema.Key{Family: from.family, ID: "x"}, from.node)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range b.witness(from.node) {
				if err := s.Play(v); err != nil {
					t.Fatalf("%s: %v", graph, err)
				}
			}
			if !s.Ended() || len(s.Moves) != most {
				t.Errorf("%s from %s: the bound is %d, and its play ended (%v) after %d", graph, from.node, most, s.Ended(), len(s.Moves))
			}
			t.Logf("%s from %s: %d stages at most", graph, from.node, most)
		}
	}
}
