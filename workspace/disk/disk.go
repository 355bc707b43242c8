// Package disk owns the file operations that a commit makes: one small interface, so that durability
// can be tested by faulting or recording each of them, and its implementation on a real folder. Every
// path is slash-separated, relative to one root folder and opened through os.Root: a link that leads
// out of the root is refused by every operation.
package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
)

// An FS is everything the commit may do to the folder it works in. Nothing is durable until it has
// been synced: file contents by Sync or Datasync, names by SyncDir on their folder, all by SyncFS.
type FS interface {
	Open(path string) (File, error)               // regular files only, for reading
	OpenFile(path string, flag int) (File, error) // flag: os.O_RDWR, with os.O_CREATE and os.O_EXCL
	Lstat(path string) (fs.FileInfo, error)
	ReadDir(path string) ([]fs.DirEntry, error) // sorted by name
	Mkdir(path string) error                    // one level
	Rename(from, to string) error               // replaces what is at to, atomically
	Place(from, to string) error                // renames, but never replaces: fs.ErrExist
	Remove(path string) error
	SyncDir(path string) error
	SyncFS() error // the whole file system
	Close() error
}

// A File is an open file of an FS.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
	Sync() error
	Datasync() error // contents and size, not times
}

// ErrNotRegular says that a path is a link, folder, pipe or device where a file was expected.
var ErrNotRegular = errors.New("not a regular file")

// OpenRoot opens the folder on the real disk.
func OpenRoot(dir string) (FS, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	return &real{root}, nil
}

type real struct{ root *os.Root }

var _ FS = (*real)(nil)

type realFile struct{ *os.File }

func (f realFile) Datasync() error { return datasync(f.File) }

func (r *real) Open(name string) (File, error) { return r.OpenFile(name, os.O_RDONLY) }

func (r *real) OpenFile(name string, flag int) (File, error) {
	if flag&os.O_EXCL == 0 {
		// os.Root follows links that stay inside; the runtime's own files are never links.
		if info, err := r.root.Lstat(name); err == nil && !info.Mode().IsRegular() {
			return nil, &fs.PathError{Op: "open", Path: name, Err: ErrNotRegular}
		}
	}
	f, err := r.root.OpenFile(name, flag|syscall.O_NONBLOCK, 0o644)
	if err != nil {
		return nil, err
	}
	return realFile{f}, nil
}

func (r *real) Lstat(name string) (fs.FileInfo, error) { return r.root.Lstat(name) }

func (r *real) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(r.root.FS(), name) }

func (r *real) Mkdir(name string) error { return r.root.Mkdir(name, 0o755) }

func (r *real) Rename(from, to string) error { return r.root.Rename(from, to) }

func (r *real) Place(from, to string) error {
	a, err := r.root.Open(path.Dir(from))
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := r.root.Open(path.Dir(to))
	if err != nil {
		return err
	}
	defer b.Close()
	err = place(int(a.Fd()), path.Base(from), int(b.Fd()), path.Base(to))
	if errors.Is(err, errors.ErrUnsupported) {
		if _, err := r.root.Lstat(to); err == nil {
			return &fs.PathError{Op: "place", Path: to, Err: fs.ErrExist}
		}
		return r.root.Rename(from, to)
	}
	if err != nil {
		return &os.LinkError{Op: "place", Old: from, New: to, Err: err}
	}
	return nil
}

func (r *real) Remove(name string) error { return r.root.Remove(name) }

func (r *real) SyncDir(name string) error {
	d, err := r.root.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (r *real) SyncFS() error {
	d, err := r.root.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	return syncfs(d)
}

func (r *real) Close() error { return r.root.Close() }
