package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"millrace/cmd/millrace/term"
	"millrace/schema"
	"millrace/workspace"
)

// closed is what a root spec is waited for to be.
const closed = "closed"

type waitOptions struct {
	f        *factory
	id, kind string
	want     term.Choice
	timeout  time.Duration
}

func newCmdWait(f *factory, runF func(*cobra.Command, *waitOptions) error) *cobra.Command {
	o := &waitOptions{f: f}
	cmd := &cobra.Command{
		Use: "wait ID", Short: "wait until an item is done, blocked or ended", Args: cobra.ExactArgs(1),
		Long: "Wait until an item is done (0), or until it cannot become so by itself or the time is over (1). An id\n" +
			"that is not known yet is waited for as well. A root spec is closed when its closure target has been\n" +
			"judged; any other item when it has ended, in whatever way.",
		ValidArgsFunction: f.items(schema.StateQueue, schema.StateActive, schema.StateBlocked),
	}
	choice(cmd, &o.want, "for", "what to wait for (default done)", schema.StateDone, schema.StateBlocked, closed)
	cmd.Flags().DurationVar(&o.timeout, "timeout", 0, "give up after this time (0: never)")
	f.ambiguous(cmd, &o.kind, "kind")
	return leaf(cmd, o, runF, runWait, func(args []string) { o.id = args[0] })
}

func runWait(cmd *cobra.Command, o *waitOptions) error {
	w, err := o.f.open()
	if err != nil {
		return err
	}
	o.want.Value = orElse(o.want.Value, schema.StateDone)
	ctx, cancel := cmd.Context(), context.CancelFunc(func() {})
	if o.timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, o.timeout)
	}
	defer cancel()
	s, err := w.Load()
	if err != nil {
		return err
	}
	if over, err := o.over(s); over {
		return err
	}
	for rec, err := range w.Tail(ctx, s.Seq+1) {
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			return err
		}
		if err := s.Fold(rec, w.Content); err != nil {
			return err
		}
		if over, err := o.over(s); over {
			return err
		}
	}
	if errors.Is(cmd.Context().Err(), context.Canceled) {
		return context.Canceled
	}
	state := "not known"
	if it, err := find(s, o.id, o.kind); err == nil {
		state = it.State
	}
	return fail(exitDiffers, "'millrace why "+o.id+"' says what it waits for", "%s is %s after %v", o.id, state, o.timeout)
}

// over reports whether there is nothing left to wait for; the error says that it will not come.
func (o *waitOptions) over(s *workspace.State) (bool, error) {
	it, err := find(s, o.id, o.kind)
	if err != nil {
		return len(s.Find(o.id)) > 1, err
	}
	if t := s.Items[workspace.TargetKey(it.ID)]; t != nil && o.want.Value == closed && workspace.IsRoot(it) {
		it = t
	}
	blocked, ended := it.State == schema.StateBlocked, schema.Ended(it.State)
	switch {
	case it.Family == schema.FamilyTarget && ended && it.State != schema.StateDone:
		return true, fail(exitDiffers, "'millrace closure show "+it.ID+"' says how that came", "the target %s is %s", it.ID, stages[it.State])
	case it.State == o.want.Value, o.want.Value == closed && ended:
		_, _ = fmt.Fprintf(o.f.io.Out, "%s %s\n", it.Key(), it.State)
		return true, nil
	case ended, blocked && o.want.Value == schema.StateDone:
		return true, fail(exitDiffers, "'millrace describe "+it.ID+"' says how that came", "%s is %s", it.Key(), it.State)
	}
	return false, nil
}
