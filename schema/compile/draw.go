package compile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"millrace/schema"
)

// Formats are what Draw can write.
var Formats = []string{"text", "json", "mermaid", "dot"}

// Draw shows the topology of a plan's plane, or of all of them with plane "".
func Draw(p *schema.Plan, plane, format string) (string, error) {
	planes := p.PlaneOrder
	if plane != "" {
		if p.Graphs[plane] == nil {
			return "", fmt.Errorf("draw plan: mode %q has no plane %q; %s", p.Mode, plane, choice(plane, p.PlaneOrder))
		}
		planes = []string{plane}
	}
	switch format {
	case "", "text":
		return drawText(p, planes), nil
	case "json":
		return drawJSON(p, planes)
	case "mermaid":
		return drawMermaid(p, planes), nil
	case "dot":
		return drawDot(p, planes), nil
	}
	return "", fmt.Errorf("draw plan: unknown format %q; %s", format, choice(format, Formats))
}

// ordered lists a graph's nodes as a run meets them, entries first and what BLOCKED and spent budgets lead to last.
func ordered(g *schema.Graph) []string {
	var order []string
	visit := func(name string) {
		if g.Nodes[name] != nil && !slices.Contains(order, name) {
			order = append(order, name)
		}
	}
	for _, family := range g.Claim {
		visit(g.Entry[family])
		for _, node := range g.Targets[family] {
			visit(node)
		}
	}
	for _, aside := range []bool{false, true} {
		for i := 0; i < len(order); i++ {
			on := g.Nodes[order[i]].On
			for _, outcome := range byBlockedLast(on) {
				if outcome != schema.OutcomeBlocked || aside {
					visit(on[outcome].To)
					for _, key := range slices.Sorted(maps.Keys(on[outcome].Routes)) {
						visit(on[outcome].Routes[key])
					}
				}
				if aside {
					visit(on[outcome].Then)
					if a := on[outcome].Approval; a != nil {
						visit(a.Denied)
					}
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(g.Nodes)) {
		visit(name)
	}
	return order
}

// byBlockedLast sorts outcomes, BLOCKED behind the others.
func byBlockedLast(on map[string]*schema.Edge) []string {
	all := slices.Sorted(maps.Keys(on))
	if i := slices.Index(all, schema.OutcomeBlocked); i >= 0 {
		all = append(slices.Delete(all, i, i+1), schema.OutcomeBlocked)
	}
	return all
}

// way says in words where an edge leads.
func way(e *schema.Edge) string {
	s := e.To
	if e.Resume != nil {
		s += " (or the node that " + strings.Join(e.Resume.Keys, " or ") + " names)"
	}
	if e.Counter != "" {
		s += fmt.Sprintf(", %d × %s, then %s", e.Limit, e.Counter, e.Then)
	}
	if a := e.Approval; a != nil {
		s += fmt.Sprintf(", once %s is approved; denied → %s", a.Capability, a.Denied)
	}
	if len(e.Effects) > 0 {
		s += "; " + strings.Join(e.Effects, ", ")
	}
	return s
}

// turnings lists the keys of an edge that lead to another place than the edge itself, sorted.
func turnings(e *schema.Edge) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(e.Routes)), func(key string) bool { return e.Routes[key] == e.To })
}

// does lists the effects of an end that its state does not say already.
func does(end *schema.End) string {
	said := map[string]string{schema.EffectComplete: schema.StateDone, schema.EffectBlock: schema.StateBlocked}
	return strings.Join(slices.DeleteFunc(slices.Clone(end.Effects), func(e string) bool { return said[e] == end.State }), ", ")
}

