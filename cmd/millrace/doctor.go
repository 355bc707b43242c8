package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"millrace/cmd/millrace/term"
	"millrace/controllers/dispatch/runner"
	"millrace/schema"
	"millrace/workspace"
)

type careOptions struct {
	f      *factory
	out    output
	repair bool
}

// checkup is one thing that doctor looked at.
type checkup struct {
	Name   string `json:"name"`
	Status string `json:"status"` // ok, warning, error
	Found  string `json:"found"`
	Repair string `json:"repair,omitempty"`

	Agent *runner.Probe `json:"agent,omitempty"` // with the name "runner NAME": what is known of its agent
}

func newCmdDoctor(f *factory, runF func(*cobra.Command, *careOptions) error) *cobra.Command {
	o := &careOptions{f: f}
	cmd := &cobra.Command{Use: "doctor", Short: "is everything in order? With the repair of what is not", Args: cobra.NoArgs}
	o.out.flag(cmd)
	cmd.Flags().BoolVar(&o.repair, "repair", false, "first write state files anew that are not what the journal says")
	return leaf(cmd, o, runF, runDoctor)
}

func runDoctor(cmd *cobra.Command, o *careOptions) error {
	if o.repair {
		if err := o.mend(cmd); err != nil {
			return err
		}
	}
	d := &doctor{f: o.f, ctx: cmd.Context()}
	d.machine()
	w, err := o.f.open()
	switch {
	case err != nil:
		_, hint := exitCode(err)
		d.add("workspace", "error", err.Error(), hint)
	default:
		d.add("workspace", "ok", w.Dir, "")
		d.workspace(w)
	}
	err = o.f.io.Print(o.out.Value, reportOf(d.found, func() { d.print(o.f.io) }, names(d.found, func(c checkup) string { return c.Name })...))
	if err != nil {
		return err
	}
	var none *workspace.NoWorkspaceError
	if _, err := o.f.open(); errors.As(err, &none) {
		return silent(exitNoWorkspace)
	}
	if slices.ContainsFunc(d.found, func(c checkup) bool { return c.Status == "error" }) {
		return silent(exitDiffers)
	}
	return nil
}

// mend writes damaged projections anew. Documents are people's to edit and are left alone, but for those of ended items
// that are gone.
func (o *careOptions) mend(cmd *cobra.Command) error {
	if err := o.f.operator(cmd); err != nil {
		return err
	}
	w, err := o.f.open()
	if err != nil {
		return err
	}
	if err := w.Reproject(cmd.Context()); err != nil {
		return fmt.Errorf("repair state files: %w", err)
	}
	o.f.say("state files are what the journal says")
	return nil
}

type doctor struct {
	f     *factory
	ctx   context.Context
	found []checkup
}

func (d *doctor) add(name, status, found, repair string) {
	d.found = append(d.found, checkup{Name: name, Status: status, Found: found, Repair: repair})
}

func (d *doctor) print(io *term.IO) {
	t := term.NewTable("CHECK", "STATUS", "FOUND")
	styles := map[string]term.Style{"ok": term.Green, "warning": term.Yellow, "error": term.Red}
	for _, c := range d.found {
		t.Row(c.Name, term.Cell{Text: c.Status, Style: styles[c.Status]}, c.Found)
	}
	t.Print(io, false)
	for _, c := range d.found {
		if c.Status != "ok" && c.Repair != "" {
			_, _ = fmt.Fprintf(io.Out, "\n%s  %s\n  %s\n", io.Paint(styles[c.Status], c.Name), c.Found, c.Repair)
		}
	}
}

// machine looks at what the runtime needs around it.
func (d *doctor) machine() {
	if out, err := exec.CommandContext(d.ctx, "git", "--version").Output(); err != nil {
		d.add("git", "warning", "not found", "install git: without it working trees are not compared and approvals cannot name who committed them")
	} else {
		d.add("git", "ok", strings.TrimSpace(string(out)), "")
	}
	binary, args := runner.Locate()
	if len(args) > 0 {
		d.add("supervisor", "ok", "this program serves (millrace-stage is not beside it: stages take more memory)", "")
	} else {
		d.add("supervisor", "ok", binary, "")
	}
	if runtime.GOOS == "linux" {
		d.inotify()
	}
}

