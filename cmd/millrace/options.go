package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"millrace/cmd/millrace/term"
	"millrace/workspace"
)

// output is the option -o of commands that list or show something.
type output struct{ term.Choice }

// flag adds -o, --output and its other name --format: the formats that every command knows, of which
// text is the default, and those that only this one has.
func (o *output) flag(cmd *cobra.Command, more ...string) {
	formats := slices.Concat(term.Formats, more)
	o.Choice = term.Choice{Value: formats[0], Allowed: formats}
	cmd.Flags().VarP(&o.Choice, "output", "o", "how to print it")
	cmd.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "format" {
			name = "output"
		}
		return pflag.NormalizedName(name)
	})
	complete(cmd, "output", formats)
}

// choice adds a flag that takes one of a list of words; its value is empty when it is not given.
func choice(cmd *cobra.Command, c *term.Choice, name, help string, allowed ...string) {
	c.Allowed = allowed
	cmd.Flags().Var(c, name, help)
	complete(cmd, name, allowed)
}

func complete(cmd *cobra.Command, flag string, words []string) {
	completeBy(cmd, flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// completeBy says how a flag that was added before is completed.
func completeBy(cmd *cobra.Command, flag string, by cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, by); err != nil {
		panic(fmt.Sprintf("complete --%s: %v", flag, err))
	}
}

// words completes from what the workspace has now.
func (f *factory) words(of func(*workspace.View) []string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		_, v, err := f.state()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return of(v), cobra.ShellCompDirectiveNoFileComp
	}
}

func families(v *workspace.View) []string { return slices.Sorted(maps.Keys(v.Families())) }

func runners(v *workspace.View) []string { return slices.Sorted(maps.Keys(v.Control.Runners)) }

func planes(v *workspace.View) []string {
	if p := v.CurrentPlan(); p != nil {
		return p.PlaneOrder
	}
	return nil
}

// ambiguous adds the flag that says which family is meant.
func (f *factory) ambiguous(cmd *cobra.Command, to *string, flag string) {
	cmd.Flags().StringVar(to, flag, "", "family, where an id is used by several")
	completeBy(cmd, flag, f.words(families))
}

// reason is the option --reason: every act of an operator says why, for the audit trail.
type reason struct{ text string }

func (r *reason) flag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.text, "reason", "", "why, for the audit trail (required)")
}

func (r *reason) check(cmd *cobra.Command) error {
	r.text = strings.TrimSpace(r.text)
	if r.text == "" {
		return usage(fmt.Sprintf("like: %s … --reason \"the key was renewed\"", cmd.CommandPath()), "say why with --reason")
	}
	return nil
}

// leaf finishes a command: runF replaces what it does in tests.
func leaf[O any](cmd *cobra.Command, o *O, runF, real func(*cobra.Command, *O) error, prepare ...func(args []string)) *cobra.Command {
	if runF == nil {
		runF = real
	}
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error { return arguments(cmd, args, check) }
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, p := range prepare {
			p(args)
		}
		return runF(cmd, o)
	}
	return cmd
}

// arguments says a wrong number of arguments in words.
func arguments(cmd *cobra.Command, args []string, check cobra.PositionalArgs) error {
	if check(cmd, args) == nil {
		return nil
	}
	hint := "it is used like this: " + cmd.UseLine()
	if n := len(args); n > 0 && check(cmd, append(args[:n:n], "more")) != nil {
		return usage(hint, "%s does not take %q", cmd.CommandPath(), args[n-1])
	}
	return usage(hint, "%s needs to know more", cmd.CommandPath())
}

// group is a command that only holds others.
func group(use, short string, cmds ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs}
	c.AddCommand(cmds...)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		names := make([]string, 0, len(cmds))
		for _, sub := range cmds {
			names = append(names, sub.Name())
		}
		slices.Sort(names)
		hint := fmt.Sprintf("%s takes one of: %s", cmd.CommandPath(), strings.Join(names, ", "))
		if len(args) > 0 {
			return usage(hint, "%s has no command %q", cmd.CommandPath(), args[0])
		}
		return usage(hint, "%s needs a command", cmd.CommandPath())
	}
	return c
}

// reportOf is a report whose text has one width.
func reportOf(data any, text func(), names ...string) term.Report {
	return term.Report{Data: data, Text: func(bool) { text() }, Names: names}
}

// names are what -o name prints of things in the order in which they are shown, each once.
func names[T any](all []T, name func(T) string) []string {
	var out []string
	seen := map[string]bool{"": true}
	for _, x := range all {
		if n := name(x); !seen[n] {
			seen[n] = true
			out = append(out, n)
		}
	}
	return out
}

func marshalLine(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode json: %w", err)
	}
	return data, nil
}
