// Package disktest owns what durability is tested with: a disk that fails or ends its process at the
// n-th operation, and a disk that records every operation, from which it makes the folders that a
// file system may show after a power cut at any moment.
package disktest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"millrace/workspace/disk"
)

// An Op is one operation on a disk, in the order in which they were made.
type Op struct {
	Name string // of the FS or File method
	Path string
}

func (o Op) String() string { return o.Name + " " + o.Path }

// Mutates reports whether the operation can change what is on the disk.
func (o Op) Mutates() bool {
	switch o.Name {
	case "Open", "Lstat", "ReadDir", "ReadAt", "Stat", "Close":
		return false
	}
	return true
}

// A Fault decides about each operation, counted from 0, before it is made: nil lets it pass.
type Fault func(n int, op Op) error

// ErrPartly lets half of a write happen first when a Fault's error wraps it.
var ErrPartly = errors.New("half of it was done")

// FailAt fails the n-th operation with an error.
func FailAt(n int, err error) Fault {
	return func(i int, _ Op) error {
		if i == n {
			return err
		}
		return nil
	}
}

// FullFrom lets the disk be full from the n-th operation on: whatever needs space fails, and a write
// is done by half.
func FullFrom(n int) Fault {
	return func(i int, op Op) error {
		if i < n {
			return nil
		}
		switch op.Name {
		case "WriteAt":
			return fmt.Errorf("%w: %w", syscall.ENOSPC, ErrPartly)
		case "Mkdir", "Create":
			return syscall.ENOSPC
		}
		return nil
	}
}

// KillAt ends the process by SIGKILL before the n-th operation that can change anything; half makes
// it happen in the middle of a write.
func KillAt(n int, half bool) Fault {
	seen := -1
	return func(_ int, op Op) error {
		if !op.Mutates() {
			return nil
		}
		if seen++; seen != n {
			return nil
		}
		if half && op.Name == "WriteAt" {
			return fmt.Errorf("%w: %w", errKill, ErrPartly)
		}
		return errKill
	}
}

var errKill = errors.New("killed")

// Faulty is a disk on which a Fault decides. It also keeps the list of operations.
type Faulty struct {
	disk.FS
	fault Fault

	mu  sync.Mutex
	ops []Op
}

// NewFaulty wraps a disk. A nil fault only counts.
func NewFaulty(d disk.FS, fault Fault) *Faulty { return &Faulty{FS: d, fault: fault} }

// Ops made so far.
func (f *Faulty) Ops() []Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Op(nil), f.ops...)
}

// Reset forgets the operations made so far and takes a new fault.
func (f *Faulty) Reset(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ops, f.fault = nil, fault
}

func (f *Faulty) before(op Op) error {
	f.mu.Lock()
	n := len(f.ops)
	f.ops = append(f.ops, op)
	fault := f.fault
	f.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(n, op)
}

// kill ends the process as the kernel would: nothing is flushed, nothing deferred is run.
func kill() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func (f *Faulty) do(name, path string, act func() error) error {
	if err := f.before(Op{name, path}); err != nil {
		if errors.Is(err, errKill) {
			kill()
		}
		return &fs.PathError{Op: name, Path: path, Err: err}
	}
	return act()
}

// Open implements disk.FS.
func (f *Faulty) Open(path string) (file disk.File, err error) {
	err = f.do("Open", path, func() error { file, err = f.FS.Open(path); return err })
	return f.wrap(path, file, err)
}

// OpenFile implements disk.FS; one that may create counts as Create.
func (f *Faulty) OpenFile(path string, flag int) (file disk.File, err error) {
	name := "Open"
	if flag&os.O_CREATE != 0 {
		name = "Create"
	}
	err = f.do(name, path, func() error { file, err = f.FS.OpenFile(path, flag); return err })
	return f.wrap(path, file, err)
}

func (f *Faulty) wrap(path string, file disk.File, err error) (disk.File, error) {
	if err != nil {
		return nil, err
	}
	return &faultyFile{file, f, path}, nil
}

// Lstat implements disk.FS.
func (f *Faulty) Lstat(path string) (info fs.FileInfo, err error) {
	err = f.do("Lstat", path, func() error { info, err = f.FS.Lstat(path); return err })
	return info, err
}

// ReadDir implements disk.FS.
func (f *Faulty) ReadDir(path string) (entries []fs.DirEntry, err error) {
	err = f.do("ReadDir", path, func() error { entries, err = f.FS.ReadDir(path); return err })
	return entries, err
}

// Mkdir implements disk.FS.
func (f *Faulty) Mkdir(path string) error {
	return f.do("Mkdir", path, func() error { return f.FS.Mkdir(path) })
}

// Rename implements disk.FS.
func (f *Faulty) Rename(from, to string) error {
	return f.do("Rename", to, func() error { return f.FS.Rename(from, to) })
}

// Place implements disk.FS.
func (f *Faulty) Place(from, to string) error {
	return f.do("Place", to, func() error { return f.FS.Place(from, to) })
}

// Remove implements disk.FS.
func (f *Faulty) Remove(path string) error {
	return f.do("Remove", path, func() error { return f.FS.Remove(path) })
}

// SyncDir implements disk.FS.
func (f *Faulty) SyncDir(path string) error {
	return f.do("SyncDir", path, func() error { return f.FS.SyncDir(path) })
}

// SyncFS implements disk.FS.
func (f *Faulty) SyncFS() error {
	return f.do("SyncFS", ".", f.FS.SyncFS)
}

type faultyFile struct {
	disk.File
	fs   *Faulty
	path string
}

func (f *faultyFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.fs.do("ReadAt", f.path, func() error { n, err = f.File.ReadAt(p, off); return err })
	return n, err
}

func (f *faultyFile) WriteAt(p []byte, off int64) (n int, err error) {
	if err := f.fs.before(Op{"WriteAt", f.path}); err != nil {
		if errors.Is(err, ErrPartly) {
			n, _ = f.File.WriteAt(p[:len(p)/2], off)
		}
		if errors.Is(err, errKill) {
			kill()
		}
		return n, &fs.PathError{Op: "write", Path: f.path, Err: err}
	}
	return f.File.WriteAt(p, off)
}

func (f *faultyFile) Truncate(size int64) error {
	return f.fs.do("Truncate", f.path, func() error { return f.File.Truncate(size) })
}

func (f *faultyFile) Sync() error {
	return f.fs.do("Sync", f.path, f.File.Sync)
}

func (f *faultyFile) Datasync() error {
	return f.fs.do("Datasync", f.path, f.File.Datasync)
}

func (f *faultyFile) Stat() (info fs.FileInfo, err error) {
	err = f.fs.do("Stat", f.path, func() error { info, err = f.File.Stat(); return err })
	return info, err
}
