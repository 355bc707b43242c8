package reconcile

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"millrace/schema"
	"millrace/workspace"
)

// patience bounds how often in a row the world may turn out to have moved before that is shown as a
// condition and tried again more slowly, and how often a query is asked.
const patience = 5

// A rest is what a fixpoint left: until when the loop may sleep, and what for.
type rest struct {
	inFlight []Want             // requests without an applied completion
	settling bool               // the intake or the plan's inputs are not wholly read yet
	settles  time.Time          // when a settle timer is due; zero: none
	due      time.Time          // when the earliest timer is due; zero: none
	stop     bool               // a stop was obeyed
	blind    schema.Diagnostics // what cannot be seen, or only late
	left     []string           // what keeps it from being closed, when that is asked
}

// A step is one decision under the lock.
type step struct {
	rest rest
	asks []workspace.Query
	stop bool // the mutation, once committed, ends the loop
	mark marks

	flying bool // requests were in flight when it was taken
}

// A PanicError is a defect of a controller.
type PanicError struct {
	Controller string
	Value      any
	Stack      []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("ask controller %s: panic: %v\n%s", e.Controller, e.Value, e.Stack)
}

// round looks at the world and brings the controllers to their fixpoint. Without starting, those that
// begin new work are not asked.
func (l *loop) round(ctx context.Context, starting bool) error {
	l.rep.Wakes++
	if err := l.look(ctx); err != nil {
		return err
	}
	defer l.Observers.Forget()
	br := newBreaker()
	for tries, first := 0, true; ; tries++ {
		st, rec, err := l.step(ctx, br, starting)
		if first && err == nil {
			l.resumed, first = st.flying, false
		}
		switch {
		case errors.Is(err, workspace.ErrMoved):
			br.forget()
			if tries >= patience && l.command {
				return fmt.Errorf("decide: %w; try again when nobody edits it", err)
			} else if tries >= patience {
				if err = l.trouble(ctx, "decide", err); err != nil {
					return err
				}
			}
			err = l.look(ctx)
		case passing(err) && !l.command:
			if rec != nil { // committed, and carried out before anything else is
				l.committed(rec)
				br.commit(st.mark)
			}
			if err = l.trouble(ctx, "commit", err); err == nil {
				err = l.look(ctx)
			}
		case err != nil:
		case rec != nil:
			l.calm()
			l.committed(rec)
			br.commit(st.mark)
			tries = 0
			if st.stop {
				l.rest = rest{stop: true}
				return nil
			}
		case len(st.asks) > 0 && tries < patience: // what is not answered by then stays open
			br.forget()
			l.Observers.Ask(st.asks)
			err = l.look(ctx)
		default:
			l.calm()
			l.conds.blind(st.rest.blind)
			l.rest = st.rest
			if l.Executor != nil {
				l.Executor.Sync(st.rest.inFlight)
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// step asks the controllers in order, under the lock, and commits the first proposal.
func (l *loop) step(ctx context.Context, br *breaker, starting bool) (step, *workspace.Record, error) {
	var st step
	rec, err := l.Workspace.Transact(ctx, func(s *workspace.State) (*workspace.Mutation, error) {
		st = step{} // decided anew when the transaction is
		v := l.Observers.View(s)
		st.flying = len(inFlight(v)) > 0
		if v.Control.Stop != nil && v.Control.Stop.Daemon == v.Daemon {
			starting = false
		}
		for _, c := range l.Controllers {
			if !starting && starters[c.Name()] {
				continue
			}
			p, err := ask(c, v)
			if err != nil {
				return nil, err
			}
			if p.Mutation != nil {
				st.stop = p.Stop
				st.mark, err = br.check(c.Name(), p.Mutation, v)
				return p.Mutation, err
			}
			l.note(&st, p, v)
		}
		st.rest.inFlight = inFlight(v)
		st.rest.settling = settling(v)
		st.rest.blind = v.Notices
		if l.Until == Closed {
			st.rest.left = v.Unclosed()
		}
		return nil, nil
	})
	return st, rec, err
}

// note collects what a settled controller still wants.
func (l *loop) note(st *step, p Proposal, v *workspace.View) {
	for _, q := range p.Observe {
		if _, answered := v.Asked[q]; !answered && !slices.Contains(st.asks, q) {
			st.asks = append(st.asks, q)
		}
	}
	if p.After <= 0 {
		return
	}
	at := l.Now().Add(p.After)
	st.rest.due = earliest(st.rest.due, at)
	if p.Settles {
		st.rest.settles = earliest(st.rest.settles, at)
	}
}

// ask turns a controller's panic into an error that names it, so that the lock is released and a
// person learns whose defect it is.
func ask(c Controller, v *workspace.View) (p Proposal, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{c.Name(), r, debug.Stack()}
		}
	}()
	return c.Reconcile(v), nil
}

func inFlight(v *workspace.View) []Want {
	var wants []Want
	for _, r := range v.ActiveRuns() {
		if r.Request != "" {
			wants = append(wants, Want{Run: r.ID, Request: r.Request})
		}
	}
	return wants
}

func settling(v *workspace.View) bool {
	if !v.Compiled.Ready || v.Intake == nil || !v.Intake.Complete {
		return true
	}
	for _, f := range v.Intake.Files {
		if f.Settling {
			return true
		}
	}
	return false
}

// look refreshes what the observers see, waiting out their troubles.
func (l *loop) look(ctx context.Context) error {
	for {
		err := l.Observers.Refresh(ctx)
		if err == nil {
			l.conds.lift("observe")
			return nil
		}
		if l.command || ctx.Err() != nil {
			return fmt.Errorf("observe workspace: %w", err)
		}
		if err := l.trouble(ctx, "observe", err); err != nil {
			return err
		}
	}
}

// calm lifts what a decision that was taken shows to be over.
func (l *loop) calm() {
	l.conds.lift("commit")
	l.conds.lift("decide")
}

// trouble shows a condition that lifts by itself and waits before the next try.
func (l *loop) trouble(ctx context.Context, name string, err error) error {
	return l.pause(ctx, l.conds.set(name, err))
}

func (l *loop) committed(rec *workspace.Record) {
	l.rep.Commits++
	l.dirty++
	l.worked = l.Now()
	if l.Started != nil {
		l.Started(rec)
	}
}

// passing reports whether an error lifts by itself: the disk is full, or the last record cannot be
// applied yet. The journal is whole in either case, and running stages go on.
func passing(err error) bool {
	var unapplied *workspace.UnappliedError
	return errors.Is(err, workspace.ErrFull) || errors.As(err, &unapplied)
}
