package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"millrace/schema"
	"millrace/workspace/disk"
)

// A Workspace is an open workspace folder. Reading methods may be used at any time; Transact,
// Checkpoint and the state they work on are serialised, in this process and with all others.
type Workspace struct {
	Dir     string // absolute path of millrace-agents
	Project string // absolute path of the folder that holds it

	disk   disk.FS
	now    func() time.Time
	boot   string      // of the kernel that runs us
	fatal  func(error) // ends the process after a lost write
	roll   int64       // size of new segments
	shared func(dir string) (string, error)

	// What follows belongs to the holder of busy.
	busy      chan struct{} // in-process half of the lock
	closed    bool
	dead      error // a write was lost: nothing more is done
	state     *State
	last      position // last record in state
	segment   *segment // it is appended to
	marked    position // last record known to be applied
	mark      disk.File
	checked   bool // paths have been compared since the last power cut
	saved     position
	strangers []Stranger

	tip  atomic.Pointer[tip] // where the journal ends, as far as this process knows or makes it
	hint struct {            // wakes tails of this process
		sync.Mutex
		ch chan struct{}
	}
}

// A NoWorkspaceError says that a folder holds no workspace.
type NoWorkspaceError struct {
	Project string
	Fresh   bool // the folder is there without a journal, as in a fresh clone
}

func (e *NoWorkspaceError) Error() string {
	if e.Fresh {
		return fmt.Sprintf("%s in %s has no journal yet, like that of a fresh clone", Folder, e.Project)
	}
	return fmt.Sprintf("there is no %s in %s", Folder, e.Project)
}

// Open opens the workspace of a project: the folder that holds millrace-agents. It reads nothing yet.
func Open(project string) (*Workspace, error) {
	w, err := openDir(project, disk.OpenRoot)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NoWorkspaceError{Project: project}
	}
	if err != nil {
		return nil, err
	}
	firsts, err := segments(w.disk)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(firsts) == 0 {
		return nil, errors.Join(&NoWorkspaceError{Project: project, Fresh: true}, w.Close())
	}
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func openDir(project string, open func(string) (disk.FS, error)) (*Workspace, error) {
	abs, err := filepath.Abs(project)
	if err != nil {
		return nil, fmt.Errorf("open workspace: %w", err)
	}
	dir := filepath.Join(abs, Folder)
	d, err := open(dir)
	if err != nil {
		return nil, fmt.Errorf("open workspace: %w", err)
	}
	w := &Workspace{
		Dir: dir, Project: abs, disk: d, now: time.Now, boot: bootID(), fatal: endProcess,
		roll: segmentSize, shared: disk.Shared, busy: make(chan struct{}, 1),
	}
	w.hint.ch = make(chan struct{})
	return w, nil
}

// Create makes a workspace in a project and opens it; false when there was one.
func Create(project string) (*Workspace, bool, error) {
	return create(project, disk.OpenRoot, func(*Workspace) {})
}

func create(project string, open func(string) (disk.FS, error), configure func(*Workspace)) (*Workspace, bool, error) {
	dir := filepath.Join(project, Folder)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, false, fmt.Errorf("create workspace: %w", full(err))
	}
	w, err := openDir(project, open)
	if err != nil {
		return nil, false, err
	}
	configure(w)
	made, err := w.create()
	if err != nil {
		return nil, false, errors.Join(fmt.Errorf("create workspace: %w", err), w.Close())
	}
	return w, made, nil
}

// create makes the folders, durably, and the first record. What a crash left half made is finished.
func (w *Workspace) create() (made bool, err error) {
	if firsts, err := segments(w.disk); err != nil || len(firsts) == 0 {
		if err := w.folders(); err != nil {
			return false, err
		}
	}
	_, err = w.Transact(context.Background(), func(s *State) (*Mutation, error) {
		if s.Seq > 0 {
			return nil, nil
		}
		made = true
		return &Mutation{By: "init", Why: "new workspace", Events: []Event{{Type: EvWorkspace}}}, nil
	})
	return made, err
}

func (w *Workspace) folders() error {
	for _, dir := range []string{IntakeDir, RunsDir, StateDir, JournalDir, BlobsDir, PlansDir, StatusDir, ForeignDir} {
		if err := w.disk.Mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return full(err)
		}
	}
	for _, dir := range []string{StateDir, "."} {
		if err := w.disk.SyncDir(dir); err != nil {
			return w.die(&syncError{err})
		}
	}
	if err := syncFolder(w.Project); err != nil {
		return w.die(&syncError{err})
	}
	return w.firstSegment()
}

// firstSegment makes the journal, unless another process was first.
func (w *Workspace) firstSegment() (err error) {
	unlock, err := w.lock(context.Background())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	firsts, err := segments(w.disk)
	if err != nil || len(firsts) > 0 {
		return err
	}
	s, err := createSegment(w.disk, 0, "", w.roll)
	if err != nil {
		return w.die(full(err))
	}
	return s.file.Close()
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Close gives up the open files. It waits for a commit under way.
func (w *Workspace) Close() error {
	w.busy <- struct{}{}
	defer func() { <-w.busy }()
	if w.closed {
		return nil
	}
	w.closed = true
	w.forget()
	return w.disk.Close()
}

// forget drops what is known of the journal; the next commit reads it anew.
func (w *Workspace) forget() {
	if w.segment != nil {
		w.segment.file.Close()
	}
	if w.mark != nil {
		w.mark.Close()
	}
	w.segment, w.mark, w.state, w.last, w.marked = nil, nil, nil, position{}, position{}
}

// Strangers returns, once, what was found in the way of commits and kept. The caller commits an
// EvForeign for each.
func (w *Workspace) Strangers() []Stranger {
	w.busy <- struct{}{}
	defer func() { <-w.busy }()
	found := w.strangers
	w.strangers = nil
	return found
}

// ReadFile reads a regular file of the workspace of at most max bytes, never through a link out.
func (w *Workspace) ReadFile(rel string, max int64) ([]byte, error) {
	if err := validPath(rel); err != nil {
		return nil, fmt.Errorf("read %s: %w", rel, err)
	}
	return readAll(w.disk, rel, max)
}

// Digest of a regular file of the workspace; "" when there is none.
func (w *Workspace) Digest(rel string) (schema.Digest, error) {
	if err := validPath(rel); err != nil {
		return "", fmt.Errorf("read %s: %w", rel, err)
	}
	found, err := look(w.disk, rel)
	if err != nil {
		return "", err
	}
	if found.kind == other {
		return "", &fs.PathError{Op: "read", Path: rel, Err: disk.ErrNotRegular}
	}
	return found.digest, nil
}

// bootID tells one boot of the kernel from the next: after another one, what was not synced may be
// lost.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// endProcess is what a lost write ends in: whatever is decided after it could rest on nothing.
func endProcess(err error) {
	fmt.Fprintf(os.Stderr, "millrace: a write was lost, ending at once: %v\n", err)
	os.Exit(7) // I/O error
}
