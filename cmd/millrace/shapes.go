package main

import (
	"cmp"
	"slices"
	"time"

	"millrace/cmd/millrace/term"
	"millrace/schema"
	"millrace/workspace"
)

// The shapes of this file are what -o json and -o yaml print; docs/json-output.md is their contract.

// itemShape is an item with why it does not move.
type itemShape struct {
	*schema.Item
	Outdated bool            `json:"outdated,omitempty"` // its declaration has been edited since
	Waiting  *schema.Waiting `json:"waiting,omitempty"`
}

func shape(v *workspace.View, it *schema.Item) itemShape {
	return itemShape{it, outdated(v, it), v.Waiting(it.Key())}
}

// outdated reports whether the item's declaration says something newer than what was admitted.
func outdated(v *workspace.View, it *schema.Item) bool {
	if it.Declared == nil {
		return false
	}
	if it.Declared.Pending != "" {
		return true
	}
	if v.Intake == nil {
		return false
	}
	found := v.Intake.ByKey[it.Key()]
	return len(found) == 1 && found[0].Digest != it.Declared.Digest
}

// select picks items and sorts them by family, then by what moves first.
func pick(v *workspace.View, keep func(*schema.Item) bool) []*schema.Item {
	var items []*schema.Item
	for _, it := range v.Items {
		if keep(it) {
			items = append(items, it)
		}
	}
	slices.SortFunc(items, func(a, b *schema.Item) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(stateRank(a.State), stateRank(b.State)),
			cmp.Compare(b.Priority, a.Priority), a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return items
}

var stateOrder = []string{schema.StateActive, schema.StateOpen, schema.StateQueue, schema.StateBlocked, schema.StateDone, schema.StateCancelled, schema.StateSuperseded}

func stateRank(state string) int {
	if i := slices.Index(stateOrder, state); i >= 0 {
		return i
	}
	return len(stateOrder)
}

func stateCell(state string) term.Cell {
	style := map[string]term.Style{schema.StateActive: term.Cyan, schema.StateBlocked: term.Red, schema.StateDone: term.Green}[state]
	if schema.Ended(state) && state != schema.StateDone {
		style = term.Dim
	}
	return term.Cell{Text: state, Style: style}
}

// conditions says in a few words what is to be known of an item beside its state.
func conditions(v *workspace.View, it *schema.Item) string {
	var text string
	switch w := v.Waiting(it.Key()); {
	case w != nil:
		text = w.Message
	case it.State == schema.StateActive && v.RunOf(it) != nil:
		text = "at " + v.RunOf(it).Node
	case it.State == schema.StateQueue:
		text = "next"
	case schema.Ended(it.State) && it.EndedBy != "" && it.EndedBy != "run":
		text = "by " + it.EndedBy
	}
	if outdated(v, it) {
		text = join(text, "its declaration was edited since")
	}
	if it.Declared != nil && it.Declared.Absent != nil && !schema.Ended(it.State) {
		text = join(text, "its declaration is gone")
	}
	return text
}

// some counts things: 1 file, 2 files.
func some(n int, what string) string { return sprintf("%d %s%s", n, what, pick2(n == 1, "", "s")) }

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

// runShape is a run with what it cost so far.
type runShape struct {
	*schema.Run
	Tokens  *int64          `json:"tokens,omitempty"`          // of its stages so far; absent: unknown
	AtLeast bool            `json:"tokens_at_least,omitempty"` // what some stage of it used is unknown, or known in part
	Elapsed schema.Duration `json:"elapsed"`
	Alive   *bool           `json:"alive,omitempty"`   // its request's supervisor holds its lock
	Waiting string          `json:"waiting,omitempty"` // what its agent waits for now
}

func runOf(v *workspace.View, r *schema.Run, now time.Time) runShape {
	s := runShape{Run: r}
	s.Tokens, s.AtLeast = tokens(r)
	end := r.Ended
	if end.IsZero() {
		end = now
	}
	s.Elapsed = schema.Duration(end.Sub(r.Started).Round(time.Millisecond))
	if v != nil && r.Request != "" && v.Requests[r.Request] != nil {
		s.Alive, s.Waiting = &v.Requests[r.Request].Alive, v.Requests[r.Request].Waits
	}
	return s
}

// tokens are those of a run's stages as far as they are known, and whether they are more than that. Where no agent was
// started none were used; what a lost request used after it was last heard of nobody knows.
func tokens(r *schema.Run) (sum *int64, atLeast bool) {
	for i := range r.Steps {
		s := &r.Steps[i]
		if s.Tokens == nil && s.Started.IsZero() {
			continue
		}
		atLeast = atLeast || !s.Tokens.Known() || s.Lost()
		if s.Tokens == nil {
			continue
		}
		if sum == nil {
			sum = new(int64)
		}
		*sum += s.Tokens.Total()
	}
	return sum, atLeast && sum != nil
}

// used shows what a run's stages used: "≥12.3k" when that is not all.
func (r runShape) used() string { return pick2(r.AtLeast, "≥", "") + count(r.Tokens) }

// usedBy shows what one stage used.
func usedBy(s schema.Step) string {
	one, atLeast := tokens(&schema.Run{Steps: []schema.Step{s}})
	return pick2(atLeast, "≥", "") + count(one)
}

// count shows a number of tokens: 950, 12.3k, 1.4M; "-" when unknown.
func count(n *int64) string {
	switch {
	case n == nil:
		return "-"
	case *n < 1000:
		return sprint(*n)
	case *n < 1_000_000:
		return sprintf("%.1fk", float64(*n)/1000)
	}
	return sprintf("%.1fM", float64(*n)/1_000_000)
}

// current reports whether the current plan is what its inputs compile to now.
func current(v *workspace.View) bool {
	return v.Control.Plan != "" && v.Compiled.Digest == v.Control.Plan
}
