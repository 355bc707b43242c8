package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"millrace/workspace/disk"
)

// A Stranger is something that lay in the way of a commit and was not the runtime's: it was kept.
type Stranger struct {
	Path string // where it was found
	Kept string // where it lies now, below state/foreign; "": see Lost
	Lost bool   // not kept but lost: the runtime's own file is gone and the journal never held its bytes
	Seq  uint64 // record that met it
}

// keep moves what is not ours out of the way, under a name that no one has yet and that still says
// where it lay: state/foreign/<record>[.n]/<path>.
func (a *applier) keep(name string) error {
	for n := 0; ; n++ {
		dir := fmt.Sprintf("%s/%08d", ForeignDir, a.seq)
		if n > 0 {
			dir = fmt.Sprintf("%s.%d", dir, n)
		}
		kept := path.Join(dir, name)
		err := a.keepAs(name, kept)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("keep what lies at %s: %w", name, err)
		}
		a.strangers = append(a.strangers, Stranger{Path: name, Kept: kept, Seq: a.seq})
		return nil
	}
}

// keepAs moves and makes it durable at once: nobody else has these bytes, and what comes next takes
// their name.
func (a *applier) keepAs(name, kept string) error {
	if err := mkdirAll(a.disk, path.Dir(kept)); err != nil {
		return err
	}
	for dir := path.Dir(path.Dir(kept)); dir != StateDir; dir = path.Dir(dir) {
		if err := a.disk.SyncDir(dir); err != nil {
			return &syncError{err}
		}
	}
	if err := a.disk.Place(name, kept); err != nil {
		return err
	}
	if err := a.disk.SyncDir(path.Dir(kept)); err != nil {
		return &syncError{err}
	}
	return nil
}

// keptBefore finds what an earlier, interrupted try at the same record kept, so that it is reported.
func keptBefore(d disk.FS, seq uint64) ([]Stranger, error) {
	entries, err := d.ReadDir(ForeignDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []Stranger
	name := fmt.Sprintf("%08d", seq)
	for _, e := range entries {
		if e.Name() == name || strings.HasPrefix(e.Name(), name+".") {
			dir := path.Join(ForeignDir, e.Name())
			err := walk(d, dir, func(p string) {
				found = append(found, Stranger{Path: strings.TrimPrefix(p, dir+"/"), Kept: p, Seq: seq})
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// walk visits every file below dir.
func walk(d disk.FS, dir string, visit func(string)) error {
	entries, err := d.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		p := path.Join(dir, e.Name())
		if !e.IsDir() {
			visit(p)
		} else if err := walk(d, p, visit); err != nil {
			return err
		}
	}
	return nil
}
