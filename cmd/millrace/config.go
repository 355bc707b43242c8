package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"millrace/cmd/millrace/term"
	"millrace/schema"
	"millrace/schema/compile"
	"millrace/workspace"
)

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
	o.out.flag(cmd)
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
	o.out.flag(cmd)
	o.out.Value = "yaml"
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
	if o.out.Value == "text" || o.out.Value == "wide" {
		o.out.Value = "yaml"
	}
	o.f.say("%s", orElse(name, "no configuration file: all defaults"))
	return o.f.io.Print(o.out.Value, reportOf(c, nil, orElse(name, workspace.ConfigNames[0])))
}

func newCmdConfigValidate(f *factory, runF func(*cobra.Command, *compileOptions) error) *cobra.Command {
	o := &compileOptions{f: f}
	cmd := &cobra.Command{Use: "validate", Short: "is the configuration valid?", Args: cobra.NoArgs}
	o.out.flag(cmd)
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
	}, orElse(name, workspace.ConfigNames[0])))
	if err == nil && !shown.Valid {
		return silent(exitInvalid)
	}
	return err
}
