package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"millrace/cmd/millrace/term"
	"millrace/schema"
	"millrace/workspace"
)

func sprint(v any) string                       { return fmt.Sprint(v) }
func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }

type getOptions struct {
	f      *factory
	out    output
	family string
	ids    []string
}

func newCmdGet(f *factory, runF func(*cobra.Command, *getOptions) error) *cobra.Command {
	o := &getOptions{f: f}
	cmd := &cobra.Command{
		Use: "get FAMILY [ID…]", Short: "items of a family with state and age", Args: cobra.MinimumNArgs(1),
		Example:           "  millrace get task\n  millrace get tasks add-json-flag -o yaml",
		ValidArgsFunction: f.families,
	}
	o.out.flag(cmd)
	return leaf(cmd, o, runF, runGet, func(args []string) { o.family, o.ids = args[0], args[1:] })
}

func runGet(_ *cobra.Command, o *getOptions) error {
	_, v, err := o.f.state()
	if err != nil {
		return err
	}
	family, err := familyOf(v, o.family)
	if err != nil {
		return err
	}
	if len(o.ids) == 0 {
		return printItems(o.f, o.out.Value, v, pick(v, func(it *schema.Item) bool { return it.Family == family }), "no "+family+" yet")
	}
	var items []*schema.Item
	for _, id := range o.ids {
		it, err := find(v.State, id, family)
		if err != nil {
			return err
		}
		items = append(items, it)
	}
	if len(items) == 1 && (o.out.Value == "json" || o.out.Value == "yaml") {
		return o.f.io.Print(o.out.Value, term.Report{Data: shape(v, items[0])})
	}
	return printItems(o.f, o.out.Value, v, items, "")
}

// familyOf takes a family's name, its plural or one of its intake folders.
func familyOf(v *workspace.View, name string) (string, error) {
	families := v.Families()
	for _, id := range slices.Sorted(maps.Keys(families)) {
		if name == id || name == id+"s" || slices.Contains(families[id].Intake, name) {
			return id, nil
		}
	}
	known := slices.Sorted(maps.Keys(families))
	return "", usage("there are: "+strings.Join(known, ", "), "there is no family %q", name)
}

func (f *factory) families(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return f.items()(cmd, args, prefix)
	}
	return f.words(families)(cmd, args, prefix)
}

// printItems is how items are listed, everywhere.
func printItems(f *factory, format string, v *workspace.View, items []*schema.Item, none string) error {
	shapes, names := []itemShape{}, make([]string, len(items))
	for i, it := range items {
		names[i] = it.Key().String()
		if format == "json" || format == "yaml" {
			shapes = append(shapes, shape(v, it))
		}
	}
	return f.io.Print(format, term.Report{Data: shapes, Names: names, Text: func(wide bool) {
		t := term.NewTable("FAMILY", "ID", "STATE", "CREATED", "+GEN", "+PRIO", "+RUN", "+SOURCE", "+TITLE", "WAITING FOR")
		for _, it := range items {
			t.Row(it.Family, term.Cell{Text: it.ID, Style: term.Bold}, stateCell(it.State), f.io.Time(it.CreatedAt),
				it.Generation, it.Priority, it.Run, it.Source, term.Cut(it.Title, 40), conditions(v, it))
		}
		t.Print(f.io, wide)
		if t.Len() == 0 && none != "" {
			f.say("%s", none)
		}
	}})
}

// say tells a person something; it is no data.
func (f *factory) say(format string, args ...any) {
	_, _ = fmt.Fprintf(f.io.Err, format+"\n", args...)
}
