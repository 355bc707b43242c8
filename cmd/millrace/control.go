package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"millrace/schema"
	"millrace/workspace"
)

func newCmdControl(f *factory) *cobra.Command {
	return group("control", "pause, resume, stop, reload", newCmdPause(f, nil), newCmdResume(f, nil), newCmdStop(f, nil), newCmdReload(f, nil))
}

type controlOptions struct {
	f      *factory
	reason string
	runner string
	cancel bool
	wait   time.Duration
}

func newCmdPause(f *factory, runF func(*cobra.Command, *controlOptions) error) *cobra.Command {
	o := &controlOptions{f: f}
	cmd := &cobra.Command{Use: "pause", Short: "start no more stages; running ones end normally", Args: cobra.NoArgs}
	cmd.Flags().StringVar(&o.reason, "reason", "", "why, for whoever asks")
	return leaf(cmd, o, runF, runPause)
}

func runPause(cmd *cobra.Command, o *controlOptions) error {
	w, err := o.begin(cmd)
	if err != nil {
		return err
	}
	rec, err := o.f.change(cmd, w, orElse(o.reason, "paused by an operator"), func(v *workspace.View, m *workspace.Mutation) error {
		if p, ok := v.Control.Pauses[workspace.PauseOperator]; ok && (o.reason == "" || p.Reason == o.reason) {
			return nil
		}
		c := v.Control.Clone()
		if c.Pauses == nil {
			c.Pauses = map[string]schema.Pause{}
		}
		c.Pauses[workspace.PauseOperator] = schema.Pause{By: "command", Reason: o.reason, Since: v.Now}
		m.PutControl(c)
		m.Tell(workspace.Event{Type: workspace.EvPaused, Message: because(workspace.PauseOperator, o.reason)})
		return nil
	})
	if err == nil {
		o.f.say("%s", pick2(rec != nil, "paused: no stage starts until 'millrace resume'; running ones end normally", "it is paused already"))
	}
	return err
}

func newCmdResume(f *factory, runF func(*cobra.Command, *controlOptions) error) *cobra.Command {
	o := &controlOptions{f: f}
	cmd := &cobra.Command{Use: "resume", Short: "end the operator's pause, or give a stalled runner another try", Args: cobra.NoArgs}
	cmd.Flags().StringVar(&o.reason, "reason", "", "why, for the audit trail")
	cmd.Flags().StringVar(&o.runner, "runner", "", "resume this runner and leave pauses alone")
	completeBy(cmd, "runner", f.words(runners))
	return leaf(cmd, o, runF, runResume)
}

func runResume(cmd *cobra.Command, o *controlOptions) error {
	w, err := o.begin(cmd)
	if err != nil {
		return err
	}
	var left []string
	rec, err := o.f.change(cmd, w, orElse(o.reason, "resumed by an operator"), func(v *workspace.View, m *workspace.Mutation) error {
		c := v.Control.Clone()
		left = left[:0]
		if o.runner != "" {
			if _, ok := c.Runners[o.runner]; !ok {
				return refused("'millrace status' shows the runners that wait", "runner %s neither waits nor is stalled", o.runner)
			}
			delete(c.Runners, o.runner)
			m.PutControl(c)
			m.Tell(workspace.Event{Type: workspace.EvRunnerResumed, Message: because(o.runner, o.reason)})
			return nil
		}
		if _, ok := c.Pauses[workspace.PauseOperator]; ok {
			delete(c.Pauses, workspace.PauseOperator)
			m.PutControl(c)
			m.Tell(workspace.Event{Type: workspace.EvResumed, Message: because(workspace.PauseOperator, o.reason)})
		}
		for source, p := range c.Pauses {
			left = append(left, because("still paused by "+source, p.Reason))
		}
		return nil
	})
	if err != nil {
		return err
	}
	switch {
	case o.runner != "":
		o.f.say("runner %s is tried again", o.runner)
	default:
		o.f.say("%s", pick2(rec != nil, "resumed", "it was not paused by an operator"))
	}
	slices.Sort(left)
	for _, line := range left {
		o.f.say("%s; 'millrace why' says what ends that", line)
	}
	return nil
}

func newCmdStop(f *factory, runF func(*cobra.Command, *controlOptions) error) *cobra.Command {
	o := &controlOptions{f: f}
	cmd := &cobra.Command{Use: "stop", Short: "end the daemon; stages go on under their supervisors", Args: cobra.NoArgs}
	cmd.Flags().StringVar(&o.reason, "reason", "", "why, for the audit trail")
	cmd.Flags().BoolVar(&o.cancel, "cancel", false, "end the running stages first")
	cmd.Flags().DurationVar(&o.wait, "timeout", 30*time.Second, "how long to wait for its end (0: not at all)")
	return leaf(cmd, o, runF, runStop)
}

