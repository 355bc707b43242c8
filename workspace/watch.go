package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"millrace/schema"
)

// maxDirty is how many names a watch remembers one by one; beyond it a scan of everything is cheaper.
const maxDirty = 4096

// A watcher turns file system events into hints: names to look at, never facts about them. What it
// misses the rescan finds.
type watcher struct {
	events *fsnotify.Watcher
	dir    string // absolute, of the workspace folder
	care   func(dir, base string) bool
	others func(name string) bool // a journal file holds what somebody else has committed
	hint   func()
	done   chan struct{}

	mu       sync.Mutex
	dirty    map[string]bool
	arrivals map[string]arrival
	overflow bool // events were lost, or too many to tell apart

	ids     map[string]uint64 // watched folders with their inodes; only Refresh touches it
	trouble map[string]schema.Diagnostic
}

func newWatcher(dir string, care func(dir, base string) bool, others func(string) bool, hint func()) (*watcher, error) {
	events, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	w := &watcher{
		events: events, dir: dir, care: care, others: others, hint: hint, done: make(chan struct{}),
		dirty: map[string]bool{}, arrivals: map[string]arrival{},
		ids: map[string]uint64{}, trouble: map[string]schema.Diagnostic{},
	}
	if err := events.Add(w.abs(JournalDir)); err == nil {
		w.ids[JournalDir] = 0 // never told apart from another folder: who replaces the journal ends the daemon
	} else {
		w.trouble[JournalDir] = unwatched(JournalDir, err)
	}
	go w.listen()
	return w, nil
}

func (w *watcher) close() error {
	err := w.events.Close()
	<-w.done
	return err
}

func (w *watcher) listen() {
	defer close(w.done)
	events, errs := w.events.Events, w.events.Errors
	for events != nil || errs != nil {
		select {
		case e, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			w.note(e)
		case _, ok := <-errs: // whatever went wrong, events may be lost
			if !ok {
				errs = nil
				continue
			}
			w.lose()
		}
	}
}

func (w *watcher) lose() {
	w.mu.Lock()
	w.overflow = true
	clear(w.dirty)
	w.mu.Unlock()
	w.hint()
}

func (w *watcher) note(e fsnotify.Event) {
	name, err := filepath.Rel(w.dir, e.Name)
	if err != nil || e.Name == "" || name == ".." || strings.HasPrefix(name, "../") {
		return
	}
	name = filepath.ToSlash(name)
	if path.Dir(name) == JournalDir {
		if w.others(name) {
			w.hint()
		}
		return
	}
	if !w.care(path.Dir(name), path.Base(name)) {
		return
	}
	w.mu.Lock()
	if !w.overflow {
		w.dirty[name] = true
		if len(w.dirty) > maxDirty {
			w.overflow = true
			clear(w.dirty)
		}
	}
	switch a := w.arrivals[name]; {
	case e.Has(fsnotify.Create) && len(w.arrivals) < maxDirty:
		w.arrivals[name] = arrival{at: time.Now()}
	case e.Has(fsnotify.Write) && !a.at.IsZero():
		a.written = true
		w.arrivals[name] = a
	}
	w.mu.Unlock()
	w.hint()
}

// take hands over what was hinted at since the last call.
func (w *watcher) take() (names []string, overflow bool, arrivals map[string]arrival) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n := range w.dirty {
		names = append(names, n)
	}
	clear(w.dirty)
	overflow, w.overflow = w.overflow, false
	arrivals = make(map[string]arrival, len(w.arrivals))
	for n, a := range w.arrivals {
		if time.Since(a.at) > time.Second {
			delete(w.arrivals, n) // its stamp tells by now
			continue
		}
		arrivals[n] = a
	}
	return names, overflow, arrivals
}

// folder watches a folder that has the given inode; 0 stops watching it.
func (w *watcher) folder(dir string, inode uint64) {
	was, watched := w.ids[dir]
	if watched && was == inode {
		return
	}
	if watched {
		delete(w.ids, dir)
		w.events.Remove(w.abs(dir)) //nolint:errcheck // a folder that is gone takes its watch along
	}
	delete(w.trouble, dir)
	if inode == 0 {
		return
	}
	switch err := w.events.Add(w.abs(dir)); {
	case err == nil:
		w.ids[dir] = inode
	case !errors.Is(err, fs.ErrNotExist):
		w.trouble[dir] = unwatched(dir, err)
	}
}

// watched reports whether the events of a folder arrive.
func (w *watcher) watched(dir string) bool { _, ok := w.ids[dir]; return ok }

func (w *watcher) abs(dir string) string { return filepath.Join(w.dir, filepath.FromSlash(dir)) }

// unwatched says in words why a folder cannot be watched; inotify's own error talks of disk space.
func unwatched(dir string, err error) schema.Diagnostic {
	d := schema.Diagnostic{Severity: schema.Warning, Path: dir}
	switch {
	case errors.Is(err, syscall.ENOSPC):
		d.Message = "cannot be watched: the kernel's limit of watched folders is used up" + limit("max_user_watches")
		d.Hint = "raise it: sudo sysctl fs.inotify.max_user_watches=524288; until then changes are found by the rescan"
	case errors.Is(err, syscall.EMFILE):
		d.Message = "cannot be watched: the kernel's limit of watching programs is used up" + limit("max_user_instances")
		d.Hint = "raise it: sudo sysctl fs.inotify.max_user_instances=1024; until then changes are found by the rescan"
	default:
		d.Message = fmt.Sprintf("cannot be watched: %v", err)
		d.Hint = "changes are found by the rescan (runtime.rescan)"
	}
	return d
}

func limit(name string) string {
	data, err := os.ReadFile("/proc/sys/fs/inotify/" + name)
	if err != nil {
		return ""
	}
	return " (fs.inotify." + name + " is " + strings.TrimSpace(string(data)) + ")"
}
