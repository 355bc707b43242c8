package compile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"millrace/schema"
)

// What holds for a stage of which nobody says anything else.
const (
	defaultTimeout    = schema.Duration(time.Hour)
	defaultStall      = schema.Duration(10 * time.Minute)
	defaultPermission = "maximum"
)

// A candidate is one source's word on a value; a chosen one ends the search even when it is empty.
type candidate struct {
	value  string
	from   string
	chosen bool
	at     place // of the value; only where somebody asks for it
}

func said(value, from string) candidate {
	return candidate{value: value, from: from, chosen: value != ""}
}

func (c candidate) in(at place) candidate { c.at = at; return c }

// first is the word of the strongest source that has one.
func first(candidates ...candidate) candidate {
	for _, c := range candidates {
		if c.chosen {
			return c
		}
	}
	return candidate{}
}

// binder decides who runs the nodes of one graph. Its order of sources is the contract with operators:
// stages.<stage>; workspace by_stage; by_loop; the mode's stage map; mode by_stage; by_loop; default; graph
// node; workspace default; the runner's own; the adapter's.
type binder struct {
	*compiler
	graph *schema.Graph
}

// bind fills every node's bindings, and the plan's runners.
func (c *compiler) bind() {
	stages := slices.Collect(maps.Keys(c.plan.Stages))
	for _, stage := range slices.Sorted(maps.Keys(c.mode.Stages)) {
		if c.plan.Stages[stage] == nil {
			c.report.errorAt(c.assets.at.name("modes", c.mode.ID, "stages", stage), subject("mode", c.mode.ID), "stages."+stage,
				"no graph of the mode has this stage", choice(stage, slices.Sorted(slices.Values(stages))))
		}
	}
	for _, stage := range slices.Sorted(maps.Keys(c.config.value.Stages)) {
		if c.plan.Stages[stage] == nil && !c.assets.has("stages", stage) {
			c.report.warnAt(c.config.at.name("stages", stage), "", "stages."+stage,
				"there is no such stage kind", choice(stage, c.assets.ids("stages")))
		}
	}
	c.overrideBudgets()
	for _, plane := range slices.Sorted(maps.Keys(c.plan.Graphs)) {
		b := binder{c, c.plan.Graphs[plane]}
		for _, name := range slices.Sorted(maps.Keys(b.graph.Nodes)) {
			b.node(name, b.graph.Nodes[name])
		}
	}
	c.idleRunners()
	c.aliasNames()
}

// The one budget that belongs to no graph: incidents that one root may raise.
const (
	incidentBudget = "incident_limit"
	incidentLimit  = 5
)

// overrideBudgets puts the configured limits in place of the graphs'.
func (c *compiler) overrideBudgets() {
	c.plan.IncidentLimit = incidentLimit
	if limit, ok := c.config.value.Budgets[incidentBudget]; ok {
		c.plan.IncidentLimit = limit
	}
	known := map[string]bool{incidentBudget: true}
	for _, graph := range c.plan.Graphs {
		for _, e := range edges(graph) {
			known[e.Counter] = true
			if limit, ok := c.config.value.Budgets[e.Counter]; ok && e.Counter != "" {
				e.Limit = limit
			}
		}
	}
	delete(known, "")
	for _, counter := range slices.Sorted(maps.Keys(c.config.value.Budgets)) {
		if !known[counter] {
			c.report.warnAt(c.config.at.name("budgets", counter), "", "budgets."+counter,
				fmt.Sprintf("no graph of mode %q counts this", c.mode.ID), choice(counter, slices.Sorted(maps.Keys(known))))
		}
	}
}

// edges are all edges of a graph, gates among them.
func edges(g *schema.Graph) []*schema.Edge {
	var all []*schema.Edge
	for _, node := range g.Nodes {
		for _, e := range node.On {
			all = append(all, e)
		}
	}
	for _, end := range g.Ends {
		if end.Gate != nil {
			all = append(all, end.Gate)
		}
	}
	return all
}

