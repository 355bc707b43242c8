package main

import (
	"github.com/spf13/cobra"

	"millrace/schema"
	"millrace/schema/document"
	"millrace/workspace"
)

func newCmdClosureRetry(f *factory, runF func(*cobra.Command, *interveneOptions) error) *cobra.Command {
	o := &interveneOptions{f: f, kind: schema.FamilyTarget}
	cmd := &cobra.Command{Use: "retry ROOT", Short: "judge a stalled closure target again", Args: cobra.ExactArgs(1),
		ValidArgsFunction: f.targets(schema.StateBlocked)}
	o.reason.flag(cmd)
	return leaf(cmd, o, runF, runClosureRetry, func(args []string) { o.ids = args })
}

func runClosureRetry(cmd *cobra.Command, o *interveneOptions) error {
	return o.each(cmd, func(v *workspace.View, m *workspace.Mutation, it *schema.Item) (string, error) {
		if it.State != schema.StateBlocked {
			return "", refused("'millrace closure show "+it.ID+"' says what it waits for", "the target %s is not stalled but %s", it.ID, orElse(stages[it.State], it.State))
		}
		m.Requeue(v, it, schema.Note{By: "command", What: noteRetried, Why: o.reason.text}, true)
		return "is queued again", nil
	})
}

func newCmdClosureAbandon(f *factory, runF func(*cobra.Command, *interveneOptions) error) *cobra.Command {
	o := &interveneOptions{f: f}
	cmd := &cobra.Command{
		Use: "abandon ROOT", Short: "end a closure target without a verdict, and cancel what its lineage has left", Args: cobra.ExactArgs(1),
		Long: "End a closure target without a verdict, and cancel the queued and blocked work of its lineage; active work ends\n" +
			"with its stage. A root spec that was never judged can be given up the same way.",
		ValidArgsFunction: f.targets(schema.StateOpen, schema.StateQueue, schema.StateActive, schema.StateBlocked),
	}
	o.reason.flag(cmd)
	return leaf(cmd, o, runF, runClosureAbandon, func(args []string) { o.ids = args })
}

func runClosureAbandon(cmd *cobra.Command, o *interveneOptions) error {
	if o.kind = schema.FamilyTarget; !o.targeted() {
		o.kind = schema.FamilySpec
	}
	return o.each(cmd, func(v *workspace.View, m *workspace.Mutation, it *schema.Item) (string, error) {
		switch {
		case it.Family == schema.FamilyTarget && schema.Ended(it.State):
			return "", refused("'millrace closure show "+it.ID+"' says how it ended", "the target %s is %s already", it.ID, stages[it.State])
		case it.Family == schema.FamilyTarget:
			m.Abandon(v, it, "command", o.reason.text)
			return "is abandoned as soon as its lineage has ended", nil
		case it.State != schema.StateDone:
			return "", refused("to end it: millrace queue cancel "+it.ID, "%s is %s, and no closure target of it is open", it.Key(), it.State)
		}
		var err error
		if v.Registry, err = document.NewRegistry(v.Families()); err != nil {
			return "", err
		}
		if !m.AbandonRoot(v, it, "command", o.reason.text) {
			return "", refused("try again when it has ended", "the closure target of %s is open", v.OpenTarget().ID)
		}
		return "is abandoned as soon as its lineage has ended", nil
	})
}

// targeted reports whether what is named has a closure target.
func (o *interveneOptions) targeted() bool {
	w, err := o.f.open()
	if err != nil {
		return true // said where it is opened to be changed
	}
	s, err := w.Load()
	return err != nil || s.Target(o.ids[0]) != nil
}
