package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"millrace/cmd/millrace/term"
	"millrace/controllers/intake"
	"millrace/schema"
	"millrace/workspace"
)

func newCmdIntake(f *factory) *cobra.Command {
	return group("intake", "declarations: list them, accept held changes", newCmdIntakeLs(f, nil), newCmdIntakeAccept(f, nil))
}

type intakeOptions struct {
	f     *factory
	out   output
	paths []string
	ids   []string
	all   bool
	done  bool
}

// declarationShape is one declared document, or a file that holds none.
type declarationShape struct {
	Path        string             `json:"path"`
	Line        int                `json:"line,omitempty"`
	Item        schema.Key         `json:"item,omitzero"`
	Status      string             `json:"status"`          // admitted, outdated, held, rejected, settling, pending, applied, not asked for
	State       string             `json:"state,omitempty"` // of the admitted item
	Why         string             `json:"why,omitempty"`   // of the status
	Waiting     *schema.Waiting    `json:"waiting,omitempty"`
	Diagnostics schema.Diagnostics `json:"diagnostics,omitempty"`
}

func newCmdIntakeLs(f *factory, runF func(*cobra.Command, *intakeOptions) error) *cobra.Command {
	o := &intakeOptions{f: f}
	cmd := &cobra.Command{Use: "ls", Short: "declarations: admitted, outdated, held, rejected with the diagnosis", Args: cobra.NoArgs}
	o.out.flag(cmd)
	return leaf(cmd, o, runF, runIntakeLs)
}

func runIntakeLs(cmd *cobra.Command, o *intakeOptions) error {
	_, v, err := o.f.look(cmd.Context())
	if err != nil {
		return err
	}
	acts := map[schema.Key]intake.Action{}
	for a := range intake.Walk(v) {
		acts[a.Key] = a
	}
	all := []declarationShape{}
	for _, path := range slices.Sorted(maps.Keys(v.Intake.Files)) {
		all = append(all, declarationsOf(v, v.Intake.Files[path], acts)...)
	}
	var names []string
	for _, d := range all {
		names = append(names, d.Path)
	}
	return o.f.io.Print(o.out.Value, term.Report{Data: all, Names: slices.Compact(names), Text: func(wide bool) {
		t := term.NewTable("DECLARATION", "ITEM", "STATUS", "STATE", "WHY")
		var diags schema.Diagnostics
		for _, d := range all {
			style := map[string]term.Style{"rejected": term.Red, "held": term.Yellow, "outdated": term.Yellow, "admitted": term.Green, "pending": term.Cyan}[d.Status]
			t.Row(d.Path, d.Item.String(), term.Cell{Text: d.Status, Style: style}, d.State, d.Why)
			diags = append(diags, d.Diagnostics...)
		}
		t.Print(o.f.io, wide)
		for _, d := range diags {
			_, _ = fmt.Fprintf(o.f.io.Out, "\n%s\n", d)
		}
		if len(all) == 0 {
			o.f.say("nothing is declared; drop a file into %s/%s/", workspace.Folder, workspace.IntakeDir)
		}
	}})
}

// declined is what the declaration table does not admit, and why.
func declined(v *workspace.View) map[schema.Key]schema.Waiting {
	all := map[schema.Key]schema.Waiting{}
	for a := range intake.Walk(v) {
		w := schema.Waiting{Message: a.Why}
		switch a.Do {
		case intake.Reject:
			w.Reason, w.Stalled, w.ClearedBy = workspace.WaitRejected, true, "a change of its declaration"
			if a.Declared != nil {
				w.ClearedBy = fmt.Sprintf("a change of %s:%d", a.Declared.Path, a.Declared.Line)
			}
		case intake.Hold:
			w.Reason, w.ClearedBy = workspace.WaitHeld, "time"
			if !a.Until.IsZero() {
				w.Until = &a.Until
			} else if w.ClearedBy = "what it says"; v.Hold[a.Key] {
				w.Stalled, w.ClearedBy = true, "millrace queue admit "+a.Key.ID
			} else if a.Declared == nil {
				w.ClearedBy = fmt.Sprintf("its declaration coming back; 'millrace queue cancel %s --reason …' ends it", a.Key.ID)
			} else if v.Control.Held[a.Declared.Path].During != "" {
				w.Stalled, w.ClearedBy = true, "a commit, or millrace intake accept "+a.Declared.Path
			}
		default:
			continue
		}
		all[a.Key] = w
	}
	return all
}

