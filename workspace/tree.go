package workspace

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"millrace/schema"
)

const (
	goneGrace   = 150 * time.Millisecond // an editor's save takes the name away for a moment
	writerRetry = time.Second            // how often a file that stays open for writing is asked about, at most
	listingRest = 50 * time.Millisecond  // a folder younger than this may change without its mtime telling
)

// A keeper is told what a tree found. Bytes are handed over once and not kept by the tree.
type keeper interface {
	whole(name string, f *file, data []byte)
	refuse(name string, d schema.Diagnostic)
	open(name string) // there are bytes, or were a moment ago, that cannot be read yet
	gone(name string)
}

// A tree remembers what stat said of the files below some folders, reads what changed once it has
// settled, and tells its keeper. Names are slash-separated and relative to the workspace folder.
type tree struct {
	root    *os.Root
	tops    []string
	deep    bool                        // follow subfolders
	must    bool                        // the tops have to be there: without one nothing is known of its files
	skip    func(dir, name string) bool // names that are none of its business
	lazy    func(dir string) bool       // folders of which only the names matter
	watch   func(dir string, id uint64) // before a folder is listed
	watched func(dir string) bool       // its events arrive
	keep    keeper

	folders map[string]*level
	pending map[string]*file             // to be looked at again, with their due
	missing map[string]schema.Diagnostic // tops and folders that could not be listed, and why
	backlog bool                         // the last pass left files unread for want of time
}

// A level is one folder of a tree.
type level struct {
	stamp  stamp
	listed time.Time
	files  map[string]*file
	subs   map[string]bool
}

// A file as the tree knows it.
type file struct {
	stamp  stamp
	since  time.Time     // when this stamp was first seen
	done   bool          // read or refused as it is
	gone   time.Time     // missing since, while that may be an editor's save
	due    time.Time     // when pending
	digest schema.Digest // of the bytes last read
}

func newTree(root *os.Root, keep keeper, tops ...string) *tree {
	return &tree{
		root: root, keep: keep, tops: tops, folders: map[string]*level{}, pending: map[string]*file{},
		missing: map[string]schema.Diagnostic{}, skip: func(string, string) bool { return false }, lazy: func(string) bool { return false },
		watch: func(string, uint64) {}, watched: func(string) bool { return false },
	}
}

// A pass is one look over a tree.
type pass struct {
	now      time.Time
	settle   time.Duration
	thorough bool               // stat the files of watched folders too
	until    time.Time          // when to leave the rest for the next pass; zero: never
	arrivals map[string]arrival // what the watch told
}

// scan compares every folder.
func (t *tree) scan(ctx context.Context, l pass) error {
	for _, top := range t.tops {
		if err := t.visit(ctx, l, top); err != nil {
			return err
		}
	}
	return t.again(ctx, l)
}

// touch looks at the given names only, and at what was pending.
func (t *tree) touch(ctx context.Context, l pass, names []string) error {
	byDir := map[string][]string{}
	for _, n := range names {
		if f := t.folders[n]; f != nil || slices.Contains(t.tops, n) {
			if f != nil {
				f.listed = time.Time{}
			}
			if err := t.visit(ctx, l, n); err != nil {
				return err
			}
			continue
		}
		if dir := path.Dir(n); t.folders[dir] != nil {
			byDir[dir] = append(byDir[dir], path.Base(n))
		}
	}
	for dir, names := range byDir {
		if err := t.lookIn(ctx, l, dir, names); err != nil {
			return err
		}
	}
	return t.again(ctx, l)
}

// again looks at what is due.
func (t *tree) again(ctx context.Context, l pass) error {
	byDir := map[string][]string{}
	for n, f := range t.pending {
		if !f.due.After(l.now) {
			byDir[path.Dir(n)] = append(byDir[path.Dir(n)], path.Base(n))
		}
	}
	for dir, names := range byDir {
		if err := t.lookIn(ctx, l, dir, names); err != nil {
			return err
		}
	}
	return nil
}

// next is when something pending is due; zero when nothing is.
func (t *tree) next() time.Time {
	var first time.Time
	for _, f := range t.pending {
		if first.IsZero() || f.due.Before(first) {
			first = f.due
		}
	}
	return first
}

func (t *tree) lookIn(ctx context.Context, l pass, dir string, names []string) error {
	fo := t.folders[dir]
	if fo == nil {
		return t.visit(ctx, l, dir)
	}
	sub, err := t.root.OpenRoot(dir)
	if err != nil {
		return t.visit(ctx, l, dir)
	}
	defer sub.Close() //nolint:errcheck // it was only read
	for _, name := range names {
		if t.skip(dir, name) {
			continue
		}
		if t.pending[path.Join(dir, name)] != nil && t.late(l) {
			continue // it stays pending
		}
		if err := t.look(ctx, l, sub, dir, fo, name); err != nil {
			return err
		}
	}
	return nil
}

