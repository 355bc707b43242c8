package workspace

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"millrace/schema"
	"millrace/workspace/disk"
)

// The snapshot is a cache of the fold: a framed header line, then chunks: one of JSON, then the items in gob. It is used only when
// its checksums hold, it was written for the same Go types, and the journal has its record where it
// says; otherwise the journal is folded from the start. Losing it loses time, nothing else.

const (
	snapshotFormat = 2
	chunkItems     = 512
	maxSnapshot    = 1 << 30
)

type snapshotHeader struct {
	position
	Format int           `json:"format"`
	Types  schema.Digest `json:"types"` // of the Go types in it
	Time   time.Time     `json:"time"`
	Boot   string        `json:"boot"`
	Chunks []chunk       `json:"chunks"`
}

type chunk struct {
	Size int    `json:"size"`
	Sum  uint32 `json:"crc32c"`
}

// The first chunk holds all but the items; the others hold items. Gob, which is quick, drops what points to a zero and
// does not take every value of an agent's: it is for items, which have neither.
type snapshotRest struct {
	Runs    []*schema.Run
	Control schema.Control
	Hold    []schema.Key
}

// snapshotTypes tells the layouts of the types apart, so that a snapshot of another build is not
// half understood.
var snapshotTypes = sync.OnceValue(func() schema.Digest {
	var b bytes.Buffer
	seen := map[reflect.Type]bool{}
	var describe func(t reflect.Type)
	describe = func(t reflect.Type) {
		fmt.Fprintf(&b, "%s %s;", t, t.Kind())
		if seen[t] {
			return
		}
		seen[t] = true
		switch t.Kind() {
		case reflect.Struct:
			for f := range t.Fields() {
				if f.IsExported() {
					fmt.Fprintf(&b, "%s:", f.Name)
					describe(f.Type)
				}
			}
		case reflect.Pointer, reflect.Slice, reflect.Array:
			describe(t.Elem())
		case reflect.Map:
			describe(t.Key())
			describe(t.Elem())
		}
	}
	describe(reflect.TypeFor[snapshotRest]())
	describe(reflect.TypeFor[schema.Item]())
	return schema.DigestOf(b.Bytes())
})

// encodeSnapshot is the state at a position as a file.
func encodeSnapshot(s *State, at position) ([]byte, error) {
	head := snapshotHeader{position: at, Format: snapshotFormat, Types: snapshotTypes(), Time: s.Time, Boot: s.Boot}
	rest := snapshotRest{Runs: s.ActiveRuns(), Control: s.Control, Hold: sortedKeys(s.Hold)}
	items := make([]*schema.Item, 0, len(s.Items))
	for _, k := range slices.SortedFunc(maps.Keys(s.Items), CompareKeys) {
		items = append(items, s.Items[k])
	}
	var body bytes.Buffer
	encode := func(e interface{ Encode(any) error }, v any) error {
		start := body.Len()
		if err := e.Encode(v); err != nil {
			return fmt.Errorf("encode snapshot: %w", err)
		}
		data := body.Bytes()[start:]
		head.Chunks = append(head.Chunks, chunk{len(data), crc32.Checksum(data, castagnoli)})
		return nil
	}
	if err := encode(json.NewEncoder(&body), rest); err != nil {
		return nil, err
	}
	for part := range slices.Chunk(items, chunkItems) {
		if err := encode(gob.NewEncoder(&body), part); err != nil {
			return nil, err
		}
	}
	raw, err := json.Marshal(head)
	if err != nil {
		return nil, fmt.Errorf("encode snapshot: %w", err)
	}
	return append(frame(raw), body.Bytes()...), nil
}

// writeSnapshot replaces the snapshot. It need not be synced: a torn one is not used.
func (w *Workspace) writeSnapshot() error {
	data, err := encodeSnapshot(w.state, w.last)
	if err != nil {
		return err
	}
	if err := w.clearWay(Snapshot); err != nil {
		return err
	}
	a := &applier{disk: w.disk, seq: w.last.Seq}
	if err := a.put(Snapshot, data, true); err != nil {
		return fmt.Errorf("write snapshot: %w", full(err))
	}
	return nil
}

// readSnapshot gives the state of the snapshot and where the journal goes on behind it; false when
// there is none that can be used.
func readSnapshot(d disk.FS) (*State, position, bool) {
	f, err := d.Open(Snapshot)
	if err != nil {
		return nil, position{}, false
	}
	defer f.Close()
	head, start, ok := readSnapshotHeader(f)
	if !ok || !inJournal(d, head.position) {
		return nil, position{}, false
	}
	s, err := decodeChunks(f, start, head)
	if err != nil {
		return nil, position{}, false
	}
	s.Seq, s.Hash, s.Time, s.Boot = head.Seq, head.Hash, head.Time, head.Boot
	return s, head.position, true
}

func readSnapshotHeader(f disk.File) (head snapshotHeader, body int64, ok bool) {
	r := &lineReader{f: f}
	payload, _, err := r.next()
	if err != nil || json.Unmarshal(payload, &head) != nil {
		return head, 0, false
	}
	return head, r.off, head.Format == snapshotFormat && head.Types == snapshotTypes() && head.Seq > 0 && len(head.Chunks) > 0
}

// snapshotAt reports whether the snapshot on disk is of that position; its body is not looked at.
func snapshotAt(d disk.FS, at position) bool {
	f, err := d.Open(Snapshot)
	if err != nil {
		return false
	}
	defer f.Close()
	head, _, ok := readSnapshotHeader(f)
	return ok && head.position == at
}

// inJournal reports whether the journal has the record of a position where it says.
func inJournal(d disk.FS, at position) bool {
	if _, ok := segmentFirst(at.Segment); !ok || at.End-at.Offset <= 0 || at.End-at.Offset > maxRecord+64 {
		return false
	}
	f, err := d.Open(segmentPath(at.Segment))
	if err != nil {
		return false
	}
	defer f.Close()
	line := make([]byte, at.End-at.Offset)
	if _, err := f.ReadAt(line, at.Offset); err != nil {
		return false
	}
	payload, ok := unframe(line[:len(line)-1])
	return ok && line[len(line)-1] == '\n' && schema.DigestOf(payload) == at.Hash
}

// decodeChunks reads the chunks on all processors.
func decodeChunks(f disk.File, start int64, head snapshotHeader) (*State, error) {
	var size int64
	for _, c := range head.Chunks {
		if c.Size < 0 {
			return nil, errors.New("negative size")
		}
		size += int64(c.Size)
	}
	if size > maxSnapshot {
		return nil, errors.New("too large")
	}
	body := make([]byte, size)
	if n, err := f.ReadAt(body, start); int64(n) != size || err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.New("too short")
	}
	var rest snapshotRest
	parts := make([][]*schema.Item, len(head.Chunks)-1)
	errs := make([]error, len(head.Chunks))
	var wg sync.WaitGroup
	for i, c := range head.Chunks {
		data := body[:c.Size]
		body = body[c.Size:]
		wg.Go(func() {
			switch {
			case crc32.Checksum(data, castagnoli) != c.Sum:
				errs[i] = errors.New("wrong checksum")
			case i == 0:
				errs[i] = json.Unmarshal(data, &rest)
			default:
				errs[i] = gob.NewDecoder(bytes.NewReader(data)).Decode(&parts[i-1])
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s := NewState()
	s.Control = rest.Control
	for _, r := range rest.Runs {
		s.Runs[r.ID] = r
	}
	for _, k := range rest.Hold {
		s.Hold[k] = true
	}
	s.setItems(slices.Concat(parts...))
	return s, nil
}
