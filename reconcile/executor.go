package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"millrace/schema"
	"millrace/workspace"
	"millrace/workspace/reqdir"
)

const (
	startsAtOnce = 4                      // forks of supervisors at a time
	startWait    = 10 * time.Second       // for a forked supervisor to take its request
	startPoll    = 2 * time.Millisecond   // first look whether it has; doubles
	startPollMax = 100 * time.Millisecond // slowest look
)

// An Executor gives every active request that has neither completion nor live supervisor a
// supervisor. It is level-triggered: it is told which requests are wanted, looks at their folders, and
// does what is missing; so it does not matter whether a request was committed a moment ago or by a
// daemon that was killed. It changes no state: it hints the loop when there is something to see.
//
// Supervisors do not belong to it. When it is closed its goroutines end, and stages go on.
type Executor struct {
	Dir string // the workspace folder, absolute

	// Start forks the supervisor of a request folder and returns at once; ended is closed when its
	// process is gone (nil: nobody can tell).
	Start func(dir string) (ended <-chan struct{}, err error)

	hints  chan struct{}
	forks  chan struct{} // tokens
	conds  *conditions
	ctx    context.Context // of all keepers, from open to Close
	cancel context.CancelFunc
	keep   map[string]context.CancelFunc // keepers by request; only the loop touches it
	done   sync.WaitGroup
}

// A Want is a request that is to be brought to its completion.
type Want struct{ Run, Request string }

func (x *Executor) open(conds *conditions) {
	x.conds = conds
	x.hints = make(chan struct{}, 1)
	x.forks = make(chan struct{}, startsAtOnce)
	x.keep = map[string]context.CancelFunc{}
	x.ctx, x.cancel = context.WithCancel(context.Background())
}

// Close ends the executor's goroutines and waits for them.
func (x *Executor) Close() {
	x.cancel()
	x.done.Wait()
}

// Sync tells which requests are active now.
func (x *Executor) Sync(wants []Want) {
	wanted := make(map[string]bool, len(wants))
	for _, w := range wants {
		wanted[w.Request] = true
		if x.keep[w.Request] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(x.ctx)
		x.keep[w.Request] = cancel
		x.done.Go(func() { x.keeper(ctx, w) })
	}
	for request, cancel := range x.keep {
		if !wanted[request] {
			cancel()
			delete(x.keep, request)
		}
	}
}

func (x *Executor) hint() {
	select {
	case x.hints <- struct{}{}:
	default: // one is waiting already
	}
}

// keeper brings one request to the point where the loop has something to decide: a completion, or
// nothing left of it. Troubles on the way are conditions, tried again ever more slowly.
func (x *Executor) keeper(ctx context.Context, w Want) {
	dir := filepath.Join(x.Dir, filepath.FromSlash(workspace.RequestDir(w.Run, w.Request)))
	name := "start " + w.Request
	defer x.conds.lift(name)
	for {
		over, err := x.advance(ctx, dir, w.Request)
		switch {
		case ctx.Err() != nil:
			return
		case over:
			x.hint()
			return
		case err == nil:
			x.conds.lift(name)
			continue
		}
		t := time.NewTimer(x.conds.set(name, err))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// advance does the next thing a request needs. The order of the looks matters: a supervisor takes its
// lock before it spends the request and writes the completion before the lock is free, so what was
// spent, is not alive and has no completion by then is lost.
func (x *Executor) advance(ctx context.Context, dir, request string) (over bool, err error) {
	spent, err := reqdir.Started(dir)
	if err != nil {
		return false, fmt.Errorf("look at request %s: %w", request, err)
	}
	alive, err := reqdir.Alive(dir)
	if err != nil {
		return false, fmt.Errorf("look at request %s: %w", request, err)
	}
	if alive {
		return false, reqdir.Await(ctx, dir)
	}
	if _, err := reqdir.ReadCompletion(dir); !errors.Is(err, fs.ErrNotExist) {
		return true, nil // a broken one is for the loop to judge as well
	}
	if spent {
		err := x.bury(ctx, dir, request)
		return err == nil, err
	}
	return false, x.start(ctx, dir, request)
}

// bury ends whatever is left of a lost request, so that nothing runs beside its successor. What the
// agent had said by then counts; what it says while it is being ended does not.
func (x *Executor) bury(ctx context.Context, dir, request string) error {
	said, err := reqdir.Salvage(dir)
	if err != nil {
		return fmt.Errorf("look at lost request %s: %w", request, err)
	}
	if said.Claim == nil {
		if err := reqdir.Ending(dir, schema.ExitFailed); err != nil {
			return fmt.Errorf("bury lost request %s: %w", request, err)
		}
	}
	if err := reqdir.EndStrays(ctx, dir); err != nil {
		return fmt.Errorf("end processes of lost request %s: %w", request, err)
	}
	return nil
}

// start forks a supervisor and waits until it has taken the request, so that no second one is forked
// meanwhile. (A second one would find the lock taken or the request spent, and exit.)
func (x *Executor) start(ctx context.Context, dir, request string) error {
	select {
	case x.forks <- struct{}{}:
		defer func() { <-x.forks }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ended, err := x.Start(dir)
	if err != nil {
		return fmt.Errorf("start supervisor of request %s: %w", request, err)
	}
	died := false
	for waited, poll := time.Duration(0), startPoll; waited < startWait; waited, poll = waited+poll, min(2*poll, startPollMax) {
		if taken, err := taken(dir); taken || err != nil {
			return err
		}
		if died {
			return fmt.Errorf("start supervisor of request %s: it ended before it took the request", request)
		}
		t := time.NewTimer(poll)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-ended:
			t.Stop()
			died = true // unless it was quick: one more look tells
		case <-t.C:
		}
	}
	return fmt.Errorf("start supervisor of request %s: it did not take the request within %s", request, startWait)
}

func taken(dir string) (bool, error) {
	if spent, err := reqdir.Started(dir); spent || err != nil {
		return spent, err
	}
	if alive, err := reqdir.Alive(dir); alive || err != nil {
		return alive, err
	}
	_, err := reqdir.ReadCompletion(dir)
	return !errors.Is(err, fs.ErrNotExist), nil
}
