package compile

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"millrace/schema"
)

// checkKinds holds the used stage kinds to what concerns them alone.
func (c *compiler) checkKinds() {
	families := slices.Sorted(maps.Keys(c.plan.Families))
	written := c.artifactNames()
	for _, id := range slices.Sorted(maps.Keys(c.plan.Stages)) {
		kind := c.plan.Stages[id]
		say := func(message, hint string, field ...string) {
			c.report.errorAt(c.assets.at.value(append([]string{"stages", id}, field...)...), subject("stage kind", id), fieldName(field), message, hint)
		}
		for field, names := range map[string][]string{"owns": kind.Owns, "emits": kind.Emits} {
			for i, family := range names {
				if c.plan.Families[family] == nil {
					say(fmt.Sprintf("there is no family %q", family), choice(family, families), field, fmt.Sprint(i))
				}
			}
		}
		for i, name := range kind.Reads {
			if !slices.Contains(written, name) {
				say(fmt.Sprintf("no stage kind writes an artifact %q", name), choice(name, written), "reads", fmt.Sprint(i))
			}
		}
		for i, field := range kind.NeedsOneOf {
			if known := c.assets.fieldsOf(c.plan.Families, kind.Owns); !slices.Contains(known, field) {
				say(fmt.Sprintf("no document that the stage works on has a field %q", field), choice(field, known), "needs_one_of", fmt.Sprint(i))
			}
		}
		for _, a := range kind.Writes {
			if !plainFile(a.File) {
				say(fmt.Sprintf("%q cannot be written there", a.File), "an artifact is a file of the request folder that is not one of the runtime's own", "writes", a.Name, "file")
			}
			if a.Schema != "" && !c.assets.describes(a.Schema, c.plan.Families) {
				say(fmt.Sprintf("there is no definition %s of what is written", a.Schema),
					"write it into the file of a family, beside the definition of its documents", "writes", a.Name, "schema")
			}
			for i, outcome := range a.On {
				if kind.Outcomes[outcome] == nil {
					say(fmt.Sprintf("the stage never ends with %s", outcome), choice(outcome, outcomes(kind)), "writes", a.Name, "on", fmt.Sprint(i))
				}
			}
		}
		for _, outcome := range slices.Sorted(maps.Keys(kind.Gate)) {
			falls := kind.Gate[outcome]
			switch {
			case kind.Outcomes[outcome] == nil:
				say(fmt.Sprintf("the stage never ends with %s", outcome), choice(outcome, outcomes(kind)), "gate", outcome)
			case outcome == schema.OutcomeBlocked:
				say("BLOCKED cannot be gated: it says already that the work is not done", "", "gate", outcome)
			case kind.Outcomes[falls] == nil:
				say(fmt.Sprintf("the stage never ends with %s", falls), choice(falls, outcomes(kind)), "gate", outcome)
			case kind.Gate[falls] != "":
				say(fmt.Sprintf("%s is gated itself", falls), "let it fall to an outcome that needs no checks", "gate", outcome)
			}
		}
	}
}

func outcomes(kind *schema.StageKind) []string { return slices.Sorted(maps.Keys(kind.Outcomes)) }

