package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"millrace/cmd/millrace/term"
	"millrace/controllers/approval"
	"millrace/controllers/control"
	"millrace/controllers/intake"
	"millrace/controllers/plan"
	"millrace/reconcile"
	"millrace/schema"
	"millrace/workspace"
)

type diffOptions struct {
	f   *factory
	out output
	ref string
}

// diffShape is what reconciling the declarations would do.
type diffShape struct {
	Changes  []changeShape      `json:"changes"`
	Kept     []keptShape        `json:"kept"` // what differs and stays as it is: holds, edits that wait, what a command ended
	Held     []schema.Key       `json:"held"` // older than the workspace
	Rejected schema.Diagnostics `json:"rejected"`
}

func (c changeShape) name() string {
	if c.Item.ID == "" {
		return c.Path
	}
	return c.Item.String()
}

type changeShape struct {
	Action string     `json:"action"` // admit, replace, cancel, requeue, freeze plan, …
	Item   schema.Key `json:"item,omitzero"`
	Path   string     `json:"path,omitempty"`
	Detail string     `json:"detail,omitempty"`

	Declaration string `json:"declaration,omitempty"`  // file that declares the item
	CommittedBy string `json:"committed_by,omitempty"` // who committed that file as it is
}

func newCmdDiff(f *factory, runF func(*cobra.Command, *diffOptions) error) *cobra.Command {
	o := &diffOptions{f: f}
	cmd := &cobra.Command{
		Use: "diff", Short: "what reconciling the declarations would do; changes nothing", Args: cobra.NoArgs,
		Long: "Say what reconciling the declarations would do to the queue, by asking the controllers that would do it,\n" +
			"and what it would hold or leave as it is.\n" +
			"Exit code 0: nothing; 1: something; 3: some declarations are invalid.",
		Example: "  millrace diff\n  millrace diff --ref origin/main -o markdown",
	}
	o.out.flag(cmd, "markdown")
	cmd.Flags().StringVar(&o.ref, "ref", "", "take declarations and workflow files as of this git revision")
	return leaf(cmd, o, runF, runDiff)
}

func runDiff(cmd *cobra.Command, o *diffOptions) error {
	w, err := o.f.open()
	if err != nil {
		return err
	}
	real := w
	if o.ref != "" {
		dir, err := asOf(cmd.Context(), w, o.ref)
		if dir != "" {
			defer func() { _ = os.RemoveAll(dir) }()
		}
		if err != nil {
			return err
		}
		if w, err = workspace.Open(dir); err != nil {
			return err
		}
	}
	d, err := o.dryRun(cmd.Context(), w)
	if err != nil {
		return err
	}
	if err := d.committers(cmd.Context(), real, o.ref); err != nil {
		return err
	}
	if o.out.Value == "markdown" {
		_, err = io.WriteString(o.f.io.Out, d.markdown())
	} else {
		err = o.f.io.Print(o.out.Value, term.Report{Data: d, Names: names(d.Changes, changeShape.name), Text: func(wide bool) { d.print(o.f, wide) }})
	}
	switch {
	case err != nil:
		return err
	case len(d.Rejected) > 0:
		return silent(exitInvalid)
	case len(d.Changes) > 0, slices.ContainsFunc(d.Kept, func(n keptShape) bool { return n.Action == string(intake.Hold) }):
		return silent(exitDiffers)
	}
	return nil
}

// enough bounds a dry run: controllers that never settle are a defect that the daemon's breaker names.
const enough = 100_000

