package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"millrace/cmd/millrace/term"
	"millrace/schema"
	"millrace/workspace"
)

// statusShape is the state of a workspace at a glance.
type statusShape struct {
	SchemaVersion int                          `json:"schema_version"`
	Workspace     string                       `json:"workspace"`
	Time          time.Time                    `json:"time"`
	Seq           uint64                       `json:"seq"` // last journal record
	Daemon        daemonShape                  `json:"daemon"`
	Plan          planShape                    `json:"plan"`
	Conditions    []workspace.Condition        `json:"conditions,omitempty"` // troubles that the daemon lives with
	Pauses        map[string]schema.Pause      `json:"pauses,omitempty"`
	Stop          *schema.Stop                 `json:"stop,omitempty"`
	Planes        []planeShape                 `json:"planes"`
	Runs          []runShape                   `json:"runs"`
	Queue         map[string]map[string]int    `json:"queue"`     // family → state → items
	Approvals     []approvalShape              `json:"approvals"` // that runs wait for
	Blocked       []itemShape                  `json:"blocked"`
	Closure       *closureShape                `json:"closure,omitempty"` // the open target, else the one judged last
	Waiting       []itemShape                  `json:"stalled"`           // queued, and only somebody's act lets them go
	Rejected      schema.Diagnostics           `json:"rejected"`
	Unseen        schema.Diagnostics           `json:"unseen,omitempty"` // what cannot be looked at
	Held          heldShape                    `json:"held"`
	Standing      []keptShape                  `json:"declarations,omitempty"` // of items: prunes that are held, declarations that broke
	Runners       map[string]schema.RunnerWait `json:"runners,omitempty"`
	Hands         []handShape                  `json:"hands,omitempty"`
	LastFailure   *failureShape                `json:"last_failure,omitempty"`
	LastOperator  *interventionShape           `json:"last_intervention,omitempty"`
}

type daemonShape struct {
	Running bool `json:"running"`
	*workspace.DaemonInfo
}

type planShape struct {
	ID      schema.Digest      `json:"id,omitempty"`
	Mode    string             `json:"mode,omitempty"`
	Current bool               `json:"current"`           // the inputs compile to it
	Pending schema.Digest      `json:"pending,omitempty"` // what they compile to instead
	Diags   schema.Diagnostics `json:"diagnostics,omitempty"`
}

type planeShape struct {
	Plane   string          `json:"plane"`
	Running []schema.Key    `json:"running"`
	Waiting *schema.Waiting `json:"waiting,omitempty"`
}

type heldShape struct {
	Declarations []schema.Key                 `json:"declarations,omitempty"`
	Changes      map[string]schema.HeldChange `json:"changes,omitempty"`
}

type failureShape struct {
	Item schema.Key `json:"item"`
	schema.Outcome
}

// handShape is something that a person did in the runtime's folders.
type handShape struct {
	Path    string     `json:"path"`
	What    string     `json:"what"` // moved, edited, copied, deleted, foreign
	Item    schema.Key `json:"item"`
	Message string     `json:"message"`
	Repair  string     `json:"repair"`
}

type interventionShape struct {
	Item schema.Key `json:"item"`
	schema.Note
}

type statusOptions struct {
	f          *factory
	out        output
	workspaces []string
	interval   time.Duration
	max        int
}

func newCmdStatus(f *factory) *cobra.Command {
	cmd := newCmdStatusShow(f, nil)
	cmd.AddCommand(newCmdStatusShow(f, nil), newCmdStatusWatch(f, nil))
	cmd.Use, cmd.Example = "status", "  millrace status\n  millrace status -o json | jq .planes\n  millrace status watch --interval 5s"
	return cmd
}

func newCmdStatusShow(f *factory, runF func(*cobra.Command, *statusOptions) error) *cobra.Command {
	o := &statusOptions{f: f}
	cmd := &cobra.Command{Use: "show", Short: "what runs, what waits and why, what needs somebody", Args: cobra.NoArgs}
	o.out.flag(cmd)
	return leaf(cmd, o, runF, runStatus)
}

