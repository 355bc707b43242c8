package workspace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/workspace/disk"
	"millrace/workspace/disk/disktest"
)

func firstSegmentFile(w *Workspace) string { return filepath.Join(w.Dir, segmentPath(segmentName(1))) }

func TestJournalIsReadableWithPlainTools(t *testing.T) {
	w := newWorkspace(t)
	m := admit("A")
	m.PutFile("ideas/<a>.md", "", []byte("a < b & c\n"))
	mustCommit(t, w, m)
	data, err := os.ReadFile(firstSegmentFile(w))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines, want header and two records", len(lines))
	}
	for _, line := range lines {
		fields := strings.SplitN(line, " ", 3)
		if fmt.Sprint(len(fields[2])) != fields[0] || !json.Valid([]byte(fields[2])) {
			t.Errorf("not <bytes> <crc> <json>: %.80s", line)
		}
	}
	if !strings.Contains(lines[2], `"text":"a < b & c\n"`) {
		t.Errorf("text is not readable: %s", lines[2])
	}
}

func TestTornTailOfEveryLengthIsCut(t *testing.T) {
	project := tempWorkspace(t)
	w, _, err := Create(project)
	if err != nil {
		t.Fatal(err)
	}
	mustCommit(t, w, admit("A"))
	before := w.segment.end
	mustCommit(t, w, admit("B"))
	after := w.segment.end
	w.Close()
	whole, err := os.ReadFile(firstSegmentFile(w))
	if err != nil {
		t.Fatal(err)
	}
	mark, err := os.ReadFile(filepath.Join(w.Dir, AppliedFile))
	if err != nil {
		t.Fatal(err)
	}
	// What was found to be applied before the torn record was appended.
	w, err = Open(project)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, fill := range []string{"cut", "zeros", "newline"} {
		for size := before; size <= after; size++ {
			data := bytes.Clone(whole[:size])
			switch fill {
			case "zeros":
				data = append(data, make([]byte, after-size)...)
			case "newline":
				data = append(data, '\n')
			}
			if err := os.WriteFile(firstSegmentFile(w), data, 0o644); err != nil {
				t.Fatal(err)
			}
			os.Remove(filepath.Join(w.Dir, AppliedFile))
			w.forget()
			want := uint64(2)
			if size == after || fill == "newline" && size == after-1 {
				want = 3
			}
			s, err := w.Load()
			if err != nil || s.Seq != want {
				t.Fatalf("%s at %d: load: %v, state %+v, want record %d", fill, size-before, err, s, want)
			}
			seq := uint64(0)
			if _, err = w.Transact(t.Context(), func(s *State) (*Mutation, error) { seq = s.Seq; return nil, nil }); err != nil || seq != want {
				t.Fatalf("%s at %d: transact: %v, record %d, want %d", fill, size-before, err, seq, want)
			}
		}
	}
	// The same torn record, when it was applied, is no torn record but a lost one.
	w.forget()
	for p, data := range map[string][]byte{firstSegmentFile(w): whole[:after-3], filepath.Join(w.Dir, AppliedFile): mark} {
		if err := os.WriteFile(p, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, err = w.Transact(t.Context(), func(*State) (*Mutation, error) { return nil, nil })
	if damaged := new(DamagedError); !errors.As(err, &damaged) {
		t.Errorf("an applied record was cut: %v", err)
	}
}

func TestDamageInTheMiddleIsRefusedAndNeverCut(t *testing.T) {
	w := newWorkspace(t)
	mustCommit(t, w, admit("A"))
	middle := w.segment.end - 20
	mustCommit(t, w, admit("B"))
	data, err := os.ReadFile(firstSegmentFile(w))
	if err != nil {
		t.Fatal(err)
	}
	data[middle] ^= 1
	if err := os.WriteFile(firstSegmentFile(w), data, 0o644); err != nil {
		t.Fatal(err)
	}
	again := reopen(t, w)
	_, err = again.Load()
	damaged := new(DamagedError)
	if !errors.As(err, &damaged) || !strings.Contains(err.Error(), JournalDir) {
		t.Errorf("load: %v", err)
	}
	if _, err := again.Transact(t.Context(), count); !errors.As(err, &damaged) {
		t.Errorf("transact: %v", err)
	}
	findings, err := again.Verify(t.Context())
	if err != nil || len(findings) != 1 || findings[0].Law != LawChain {
		t.Errorf("verify: %v %+v", err, findings)
	}
	if after, _ := os.ReadFile(firstSegmentFile(w)); !bytes.Equal(after, data) {
		t.Error("the damaged journal was changed")
	}
}

func TestBrokenChainIsFound(t *testing.T) {
	w := newWorkspace(t)
	mustCommit(t, w, admit("A"))
	mustCommit(t, w, admit("B"))
	data, _ := os.ReadFile(firstSegmentFile(w))
	lines := bytes.SplitAfter(data, []byte{'\n'})
	payload, _ := unframe(bytes.TrimSuffix(lines[2], []byte{'\n'}))
	lines[2] = frame(bytes.Replace(payload, []byte("Task-ID: A"), []byte("Task-ID: X"), 1)) // a forger mends the checksum
	if err := os.WriteFile(firstSegmentFile(w), bytes.Join(lines, nil), 0o644); err != nil {
		t.Fatal(err)
	}
	findings, err := reopen(t, w).Verify(t.Context())
	if err != nil || len(findings) != 1 || findings[0].Law != LawChain {
		t.Errorf("verify: %v %+v", err, findings)
	}
}

func TestNewerJournalIsRefused(t *testing.T) {
	w := newWorkspace(t)
	data, _ := os.ReadFile(firstSegmentFile(w))
	line, rest, _ := bytes.Cut(data, []byte{'\n'})
	payload, _ := unframe(line)
	newer := bytes.Replace(payload, []byte(`"format":1`), []byte(`"format":2`), 1)
	if err := os.WriteFile(firstSegmentFile(w), append(frame(newer), rest...), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := reopen(t, w).Load()
	if version := new(VersionError); !errors.As(err, &version) || version.Found != 2 {
		t.Errorf("load: %v", err)
	}
}

func TestNewerStateIsRefusedBeforeItIsAppended(t *testing.T) {
	w := newWorkspace(t)
	it := task("A", "queue", nil)
	it.SchemaVersion = 2
	m := &Mutation{By: "test"}
	m.PutItem(it)
	if _, err := w.Transact(t.Context(), func(*State) (*Mutation, error) { return m, nil }); err == nil {
		t.Error("committed")
	}
}

// counted is a workspace whose disk operations can be counted.
func counted(t *testing.T) (*Workspace, *disktest.Faulty) {
	t.Helper()
	var f *disktest.Faulty
	w, _, err := create(tempWorkspace(t), func(dir string) (disk.FS, error) {
		d, err := disk.OpenRoot(dir)
		f = disktest.NewFaulty(d, nil)
		return f, err
	}, func(*Workspace) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	f.Reset(nil)
	return w, f
}

func tally(ops []disktest.Op) map[string]int {
	n := map[string]int{}
	for _, op := range ops {
		n[op.Name]++
	}
	return n
}

func TestOneSyncPerCommit(t *testing.T) {
	w, f := counted(t)
	for _, step := range []struct {
		name string
		m    *Mutation
	}{{"admit", admit("A", "B")}, {"claim", claim("A")}} {
		f.Reset(nil)
		mustCommit(t, w, step.m)
		n := tally(f.Ops())
		if n["Datasync"] != 1 || n["Sync"]+n["SyncDir"]+n["SyncFS"] != 0 {
			t.Errorf("%s: %v", step.name, n)
		}
	}
	f.Reset(nil)
	mustCommit(t, w, bigMutation())
	if n := tally(f.Ops()); n["Datasync"] != 1 || n["Sync"] != 1 || n["SyncDir"] != 1 {
		t.Errorf("blob: %v", n)
	}
}

func TestCatchUpWithNothingNewCostsOneStat(t *testing.T) {
	w, f := counted(t)
	mustCommit(t, w, admit("A"))
	f.Reset(nil)
	if _, err := w.Transact(t.Context(), func(*State) (*Mutation, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	ops := f.Ops()
	// Lstat: is the locked file still the one of this folder? Stat: has the journal grown?
	if n := tally(ops); len(ops) != 2 || n["Stat"] != 1 || n["Lstat"] != 1 {
		t.Errorf("%v", ops)
	}
}

func TestSegmentsAreChained(t *testing.T) {
	w := newWorkspace(t)
	w.Close()
	rewriteRoll(t, w.Project)
	w = reopen(t, w)
	w.roll = 2000
	ids := []string{}
	for i := range 12 {
		ids = append(ids, fmt.Sprintf("T%02d", i))
		mustCommit(t, w, admit(ids[i]))
	}
	firsts, err := segments(w.disk)
	if err != nil || len(firsts) < 4 {
		t.Fatalf("%v %v", firsts, err)
	}
	other := reopen(t, w) // reads over the seams, with and without the snapshot
	for range 2 {
		s, err := other.Load()
		if err != nil || s.Seq != 13 || len(s.Items) != 12 {
			t.Fatalf("%v %+v", err, s)
		}
		if err := w.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []uint64{1, 2, 5, 13, 14} {
		next := from
		for rec, err := range other.Records(from) {
			if err != nil || rec.Seq != next {
				t.Fatalf("from %d: %v %+v", from, err, rec)
			}
			next++
		}
		if next != 14 {
			t.Errorf("from %d: ended before %d", from, next)
		}
	}
	if findings, err := other.Verify(t.Context()); err != nil || len(findings) > 0 {
		t.Errorf("verify: %v %+v", err, findings)
	}
	mustCommit(t, other, admit("U"))
	mustCommit(t, w, admit("V")) // follows the other's segments
	if err := os.Remove(filepath.Join(w.Dir, segmentPath(segmentName(firsts[1])))); err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(w.Dir, Snapshot))
	if _, err := reopen(t, w).Load(); !errors.As(err, new(*DamagedError)) {
		t.Errorf("a missing segment: %v", err)
	}
}

func TestTimeNeverGoesBackwards(t *testing.T) {
	w := newWorkspace(t)
	last := mustCommit(t, w, admit("A")).Time
	w.now = func() time.Time { return epoch }
	if got := mustCommit(t, w, admit("B")).Time; got.Before(last) {
		t.Errorf("%s after %s", got, last)
	}
}

func TestTailFollows(t *testing.T) {
	w := newWorkspace(t)
	w.Close()
	rewriteRoll(t, w.Project)
	w = reopen(t, w)
	w.roll = 1
	reader := reopen(t, w) // hears of it by looking
	got := make(chan uint64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for rec, err := range reader.Tail(t.Context(), 1) {
			if err != nil {
				t.Error(err)
				return
			}
			got <- rec.Seq
			if rec.Seq == 4 {
				return
			}
		}
	}()
	for want := uint64(1); want <= 4; want++ {
		if want > 1 {
			mustCommit(t, w, admit(fmt.Sprint("T", want)))
		}
		select {
		case seq := <-got:
			if seq != want {
				t.Fatalf("record %d, want %d", seq, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("record %d did not come", want)
		}
	}
	<-done
}
