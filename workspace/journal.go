package workspace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"millrace/schema"
	"millrace/workspace/disk"
)

// The journal is a chain of segment files below state/journal. Each is named after the first record
// that it may hold and begins with a header line; every other line is a record. A line is
//
//	<bytes of json> <crc32c of json, hex> <json>\n
//
// so that plain tools read it and a torn end is known from a whole one. A record names the hash of
// the record before it; hash means the digest of the line's JSON.
const (
	journalFormat = 1
	segmentSize   = 64 << 20 // bytes after which a segment is closed
	maxRecord     = 64 << 20 // bytes of one record
	segmentSuffix = ".jsonl"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A header is the first line of a segment.
type header struct {
	Format int           `json:"format"`
	Schema int           `json:"schema_version"`
	First  uint64        `json:"first"` // sequence of the first record it may hold
	Prev   schema.Digest `json:"prev"`  // hash of the record before
	Roll   int64         `json:"roll"`  // size at which the next segment begins
}

// A VersionError says that a newer Millrace wrote what this one was asked to read.
type VersionError struct {
	Path         string
	Found, Known int
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("read %s: it has version %d, this millrace knows %d: install a newer millrace", e.Path, e.Found, e.Known)
}

// A DamagedError says that committed records cannot be read back: nothing is cut, nothing is guessed.
type DamagedError struct {
	Path   string
	Offset int64
	What   string
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("read %s at byte %d: %s: restore the file from a backup (the journal is never repaired by guessing)", e.Path, e.Offset, e.What)
}

// A GoneError says that the folder a Workspace was opened on is no longer the one at its path.
type GoneError struct{ Dir string }

func (e *GoneError) Error() string {
	return fmt.Sprintf("use %s: the folder was moved, deleted or replaced since it was opened: start again", e.Dir)
}

func frame(payload []byte) []byte {
	line := make([]byte, 0, len(payload)+24)
	line = strconv.AppendInt(line, int64(len(payload)), 10)
	line = append(append(append(line, ' '), checksum(payload)...), ' ')
	line = append(line, payload...)
	return append(line, '\n')
}

func checksum(data []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(data, castagnoli)) }

// unframe takes a line without its end; ok is false for anything but a whole one.
func unframe(line []byte) (payload []byte, ok bool) {
	size, rest, found := bytes.Cut(line, []byte{' '})
	if !found || len(rest) < 9 || rest[8] != ' ' {
		return nil, false
	}
	payload = rest[9:]
	if strconv.Itoa(len(payload)) != string(size) {
		return nil, false
	}
	return payload, string(rest[:8]) == checksum(payload)
}

// errTorn says that the rest of a file, from the reader's offset, is no whole line.
var errTorn = errors.New("torn line")

// A lineReader reads framed lines. The payload it returns is valid until the next call.
type lineReader struct {
	f    io.ReaderAt
	off  int64 // of the next line
	buf  []byte
	from int // unread part of buf
	eof  bool
}

// next returns io.EOF at the end, errTorn when what follows is no whole line.
func (r *lineReader) next() (payload []byte, off int64, err error) {
	line, err := r.line()
	if err != nil {
		return nil, r.off, err
	}
	payload, ok := unframe(line[:len(line)-1])
	if !ok {
		return nil, r.off, errTorn
	}
	off = r.off
	r.skip(len(line))
	return payload, off, nil
}

func (r *lineReader) skip(n int) {
	r.from += n
	r.off += int64(n)
}