// dryRun asks the controllers for their mutations and folds them into a copy of the state in memory.
// Where only time is lacking (an absence must last a while before it counts) it does as if it had passed.
func (o *diffOptions) dryRun(ctx context.Context, w *workspace.Workspace) (*diffShape, error) {
	s, err := w.Load()
	if err != nil {
		return nil, err
	}
	obs, err := o.f.observe(ctx, w, s)
	if err != nil {
		return nil, err
	}
	defer func() { _ = obs.Close() }()
	d := &diffShape{Changes: []changeShape{}, Held: []schema.Key{}}
	controllers := []reconcile.Controller{control.New(), plan.New(), intake.New(), approval.New()}
	var passed time.Duration
	for range enough {
		v := obs.View(s)
		v.Now = v.Now.Add(passed)
		m, p := propose(v, controllers)
		if m == nil && len(p.Observe) > 0 {
			obs.Ask(p.Observe)
			if err := obs.Refresh(ctx); err != nil {
				return nil, err
			}
			v = obs.View(s)
			v.Now = v.Now.Add(passed)
			m, p = propose(v, controllers)
		}
		switch {
		case m == nil && p.Settles && p.After > 0:
			passed += p.After
			continue
		case m == nil:
			return d.finish(v), nil
		}
		d.take(m)
		rec := &workspace.Record{Seq: s.Seq + 1, Time: s.Time, Boot: s.Boot, By: m.By, Why: m.Why, Ops: m.Ops, Events: m.Events}
		if err := s.Fold(rec, func(op *workspace.Op) ([]byte, error) { return op.Content(), nil }); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("dry run: the controllers do not settle")
}

// propose asks one controller after the other; without a mutation it tells all that they wait for.
func propose(v *workspace.View, controllers []reconcile.Controller) (*workspace.Mutation, reconcile.Proposal) {
	var all reconcile.Proposal
	for _, c := range controllers {
		p := c.Reconcile(v)
		if p.Mutation != nil {
			return p.Mutation, p
		}
		all.Observe = append(all.Observe, p.Observe...)
		if p.Settles {
			all.Settles, all.After = true, p.After
		}
	}
	return nil, all
}

// actions are the events that change the queue, in the words of a diff.
var actions = map[string]string{
	workspace.EvAdmitted: "admit", workspace.EvReplaced: "replace", workspace.EvPending: "replace later", workspace.EvRequeued: "requeue",
	workspace.EvCancelWanted: "cancel later", workspace.EvCancelled: "cancel", workspace.EvAdopted: "adopt",
	workspace.EvRestored: "restore", workspace.EvPlan: "freeze plan", workspace.EvPaused: "pause", workspace.EvResumed: "resume", workspace.EvHeld: "hold",
	workspace.EvApproved: "approve", workspace.EvDenied: "deny",
}

func (d *diffShape) take(m *workspace.Mutation) {
	for _, e := range m.Events {
		if action, ok := actions[e.Type]; ok {
			d.Changes = append(d.Changes, changeShape{Action: action, Item: e.Item, Path: e.Path, Detail: e.Message})
		}
	}
}

func (d *diffShape) finish(v *workspace.View) *diffShape {
	for k := range v.Hold {
		d.Held = append(d.Held, k)
	}
	slices.SortFunc(d.Held, workspace.CompareKeys)
	for i := range d.Changes {
		if it := v.Items[d.Changes[i].Item]; it != nil && it.Declared != nil {
			d.Changes[i].Declaration = it.Declared.Path
		}
	}
	d.Rejected = rejections(v)
	d.Kept = notes(v, func(a intake.Action) bool { return a.Do != intake.Nothing && a.Do != intake.Reject && !v.Hold[a.Key] })
	return d
}

// committers looks up who stands behind the declarations that change something.
func (d *diffShape) committers(ctx context.Context, w *workspace.Workspace, ref string) error {
	var paths []string
	for _, c := range d.Changes {
		if c.Declaration != "" && !slices.Contains(paths, c.Declaration) {
			paths = append(paths, c.Declaration)
		}
	}
	by, err := w.Committers(ctx, ref, paths)
	if err != nil {
		return err
	}
	for i := range d.Changes {
		d.Changes[i].CommittedBy = by[d.Changes[i].Declaration]
	}
	return nil
}

// said is a change's detail with who stands behind it.
func (c changeShape) said() string {
	if c.CommittedBy == "" {
		return c.Detail
	}
	return c.Detail + "; committed by " + c.CommittedBy
}

func (d *diffShape) table() *term.Table {
	t := term.NewTable("ACTION", "ITEM", "+PATH", "DETAIL")
	for _, c := range d.Changes {
		style := map[string]term.Style{"admit": term.Green, "replace": term.Yellow, "cancel": term.Red}[c.Action]
		t.Row(term.Cell{Text: c.Action, Style: style}, c.Item.String(), c.Path, c.said())
	}
	for _, n := range d.Kept {
		t.Row(term.Cell{Text: n.Action, Style: term.Yellow}, n.Item.String(), n.Path, n.Why)
	}
	return t
}

func (d *diffShape) print(f *factory, wide bool) {
	d.table().Print(f.io, wide)
	section(f.io, "REJECTED", d.Rejected)
	if len(d.Held) > 0 {
		f.say("%d declarations older than the workspace are held; 'millrace queue admit' releases them", len(d.Held))
	}
	if len(d.Changes)+len(d.Rejected)+len(d.Kept) == 0 {
		f.say("nothing to do: what is declared is so")
	}
}

// markdown is made for a pull request's comment.
func (d *diffShape) markdown() string {
	var b strings.Builder
	b.WriteString("### Millrace: what this changes in the queue\n\n")
	if len(d.Changes)+len(d.Rejected)+len(d.Kept) == 0 {
		b.WriteString("Nothing.\n")
	}
	if len(d.Changes)+len(d.Kept) > 0 {
		b.WriteString("| action | item | declaration | |\n|---|---|---|---|\n")
		for _, c := range d.Changes {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", c.Action, cell(c.Item.String()), cell(c.Path), cell(c.said()))
		}
		for _, n := range d.Kept {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", n.Action, cell(n.Item.String()), cell(n.Path), cell(n.Why))
		}
	}
	for i, r := range d.Rejected {
		if i == 0 {
			b.WriteString("\n**Rejected**\n\n")
		}
		fmt.Fprintf(&b, "```\n%s\n```\n", strings.ReplaceAll(r.String(), "```", "'''"))
	}
	if len(d.Held) > 0 {
		fmt.Fprintf(&b, "\n%d declarations older than the workspace are held.\n", len(d.Held))
	}
	return b.String()
}

func cell(s string) string { return strings.ReplaceAll(term.OneLine(s), "|", "\\|") }

// asOf makes a workspace beside the real one: its runtime half as it is, its operator's half as of a
// git revision. The caller removes the folder.
func asOf(ctx context.Context, w *workspace.Workspace, ref string) (dir string, err error) {
	archive := exec.CommandContext(ctx, "git", "-C", w.Project, "archive", "--format=tar", ref, "--", workspace.Folder)
	var stderr bytes.Buffer
	archive.Stderr = &stderr
	files, err := archive.Output()
	if err != nil {
		return "", &failure{exitUsage, fmt.Errorf("read revision %s: %s", ref, orElse(strings.TrimSpace(stderr.String()), err.Error())),
			"name a revision of this project's git that has " + workspace.Folder}
	}
	if dir, err = os.MkdirTemp("", "millrace-diff-"); err != nil {
		return "", err
	}
	to := filepath.Join(dir, workspace.Folder)
	if err := copyRuntime(w.Dir, to); err != nil {
		return dir, fmt.Errorf("copy workspace: %w", err)
	}
	return dir, extract(files, dir)
}

// operatorHalf are the entries of a workspace that git tracks.
var operatorHalf = append([]string{workspace.IntakeDir, "modes", "graphs", "stages", "families", "entrypoints", "skills", "outline.md"}, workspace.ConfigNames...)

func copyRuntime(from, to string) error {
	return filepath.WalkDir(from, func(at string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, at)
		if err != nil {
			return err
		}
		if slices.Contains(operatorHalf, rel) || rel == workspace.RunsDir {
			return pick2(e.IsDir(), fs.SkipDir, nil)
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o777)
		}
		if !e.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(at)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o666)
	})
}

func extract(files []byte, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	for r := tar.NewReader(bytes.NewReader(files)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(r)
		if err == nil {
			err = root.MkdirAll(filepath.Dir(h.Name), 0o777)
		}
		if err == nil {
			err = root.WriteFile(h.Name, data, 0o666)
		}
		if err != nil {
			return fmt.Errorf("extract %s: %w", h.Name, err)
		}
	}
}