func runStatus(cmd *cobra.Command, o *statusOptions) error {
	s, err := gather(cmd.Context(), o.f)
	if err != nil {
		return err
	}
	return o.f.io.Print(o.out.Value, term.Report{Data: s, Names: []string{s.Workspace}, Text: func(wide bool) { s.print(o.f.io, wide) }})
}

func newCmdStatusWatch(f *factory, runF func(*cobra.Command, *statusOptions) error) *cobra.Command {
	o := &statusOptions{f: f}
	cmd := &cobra.Command{Use: "watch", Short: "print the status again whenever it changes", Args: cobra.NoArgs}
	o.out.flag(cmd)
	cmd.Flags().StringArrayVarP(&o.workspaces, "watch", "w", nil, "project folder to watch (may be repeated)")
	cmd.Flags().DurationVar(&o.interval, "interval", 2*time.Second, "how often to look")
	cmd.Flags().IntVar(&o.max, "max-updates", 0, "end after so many (0: never)")
	return leaf(cmd, o, runF, runStatusWatch)
}

func runStatusWatch(cmd *cobra.Command, o *statusOptions) error {
	if o.interval < 50*time.Millisecond {
		return usage("like --interval 5s", "an interval of %v is too short", o.interval)
	}
	if len(o.workspaces) == 0 {
		o.workspaces = []string{o.f.dir}
	}
	last := map[string][]byte{}
	for shown := 0; ; {
		for _, dir := range o.workspaces {
			f := *o.f
			f.dir = dir
			s, err := gather(cmd.Context(), &f)
			if err != nil {
				return err
			}
			if fresh, err := changed(last, dir, s); err != nil || !fresh {
				if err != nil {
					return err
				}
				continue
			}
			if err := o.update(s, shown == 0); err != nil {
				return err
			}
			if shown++; shown == o.max {
				return nil
			}
		}
		if err := sleep(cmd.Context(), o.interval); err != nil {
			return nil // interrupting a watch is its normal end
		}
	}
}

// changed compares a status with the last one shown, times aside.
func changed(last map[string][]byte, dir string, s *statusShape) (bool, error) {
	c := *s
	c.Time = time.Time{}
	c.Runs = slices.Clone(c.Runs)
	for i := range c.Runs {
		c.Runs[i].Elapsed = 0
	}
	data, err := json.Marshal(c)
	if err != nil || bytes.Equal(last[dir], data) {
		return false, err
	}
	last[dir] = data
	return true, nil
}

func (o *statusOptions) update(s *statusShape, first bool) error {
	if o.out.Value == "json" { // one line each, for programs that read as it comes
		data, err := json.Marshal(s)
		if err != nil {
			return fmt.Errorf("encode status: %w", err)
		}
		_, err = o.f.io.Out.Write(append(data, '\n'))
		return err
	}
	if o.f.io.TTY() && len(o.workspaces) == 1 {
		_, _ = fmt.Fprint(o.f.io.Out, "\x1b[H\x1b[2J")
	} else if !first {
		_, _ = fmt.Fprintln(o.f.io.Out, pick2(o.out.Value == "yaml", "---", ""))
	}
	return o.f.io.Print(o.out.Value, term.Report{Data: s, Names: []string{s.Workspace}, Text: func(wide bool) { s.print(o.f.io, wide) }})
}

// gather reads everything a status says.
func gather(ctx context.Context, f *factory) (*statusShape, error) {
	w, v, err := f.look(ctx)
	if err != nil {
		return nil, err
	}
	info, held := w.Daemon()
	s := &statusShape{
		SchemaVersion: schema.Version, Workspace: w.Project, Time: f.io.Now().UTC(), Seq: v.Seq,
		Daemon: daemonShape{Running: held}, Conditions: v.Troubles, Pauses: v.Control.Pauses, Stop: v.Control.Stop,
		Runners: v.Control.Runners, Queue: map[string]map[string]int{}, Runs: []runShape{}, Blocked: []itemShape{}, Waiting: []itemShape{},
		Plan: planShape{ID: v.Control.Plan, Mode: v.Control.Mode, Current: current(v), Diags: v.Compiled.Diags},
		Held: heldShape{Changes: v.Control.Held},
	}
	if held {
		s.Daemon.DaemonInfo = info
	}
	if !s.Plan.Current && v.Compiled.Plan != nil {
		s.Plan.Pending = v.Compiled.Digest
	}
	for _, r := range v.ActiveRuns() {
		s.Runs = append(s.Runs, runOf(v, r, f.io.Now()))
	}
	s.planes(v)
	s.items(v)
	s.closure(v)
	s.Approvals = pendings(v)
	s.Rejected, s.Standing, s.Unseen = rejections(v), standing(v), v.Notices
	for k := range v.Hold {
		s.Held.Declarations = append(s.Held.Declarations, k)
	}
	slices.SortFunc(s.Held.Declarations, workspace.CompareKeys)
	for _, h := range v.Hands {
		what, repair := v.Words(h)
		s.Hands = append(s.Hands, handShape{h.Path, h.What, h.Key, what, repair})
	}
	return s, nil
}

