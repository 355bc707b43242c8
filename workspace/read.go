package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"math"
	"os"
	"slices"
	"time"

	"millrace/schema"
	"millrace/workspace/disk"
)

const tailPoll = 250 * time.Millisecond

// Load reads the state without the lock, for those who only look: the snapshot and the journal behind
// it. A record being appended at this moment may or may not be in it.
func (w *Workspace) Load() (*State, error) {
	state, _, seg, err := loadState(w.disk, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	return state, seg.file.Close()
}

// loadState folds the journal, from the snapshot when there is a good one. It returns the last
// segment, open with the given flag and read up to its last whole record.
func loadState(d disk.FS, flag int) (*State, position, *segment, error) {
	state, last, ok := readSnapshot(d)
	if !ok {
		state, last = NewState(), position{}
		state.bulk = true
	}
	content := func(op *Op) ([]byte, error) { return contentOf(d, op) }
	seg, last, err := readSegments(d, last, flag, func(rec *Record, at position) error {
		return state.Fold(rec, content)
	})
	if err != nil {
		return nil, position{}, nil, err
	}
	if state.bulk {
		state.bulk = false
		state.setItems(slices.Collect(maps.Values(state.Items)))
	}
	return state, last, seg, nil
}

// readSegments visits every record after last and returns the last segment, still open.
func readSegments(d disk.FS, last position, flag int, visit func(*Record, position) error) (*segment, position, error) {
	firsts, err := segments(d)
	if err != nil {
		return nil, last, err
	}
	if len(firsts) == 0 {
		return nil, last, fmt.Errorf("open journal: %w", fs.ErrNotExist)
	}
	start := 0
	for i, first := range firsts {
		if first <= max(last.Seq, 1) {
			start = i
		}
	}
	for i := start; ; i++ {
		final := i == len(firsts)-1
		seg, at, err := readSegment(d, segmentName(firsts[i]), last, i == start, flag, visit)
		if err == nil && final || errors.Is(err, errTorn) && final {
			return seg, at, nil
		}
		if seg != nil {
			seg.file.Close()
		}
		if errors.Is(err, errTorn) {
			err = &DamagedError{segmentPath(seg.name), seg.end, "a record in the middle of the journal is damaged"}
		}
		if err != nil {
			return nil, last, err
		}
		last = at
	}
}

// readSegment visits what one segment holds after last. The segment is returned with errTorn too.
func readSegment(d disk.FS, name string, last position, start bool, flag int, visit func(*Record, position) error) (*segment, position, error) {
	seg, err := openSegment(d, name, flag)
	if err != nil {
		return nil, last, err
	}
	switch {
	case start && last.Segment == name:
		seg.end = last.End
	case start && last == (position{}):
		if seg.head.First != 1 || seg.head.Prev != "" {
			err = &DamagedError{segmentPath(name), 0, "the segments before it are missing"}
		}
	case seg.head.First != last.Seq+1 || seg.head.Prev != last.Hash:
		err = &DamagedError{segmentPath(name), 0, fmt.Sprintf("it does not continue record %d: a segment is missing or damaged", last.Seq)}
	}
	if err != nil {
		seg.file.Close()
		return nil, last, err
	}
	at, err := seg.scanAll(last, visit)
	if err != nil && !errors.Is(err, errTorn) {
		seg.file.Close()
		return nil, last, err
	}
	return seg, at, err
}

// eachRecord visits the records from a sequence on, until visit says false. What is torn at the end
// is not there yet.
func eachRecord(d disk.FS, from uint64, visit func(*Record) (bool, error)) error {
	firsts, err := segments(d)
	if err != nil {
		return err
	}
	start := 0
	for i, first := range firsts {
		if first <= from {
			start = i
		}
	}
	var last position
	stop := errors.New("stop")
	for i := start; i < len(firsts); i++ {
		seg, err := openSegment(d, segmentName(firsts[i]), os.O_RDONLY)
		if err != nil {
			return err
		}
		if i > start && (seg.head.First != last.Seq+1 || seg.head.Prev != last.Hash) {
			seg.file.Close()
			return &DamagedError{segmentPath(seg.name), 0, fmt.Sprintf("it does not continue record %d: a segment is missing or damaged", last.Seq)}
		}
		at := position{Seq: seg.head.First - 1, Hash: seg.head.Prev}
		at, err = seg.scanAll(at, func(rec *Record, _ position) error {
			if rec.Seq < from {
				return nil
			}
			more, err := visit(rec)
			if err == nil && !more {
				return stop
			}
			return err
		})
		if errors.Is(err, errTorn) {
			if err = nil; i < len(firsts)-1 {
				err = &DamagedError{segmentPath(seg.name), seg.end, "a record in the middle of the journal is damaged"}
			}
		}
		seg.file.Close()
		if errors.Is(err, stop) {
			return nil
		}
		if err != nil {
			return err
		}
		last = at
	}
	return nil
}

// Records gives the history from a sequence on, as far as it is whole. It needs no lock.
func (w *Workspace) Records(from uint64) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		err := eachRecord(w.disk, from, func(rec *Record) (bool, error) { return yield(rec, nil), nil })
		if err != nil {
			yield(nil, err)
		}
	}
}

