package workspace

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
	"unicode"

	"millrace/schema"
	"millrace/workspace/disk"
)

// Operations on single files that commit, apply and checkpoint share.

const maxInline = 64 << 10 // bytes of one op's content that the journal itself carries

// A syncError says that what was written may never reach the disk. The process must not go on: the
// kernel reports a lost write once, and a second try would report success.
type syncError struct{ err error }

func (e *syncError) Error() string { return e.err.Error() }
func (e *syncError) Unwrap() error { return e.err }

// tempName is the one name that a file is prepared under, in the same folder: what a crash leaves
// there is overwritten by the next try, and observers ignore it for its first character.
func tempName(name string) string {
	return path.Join(path.Dir(name), "."+path.Base(name)+".millrace~")
}

// writeTemp prepares the temp file of name with the given bytes. The folder must exist.
func writeTemp(d disk.FS, name string, data []byte, sync bool) error {
	temp := tempName(name)
	f, err := d.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if errors.Is(err, fs.ErrExist) {
		if err := d.Remove(temp); err != nil {
			return fmt.Errorf("remove stale %s: %w", temp, err)
		}
		f, err = d.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if len(data) > 0 {
		if _, err := f.WriteAt(data, 0); err != nil {
			return err
		}
	}
	if sync {
		if err := f.Sync(); err != nil {
			return &syncError{fmt.Errorf("sync %s: %w", name, err)}
		}
	}
	return nil
}

// writeDurable replaces a file so that after it returns a power cut cannot undo it.
func writeDurable(d disk.FS, name string, data []byte) error {
	dir := path.Dir(name)
	err := writeTemp(d, name, data, true)
	if errors.Is(err, fs.ErrNotExist) { // somebody removed the folder
		if err = mkdirAll(d, dir); err != nil {
			return err
		}
		if err := d.SyncDir(path.Dir(dir)); err != nil {
			return &syncError{fmt.Errorf("sync folder of %s: %w", dir, err)}
		}
		err = writeTemp(d, name, data, true)
	}
	if err != nil {
		return err
	}
	if err := d.Rename(tempName(name), name); err != nil {
		return err
	}
	if err := d.SyncDir(dir); err != nil {
		return &syncError{fmt.Errorf("sync folder of %s: %w", name, err)}
	}
	return nil
}

// inFolder does what needs the folder of name; where it is missing it is made first.
func inFolder(d disk.FS, name string, do func() error) error {
	err := do()
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := mkdirAll(d, path.Dir(name)); err != nil {
		return err
	}
	return do()
}

func mkdirAll(d disk.FS, dir string) error {
	if dir == "." {
		return nil
	}
	err := d.Mkdir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := mkdirAll(d, path.Dir(dir)); err != nil {
			return err
		}
		err = d.Mkdir(dir)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// What lies at a path.
type lying struct {
	kind   fileKind
	digest schema.Digest // of a regular file
	size   int64
}

type fileKind int

const (
	absent  fileKind = iota
	regular          // a plain file
	other            // a folder, link, pipe or device
)

// look says what lies at a path, without following a link at its end.
func look(d disk.FS, name string) (lying, error) {
	f, err := d.Open(name)
	switch {
	case errors.Is(err, disk.ErrNotRegular):
		return lying{kind: other}, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return lying{kind: absent}, nil
	case err != nil:
		return lying{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(f, 0, 1<<62))
	if err != nil {
		return lying{}, fmt.Errorf("read %s: %w", name, err)
	}
	return lying{regular, schema.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))), n}, nil
}

// readAll reads a regular file of at most limit bytes.
func readAll(d disk.FS, name string, limit int64) ([]byte, error) {
	f, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, &TooLargeError{name, info.Size(), limit}
	}
	data, err := io.ReadAll(io.NewSectionReader(f, 0, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, &TooLargeError{name, int64(len(data)), limit}
	}
	return data, nil
}

// A TooLargeError says that a file holds more bytes than its reader takes.
type TooLargeError struct {
	Path        string
	Size, Limit int64
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("read %s: it has %d bytes, at most %d are read", e.Path, e.Size, e.Limit)
}

// validPath reports whether a path may stand in the journal: clean, relative, inside, and writable
// as one line.
func validPath(p string) error {
	if !fs.ValidPath(p) || p == "." {
		return errors.New("the path is not clean, relative and inside the workspace")
	}
	if len(p) > 1024 {
		return errors.New("the path is longer than 1024 bytes")
	}
	for _, r := range p {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return errors.New("the path holds a control character")
		}
	}
	return nil
}

// condition puts an error of the file system into words, with what to do about it.
func condition(err error) (what, repair string) {
	switch {
	case errors.Is(err, ErrFull):
		return "the disk is full", "free some space; it goes on by itself"
	case errors.Is(err, syscall.EROFS):
		return "the file system is read-only", "remount it writable; it goes on by itself"
	case errors.Is(err, fs.ErrPermission):
		return "permission denied", "give the user of millrace write permission; it goes on by itself"
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, disk.ErrNotRegular):
		return "something that is no folder is in the way", "move it out of the workspace; it goes on by itself"
	}
	return "the file system refused", "see the error; it is tried again at the next commit"
}

// ErrFull is what every "no space left" and "quota exceeded" of this package is.
var ErrFull = errors.New("disk full")

// full marks errors of a full disk, so that errors.Is(err, ErrFull) holds.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}
