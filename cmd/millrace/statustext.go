package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"millrace/cmd/millrace/term"
	"millrace/schema"
)

// print shows the status to a person: first what needs somebody's eye in every case, then only what
// there is.
func (s *statusShape) print(io *term.IO, wide bool) {
	var f term.Fields
	f.Add("Workspace", io.Paint(term.Bold, s.Workspace))
	f.Add("Daemon", s.daemon(io))
	for _, c := range s.Conditions {
		f.Add("Trouble", io.Paint(term.Red, because(c.Name, c.Message))+io.Paint(term.Dim, ", since "+io.Time(c.Since)))
	}
	f.Add("Plan", s.plan(io))
	for _, source := range slices.Sorted(maps.Keys(s.Pauses)) {
		p := s.Pauses[source]
		f.Add("Paused", io.Paint(term.Red, because("by "+source, p.Reason))+io.Paint(term.Dim, ", since "+io.Time(p.Since)))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Runners)) {
		f.Add("Runner", runnerLine(io, name, s.Runners[name]))
	}
	if c := s.Closure; c != nil {
		f.Add("Closure", c.line(io))
	}
	if s.Stop != nil && s.Daemon.Running {
		f.Add("Stopping", io.Paint(term.Yellow, because("asked to stop", s.Stop.Reason)))
	}
	if n := len(s.Held.Declarations); n > 0 {
		f.Add("Held", io.Paint(term.Yellow, fmt.Sprintf("%d older than this workspace; 'millrace queue admit --all' runs them", n)))
	}
	for _, path := range slices.Sorted(maps.Keys(s.Held.Changes)) {
		f.Add("Held", io.Paint(term.Yellow, fmt.Sprintf("%s changed during %s; commit it, or 'millrace intake accept %s'", path, s.Held.Changes[path].During, path)))
	}
	for _, h := range s.Hands[:min(len(s.Hands), shownAtMost)] {
		f.Add("By hand", io.Paint(term.Yellow, h.Path+": "+h.Message)+"; "+h.Repair)
	}
	if l := s.LastFailure; l != nil {
		f.Addf("Last failure", "%s at %s of %s, %s", l.Failure, l.Node, l.Item, io.Time(l.At))
	}
	if l := s.LastOperator; l != nil {
		f.Addf("Last intervention", "%s, %s", because(l.What+" "+l.Item.String(), l.Why), io.Time(l.At))
	}
	f.Print(io)
	s.tables(io, wide)
	if len(s.Standing) > 0 {
		_, _ = fmt.Fprintln(io.Out)
		noteTable(s.Standing).Print(io, wide)
	}
	section(io, "WORKFLOW", s.Plan.Diags)
	section(io, "REJECTED", s.Rejected)
	section(io, "UNSEEN", s.Unseen)
}

// noteTable shows what the declaration table says, once for all items of which it says the same.
func noteTable(all []keptShape) *term.Table {
	t := term.NewTable("DECLARED", "", "BECAUSE")
	items := map[string]int{}
	for _, n := range all {
		items[n.Action+n.Why]++
	}
	for _, n := range all {
		count := items[n.Action+n.Why]
		if count == 0 {
			continue // told with the first
		}
		items[n.Action+n.Why] = 0
		name := n.Item.String()
		if count > 1 {
			name += fmt.Sprintf(" and %d more", count-1)
		}
		t.Row(term.Cell{Text: name, Style: term.Bold}, term.Cell{Text: n.Action, Style: term.Yellow}, n.Why)
	}
	return t
}

// section prints diagnostics under a heading.
func section(io *term.IO, name string, ds schema.Diagnostics) {
	if len(ds) == 0 {
		return
	}
	_, _ = fmt.Fprintf(io.Out, "\n%s\n", io.Paint(term.Dim, name))
	for _, d := range ds[:min(len(ds), shownAtMost)] {
		text := strings.ReplaceAll(d.String(), "\n", "\n  ")
		_, _ = fmt.Fprintf(io.Out, "  %s\n", io.Paint(pick2(d.Severity == schema.Warning, term.Yellow, term.Plain), text))
	}
	more(io, len(ds))
}

// shownAtMost is how many lines of a kind a person is shown; programs get all.
const shownAtMost = 20

func more(io *term.IO, n int) {
	if n > shownAtMost {
		_, _ = fmt.Fprintf(io.Out, "  … and %d more; '-o json' has them all\n", n-shownAtMost)
	}
}

func (s *statusShape) daemon(io *term.IO) string {
	if d := s.Daemon; d.Running {
		return io.Paint(term.Green, "running") + fmt.Sprintf(" since %s (process %d on %s)", io.Time(d.Since), d.PID, d.Host)
	}
	return "not running; 'millrace run daemon' starts one"
}

