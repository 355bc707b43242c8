package compile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"millrace/schema"
)

// The ways that runs can take through a graph: which nodes they reach, with items of which families, and whether they end.

// A hop is one way on from a node.
type hop struct {
	to, by string
	always bool // it can be taken without end: no budget stops it
}

// hops are all ways on from a node for items of a family ("" for all of them).
func (l lawyer) hops(node, family string) []hop {
	var all []hop
	add := func(e *schema.Edge, by string) {
		free := e.Counter == ""
		if e.Resume == nil || e.Resume.Default[family] == "" { // else that is where it goes
			all = append(all, hop{e.To, by, free})
		}
		if !free {
			all = append(all, hop{e.Then, by + " with " + e.Counter + " spent", true})
		}
		for _, key := range slices.Sorted(maps.Keys(e.Routes)) {
			to := e.Routes[key]
			if family == "" || l.graph.Nodes[to] == nil || slices.Contains(l.kind(to).Owns, family) { // else the plan refuses it
				all = append(all, hop{to, by + " with " + key, free})
			}
		}
		if e.Approval != nil {
			all = append(all, hop{e.Approval.Denied, by + " denied", free})
		}
		if e.Resume == nil {
			return
		}
		for _, of := range slices.Sorted(maps.Keys(e.Resume.Default)) {
			if family == "" || of == family {
				all = append(all, hop{e.Resume.Default[of], by + " for " + of, free})
			}
		}
		if !free {
			return
		}
		for _, name := range slices.Sorted(maps.Keys(l.graph.Nodes)) {
			if !slices.Contains(e.Resume.Not, name) {
				all = append(all, hop{name, by + " resuming", true})
			}
		}
	}
	n := l.graph.Nodes[node]
	for _, outcome := range slices.Sorted(maps.Keys(n.On)) {
		e := n.On[outcome]
		add(e, outcome)
		for _, target := range []string{e.To, e.Then} {
			if end := l.graph.Ends[target]; end != nil && end.Gate != nil {
				add(end.Gate, outcome+" through the gate of "+target)
			}
		}
	}
	return all
}

// reach finds, for each node and end, the families whose items can come to it. Resuming adds nothing: only a
// node that was entered can be named.
func (l lawyer) reach() map[string][]string {
	families := map[string][]string{}
	var walk func(name, family string)
	walk = func(name, family string) {
		if slices.Contains(families[name], family) {
			return
		}
		families[name] = append(families[name], family)
		if l.graph.Nodes[name] == nil {
			return
		}
		for _, h := range l.hops(name, family) {
			if !strings.HasSuffix(h.by, " resuming") {
				walk(h.to, family)
			}
		}
	}
	for _, family := range slices.Sorted(maps.Keys(l.graph.Entry)) {
		for _, node := range append([]string{l.graph.Entry[family]}, l.graph.Targets[family]...) {
			walk(node, family)
		}
	}
	return families
}

// ownership: nothing stands there in vain, and nobody gets what it does not work on.
func (l lawyer) ownership(families map[string][]string) {
	for _, name := range slices.Sorted(maps.Keys(l.graph.Nodes)) {
		if families[name] == nil {
			l.say("no item ever comes to this node", "lead an edge to it, or remove it", "nodes", name)
		}
		for _, family := range families[name] {
			if kind := l.kind(name); !slices.Contains(kind.Owns, family) {
				l.say(fmt.Sprintf("items of family %s come here, and stage kind %q works on %s only", family, kind.ID, strings.Join(kind.Owns, ", ")),
					"add the family to owns of the stage kind, or lead it elsewhere", "nodes", name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.graph.Ends)) {
		end := l.graph.Ends[name]
		if families[name] == nil {
			l.say("no item ever comes to this end", "lead an edge to it, or remove it", "ends", name)
		}
		for _, family := range families[name] {
			folders := l.plan.Families[family].Folders
			if folders[end.State] == "" || end.State == schema.StateQueue || end.State == schema.StateActive {
				l.say(fmt.Sprintf("an item of family %s cannot end in state %q", family, end.State),
					choice(end.State, slices.DeleteFunc(slices.Sorted(maps.Keys(folders)), func(s string) bool {
						return s == schema.StateQueue || s == schema.StateActive
					})), "ends", name, "state")
			}
		}
	}
}

// acyclic: with every budget spent each run must end. The cycle that would not is printed.
func (l lawyer) acyclic() {
	const walking, walked = 1, 2
	state := map[string]int{}
	var trail []hop
	var walk func(name string) bool
	walk = func(name string) bool {
		state[name] = walking
		defer func() { state[name] = walked }()
		for _, h := range l.hops(name, "") {
			if !h.always || l.graph.Nodes[h.to] == nil || state[h.to] == walked {
				continue
			}
			trail = append(trail, hop{to: name, by: h.by})
			if state[h.to] == walking {
				l.cycle(trail, h.to)
				return false
			}
			if !walk(h.to) {
				return false
			}
			trail = trail[:len(trail)-1]
		}
		return true
	}
	for _, name := range slices.Sorted(maps.Keys(l.graph.Nodes)) {
		if state[name] == 0 && !walk(name) {
			return
		}
	}
}

func (l lawyer) cycle(trail []hop, back string) {
	start := slices.IndexFunc(trail, func(h hop) bool { return h.to == back })
	var b strings.Builder
	for _, h := range trail[start:] {
		fmt.Fprintf(&b, "%s —%s→ ", h.to, h.by)
	}
	l.say("a run could go round for ever: "+b.String()+back,
		"give one of these edges a budget (counter, limit, then), and let its then lead out of the circle", "nodes", back, "on")
}