// visit compares one folder and what is below it.
func (t *tree) visit(ctx context.Context, l pass, dir string) error {
	info, err := t.root.Lstat(dir)
	if err == nil && !info.IsDir() {
		err = errNoFolder
	}
	if err != nil {
		t.lost(l, dir, err)
		return nil
	}
	st := stampOf(info)
	if fo := t.folders[dir]; fo != nil && fo.stamp.Inode != st.Inode {
		fo.listed = time.Time{} // another folder of the same name: stale names are compared below
	}
	t.watch(dir, st.Inode) // before listing: what appears after it is told
	sub, err := t.root.OpenRoot(dir)
	if err != nil {
		t.lost(l, dir, err)
		return nil
	}
	defer sub.Close() //nolint:errcheck // it was only read
	fo := t.folders[dir]
	if fo == nil {
		fo = &level{files: map[string]*file{}, subs: map[string]bool{}}
		t.folders[dir] = fo
	}
	if fo.listed.IsZero() || fo.stamp != st || fo.listed.Sub(time.Unix(0, st.Mtime)) < listingRest {
		return t.list(ctx, l, sub, dir, fo, st)
	}
	delete(t.missing, dir)
	if (l.thorough || !t.watched(dir)) && !t.lazy(dir) {
		for name := range fo.files {
			if err := t.look(ctx, l, sub, dir, fo, name); err != nil {
				return err
			}
		}
	}
	for name := range fo.subs {
		if err := t.visit(ctx, l, path.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// list reads a folder's names anew.
func (t *tree) list(ctx context.Context, l pass, sub *os.Root, dir string, fo *level, st stamp) error {
	d, err := sub.Open(".")
	if err != nil {
		t.lost(l, dir, err)
		return nil
	}
	entries, err := d.ReadDir(-1)
	d.Close()
	if err != nil {
		t.lost(l, dir, err)
		return nil
	}
	delete(t.missing, dir)
	fo.stamp, fo.listed = st, l.now
	seen := make(map[string]bool, len(entries))
	for _, e := range entries {
		name := e.Name()
		if t.skip(dir, name) {
			continue
		}
		seen[name] = true
		if t.lazy(dir) && fo.files[name] == nil && e.Type().IsRegular() {
			fo.files[name] = &file{since: l.now, done: true}
			t.keep.whole(path.Join(dir, name), fo.files[name], nil)
			continue
		}
		if t.lazy(dir) && e.Type().IsRegular() {
			continue
		}
		if err := t.look(ctx, l, sub, dir, fo, name); err != nil {
			return err
		}
	}
	for name := range fo.files {
		if !seen[name] {
			t.vanish(l, dir, fo, name)
		}
	}
	for name := range fo.subs {
		if !seen[name] {
			t.drop(l, path.Join(dir, name))
		}
	}
	return nil
}

// drop lets go of a folder that is no more. Its files get the same moment to come back as any other;
// the last of them takes the folder with it.
func (t *tree) drop(l pass, dir string) {
	fo := t.folders[dir]
	if fo == nil {
		return
	}
	fo.listed = time.Time{}
	t.watch(dir, 0)
	delete(t.missing, dir)
	for name := range fo.files {
		t.vanish(l, dir, fo, name)
	}
	for name := range fo.subs {
		t.drop(l, path.Join(dir, name))
	}
	t.prune(dir)
}

// prune forgets a dropped folder without files, and those above it that only waited for it.
func (t *tree) prune(dir string) {
	fo := t.folders[dir]
	if fo == nil || !fo.listed.IsZero() || len(fo.files)+len(fo.subs) > 0 {
		return
	}
	delete(t.folders, dir)
	if parent := t.folders[path.Dir(dir)]; parent != nil {
		delete(parent.subs, path.Base(dir))
		t.prune(path.Dir(dir))
	}
}

var errNoFolder = errors.New("it is not a folder: Millrace follows no links here; move it away and make a real folder")

// lost handles a folder that cannot be listed. One that is not there is dropped; but a top that must
// be there, or one in any other trouble, keeps what was known of its files, because nothing can be
// said about them.
func (t *tree) lost(l pass, dir string, err error) {
	absent := errors.Is(err, fs.ErrNotExist)
	if absent && (!t.must || !slices.Contains(t.tops, dir)) {
		t.drop(l, dir)
		return
	}
	t.missing[dir] = unreadable(dir, err)
	for known, fo := range t.folders {
		if known == dir || strings.HasPrefix(known, dir+"/") {
			fo.listed = time.Time{}
			t.watch(known, 0)
		}
	}
}

// complete reports whether every folder could be listed.
func (t *tree) complete() bool { return len(t.missing) == 0 }

// ignored are the names that editors, people and file managers leave about.
func ignored(name string) bool {
	switch {
	case name == "" || name[0] == '.' || name[0] == '_':
	case strings.HasPrefix(name, "README"):
	case strings.HasSuffix(name, "~"), strings.HasSuffix(name, ".tmp"):
	case name[0] == '#' && strings.HasSuffix(name, "#"):
	case name == "4913":
	default:
		ext := path.Ext(name)
		return len(ext) == 4 && strings.HasPrefix(ext, ".sw")
	}
	return true
}
