package reqdir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"millrace/schema"
)

// Strays lists, sorted, the processes that carry the request's mark in their environment, and what
// descends from them; the caller itself is left out. Processes of other users count as far as their
// environment may be read.
func Strays(request string) ([]int, error) {
	found, err := strays(request)
	list := make([]int, len(found))
	for i, p := range found {
		list[i] = p.PID
	}
	slices.Sort(list)
	return list, err
}

func strays(request string) ([]Process, error) {
	if request == "" {
		return nil, errors.New("find strays: no request given")
	}
	marked, err := scan(request)
	if err == nil && len(marked) == 0 {
		marked, err = scan(request) // a parent may have died while its child was not listed yet
	}
	if err != nil || len(marked) == 0 {
		return nil, err
	}
	roots := make([]int, len(marked))
	for i, p := range marked {
		roots[i] = p.PID
	}
	below, err := Descendants(roots...)
	self := os.Getpid()
	return slices.DeleteFunc(append(marked, below...), func(p Process) bool { return p.PID == self || p.Dead }), err
}

func scan(request string) ([]Process, error) {
	all, err := pids()
	if err != nil {
		return nil, err
	}
	mark := []byte(schema.RequestEnv + "=" + request)
	var found []Process
	for _, pid := range all {
		if pid == os.Getpid() {
			continue
		}
		has, err := carries(pid, mark)
		if err != nil || !has {
			continue // gone, or another user's
		}
		if p, err := readProcess(pid); err == nil && !p.Dead {
			found = append(found, p)
		}
	}
	return found, nil
}

// carries reads a process's environment. Within its exec a process shows none for an instant, which
// must not hide it: an empty one is looked at again unless the process cannot have one.
func carries(pid int, mark []byte) (bool, error) {
	path := "/proc/" + strconv.Itoa(pid) + "/environ"
	for try := 0; ; try++ {
		env, err := os.ReadFile(path)
		if err != nil {
			return false, err
		}
		if len(env) > 0 {
			return slices.ContainsFunc(bytes.Split(env, []byte{0}), func(v []byte) bool { return bytes.Equal(v, mark) }), nil
		}
		p, err := readProcess(pid)
		if err != nil || p.Dead || p.kernel || try == 3 {
			return false, err
		}
		time.Sleep(time.Millisecond)
	}
}

// Grace is how long EndStrays waits between TERM and KILL.
const Grace = 5 * time.Second

// EndStrays ends whatever carries the request's mark: TERM, then KILL, and waits until nothing is left.
// For a request that was lost use EndLost: what its agent writes after the signal is no claim.
func EndStrays(ctx context.Context, request string) error { return endStrays(ctx, request, Grace) }

func endStrays(ctx context.Context, request string, grace time.Duration) error {
	deadline := time.Now().Add(grace)
	warned := map[Process]bool{}
	for pause := 5 * time.Millisecond; ; pause = min(pause*2, 100*time.Millisecond) {
		left, err := strays(request)
		if err != nil || len(left) == 0 {
			return err
		}
		kill := time.Now().After(deadline)
		for _, p := range left {
			key := Process{PID: p.PID, Start: p.Start}
			switch {
			case kill:
				err = errors.Join(err, p.Signal(unix.SIGKILL))
			case !warned[key]:
				warned[key] = true
				err = errors.Join(err, p.Signal(unix.SIGTERM))
			}
		}
		if err != nil {
			return fmt.Errorf("end strays of %s: %w", request, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}
