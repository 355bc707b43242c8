package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"millrace/cmd/millrace/term"
	"millrace/schema"
	"millrace/workspace"
)

func newCmdClosure(f *factory) *cobra.Command {
	return group("closure", "root specs that are judged when all their work has ended", newCmdClosureLs(f, nil), newCmdClosureShow(f, nil),
		newCmdClosureRetry(f, nil), newCmdClosureAbandon(f, nil))
}

// closureShape is a closure target with what is in its way.
type closureShape struct {
	itemShape
	Stage    string       `json:"stage"`               // open, ready, judging, stalled, closed, abandoned
	OpenWork []schema.Key `json:"open_work,omitempty"` // what of its lineage holds it open
	Deferred []string     `json:"deferred,omitempty"`  // other root specs that wait until it has ended
}

// stages are the states of a closure target in the words of its folders.
var stages = map[string]string{
	schema.StateQueue: "ready", schema.StateActive: "judging", schema.StateBlocked: "stalled", schema.StateDone: "closed",
	schema.StateCancelled: "abandoned",
}

func closureOf(v *workspace.View, it *schema.Item) closureShape {
	c := closureShape{itemShape: shape(v, it), Stage: orElse(stages[it.State], it.State)}
	if schema.Ended(it.State) {
		return c
	}
	for w := range v.OpenWork(it.ID) {
		c.OpenWork = append(c.OpenWork, w.Key())
	}
	slices.SortFunc(c.OpenWork, workspace.CompareKeys)
	p := v.CurrentPlan()
	for k, spec := range v.Items {
		if spec.State == schema.StateQueue && workspace.IsRoot(spec) && v.Holding(p) == it && v.Deferred(p, spec) != nil {
			c.Deferred = append(c.Deferred, k.ID)
		}
	}
	slices.Sort(c.Deferred)
	return c
}

// verdict of the target in words; the latest, while it is not ended.
func (c *closureShape) verdict() string {
	if c.Closure == nil || c.Closure.Verdict == "" {
		return ""
	}
	if n := len(c.Closure.Gaps); n > 0 {
		return fmt.Sprintf("%s (%d)", c.Closure.Verdict, n)
	}
	return c.Closure.Verdict
}

func (c *closureShape) cell() term.Cell {
	style := map[string]term.Style{schema.StateActive: term.Cyan, schema.StateBlocked: term.Red, schema.StateDone: term.Green, schema.StateCancelled: term.Dim}[c.State]
	return term.Cell{Text: c.Stage, Style: style}
}

