package reconcile

import (
	"context"
	"fmt"
	"time"
)

const (
	checkpointQuiet = time.Second // without work before an idle daemon makes a checkpoint
	checkpointEvery = 4096        // records after which a busy one makes it
)

// sleep waits for a hint, a timer, or the next look that the observers want.
func (l *loop) sleep(ctx context.Context) error {
	if l.dirty >= checkpointEvery {
		if err := l.checkpoint(ctx); err != nil {
			l.conds.set("checkpoint", err)
		}
	}
	for {
		due := earliest(earliest(l.rest.due, l.rest.settles), l.Observers.Next())
		save := l.saveAt()
		woken, err := l.until(ctx, earliest(due, save))
		switch {
		case err != nil:
			return err
		case woken || !due.IsZero() && !l.Now().Before(due):
			return nil
		}
		if err := l.checkpoint(ctx); err != nil {
			l.conds.set("checkpoint", err)
			l.worked = l.Now().Add(time.Minute)
		}
	}
}

// saveAt is when a checkpoint is due: when a daemon has worked, has come to rest, and stayed so.
func (l *loop) saveAt() time.Time {
	if l.dirty == 0 || l.command || len(l.rest.inFlight) > 0 {
		return time.Time{}
	}
	return l.worked.Add(checkpointQuiet)
}

func (l *loop) checkpoint(ctx context.Context) error {
	if l.dirty == 0 {
		return nil
	}
	if err := l.Observers.Remember(ctx); err != nil {
		return fmt.Errorf("remember what was seen: %w", err)
	}
	if err := l.Workspace.Checkpoint(ctx); err != nil {
		return fmt.Errorf("make checkpoint: %w", err)
	}
	l.dirty = 0
	l.conds.lift("checkpoint")
	return nil
}

// until waits for a hint (true) or the time (false); a zero time never comes.
func (l *loop) until(ctx context.Context, at time.Time) (woken bool, err error) {
	var due <-chan time.Time
	if !at.IsZero() {
		t := time.NewTimer(max(0, at.Sub(l.Now())))
		defer t.Stop()
		due = t.C
	}
	var lost <-chan struct{}
	if l.Executor != nil {
		lost = l.Executor.hints
	}
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-l.Observers.Hints():
		return true, nil
	case <-lost:
		return true, nil
	case <-due:
		return false, nil
	}
}

func (l *loop) pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// earliest of two times of which the zero one never comes.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