func (s *statusShape) plan(io *term.IO) string {
	switch p := s.Plan; {
	case p.ID == "" && p.Pending == "":
		return "none yet"
	case p.ID == "":
		return "none yet; " + p.Pending.Short() + " is about to be frozen"
	case p.Current:
		return fmt.Sprintf("%s, mode %s, current", p.ID.Short(), p.Mode)
	case p.Pending != "":
		return fmt.Sprintf("%s, mode %s; %s", p.ID.Short(), p.Mode, io.Paint(term.Yellow, p.Pending.Short()+" is pending"))
	default:
		return fmt.Sprintf("%s, mode %s; %s", p.ID.Short(), p.Mode, io.Paint(term.Red, "its inputs do not compile now"))
	}
}

func runnerLine(io *term.IO, name string, w schema.RunnerWait) string {
	if w.Stalled {
		return io.Paint(term.Red, because(name+" is stalled: "+w.Class, w.Message))
	}
	return io.Paint(term.Yellow, fmt.Sprintf("%s waits until %s: %s", name, io.Time(w.Until), w.Class))
}

func (s *statusShape) tables(io *term.IO, wide bool) {
	blank := func() { _, _ = fmt.Fprintln(io.Out) }
	if len(s.Runs) > 0 {
		blank()
		t := term.NewTable("RUNNING", "PLANE", "AT", "ELAPSED", "TOKENS", "+RUN", "STATE")
		for _, r := range s.Runs {
			t.Row(term.Cell{Text: r.Item.String(), Style: term.Bold}, r.Plane, r.Node, term.Span(time.Duration(r.Elapsed)), r.used(), r.ID, r.state())
		}
		t.Print(io, wide)
	}
	idle := term.NewTable("IDLE", "WAITING FOR", "CLEARED BY")
	for _, p := range s.Planes {
		if p.Waiting != nil {
			idle.Row(p.Plane, term.Cell{Text: p.Waiting.Message, Style: pick2(p.Waiting.Stalled, term.Red, term.Plain)}, p.Waiting.ClearedBy)
		}
	}
	if idle.Len() > 0 {
		blank()
		idle.Print(io, wide)
	}
	if len(s.Queue) > 0 {
		blank()
		s.depth().Print(io, wide)
	}
	s.asked(io)
	s.stuck(io)
}

// asked shows what waits for somebody's word, and what gives it.
func (s *statusShape) asked(io *term.IO) {
	if len(s.Approvals) == 0 {
		return
	}
	_, _ = fmt.Fprintf(io.Out, "\n%s\n", io.Paint(term.Dim, "APPROVALS"))
	for _, a := range s.Approvals[:min(len(s.Approvals), shownAtMost)] {
		if a.Waiting == nil {
			continue // decided at this moment
		}
		_, _ = fmt.Fprintf(io.Out, "  %s at %s: %s\n    %s\n", io.Paint(term.Bold, a.Item.String()), a.Node,
			io.Paint(term.Yellow, term.OneLine(a.Waiting.Message)), a.Waiting.ClearedBy)
	}
	more(io, len(s.Approvals))
}

// stuck shows what only somebody's act lets go, and which: the sentence and the command are too long to
// stand beside each other.
func (s *statusShape) stuck(io *term.IO) {
	all := slices.Concat(s.Blocked, s.Waiting)
	if len(all) == 0 {
		return
	}
	_, _ = fmt.Fprintf(io.Out, "\n%s\n", io.Paint(term.Dim, "STUCK"))
	for _, it := range all[:min(len(all), shownAtMost)] {
		if it.Waiting != nil {
			state := stateCell(it.State)
			_, _ = fmt.Fprintf(io.Out, "  %s %s: %s\n    %s\n", io.Paint(term.Bold, it.Key().String()), io.Paint(state.Style, inWords(it.State)),
				term.OneLine(it.Waiting.Message), it.Waiting.ClearedBy)
		}
	}
	more(io, len(all))
}

func (r runShape) state() string {
	if r.Alive != nil && !*r.Alive && r.Request != "" {
		return r.State + ", its agent is not alive"
	}
	if r.Waiting != "" {
		return r.State + ", its agent waits: " + r.Waiting
	}
	return r.State
}

// depth is a line a family, a column a state that any item is in.
func (s *statusShape) depth() *term.Table {
	var states []string
	for _, st := range stateOrder {
		if slices.ContainsFunc(slices.Collect(maps.Values(s.Queue)), func(m map[string]int) bool { return m[st] > 0 }) {
			states = append(states, st)
		}
	}
	t := term.NewTable(append([]string{"FAMILY"}, upper(states)...)...)
	for _, family := range slices.Sorted(maps.Keys(s.Queue)) {
		row := []any{family}
		for _, st := range states {
			row = append(row, s.Queue[family][st])
		}
		t.Row(row...)
	}
	return t
}

func upper(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = strings.ToUpper(w)
	}
	return out
}
