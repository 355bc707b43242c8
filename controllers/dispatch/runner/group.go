package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"millrace/schema"
	"millrace/workspace/reqdir"
)

// A group runs programs one after the other and leaves nothing of them behind. As a child subreaper
// this process inherits every orphan below it, whatever session it is in: while wait4 knows a child,
// something of the program lives; when it knows none, nothing does.
type group struct {
	grace   time.Duration
	sigchld chan os.Signal
	cgroup  *reqdir.Cgroup // that programs start in; nil: there is none
	pid     int            // of the program that runs
	status  *unix.WaitStatus
}

// A program is what a group runs.
type program struct {
	path           string
	argv, env      []string
	dir            string
	stdin          *os.File  // closed once the program has it; nil: nothing to read
	hold           *os.File  // stays open in the program, which may outlive us; nil: none
	stdout, stderr io.Writer // never fail; the same one twice: one stream, in order
	timeout        time.Duration
	stall          time.Duration    // 0: may be silent
	progress       *clock           // needed with stall
	lately         func() time.Time // when it got further last without saying so; nil: it says all
	ending         func(exit string)
	abort          func() // the program's own way to be ended, before any signal
}

// An ended program; stopped is the exit kind when we ended it, else "".
type ended struct {
	stopped string
	status  unix.WaitStatus
	start   time.Time
}

// String says how it ended by itself, behind its name.
func (e ended) String() string {
	if e.status.Signaled() {
		return fmt.Sprintf("was ended by signal %v", e.status.Signal())
	}
	return fmt.Sprintf("ended with exit code %d", e.status.ExitStatus())
}

func newGroup(dir string, grace time.Duration) (*group, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become subreaper: %w", err)
	}
	g := &group{grace: grace, sigchld: make(chan os.Signal, 1)}
	signal.Notify(g.sigchld, syscall.SIGCHLD)
	g.cgroup, _ = reqdir.NewCgroup(dir) // where there can be none, marks have to do
	return g, nil
}

func (g *group) close() {
	signal.Stop(g.sigchld)
	if g.cgroup != nil {
		g.cgroup.Remove()
	}
}

// run starts a program, waits for it within its limits and ctx, and ends whatever it leaves. An error
// means that it was never started.
func (g *group) run(ctx context.Context, p *program) (ended, error) {
	streams, err := g.spawn(p)
	if err != nil {
		return ended{}, err
	}
	e := ended{start: time.Now()}
	e.stopped = g.wait(ctx, p)
	if g.reap(); g.status != nil {
		e.stopped = "" // it was over before any signal of ours
	}
	abort := p.abort
	if e.stopped == "" {
		abort = nil // only its leavings are ended
	} else if p.ending != nil {
		p.ending(e.stopped)
	}
	g.end(abort)
	e.status = *g.status
	streams.drain()
	return e, nil
}

func (g *group) spawn(p *program) (*streams, error) {
	s := &streams{}
	stdin := p.stdin
	if stdin == nil {
		null, err := os.Open(os.DevNull)
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", p.path, err)
		}
		stdin = null
	}
	stdout, err := s.pipe(p.stdout)
	if err != nil {
		stdin.Close()
		return nil, err
	}
	defer stdout.Close()
	stderr := stdout
	if p.stderr != p.stdout {
		if stderr, err = s.pipe(p.stderr); err != nil {
			stdin.Close()
			s.drain()
			return nil, err
		}
		defer stderr.Close()
	}
	g.status = nil
	g.pid, err = g.fork(p, stdin.Fd(), stdout.Fd(), stderr.Fd())
	if err != nil {
		stdin.Close()
		stdout.Close()
		stderr.Close()
		s.drain()
		return nil, fmt.Errorf("start %s: %w", p.path, err)
	}
	stdin.Close() // who writes into the other end hears that the program is gone
	return s, nil
}

// fork starts the program in the request's cgroup, or without where that fails: a container's filter may not know how
// to start a process in one.
func (g *group) fork(p *program, files ...uintptr) (pid int, err error) {
	if p.hold != nil {
		files = append(files, p.hold.Fd())
	}
	sys := &syscall.SysProcAttr{Setsid: true} // "kill 0" in it must not reach us
	attr := &syscall.ProcAttr{Dir: p.dir, Env: at(p.dir, p.env), Files: files, Sys: sys}
	if g.cgroup != nil {
		sys.UseCgroupFD, sys.CgroupFD = true, g.cgroup.FD()
		if pid, err := syscall.ForkExec(p.path, p.argv, attr); err == nil {
			return pid, nil
		}
		sys.UseCgroupFD = false
	}
	return syscall.ForkExec(p.path, p.argv, attr)
}

