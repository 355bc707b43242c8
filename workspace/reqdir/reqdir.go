// Package reqdir owns the protocol of a request folder: who may spend the request, how one sees
// whether it is alive, spent or lost, what of it still runs, and what its files say. The supervisor, the
// observers and the executor share it, so it links neither CUE nor the journal.
//
// The files, in the order in which they must be looked at: supervisor.lock, an open-file-description
// lock held while the request is alive; completion.json, which counts once that lock is free; started,
// created exactly once before the agent, which spends the request. Process ids and times in them are
// messages to people; only locks, and what of a process says whose it is (the mark in its environment, the request's
// cgroup), are evidence. session.json, beside them, is what a lost request leaves to the next one.
package reqdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"millrace/schema"
)

// Files that only the supervisor and Salvage know.
const (
	unfinished = ".completion.json.tmp" // becomes completion.json
	endingFile = "ending"               // written before the first signal to the agent
	maxRecord  = 16 << 20               // bytes of a request or completion
)

// A BrokenError says that a file of the protocol is there but cannot be used.
type BrokenError struct {
	Path string
	Err  error
}

func (e *BrokenError) Error() string { return fmt.Sprintf("read %s: %v", e.Path, e.Err) }

// Unwrap gives the cause.
func (e *BrokenError) Unwrap() error { return e.Err }

// ReadRequest reads request.json: fs.ErrNotExist when it is not there, a BrokenError when it says
// nothing usable.
func ReadRequest(dir string) (*schema.Request, error) {
	var r schema.Request
	path := filepath.Join(dir, schema.RequestFile)
	if err := readJSON(path, &r); err != nil {
		return nil, err
	}
	if r.ID == "" {
		return nil, &BrokenError{path, errors.New("it names no request")}
	}
	return &r, checkVersion(path, r.SchemaVersion)
}

// ReadCompletion reads completion.json: fs.ErrNotExist when it is not there, a BrokenError when it is
// half written (a power cut) or by another hand. It counts only once the supervisor's lock is free.
func ReadCompletion(dir string) (*schema.Completion, error) {
	return readCompletion(filepath.Join(dir, schema.CompletionFile))
}

var exits = []string{schema.ExitCompleted, schema.ExitFailed, schema.ExitTimeout, schema.ExitStalled,
	schema.ExitCancelled, schema.ExitNotStarted}

func readCompletion(path string) (*schema.Completion, error) {
	var c schema.Completion
	if err := readJSON(path, &c); err != nil {
		return nil, err
	}
	switch {
	case c.Request == "":
		return nil, &BrokenError{path, errors.New("it names no request")}
	case !slices.Contains(exits, c.Exit):
		return nil, &BrokenError{path, fmt.Errorf("exit %q is unknown", c.Exit)}
	}
	return &c, checkVersion(path, c.SchemaVersion)
}

func checkVersion(path string, version int) error {
	if version > schema.Version {
		return &BrokenError{path, fmt.Errorf("schema version %d is newer than this Millrace (%d); use the newer one", version, schema.Version)}
	}
	return nil
}

func readJSON(path string, into any) error {
	data, err := readRegular(path, maxRecord)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return &BrokenError{path, err}
	}
	return nil
}

// readRegular reads a file that an agent may have replaced by anything: links, pipes and folders are
// refused, and no more than limit bytes are accepted.
func readRegular(path string, limit int64) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(data)) > limit {
		return nil, &BrokenError{path, fmt.Errorf("larger than %d bytes", limit)}
	}
	return data, nil
}

func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, &BrokenError{path, errors.New("a link, not a file")}
	}
	if err != nil {
		return nil, err // names verb and path already
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &BrokenError{path, errors.New("not a regular file")}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// WriteCompletion writes completion.json, whole or not at all. Only the holder of the lock may. It is
// not fsynced: after a power cut the stage counts as lost.
func WriteCompletion(dir string, c *schema.Completion) error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("encode completion: %w", err)
	}
	temp, final := filepath.Join(dir, unfinished), filepath.Join(dir, schema.CompletionFile)
	if err := errors.Join(dropForeign(temp), dropForeign(final)); err != nil {
		return fmt.Errorf("write completion: %w", err)
	}
	if err := os.WriteFile(temp, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write completion: %w", err)
	}
	if err := os.Rename(temp, final); err != nil {
		return fmt.Errorf("write completion: %w", err)
	}
	return nil
}

// dropForeign moves out of the way what an agent put where only the supervisor writes.
func dropForeign(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().IsRegular() {
		return nil // absent, or simply replaced
	}
	return os.Rename(path, path+".foreign")
}

// A Holder is who spends a request: a message to people, never evidence.
type Holder struct {
	Machine string    `json:"machine_id,omitempty"`
	Boot    string    `json:"boot_id,omitempty"`
	PID     int       `json:"pid"`
	Start   uint64    `json:"start_time,omitempty"` // clock ticks since boot
	At      time.Time `json:"at"`
	Cgroup  string    `json:"cgroup,omitempty"` // of version 2, that the request's programs start in
}

// Spend creates the started file; false: it was there, the request is spent. The folder is synced, so
// that a request spent before a power cut is spent after it.
func Spend(dir string) (bool, error) {
	path := filepath.Join(dir, schema.StartedFile)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("spend request: %w", err)
	}
	defer f.Close()
	if err := confirm(f, dir); err != nil {
		return false, fmt.Errorf("spend request: %w", errors.Join(err, os.Remove(path))) // nothing was started
	}
	return true, nil
}

func confirm(f *os.File, dir string) error {
	by := self()
	if path, err := cgroupOf(dir); err == nil {
		by.Cgroup = path
	}
	data, err := json.Marshal(by)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(data, '\n')); err != nil {
		return err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// Started reports whether the request is spent: an agent may have been started. One whose folder is gone
// cannot be started any more: the journal made the folder, and somebody has removed it.
func Started(dir string) (bool, error) {
	spent, err := exists(filepath.Join(dir, schema.StartedFile))
	if spent || err != nil {
		return spent, err
	}
	there, err := exists(dir)
	return !there && err == nil, err
}

// Cancelled reports whether Millrace wants the request ended.
func Cancelled(dir string) (bool, error) { return exists(filepath.Join(dir, schema.CancelFile)) }

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// StartedBy reads who spent the request; the zero Holder when nobody did, or its message is unreadable.
func StartedBy(dir string) Holder {
	var h Holder
	data, err := readRegular(filepath.Join(dir, schema.StartedFile), 4096)
	if err != nil || json.Unmarshal(data, &h) != nil {
		return Holder{}
	}
	return h
}

// Ending notes, before the first signal of ours, that the agent is being ended and as what (an exit
// kind; ExitFailed for one whose supervisor is lost). Whatever it writes from then on is no claim. The
// first note stands. Where the folder is gone there is nothing to claim with.
func Ending(dir, exit string) error {
	f, err := os.OpenFile(filepath.Join(dir, endingFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		_, err = f.WriteString(exit + "\n")
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("note ending: %w", err)
	}
	return nil
}
