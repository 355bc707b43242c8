package workspace

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// The kernel's lock is the only evidence of who may write; it goes with the process that holds it.
// The files are never deleted: a second holder could lock the deleted one's successor. A lock belongs
// to an open file, so two Workspace values of one process exclude each other as well.

const lockPoll = time.Millisecond

// A LockedError says that the commit lock did not become free in the time given.
type LockedError struct {
	PID int // who the kernel says holds it; 0: unknown
	Err error
}

func (e *LockedError) Error() string {
	holder := "another process"
	if e.PID > 0 {
		holder = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("lock %s: %s holds it: %v", LockFile, holder, e.Err)
}
func (e *LockedError) Unwrap() error { return e.Err }

// lock takes the in-process mutex and the file lock. Commits hold it for milliseconds.
func (w *Workspace) lock(ctx context.Context) (unlock func() error, err error) {
	select {
	case w.busy <- struct{}{}:
	case <-ctx.Done():
		return nil, &LockedError{PID: os.Getpid(), Err: context.Cause(ctx)}
	}
	defer func() {
		if err != nil {
			<-w.busy
		}
	}()
	if w.closed {
		return nil, fmt.Errorf("lock %s: %w", LockFile, fs.ErrClosed)
	}
	l := flock.New(w.abs(LockFile), flock.SetFlag(os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW), flock.SetPermissions(0o644))
	got, err := l.TryLockContext(ctx, lockPoll)
	if err != nil && ctx.Err() != nil {
		return nil, &LockedError{PID: lockHolder(w.abs(LockFile)), Err: context.Cause(ctx)}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &GoneError{w.Dir}
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", LockFile, full(err))
	}
	if !got {
		return nil, &LockedError{Err: errors.New("not granted")}
	}
	if err := w.samePlace(l); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return func() error {
		defer func() { <-w.busy }()
		return l.Close()
	}, nil
}

// samePlace makes sure that the lock and the open folder belong together: the path may have been
// moved away and made anew since Open.
func (w *Workspace) samePlace(l *flock.Flock) error {
	held, err := l.Stat()
	if err != nil {
		return fmt.Errorf("lock %s: %w", LockFile, err)
	}
	seen, err := w.disk.Lstat(LockFile)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(held, seen) {
		return &GoneError{w.Dir}
	}
	return err
}

func (w *Workspace) abs(rel string) string { return filepath.Join(w.Dir, filepath.FromSlash(rel)) }

// DaemonInfo is what a daemon says about itself while it holds the daemon lock: a message for
// people, never evidence.
type DaemonInfo struct {
	Instance string    `json:"daemon"` // unique over hosts and restarts
	PID      int       `json:"pid"`
	Host     string    `json:"host"`
	Command  string    `json:"command,omitempty"`
	Mode     string    `json:"mode,omitempty"`   // it runs instead of the configured one
	Config   string    `json:"config,omitempty"` // configuration in the workspace folder that it reads instead of the usual one
	Since    time.Time `json:"since"`

	// SingleHost is the operator's word that no other host uses the folder, which a daemon needs on
	// a file system that may be mounted by several.
	SingleHost bool `json:"single_host,omitempty"`
}

// A DaemonRunningError says who holds the daemon lock.
type DaemonRunningError struct{ Info DaemonInfo }

func (e *DaemonRunningError) Error() string {
	if e.Info.PID == 0 {
		return "start daemon: another daemon runs in this workspace"
	}
	return fmt.Sprintf("start daemon: %s runs in this workspace (process %d on %s, since %s)",
		e.Info.Instance, e.Info.PID, e.Info.Host, e.Info.Since.Format(time.RFC3339))
}

// A SharedDiskError says that locks on this file system may not be seen by other hosts.
type SharedDiskError struct{ Dir, Kind string }

func (e *SharedDiskError) Error() string {
	return fmt.Sprintf("start daemon: %s lies on %s, whose locks other hosts may not see: move the project to a local disk, or start with --single-host when no other host uses it", e.Dir, e.Kind)
}

// LockDaemon takes the daemon lock for the life of a daemon.
func (w *Workspace) LockDaemon(info DaemonInfo) (release func(), err error) {
	if kind, err := w.shared(w.Dir); err != nil {
		return nil, fmt.Errorf("look at the file system: %w", err)
	} else if kind != "" && !info.SingleHost {
		return nil, &SharedDiskError{w.Dir, kind}
	}
	l := flock.New(w.abs(DaemonLock), flock.SetFlag(os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW), flock.SetPermissions(0o644))
	// Daemon asks by taking the lock for a moment, which must not look like a daemon.
	err = tryFor(l, lockGrace)
	if last := w.daemonInfo(); errors.Is(err, context.DeadlineExceeded) && last.gone() {
		err = tryFor(l, deathGrace)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, &DaemonRunningError{w.daemonInfo()}
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", DaemonLock, full(err))
	}
	raw, err := json.MarshalIndent(info, "", "  ")
	if err == nil {
		err = w.message(DaemonFile, append(raw, '\n'))
	}
	if err == nil {
		err = w.ShowConditions(nil)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w", DaemonFile, err), l.Close())
	}
	return func() { _ = l.Close() }, nil // closing frees the lock whatever it returns
}

const (
	lockGrace = 50 * time.Millisecond
	// deathGrace is for a daemon that was killed while it started a process: what it forked has the lock open
	// until it has become the other program.
	deathGrace = 2 * time.Second
)

func tryFor(l *flock.Flock, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := l.TryLockContext(ctx, lockPoll)
	return err
}

// gone reports whether the process that wrote the message certainly lives no more. It only makes a newcomer more
// patient: the lock alone decides.
func (i DaemonInfo) gone() bool {
	host, err := os.Hostname()
	return err == nil && i.Host == host && i.PID > 0 && errors.Is(syscall.Kill(i.PID, 0), syscall.ESRCH)
}

// message replaces a file that people read and nothing depends on.
func (w *Workspace) message(name string, data []byte) error {
	a := &applier{disk: w.disk}
	return a.put(name, data, true)
}

// daemonInfo reads the message; an unreadable one says nothing.
func (w *Workspace) daemonInfo() DaemonInfo {
	var info DaemonInfo
	data, err := readAll(w.disk, DaemonFile, 64<<10)
	if err != nil || json.Unmarshal(data, &info) != nil {
		return DaemonInfo{}
	}
	return info
}

// Daemon reports whether a daemon holds the lock now, which only the kernel knows, and what the last
// one said about itself.
func (w *Workspace) Daemon() (*DaemonInfo, bool) {
	info := w.daemonInfo()
	f, err := w.disk.Open(DaemonLock)
	if err != nil {
		return &info, false
	}
	f.Close()
	l := flock.New(w.abs(DaemonLock), flock.SetFlag(os.O_RDONLY|syscall.O_NOFOLLOW))
	got, err := l.TryRLock()
	if got || err != nil {
		_ = l.Close()
		return &info, false
	}
	return &info, true
}

// LockHolder is the process that holds the commit lock now; 0 when none does or none can be told.
func (w *Workspace) LockHolder() int { return lockHolder(w.abs(LockFile)) }

// lockHolder asks the kernel's table of locks.
func lockHolder(name string) int {
	info, err := os.Stat(name)
	if err != nil {
		return 0
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	table, err := os.Open("/proc/locks")
	if err != nil {
		return 0
	}
	defer table.Close()
	inode := ":" + strconv.FormatUint(st.Ino, 10)
	for lines := bufio.NewScanner(table); lines.Scan(); {
		// 1: FLOCK  ADVISORY  WRITE 4321 fd:00:131077 0 EOF
		f := strings.Fields(lines.Text())
		if len(f) > 5 && f[1] == "FLOCK" && strings.HasSuffix(f[5], inode) {
			pid, _ := strconv.Atoi(f[4])
			return pid
		}
	}
	return 0
}
