package compile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"millrace/schema"
)

// What the effects of a graph rest on: the keys they decide, the state they leave an item in, and what they need
// from the stage before them.

// effectKeys are those that the effects decide on.
var effectKeys = map[string][]string{
	schema.EffectDisposition: {"blocked", "emitted_child_specs"},
	schema.EffectRepair:      {"apply_repaired_generated_task", "block", "rerun_contractor", "rerun_evaluator", "rerun_manager"},
	schema.EffectProve:       {"remediation"},
	schema.EffectHandoff:     {"blocked", "noop", "to_execution", "to_planning"},
}

// keys: what an effect may decide is routed, and nothing else.
func (l lawyer) keys(e *schema.Edge, field ...string) {
	var known []string
	partly := false
	for _, effect := range e.Effects {
		known = append(known, effectKeys[effect]...)
		partly = partly || effect == schema.EffectHandoff // what is not routed contradicts the outcome
	}
	slices.Sort(known)
	for _, key := range known {
		if e.Routes[key] == "" && !partly {
			l.say(fmt.Sprintf("nothing says where %s leads", key), fmt.Sprintf("add routes: %s: \"node or end\"", key), field...)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(e.Routes)) {
		if !slices.Contains(known, key) {
			l.say(fmt.Sprintf("no effect of the edge decides on %q", key), choice(key, known), field...)
		}
	}
}

// leaves is the state that an end with the effect must say.
var leaves = map[string]string{
	schema.EffectComplete: schema.StateDone, schema.EffectBlock: schema.StateBlocked, schema.EffectEscalate: schema.StateBlocked,
	schema.EffectClose: schema.StateDone, schema.EffectRemediate: schema.StateOpen, schema.EffectPromote: schema.StateDone,
}

// A need is what an effect takes from the stage whose result it is part of.
type need struct {
	schemas []string // definitions of artifacts
	folder  bool     // one artifact that is a folder
	emits   bool     // something proposed
}

var needs = map[string]need{
	schema.EffectDisposition: {schemas: []string{schema.DefDisposition}},
	schema.EffectHandoff:     {schemas: []string{schema.DefRecon}},
	schema.EffectDecompose:   {emits: true},
	schema.EffectDraft:       {schemas: []string{schema.DefManifest, schema.DefDrafts}},
	schema.EffectPacket:      {schemas: []string{schema.DefPacket}},
	schema.EffectCritique:    {schemas: []string{schema.DefEvaluation, schema.DefCritique}},
	schema.EffectPromote:     {schemas: []string{schema.DefTask}},
	schema.EffectRepair:      {schemas: []string{schema.DefRepair}},
	schema.EffectProve:       {schemas: []string{schema.DefVerdict}},
	schema.EffectClose:       {schemas: []string{schema.DefVerdict}},
	schema.EffectRemediate:   {schemas: []string{schema.DefVerdict}},
	schema.EffectLearn:       {schemas: []string{schema.DefCurator}, folder: true},
}

// produced: every stage writes what the effects that follow from its outcomes take.
func (l lawyer) produced() {
	for _, name := range slices.Sorted(maps.Keys(l.graph.Nodes)) {
		node := l.graph.Nodes[name]
		for _, outcome := range slices.Sorted(maps.Keys(node.On)) {
			for _, effect := range l.follow(node.On[outcome]) {
				l.supplied(name, outcome, effect)
			}
		}
	}
}

// follow lists the effects that an edge may have: its own, and those of the ends that it leads to.
func (l lawyer) follow(e *schema.Edge) []string {
	found := slices.Clone(e.Effects)
	for _, target := range append([]string{e.To, e.Then}, slices.Collect(maps.Values(e.Routes))...) {
		end := l.graph.Ends[target]
		if end == nil {
			continue
		}
		found = append(found, end.Effects...)
		if end.Gate != nil {
			found = append(found, l.follow(end.Gate)...) // which leads to no gate again
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// supplied holds one outcome of a node to one effect.
func (l lawyer) supplied(node, outcome, effect string) {
	kind, n := l.kind(node), needs[effect]
	say := func(what, hint string) {
		if outcome == schema.OutcomeBlocked {
			hint = "lead it elsewhere: a stage that is blocked owes nothing"
		}
		l.say(fmt.Sprintf("effect %s needs %s, and stage kind %q has none with %s", effect, what, kind.ID, outcome), hint, "nodes", node, "on", outcome)
	}
	for _, definition := range n.schemas {
		if !writes(kind, outcome, func(a schema.Artifact) bool { return a.Schema == definition }) {
			say("an artifact of "+definition, fmt.Sprintf("add one to the writes of the stage kind: {file: \"….json\", schema: %q}", definition))
		}
	}
	if n.folder && !writes(kind, outcome, func(a schema.Artifact) bool { return strings.HasSuffix(a.File, "/") }) {
		say("an artifact that is a folder", "add one to the writes of the stage kind: {file: \"…/\"}")
	}
	if n.emits && (len(kind.Emits) == 0 || outcome == schema.OutcomeBlocked) {
		say("something proposed", "say in emits of the stage kind of which families")
	}
}

// writes reports whether a stage writes such an artifact, or may, when it ends with the outcome.
func writes(kind *schema.StageKind, outcome string, such func(schema.Artifact) bool) bool {
	return slices.ContainsFunc(kind.Writes, func(a schema.Artifact) bool {
		owed := a
		owed.Optional = false
		return such(a) && owed.NeededFor(outcome)
	})
}
