package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"millrace/cmd/millrace/term"
	"millrace/schema"
	"millrace/workspace"
)

type whyOptions struct {
	f        *factory
	out      output
	id, kind string
}

// whyShape is the answer to one "why": of an item or of a plane.
type whyShape struct {
	Subject string           `json:"subject"`
	State   string           `json:"state,omitempty"`
	Waiting []schema.Waiting `json:"waiting"` // the true blocker first; empty: nothing is in the way

	Declaration *keptShape `json:"declaration,omitempty"` // how its declaration and the item differ
}

func newCmdWhy(f *factory, runF func(*cobra.Command, *whyOptions) error) *cobra.Command {
	o := &whyOptions{f: f}
	cmd := &cobra.Command{Use: "why [ID]", Short: "the true reason why an item does not run, or nothing does", Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: f.items(schema.StateQueue, schema.StateActive, schema.StateBlocked)}
	o.out.flag(cmd)
	f.ambiguous(cmd, &o.kind, "kind")
	return leaf(cmd, o, runF, runWhy, func(args []string) {
		if len(args) > 0 {
			o.id = args[0]
		}
	})
}

func runWhy(cmd *cobra.Command, o *whyOptions) error {
	_, v, err := o.f.look(cmd.Context())
	if err != nil {
		return err
	}
	if o.id != "" {
		one, err := o.item(v)
		if err != nil {
			return err
		}
		return o.f.io.Print(o.out.Value, reportOf(one, func() { one.print(o.f.io) }, one.Subject))
	}
	var s statusShape
	s.planes(v)
	answers := []whyShape{}
	for _, p := range s.Planes {
		a := whyShape{Subject: p.Plane, State: "running", Waiting: agents(v, p.Running)}
		if all := v.IdleObstacles(p.Plane); len(all) > 0 {
			a.State, a.Waiting = "idle", all
		}
		answers = append(answers, a)
	}
	if len(s.Planes) == 0 {
		answers = append(answers, whyShape{Subject: "workspace", State: "idle", Waiting: v.Standing()})
	}
	return o.f.io.Print(o.out.Value, reportOf(answers, func() {
		for _, a := range answers {
			a.print(o.f.io)
		}
		o.besides(v)
	}, names(answers, func(a whyShape) string { return a.Subject })...))
}

// agents are the waits of agents that run: their planes are not idle, and yet nothing goes on there.
func agents(v *workspace.View, running []schema.Key) []schema.Waiting {
	waits := []schema.Waiting{}
	for _, k := range running {
		for _, w := range v.Obstacles(k) {
			if w.Reason == workspace.WaitAgent {
				w.Message = k.String() + ": " + w.Message
				waits = append(waits, w)
			}
		}
	}
	return waits
}

// besides tells what lies in the way of work that is not even queued.
func (o *whyOptions) besides(v *workspace.View) {
	if n := len(v.Hold); n > 0 {
		o.f.say("held, because older than this workspace: %s; 'millrace queue admit --all' runs them", some(n, "declaration"))
	}
	if n := len(rejections(v)); n > 0 {
		o.f.say("rejected declarations, with %s: 'millrace intake ls' shows them", some(n, "error"))
	}
}

// item answers for an item, or for a declaration that has not become one.
func (o *whyOptions) item(v *workspace.View) (*whyShape, error) {
	it, err := find(v.State, o.id, o.kind)
	if err == nil {
		return &whyShape{it.Key().String(), it.State, orEmpty(v.Obstacles(it.Key())), note(v, it.Key())}, nil
	}
	if len(v.Find(o.id)) > 1 {
		return nil, err
	}
	for _, k := range o.keys(v) {
		if w := v.Obstacles(k); len(w) > 0 && w[0].Reason != workspace.WaitUnknown {
			return &whyShape{Subject: k.String(), State: "not admitted", Waiting: w}, nil
		}
	}
	return nil, err
}

func orEmpty(w []schema.Waiting) []schema.Waiting {
	if w == nil {
		return []schema.Waiting{}
	}
	return w
}

// keys are what an id that is no item may stand for.
func (o *whyOptions) keys(v *workspace.View) []schema.Key {
	family, id, ok := strings.Cut(o.id, "/")
	if ok {
		return []schema.Key{{Family: family, ID: id}}
	}
	var keys []schema.Key
	for f := range v.Families() {
		if o.kind == "" || o.kind == f {
			keys = append(keys, schema.Key{Family: f, ID: o.id})
		}
	}
	return keys
}

func (a *whyShape) print(io *term.IO) {
	_, _ = fmt.Fprintf(io.Out, "%s %s\n", io.Paint(term.Bold, a.Subject), a.State)
	if len(a.Waiting) == 0 && (a.State == schema.StateQueue || a.State == schema.StateActive) {
		_, _ = fmt.Fprintln(io.Out, "  nothing is in its way")
	}
	for i, w := range a.Waiting {
		_, _ = fmt.Fprintf(io.Out, "  %s%s\n", pick2(i == 0, "", "and then: "), sentence(io, w))
		_, _ = fmt.Fprintf(io.Out, "    %s %s\n", io.Paint(term.Dim, "cleared by:"), w.ClearedBy)
	}
	if n := a.Declaration; n != nil {
		_, _ = fmt.Fprintf(io.Out, "  %s\n", io.Paint(term.Yellow, n.Action+": "+n.Why))
		section(io, "REJECTED", n.Diagnostics)
	}
}