// refusals are the table's rejections as diagnostics: what only shows among all declarations.
func refusals(v *workspace.View) schema.Diagnostics {
	var ds schema.Diagnostics
	for a := range intake.Walk(v) {
		if a.Do == intake.Reject && a.Declared != nil {
			ds = append(ds, schema.Diagnostic{Severity: schema.Error, Path: a.Declared.Path, Line: a.Declared.Line,
				Subject: fmt.Sprintf("%s %q", a.Key.Family, a.Key.ID), Message: a.Why})
		}
	}
	return append(ds, contradictions(v)...)
}

func declarationsOf(v *workspace.View, f *workspace.IntakeFile, acts map[schema.Key]intake.Action) []declarationShape {
	var all []declarationShape
	for _, d := range f.Docs {
		s := declarationShape{Path: f.Path, Line: d.Line, Item: d.Key}
		s.judge(v, d, acts[d.Key])
		if h, held := v.Control.Held[f.Path]; held {
			s.Status = "held"
			if s.Why == "" || d.Key.Family == schema.KindApproval {
				s.Why = fmt.Sprintf("changed during %s: commit it, or millrace intake accept %s", h.During, f.Path)
			}
		}
		all = append(all, s)
	}
	switch {
	case f.Settling:
		all = append(all, declarationShape{Path: f.Path, Status: "settling"})
	case f.Diags.HasErrors():
		all = append(all, declarationShape{Path: f.Path, Status: "rejected", Diagnostics: f.Diags})
		for _, k := range v.DeclaredIn(f.Path) {
			if a := acts[k]; a.Do == intake.Keep {
				all = append(all, declarationShape{Path: f.Path, Item: k, Status: "rejected", State: v.Items[k].State, Why: a.Why})
			}
		}
	case len(f.Diags) > 0 && len(all) > 0:
		all[0].Diagnostics = f.Diags
	}
	return all
}

// judge says what became of a declared document.
func (s *declarationShape) judge(v *workspace.View, d workspace.Declared, a intake.Action) {
	switch d.Key.Family {
	case schema.KindControl:
		s.Status = "applied"
		return
	case schema.KindApproval:
		s.decision(v, d)
		return
	}
	it := v.Items[d.Key]
	if it != nil {
		s.State = it.State
	}
	s.Why = a.Why
	switch a.Do {
	case intake.Reject:
		s.Status = "rejected"
	case intake.Hold:
		s.Status = "held"
	case intake.Nothing, intake.Stay, intake.Relocate, intake.Recall:
		s.Status = "admitted"
	case intake.Admit:
		s.Status = "pending"
	default:
		s.Status = "outdated"
	}
	if it == nil {
		s.Waiting = v.Waiting(d.Key)
	}
}

// decision says what became of a declared decision.
func (s *declarationShape) decision(v *workspace.View, d workspace.Declared) {
	said := &schema.Approval{}
	if d.Doc == nil || d.Doc.Decode(said) != nil {
		s.Status = "settling"
		return
	}
	if r := v.Ruling(d.Key.ID); r != nil {
		s.Status = pick2(r.Decision == said.Decision, "applied", "outdated")
		if s.Why = ""; r.Decision != said.Decision {
			s.Why = fmt.Sprintf("it was %s by %s before", r.Word(), r.By)
		}
		return
	}
	count, _ := v.Decisions(d.Key.ID)
	switch other := workspace.Contradiction(count); {
	case v.AskedFor(d.Key.ID) == nil:
		s.Status, s.Why = "not asked for", "no run waits for this approval"
	case other != nil:
		s.Status, s.Why = "rejected", contradiction(count, d.Path)
	default:
		s.Status, s.Why = "pending", "about to be taken up"
	}
}

