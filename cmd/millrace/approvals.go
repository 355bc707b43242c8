package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"millrace/cmd/millrace/term"
	"millrace/schema"
	"millrace/schema/document"
	"millrace/workspace"
)

func newCmdApprovals(f *factory) *cobra.Command {
	return group("approvals", "what waits for your word: list, show, approve, deny", newCmdApprovalsLs(f, nil), newCmdApprovalsShow(f, nil),
		newCmdDecide(f, schema.DecisionApprove, nil), newCmdDecide(f, schema.DecisionDeny, nil))
}

// approvalShape is an approval with why it is not decided, and what there is to look at first.
type approvalShape struct {
	*schema.Pending
	Evidence []string        `json:"evidence,omitempty"` // what the stages before it wrote, of each file the last one
	Waiting  *schema.Waiting `json:"waiting,omitempty"`  // of a pending one
}

type approvalsOptions struct {
	f        *factory
	out      output
	all      bool
	id       string
	decision string
	by       string
	reason   reason
}

func newCmdApprovalsLs(f *factory, runF func(*cobra.Command, *approvalsOptions) error) *cobra.Command {
	o := &approvalsOptions{f: f}
	cmd := &cobra.Command{Use: "ls", Short: "approvals that runs wait for, oldest first", Args: cobra.NoArgs}
	o.out.flag(cmd)
	cmd.Flags().BoolVarP(&o.all, "all", "a", false, "those that were decided too")
	return leaf(cmd, o, runF, runApprovalsLs)
}

func runApprovalsLs(cmd *cobra.Command, o *approvalsOptions) error {
	w, v, err := o.f.look(cmd.Context())
	if err != nil {
		return err
	}
	all := pendings(v)
	if o.all {
		kept, err := resolved(w)
		if err != nil {
			return err
		}
		all = append(kept, all...)
	}
	return o.f.io.Print(o.out.Value, term.Report{Data: all, Names: names(all, approvalShape.name), Text: func(wide bool) {
		t := term.NewTable("APPROVAL", "ASKED", "STATUS", "FOR")
		for _, a := range all {
			t.Row(term.Cell{Text: a.ID, Style: term.Bold}, o.f.io.Time(a.Asked), a.status(), a.Reason)
		}
		t.Print(o.f.io, wide)
		if len(all) == 0 {
			o.f.say("nothing waits for an approval")
		}
	}})
}

func (a approvalShape) name() string { return a.ID }

func (a approvalShape) status() term.Cell {
	if a.Ruling == nil {
		return term.Cell{Text: "pending", Style: term.Yellow}
	}
	return term.Cell{Text: a.Ruling.Word() + " by " + a.Ruling.By, Style: pick2(a.Ruling.Decision == schema.DecisionApprove, term.Green, term.Dim)}
}

// pendings are the approvals that runs wait for.
func pendings(v *workspace.View) []approvalShape {
	all := []approvalShape{}
	for _, r := range v.ActiveRuns() {
		if r.Approval != nil {
			all = append(all, approvalShape{r.Approval, evidence(r), v.Waiting(r.Item)})
		}
	}
	return all
}

// evidence lists what the stages of a run wrote, of each file the last one.
func evidence(r *schema.Run) []string {
	last := map[string]string{}
	for _, s := range r.Steps {
		for name := range s.Artifacts {
			last[name] = path.Join(workspace.RequestDir(r.ID, s.Request), name)
		}
	}
	var files []string
	for _, name := range slices.Sorted(maps.Keys(last)) {
		files = append(files, last[name])
	}
	return files
}

// resolved reads what was decided, in the order in which it was asked.
func resolved(w *workspace.Workspace) ([]approvalShape, error) {
	var all []approvalShape
	err := filepath.WalkDir(within(w, path.Dir(workspace.ResolvedPath(&schema.Pending{}))), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != ".json" {
			return pick2(missing(err), nil, err)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		p := new(schema.Pending)
		if err := json.Unmarshal(data, p); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		all = append(all, approvalShape{Pending: p})
		return nil
	})
	slices.SortStableFunc(all, func(a, b approvalShape) int { return a.Asked.Compare(b.Asked) })
	return all, err
}

