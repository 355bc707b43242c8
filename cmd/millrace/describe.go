package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"millrace/cmd/millrace/term"
	"millrace/schema"
	"millrace/workspace"
)

type describeOptions struct {
	f        *factory
	out      output
	id, kind string
}

// description is the shape of one item with all that belongs to it.
type description struct {
	Item      itemShape        `json:"item"`
	Obstacles []schema.Waiting `json:"obstacles,omitempty"` // all of them, the first is item.waiting

	Declaration *keptShape   `json:"declaration,omitempty"`  // how its declaration and the item differ
	CommittedBy string       `json:"committed_by,omitempty"` // who committed the declaration as it is
	Needs       []related    `json:"needs,omitempty"`
	NeededBy    []related    `json:"needed_by,omitempty"`
	Runs        []runShape   `json:"runs,omitempty"`
	Events      []eventShape `json:"events,omitempty"`
}

type related struct {
	Item  schema.Key `json:"item"`
	State string     `json:"state"` // "" for one that does not exist
}

func newCmdDescribe(f *factory, runF func(*cobra.Command, *describeOptions) error) *cobra.Command {
	o := &describeOptions{f: f}
	cmd := &cobra.Command{
		Use: "describe ID", Short: "one item with its runs, events and lineage", Args: cobra.ExactArgs(1),
		ValidArgsFunction: f.items(),
	}
	o.out.flag(cmd)
	f.ambiguous(cmd, &o.kind, "kind")
	return leaf(cmd, o, runF, runDescribe, func(args []string) { o.id = args[0] })
}

func runDescribe(cmd *cobra.Command, o *describeOptions) error {
	w, v, err := o.f.look(cmd.Context())
	if err != nil {
		return err
	}
	it, err := find(v.State, o.id, o.kind)
	if err != nil {
		return err
	}
	d := description{Item: shape(v, it), Obstacles: v.Obstacles(it.Key()), Declaration: note(v, it.Key())}
	if it.Declared != nil {
		by, err := w.Committers(cmd.Context(), "", []string{it.Declared.Path})
		if err != nil {
			return err
		}
		d.CommittedBy = by[it.Declared.Path]
	}
	for _, id := range it.DependsOn {
		d.Needs = append(d.Needs, relate(v, schema.Key{Family: it.Family, ID: id}))
	}
	for _, k := range v.Dependants(it.Key()) {
		d.NeededBy = append(d.NeededBy, relate(v, k))
	}
	if d.Events, err = eventsOf(w, historyFilter{item: it.Key()}); err != nil {
		return err
	}
	for _, id := range runIDs(d.Events) {
		if r, err := readRun(w, id); err == nil {
			d.Runs = append(d.Runs, runOf(v, r, o.f.io.Now()))
		}
	}
	return o.f.io.Print(o.out.Value, term.Report{Data: d, Names: []string{it.Key().String()}, Text: func(wide bool) {
		d.print(o.f.io, wide)
	}})
}

func relate(v *workspace.View, k schema.Key) related {
	r := related{Item: k}
	if it := v.Items[k]; it != nil {
		r.State = it.State
	}
	return r
}

// runIDs are the runs that events name, oldest first, each once.
func runIDs(events []eventShape) []string {
	set := map[string]bool{}
	for _, e := range events {
		if e.Run != "" {
			set[e.Run] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

func (d *description) print(io *term.IO, wide bool) {
	it := d.Item
	var f term.Fields
	f.Add("Item", io.Paint(term.Bold, it.Key().String()))
	f.Add("Title", term.OneLine(it.Title))
	state := stateCell(it.State)
	f.Add("State", io.Paint(state.Style, state.Text)+ended(it.Item))
	for i, w := range d.Obstacles {
		name := "Waiting for"
		if i > 0 {
			name = "And then"
		}
		f.Add(name, sentence(io, w))
		f.Add("  cleared by", w.ClearedBy)
	}
	f.Addf("Generation", "%d", it.Generation)
	f.Add("Document", it.Path)
	if it.Declared != nil {
		f.Add("Declared in", it.Declared.Path)
		f.Add("Committed by", d.CommittedBy)
	}
	if n := d.Declaration; n != nil {
		f.Add("  "+n.Action, io.Paint(term.Yellow, n.Why))
	}
	f.Add("Source", it.Source+during(it.Item))
	f.Add("Created", io.Time(it.CreatedAt)+" by "+it.CreatedBy)
	f.Add("Root", it.Lineage.RootSpecID)
	f.Add("Needs", relations(d.Needs))
	f.Add("Needed by", relations(d.NeededBy))
	f.Add("Counters", counters(it.Counters))
	if b := it.Blueprint; b != nil {
		f.Add("Blueprint", revision(b))
		f.Add("Became", became(b))
	}
	for _, c := range it.Checks {
		f.Add("Check "+c.Name, c.Run)
	}
	f.Print(io)
	if len(d.Runs) > 0 {
		_, _ = fmt.Fprintf(io.Out, "\n%s\n", io.Paint(term.Bold, "Runs"))
		runTable(d.Runs, io).Print(io, wide)
	}
	if len(it.Notes) > 0 {
		_, _ = fmt.Fprintf(io.Out, "\n%s\n", io.Paint(term.Bold, "Interventions"))
		t := term.NewTable("TIME", "BY", "WHAT", "WHY")
		for _, n := range it.Notes {
			t.Row(io.Time(n.At), n.By, n.What, n.Why)
		}
		t.Print(io, wide)
	}
	if len(d.Events) > 0 {
		_, _ = fmt.Fprintf(io.Out, "\n%s\n", io.Paint(term.Bold, "Events"))
		eventTable(d.Events, io).Print(io, wide)
	}
}

func ended(it *schema.Item) string {
	if it.EndedBy == "" || it.EndedBy == "run" {
		return ""
	}
	return " (by " + it.EndedBy + ")"
}

func during(it *schema.Item) string {
	if it.During == "" {
		return ""
	}
	return ", appeared during " + it.During
}

func relations(rs []related) string {
	words := make([]string, len(rs))
	for i, r := range rs {
		state := r.State
		if state == "" {
			state = "missing"
		}
		words[i] = r.Item.ID + " (" + state + ")"
	}
	return strings.Join(words, ", ")
}

// revision is the newest packet, and what became of it.
func revision(b *schema.Blueprint) string {
	text := fmt.Sprintf("%s, revision %d", b.ID, b.Revision)
	if b.Rejected {
		text += ", rejected"
	}
	return text
}

func became(b *schema.Blueprint) string {
	if b.Task == "" {
		return ""
	}
	return "task " + b.Task
}

func counters(m map[string]int) string {
	words := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		words = append(words, fmt.Sprintf("%s %d", k, m[k]))
	}
	return strings.Join(words, ", ")
}

// sentence is a waiting as people read it.
func sentence(io *term.IO, w schema.Waiting) string {
	style := term.Yellow
	if w.Stalled {
		style = term.Red
	}
	s := io.Paint(style, term.OneLine(w.Message))
	if w.Until != nil {
		s += ", until " + io.Time(*w.Until)
	}
	if !w.Since.IsZero() {
		s += io.Paint(term.Dim, ", since "+io.Time(w.Since))
	}
	return s
}