// Tail gives the history from a sequence on and then every record as it comes, until ctx is done. It
// ends with an error only when the journal cannot be read.
func (w *Workspace) Tail(ctx context.Context, from uint64) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		t := &tail{disk: w.disk, next: max(from, 1)}
		defer t.close()
		timer := time.NewTimer(tailPoll)
		defer timer.Stop()
		for {
			hint := w.hinted()
			more, err := t.read(func(rec *Record) bool { return ctx.Err() == nil && yield(rec, nil) })
			if err != nil {
				yield(nil, err)
				return
			}
			if !more {
				return
			}
			timer.Reset(tailPoll)
			select {
			case <-ctx.Done():
				return
			case <-hint:
			case <-timer.C:
			}
		}
	}
}

// A tail follows the journal by offset: a look with nothing new costs one fstat.
type tail struct {
	disk disk.FS
	next uint64 // sequence wanted
	seg  *segment
	last position
}

func (t *tail) close() {
	if t.seg != nil {
		t.seg.file.Close()
	}
}

// read gives what is new; more is false when take wants no more.
func (t *tail) read(take func(*Record) bool) (more bool, err error) {
	if t.seg == nil {
		if err := t.open(); err != nil {
			return false, err
		}
	}
	stop := errors.New("stop")
	for {
		info, err := t.seg.file.Stat()
		if err != nil {
			return false, fmt.Errorf("look at journal: %w", err)
		}
		if gone(info) {
			return false, &GoneError{JournalDir}
		}
		if info.Size() != t.seg.end {
			_, err = t.seg.scanAll(t.last, func(rec *Record, at position) error {
				t.last = at
				if rec.Seq < t.next {
					return nil
				}
				t.next = rec.Seq + 1
				if !take(rec) {
					return stop
				}
				return nil
			})
		}
		switch {
		case errors.Is(err, stop):
			return false, nil
		case errors.Is(err, errTorn): // being written, or waiting to be cut
			return true, nil
		case err != nil:
			return false, err
		}
		if !t.seg.full() {
			return true, nil
		}
		next, err := openSegment(t.disk, segmentName(t.last.Seq+1), os.O_RDONLY)
		if errors.Is(err, fs.ErrNotExist) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		t.close()
		t.seg = next
	}
}

func (t *tail) open() error {
	firsts, err := segments(t.disk)
	if err != nil {
		return err
	}
	start := -1
	for i, first := range firsts {
		if first <= t.next || start < 0 {
			start = i
		}
	}
	if start < 0 {
		return fmt.Errorf("open journal: %w", fs.ErrNotExist)
	}
	if t.seg, err = openSegment(t.disk, segmentName(firsts[start]), os.O_RDONLY); err != nil {
		return err
	}
	t.last = position{Seq: t.seg.head.First - 1, Hash: t.seg.head.Prev}
	return nil
}

// hinted is closed at the next commit of this process.
func (w *Workspace) hinted() <-chan struct{} {
	w.hint.Lock()
	defer w.hint.Unlock()
	return w.hint.ch
}

func (w *Workspace) wakeTails() {
	w.hint.Lock()
	defer w.hint.Unlock()
	close(w.hint.ch)
	w.hint.ch = make(chan struct{})
}

// Recorded gives the bytes that a path has by the journal, wherever the file is now: for putting back
// what a person deleted. It reads the whole journal. A *LostError means that it never held them.
func (w *Workspace) Recorded(rel string, want schema.Digest) ([]byte, error) {
	return restoreContent(w.disk, rel, want, math.MaxUint64)
}

func (w *Workspace) restore(name string, want schema.Digest, through uint64) ([]byte, error) {
	return restoreContent(w.disk, name, want, through)
}
