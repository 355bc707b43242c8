package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"millrace/assets"
	"millrace/cmd/millrace/term"
	"millrace/schema"
	"millrace/schema/compile"
	"millrace/workspace"
)

type compileOptions struct {
	f      *factory
	out    output
	mode   string
	plane  string
	format term.Choice
	file   string
	names  []string
}

func newCmdCompile(f *factory) *cobra.Command {
	return group("compile", "the plan that configuration and workflow files make", newCmdCompileValidate(f, nil), newCmdCompileShow(f, nil), newCmdCompileGraph(f, nil))
}

func (o *compileOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.mode, "mode", "", "mode instead of the configured one")
	completeBy(cmd, "mode", o.f.modes)
}

// inputs reads what a plan is made of; without a workspace it is the shipped baseline.
func (f *factory) inputs() (map[string][]byte, error) {
	w, err := f.open()
	if _, none := errors.AsType[*workspace.NoWorkspaceError](err); none {
		return assets.Files(), nil
	}
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	err = filepath.WalkDir(w.Dir, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(w.Dir, at)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		top, _, deep := strings.Cut(rel, "/")
		switch {
		case d.IsDir() && rel != "." && (!slices.Contains(operatorHalf, top) || top == workspace.IntakeDir):
			return fs.SkipDir
		case d.IsDir(), !deep && !slices.Contains(workspace.ConfigNames, rel), !compile.IsInput(rel):
			return nil
		}
		files[rel], err = w.ReadFile(rel, schema.MaxFile)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read workflow files: %w", err)
	}
	return files, nil
}

func (o *compileOptions) compile() (compile.Result, error) {
	files, err := o.f.inputs()
	if err != nil {
		return compile.Result{}, err
	}
	return compile.Compile(compile.Source{Mode: o.mode, Files: files}), nil
}

func newCmdCompileValidate(f *factory, runF func(*cobra.Command, *compileOptions) error) *cobra.Command {
	o := &compileOptions{f: f}
	cmd := &cobra.Command{Use: "validate", Short: "does it compile? If not: where and why", Args: cobra.NoArgs}
	o.out.flag(cmd, "github")
	o.flags(cmd)
	return leaf(cmd, o, runF, runCompileValidate)
}

// compileShape is what compiling gave.
type compileShape struct {
	Valid       bool               `json:"valid"`
	Plan        schema.Digest      `json:"plan,omitempty"`
	Mode        string             `json:"mode,omitempty"`
	Diagnostics schema.Diagnostics `json:"diagnostics"`
}

func runCompileValidate(_ *cobra.Command, o *compileOptions) error {
	res, err := o.compile()
	if err != nil {
		return err
	}
	shown := compileShape{Valid: res.Plan != nil, Plan: res.Digest, Diagnostics: res.Diags}
	if res.Plan != nil {
		shown.Mode = res.Plan.Mode
	}
	if shown.Diagnostics == nil {
		shown.Diagnostics = schema.Diagnostics{}
	}
	if o.out.Value == "github" {
		for _, d := range res.Diags {
			if _, err := fmt.Fprintln(o.f.io.Out, annotation(d)); err != nil {
				return err
			}
		}
	} else {
		err = o.f.io.Print(o.out.Value, reportOf(shown, func() {
			for _, d := range res.Diags {
				_, _ = fmt.Fprintln(o.f.io.Out, d)
			}
			if shown.Valid {
				_, _ = fmt.Fprintf(o.f.io.Out, "plan %s, mode %s\n", res.Digest.Short(), shown.Mode)
			}
		}, names([]schema.Digest{res.Digest}, func(d schema.Digest) string { return string(d) })...))
	}
	if err == nil && !shown.Valid {
		return silent(exitInvalid)
	}
	return err
}

func newCmdCompileShow(f *factory, runF func(*cobra.Command, *compileOptions) error) *cobra.Command {
	o := &compileOptions{f: f}
	cmd := &cobra.Command{Use: "show", Short: "what runs each node, and where each value came from", Args: cobra.NoArgs,
		Long: "Show each node of the plan with the runner, model and limits it is bound to; -o wide says where each came\nfrom and what its permission becomes, -o json is the whole frozen plan."}
	o.out.flag(cmd)
	o.flags(cmd)
	cmd.Flags().StringVar(&o.plane, "plane", "", "only this plane")
	completeBy(cmd, "plane", o.f.words(planes))
	return leaf(cmd, o, runF, runCompileShow)
}

