package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"millrace/cmd/millrace/monitor"
	"millrace/cmd/millrace/term"
	"millrace/schema"
	"millrace/workspace"
)

// eventShape is an event with the record that carries it.
type eventShape struct {
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time"`
	By   string    `json:"by"`
	Why  string    `json:"why"`
	workspace.Event
}

type historyOptions struct {
	f        *factory
	out      output
	id, kind string
	since    string
	limit    int
}

func newCmdHistory(f *factory, runF func(*cobra.Command, *historyOptions) error) *cobra.Command {
	o := &historyOptions{f: f}
	cmd := &cobra.Command{
		Use: "history", Short: "the journal: what happened, who did it and why", Args: cobra.NoArgs,
		Example: "  millrace history --item add-json-flag\n  millrace history --since 2h -o json",
	}
	o.out.flag(cmd)
	cmd.Flags().StringVar(&o.id, "item", "", "only what concerns this item")
	f.ambiguous(cmd, &o.kind, "kind")
	cmd.Flags().StringVar(&o.since, "since", "", "only what is younger: a duration (2h) or a time (2026-11-22T08:00:00Z)")
	cmd.Flags().IntVarP(&o.limit, "limit", "n", 0, "only the last N events (0: all)")
	completeBy(cmd, "item", f.items())
	return leaf(cmd, o, runF, runHistory)
}

type historyFilter struct {
	item  schema.Key
	since time.Time
}

func runHistory(_ *cobra.Command, o *historyOptions) error {
	w, err := o.f.open()
	if err != nil {
		return err
	}
	var filter historyFilter
	if filter.since, err = moment(o.since, o.f.io.Now()); err != nil {
		return err
	}
	if o.id != "" {
		s, err := w.Load()
		if err != nil {
			return err
		}
		it, err := find(s, o.id, o.kind)
		if err != nil {
			return err
		}
		filter.item = it.Key()
	}
	events, err := eventsOf(w, filter)
	if err != nil {
		return err
	}
	if o.limit > 0 && len(events) > o.limit {
		events = events[len(events)-o.limit:]
	}
	seqs := names(events, func(e eventShape) string { return fmt.Sprint(e.Seq) })
	return o.f.io.Print(o.out.Value, term.Report{Data: events, Names: seqs, Text: func(wide bool) {
		eventTable(events, o.f.io).Print(o.f.io, wide)
	}})
}

// moment reads --since.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, usage("like --since 90m or --since 2026-11-22T08:00:00Z", "%q is neither a duration nor a time", text)
	}
	return t, nil
}

// eventsOf reads the journal. A record without an event of its own appears with what its author said.
func eventsOf(w *workspace.Workspace, filter historyFilter) ([]eventShape, error) {
	events := []eventShape{}
	for rec, err := range w.Records(1) {
		if err != nil {
			return events, err
		}
		if rec.Time.Before(filter.since) {
			continue
		}
		told := rec.Events
		if len(told) == 0 {
			told = []workspace.Event{{Type: monitor.Untold, Message: rec.Why}}
		}
		for _, e := range told {
			if filter.item == (schema.Key{}) || e.Item == filter.item {
				events = append(events, eventShape{rec.Seq, rec.Time, rec.By, rec.Why, e})
			}
		}
	}
	return events, nil
}

func eventTable(events []eventShape, io *term.IO) *term.Table {
	t := term.NewTable("SEQ", "TIME", "BY", "ITEM", "STAGE", "+EVENT", "+RUN", "WHAT")
	for _, e := range events {
		t.Row(e.Seq, io.Time(e.Time), e.By, e.Item.String(), e.Node, e.Type, e.Run, monitor.Words(e.Event))
	}
	return t
}

func newCmdRuns(f *factory) *cobra.Command {
	return group("runs", "passages of items through the graphs", newCmdRunsLs(f, nil), newCmdRunsShow(f, nil), newCmdRunsTail(f, nil), newCmdRunsTrace(f, nil))
}

type runsOptions struct {
	f     *factory
	out   output
	run   string
	item  string
	limit int
}

func newCmdRunsLs(f *factory, runF func(*cobra.Command, *runsOptions) error) *cobra.Command {
	o := &runsOptions{f: f}
	cmd := &cobra.Command{Use: "ls", Short: "runs, newest first", Args: cobra.NoArgs}
	o.out.flag(cmd)
	cmd.Flags().StringVar(&o.item, "item", "", "only runs of this item")
	cmd.Flags().IntVarP(&o.limit, "limit", "n", 20, "at most N (0: all)")
	completeBy(cmd, "item", f.items())
	return leaf(cmd, o, runF, runRunsLs)
}

func runRunsLs(_ *cobra.Command, o *runsOptions) error {
	w, v, err := o.f.state()
	if err != nil {
		return err
	}
	ids, err := allRuns(w)
	if err != nil {
		return err
	}
	runs := []runShape{}
	var names []string
	for _, id := range slices.Backward(ids) {
		r, err := readRun(w, id)
		if err != nil {
			o.f.say("run %s: %v", id, err)
			continue
		}
		if o.item != "" && r.Item.ID != o.item && r.Item.String() != o.item {
			continue
		}
		runs, names = append(runs, runOf(v, r, o.f.io.Now())), append(names, id)
		if o.limit > 0 && len(runs) == o.limit {
			break
		}
	}
	return o.f.io.Print(o.out.Value, term.Report{Data: runs, Names: names, Text: func(wide bool) {
		runTable(runs, o.f.io).Print(o.f.io, wide)
		if len(runs) == 0 {
			o.f.say("no runs yet; 'millrace why' says what is being waited for")
		}
	}})
}