// work says what holds the target open: a few by name.
func (c *closureShape) work() string {
	names := make([]string, 0, 3)
	for _, k := range c.OpenWork[:min(len(c.OpenWork), 3)] {
		names = append(names, k.String())
	}
	text := strings.Join(names, ", ")
	if n := len(c.OpenWork) - len(names); n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

type closureOptions struct {
	f    *factory
	out  output
	root string
}

func newCmdClosureLs(f *factory, runF func(*cobra.Command, *closureOptions) error) *cobra.Command {
	o := &closureOptions{f: f}
	cmd := &cobra.Command{Use: "ls", Short: "closure targets, the open one first", Args: cobra.NoArgs}
	o.out.flag(cmd)
	return leaf(cmd, o, runF, runClosureLs)
}

func runClosureLs(_ *cobra.Command, o *closureOptions) error {
	_, v, err := o.f.state()
	if err != nil {
		return err
	}
	all, names := []closureShape{}, []string{}
	targets := pick(v, func(it *schema.Item) bool { return it.Family == schema.FamilyTarget })
	slices.SortStableFunc(targets, func(a, b *schema.Item) int { return boolRank(schema.Ended(a.State)) - boolRank(schema.Ended(b.State)) })
	for _, it := range targets {
		all, names = append(all, closureOf(v, it)), append(names, it.ID)
	}
	return o.f.io.Print(o.out.Value, term.Report{Data: all, Names: names, Text: func(wide bool) {
		if len(all) == 0 {
			o.f.say("no closure target yet; one opens when a spec that is its own root is claimed")
			return
		}
		t := term.NewTable("ROOT", "STAGE", "VERDICT", "OPEN WORK", "+GENERATION", "+VERDICTS", "TITLE")
		for _, c := range all {
			t.Row(term.Cell{Text: c.ID, Style: term.Bold}, c.cell(), c.verdict(), c.work(), c.Generation, c.verdicts(), term.OneLine(c.Title))
		}
		t.Print(o.f.io, wide)
	}})
}

func boolRank(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (c *closureShape) verdicts() int {
	if c.Closure == nil {
		return 0
	}
	return c.Closure.Verdicts
}

func newCmdClosureShow(f *factory, runF func(*cobra.Command, *closureOptions) error) *cobra.Command {
	o := &closureOptions{f: f}
	cmd := &cobra.Command{Use: "show ROOT", Short: "one closure target: contract, verdict, evidence, what is in its way", Args: cobra.ExactArgs(1),
		ValidArgsFunction: f.targets()}
	o.out.flag(cmd)
	return leaf(cmd, o, runF, runClosureShow, func(args []string) { o.root = args[0] })
}

func runClosureShow(_ *cobra.Command, o *closureOptions) error {
	_, v, err := o.f.state()
	if err != nil {
		return err
	}
	it, err := target(v.State, o.root)
	if err != nil {
		return err
	}
	c := closureOf(v, it)
	return o.f.io.Print(o.out.Value, reportOf(c, func() { c.print(o.f.io) }, it.ID))
}

// print shows a target to a person.
func (c *closureShape) print(io *term.IO) {
	var f term.Fields
	f.Add("Root", io.Paint(term.Bold, c.ID))
	f.Add("Title", term.OneLine(c.Title))
	cell := c.cell()
	f.Add("Stage", io.Paint(cell.Style, cell.Text))
	f.Addf("Generation", "%d", c.Generation)
	f.Add("Open work", c.work())
	f.Add("Waiting roots", strings.Join(c.Deferred, ", "))
	if w := c.Waiting; w != nil {
		f.Add("Waiting for", sentence(io, *w))
		f.Add("  cleared by", w.ClearedBy)
	}
	k := c.Closure
	if k == nil {
		f.Print(io)
		return
	}
	f.Add("Reopened", k.Reopened)
	for _, file := range k.Contract {
		f.Add("Contract", file.Path)
	}
	if k.Verdict != "" {
		f.Add("Verdict", io.Paint(pick2(k.Verdict == schema.VerdictPass, term.Green, term.Yellow), k.Verdict)+
			io.Paint(term.Dim, pick2(k.Verdict == schema.VerdictAbandoned, "", fmt.Sprintf(", the %s of this generation", ordinal(k.Verdicts)))+", "+io.Time(k.At)))
	}
	for _, gap := range k.Gaps {
		f.Add("  gap", term.OneLine(gap))
	}
	for _, file := range k.Kept {
		f.Add("  kept", file)
	}
	for _, r := range k.Checks {
		f.Add("Check "+r.Name, io.Paint(pick2(r.Passed, term.Green, term.Red), pick2(r.Passed, "passed", "failed"))+": "+term.OneLine(r.Run))
	}
	f.Add("On tree", k.Tree)
	f.Print(io)
}

func ordinal(n int) string {
	switch {
	case n%100 >= 11 && n%100 <= 13:
	case n%10 == 1:
		return fmt.Sprintf("%dst", n)
	case n%10 == 2:
		return fmt.Sprintf("%dnd", n)
	case n%10 == 3:
		return fmt.Sprintf("%drd", n)
	}
	return fmt.Sprintf("%dth", n)
}

// target is the closure target of a root.
func target(s *workspace.State, root string) (*schema.Item, error) {
	_, id, whole := strings.Cut(root, "/")
	if !whole {
		id = root
	}
	if it := s.Items[workspace.TargetKey(id)]; it != nil {
		return it, nil
	}
	return nil, refused("'millrace closure ls' lists them; one opens when its root spec is claimed", "there is no closure target %s", root)
}

// targets completes roots that have a closure target.
func (f *factory) targets(states ...string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(_ *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		_, v, err := f.state()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var ids []string
		for k, it := range v.Items {
			if k.Family == schema.FamilyTarget && strings.HasPrefix(k.ID, prefix) && (len(states) == 0 || slices.Contains(states, it.State)) {
				ids = append(ids, k.ID)
			}
		}
		slices.Sort(ids)
		return ids, cobra.ShellCompDirectiveNoFileComp
	}
}

// line is the target in one line of the status.
func (c *closureShape) line(io *term.IO) string {
	cell := c.cell()
	text := io.Paint(term.Bold, c.ID) + " " + io.Paint(cell.Style, cell.Text)
	if v := c.verdict(); v != "" {
		text += ", verdict " + v
	}
	if n := len(c.OpenWork); n > 0 {
		text += "; " + some(n, "item") + " of it at work"
	}
	if n := len(c.Deferred); n > 0 {
		text += "; " + some(n, "other root") + pick2(n == 1, " waits", " wait")
	}
	return text
}