func runCompileShow(_ *cobra.Command, o *compileOptions) error {
	res, err := o.compile()
	if err != nil {
		return err
	}
	if res.Plan == nil {
		return res.Diags
	}
	p := res.Plan
	if o.plane != "" && p.Graphs[o.plane] == nil {
		return usage("it has: "+strings.Join(p.PlaneOrder, ", "), "mode %s has no plane %q", p.Mode, o.plane)
	}
	var nodes []string
	t := term.NewTable("PLANE", "NODE", "RUNNER", "MODEL", "THINKING", "TIMEOUT", "STALL", "+PERMISSION", "+FROM", "ENTRYPOINT")
	for _, plane := range p.PlaneOrder {
		g := p.Graphs[plane]
		if g == nil || o.plane != "" && plane != o.plane {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(g.Nodes)) {
			n := g.Nodes[name]
			nodes = append(nodes, plane+"/"+name)
			t.Row(plane, term.Cell{Text: name, Style: term.Bold}, n.Runner, n.Model, n.Thinking, n.Timeout, n.Stall, permit(p.Runners[n.Runner], n.Permission), provenance(n.From), n.Entrypoint)
		}
	}
	return o.f.io.Print(o.out.Value, term.Report{Data: p, Names: nodes, Text: func(wide bool) {
		t.Print(o.f.io, wide)
		for _, fact := range facts(p) {
			_, _ = fmt.Fprintln(o.f.io.Out, fact)
		}
		o.f.say("plan %s, mode %s", res.Digest.Short(), p.Mode)
		for _, d := range res.Diags {
			o.f.say("%s", d)
		}
	}})
}

// facts are what holds for the plan as a whole: what becomes of roots that are done, what results teach.
func facts(p *schema.Plan) []string {
	var lines []string
	for _, plane := range p.PlaneOrder {
		if node := p.Graphs[plane].Entry[schema.FamilyTarget]; node != "" {
			unproven := "closes as unproven"
			if p.Closure.RequireChecks {
				unproven = "stays open"
			}
			lines = append(lines, fmt.Sprintf("closure: %s judges a root when nothing of it is left to do; one without any check %s", node, unproven))
		}
	}
	for _, t := range p.Triggers {
		line := fmt.Sprintf("learning: %s %s → %s, %s", t.Stage, strings.Join(t.Outcomes, " or "), t.Target, t.Action)
		if about := append(slices.Clone(t.OutputPaths), t.TargetSkill); t.TargetSkill != "" || len(t.OutputPaths) > 0 {
			line += " " + strings.Trim(strings.Join(about, " "), " ")
		}
		lines = append(lines, line)
	}
	return lines
}

// permit is what a node's permission becomes in the hands of its agent, and who keeps it.
func permit(r *schema.Runner, permission string) string {
	return schema.AdapterOf(r.Adapter).Terms().Permit(permission).String() // a plan has only adapters that there are
}

func provenance(from map[string]string) string {
	var words []string
	for _, k := range slices.Sorted(maps.Keys(from)) {
		words = append(words, k+": "+from[k])
	}
	return strings.Join(words, ", ")
}

func newCmdCompileGraph(f *factory, runF func(*cobra.Command, *compileOptions) error) *cobra.Command {
	o := &compileOptions{f: f}
	cmd := &cobra.Command{Use: "graph", Short: "the topology as text, JSON, Mermaid or DOT", Args: cobra.NoArgs,
		Example: "  millrace compile graph --format mermaid --output graph.md\n  millrace compile graph --format dot | dot -Tsvg > graph.svg"}
	o.flags(cmd)
	cmd.Flags().StringVar(&o.plane, "plane", "", "only this plane")
	completeBy(cmd, "plane", o.f.words(planes))
	o.format = term.Choice{Value: "text", Allowed: compile.Formats}
	cmd.Flags().VarP(&o.format, "format", "o", "how to draw it")
	complete(cmd, "format", compile.Formats)
	cmd.Flags().StringVar(&o.file, "output", "", "file to write instead of stdout")
	return leaf(cmd, o, runF, runCompileGraph)
}