func (b binder) node(name string, n *schema.Node) {
	stage, kind := n.Stage, b.plan.Stages[n.Stage]
	config, mode := b.config.value.Stages[stage], b.mode.Stages[stage]
	inConfig := func(field string) string { return b.config.from("stages", stage, field) }
	inMode, inGraph := fmt.Sprintf("mode %s, stages.%s", b.mode.ID, stage), fmt.Sprintf("graph %s, nodes.%s", b.graph.ID, name)

	n.From = map[string]string{}
	set := func(field string, into *string, c candidate) {
		if *into = c.value; c.chosen {
			n.From[field] = c.from
		}
	}
	set("entrypoint", &n.Entrypoint, first(said(mode.Entrypoint, inMode), said(n.Entrypoint, inGraph), said(kind.Entrypoint, "stage kind "+stage)))
	n.Skills = distinct(slices.Concat([]string{kind.Skill}, kind.Skills, n.Skills, mode.Skills))

	set("runner", &n.Runner, first(said(config.Runner, inConfig("runner")), said(mode.Runner, inMode),
		said(b.mode.Runner, "mode "+b.mode.ID), said(n.Runner, inGraph),
		said(b.config.value.Runners.Default, b.config.from("runners", "default_runner"))))
	runner := b.runner(n.Runner, n.From["runner"], b.namedAt(name, n))
	if runner == nil {
		return
	}
	inRunner := "runner " + runner.Name

	models, thinking := b.assigned(stage, runner.Adapter)
	set("model", &n.Model, first(said(config.Model, inConfig("model")), models.workspace,
		candidate{value: mode.Model.Text, from: inMode, chosen: mode.Model.Made}, models.mode, said(n.Model, inGraph), models.fallback, said(runner.Model, inRunner)))
	level := first(said(config.Thinking, inConfig("thinking_level")).in(b.config.at.value("stages", stage, "thinking_level")), thinking.workspace,
		candidate{value: mode.Thinking.Text, from: inMode, chosen: mode.Thinking.Made}.in(b.assets.at.value("modes", b.mode.ID, "stages", stage, "thinking_level")),
		thinking.mode, said(n.Thinking, inGraph).in(b.assets.at.value("graphs", b.graph.ID, "nodes", name, "thinking_level")), thinking.fallback)
	set("thinking_level", &n.Thinking, level)
	b.thinks(stage, runner.Adapter, level)
	b.provided(n, &runner.Runner)
	set("permission", &n.Permission, first(said(config.Permission, inConfig("permission")), said(mode.Permission, inMode),
		said(n.Permission, inGraph), said(runner.ByStage[stage], inRunner+", permission_by_stage"),
		said(runner.ByModel[n.Model], inRunner+", permission_by_model"), said(runner.Permission, inRunner), said(defaultPermission, "default")))

	n.Timeout = b.duration(n, "timeout", config.Timeout, inConfig("timeout"), n.Timeout, inGraph, defaultTimeout)
	n.Stall = b.duration(n, "stall_timeout", config.Stall, inConfig("stall_timeout"), n.Stall, inGraph, defaultStall)
	if config.MaxTurns > 0 {
		n.MaxTurns, n.From["max_turns"] = config.MaxTurns, inConfig("max_turns")
		b.turns(stage, runner.Adapter, b.config.at.name("stages", stage, "max_turns"))
	} else if n.MaxTurns > 0 {
		n.From["max_turns"] = inGraph
		b.turns(stage, runner.Adapter, b.assets.at.name("graphs", b.graph.ID, "nodes", name, "max_turns"))
	}
}

// namedAt is where the runner of a node was named.
func (b binder) namedAt(name string, n *schema.Node) place {
	stage := n.Stage
	switch {
	case b.config.value.Stages[stage].Runner != "":
		return b.config.at.value("stages", stage, "runner")
	case b.mode.Stages[stage].Runner != "":
		return b.assets.at.value("modes", b.mode.ID, "stages", stage, "runner")
	case b.mode.Runner != "":
		return b.assets.at.value("modes", b.mode.ID, "runner")
	case strings.HasPrefix(n.From["runner"], "graph "):
		return b.assets.at.value("graphs", b.graph.ID, "nodes", name, "runner")
	}
	return b.config.at.value("runners", "default_runner")
}

// distinct keeps the first of each.
func distinct(names []string) []string {
	var once []string
	for _, name := range names {
		if !slices.Contains(once, name) {
			once = append(once, name)
		}
	}
	return once
}

func (b binder) duration(n *schema.Node, field string, config schema.Duration, inConfig string, graph schema.Duration, inGraph string, standard schema.Duration) schema.Duration {
	switch {
	case config > 0:
		n.From[field] = inConfig
	case graph > 0:
		n.From[field] = inGraph
	default:
		n.From[field] = "default"
	}
	return cmp.Or(config, graph, standard)
}

