package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"millrace/cmd/millrace/term"
	"millrace/schema"
	"millrace/workspace"
)

func newCmdQueue(f *factory) *cobra.Command {
	return group("queue", "work items: list, add, cancel, retry, release", newCmdQueueLs(f, nil), newCmdQueueShow(f, nil),
		newCmdAddTask(f, nil), newCmdQueueCancel(f, nil), newCmdQueueRetry(f, nil), newCmdQueueReopen(f, nil), newCmdQueueAdmit(f, nil))
}

type queueOptions struct {
	f      *factory
	out    output
	family string
	state  term.Choice
	all    bool
	id     string
}

func newCmdQueueLs(f *factory, runF func(*cobra.Command, *queueOptions) error) *cobra.Command {
	o := &queueOptions{f: f}
	cmd := &cobra.Command{Use: "ls", Short: "items that are not ended, in the order in which they move", Args: cobra.NoArgs}
	o.out.flag(cmd)
	cmd.Flags().StringVar(&o.family, "family", "", "only this family")
	completeBy(cmd, "family", f.words(families))
	choice(cmd, &o.state, "state", "only this state", stateOrder...)
	cmd.Flags().BoolVarP(&o.all, "all", "a", false, "ended items too")
	return leaf(cmd, o, runF, runQueueLs)
}

func runQueueLs(_ *cobra.Command, o *queueOptions) error {
	_, v, err := o.f.state()
	if err != nil {
		return err
	}
	if o.family != "" {
		if o.family, err = familyOf(v, o.family); err != nil {
			return err
		}
	}
	items := pick(v, func(it *schema.Item) bool {
		switch {
		case o.family != "" && it.Family != o.family:
			return false
		case o.state.Value != "":
			return it.State == o.state.Value
		}
		return o.all || !schema.Ended(it.State)
	})
	return printItems(o.f, o.out.Value, v, items, "nothing is queued; 'millrace queue ls --all' lists ended items too")
}

func newCmdQueueShow(f *factory, runF func(*cobra.Command, *queueOptions) error) *cobra.Command {
	o := &queueOptions{f: f}
	cmd := &cobra.Command{Use: "show ID", Short: "an item's document as it was admitted", Args: cobra.ExactArgs(1), ValidArgsFunction: f.items()}
	o.out.flag(cmd)
	f.ambiguous(cmd, &o.family, "kind")
	return leaf(cmd, o, runF, runQueueShow, func(args []string) { o.id = args[0] })
}

func runQueueShow(_ *cobra.Command, o *queueOptions) error {
	w, v, err := o.f.state()
	if err != nil {
		return err
	}
	it, err := find(v.State, o.id, o.family)
	if err != nil {
		return err
	}
	text, err := w.ReadFile(it.Path, schema.MaxFile)
	if err != nil {
		return fmt.Errorf("read document: %w", err)
	}
	shown := documentShape{shape(v, it), string(text)}
	return o.f.io.Print(o.out.Value, term.Report{Data: shown, Names: []string{it.Key().String()}, Text: func(bool) {
		_, _ = o.f.io.Out.Write(text)
		o.f.say("%s", o.f.io.PaintErr(term.Dim, strings.TrimSuffix(fmt.Sprintf("-- %s, %s: %s", it.Path, it.State, conditions(v, it)), ": ")))
	}})
}

// documentShape is an item with its document.
type documentShape struct {
	itemShape
	Text string `json:"text"` // the canonical document
}

type interveneOptions struct {
	f      *factory
	reason reason
	ids    []string
	kind   string
	root   string
	now    bool
	force  bool
}

func newCmdQueueCancel(f *factory, runF func(*cobra.Command, *interveneOptions) error) *cobra.Command {
	o := &interveneOptions{f: f}
	cmd := &cobra.Command{
		Use: "cancel ID…", Short: "end items that are queued or blocked; with --now an active one too", Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: f.items(schema.StateQueue, schema.StateBlocked, schema.StateActive),
	}
	o.reason.flag(cmd)
	f.ambiguous(cmd, &o.kind, "kind")
	cmd.Flags().BoolVar(&o.now, "now", false, "end the stage of an active item as well")
	return leaf(cmd, o, runF, runQueueCancel, func(args []string) { o.ids = args })
}

func runQueueCancel(cmd *cobra.Command, o *interveneOptions) error {
	return o.each(cmd, func(v *workspace.View, m *workspace.Mutation, it *schema.Item) (string, error) {
		switch {
		case it.Family == schema.FamilyTarget:
			return "", refused("'millrace closure abandon "+it.ID+" --reason …' does", "a closure target is not cancelled")
		case schema.Ended(it.State) && v.Fixed(it):
			return "", refused("'millrace closure abandon "+it.ID+" --reason …' ends what is left of it", "%s is %s already, and yet to be judged", it.Key(), it.State)
		case schema.Ended(it.State):
			return "", refused("'millrace describe "+it.ID+"' says how it ended", "%s is %s already", it.Key(), it.State)
		case it.State != schema.StateActive:
			m.CancelItem(v, it, "command", o.reason.text)
			return "is cancelled", nil
		case !o.now:
			return "", refused("--now ends its stage too; its agent is told to stop", "%s is active", it.Key())
		}
		o.wantEnd(v, m, it)
		return "is cancelled as soon as its stage has ended", nil
	})
}