// at is the environment of a program in dir: some believe PWD.
func at(dir string, env []string) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(entry string) bool { return strings.HasPrefix(entry, "PWD=") })
	return append(env, "PWD="+dir)
}

// wait returns "" when the program has ended, or the reason to end it.
func (g *group) wait(ctx context.Context, p *program) string {
	var timeout, stall <-chan time.Time
	if p.timeout > 0 {
		t := time.NewTimer(p.timeout)
		defer t.Stop()
		timeout = t.C
	}
	var quiet *time.Timer
	if p.stall > 0 {
		p.progress.touch()
		quiet = time.NewTimer(p.stall)
		defer quiet.Stop()
		stall = quiet.C
	}
	for {
		if g.reap(); g.status != nil {
			return ""
		}
		select {
		case <-g.sigchld:
		case <-ctx.Done():
			return schema.ExitCancelled
		case <-timeout:
			return schema.ExitTimeout
		case <-stall:
			left := p.stall - p.progress.idle()
			if left <= 0 && p.lately != nil {
				left = min(p.stall, p.stall-time.Since(p.lately()))
			}
			if left <= 0 {
				return schema.ExitStalled
			}
			quiet.Reset(left)
		}
	}
}

// reap takes notice of every child that ended; true: there is none left.
func (g *group) reap() bool {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.ECHILD):
			return true
		case err == nil && pid == 0:
			return false
		case err == nil && pid == g.pid:
			g.status = &status
		}
	}
}

// end ends the program and every descendant: asked kindly, then TERM, then KILL until none is left.
func (g *group) end(abort func()) {
	if abort != nil {
		abort()
		g.until(time.Now().Add(g.grace), func() bool { return g.status != nil })
	}
	deadline := time.Now().Add(g.grace)
	warned := map[reqdir.Process]bool{}
	for pause := 2 * time.Millisecond; !g.reap(); pause = min(2*pause, 50*time.Millisecond) {
		kill := time.Now().After(deadline)
		below, _ := reqdir.Descendants(os.Getpid()) // cannot be listed now: asked again below
		for _, p := range below {
			name := reqdir.Process{PID: p.PID, Start: p.Start}
			switch {
			case p.Dead:
			case kill:
				_ = p.Signal(unix.SIGKILL) // who still lives in the next round gets it again
			case !warned[name]:
				warned[name] = true
				_ = p.Signal(unix.SIGTERM)
			}
		}
		g.until(time.Now().Add(pause), nil)
	}
}

// until waits for a child to end (done nil) or for done, at most until the deadline.
func (g *group) until(deadline time.Time, done func() bool) {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	for {
		if g.reap(); done != nil && done() {
			return
		}
		select {
		case <-timer.C:
			return
		case <-g.sigchld:
			if done == nil {
				return
			}
		}
	}
}

// A clock knows when there was progress last.
type clock struct {
	base time.Time
	last atomic.Int64 // since base
}

func newClock() *clock { return &clock{base: time.Now()} }

func (c *clock) touch() { c.last.Store(int64(time.Since(c.base))) }

func (c *clock) idle() time.Duration { return time.Since(c.base) - time.Duration(c.last.Load()) }

// streams carry a program's output to its writers.
type streams struct {
	readers []*os.File
	pumps   sync.WaitGroup
}

func (s *streams) pipe(to io.Writer) (*os.File, error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("open pipe: %w", err)
	}
	_ = unix.SetNonblock(ends[0], true) // ours, for its deadline; the program's end must block
	r, w := os.NewFile(uintptr(ends[0]), "output"), os.NewFile(uintptr(ends[1]), "output")
	s.readers = append(s.readers, r)
	s.pumps.Go(func() { _, _ = io.Copy(to, r) }) // ends at the end of the stream or at drain's deadline
	return w, nil
}

// drainTime is for what is still in a pipe when its writers are gone. Only an end of it that was
// handed to a stranger can make it last.
const drainTime = 2 * time.Second

func (s *streams) drain() {
	for _, r := range s.readers {
		_ = r.SetReadDeadline(time.Now().Add(drainTime)) // pipes have deadlines
	}
	s.pumps.Wait()
	for _, r := range s.readers {
		r.Close()
	}
}