// declared finds a runner by name, the workspace's before the mode's, and where its fields were written.
func (b binder) declared(name string) (runner schema.RunnerConfig, at func(field ...string) place, found bool) {
	if runner, found = b.config.value.Runners.Named[name]; found {
		return runner, fieldsOf(b.config.at, "runners", name), true
	}
	runner, found = b.mode.Runners[name]
	return runner, fieldsOf(b.assets.at, "modes", b.mode.ID, "runners", name), found
}

// runner finds a runner by name and puts it into the plan.
func (b binder) runner(name, from string, named place) *schema.RunnerConfig {
	runner, at, found := b.declared(name)
	if !found {
		names := append(slices.Collect(maps.Keys(b.config.value.Runners.Named)), slices.Collect(maps.Keys(b.mode.Runners))...)
		slices.Sort(names)
		b.report.errorAt(named, "", "", fmt.Sprintf("there is no runner %q, which %s names", name, from), choice(name, names))
		return nil
	}
	if runner.Name = name; b.plan.Runners[name] == nil {
		b.report.add(fits(&runner.Runner, at)...)
	}
	b.plan.Runners[name] = &runner.Runner
	return &runner
}

// sources are the assignments' words on one value: the workspace's by stage or plane, the mode's, and the
// workspace's default, which is weaker than the graph.
type sources struct{ workspace, mode, fallback candidate }

// assigned looks up what the model assignments say of a stage, for the adapter that will run it.
func (b binder) assigned(stage, adapter string) (models, thinking sources) {
	both := func(names ...assignment) (m, t candidate) {
		for _, a := range names {
			if a.alias == "" {
				continue
			}
			model, level, ok := b.alias(a, adapter)
			if !ok {
				continue
			}
			from := fmt.Sprintf("alias %s by %s", a.alias, a.from)
			m, t = first(m, said(model, from)), first(t, said(level, from).in(a.at))
		}
		return m, t
	}
	plane := b.graph.Plane
	ws := func(name string, field ...string) assignment {
		field = append([]string{"model_assignment"}, field...)
		return assignment{name, b.config.value.ModelAliases, b.config.from(field...), b.config.at.value(field...)}
	}
	md := func(name string, field ...string) assignment {
		field = append([]string{"model_assignment"}, field...)
		return assignment{name, b.mode.Models, "mode " + b.mode.ID + ", " + fieldName(field),
			b.assets.at.value(append([]string{"modes", b.mode.ID}, field...)...)}
	}
	w, m := b.config.value.ModelAssignment, b.mode.Assignment
	models.workspace, thinking.workspace = both(ws(w.ByStage[stage], "by_stage", stage), ws(w.ByLoop[plane], "by_loop", plane))
	models.mode, thinking.mode = both(md(m.ByStage[stage], "by_stage", stage), md(m.ByLoop[plane], "by_loop", plane), md(m.Default, "default"))
	models.fallback, thinking.fallback = both(ws(w.Default, "default"))
	return models, thinking
}

// An assignment names an alias, where aliases of that source are kept, and where it was written.
type assignment struct {
	alias   string
	aliases map[string]schema.ModelAlias
	from    string
	at      place
}

// alias looks an assignment up; one that leads nowhere is warned about and left out.
func (b binder) alias(a assignment, adapter string) (model, thinking string, ok bool) {
	alias, known := a.aliases[a.alias]
	if !known {
		b.report.warnAt(a.at, "", "model_assignment", fmt.Sprintf("there is no model alias %q, so nothing is assigned", a.alias),
			choice(a.alias, slices.Sorted(maps.Keys(a.aliases))))
		return "", "", false
	}
	if own, has := alias.By[adapter]; has {
		return own.Model, own.Thinking, true
	}
	if alias.Model == "" && alias.Thinking == "" {
		b.report.warnAt(a.at, "", "model_assignment", fmt.Sprintf("model alias %q says nothing for the adapter %s, so nothing is assigned", a.alias, adapter),
			fmt.Sprintf("add model_aliases: %s: %s: {model: …}", a.alias, adapter))
		return "", "", false
	}
	return alias.Model, alias.Thinking, true
}
