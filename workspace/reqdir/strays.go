package reqdir

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"millrace/schema"
)

// Strays lists, sorted, the processes that carry the mark of the request in dir in their environment or are in its
// cgroup, and what descends from them; the caller itself is left out. Processes of other users count as far as their
// environment may be read.
func Strays(dir string) ([]int, error) {
	found, err := strays(dir)
	if err == nil && len(found) == 0 {
		found, err = strays(dir) // a parent may have died while its child was not listed yet
	}
	list := make([]int, len(found))
	for i, p := range found {
		list[i] = p.PID
	}
	return list, err
}

func strays(dir string) ([]Process, error) {
	if dir == "" {
		return nil, errors.New("find strays: no request given")
	}
	marked, err := scan(filepath.Base(dir))
	marked = append(marked, members(dir)...)
	if err != nil || len(marked) == 0 {
		return nil, err
	}
	roots := make([]int, len(marked))
	for i, p := range marked {
		roots[i] = p.PID
	}
	below, err := Descendants(roots...)
	all := slices.SortedFunc(slices.Values(append(marked, below...)), func(a, b Process) int { return cmp.Compare(a.PID, b.PID) })
	all = slices.CompactFunc(all, func(a, b Process) bool { return a.PID == b.PID })
	self := os.Getpid()
	return slices.DeleteFunc(all, func(p Process) bool { return p.PID == self || p.Dead }), err
}

func scan(request string) ([]Process, error) {
	all, err := pids()
	if err != nil {
		return nil, err
	}
	s := scanner{mark: []byte("\x00" + schema.RequestEnv + "=" + request + "\x00"), buf: make([]byte, 32<<10)}
	var found []Process
	for _, pid := range all {
		if pid == os.Getpid() || !s.carries(pid) {
			continue
		}
		if p, err := readProcess(pid); err == nil && !p.Dead {
			found = append(found, p)
		}
	}
	return found, nil
}

// A scanner looks for the mark in environments; the buffer it reuses keeps a scan of a busy machine
// at some microseconds a process.
type scanner struct {
	mark, buf []byte
}

// carries reports false also for a process that is gone or another user's. Within its exec a process
// shows no environment for an instant, which must not hide it: an empty one is looked at again unless
// the process cannot have one.
func (s *scanner) carries(pid int) bool {
	for try := 0; ; try++ {
		n, err := s.read("/proc/" + strconv.Itoa(pid) + "/environ")
		if err != nil {
			return false
		}
		if n > 0 {
			return bytes.Contains(s.buf[:n+2], s.mark)
		}
		if p, err := readProcess(pid); err != nil || p.Dead || p.kernel || try == 3 {
			return false
		}
		time.Sleep(time.Millisecond)
	}
}

// read fills the buffer, from its second byte, with n bytes of a file between two zero bytes.
func (s *scanner) read(path string) (n int, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(fd) }()
	for {
		if n+2 >= len(s.buf) {
			s.buf = append(s.buf, make([]byte, len(s.buf))...)
		}
		more, err := unix.Read(fd, s.buf[n+1:len(s.buf)-1])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, err
		case more == 0:
			s.buf[0], s.buf[n+1] = 0, 0
			return n, nil
		default:
			n += more
		}
	}
}

// Grace is how long EndStrays waits between TERM and KILL.
const Grace = 5 * time.Second

// EndStrays ends whatever carries the mark of the request in dir or is in its cgroup: TERM, then KILL, and waits until
// nothing is left. What they write after the signal is no claim: note Ending before, unless Salvage found one already.
func EndStrays(ctx context.Context, dir string) error { return endStrays(ctx, dir, Grace) }

func endStrays(ctx context.Context, dir string, grace time.Duration) error {
	deadline := time.Now().Add(grace)
	warned := map[Process]bool{}
	for pause := 5 * time.Millisecond; ; pause = min(pause*2, 100*time.Millisecond) {
		left, err := strays(dir)
		if err != nil {
			return err
		}
		if len(left) == 0 {
			removeCgroup(dir)
			return nil
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
			return fmt.Errorf("end strays of %s: %w", filepath.Base(dir), err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}