// contradiction says of one of several decisions of an approval which other says something else.
func contradiction(all []workspace.Said, path string) string {
	i := slices.IndexFunc(all, func(s workspace.Said) bool { return s.Path == path })
	for _, s := range all {
		if i >= 0 && s.Decision != all[i].Decision {
			return fmt.Sprintf("says %s, and %s says %s", all[i].Decision, s.Path, s.Decision)
		}
	}
	return ""
}

// contradictions are decisions that reject each other.
func contradictions(v *workspace.View) schema.Diagnostics {
	var ds schema.Diagnostics
	for _, r := range v.ActiveRuns() {
		if r.Approval == nil {
			continue
		}
		count, _ := v.Decisions(r.Approval.ID)
		for _, s := range count {
			if why := contradiction(count, s.Path); why != "" {
				ds = append(ds, schema.Diagnostic{Severity: schema.Error, Path: s.Path, Line: s.Line,
					Subject: fmt.Sprintf("%s %q", schema.KindApproval, r.Approval.ID), Message: why, Hint: "change or remove one of them"})
			}
		}
	}
	return ds
}

func newCmdIntakeAccept(f *factory, runF func(*cobra.Command, *intakeOptions) error) *cobra.Command {
	o := &intakeOptions{f: f}
	cmd := &cobra.Command{Use: "accept PATH…", Short: "vouch for files that changed while an agent could have written them", Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			_, v, err := f.state()
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return slices.Sorted(maps.Keys(v.Control.Held)), cobra.ShellCompDirectiveNoFileComp
		}}
	return leaf(cmd, o, runF, runIntakeAccept, func(args []string) { o.paths = args })
}

func runIntakeAccept(cmd *cobra.Command, o *intakeOptions) error {
	if err := o.f.operator(cmd); err != nil {
		return err
	}
	w, err := o.f.open()
	if err != nil {
		return err
	}
	s, err := w.Load()
	if err != nil {
		return err
	}
	digests := map[string]schema.Digest{}
	for _, p := range o.paths {
		rel, err := o.relative(w, s, p)
		if err != nil {
			return err
		}
		if digests[rel], err = w.Digest(rel); err != nil {
			return fmt.Errorf("read %s: %w", rel, err)
		}
	}
	_, err = o.f.change(cmd, w, "accepted "+strings.Join(slices.Sorted(maps.Keys(digests)), ", "), func(v *workspace.View, m *workspace.Mutation) error {
		c := v.Control.Clone()
		if c.Accepted == nil {
			c.Accepted = map[string]schema.Digest{}
		}
		for _, rel := range slices.Sorted(maps.Keys(digests)) {
			if _, held := c.Held[rel]; !held {
				return refused("'millrace status' shows what is held", "%s is not held", rel)
			}
			delete(c.Held, rel)
			c.Accepted[rel] = digests[rel]
			m.Expect = append(m.Expect, workspace.Input{Path: rel, Digest: digests[rel]})
			m.Tell(workspace.Event{Type: workspace.EvAccepted, Path: rel})
		}
		m.PutControl(c)
		return nil
	})
	if err != nil {
		return err
	}
	for _, rel := range slices.Sorted(maps.Keys(digests)) {
		o.f.say("accepted %s", rel)
	}
	_, err = o.f.settle(cmd.Context(), w, func(*workspace.State) bool { return true })
	return err
}

// relative takes a path as people type it: below the workspace folder, the project, or where they are.
// A file that was deleted is held as well.
func (o *intakeOptions) relative(w *workspace.Workspace, s *workspace.State, p string) (string, error) {
	for _, at := range []string{within(w, p), filepath.Join(w.Project, p), p} {
		abs, err := filepath.Abs(at)
		if err != nil {
			return "", err
		}
		rel, err := filepath.Rel(w.Dir, abs)
		if err != nil || !filepath.IsLocal(rel) {
			continue
		}
		rel = filepath.ToSlash(rel)
		if _, held := s.Control.Held[rel]; held {
			return rel, nil
		}
		if _, err := os.Lstat(abs); err == nil {
			return rel, nil
		}
	}
	return "", usage("'millrace status' shows what is held", "there is no file %s in the workspace", p)
}