func (r *lineReader) line() ([]byte, error) {
	scanned := 0
	for {
		if i := bytes.IndexByte(r.buf[r.from+scanned:], '\n'); i >= 0 {
			return r.buf[r.from : r.from+scanned+i+1], nil
		}
		scanned = len(r.buf) - r.from
		if r.eof || scanned > maxRecord+64 {
			if scanned == 0 {
				return nil, io.EOF
			}
			return nil, errTorn
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

func (r *lineReader) fill() error {
	rest := len(r.buf) - r.from
	size := max(64<<10, 2*rest)
	if rest > 0 || cap(r.buf) < size {
		grown := make([]byte, rest, rest+size)
		copy(grown, r.buf[r.from:])
		r.buf = grown
	}
	r.buf, r.from = r.buf[:rest], 0
	n, err := r.f.ReadAt(r.buf[rest:cap(r.buf)], r.off+int64(rest))
	r.buf = r.buf[:rest+n]
	if errors.Is(err, io.EOF) {
		r.eof = true
		return nil
	}
	return err
}

// A position is where a record stands and what the next one must continue.
type position struct {
	Seq     uint64        `json:"seq"`
	Hash    schema.Digest `json:"hash"`
	Segment string        `json:"segment"` // file name
	Offset  int64         `json:"offset"`  // of the record's line
	End     int64         `json:"end"`     // behind it
}

// A segment is an open segment file and how far it has been read.
type segment struct {
	name string // file name
	file disk.File
	head header
	end  int64 // behind the last whole line
}

func segmentName(first uint64) string { return fmt.Sprintf("%020d%s", first, segmentSuffix) }

func segmentPath(name string) string { return path.Join(JournalDir, name) }

func segmentFirst(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil
}

// segments lists the first sequences of all segments, ascending.
func segments(d disk.FS) ([]uint64, error) {
	entries, err := d.ReadDir(JournalDir)
	if err != nil {
		return nil, fmt.Errorf("list journal: %w", err)
	}
	var firsts []uint64
	for _, e := range entries {
		if n, ok := segmentFirst(e.Name()); ok {
			firsts = append(firsts, n)
		}
	}
	return firsts, nil
}

// openSegment opens a segment and reads its header.
func openSegment(d disk.FS, name string, flag int) (*segment, error) {
	f, err := d.OpenFile(segmentPath(name), flag)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	s := &segment{name: name, file: f}
	r := &lineReader{f: f}
	payload, _, err := r.next()
	if err == nil {
		err = json.Unmarshal(payload, &s.head)
	}
	if err == nil {
		err = s.checkHeader()
	} else {
		err = &DamagedError{segmentPath(name), 0, "it has no readable header"}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	s.end = r.off
	return s, nil
}

func (s *segment) checkHeader() error {
	if s.head.Format > journalFormat {
		return &VersionError{segmentPath(s.name), s.head.Format, journalFormat}
	}
	if s.head.Schema > schema.Version {
		return &VersionError{segmentPath(s.name), s.head.Schema, schema.Version}
	}
	if s.name != segmentName(s.head.First) || s.head.Roll <= 0 {
		return &DamagedError{segmentPath(s.name), 0, "its header belongs to another segment"}
	}
	return nil
}

// createSegment makes the file that continues after pos and makes it durable, with its name, before
// anything is written behind its header.
func createSegment(d disk.FS, after uint64, prev schema.Digest, roll int64) (*segment, error) {
	s := &segment{name: segmentName(after + 1), head: header{
		Format: journalFormat, Schema: schema.Version, First: after + 1, Prev: prev, Roll: roll,
	}}
	raw, err := json.Marshal(s.head)
	if err != nil {
		return nil, fmt.Errorf("encode journal header: %w", err)
	}
	line := frame(raw)
	if err := writeTemp(d, segmentPath(s.name), line, true); err != nil {
		return nil, fmt.Errorf("create journal segment: %w", err)
	}
	if err := d.Rename(tempName(segmentPath(s.name)), segmentPath(s.name)); err != nil {
		return nil, fmt.Errorf("create journal segment: %w", err)
	}
	if err := d.SyncDir(JournalDir); err != nil {
		return nil, &syncError{fmt.Errorf("sync journal folder: %w", err)}
	}
	return openSegment(d, s.name, os.O_RDWR)
}

// scan folds every whole record behind s.end and moves it there. Where a line is not whole it stops
// with errTorn; visit's error ends it too. last is the record before, or zero.
func (s *segment) scan(last position, visit func(*Record, position) error) (position, error) {
	r := &lineReader{f: s.file, off: s.end}
	for {
		payload, off, err := r.next()
		if errors.Is(err, io.EOF) {
			return last, nil
		}
		if err != nil {
			return last, err
		}
		rec, err := s.decode(payload, off, last)
		if err != nil {
			return last, err
		}
		at := position{Seq: rec.Seq, Hash: rec.Hash, Segment: s.name, Offset: off, End: r.off}
		if err := visit(rec, at); err != nil {
			return last, err
		}
		last, s.end = at, r.off
	}
}

// decode reads one record and checks that it continues the chain after last.
func (s *segment) decode(payload []byte, off int64, last position) (*Record, error) {
	rec := new(Record)
	if err := json.Unmarshal(payload, rec); err != nil {
		return nil, &DamagedError{segmentPath(s.name), off, fmt.Sprintf("the record is no record: %v", err)}
	}
	rec.Hash, rec.Segment, rec.Offset = schema.DigestOf(payload), s.name, off
	if last == (position{}) {
		last.Seq, last.Hash = s.head.First-1, s.head.Prev
	}
	if rec.Seq != last.Seq+1 || rec.Prev != last.Hash {
		return nil, &DamagedError{segmentPath(s.name), off,
			fmt.Sprintf("record %d does not continue record %d: the hash chain is broken", rec.Seq, last.Seq)}
	}
	return rec, nil
}

// full reports whether the next record belongs into a new segment.
func (s *segment) full() bool { return s.end >= s.head.Roll }

// torn looks at what follows s.end after a scan met a line that was not whole. A whole line there now
// means that it was just being written: scan again. Whole lines behind a broken one mean damage, for
// only the last append can be torn.
func (s *segment) torn() (again bool, err error) {
	r := &lineReader{f: s.file, off: s.end}
	for first := true; ; first = false {
		line, err := r.line()
		if errors.Is(err, io.EOF) || errors.Is(err, errTorn) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("read journal: %w", err)
		}
		if _, whole := unframe(line[:len(line)-1]); whole {
			if first {
				return true, nil
			}
			return false, &DamagedError{segmentPath(s.name), s.end, "whole records follow one that is damaged"}
		}
		r.skip(len(line))
	}
}

// scanAll scans until nothing whole is left. It returns errTorn when a torn line is.
func (s *segment) scanAll(last position, visit func(*Record, position) error) (position, error) {
	for {
		var err error
		if last, err = s.scan(last, visit); !errors.Is(err, errTorn) {
			return last, err
		}
		again, damage := s.torn()
		if damage != nil {
			return last, damage
		}
		if !again {
			return last, errTorn
		}
	}
}

// encodeRecord gives a record's JSON. Text stays readable: nothing is escaped for HTML.
func encodeRecord(rec *Record) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(rec); err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

// gone reports whether an open file has lost its name.
func gone(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Nlink == 0
}

// later is now, but never before the last record.
func later(now, last time.Time) time.Time {
	now = now.UTC().Round(0)
	if now.Before(last) {
		return last
	}
	return now
}