// inotify compares the kernel's limit with what one workspace takes, long before "no space left on
// device" appears.
func (d *doctor) inotify() {
	data, err := os.ReadFile("/proc/sys/fs/inotify/max_user_watches")
	if err != nil {
		d.add("inotify", "warning", "the limit cannot be read", "changes are found by the slow rescan if watching fails")
		return
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err == nil && limit < 8192 {
		d.add("inotify", "warning", fmt.Sprintf("%d watches at most", limit), "sysctl fs.inotify.max_user_watches=524288")
		return
	}
	d.add("inotify", "ok", fmt.Sprintf("%d watches at most", limit), "")
}

// workspace looks at one workspace.
func (d *doctor) workspace(w *workspace.Workspace) {
	if info, held := w.Daemon(); held {
		d.add("daemon", "ok", fmt.Sprintf("process %d on %s", info.PID, info.Host), "")
	} else {
		d.add("daemon", "ok", "none runs", "")
	}
	s, err := w.Load()
	if err != nil {
		d.add("journal", "error", err.Error(), "keep "+workspace.Folder+"/"+workspace.JournalDir+" and restore the damaged segment from a backup; 'millrace verify' names the record")
		return
	}
	d.add("journal", "ok", fmt.Sprintf("%d records, %d items", s.Seq, len(s.Items)), "")
	d.laws(w)
	_, v, err := d.f.look(d.ctx)
	if err != nil {
		d.add("declarations", "error", err.Error(), "make the files readable for the user that runs Millrace")
		return
	}
	for _, c := range v.Troubles {
		d.add("daemon", "error", because(c.Name, c.Message), "make that possible again; the daemon tries by itself")
	}
	d.declarations(v)
	d.plan(v)
	d.queue(v)
}

func (d *doctor) laws(w *workspace.Workspace) {
	findings, err := w.Verify(d.ctx)
	if err != nil {
		d.add("integrity", "error", err.Error(), "'millrace verify' says more")
		return
	}
	for _, f := range findings {
		d.add("integrity", "error", because(orElse(f.Path, f.Law), f.Message), f.Repair)
	}
	if len(findings) == 0 {
		d.add("integrity", "ok", "the chain is whole, folders equal the journal", "")
	}
}

func (d *doctor) declarations(v *workspace.View) {
	wrong := rejections(v)
	d.add("declarations", pick2(len(wrong) > 0, "warning", "ok"), fmt.Sprintf("%d files, %d errors", len(v.Intake.Files), len(wrong)), "")
	for _, g := range wrong[:min(len(wrong), shownAtMost)] {
		d.add("declarations", "warning", g.Place()+": "+because(g.Subject, g.Message), orElse(g.Hint, "'millrace intake ls' shows all declarations"))
	}
	for _, n := range v.Notices[:min(len(v.Notices), shownAtMost)] {
		d.add("unseen", "warning", n.Path+": "+n.Message, n.Hint)
	}
	if n := len(v.Hold); n > 0 {
		d.add("held", "warning", fmt.Sprintf("%d declarations older than the workspace", n), "millrace queue admit --all, or with --done")
	}
	for _, path := range slices.Sorted(maps.Keys(v.Control.Held)) {
		d.add("held", "warning", path+" changed while a stage ran", "commit it, or millrace intake accept "+path)
	}
	for _, h := range v.Hands[:min(len(v.Hands), shownAtMost)] {
		what, repair := v.Words(h)
		d.add("by hand", "warning", h.Path+": "+what, repair)
	}
}

func (d *doctor) plan(v *workspace.View) {
	c := v.Compiled
	if c.Plan == nil {
		for _, g := range c.Diags {
			d.add("plan", "error", g.Place()+": "+g.Message, g.Hint)
		}
		return
	}
	d.add("plan", "ok", fmt.Sprintf("%s, mode %s, %s", c.Digest.Short(), c.Plan.Mode, pick2(current(v), "current", "to be frozen by the daemon")), "")
	for _, name := range slices.Sorted(maps.Keys(c.Plan.Runners)) {
		d.runner(c.Plan.Runners[name], permissions(c.Plan, name))
	}
}

// closure tells of what is to be judged and cannot be until somebody acts.
func (d *doctor) closure(v *workspace.View) int {
	if f := v.Fault(v.CurrentPlan(), workspace.ClosurePlane(v.CurrentPlan())); f != nil {
		d.add("queue", "warning", fmt.Sprintf("spec/%s cannot be judged: %s: %s", f.Spec, f.Class, f.Message), f.ClearedBy)
		return 1
	}
	t := v.OpenTarget()
	if t == nil || t.State != schema.StateBlocked {
		return 0
	}
	w := v.Waiting(t.Key())
	d.add("queue", "warning", fmt.Sprintf("%s is stalled: %s", t.Key(), w.Message), w.ClearedBy)
	return 1
}

func (d *doctor) queue(v *workspace.View) {
	stalled := d.closure(v)
	for _, it := range pick(v, func(it *schema.Item) bool { return it.State == schema.StateQueue }) {
		w := stuck(v, it)
		if w == nil {
			continue
		}
		if stalled++; stalled <= shownAtMost {
			d.add("queue", "warning", fmt.Sprintf("%s %s", it.Key(), w.Message), w.ClearedBy)
		}
	}
	if stalled == 0 {
		d.add("queue", "ok", "nothing waits for what will not come", "")
	} else if stalled > shownAtMost {
		d.add("queue", "warning", fmt.Sprintf("%d more wait for what will not come", stalled-shownAtMost), "'millrace status -o json' lists them all")
	}
}

func newCmdVerify(f *factory, runF func(*cobra.Command, *careOptions) error) *cobra.Command {
	o := &careOptions{f: f}
	cmd := &cobra.Command{Use: "verify", Short: "prove the journal: hash chain, invariants, digests of evidence", Args: cobra.NoArgs}
	o.out.flag(cmd)
	return leaf(cmd, o, runF, runVerify)
}

func runVerify(cmd *cobra.Command, o *careOptions) error {
	w, err := o.f.open()
	if err != nil {
		return err
	}
	findings, err := w.Verify(cmd.Context())
	if err != nil {
		return err
	}
	if findings == nil {
		findings = []workspace.Finding{}
	}
	err = o.f.io.Print(o.out.Value, reportOf(findings, func() {
		for _, x := range findings {
			_, _ = fmt.Fprintf(o.f.io.Out, "%s  %s\n  %s\n", o.f.io.Paint(term.Red, x.Law), because(x.Path, x.Message), x.Repair)
		}
		if len(findings) == 0 {
			o.f.say("verified: the chain is whole, the laws hold, folders equal the journal")
		}
	}, names(findings, func(x workspace.Finding) string { return orElse(x.Path, x.Law) })...))
	if err == nil && len(findings) > 0 {
		return silent(exitDiffers)
	}
	return err
}

// versionShape is which millrace this is.
type versionShape struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`   // git revision it was built from
	Dirty   bool   `json:"modified,omitempty"` // the working tree had changes
	Schema  int    `json:"schema_version"`     // of everything it writes
	Go      string `json:"go"`                 // toolchain
	System  string `json:"platform"`           // linux/amd64
}

// version is set by the release build.
var version = "dev"

func newCmdVersion(f *factory, runF func(*cobra.Command, *careOptions) error) *cobra.Command {
	o := &careOptions{f: f}
	cmd := &cobra.Command{Use: "version", Short: "which millrace this is", Args: cobra.NoArgs}
	o.out.flag(cmd)
	return leaf(cmd, o, runF, runVersion)
}

func runVersion(_ *cobra.Command, o *careOptions) error {
	shown := versionShape{Version: version, Schema: schema.Version, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				shown.Commit = s.Value
			case "vcs.modified":
				shown.Dirty = s.Value == "true"
			}
		}
	}
	return o.f.io.Print(o.out.Value, reportOf(shown, func() {
		commit := ""
		if shown.Commit != "" {
			commit = ", commit " + shown.Commit[:min(12, len(shown.Commit))] + pick2(shown.Dirty, " (modified)", "")
		}
		_, _ = fmt.Fprintf(o.f.io.Out, "millrace %s%s, schema %d, %s %s\n", shown.Version, commit, shown.Schema, shown.Go, shown.System)
	}, shown.Version))
}