func drawText(p *schema.Plan, planes []string) string {
	var b strings.Builder
	for i, plane := range planes {
		g := p.Graphs[plane]
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s: %s\n", plane, g.ID)
		for _, family := range g.Claim {
			fmt.Fprintf(&b, "  %s enters at %s", family, g.Entry[family])
			if targets := g.Targets[family]; len(targets) > 0 {
				fmt.Fprintf(&b, ", or at the target_stage it names: %s", strings.Join(targets, ", "))
			}
			b.WriteByte('\n')
		}
		for _, name := range ordered(g) {
			n := g.Nodes[name]
			fmt.Fprintf(&b, "\n  %s  (%s)\n", name, runBy(n))
			width := 0
			for outcome := range n.On {
				width = max(width, len(outcome))
			}
			for _, outcome := range byBlockedLast(n.On) {
				gate := ""
				if falls := p.Stages[n.Stage].Gate[outcome]; falls != "" {
					gate = ", if the checks pass; else " + falls
				}
				fmt.Fprintf(&b, "    %-*s → %s%s\n", width, outcome, way(n.On[outcome]), gate)
				for _, key := range turnings(n.On[outcome]) {
					fmt.Fprintf(&b, "    %-*s   %s → %s\n", width, "", key, n.On[outcome].Routes[key])
				}
			}
		}
		b.WriteString("\n  ends\n")
		for _, name := range slices.Sorted(maps.Keys(g.Ends)) {
			end := g.Ends[name]
			fmt.Fprintf(&b, "    %s: item %s (%s)", name, end.State, end.Class)
			if effects := does(end); effects != "" {
				b.WriteString("; " + effects)
			}
			if end.Gate != nil {
				fmt.Fprintf(&b, ", if the checks pass; else → %s", way(end.Gate))
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func runBy(n *schema.Node) string {
	parts := []string{}
	for _, part := range []string{n.Runner, n.Model, n.Thinking} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ", ")
}

func drawJSON(p *schema.Plan, planes []string) (string, error) {
	graphs := map[string]*schema.Graph{}
	for _, plane := range planes {
		graphs[plane] = p.Graphs[plane]
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(map[string]any{"schema_version": schema.Version, "mode": p.Mode, "graphs": graphs}); err != nil {
		return "", fmt.Errorf("draw plan: %w", err)
	}
	return b.String(), nil
}

// An arrow of a drawing; a dashed one is taken when a budget is spent, checks do not pass or an approval is denied.
type arrow struct {
	from, to, label string
	dashed          bool
}

func arrows(p *schema.Plan, g *schema.Graph) []arrow {
	var all []arrow
	add := func(from, label string, e *schema.Edge, dashed bool) {
		for _, key := range turnings(e) {
			all = append(all, arrow{from, e.Routes[key], label + ": " + key, dashed})
		}
		to := label
		if len(e.Effects) > 0 {
			to += "; " + strings.Join(e.Effects, ", ")
		}
		first := to
		if e.Counter != "" {
			first += fmt.Sprintf(" (%d × %s)", e.Limit, e.Counter)
		}
		if a := e.Approval; a != nil {
			all = append(all, arrow{from, e.To, first + ", " + a.Capability + " approved", dashed},
				arrow{from, a.Denied, label + ", " + a.Capability + " denied", true})
		} else {
			all = append(all, arrow{from, e.To, first, dashed})
		}
		if e.Counter != "" {
			all = append(all, arrow{from, e.Then, label + ", spent", true})
		}
	}
	for _, name := range ordered(g) {
		for _, outcome := range byBlockedLast(g.Nodes[name].On) {
			add(name, outcome, g.Nodes[name].On[outcome], false)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(g.Ends)) {
		if gate := g.Ends[name].Gate; gate != nil {
			add(name, "checks fail", gate, true)
		}
	}
	return all
}

// endLabel is an end's name, with what happens there on a line of its own.
func endLabel(name string, end *schema.End, line string) string {
	if effects := does(end); effects != "" {
		return name + line + effects
	}
	return name
}

func drawMermaid(p *schema.Plan, planes []string) string {
	var b strings.Builder
	b.WriteString("flowchart TD\n")
	for _, plane := range planes {
		g := p.Graphs[plane]
		id := func(name string) string { return plane + "_" + name }
		fmt.Fprintf(&b, "  subgraph %s [\"%s\"]\n", plane, g.ID)
		for _, family := range g.Claim {
			fmt.Fprintf(&b, "    %s_in_%s([%s]) --> %s\n", plane, family, family, id(g.Entry[family]))
			for _, node := range g.Targets[family] {
				fmt.Fprintf(&b, "    %s_in_%s -.->|\"target_stage\"| %s\n", plane, family, id(node))
			}
		}
		for _, name := range ordered(g) {
			fmt.Fprintf(&b, "    %s[%s]\n", id(name), name)
		}
		for _, name := range slices.Sorted(maps.Keys(g.Ends)) {
			fmt.Fprintf(&b, "    %s([%s])\n", id(name), endLabel(name, g.Ends[name], "<br>"))
		}
		for _, a := range arrows(p, g) {
			line := "-->"
			if a.dashed {
				line = "-.->"
			}
			fmt.Fprintf(&b, "    %s %s|\"%s\"| %s\n", id(a.from), line, a.label, id(a.to))
		}
		b.WriteString("  end\n")
	}
	return b.String()
}

func drawDot(p *schema.Plan, planes []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %s {\n", strconv.Quote(p.Mode))
	for _, plane := range planes {
		g := p.Graphs[plane]
		id := func(name string) string { return strconv.Quote(plane + "." + name) }
		fmt.Fprintf(&b, "  subgraph %s {\n    label=%s\n", strconv.Quote("cluster_"+plane), strconv.Quote(g.ID))
		for _, family := range g.Claim {
			fmt.Fprintf(&b, "    %s [label=%s, shape=plaintext]\n", id("in."+family), strconv.Quote(family))
			fmt.Fprintf(&b, "    %s -> %s\n", id("in."+family), id(g.Entry[family]))
			for _, node := range g.Targets[family] {
				fmt.Fprintf(&b, "    %s -> %s [label=\"target_stage\", style=dashed]\n", id("in."+family), id(node))
			}
		}
		for _, name := range ordered(g) {
			fmt.Fprintf(&b, "    %s [label=%s, shape=box]\n", id(name), strconv.Quote(name))
		}
		for _, name := range slices.Sorted(maps.Keys(g.Ends)) {
			fmt.Fprintf(&b, "    %s [label=%s, shape=ellipse]\n", id(name), strconv.Quote(endLabel(name, g.Ends[name], "\n")))
		}
		for _, a := range arrows(p, g) {
			style := ""
			if a.dashed {
				style = ", style=dashed"
			}
			fmt.Fprintf(&b, "    %s -> %s [label=%s%s]\n", id(a.from), id(a.to), strconv.Quote(a.label), style)
		}
		b.WriteString("  }\n")
	}
	b.WriteString("}\n")
	return b.String()
}
