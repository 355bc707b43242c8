package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"millrace/schema"
)

// Transact is the one way to change the workspace, for daemon and commands. Under the lock it brings
// its state up to the end of the journal, lets decide look at it, and commits what decide wants: the
// record is appended and synced before anything else is touched, then carried out. A nil mutation
// changes nothing and gives a nil record.
//
// The state is valid only inside decide, which must not call Transact. With an *UnappliedError the
// record is returned too: it is committed, and will be carried out before anything else is.
// ErrMoved: a file that the decision rests on has changed; decide anew.
func (w *Workspace) Transact(ctx context.Context, decide func(*State) (*Mutation, error)) (rec *Record, err error) {
	unlock, err := w.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := w.ready(); err != nil {
		return nil, w.die(err)
	}
	m, err := decide(w.state)
	if err != nil || m == nil {
		return nil, err
	}
	rec, err = w.commit(m)
	return rec, w.die(err)
}

// die ends the process when a write was lost; all other errors pass.
func (w *Workspace) die(err error) error {
	if _, lost := errors.AsType[*syncError](err); lost {
		w.dead = err
		w.fatal(err)
	}
	return err
}

// ready makes state, journal and folders agree: the state every decision is made on.
func (w *Workspace) ready() error {
	if w.dead != nil {
		return fmt.Errorf("use workspace after a lost write: %w", w.dead)
	}
	if err := w.catchUp(); err != nil {
		return err
	}
	if err := w.afterPowercut(); err != nil {
		return err
	}
	return w.finishLast()
}

// catchUp folds what others have committed. With nothing new it costs one fstat.
func (w *Workspace) catchUp() error {
	if w.segment == nil {
		state, last, seg, err := loadState(w.disk, os.O_RDWR)
		if err != nil {
			return err
		}
		w.state, w.last, w.segment = state, last, seg
	}
	for {
		if err := w.readOn(); err != nil {
			return err
		}
		w.tip.Store(&tip{w.segment.name, w.segment.end})
		if !w.segment.full() {
			return nil
		}
		next, err := openSegment(w.disk, segmentName(w.last.Seq+1), os.O_RDWR)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		w.segment.file.Close()
		w.segment = next
	}
}

// A tip is a place where the journal ends.
type tip struct {
	segment string
	end     int64
}

// others reports whether the journal file, which has just changed, ends where this process has not
// read or written yet: somebody else has committed.
func (w *Workspace) others(name string) bool {
	info, err := w.disk.Lstat(name)
	known := w.tip.Load() // after the look: own appends are announced before they are made
	if err != nil || known == nil {
		return known == nil
	}
	if segment := path.Base(name); segment != known.segment {
		return segment > known.segment // the news of an earlier one may come late
	}
	return info.Size() > known.end
}

func (w *Workspace) readOn() error {
	info, err := w.segment.file.Stat()
	if err != nil {
		return fmt.Errorf("look at journal: %w", err)
	}
	if gone(info) {
		return &GoneError{w.Dir}
	}
	size := info.Size()
	if size == w.segment.end {
		return nil
	}
	if size < w.segment.end {
		return &DamagedError{segmentPath(w.segment.name), size, "the journal is shorter than it was"}
	}
	_, err = w.segment.scanAll(w.last, func(rec *Record, at position) error {
		if err := w.state.Fold(rec, w.Content); err != nil {
			return err
		}
		w.last = at
		return nil
	})
	if errors.Is(err, errTorn) {
		return w.cutTorn()
	}
	return err
}

// cutTorn removes what a crash left of an append: it never happened.
func (w *Workspace) cutTorn() error {
	firsts, err := segments(w.disk)
	if err != nil {
		return err
	}
	if len(firsts) == 0 || segmentName(firsts[len(firsts)-1]) != w.segment.name {
		return &DamagedError{segmentPath(w.segment.name), w.segment.end, "a record in the middle of the journal is damaged"}
	}
	if mark, ok := w.readMark(); ok && mark.Seq > w.last.Seq {
		return w.shorter(mark)
	}
	if err := w.segment.file.Truncate(w.segment.end); err != nil {
		return fmt.Errorf("cut torn record: %w", err)
	}
	return nil
}

