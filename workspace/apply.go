package workspace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"millrace/schema"
	"millrace/workspace/disk"
)

// An UnappliedError says that a record is committed but could not be carried out yet. Nothing else
// is committed until it is; whoever takes the lock next tries again.
type UnappliedError struct {
	Seq       uint64
	Path      string // that could not be written; "" when it was none in particular
	Condition string // what stands in the way, in words
	Repair    string // what a person does about it
	Err       error
}

func (e *UnappliedError) Error() string {
	return fmt.Sprintf("apply record %d: %s at %s: %s (%v)", e.Seq, e.Condition, e.Path, e.Repair, e.Err)
}
func (e *UnappliedError) Unwrap() error { return e.Err }

// An applier carries out changes on the folder.
type applier struct {
	disk      disk.FS
	seq       uint64 // names the folder for strangers
	again     bool   // a redo: parts of it may be done
	powercut  bool   // files may hold what a file system makes of unsynced writes
	restore   func(path string, want schema.Digest, through uint64) ([]byte, error)
	strangers []Stranger
}

// apply brings every path to the bytes that the changes name.
func (a *applier) apply(cs *changes) error {
	for _, c := range cs.order {
		if err := a.settle(c); err != nil {
			if _, lost := errors.AsType[*syncError](err); lost {
				return err
			}
			err = full(err)
			what, repair := condition(err)
			return &UnappliedError{Seq: a.seq, Path: c.path, Condition: what, Repair: repair, Err: err}
		}
	}
	return nil
}

func (a *applier) settle(c *change) error {
	if a.powercut {
		if err := a.sweep(c.path); err != nil {
			return err
		}
	}
	if len(c.appends) > 0 {
		if c.want == appendedOnly {
			return a.extend(c)
		}
		return a.rebuild(c)
	}
	if c.projection && c.content != nil && !a.again {
		data, err := contentOf(a.disk, c.content)
		if err != nil {
			return err
		}
		return a.put(c.path, data, true)
	}
	found, err := look(a.disk, c.path)
	if err != nil {
		return err
	}
	if c.want == "" {
		return a.clear(c, found)
	}
	if found.kind == regular && (found.digest == c.want || c.adopted && !a.powercut) {
		return nil // an edit since is a change of a document, not a stranger in its way
	}
	return a.fill(c, found)
}

// clear empties a path.
func (a *applier) clear(c *change, found lying) error {
	if found.kind == absent {
		return nil
	}
	ours, err := a.ours(c, found)
	switch {
	case err != nil:
		return err
	case ours:
		return a.disk.Remove(c.path)
	case operators(c.path):
		return nil
	}
	return a.keep(c.path)
}

// ours reports whether what lies at a path may be replaced without a trace: bytes that records gave
// it, or what a power cut made of them.
func (a *applier) ours(c *change, found lying) (bool, error) {
	if found.kind != regular || c.projection || slices.Contains(c.known, found.digest) {
		return found.kind == regular, nil
	}
	if !a.powercut {
		return false, nil
	}
	for _, op := range c.held {
		data, err := contentOf(a.disk, op)
		if err != nil {
			return false, err
		}
		if left, err := a.residue(c.path, found, data); left || err != nil {
			return left, err
		}
	}
	return false, nil
}

// fill gives a path the wanted bytes: by renaming the file that has them, or by writing them.
func (a *applier) fill(c *change, found lying) error {
	replace, err := a.ours(c, found)
	if err != nil {
		return err
	}
	if c.content == nil && c.from != "" && c.from != c.path {
		if src, err := look(a.disk, c.from); err != nil {
			return err
		} else if src.kind == regular && src.digest == c.want {
			return a.move(c.from, c.path, found, replace)
		}
	}
	if found.kind != absent && !replace && operators(c.path) {
		return nil // what people made of their own half since stays; the record has the runtime's bytes
	}
	data, err := a.wanted(c)
	if _, lost := errors.AsType[*LostError](err); lost {
		a.strangers = append(a.strangers, Stranger{Path: c.path, Lost: true, Seq: a.seq})
		return nil // no retry can bring it back; verify goes on saying so
	}
	if err != nil {
		return err
	}
	if found.kind != absent && !replace {
		if err := a.keep(c.path); err != nil {
			return err
		}
	}
	return a.put(c.path, data, replace)
}

