package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"millrace/schema"
	"millrace/schema/document"
	"millrace/workspace"
)

func newCmdQueueAdmit(f *factory, runF func(*cobra.Command, *intakeOptions) error) *cobra.Command {
	o := &intakeOptions{f: f}
	cmd := &cobra.Command{Use: "admit {--all | ID…}", Short: "release declarations that are older than the workspace",
		Long: "A new workspace holds every declaration that git already tracked, so that a fresh clone does not run all\n" +
			"its history again. This releases them, or with --done records them as ended elsewhere.",
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			_, v, err := f.state()
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var ids []string
			for k := range v.Hold {
				ids = append(ids, k.ID)
			}
			return ids, cobra.ShellCompDirectiveNoFileComp
		}}
	cmd.Flags().BoolVar(&o.all, "all", false, "all that are held")
	cmd.Flags().BoolVar(&o.done, "done", false, "record them as done elsewhere instead of running them")
	return leaf(cmd, o, runF, runQueueAdmit, func(args []string) { o.ids = args })
}

func runQueueAdmit(cmd *cobra.Command, o *intakeOptions) error {
	if err := o.f.operator(cmd); err != nil {
		return err
	}
	if o.all == (len(o.ids) > 0) {
		return usage("'millrace queue admit --all', or name ids", "say which: --all or ids, not both")
	}
	w, seen, err := o.f.look(cmd.Context())
	if err != nil {
		return err
	}
	var released []schema.Key
	_, err = o.f.change(cmd, w, pick2(o.done, "ended elsewhere", "released by an operator"), func(v *workspace.View, m *workspace.Mutation) error {
		v.Registry, v.Intake, v.Compiled = seen.Registry, seen.Intake, seen.Compiled
		if released, err = o.held(v); err != nil || len(released) == 0 {
			return err
		}
		for _, k := range released {
			if err := o.release(w, v, m, k); err != nil {
				return err
			}
		}
		hold, err := readHold(w)
		if err != nil {
			return err
		}
		hold.Keys = slices.DeleteFunc(hold.Keys, func(k schema.Key) bool { return slices.Contains(released, k) })
		m.PutJSON(workspace.HoldFile, hold)
		return nil
	})
	if err != nil {
		return err
	}
	if len(released) == 0 {
		o.f.say("nothing is held")
		return nil
	}
	for _, k := range released {
		_, _ = fmt.Fprintln(o.f.io.Out, k)
	}
	o.f.say("%s %d", pick2(o.done, "recorded as done elsewhere:", "released:"), len(released))
	if _, err = o.f.settle(cmd.Context(), w, func(s *workspace.State) bool {
		return !slices.ContainsFunc(released, func(k schema.Key) bool { return s.Items[k] == nil })
	}); err != nil {
		return err
	}
	if _, running := w.Daemon(); !running && !o.done {
		o.f.say("no daemon runs: 'millrace run daemon' goes on with them")
	}
	return nil
}

// held are the keys to release.
func (o *intakeOptions) held(v *workspace.View) ([]schema.Key, error) {
	var keys []schema.Key
	for k := range v.Hold {
		if o.all || slices.Contains(o.ids, k.ID) || slices.Contains(o.ids, k.String()) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, workspace.CompareKeys)
	for _, id := range o.ids {
		if !slices.ContainsFunc(keys, func(k schema.Key) bool { return k.ID == id || k.String() == id }) {
			return nil, refused("'millrace intake ls' shows what is held", "%s is not held", id)
		}
	}
	return keys, nil
}

// release tells that a declaration is free; with --done it becomes an item that has ended already.
func (o *intakeOptions) release(w *workspace.Workspace, v *workspace.View, m *workspace.Mutation, k schema.Key) error {
	m.Tell(workspace.Event{Type: workspace.EvAccepted, Item: k, Message: pick2(o.done, "ended elsewhere", "released")})
	if !o.done {
		return nil
	}
	found := v.Intake.ByKey[k]
	if len(found) != 1 {
		return refused("'millrace intake ls' says what is wrong with it", "%s is not declared validly, so it cannot be recorded as done", k)
	}
	d := found[0]
	bytes, err := w.ReadFile(d.Path, schema.MaxFile)
	if err != nil {
		return fmt.Errorf("read declaration: %w", err)
	}
	docs := v.Registry.Parse(d.Path, bytes).Docs
	at := slices.IndexFunc(docs, func(l document.Located) bool { return l.Doc.Key() == k || l.Digest == d.Digest })
	if at < 0 {
		return workspace.ErrMoved
	}
	it, data, err := v.NewItem(v.Registry.Admit(docs[at].Doc, "operator", v.Now), "declaration")
	if err != nil {
		return err
	}
	it.State, it.EndedBy, it.EndedSeq = schema.StateDone, "admit --done", v.Seq+1
	it.Path = v.DocumentPath(it, schema.StateDone)
	it.Declared = &schema.Declaration{Path: d.Path, Digest: d.Digest, Branch: v.Git.Branch}
	m.Expect = append(m.Expect, workspace.Input{Path: d.Path, Digest: d.File})
	m.AdmitItem(it, data)
	return nil
}

func readHold(w *workspace.Workspace) (*schema.Hold, error) {
	data, err := w.ReadFile(workspace.HoldFile, 64*schema.MaxFile)
	hold := &schema.Hold{SchemaVersion: schema.Version}
	if errors.Is(err, os.ErrNotExist) {
		return hold, nil
	}
	if err == nil {
		err = json.Unmarshal(data, hold)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", workspace.HoldFile, err)
	}
	return hold, nil
}