// finishLast carries out the last record when nobody is known to have done so. It is rewritten and
// synced first: who appended it may have ended before it was safe.
func (w *Workspace) finishLast() error {
	if w.last.Seq == 0 || w.marked == w.last {
		return nil
	}
	if mark, ok := w.readMark(); ok {
		if mark.Seq > w.last.Seq {
			return w.shorter(mark)
		}
		if mark == w.last {
			w.marked = mark
			return nil
		}
	}
	rec, err := w.secureLast()
	if err != nil {
		return err
	}
	before, err := keptBefore(w.disk, rec.Seq)
	if err != nil {
		return fmt.Errorf("look at kept files: %w", err)
	}
	w.strangers = append(w.strangers, before...)
	return w.carryOut(rec, true)
}

// secureLast reads the last record back, rewrites the same bytes and syncs them.
func (w *Workspace) secureLast() (*Record, error) {
	s := w.segment
	if s.name != w.last.Segment { // a new segment was begun and is still empty
		var err error
		if s, err = openSegment(w.disk, w.last.Segment, os.O_RDWR); err != nil {
			return nil, err
		}
		defer s.file.Close()
	}
	line := make([]byte, w.last.End-w.last.Offset)
	if _, err := s.file.ReadAt(line, w.last.Offset); err != nil {
		return nil, fmt.Errorf("read last record: %w", err)
	}
	payload, ok := unframe(line[:len(line)-1])
	if !ok || schema.DigestOf(payload) != w.last.Hash {
		return nil, &DamagedError{segmentPath(s.name), w.last.Offset, "the last record changed after it was read"}
	}
	rec := new(Record)
	if err := json.Unmarshal(payload, rec); err != nil {
		return nil, fmt.Errorf("read last record: %w", err)
	}
	rec.Hash, rec.Segment, rec.Offset = w.last.Hash, s.name, w.last.Offset
	if _, err := s.file.WriteAt(line, w.last.Offset); err != nil {
		return nil, fmt.Errorf("secure last record: %w", full(err))
	}
	if err := s.file.Datasync(); err != nil {
		return nil, &syncError{fmt.Errorf("sync journal: %w", err)}
	}
	return rec, nil
}

// commit appends what was decided and carries it out.
func (w *Workspace) commit(m *Mutation) (*Record, error) {
	rec, folded, err := w.prepare(m)
	if err != nil {
		return nil, err
	}
	if err := w.expect(m.Expect); err != nil {
		return nil, err
	}
	if err := w.sources(rec); err != nil {
		return nil, err
	}
	if err := w.blobs(rec); err != nil {
		return nil, err
	}
	if err := w.append(rec); err != nil {
		return nil, err
	}
	w.state.install(rec, folded)
	err = w.carryOut(rec, false)
	w.wakeTails()
	return rec, err
}

// append makes the record durable. When it fails nothing has happened.
func (w *Workspace) append(rec *Record) error {
	if w.segment.full() {
		next, err := createSegment(w.disk, w.last.Seq, w.last.Hash, w.roll)
		if err != nil {
			return full(err)
		}
		w.segment.file.Close()
		w.segment = next
	}
	payload, err := encodeRecord(rec)
	if err != nil {
		return err
	}
	if len(payload) > maxRecord {
		return &MalformedError{What: fmt.Sprintf("the record has %d bytes, at most %d are written", len(payload), maxRecord)}
	}
	line, s := frame(payload), w.segment
	w.tip.Store(&tip{s.name, s.end + int64(len(line))}) // before anybody can see it longer
	if _, err := s.file.WriteAt(line, s.end); err != nil {
		// A rest that cannot be cut either is cut, or found whole and carried out, by the next commit.
		w.tip.Store(&tip{s.name, s.end})
		return errors.Join(fmt.Errorf("append record: %w", full(err)), s.file.Truncate(s.end))
	}
	if err := s.file.Datasync(); err != nil {
		return &syncError{fmt.Errorf("sync journal: %w", err)}
	}
	rec.Hash, rec.Segment, rec.Offset = schema.DigestOf(payload), s.name, s.end
	s.end += int64(len(line))
	w.last = position{Seq: rec.Seq, Hash: rec.Hash, Segment: s.name, Offset: rec.Offset, End: s.end}
	return nil
}

// carryOut applies a record and marks it applied.
func (w *Workspace) carryOut(rec *Record, again bool) error {
	var cs changes
	cs.add(rec)
	a := &applier{disk: w.disk, seq: rec.Seq, again: again, restore: w.restore}
	err := a.apply(&cs)
	w.report(a.strangers)
	if err != nil {
		return err
	}
	return w.markApplied()
}

func (w *Workspace) report(found []Stranger) {
	for _, s := range found {
		if !slices.Contains(w.strangers, s) {
			w.strangers = append(w.strangers, s)
		}
	}
}