// approvals completes what may be named.
func (f *factory) approvals(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	_, v, err := f.state()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names(pendings(v), approvalShape.name), cobra.ShellCompDirectiveNoFileComp
}

// meant is the approval that a person names: by its id, or by an item that waits for it.
func (o *approvalsOptions) meant(all []approvalShape) (*approvalShape, error) {
	for i := len(all) - 1; i >= 0; i-- { // of those with one id the last asked
		if all[i].ID == o.id {
			return &all[i], nil
		}
	}
	of := slices.DeleteFunc(slices.Clone(all), func(a approvalShape) bool { return a.Item.ID != o.id && a.Item.String() != o.id })
	if i := slices.IndexFunc(of, func(a approvalShape) bool { return a.Ruling == nil }); i > 0 {
		of = of[i:] // those that are pending come last, and before all others they are meant
	} else if i < 0 && len(of) > 0 {
		of = of[len(of)-1:]
	}
	switch len(of) {
	case 0:
		return nil, refused("'millrace approvals ls' lists what is asked", "nothing asks for an approval %s", o.id)
	case 1:
		return &of[0], nil
	}
	return nil, usage("name one of them by its whole id", "%s may mean %s", o.id, strings.Join(names(of, approvalShape.name), " or "))
}

func newCmdApprovalsShow(f *factory, runF func(*cobra.Command, *approvalsOptions) error) *cobra.Command {
	o := &approvalsOptions{f: f}
	cmd := &cobra.Command{Use: "show ID", Short: "one approval: what is asked, by which run, what to look at, what was decided", Args: cobra.ExactArgs(1),
		Long: "Show one approval. ID is its own, or that of the item that waits for it.", ValidArgsFunction: f.approvals}
	o.out.flag(cmd)
	return leaf(cmd, o, runF, runApprovalsShow, func(args []string) { o.id = args[0] })
}

func runApprovalsShow(cmd *cobra.Command, o *approvalsOptions) error {
	w, v, err := o.f.look(cmd.Context())
	if err != nil {
		return err
	}
	kept, err := resolved(w)
	if err != nil {
		return err
	}
	a, err := o.meant(append(kept, pendings(v)...))
	if err != nil {
		return err
	}
	return o.f.io.Print(o.out.Value, reportOf(a, func() { a.print(o.f.io) }, a.ID))
}

func (a *approvalShape) print(io *term.IO) {
	var f term.Fields
	f.Add("Approval", io.Paint(term.Bold, a.ID))
	f.Add("Asked", a.Capability+": "+a.Reason)
	f.Addf("Item", "%s, generation %d", a.Item, a.Generation)
	f.Addf("Run", "%s: %s ended with %s", a.Run, a.After, a.Outcome)
	f.Add("Since", io.Time(a.Asked))
	f.Add("Approved leads to", a.Node)
	f.Add("Denied leads to", a.Denied)
	for i, file := range a.Evidence {
		f.Add(pick2(i == 0, "Look at", "  and at"), file)
	}
	if r := a.Ruling; r != nil {
		f.Add(r.Word(), io.Time(r.At)+" by "+r.By)
		f.Add("Because", r.Reason)
		f.Add("Declared in", r.Declared)
	}
	if w := a.Waiting; w != nil {
		f.Add("Waiting for", sentence(io, *w))
		f.Add("  cleared by", w.ClearedBy)
	}
	f.Print(io)
}