func runCompileGraph(_ *cobra.Command, o *compileOptions) error {
	res, err := o.compile()
	if err != nil {
		return err
	}
	if res.Plan == nil {
		return res.Diags
	}
	if o.plane != "" && res.Plan.Graphs[o.plane] == nil {
		return usage("it has: "+strings.Join(res.Plan.PlaneOrder, ", "), "mode %s has no plane %q", res.Plan.Mode, o.plane)
	}
	drawn, err := compile.Draw(res.Plan, o.plane, o.format.Value)
	if err != nil {
		return err
	}
	if o.file != "" {
		return os.WriteFile(o.file, []byte(drawn), 0o666)
	}
	_, err = io.WriteString(o.f.io.Out, drawn)
	return err
}

func newCmdPlan(f *factory) *cobra.Command {
	return group("plan", "frozen plans", newCmdPlanDiff(f, nil))
}

func newCmdPlanDiff(f *factory, runF func(*cobra.Command, *compileOptions) error) *cobra.Command {
	o := &compileOptions{f: f}
	cmd := &cobra.Command{Use: "diff [A] [B]", Short: "what differs between two plans", Args: cobra.MaximumNArgs(2),
		Long: "What differs between two plans, named by the beginning of their ids. Without B: what the files compile to\nnow; without A: the current plan. Exit code 1 when they differ."}
	o.out.flag(cmd)
	return leaf(cmd, o, runF, runPlanDiff, func(args []string) { o.names = args })
}

func runPlanDiff(_ *cobra.Command, o *compileOptions) error {
	w, v, err := o.f.state()
	if err != nil {
		return err
	}
	a := v.CurrentPlan()
	if len(o.names) > 0 {
		if a, err = planNamed(w, v, o.names[0]); err != nil {
			return err
		}
	}
	if a == nil {
		return refused("'millrace run daemon' freezes the first", "there is no plan yet")
	}
	var b *schema.Plan
	if len(o.names) > 1 {
		if b, err = planNamed(w, v, o.names[1]); err != nil {
			return err
		}
	} else {
		res, err := o.compile()
		if err != nil {
			return err
		}
		if b = res.Plan; b == nil {
			return res.Diags
		}
	}
	lines := compile.Diff(a, b)
	if lines == nil {
		lines = []string{}
	}
	err = o.f.io.Print(o.out.Value, reportOf(lines, func() {
		for _, l := range lines {
			style := pick2(strings.HasPrefix(strings.TrimSpace(l), "-"), term.Red, pick2(strings.HasPrefix(strings.TrimSpace(l), "+"), term.Green, term.Plain))
			_, _ = fmt.Fprintln(o.f.io.Out, o.f.io.Paint(style, l))
		}
	}, names(lines, what)...))
	if err == nil && len(lines) > 0 {
		return silent(exitDiffers)
	}
	return err
}

// what is the place in a plan that a line of a difference tells of: "~ graphs.x.nodes.y: a → b".
func what(line string) string {
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return line
	}
	return strings.TrimSuffix(fields[1], ":")
}

// planNamed finds an archived plan by the beginning of its id, or "current".
func planNamed(w *workspace.Workspace, v *workspace.View, name string) (*schema.Plan, error) {
	if name == "current" && v.CurrentPlan() != nil {
		return v.CurrentPlan(), nil
	}
	entries, err := os.ReadDir(within(w, workspace.PlansDir))
	if err != nil {
		return nil, fmt.Errorf("list plans: %w", err)
	}
	want := strings.TrimPrefix(name, "sha256:")
	var found []schema.Digest
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".json"); ok && want != "" && strings.HasPrefix(id, want) {
			found = append(found, schema.Digest("sha256:"+id))
		}
	}
	if len(found) == 1 {
		if p := v.Plans(found[0]); p != nil {
			return p, nil
		}
	}
	return nil, usage("'millrace history' shows which plans were current", "%d plans begin with %q", len(found), name)
}
