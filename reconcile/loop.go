package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"millrace/workspace"
)

// Store is the one way to change state: a workspace.
type Store interface {
	Transact(ctx context.Context, decide func(*workspace.State) (*workspace.Mutation, error)) (*workspace.Record, error)
	Checkpoint(ctx context.Context) error
}

// Sight fills the view: a workspace's observers.
type Sight interface {
	Hints() <-chan struct{}
	Refresh(ctx context.Context) error
	View(s *workspace.State) *workspace.View
	Ask(qs []workspace.Query)
	Forget()
	Next() time.Time
	Settling() bool
	Remember(ctx context.Context) error
}

// Idle is the value of Options.Until that ends the loop when nothing more will happen by itself: a
// fixpoint with every controller asked, no request in flight, nothing settling, and no timer that a
// controller asked for within a minute. What only a person, a later time or a provider's backoff can
// move (blocked and held items, pauses, a runner that waits for a quarter of an hour) is idle.
const Idle = "idle"

// Closed is the value of Options.Until that ends the loop where Idle does, and has the report say whether all work is
// done and every closure target closed.
const Closed = "closed"

// idleHorizon is how far a timer may be away for the loop not to be idle yet.
const idleHorizon = time.Minute

// Options of a loop. Workspace, Observers and Controllers are needed, the rest has defaults.
type Options struct {
	Workspace   Store
	Observers   Sight
	Controllers []Controller // in the order in which they are asked
	Executor    *Executor    // nil: requests are not started (a command)
	Now         func() time.Time
	Log         *slog.Logger
	MaxTicks    int                     // end after so many ticks; 0: no limit
	Until       string                  // Idle, Closed, or "" to go on until stopped
	Started     func(*workspace.Record) // told of every record that the loop commits
	Notice      func(Condition)         // told, in place of the log, when a condition appears or lifts
}

// A Report says what a loop did.
type Report struct {
	Commits    int
	Wakes      int // times the loop looked at the world
	Ticks      int
	Stopped    bool        // a stop was obeyed
	Conditions []Condition // that still hold
	Left       []string    // until Closed: what is in the way of everything being done and closed; empty: it is so
}

// starters are the controllers that begin new work. They are not asked while a tick ends what it
// began, nor once a stop is wanted: that is how "start nothing more" stays out of their logic.
var starters = map[string]bool{"dispatch": true}

type loop struct {
	Options
	rep     Report
	conds   *conditions
	rest    rest      // of the last fixpoint
	reached bool      // Until has been
	resumed bool      // when the last round began, requests were in flight
	command bool      // conditions end it
	dirty   int       // records since the last checkpoint
	worked  time.Time // when the last of them was committed
}

// Run drives the controllers until the context ends (its error is returned then), a stop is obeyed, or MaxTicks or Until is
// reached. Running stages go on under their supervisors when it returns. The errors that end it are
// *FightError, *PanicError and those of a workspace that cannot go on; a full disk or an unapplied
// record is a condition that it waits out.
func Run(ctx context.Context, o Options) (Report, error) {
	l, err := newLoop(o)
	if err != nil {
		return Report{}, err
	}
	if l.Executor != nil {
		defer l.Executor.Close()
	}
	err = l.drive(ctx)
	if err == nil || ctx.Err() != nil {
		err = errors.Join(err, l.checkpoint(context.WithoutCancel(ctx)))
	}
	l.rep.Stopped, l.rep.Conditions = l.rest.stop, l.conds.list()
	if l.rep.Left = l.rest.left; l.Until == Closed && !l.reached {
		l.rep.Left = append(l.rep.Left, "it ended before everything had come to rest")
	}
	return l.rep, err
}

// Settle brings the controllers to their fixpoint once, waiting for dropped files to settle: what a
// command does when no daemon runs. It leaves out the controllers that begin work.
func Settle(ctx context.Context, o Options) (Report, error) {
	o.Executor = nil
	l, err := newLoop(o)
	if err != nil {
		return Report{}, err
	}
	l.command = true
	for {
		if err := l.round(ctx, false); err != nil {
			return l.rep, err
		}
		if !l.rest.settling || l.rest.stop {
			return l.rep, nil
		}
		if err := l.sleep(ctx); err != nil {
			return l.rep, err
		}
	}
}

func newLoop(o Options) (*loop, error) {
	if o.Until != "" && o.Until != Idle && o.Until != Closed {
		return nil, fmt.Errorf("run loop: cannot run until %q: want %q or %q", o.Until, Idle, Closed)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &loop{Options: o, conds: &conditions{log: o.Log, notice: o.Notice, now: o.Now}}
	if o.Executor != nil {
		o.Executor.open(l.conds)
	}
	return l, nil
}

func (l *loop) drive(ctx context.Context) error {
	for l.MaxTicks == 0 || l.rep.Ticks < l.MaxTicks {
		var done bool
		var err error
		if l.MaxTicks > 0 {
			done, err = l.tick(ctx)
		} else {
			done, err = l.turn(ctx)
		}
		if err != nil || done {
			return err
		}
	}
	return nil
}

// turn is one wake-up of a daemon that runs on: reach the fixpoint, then sleep.
func (l *loop) turn(ctx context.Context) (done bool, err error) {
	if err := l.round(ctx, true); err != nil {
		return false, err
	}
	if l.rest.stop || l.Until != "" && l.idle() {
		return true, nil
	}
	return false, l.sleep(ctx)
}

// tick waits out settle timers, then reaches the fixpoint, once, with the controllers that begin work;
// waits for the stages that are in flight then; applies their results and chooses what follows; starts
// nothing more. Stages that are in flight when it begins are of a tick that was killed: it only ends
// that one. So the state after n ticks does not depend on how many processes they were spread over.
func (l *loop) tick(ctx context.Context) (done bool, err error) {
	if err := l.round(ctx, false); err != nil {
		return false, err
	}
	resumed := l.resumed
	for !l.rest.stop && (l.rest.settling || !l.rest.settles.IsZero()) {
		if err := l.again(ctx, false); err != nil {
			return false, err
		}
	}
	if !l.rest.stop && !resumed {
		if err := l.round(ctx, true); err != nil {
			return false, err
		}
	}
	busy := resumed || len(l.rest.inFlight) > 0
	for !l.rest.stop && len(l.rest.inFlight) > 0 {
		if err := l.again(ctx, false); err != nil {
			return false, err
		}
	}
	l.rep.Ticks++
	return l.rest.stop || l.Until != "" && !busy && l.idle(), nil
}

func (l *loop) again(ctx context.Context, starting bool) error {
	if err := l.sleep(ctx); err != nil {
		return err
	}
	return l.round(ctx, starting)
}

func (l *loop) idle() bool {
	r := l.rest
	soon := !r.due.IsZero() && r.due.Before(l.Now().Add(idleHorizon))
	l.reached = len(r.inFlight) == 0 && !r.settling && r.settles.IsZero() && !soon && !l.Observers.Settling()
	return l.reached
}
