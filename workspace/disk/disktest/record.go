package disktest

import (
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"millrace/workspace/disk"
)

// A Recorder is a disk that remembers every change made through it, and what has been synced.
//
// The model is stricter than most file systems: until a file is synced each write to it may be
// there, be missing, be there by half, or have left zeros where the file was shorter before; until a folder is synced each name in it
// may be as before or after each single operation, in any combination. Only a rename is one thing:
// both its names change or neither. SyncDir of either folder makes a rename durable.
type Recorder struct {
	disk.FS

	mu     sync.Mutex
	root   *node
	first  map[*node]map[string]*node // folders when recording began
	events []event
}

// A node is a file or folder, whatever its names. Its fields are the live state.
type node struct {
	entries map[string]*node // of a folder
	data    []byte           // of a file, when recording began
}

type event struct {
	op    Op
	file  *node  // written, truncated or synced
	off   int64  // of a write
	data  []byte // written; nil for a truncation
	size  int64  // of a truncation
	names []name // entries that change
	syncs bool   // makes durable: file, dirs of names, or all
	dir   *node  // synced folder
	all   bool   // everything is synced
}

// A name is one entry of a folder and what it becomes; nil: nothing.
type name struct {
	dir  *node
	base string
	to   *node
}

// NewRecorder records what is done to a folder through d. What the folder holds now is durable.
func NewRecorder(d disk.FS, dir string) (*Recorder, error) {
	r := &Recorder{FS: d, first: map[*node]map[string]*node{}}
	root, err := r.load(dir)
	r.root = root
	return r, err
}

func (r *Recorder) newNode(dir bool) *node {
	n := &node{}
	if dir {
		n.entries = map[string]*node{}
	}
	return n
}

func (r *Recorder) load(dir string) (*node, error) {
	n := r.newNode(true)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		p := filepath.Join(dir, e.Name())
		var child *node
		if e.IsDir() {
			child, err = r.load(p)
		} else {
			child = r.newNode(false)
			child.data, err = os.ReadFile(p)
		}
		if err != nil {
			return nil, err
		}
		n.entries[e.Name()] = child
	}
	r.first[n] = maps.Clone(n.entries)
	return n, nil
}

// find gives the node at a path of the live tree, or nil.
func (r *Recorder) find(p string) *node {
	n := r.root
	if p == "." {
		return n
	}
	for base := range strings.SplitSeq(p, "/") {
		if n == nil {
			return nil
		}
		n = n.entries[base]
	}
	return n
}

func (r *Recorder) name(p string, to *node) name {
	dir := r.find(path.Dir(p))
	if dir == nil || dir.entries == nil {
		panic("disktest: no folder for " + p)
	}
	return name{dir, path.Base(p), to}
}

// add records an event and brings the live tree up to date.
func (r *Recorder) add(e event) {
	for _, n := range e.names {
		if n.to == nil {
			delete(n.dir.entries, n.base)
		} else {
			n.dir.entries[n.base] = n.to
		}
	}
	r.events = append(r.events, e)
}

// record does something and, when that succeeds, what notes it.
func (r *Recorder) record(act func() error, note func()) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := act(); err != nil {
		return err
	}
	note()
	return nil
}

// Events is the number of changes and syncs so far.
func (r *Recorder) Events() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.events)
}

// Open implements disk.FS.
func (r *Recorder) Open(p string) (disk.File, error) { return r.OpenFile(p, os.O_RDONLY) }

// OpenFile implements disk.FS.
func (r *Recorder) OpenFile(p string, flag int) (f disk.File, err error) {
	err = r.record(func() (err error) { f, err = r.FS.OpenFile(p, flag); return err }, func() {
		n := r.find(p)
		if n == nil && flag&os.O_CREATE == 0 {
			panic("disktest: " + p + " was made behind the recorder's back")
		}
		if n == nil {
			n = r.newNode(false)
			r.add(event{op: Op{"Create", p}, names: []name{r.name(p, n)}})
		}
		f = &recordedFile{f, r, n, p}
	})
	return f, err
}

// Mkdir implements disk.FS.
func (r *Recorder) Mkdir(p string) error {
	return r.record(func() error { return r.FS.Mkdir(p) }, func() {
		r.add(event{op: Op{"Mkdir", p}, names: []name{r.name(p, r.newNode(true))}})
	})
}

// Rename implements disk.FS.
func (r *Recorder) Rename(from, to string) error {
	return r.record(func() error { return r.FS.Rename(from, to) }, func() { r.renamed("Rename", from, to) })
}

// Place implements disk.FS.
func (r *Recorder) Place(from, to string) error {
	return r.record(func() error { return r.FS.Place(from, to) }, func() { r.renamed("Place", from, to) })
}

func (r *Recorder) renamed(op, from, to string) {
	r.add(event{op: Op{op, from + " to " + to}, names: []name{r.name(from, nil), r.name(to, r.find(from))}})
}

// Remove implements disk.FS.
func (r *Recorder) Remove(p string) error {
	return r.record(func() error { return r.FS.Remove(p) }, func() {
		r.add(event{op: Op{"Remove", p}, names: []name{r.name(p, nil)}})
	})
}

// SyncDir implements disk.FS.
func (r *Recorder) SyncDir(p string) error {
	return r.record(func() error { return nil }, func() { r.add(event{op: Op{"SyncDir", p}, dir: r.find(p), syncs: true}) })
}

// SyncFS implements disk.FS.
func (r *Recorder) SyncFS() error {
	return r.record(func() error { return nil }, func() { r.add(event{op: Op{"SyncFS", "."}, all: true, syncs: true}) })
}

type recordedFile struct {
	disk.File
	r    *Recorder
	node *node
	path string
}

func (f *recordedFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.r.record(func() error { n, err = f.File.WriteAt(p, off); return err }, func() {
		f.r.add(event{op: Op{"WriteAt", f.path}, file: f.node, off: off, data: append([]byte{}, p...)})
	})
	return n, err
}

func (f *recordedFile) Truncate(size int64) error {
	return f.r.record(func() error { return f.File.Truncate(size) }, func() {
		f.r.add(event{op: Op{"Truncate", f.path}, file: f.node, size: size})
	})
}

func (f *recordedFile) Sync() error { return f.synced("Sync") }

func (f *recordedFile) Datasync() error { return f.synced("Datasync") }

func (f *recordedFile) synced(name string) error {
	return f.r.record(func() error { return nil }, func() {
		f.r.add(event{op: Op{name, f.path}, file: f.node, syncs: true})
	})
}

var _ disk.FS = (*Recorder)(nil)

// NoSync is a disk whose syncs do nothing: for tests that look at names and bytes only.
func NoSync(d disk.FS) disk.FS { return &noSync{d} }

type noSync struct{ disk.FS }

func (n *noSync) SyncDir(string) error { return nil }
func (n *noSync) SyncFS() error        { return nil }

func (n *noSync) OpenFile(p string, flag int) (disk.File, error) {
	f, err := n.FS.OpenFile(p, flag)
	if err != nil {
		return nil, err
	}
	return noSyncFile{f}, nil
}

type noSyncFile struct{ disk.File }

func (noSyncFile) Sync() error     { return nil }
func (noSyncFile) Datasync() error { return nil }
