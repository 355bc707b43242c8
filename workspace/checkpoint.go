package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"millrace/schema"
	"millrace/workspace/disk"
)

// state/applied says which record was last carried out. It is overwritten in place and never synced,
// so it is believed only when its own checksum holds, and only until the next boot.

const markSize = 320 // bytes of state/applied, whatever it says

func (w *Workspace) markApplied() error {
	err := w.writeMark()
	if err == nil {
		w.marked = w.last
		return nil
	}
	err = full(err)
	what, repair := condition(err)
	return &UnappliedError{Seq: w.last.Seq, Path: AppliedFile, Condition: what, Repair: repair, Err: err}
}

func (w *Workspace) writeMark() error {
	if w.mark == nil {
		f, err := w.openMark()
		if err != nil {
			return err
		}
		w.mark = f
	}
	raw, err := json.Marshal(w.last)
	if err != nil {
		return fmt.Errorf("encode mark: %w", err)
	}
	payload := fmt.Appendf(nil, "%-*s", markSize-14, raw) // spaces after JSON are JSON; 14: the frame
	_, err = w.mark.WriteAt(frame(payload), 0)
	return err
}

func (w *Workspace) openMark() (disk.File, error) {
	a := &applier{disk: w.disk, seq: w.last.Seq}
	var f disk.File
	open := func() (err error) {
		f, err = w.disk.OpenFile(AppliedFile, os.O_RDWR|os.O_CREATE)
		return err
	}
	err := inFolder(w.disk, AppliedFile, open)
	if errors.Is(err, disk.ErrNotRegular) { // something else was put there
		if err = a.keep(AppliedFile); err == nil {
			err = open()
		}
		w.report(a.strangers)
	}
	return f, err
}

// readMark reads state/applied; anything but a whole mark says nothing.
func (w *Workspace) readMark() (position, bool) { return readPosition(w.disk, AppliedFile) }

func readPosition(d disk.FS, name string) (position, bool) {
	var p position
	payload, ok := readFramed(d, name)
	return p, ok && json.Unmarshal(payload, &p) == nil && p.Seq > 0
}

// readFramed reads a file that holds one framed line.
func readFramed(d disk.FS, name string) ([]byte, bool) {
	f, err := d.Open(name)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	payload, _, err := (&lineReader{f: f}).next()
	return payload, err == nil
}

// A checkpoint says up to which record everything is known to be on the disk, and that folders were
// compared with the journal in the boot it names.
type checkpoint struct {
	position
	Boot string    `json:"boot"`
	Time time.Time `json:"time"`
}

func readCheckpoint(d disk.FS) (checkpoint, bool) {
	var c checkpoint
	payload, ok := readFramed(d, Checkpoint)
	if !ok || json.Unmarshal(payload, &c) != nil || c.Seq == 0 {
		return checkpoint{}, false
	}
	return c, true
}

func (w *Workspace) writeCheckpoint(at position) error {
	raw, err := json.Marshal(checkpoint{position: at, Boot: w.boot, Time: later(w.now(), w.state.Time)})
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	if err := w.clearWay(Checkpoint); err != nil {
		return err
	}
	if err := writeDurable(w.disk, Checkpoint, frame(raw)); err != nil {
		return fmt.Errorf("write checkpoint: %w", full(err))
	}
	return nil
}

// clearWay keeps what is no file where a file of ours belongs.
func (w *Workspace) clearWay(name string) error {
	info, err := w.disk.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().IsRegular() {
		return nil
	}
	if err != nil {
		return err
	}
	a := &applier{disk: w.disk, seq: w.last.Seq}
	err = a.keep(name)
	w.report(a.strangers)
	return err
}

// Checkpoint makes everything so far durable and writes the snapshot, so that neither a power cut nor
// the next start has much to look at. With nothing new it does nothing. It holds the lock only for
// the files it writes, not while the disk is busy.
func (w *Workspace) Checkpoint(ctx context.Context) error {
	var at position
	done, err := w.underLock(ctx, func() (bool, error) {
		if at = w.last; at == w.saved || at.Seq == 0 {
			return true, nil
		}
		if c, ok := readCheckpoint(w.disk); ok && c.position == at && c.Boot == w.boot && snapshotAt(w.disk, at) {
			w.saved = at
			return true, nil
		}
		return false, w.writeSnapshot()
	})
	if err != nil || done {
		return err
	}
	if err := w.disk.SyncFS(); err != nil {
		return w.die(&syncError{fmt.Errorf("sync file system: %w", err)})
	}
	_, err = w.underLock(ctx, func() (bool, error) {
		err := w.writeCheckpoint(at)
		if err == nil {
			w.saved = at
		}
		return true, err
	})
	return err
}