func newCmdDecide(f *factory, decision string, runF func(*cobra.Command, *approvalsOptions) error) *cobra.Command {
	o := &approvalsOptions{f: f, decision: decision}
	cmd := &cobra.Command{Use: decision + " ID", Args: cobra.ExactArgs(1), ValidArgsFunction: f.approvals,
		Short: pick2(decision == schema.DecisionApprove, "let the run go on", "lead the run where its plan says that a denial leads"),
		Long: "Write the decision into " + workspace.Folder + "/" + workspace.IntakeDir + "/approvals/ and wait until it has been taken up. ID is that of the\n" +
			"approval, or of the item that waits for it. Dropping such a file yourself does the same.",
		Example: fmt.Sprintf("  millrace approvals %s release-1.4 --reason 'read the notes, they are right'", decision)}
	o.reason.flag(cmd)
	cmd.Flags().StringVar(&o.by, "by", "", "who decides (default: your login)")
	return leaf(cmd, o, runF, runDecide, func(args []string) { o.id = args[0] })
}

func runDecide(cmd *cobra.Command, o *approvalsOptions) error {
	if err := o.f.operator(cmd); err != nil {
		return err
	}
	if err := o.reason.check(cmd); err != nil {
		return err
	}
	w, v, err := o.f.look(cmd.Context())
	if err != nil {
		return err
	}
	a, err := o.meant(pendings(v))
	if err != nil {
		return err
	}
	count, held := v.Decisions(a.ID)
	for _, s := range append(count, held...) {
		if s.Decision != o.decision {
			return refused("change or remove that file", "%s says %s of %s", s.Path, s.Decision, a.ID)
		}
	}
	rel, data, err := o.declaration(v, a.Pending)
	if err != nil {
		return err
	}
	if _, err := o.f.change(cmd, w, o.decision+" "+a.ID+": "+o.reason.text, func(v *workspace.View, m *workspace.Mutation) error {
		return vouch(v, m, a.ID, rel, schema.DigestOf(data))
	}); err != nil {
		return err
	}
	if _, err := drop(within(w, rel), data); err != nil {
		return err
	}
	o.f.say("wrote %s/%s", workspace.Folder, rel)
	over := func(s *workspace.State) bool { return s.AskedFor(a.ID) == nil }
	settled, err := o.f.settle(cmd.Context(), w, over)
	if err != nil {
		return err
	}
	return o.told(cmd, a, settled)
}

// declaration is the file that says the decision.
func (o *approvalsOptions) declaration(v *workspace.View, p *schema.Pending) (string, []byte, error) {
	reg, err := document.NewRegistry(v.Families())
	if err != nil {
		return "", nil, err
	}
	by := orElse(o.by, orElse(o.f.getenv("USER"), "operator"))
	doc := &schema.Document{Kind: schema.KindApproval, ID: p.ID, Fields: map[string]any{
		"approval": p.ID, "decision": o.decision, "reason": o.reason.text, "by": by}}
	name := strings.Join([]string{p.Item.ID, p.Node, path.Base(p.ID)}, "-") + ".md"
	return path.Join(workspace.IntakeDir, "approvals", name), reg.Render(doc), nil
}

// vouch accepts the bytes of a file before they are written: a stage may be at work, and this is not its doing.
func vouch(v *workspace.View, m *workspace.Mutation, id, rel string, is schema.Digest) error {
	if v.AskedFor(id) == nil {
		return refused("'millrace approvals ls' lists what is asked", "nothing asks for %s any more", id)
	}
	c := v.Control.Clone()
	if c.Accepted == nil {
		c.Accepted = map[string]schema.Digest{}
	}
	c.Accepted[rel] = is
	delete(c.Held, rel)
	m.PutControl(c)
	m.Tell(workspace.Event{Type: workspace.EvAccepted, Path: rel})
	return nil
}

// told says what the decision came to.
func (o *approvalsOptions) told(cmd *cobra.Command, a *approvalShape, settled bool) error {
	_, v, err := o.f.look(cmd.Context())
	if err != nil {
		return err
	}
	if !settled {
		if w := v.Waiting(a.Item); w != nil {
			return refused(w.ClearedBy, "%s is not decided: %s", a.ID, w.Message)
		}
		return nil
	}
	it := v.Items[a.Item]
	_, _ = fmt.Fprintln(o.f.io.Out, a.ID)
	if it != nil {
		o.f.say("%s is %s", it.Key(), orElse(join(inWords(it.State), conditions(v, it)), it.State))
	}
	return nil
}
