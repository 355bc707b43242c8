// Package runner owns the supervisor: the small process that spends one request, by at most one start
// of an agent, and reports once. It outlives the daemon, so all it knows comes from its request
// folder and all it says goes there (workspace/reqdir is the protocol).
//
// An adapter says how one agent program is run, what its events mean and what its end means; a seat is the
// folder where that agent has its login and what it remembers. The supervisor keeps the limits, the transcripts,
// the checks, the keys out of all that it writes, and the promise that nothing of a request is left running when its
// completion is there.
package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"millrace/schema"
	"millrace/workspace/reqdir"
)

// Names of the supervisor: a binary of its own beside millrace, or a hidden subcommand of millrace.
const (
	binaryName = "millrace-stage"
	subcommand = "stage"
	logFile    = "supervisor.log" // in the request folder, when it had something to say
)

// GraceEnv shortens, for tests, the time between the steps of ending an agent.
const GraceEnv = "MILLRACE_GRACE"

// Serve is the main of a supervisor; args are those behind the program's name (and subcommand). It
// returns the exit code: 0 also when the request is another's, or spent.
func Serve(args []string, stderr io.Writer) int {
	if len(args) != 1 || strings.HasPrefix(args[0], "-") {
		fmt.Fprintf(stderr, "usage: %s REQUEST-FOLDER\nMillrace starts it; it runs the one stage that the folder asks for.\n", binaryName)
		return 2
	}
	if err := Supervise(context.Background(), args[0]); err != nil {
		fmt.Fprintf(stderr, "%s %s: %v\n", binaryName, args[0], err)
		return 1
	}
	return 0
}

// Supervise spends the request in dir, if nobody has: it returns nil at once when the request is
// supervised, spent or complete, and else when its completion is written. The end of ctx, SIGTERM and
// the cancel file end the agent. The process must have no children of its own: all are reaped.
func Supervise(ctx context.Context, dir string) error {
	grace := reqdir.Grace
	if text := os.Getenv(GraceEnv); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("read %s: %w", GraceEnv, err)
		}
		grace = d
	}
	return supervise(ctx, dir, grace, func(string) {})
}

// supervise tells at of every phase it enters.
func supervise(ctx context.Context, dir string, grace time.Duration, at func(phase string)) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("find request: %w", err)
	}
	at("lock")
	release, err := reqdir.Take(dir)
	if errors.Is(err, reqdir.ErrTaken) {
		return nil
	}
	if err != nil {
		return err
	}
	at("locked")
	err = spend(ctx, dir, grace, at)
	if info, statErr := os.Lstat(filepath.Join(dir, logFile)); err == nil && statErr == nil && info.Size() == 0 {
		err = os.Remove(filepath.Join(dir, logFile))
	}
	return errors.Join(err, release())
}

// spend runs with the lock held.
func spend(ctx context.Context, dir string, grace time.Duration, at func(string)) error {
	_, err := os.Lstat(filepath.Join(dir, schema.CompletionFile))
	if !errors.Is(err, fs.ErrNotExist) {
		return err // complete, or not to be known
	}
	request, unreadable := reqdir.ReadRequest(dir)
	if errors.Is(unreadable, fs.ErrNotExist) {
		return unreadable // not a request folder, or not yet
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s, err := newSupervisor(dir, request, grace, at)
	if err != nil {
		return err
	}
	defer s.close()
	if first, err := reqdir.Spend(dir); err != nil || !first {
		return err
	}
	at("started")
	if unreadable != nil {
		return complete(ctx, dir, &schema.Completion{SchemaVersion: schema.Version,
			Request: filepath.Base(dir), Run: filepath.Base(filepath.Dir(dir)), Exit: schema.ExitNotStarted,
			Failure: schema.FailNotStarted, Detail: unreadable.Error(), Ended: time.Now().UTC()})
	}
	running, end := watchCancel(ctx, dir)
	defer end()
	c := s.run(running)
	at("completing")
	return complete(ctx, dir, c)
}

// cancelPoll is how often the supervisor looks for the cancel file. A stat costs a microsecond; a
// watch would cost one of the 128 inotify instances that a user has, and see nothing on file
// systems shared with the machine that cancels.
const cancelPoll = 200 * time.Millisecond

// watchCancel returns a context that also ends when the cancel file is there.
func watchCancel(ctx context.Context, dir string) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	looked, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(cancelPoll)
		defer tick.Stop()
		for first := true; ; first = false {
			if wanted, err := reqdir.Cancelled(dir); wanted && err == nil {
				cancel()
			}
			if first {
				close(looked)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	<-looked
	return ctx, func() { cancel(); <-done }
}

// complete writes the completion. A full disk does not lose a paid stage: it waits for room, until it
// is told to end.
func complete(ctx context.Context, dir string, c *schema.Completion) error {
	for {
		err := reqdir.WriteCompletion(dir, c)
		if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}

// Locate finds what serves as supervisor: millrace-stage beside this program, else this program
// itself, with the arguments that make it one.
func Locate() (binary string, args []string) {
	self, err := os.Executable()
	if err != nil {
		return "/proc/self/exe", []string{subcommand}
	}
	if filepath.Base(self) == binaryName {
		return self, nil
	}
	beside := filepath.Join(filepath.Dir(self), binaryName)
	if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
		return beside, nil
	}
	return self, []string{subcommand}
}

// Start forks a supervisor for the request in dir, in a session of its own, and returns at once; args
// stand before the folder (see Locate). It is not given the marks of a request that this process may
// carry itself. What it has to say about itself goes to supervisor.log in dir. ended is closed when the
// supervisor's process has ended; what came of it is in the folder.
func Start(binary, dir string, args ...string) (ended <-chan struct{}, err error) {
	dir, dirErr := filepath.Abs(dir)
	binary, err = filepath.Abs(binary) // the supervisor starts in the request folder
	if err := errors.Join(dirErr, err); err != nil {
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(dir, logFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	defer log.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	defer null.Close()
	argv := append(append([]string{binary}, args...), dir)
	p, err := os.StartProcess(binary, argv, &os.ProcAttr{Dir: dir, Env: unmarked(os.Environ()),
		Files: []*os.File{null, null, log}, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = p.Wait() // only takes notice of its end
	}()
	return gone, nil
}