func runTable(runs []runShape, io *term.IO) *term.Table {
	t := term.NewTable("RUN", "ITEM", "PLANE", "STATE", "AT", "STAGES", "TOKENS", "ELAPSED", "STARTED", "+PLAN")
	for _, r := range runs {
		at := r.Node
		if r.End != "" {
			at = r.End
		}
		state := term.Cell{Text: r.State, Style: map[string]term.Style{schema.RunRunning: term.Cyan, schema.RunParked: term.Yellow}[r.State]}
		t.Row(r.ID, r.Item.String(), r.Plane, state, at, len(r.Steps), r.used(), term.Span(time.Duration(r.Elapsed)), io.Time(r.Started), r.Plan.Short())
	}
	return t
}

func newCmdRunsShow(f *factory, runF func(*cobra.Command, *runsOptions) error) *cobra.Command {
	o := &runsOptions{f: f}
	cmd := &cobra.Command{Use: "show RUN", Short: "one run: its stages, their outcomes, where their files lie", Args: cobra.ExactArgs(1),
		ValidArgsFunction: f.runs}
	o.out.flag(cmd)
	return leaf(cmd, o, runF, runRunsShow, func(args []string) { o.run = args[0] })
}

func runRunsShow(_ *cobra.Command, o *runsOptions) error {
	w, v, err := o.f.state()
	if err != nil {
		return err
	}
	r, err := findRun(w, o.run)
	if err != nil {
		return err
	}
	s := runOf(v, r, o.f.io.Now())
	return o.f.io.Print(o.out.Value, term.Report{Data: s, Names: []string{r.ID}, Text: func(wide bool) {
		var f term.Fields
		f.Add("Run", o.f.io.Paint(term.Bold, r.ID))
		f.Addf("Item", "%s (generation %d)", r.Item, r.Generation)
		f.Addf("Graph", "%s (%s)", r.Graph, r.Plane)
		f.Add("Plan", r.Plan.Short())
		f.Add("State", runState(r))
		f.Add("Started", o.f.io.Time(r.Started))
		f.Add("Elapsed", term.Span(time.Duration(s.Elapsed)))
		f.Add("Tokens", s.used())
		f.Add("Waiting for", s.Waiting)
		f.Add("Folder", workspace.Folder+"/"+workspace.RunDir(r.ID))
		f.Print(o.f.io)
		if len(r.Steps) > 0 {
			_, _ = fmt.Fprintln(o.f.io.Out)
		}
		t := term.NewTable("STAGE", "OUTCOME", "CLASS", "TOKENS", "ELAPSED", "+REQUEST", "THEN", "BECAUSE")
		for _, st := range r.Steps {
			t.Row(st.Node, outcomeCell(st), join(st.Class, st.Failure), usedBy(st), elapsed(st), st.Request, st.To, join(monitor.Reason(st.Why, st.Outcome, st.To), st.Message))
		}
		t.Print(o.f.io, wide)
	}})
}

func runState(r *schema.Run) string {
	switch r.State {
	case schema.RunEnded:
		return "ended at " + r.End
	case schema.RunParked:
		return "parked at " + r.Node
	}
	return "running " + r.Node
}

func outcomeCell(s schema.Step) term.Cell {
	style := term.Plain
	switch s.Class {
	case schema.ClassSuccess, schema.ClassNoOp:
		style = term.Green
	case schema.ClassFollowup, schema.ClassEscalate:
		style = term.Yellow
	case schema.ClassBlocked, schema.ClassRecoverable:
		style = term.Red
	}
	return term.Cell{Text: orElse(s.Outcome, s.Failure), Style: style}
}

func elapsed(s schema.Step) string {
	if s.Started.IsZero() {
		return "-"
	}
	return term.Span(s.Ended.Sub(s.Started))
}

// findRun takes a run's id, the beginning of one, or "latest".
func findRun(w *workspace.Workspace, name string) (*schema.Run, error) {
	ids, err := allRuns(w)
	if err != nil {
		return nil, err
	}
	if name == "latest" && len(ids) > 0 {
		return readRun(w, ids[len(ids)-1])
	}
	var found []string
	for _, id := range ids {
		if id == name {
			return readRun(w, id)
		}
		if strings.HasPrefix(id, name) {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 1:
		return readRun(w, found[0])
	case 0:
		if len(ids) == 0 {
			return nil, refused("'millrace why' says what is being waited for", "there are no runs yet")
		}
		return nil, refused("'millrace runs ls' lists them; 'latest' is the newest", "there is no run %s", name)
	}
	return nil, usage("give more of its id", "%d runs begin with %s", len(found), name)
}

func (f *factory) runs(_ *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
	w, err := f.open()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ids, err := allRuns(w)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	slices.Reverse(ids)
	ids = slices.DeleteFunc(append(ids, "latest"), func(id string) bool { return !strings.HasPrefix(id, prefix) })
	return ids, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}
