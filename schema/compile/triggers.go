package compile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"millrace/schema"
)

// triggers takes the mode's over. One for a stage that the mode's graphs do not have says nothing: a mode made of
// another may have fewer.
func (c *compiler) triggers() {
	var at []int
	for i, t := range c.mode.Triggers {
		say := func(message, hint string, field string) {
			path := []string{"modes", c.mode.ID, "learning_triggers", fmt.Sprint(i), field}
			c.report.errorAt(c.assets.at.value(path...), subject("mode", c.mode.ID), fieldName(path[2:]), message, hint)
		}
		if !c.assets.has("stages", t.Stage) {
			say(fmt.Sprintf("there is no stage kind %q", t.Stage), choice(t.Stage, c.assets.ids("stages")), "stage")
			continue
		}
		kind := c.plan.Stages[t.Stage]
		if kind == nil {
			continue
		}
		whole := true
		for _, outcome := range t.Outcomes {
			if kind.Outcomes[outcome] == nil {
				say(fmt.Sprintf("stage kind %q never ends with %s", t.Stage, outcome), choice(outcome, outcomes(kind)), "outcomes")
				whole = false
			}
		}
		if c.begins(t, say) && whole {
			c.plan.Triggers = append(c.plan.Triggers, t)
			at = append(at, i)
		}
	}
	c.endless(at)
}

// endless: no request raises, by what is done about it, another of its kind. at says where each of the plan's
// triggers stands in the mode.
func (c *compiler) endless(at []int) {
	raises := func(t schema.Trigger) (next []int) {
		stages := c.worked(t.Target)
		for i, u := range c.plan.Triggers {
			if stages[u.Stage] {
				next = append(next, i)
			}
		}
		return next
	}
	for i, t := range c.plan.Triggers {
		seen := map[int]bool{}
		for queue := raises(t); len(queue) > 0; queue = queue[1:] {
			if !seen[queue[0]] {
				seen[queue[0]] = true
				queue = append(queue, raises(c.plan.Triggers[queue[0]])...)
			}
		}
		if seen[i] {
			path := []string{"modes", c.mode.ID, "learning_triggers", fmt.Sprint(at[i]), "target"}
			c.report.errorAt(c.assets.at.value(path...), subject("mode", c.mode.ID), fieldName(path[2:]),
				fmt.Sprintf("the request that %s raises comes to %s again, and so on for ever", t.Stage, t.Stage),
				"let it begin behind that stage, or leave the trigger out")
		}
	}
}

// worked are the stages that a learning request may come to from the node where it begins.
func (c *compiler) worked(node string) map[string]bool {
	stages := map[string]bool{}
	for _, g := range c.plan.Graphs {
		if g.Entry[schema.FamilyLearning] == "" || g.Nodes[node] == nil {
			continue
		}
		l, seen := lawyer{c, g}, map[string]bool{}
		for queue := []string{node}; len(queue) > 0; queue = queue[1:] {
			if name := queue[0]; g.Nodes[name] != nil && !seen[name] {
				seen[name] = true
				stages[g.Nodes[name].Stage] = true
				for _, h := range l.hops(name, schema.FamilyLearning) {
					queue = append(queue, h.to)
				}
			}
		}
	}
	return stages
}

// begins reports whether the request that a trigger raises can begin where the trigger says.
func (c *compiler) begins(t schema.Trigger, say func(message, hint, field string)) bool {
	var nodes []string
	for _, plane := range c.plan.PlaneOrder {
		g := c.plan.Graphs[plane]
		if g.Entry[schema.FamilyLearning] == "" {
			continue
		}
		if node := g.Nodes[g.Begin(schema.FamilyLearning, t.Target)]; node != nil {
			return c.named(t, c.plan.Stages[node.Stage], say)
		}
		nodes = append(append(nodes, g.Entry[schema.FamilyLearning]), g.Targets[schema.FamilyLearning]...)
	}
	if len(nodes) == 0 {
		say("no graph of the mode takes learning requests", "select one for its plane", "target")
		return false
	}
	slices.Sort(nodes)
	say(fmt.Sprintf("no learning request begins at %q", t.Target), choice(t.Target, slices.Compact(nodes)), "target")
	return false
}

// named: a stage that must be told what its work is about is told.
func (c *compiler) named(t schema.Trigger, kind *schema.StageKind, say func(message, hint, field string)) bool {
	has := map[string]bool{"target_skill_id": t.TargetSkill != "", "preferred_output_paths": len(t.OutputPaths) > 0}
	if len(kind.NeedsOneOf) == 0 || slices.ContainsFunc(kind.NeedsOneOf, func(field string) bool { return has[field] }) {
		return true
	}
	given := slices.DeleteFunc(slices.Sorted(maps.Keys(has)), func(field string) bool { return !slices.Contains(kind.NeedsOneOf, field) })
	say(fmt.Sprintf("%s must be told what to work on", kind.ID), "add "+strings.Join(given, " or "), "target")
	return false
}