func runStop(cmd *cobra.Command, o *controlOptions) error {
	w, err := o.begin(cmd)
	if err != nil {
		return err
	}
	info, held := w.Daemon()
	if !held {
		o.f.say("no daemon runs here: there is nothing to stop")
		return nil
	}
	_, err = o.f.change(cmd, w, orElse(o.reason, "stopped by an operator"), func(v *workspace.View, m *workspace.Mutation) error {
		if s := v.Control.Stop; s != nil && s.Daemon == info.Instance && s.Cancel == o.cancel {
			return nil
		}
		c := v.Control.Clone()
		c.Stop = &schema.Stop{Daemon: info.Instance, Reason: o.reason, Cancel: o.cancel, At: v.Now}
		m.PutControl(c)
		m.Tell(workspace.Event{Type: workspace.EvStop, Message: because(info.Instance, o.reason)})
		return nil
	})
	if err != nil {
		return err
	}
	for end := time.Now().Add(o.wait); ; {
		now, held := w.Daemon()
		if !held || now.Instance != info.Instance {
			break
		}
		if time.Now().After(end) {
			o.f.say("the daemon (process %d) was asked to stop and has not ended yet", info.PID)
			return pick2(o.wait > 0, silent(exitDiffers), nil)
		}
		if err := sleep(cmd.Context(), 20*time.Millisecond); err != nil {
			return err
		}
	}
	o.f.say("the daemon (process %d) has ended", info.PID)
	return o.f.leftRunning(w)
}

// leftRunning prints the stages that go on without a daemon, and how to end them.
func (f *factory) leftRunning(w *workspace.Workspace) error {
	s, err := w.Load()
	if err != nil {
		return err
	}
	for _, r := range s.ActiveRuns() {
		if r.Request != "" {
			f.say("%s of %s goes on under its supervisor; the next daemon takes its result ('millrace queue cancel %s --now --reason …' ends it)", r.Node, r.Item, r.Item.ID)
		}
	}
	return nil
}

func newCmdReload(f *factory, runF func(*cobra.Command, *controlOptions) error) *cobra.Command {
	o := &controlOptions{f: f}
	cmd := &cobra.Command{Use: "reload-config", Aliases: []string{"reload"}, Short: "freeze configuration and workflow files as they are now", Args: cobra.NoArgs,
		Long: "A daemon notices changed configuration and workflow files by itself; this makes sure of it and says what\ncame of it. Without a daemon the new plan is frozen here."}
	return leaf(cmd, o, runF, runReload)
}

func runReload(cmd *cobra.Command, o *controlOptions) error {
	if _, err := o.begin(cmd); err != nil {
		return err
	}
	w, v, err := o.f.look(cmd.Context())
	if err != nil {
		return err
	}
	if v.Compiled.Plan == nil {
		return v.Compiled.Diags
	}
	want := v.Compiled.Digest
	if want == v.Control.Plan {
		o.f.say("plan %s is current: nothing has changed", want.Short())
		return nil
	}
	settled, err := o.f.settle(cmd.Context(), w, func(s *workspace.State) bool { return s.Control.Plan == want })
	if err != nil {
		return err
	}
	if !settled {
		return refused("'millrace why' says what it waits for; a change made while a stage ran needs 'millrace intake accept PATH'",
			"plan %s has not become current", want.Short())
	}
	o.f.say("plan %s is current; runs in flight end under their own", want.Short())
	return nil
}

func (o *controlOptions) begin(cmd *cobra.Command) (*workspace.Workspace, error) {
	if err := o.f.operator(cmd); err != nil {
		return nil, err
	}
	return o.f.open()
}

func because(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + why
}

func orElse(s, other string) string { return pick2(s != "", s, other) }

func pick2[T any](cond bool, a, b T) T {
	if cond {
		return a
	}
	return b
}

func newCmdLock(f *factory) *cobra.Command {
	return group("lock", "who holds the workspace", newCmdLockStatus(f, nil))
}

// lockShape is who holds the locks.
type lockShape struct {
	Running bool                  `json:"running"`                   // a daemon holds its lock, by the kernel's word
	Daemon  *workspace.DaemonInfo `json:"daemon,omitempty"`          // the daemon that runs, else the last one
	Commit  int                   `json:"commit_lock_pid,omitempty"` // process that commits right now
}

type lockOptions struct {
	f   *factory
	out output
}

func newCmdLockStatus(f *factory, runF func(*cobra.Command, *lockOptions) error) *cobra.Command {
	o := &lockOptions{f: f}
	cmd := &cobra.Command{Use: "status", Short: "the daemon and whoever commits right now", Args: cobra.NoArgs}
	o.out.flag(cmd)
	return leaf(cmd, o, runF, runLockStatus)
}

func runLockStatus(_ *cobra.Command, o *lockOptions) error {
	w, err := o.f.open()
	if err != nil {
		return err
	}
	info, held := w.Daemon()
	shown := lockShape{held, nil, w.LockHolder()}
	if info.Instance != "" {
		shown.Daemon = info
	}
	return o.f.io.Print(o.out.Value, reportOf(shown, func() {
		out := o.f.io.Out
		switch {
		case held:
			_, _ = fmt.Fprintf(out, "daemon.lock  held by process %d on %s, since %s\n", info.PID, info.Host, o.f.io.Time(info.Since))
		case info.Instance != "":
			_, _ = fmt.Fprintf(out, "daemon.lock  free (the last daemon was process %d on %s)\n", info.PID, info.Host)
		default:
			_, _ = fmt.Fprintln(out, "daemon.lock  free")
		}
		if shown.Commit != 0 {
			_, _ = fmt.Fprintf(out, "lock         held by process %d, for a moment\n", shown.Commit)
		} else {
			_, _ = fmt.Fprintln(out, "lock         free")
		}
		o.f.say("the kernel frees a lock when its process ends: nothing here needs clearing (%s)", filepath.Join(workspace.Folder, workspace.StateDir))
	}, pick2(held, []string{info.Instance}, nil)...))
}
