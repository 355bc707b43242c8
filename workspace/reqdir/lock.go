package reqdir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"millrace/schema"
)

// ErrTaken says that another supervisor holds the request.
var ErrTaken = errors.New("request is supervised already")

// Take takes the request's lock, or fails with ErrTaken. The lock belongs to the open file description:
// it ends with the process at the latest, and a child keeps it only until it execs, so that it never
// looks free between the fork of an agent and the moment its mark can be seen.
func Take(dir string) (release func() error, err error) {
	path := filepath.Join(dir, schema.SupervisorLock)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, fmt.Errorf("take request: %w", err)
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		f.Close()
		return nil, ErrTaken
	case err != nil:
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f.Close, nil
}

// Alive reports whether a supervisor holds the request, asked without taking the lock. A request that
// another machine spent cannot be asked: it is presumed alive until it completes.
func Alive(dir string) (bool, error) {
	held, err := held(dir)
	if held || err != nil {
		return held, err
	}
	return elsewhere(dir)
}

func held(dir string) (bool, error) {
	path := filepath.Join(dir, schema.SupervisorLock)
	f, err := openRegular(path)
	if useless(err) {
		return false, nil // whatever an agent put there, no supervisor holds it
	}
	if err != nil {
		return false, fmt.Errorf("ask for lock: %w", err)
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		return false, fmt.Errorf("ask for lock %s: %w", path, err)
	}
	return lock.Type != unix.F_UNLCK, nil
}

func elsewhere(dir string) (bool, error) {
	by := StartedBy(dir).Machine
	if by == "" || by == machineID() || machineID() == "" {
		return false, nil
	}
	done, err := exists(filepath.Join(dir, schema.CompletionFile))
	return !done && err == nil, err
}

// How often Await looks when nothing wakes it: where no watch can be had, and as a safety net.
const (
	awaitPoll = 50 * time.Millisecond
	awaitNet  = 2 * time.Second
)

// Await blocks until the request is not alive, or ctx ends. It never takes the lock, not even for an
// instant in which a supervisor would find it taken: the kernel reports the close of the lock file,
// which the death of its holder is, too.
func Await(ctx context.Context, dir string) error {
	closed, stop, err := watchClose(filepath.Join(dir, schema.SupervisorLock))
	pause := awaitNet
	if err != nil {
		closed, pause = nil, awaitPoll // no watch to be had (or no lock file yet): look now and then
	} else {
		defer func() { go stop() }() // the kernel takes some 15 ms to end a watch; nobody need wait for that
	}
	soon := time.Duration(0) // the close is reported just before the lock is free
	for {
		alive, err := Alive(dir)
		if err != nil || !alive {
			return err
		}
		wait := pause
		if soon > 0 {
			wait, soon = soon, soon*2
			if soon > awaitPoll {
				soon = 0 // it was another's close
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case _, ok := <-closed:
			soon = 100 * time.Microsecond
			if !ok {
				closed, pause = nil, awaitPoll
			}
		case <-timer.C:
		}
		timer.Stop()
	}
}

// watchClose reports on the channel whenever a writer of the file closes it.
func watchClose(path string) (<-chan struct{}, func(), error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, nil, fmt.Errorf("watch %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_CLOSE_WRITE); err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("watch %s: %w", path, err)
	}
	closed, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(done)
		defer close(closed)
		buf := make([]byte, 4096)
		for {
			if _, err := f.Read(buf); err != nil {
				return // closed by stop
			}
			select {
			case closed <- struct{}{}:
			default: // one is waiting to be seen
			}
		}
	}()
	return closed, func() { f.Close(); <-done }, nil
}