func (s *statusShape) planes(v *workspace.View) {
	p := v.CurrentPlan()
	if p == nil {
		p = v.Compiled.Plan
	}
	var planes []string
	if p != nil {
		planes = slices.Sorted(maps.Keys(p.Graphs))
	}
	for _, plane := range planes {
		ps := planeShape{Plane: plane, Running: []schema.Key{}, Waiting: v.Idle(plane)}
		for _, r := range v.ActiveRuns() {
			if r.Plane == plane && r.Request != "" {
				ps.Running = append(ps.Running, r.Item)
			}
		}
		s.Planes = append(s.Planes, ps)
	}
}

func (s *statusShape) items(v *workspace.View) {
	for _, it := range pick(v, func(*schema.Item) bool { return true }) {
		if s.Queue[it.Family] == nil {
			s.Queue[it.Family] = map[string]int{}
		}
		s.Queue[it.Family][it.State]++
		switch it.State {
		case schema.StateBlocked:
			s.Blocked = append(s.Blocked, shape(v, it))
		case schema.StateQueue:
			if w := stuck(v, it); w != nil {
				s.Waiting = append(s.Waiting, itemShape{it, outdated(v, it), w})
			}
		}
		if o := it.Last; o != nil && o.Failure != "" && o.Failure != schema.FailCancelled && (s.LastFailure == nil || o.At.After(s.LastFailure.At)) {
			s.LastFailure = &failureShape{it.Key(), *o}
		}
		for _, n := range it.Notes {
			if n.By == "command" && (s.LastOperator == nil || n.At.After(s.LastOperator.At)) {
				s.LastOperator = &interventionShape{it.Key(), n}
			}
		}
	}
}

// closure finds the target that is open, else the one that was judged last.
func (s *statusShape) closure(v *workspace.View) {
	it := v.OpenTarget()
	if it == nil {
		for _, t := range v.Items {
			if t.Family == schema.FamilyTarget && (it == nil || t.EndedSeq > it.EndedSeq) {
				it = t
			}
		}
	}
	if it != nil {
		c := closureOf(v, it)
		s.Closure = &c
	}
}

// stuck is what of a queued item's own obstacles somebody must act on, whatever else there is.
func stuck(v *workspace.View, it *schema.Item) *schema.Waiting {
	if len(v.Unmet(it)) == 0 && taken(v.CurrentPlan(), it.Family) {
		return nil // what concerns all alike is told once
	}
	for _, w := range v.Obstacles(it.Key()) {
		if w.Stalled && (w.Reason == workspace.WaitDependency || w.Reason == workspace.WaitNoGraph) {
			return &w
		}
	}
	return nil
}

// taken reports whether the plan has a graph that takes items of a family; without a plan nobody knows.
func taken(p *schema.Plan, family string) bool {
	if p == nil {
		return true
	}
	for _, g := range p.Graphs {
		if slices.Contains(g.Claim, family) {
			return true
		}
	}
	return false
}

// rejections are the diagnostics of declarations that are not valid.
func rejections(v *workspace.View) schema.Diagnostics {
	all := schema.Diagnostics{}
	if v.Intake == nil {
		return all
	}
	for _, f := range v.Intake.Files {
		for _, d := range f.Diags {
			if d.Severity != schema.Warning {
				all = append(all, d)
			}
		}
	}
	all = append(all, refusals(v)...)
	slices.SortStableFunc(all, func(a, b schema.Diagnostic) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line))
	})
	return all
}