// artifactNames are the artifacts of all stage kinds, used or not: what is read may come from another graph.
func (c *compiler) artifactNames() []string {
	names := map[string]bool{}
	for _, id := range c.assets.ids("stages") {
		if fields, err := c.assets.lookup("stages", id, "writes").Fields(); err == nil {
			for fields.Next() {
				names[fields.Selector().Unquoted()] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// plainFile reports whether a stage may have an artifact of this name.
func plainFile(name string) bool {
	own := []string{schema.RequestFile, schema.PromptFile, schema.ContextFile, schema.StartedFile, schema.SupervisorLock,
		schema.CancelFile, schema.CompletionFile, schema.ResultFile, schema.TerminalFile, schema.StdoutFile, schema.StderrFile,
		schema.FinalFile, schema.InvocationFile, schema.OutboxFolder, "skills"}
	top, _, _ := strings.Cut(name, "/")
	name = strings.TrimSuffix(name, "/") // a folder
	return name != "" && name != "." && path.Clean(name) == name && !path.IsAbs(name) && top != ".." && !slices.Contains(own, top)
}

// lawyer checks one graph.
type lawyer struct {
	*compiler
	graph *schema.Graph
}

// checkGraph holds a graph to its laws. A law that rests on another one is not asked when that one is broken.
func (c *compiler) checkGraph(g *schema.Graph) {
	l := lawyer{c, g}
	before := len(c.report.all)
	l.entries()
	l.nodes()
	l.ends()
	l.failures()
	if len(c.report.all) > before {
		return
	}
	l.ownership(l.reach())
	l.produced()
	l.acyclic()
}

// say reports a broken law at a field of the graph.
func (l lawyer) say(message, hint string, field ...string) {
	l.report.errorAt(l.assets.at.value(append([]string{"graphs", l.graph.ID}, field...)...), subject("graph", l.graph.ID), fieldName(field), message, hint)
}

func (l lawyer) entries() {
	g := l.graph
	for _, family := range slices.Sorted(maps.Keys(g.Entry)) {
		node := g.Entry[family]
		if g.Nodes[node] == nil {
			l.say(fmt.Sprintf("there is no node %q", node), choice(node, slices.Sorted(maps.Keys(g.Nodes))), "entry", family)
		}
		switch f := l.plan.Families[family]; {
		case f == nil:
			l.say(fmt.Sprintf("there is no family %q", family), choice(family, slices.Sorted(maps.Keys(l.plan.Families))), "entry", family)
		case f.Plane != g.Plane:
			l.say(fmt.Sprintf("items of family %q belong to plane %q", family, f.Plane), "", "entry", family)
		}
	}
	for _, family := range slices.Sorted(maps.Keys(g.Targets)) {
		if g.Entry[family] == "" {
			l.say(fmt.Sprintf("items of family %q do not enter the graph", family), choice(family, slices.Sorted(maps.Keys(g.Entry))), "target_stages", family)
		}
		for i, node := range g.Targets[family] {
			if g.Nodes[node] == nil {
				l.say(fmt.Sprintf("there is no node %q", node), choice(node, slices.Sorted(maps.Keys(g.Nodes))), "target_stages", family, fmt.Sprint(i))
			}
		}
	}
	claim, entry := slices.Sorted(slices.Values(g.Claim)), slices.Sorted(maps.Keys(g.Entry))
	if len(entry) == 0 {
		l.say("nothing can enter the graph", "say where items begin: entry: task: \"…\"", "entry")
	} else if !slices.Equal(claim, entry) {
		l.say(fmt.Sprintf("claim lists %s, and entry has %s", strings.Join(claim, ", "), strings.Join(entry, ", ")),
			"list every family of entry once, the first to be claimed first", "claim")
	}
}

func (l lawyer) nodes() {
	for _, name := range slices.Sorted(maps.Keys(l.graph.Nodes)) {
		node := l.graph.Nodes[name]
		kind := l.plan.Stages[node.Stage]
		if l.graph.Ends[name] != nil {
			l.say(fmt.Sprintf("%q is a node and an end", name), "rename one of them", "ends", name)
		}
		if kind.Plane != l.graph.Plane {
			l.say(fmt.Sprintf("stage kind %q belongs to plane %q", kind.ID, kind.Plane), "", "nodes", name)
		}
		for _, outcome := range outcomes(kind) {
			if node.On[outcome] == nil {
				l.say(fmt.Sprintf("nothing says where %s leads", outcome), fmt.Sprintf("add to on: %s: \"node or end\"", outcome), "nodes", name, "on")
			}
		}
		for _, outcome := range slices.Sorted(maps.Keys(node.On)) {
			if kind.Outcomes[outcome] == nil {
				l.say(fmt.Sprintf("stage kind %q never ends with %s", kind.ID, outcome), choice(outcome, outcomes(kind)), "nodes", name, "on", outcome)
			}
			l.edge(node.On[outcome], "nodes", name, "on", outcome)
		}
	}
}

// edge checks what an edge names.
func (l lawyer) edge(e *schema.Edge, field ...string) {
	targets := slices.Sorted(maps.Keys(l.graph.Nodes))
	nodes := slices.Clone(targets)
	targets = slices.Sorted(slices.Values(slices.AppendSeq(targets, maps.Keys(l.graph.Ends))))
	for _, target := range []string{e.To, e.Then} {
		if target != "" && !slices.Contains(targets, target) {
			l.say(fmt.Sprintf("leads to %q, which is no node and no end", target), choice(target, targets), field...)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(e.Routes)) {
		if target := e.Routes[key]; !slices.Contains(targets, target) {
			l.say(fmt.Sprintf("routes.%s leads to %q, which is no node and no end", key, target), choice(target, targets), field...)
		}
	}
	l.keys(e, field...)
	l.asks(e, targets, field...)
	if end := l.graph.Ends[e.To]; end != nil && end.Gate != nil && e.Counter != "" {
		l.say(fmt.Sprintf("counts %s on the way to %s, whose gate counts itself", e.Counter, e.To), "leave the counter to the gate", field...)
	}
	if e.Counter == "" && e.Then != "" {
		l.say("has a then without a counter", "add counter and limit", field...)
	}
	if e.Resume == nil {
		return
	}
	for _, name := range e.Resume.Not {
		if !slices.Contains(nodes, name) {
			l.say(fmt.Sprintf("resume.not names %q, which is no node", name), choice(name, nodes), field...)
		}
	}
	for _, family := range slices.Sorted(maps.Keys(e.Resume.Default)) {
		name := e.Resume.Default[family]
		switch {
		case l.plan.Families[family] == nil:
			l.say(fmt.Sprintf("resume.default names family %q, which does not exist", family), choice(family, slices.Sorted(maps.Keys(l.plan.Families))), field...)
		case !slices.Contains(nodes, name):
			l.say(fmt.Sprintf("resume.default.%s names %q, which is no node", family, name), choice(name, nodes), field...)
		case !slices.Contains(l.kind(name).Owns, family):
			l.say(fmt.Sprintf("resume.default.%s names %s, which does not work on items of family %s", family, name, family), "", field...)
		}
	}
}

func (l lawyer) kind(node string) *schema.StageKind { return l.plan.Stages[l.graph.Nodes[node].Stage] }

func (l lawyer) ends() {
	for _, name := range slices.Sorted(maps.Keys(l.graph.Ends)) {
		end := l.graph.Ends[name]
		well := end.Class == schema.ClassSuccess || end.Class == schema.ClassNoOp
		if done := end.State == schema.StateDone; done != well && end.Class != schema.ClassFollowup {
			l.say(fmt.Sprintf("class %s does not go with state %s", end.Class, end.State),
				"success and no_op end as done, followup_needed as what you like, the others as another state", "ends", name)
		}
		for _, effect := range slices.Sorted(maps.Keys(leaves)) {
			if state := leaves[effect]; slices.Contains(end.Effects, effect) && end.State != state {
				l.say(fmt.Sprintf("effect %s leaves an item %s, and the end says %s", effect, state, end.State), "", "ends", name)
			}
		}
		for _, effect := range end.Effects {
			if effectKeys[effect] != nil {
				l.say(fmt.Sprintf("effect %s decides where to go on, and here the run has ended", effect), "put it on the edge", "ends", name)
			}
		}
		if slices.Contains(end.Effects, schema.EffectEscalate) && l.plan.Families[schema.FamilyIncident] == nil {
			l.say("effect escalate makes an incident, and there is no family incident", "", "ends", name)
		}
		if end.Gate == nil {
			continue
		}
		l.edge(end.Gate, "ends", name, "gate")
		for _, target := range []string{end.Gate.To, end.Gate.Then} {
			if to := l.graph.Ends[target]; to != nil && to.Gate != nil {
				l.say(fmt.Sprintf("the gate leads to %s, which is gated as well", target), "lead to a node that repairs, or to an end without a gate", "ends", name, "gate")
			}
		}
	}
}

func (l lawyer) failures() {
	for _, class := range slices.Sorted(maps.Keys(l.graph.Failures)) {
		outcome := l.graph.Failures[class]
		if schema.Scope(class) == "stage" && !slices.Contains(stageFailures, class) {
			l.say(fmt.Sprintf("there is no failure class %q", class), choice(class, stageFailures), "failures", class)
		}
		ends := func(name string) bool { return l.kind(name).Outcomes[outcome] != nil }
		if !slices.ContainsFunc(slices.Collect(maps.Keys(l.graph.Nodes)), ends) {
			l.say(fmt.Sprintf("no stage of the graph ends with %s", outcome), "", "failures", class)
		}
	}
}

var stageFailures = []string{schema.FailConflicting, schema.FailIllegalOutcome, schema.FailInvalidArtifact,
	schema.FailMissingArtifact, schema.FailMissingOutcome, schema.FailNoProgress, schema.FailOutboxConflict,
	schema.FailExit, schema.FailStalled, schema.FailTimeout, schema.FailHandoff}