func (w *Workspace) underLock(ctx context.Context, do func() (bool, error)) (done bool, err error) {
	unlock, err := w.lock(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := w.ready(); err != nil {
		return false, w.die(err)
	}
	done, err = do()
	return done, w.die(err)
}

// afterPowercut compares, once after each boot, every path named since the last checkpoint with the
// bytes those records give it, and repairs what a file system did not keep.
func (w *Workspace) afterPowercut() error {
	if w.checked || w.last.Seq == 0 {
		return nil
	}
	if w.boot != "" && w.state.Boot == w.boot { // whoever committed then has compared
		w.checked = true
		return nil
	}
	c, ok := readCheckpoint(w.disk)
	if ok && w.boot != "" && c.Boot == w.boot {
		w.checked = true
		return nil
	}
	if !ok || c.Seq > w.last.Seq {
		c = checkpoint{}
	}
	return w.repair(c.Seq + 1)
}

func (w *Workspace) repair(from uint64) error {
	if mark, ok := w.readMark(); ok && mark.Seq > w.last.Seq {
		return w.shorter(mark)
	}
	if _, err := w.secureLast(); err != nil {
		return err
	}
	var cs changes
	err := eachRecord(w.disk, from, func(rec *Record) (bool, error) {
		cs.add(rec)
		return true, nil
	})
	if err != nil {
		return err
	}
	a := &applier{disk: w.disk, seq: w.last.Seq, again: true, powercut: true, restore: w.restore}
	err = a.apply(&cs)
	w.report(a.strangers)
	if err != nil {
		return err
	}
	if err := w.disk.SyncFS(); err != nil {
		return &syncError{fmt.Errorf("sync file system: %w", err)}
	}
	if err := w.writeCheckpoint(w.last); err != nil {
		return err
	}
	w.checked = true
	return w.markApplied()
}

// Reproject writes every status, run, control, plan and approval file anew that is not what the journal says: people
// and disks may have damaged them, which no decision ever notices. Documents are left alone: those are people's to edit,
// and what becomes of that is decided. Only the document of an ended item comes back when it is gone, because nobody
// watches its folder. It reads the whole journal.
func (w *Workspace) Reproject(ctx context.Context) error {
	_, err := w.underLock(ctx, func() (bool, error) {
		var all, ours changes
		err := eachRecord(w.disk, 1, func(rec *Record) (bool, error) {
			all.add(rec)
			return true, nil
		})
		if err != nil {
			return false, err
		}
		for _, c := range all.order {
			if projected(c.path) || w.lost(c.path) {
				ours.order = append(ours.order, c)
			}
		}
		a := &applier{disk: w.disk, seq: w.last.Seq, again: true, restore: w.restore}
		err = a.apply(&ours)
		w.report(a.strangers)
		return true, err
	})
	return err
}

// lost reports whether the document of an ended item should lie at path and nothing does.
func (w *Workspace) lost(path string) bool {
	it := w.state.ByPath(path)
	if it == nil || !schema.Ended(it.State) {
		return false
	}
	lies, err := look(w.disk, path)
	return err == nil && lies.kind == absent
}

// projected reports whether the file at path only repeats what the journal says.
func projected(path string) bool {
	return folds(path) || path == PlanFile || strings.HasPrefix(path, PlansDir+"/") || strings.HasPrefix(path, ApprovalsDir+"/")
}

// shorter refuses a journal that ends before a record that was carried out.
func (w *Workspace) shorter(mark position) error {
	return &DamagedError{segmentPath(w.last.Segment), w.last.End,
		fmt.Sprintf("the journal ends at record %d and %s says that record %d was applied; delete that file only if you accept the loss", w.last.Seq, AppliedFile, mark.Seq)}
}
