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
	if err := cmd.RegisterFlagCompletionFunc("mode", o.f.modes); err != nil {
		panic(err) // the flag was added a line before
	}
}

// inputs reads what a plan is made of; without a workspace it is the shipped baseline.
func (f *factory) inputs() (map[string][]byte, error) {
	w, err := f.open()
	var none *workspace.NoWorkspaceError
	if errors.As(err, &none) {
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
	o.out.flag(cmd, "text", "json", "yaml", "github")
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
		}))
	}
	if err == nil && !shown.Valid {
		return silent(exitInvalid)
	}
	return err
}

func newCmdCompileShow(f *factory, runF func(*cobra.Command, *compileOptions) error) *cobra.Command {
	o := &compileOptions{f: f}
	cmd := &cobra.Command{Use: "show", Short: "what runs each node, and where each value came from", Args: cobra.NoArgs,
		Long: "Show each node of the plan with the runner, model and limits it is bound to; -o wide says where each came\nfrom, -o json is the whole frozen plan."}
	o.out.flag(cmd, "text", "wide", "json", "yaml")
	o.flags(cmd)
	cmd.Flags().StringVar(&o.plane, "plane", "", "only this plane")
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
	return o.f.io.Print(o.out.Value, term.Report{Data: p, Text: func(wide bool) {
		t := term.NewTable("PLANE", "NODE", "RUNNER", "MODEL", "THINKING", "TIMEOUT", "STALL", "+FROM", "ENTRYPOINT")
		for _, plane := range p.PlaneOrder {
			g := p.Graphs[plane]
			if g == nil || o.plane != "" && plane != o.plane {
				continue
			}
			for _, name := range slices.Sorted(maps.Keys(g.Nodes)) {
				n := g.Nodes[name]
				t.Row(plane, term.Cell{Text: name, Style: term.Bold}, n.Runner, n.Model, n.Thinking, n.Timeout, n.Stall, provenance(n.From), n.Entrypoint)
			}
		}
		t.Print(o.f.io, wide)
		o.f.say("plan %s, mode %s", res.Digest.Short(), p.Mode)
		for _, d := range res.Diags {
			o.f.say("%s", d)
		}
	}})
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
	o.out.flag(cmd, "text", "json", "yaml")
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
	}))
	if err == nil && len(lines) > 0 {
		return silent(exitDiffers)
	}
	return err
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

func newCmdModes(f *factory) *cobra.Command {
	return group("modes", "which graphs and runners a mode takes", newCmdModesList(f, nil), newCmdModesShow(f, nil))
}

func newCmdModesList(f *factory, runF func(*cobra.Command, *compileOptions) error) *cobra.Command {
	o := &compileOptions{f: f}
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "modes that can be run", Args: cobra.NoArgs}
	o.out.flag(cmd)
	return leaf(cmd, o, runF, runModesList)
}

func (o *compileOptions) modes() ([]*compile.Mode, error) {
	files, err := o.f.inputs()
	if err != nil {
		return nil, err
	}
	modes, diags := compile.Modes(files)
	if diags.HasErrors() {
		return nil, diags
	}
	return modes, nil
}

func runModesList(_ *cobra.Command, o *compileOptions) error {
	modes, err := o.modes()
	if err != nil {
		return err
	}
	var names []string
	for _, m := range modes {
		names = append(names, m.ID)
	}
	return o.f.io.Print(o.out.Value, term.Report{Data: modes, Names: names, Text: func(wide bool) {
		t := term.NewTable("MODE", "RUNNER", "GRAPHS", "+ALIASES", "DESCRIPTION")
		for _, m := range modes {
			graphs := slices.Sorted(maps.Values(m.Graphs))
			t.Row(term.Cell{Text: m.ID, Style: term.Bold}, orElse(m.Runner, "(default_runner)"), strings.Join(graphs, " "), strings.Join(m.Aliases, " "), m.Description)
		}
		t.Print(o.f.io, wide)
	}})
}

