package workspace

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"time"

	"millrace/schema"
)

// This file is what a tree does with one file; tree.go walks the folders.

// look compares one name with what is known of it.
func (t *tree) look(ctx context.Context, l pass, sub *os.Root, dir string, fo *level, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	info, err := sub.Lstat(name)
	if f := fo.files[name]; err == nil && f != nil && f.done && f.gone.IsZero() && f.stamp == stampOf(info) {
		return nil // the common case costs nothing more
	}
	full := path.Join(dir, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		t.vanish(l, dir, fo, name)
		if fo.subs[name] {
			t.drop(l, full)
		}
		return nil
	case err != nil: // the folder's trouble, not the file's
		t.missing[dir] = unreadable(dir, err)
		return nil
	case info.IsDir():
		if fo.files[name] != nil {
			t.forget(fo, dir, name)
		}
		if t.deep {
			fo.subs[name] = true
			return t.visit(ctx, l, full)
		}
		return nil
	}
	st := stampOf(info)
	f := fo.files[name]
	if f == nil {
		f = &file{since: l.now, stamp: st}
		fo.files[name] = f
	}
	back := !f.gone.IsZero()
	f.gone = time.Time{}
	if f.stamp != st {
		f.stamp, f.since, f.done = st, l.now, false
	}
	if f.done && !back {
		return nil
	}
	t.take(l, sub, full, name, f)
	return nil
}

// take reads a file that is new or changed, or finds out when to try again.
func (t *tree) take(l pass, sub *os.Root, full, name string, f *file) {
	if message, hint := refusal(f.stamp); message != "" {
		t.finish(full, f)
		f.digest = ""
		t.keep.refuse(full, refused(full, message, hint))
		return
	}
	if t.late(l) {
		t.wait(full, f, l.now)
		return
	}
	ready, due := rested(f.stamp, f.since, l.now, l.settle, l.arrivals[full])
	if !ready {
		t.wait(full, f, due)
		return
	}
	data, how, err := readFile(sub, name, f.stamp, l.now.Sub(f.since))
	switch how {
	case readWhole:
		t.finish(full, f)
		f.digest = schema.DigestOf(data)
		t.keep.whole(full, f, data)
	case readWriter: // patience grows with the writer's
		t.wait(full, f, l.now.Add(min(max(l.now.Sub(f.since)/2, l.settle), writerRetry)))
	case readRest:
		t.wait(full, f, f.since.Add(restUnleased))
	case readChanged, readGone:
		t.wait(full, f, l.now.Add(l.settle))
	case readRefused:
		t.finish(full, f)
		f.digest = ""
		t.keep.refuse(full, unreadable(full, err))
	}
}

// late reports whether the pass has run out of time: what is left stays pending, so that a burst of
// files is no wall for the work that is there already.
func (t *tree) late(l pass) bool {
	if l.until.IsZero() || time.Now().Before(l.until) {
		return false
	}
	t.backlog = true
	return true
}

func (t *tree) finish(full string, f *file) {
	f.done = true
	delete(t.pending, full)
}

func (t *tree) wait(full string, f *file, due time.Time) {
	f.due, f.done = due, false
	t.pending[full] = f
	t.keep.open(full)
}

// vanish gives a missing file a moment to come back before it is told as gone.
func (t *tree) vanish(l pass, dir string, fo *level, name string) {
	f, full := fo.files[name], path.Join(dir, name)
	switch {
	case f == nil:
	case f.gone.IsZero():
		f.gone = l.now
		t.wait(full, f, l.now.Add(goneGrace))
	case l.now.Sub(f.gone) >= goneGrace:
		t.forget(fo, dir, name)
	}
}

func (t *tree) forget(fo *level, dir, name string) {
	full := path.Join(dir, name)
	delete(fo.files, name)
	delete(t.pending, full)
	t.keep.gone(full)
}