// wantEnd asks for the end of an active item; the controllers tell its agent and take the item out
// when nothing of it runs any more.
func (o *interveneOptions) wantEnd(v *workspace.View, m *workspace.Mutation, it *schema.Item) {
	it.Cancel = &schema.Cancel{By: "command", Why: o.reason.text, At: v.Now, Now: true, To: schema.StateCancelled}
	m.PutItem(it)
	m.Tell(workspace.Event{Type: workspace.EvCancelWanted, Item: it.Key(), Run: it.Run, To: schema.StateCancelled, Message: o.reason.text})
}

// each does one thing to every item that is named, all in one mutation or none; act is given a clone and
// says what became of it. Then people are told, and who will act on it.
func (o *interveneOptions) each(cmd *cobra.Command, act func(*workspace.View, *workspace.Mutation, *schema.Item) (string, error)) error {
	if err := o.f.operator(cmd); err != nil {
		return err
	}
	if err := o.reason.check(cmd); err != nil {
		return err
	}
	w, err := o.f.open()
	if err != nil {
		return err
	}
	var did []string
	_, err = o.f.change(cmd, w, o.reason.text, func(v *workspace.View, m *workspace.Mutation) error {
		did = did[:0]
		seen := map[schema.Key]bool{}
		for _, id := range o.ids {
			it, err := find(v.State, id, o.kind)
			if err != nil {
				return err
			}
			if seen[it.Key()] {
				continue // named twice
			}
			seen[it.Key()] = true
			what, err := act(v, m, it.Clone())
			if err != nil {
				return err
			}
			did = append(did, it.Key().String()+" "+what)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, line := range did {
		o.f.say("%s", line)
	}
	if _, held := w.Daemon(); !held && slices.ContainsFunc(did, func(s string) bool { return strings.Contains(s, "queued again") || strings.Contains(s, "as soon as") }) {
		o.f.say("no daemon runs: 'millrace run daemon' goes on with it")
	}
	return nil
}

func newCmdQueueRetry(f *factory, runF func(*cobra.Command, *interveneOptions) error) *cobra.Command {
	o := &interveneOptions{f: f}
	cmd := &cobra.Command{
		Use: "retry-blocked ID…", Short: "queue blocked items again, with fresh budgets", Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: f.items(schema.StateBlocked),
	}
	o.reason.flag(cmd)
	f.ambiguous(cmd, &o.kind, "family")
	cmd.Flags().StringVar(&o.root, "root-spec-id", "", "refuse items of another lineage")
	cmd.Flags().BoolVar(&o.force, "force", false, "retry what is not safe to repeat, or was retried often")
	return leaf(cmd, o, runF, runQueueRetry, func(args []string) { o.ids = args })
}

func runQueueRetry(cmd *cobra.Command, o *interveneOptions) error {
	return o.each(cmd, func(v *workspace.View, m *workspace.Mutation, it *schema.Item) (string, error) {
		if err := o.retryable(v, it); err != nil {
			return "", err
		}
		m.Requeue(v, it, schema.Note{By: "command", What: noteRetried, Why: o.reason.text}, true)
		return "is queued again", nil
	})
}

const noteRetried = "retried"

func (o *interveneOptions) retryable(v *workspace.View, it *schema.Item) error {
	if it.Family == schema.FamilyTarget {
		return refused("'millrace closure retry "+it.ID+" --reason …' does", "a closure target is not queued again but judged again")
	}
	if it.State != schema.StateBlocked {
		return refused("'millrace why "+it.ID+"' says what it waits for", "%s is not blocked but %s", it.Key(), it.State)
	}
	if o.root != "" && it.Lineage.RootSpecID != o.root {
		return refused("'millrace describe "+it.ID+"' shows its lineage", "%s does not descend from %s", it.Key(), o.root)
	}
	p := v.CurrentPlan()
	if o.force || p == nil {
		return nil
	}
	if b := it.Blocked; b != nil {
		for plane := range p.Graphs {
			if k := p.Kind(plane, b.Node); k != nil && slices.Contains(k.Owns, it.Family) && !k.RetrySafe() {
				return refused("look at what it did, then use --force", "%s stopped at %s, which is not safe to repeat", it.Key(), b.Node)
			}
		}
	}
	retries := 0
	for _, n := range it.Notes {
		if n.What == noteRetried {
			retries++
		}
	}
	if limit := p.Recovery.MaxRequeues; limit > 0 && retries >= limit {
		return refused("change its declaration, or use --force", "%s was retried %d times already", it.Key(), retries)
	}
	return nil
}