func newCmdModesShow(f *factory, runF func(*cobra.Command, *compileOptions) error) *cobra.Command {
	o := &compileOptions{f: f}
	cmd := &cobra.Command{Use: "show MODE", Short: "one mode", Args: cobra.ExactArgs(1), ValidArgsFunction: f.modes}
	o.out.flag(cmd, "text", "json", "yaml", "name")
	return leaf(cmd, o, runF, runModesShow, func(args []string) { o.names = args })
}

func runModesShow(_ *cobra.Command, o *compileOptions) error {
	modes, err := o.modes()
	if err != nil {
		return err
	}
	name := o.names[0]
	for _, m := range modes {
		if m.ID != name && !slices.Contains(m.Aliases, name) {
			continue
		}
		return o.f.io.Print(o.out.Value, term.Report{Data: m, Names: []string{m.ID}, Text: func(bool) {
			if data, err := term.YAML(m); err == nil {
				_, _ = o.f.io.Out.Write(data)
			}
		}})
	}
	return usage("'millrace modes list' shows them", "there is no mode %q", name)
}

func (f *factory) modes(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	modes, err := (&compileOptions{f: f}).modes()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, m := range modes {
		names = append(names, cobra.CompletionWithDesc(m.ID, m.Description))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func newCmdConfig(f *factory) *cobra.Command {
	return group("config", "the configuration", newCmdConfigShow(f, nil), newCmdConfigValidate(f, nil))
}

func newCmdConfigShow(f *factory, runF func(*cobra.Command, *compileOptions) error) *cobra.Command {
	o := &compileOptions{f: f}
	cmd := &cobra.Command{Use: "show", Short: "every setting as it is, defaults filled in", Args: cobra.NoArgs}
	o.out.flag(cmd, "yaml", "json", "text")
	return leaf(cmd, o, runF, runConfigShow)
}

// config reads the configuration file, whichever there is.
func (o *compileOptions) config() (string, *schema.Config, schema.Diagnostics, error) {
	files, err := o.f.inputs()
	if err != nil {
		return "", nil, nil, err
	}
	for _, name := range workspace.ConfigNames {
		if data, ok := files[name]; ok {
			c, diags := compile.LoadConfig(name, data)
			return name, c, diags, nil
		}
	}
	c, diags := compile.LoadConfig("", nil)
	return "", c, diags, nil
}

func runConfigShow(_ *cobra.Command, o *compileOptions) error {
	name, c, diags, err := o.config()
	if err != nil {
		return err
	}
	if diags.HasErrors() {
		return diags
	}
	if o.out.Value == "text" {
		o.out.Value = "yaml"
	}
	o.f.say("%s", orElse(name, "no configuration file: all defaults"))
	return o.f.io.Print(o.out.Value, reportOf(c, nil))
}

func newCmdConfigValidate(f *factory, runF func(*cobra.Command, *compileOptions) error) *cobra.Command {
	o := &compileOptions{f: f}
	cmd := &cobra.Command{Use: "validate", Short: "is the configuration valid?", Args: cobra.NoArgs}
	o.out.flag(cmd, "text", "json", "yaml")
	return leaf(cmd, o, runF, runConfigValidate)
}

func runConfigValidate(_ *cobra.Command, o *compileOptions) error {
	name, _, diags, err := o.config()
	if err != nil {
		return err
	}
	shown := compileShape{Valid: !diags.HasErrors(), Diagnostics: diags}
	if diags == nil {
		shown.Diagnostics = schema.Diagnostics{}
	}
	err = o.f.io.Print(o.out.Value, reportOf(shown, func() {
		for _, d := range diags {
			_, _ = fmt.Fprintln(o.f.io.Out, d)
		}
		if shown.Valid {
			o.f.say("%s: valid", orElse(name, "no configuration file, all defaults"))
		}
	}))
	if err == nil && !shown.Valid {
		return silent(exitInvalid)
	}
	return err
}
