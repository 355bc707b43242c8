package main

import (
	"github.com/spf13/cobra"

	"millrace/schema"
	"millrace/workspace"
)

func newCmdQueueReopen(f *factory, runF func(*cobra.Command, *interveneOptions) error) *cobra.Command {
	o := &interveneOptions{f: f}
	cmd := &cobra.Command{
		Use: "reopen ID…", Short: "do ended items again", Args: cobra.MinimumNArgs(1),
		Long: "Queue items that have ended again, with fresh budgets, as their next generation. What their declaration says by\n" +
			"now is taken over. A root spec whose closure target has ended gets a new one, with a contract of its own; other\n" +
			"work of such a root reopens the root's target.",
		ValidArgsFunction: f.items(schema.StateDone, schema.StateCancelled, schema.StateSuperseded),
	}
	o.reason.flag(cmd)
	f.ambiguous(cmd, &o.kind, "kind")
	return leaf(cmd, o, runF, runQueueReopen, func(args []string) { o.ids = args })
}

func runQueueReopen(cmd *cobra.Command, o *interveneOptions) error {
	return o.each(cmd, func(v *workspace.View, m *workspace.Mutation, it *schema.Item) (string, error) {
		switch {
		case it.Family == schema.FamilyTarget:
			return "", refused("reopen the root spec, or the work that is missing", "a closure target opens with its root")
		case !schema.Ended(it.State):
			return "", refused("'millrace why "+it.ID+"' says what it waits for", "%s has not ended: it is %s", it.Key(), it.State)
		}
		from := it.State
		it.Generation++
		m.Requeue(v, it, schema.Note{By: "command", What: "reopened from " + from, Why: o.reason.text}, true)
		if root := it.Lineage.RootSpecID; root != "" && !workspace.IsRoot(it) {
			m.ReopenRoot(v, root, "command", o.reason.text)
		}
		return "is queued again", nil
	})
}