func (a *applier) wanted(c *change) ([]byte, error) {
	if c.content != nil {
		return contentOf(a.disk, c.content)
	}
	return a.restore(c.path, c.want, c.through)
}

func (a *applier) move(from, to string, found lying, replace bool) error {
	if found.kind != absent && !replace {
		if err := a.keep(to); err != nil {
			return err
		}
	}
	return inFolder(a.disk, to, func() error {
		if replace {
			return a.disk.Rename(from, to)
		}
		return a.place(from, to)
	})
}

// put writes a file through its temp name; unless it may replace, what came between is kept.
func (a *applier) put(name string, data []byte, replace bool) error {
	if err := inFolder(a.disk, name, func() error { return writeTemp(a.disk, name, data, false) }); err != nil {
		return err
	}
	if !replace {
		return a.place(tempName(name), name)
	}
	err := a.disk.Rename(tempName(name), name)
	if err == nil {
		return nil
	}
	if found, lerr := look(a.disk, name); lerr != nil || found.kind != other {
		return err
	}
	if err := a.keep(name); err != nil { // a folder stands there
		return err
	}
	return a.disk.Rename(tempName(name), name)
}

// place moves a file to where nothing should be; what appears there at the last moment is kept.
func (a *applier) place(from, to string) error {
	for {
		err := a.disk.Place(from, to)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := a.keep(to); err != nil {
			return err
		}
	}
}

// extend makes appended ranges hold their bytes. What somebody else wrote there is kept as a copy
// of the whole file.
func (a *applier) extend(c *change) error {
	first := c.appends[0].Offset
	f, err := a.openAppended(c)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < first {
		f.Close()
		return a.rebuild(c) // the beginning is gone
	}
	for _, op := range c.appends {
		data, err := contentOf(a.disk, op)
		if err != nil {
			return err
		}
		have := make([]byte, len(data))
		n, err := f.ReadAt(have, op.Offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if bytes.Equal(have[:n], data) {
			continue
		}
		if !bytes.HasPrefix(data, have[:n]) {
			f.Close()
			return a.rebuild(c)
		}
		if _, err := f.WriteAt(data, op.Offset); err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) openAppended(c *change) (disk.File, error) {
	var f disk.File
	open := func() (err error) {
		f, err = a.disk.OpenFile(c.path, os.O_RDWR|os.O_CREATE)
		return err
	}
	err := inFolder(a.disk, c.path, open)
	if errors.Is(err, disk.ErrNotRegular) {
		if err := a.keep(c.path); err != nil {
			return nil, err
		}
		err = open()
	}
	return f, err
}

// rebuild gives an appended file the content that the journal gives it.
func (a *applier) rebuild(c *change) error {
	data, err := a.restore(c.path, appendedOnly, c.through)
	if _, lost := errors.AsType[*LostError](err); lost {
		a.strangers = append(a.strangers, Stranger{Path: c.path, Lost: true, Seq: a.seq})
		return nil
	}
	if err != nil {
		return err
	}
	found, err := look(a.disk, c.path)
	if err != nil {
		return err
	}
	want := schema.DigestOf(data)
	if found.digest == want {
		return nil
	}
	replace, err := a.ours(c, found)
	if err == nil && found.kind == regular && !replace {
		// An unfinished state of our own: a part of what it must become.
		replace, err = a.residue(c.path, found, data)
	}
	if err != nil {
		return err
	}
	if found.kind != absent && !replace {
		if err := a.keep(c.path); err != nil {
			return err
		}
	}
	return a.put(c.path, data, replace)
}

// residue reports whether a file holds nothing but what a crash makes of the wanted bytes: a
// beginning of them, with blocks of zeros where writes were lost.
func (a *applier) residue(name string, found lying, want []byte) (bool, error) {
	if found.size > int64(len(want)) {
		return false, nil
	}
	have, err := readAll(a.disk, name, found.size)
	if err != nil {
		return false, err
	}
	for i, b := range have {
		if b != want[i] && b != 0 {
			return false, nil
		}
	}
	return true, nil
}

// sweep removes what an interrupted write left beside a path.
func (a *applier) sweep(name string) error {
	if err := a.disk.Remove(tempName(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
