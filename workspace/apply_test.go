package workspace

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"millrace/schema"
	"millrace/workspace/disk"
	"millrace/workspace/disk/disktest"
)

// interrupted commits a mutation whose record is appended and not carried out, as a crash leaves it.
func interrupted(t *testing.T, w *Workspace, m *Mutation) {
	t.Helper()
	w.Close()
	var f *disktest.Faulty
	dying := openOn(t, w.Project, w.boot, func(d disk.FS) disk.FS {
		f = disktest.NewFaulty(d, func(_ int, op disktest.Op) error {
			if op.Mutates() && !strings.HasPrefix(op.Path, JournalDir) {
				return syscall.EIO
			}
			return nil
		})
		return f
	})
	_, err := dying.Transact(t.Context(), func(*State) (*Mutation, error) { return m, nil })
	if !errors.As(err, new(*UnappliedError)) {
		t.Fatalf("not interrupted: %v", err)
	}
	dying.Close()
}

func settle(t *testing.T, w *Workspace) *Workspace {
	t.Helper()
	w = reopen(t, w)
	if _, err := w.Transact(t.Context(), func(*State) (*Mutation, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestMoveWhoseSourceVanishedIsRestoredFromTheJournal(t *testing.T) {
	w := newWorkspace(t)
	mustCommit(t, w, admit("A"))
	interrupted(t, w, claim("A"))
	if err := os.Remove(filepath.Join(w.Dir, "tasks/queue/A.md")); err != nil {
		t.Fatal(err)
	}
	w = settle(t, w)
	if got := read(t, w, "tasks/active/A.md"); got != string(docBytes("A")) {
		t.Errorf("active: %q", got)
	}
	if found := w.Strangers(); len(found) != 0 {
		t.Errorf("strangers: %+v", found)
	}
}

func TestRedoKeepsWhatAPersonEditedMeanwhile(t *testing.T) {
	w := newWorkspace(t)
	mustCommit(t, w, admit("A"))
	interrupted(t, w, claim("A"))
	put(t, w, "tasks/queue/A.md", "edited by hand\n")
	w = settle(t, w)
	if got := read(t, w, "tasks/active/A.md"); got != string(docBytes("A")) {
		t.Errorf("active: %q", got)
	}
	if got := read(t, w, "tasks/queue/A.md"); got != "<absent>" {
		t.Errorf("queue: %q", got)
	}
	found := w.Strangers()
	if len(found) != 1 || found[0].Path != "tasks/queue/A.md" || found[0].Seq != 3 {
		t.Fatalf("strangers: %+v", found)
	}
	if got := read(t, w, found[0].Kept); got != "edited by hand\n" {
		t.Errorf("kept: %q", got)
	}
	if again := w.Strangers(); len(again) != 0 {
		t.Errorf("drained twice: %+v", again)
	}
}

// adopt takes over the file of an item as it lies there.
func adopt(id string, data string) *Mutation {
	m := &Mutation{By: "t"}
	m.PutFile("tasks/queue/"+id+".md", schema.DigestOf([]byte(data)), []byte(data))
	return m
}

func TestEditOfAFileThatIsBeingAdoptedStands(t *testing.T) {
	w, f := counted(t)
	put(t, w, "tasks/queue/A.md", "as found\n")
	f.Reset(func(_ int, op disktest.Op) error {
		if op.Name == "Datasync" { // the record can be read now, and its reader is quick
			put(t, w, "tasks/queue/A.md", "edited at once\n")
		}
		return nil
	})
	mustCommit(t, w, adopt("A", "as found\n"))
	f.Reset(nil)
	if got := read(t, w, "tasks/queue/A.md"); got != "edited at once\n" {
		t.Errorf("queue: %q", got)
	}
	if found := w.Strangers(); len(found) != 0 {
		t.Errorf("strangers: %+v", found)
	}
}

func TestRedoOfAnAdoptionLeavesALaterEdit(t *testing.T) {
	w := newWorkspace(t)
	put(t, w, "tasks/queue/A.md", "as found\n")
	mustCommit(t, w, adopt("A", "as found\n"))
	if err := os.Remove(filepath.Join(w.Dir, AppliedFile)); err != nil {
		t.Fatal(err)
	}
	put(t, w, "tasks/queue/A.md", "edited meanwhile\n")
	w = settle(t, w)
	if got := read(t, w, "tasks/queue/A.md"); got != "edited meanwhile\n" {
		t.Errorf("queue: %q", got)
	}
}

func TestRedoTouchesOnlyTheLastRecord(t *testing.T) {
	w := newWorkspace(t)
	mustCommit(t, w, admit("A", "B"))
	mustCommit(t, w, admit("C"))
	// By hand, after both were carried out; and the mark is lost.
	if err := os.Rename(filepath.Join(w.Dir, "tasks/queue/A.md"), filepath.Join(w.Dir, "tasks/A.md")); err != nil {
		t.Fatal(err)
	}
	put(t, w, "tasks/queue/B.md", "edited by hand\n")
	if err := os.Remove(filepath.Join(w.Dir, AppliedFile)); err != nil {
		t.Fatal(err)
	}
	w = settle(t, w)
	if got := read(t, w, "tasks/queue/A.md"); got != "<absent>" {
		t.Errorf("A came back: %q", got)
	}
	if got := read(t, w, "tasks/queue/B.md"); got != "edited by hand\n" {
		t.Errorf("B: %q", got)
	}
}

func TestAfterAPowerCutEveryPathSinceTheCheckpointIsRepaired(t *testing.T) {
	w := newWorkspace(t)
	mustCommit(t, w, admit("OLD"))
	if err := w.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, w, admit("A", "B"))
	mustCommit(t, w, claim("A"))
	w.Close()
	put(t, w, "tasks/active/A.md", "")                               // its bytes were lost
	put(t, w, "state/status/task/A.json", "\x00\x00\x00")            // so were these
	os.Remove(filepath.Join(w.Dir, "tasks/queue/B.md"))              // its name was lost
	put(t, w, "tasks/queue/A.md", string(docBytes("A")))             // a rename was lost
	put(t, w, "tasks/queue/OLD.md", "edited before the power cut\n") // a person's, older than the checkpoint
	w = reopen(t, w)
	w.boot = "another"
	if _, err := w.Transact(t.Context(), func(*State) (*Mutation, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]string{
		"tasks/active/A.md": string(docBytes("A")), "tasks/queue/A.md": "<absent>",
		"tasks/queue/B.md": string(docBytes("B")), "tasks/queue/OLD.md": "edited before the power cut\n",
	} {
		if got := read(t, w, p); got != want {
			t.Errorf("%s: %q, want %q", p, got, want)
		}
	}
	if found := w.Strangers(); len(found) != 0 {
		t.Errorf("strangers: %+v", found)
	}
	// Once: what a person does after the repair stands, for every process of this boot.
	put(t, w, "tasks/queue/B.md", "edited after the repair\n")
	again := reopen(t, w)
	again.boot = "another"
	if _, err := again.Transact(t.Context(), func(*State) (*Mutation, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	if got := read(t, w, "tasks/queue/B.md"); got != "edited after the repair\n" {
		t.Errorf("B: %q", got)
	}
}

func TestStrangerInTheWayIsKeptNotLost(t *testing.T) {
	w := newWorkspace(t)
	strangers(t, w)
	mustCommit(t, w, replace())
	for p, want := range map[string]string{
		"tasks/active/A.md": string(docBytes("A")), "tasks/queue/NEW.md": "new\n", "tasks/queue/GONE.md": "<absent>",
		"state/foreign/00000003/tasks/active/A.md":   "a stranger's\n",
		"state/foreign/00000003/tasks/queue/NEW.md":  "another stranger's\n",
		"state/foreign/00000003/tasks/queue/GONE.md": "and another's\n",
	} {
		if got := read(t, w, p); got != want {
			t.Errorf("%s: %q, want %q", p, got, want)
		}
	}
	if found := w.Strangers(); len(found) != 4 {
		t.Errorf("strangers: %+v", found)
	}
}

func TestStrangerThatExtendedAnAppendedFileIsKept(t *testing.T) {
	w := newWorkspace(t)
	line := func(text string, at int64) *Mutation {
		return &Mutation{By: "t", Ops: []Op{{Do: Append, Path: "state/ledger.jsonl", Text: text, Offset: at}}}
	}
	mustCommit(t, w, line("one\n", 0))
	put(t, w, "state/ledger.jsonl", "one\nhand\n")
	mustCommit(t, w, line("two\n", 4))
	if got := read(t, w, "state/ledger.jsonl"); got != "one\ntwo\n" {
		t.Errorf("%q", got)
	}
	if found := w.Strangers(); len(found) != 1 || read(t, w, found[0].Kept) != "one\nhand\n" {
		t.Errorf("%+v", found)
	}
	os.Remove(filepath.Join(w.Dir, "state/ledger.jsonl"))
	mustCommit(t, w, line("three\n", 8))
	if got := read(t, w, "state/ledger.jsonl"); got != "one\ntwo\nthree\n" {
		t.Errorf("rebuilt: %q", got)
	}
}

func TestFullDiskHoldsEveryCommitUntilThereIsRoom(t *testing.T) {
	w, f := counted(t)
	mustCommit(t, w, admit("A"))
	appended := false
	f.Reset(func(_ int, op disktest.Op) error {
		if op.Name == "WriteAt" && !appended {
			appended = true
			return nil
		}
		return disktest.FullFrom(0)(0, op)
	})
	_, err := w.Transact(t.Context(), func(*State) (*Mutation, error) { return claim("A"), nil })
	held := new(UnappliedError)
	if !errors.As(err, &held) || !errors.Is(err, ErrFull) || held.Seq != 3 {
		t.Fatalf("%v", err)
	}
	asked := false
	for _, who := range []*Workspace{w, openOn(t, w.Project, w.boot, func(d disk.FS) disk.FS { return disktest.NewFaulty(d, disktest.FullFrom(0)) })} {
		_, err = who.Transact(t.Context(), func(*State) (*Mutation, error) { asked = true; return admit("B"), nil })
		if !errors.Is(err, ErrFull) || asked {
			t.Fatalf("%v, asked %v", err, asked)
		}
	}
	f.Reset(nil)
	mustCommit(t, w, admit("B"))
	if got := read(t, w, "tasks/active/A.md"); got != string(docBytes("A")) {
		t.Errorf("%q", got)
	}
	if findings, err := w.Verify(t.Context()); err != nil || len(findings) > 0 {
		t.Errorf("%v %+v", err, findings)
	}
}

func TestFullDiskAtTheAppendChangesNothing(t *testing.T) {
	w, f := counted(t)
	size := w.segment.end
	f.Reset(disktest.FullFrom(0))
	_, err := w.Transact(t.Context(), func(*State) (*Mutation, error) { return admit("A"), nil })
	if !errors.Is(err, ErrFull) || errors.As(err, new(*UnappliedError)) {
		t.Fatalf("%v", err)
	}
	if info, _ := os.Stat(firstSegmentFile(w)); info.Size() != size {
		t.Errorf("the journal has %d bytes, had %d", info.Size(), size)
	}
}

func TestLostSyncEndsTheProcess(t *testing.T) {
	w, f := counted(t)
	var ended error
	w.fatal = func(err error) { ended = err }
	f.Reset(func(_ int, op disktest.Op) error {
		if op.Name == "Datasync" {
			return syscall.EIO
		}
		return nil
	})
	if _, err := w.Transact(t.Context(), func(*State) (*Mutation, error) { return admit("A"), nil }); err == nil || ended == nil {
		t.Fatalf("%v, ended by %v", err, ended)
	}
	f.Reset(nil)
	if _, err := w.Transact(t.Context(), func(*State) (*Mutation, error) { return admit("A"), nil }); err == nil {
		t.Error("it went on")
	}
	// The next process finds the record whole, makes it durable first, and carries it out.
	var g *disktest.Faulty
	next := openOn(t, w.Project, w.boot, func(d disk.FS) disk.FS { g = disktest.NewFaulty(d, nil); return g })
	if _, err := next.Transact(t.Context(), func(*State) (*Mutation, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	synced := false
	for _, op := range g.Ops() {
		if op.Name == "Datasync" {
			synced = true
		}
		if op.Name == "Rename" && !synced {
			t.Errorf("%s before the record was durable", op)
		}
	}
	if !synced || read(t, w, "tasks/queue/A.md") != string(docBytes("A")) {
		t.Error("the record was not carried out")
	}
}

func TestExpectedFilesMustBeAsTheyWere(t *testing.T) {
	w := newWorkspace(t)
	put(t, w, "intake/a.md", "one\n")
	if err := os.Symlink("a.md", filepath.Join(w.Dir, "intake/link.md")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		in    Input
		moved bool
	}{
		{Input{"intake/a.md", schema.DigestOf([]byte("one\n"))}, false},
		{Input{"intake/a.md", schema.DigestOf([]byte("two\n"))}, true},
		{Input{"intake/a.md", ""}, true},
		{Input{"intake/b.md", ""}, false},
		{Input{"intake/b.md", schema.DigestOf(nil)}, true},
		{Input{"intake/link.md", ""}, true},
	} {
		seq := uint64(0)
		_, err := w.Transact(t.Context(), func(s *State) (*Mutation, error) {
			seq = s.Seq
			return &Mutation{By: "t", Expect: []Input{c.in}, Events: []Event{{Type: EvHeld}}}, nil
		})
		if errors.Is(err, ErrMoved) != c.moved || err != nil && !c.moved {
			t.Errorf("%+v: %v", c.in, err)
		}
		if s, _ := w.Load(); c.moved && s.Seq != seq {
			t.Errorf("%+v: appended", c.in)
		}
	}
}

func TestMalformedMutationsAreRefusedBeforeTheAppend(t *testing.T) {
	w := newWorkspace(t)
	outside := t.TempDir()
	put(t, w, "ideas/file", "x")
	for link, to := range map[string]string{"out": outside, "ideas/up": "../../.."} {
		if err := os.Symlink(to, filepath.Join(w.Dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	d := schema.DigestOf([]byte("x"))
	write := func(p string) Op { return Op{Do: Write, Path: p, Text: "x", Digest: d} }
	bad := map[string]Op{
		"absolute": write("/etc/x"), "up": write("../x"), "inside up": write("a/../../x"), "not clean": write("a//b"),
		"dot": write("."), "empty": write(""), "newline": write("a\nb"), "nul": write("a\x00b"), "not utf-8": write("a\xffb"),
		"through a link": write("out/x"), "through a relative link": write("ideas/up/x"), "below a file": write("ideas/file/x"),
		"journal": write(JournalDir + "/x"), "lock": write(LockFile), "applied": write(AppliedFile), "blobs": write(BlobsDir + "/x"),
		"state itself": write(StateDir), "long name": write("ideas/" + strings.Repeat("n", 250)),
		"digest": {Do: Write, Path: "a", Text: "y", Digest: d}, "two contents": {Do: Write, Path: "a", Text: "x", Bytes: []byte("x"), Digest: d},
		"was": {Do: Write, Path: "a", Was: "md5:1", Text: "x", Digest: d}, "operation": {Do: "truncate", Path: "a"},
		"move without digest": {Do: Move, Path: "a", To: "b"}, "move out": {Do: Move, Path: "ideas/file", To: "../b", Was: d},
		"move of a state file": {Do: Move, Path: ControlFile, To: "b", Was: d}, "remove without digest": {Do: Remove, Path: "a"},
		"removed status": {Do: Remove, Path: "state/status/task/A.json", Was: d}, "negative offset": {Do: Append, Path: "a", Text: "x", Offset: -1},
		"status that is none": {Do: Write, Path: "state/status/task/A.json", Was: Projection, Text: "x", Digest: d},
	}
	it := task("A", "queue", nil)
	wrong := &Mutation{}
	wrong.PutJSON("state/status/task/B.json", it)
	bad["status of another"] = wrong.Ops[0]
	before, _ := os.ReadFile(firstSegmentFile(w))
	for name, op := range bad {
		if _, err := w.Transact(t.Context(), func(*State) (*Mutation, error) { return &Mutation{By: "t", Ops: []Op{op}}, nil }); err == nil {
			t.Errorf("%s: committed", name)
		}
	}
	for name, m := range map[string]*Mutation{"nobody": {Ops: []Op{write("a")}}, "nothing": {By: "t"}} {
		if _, err := w.Transact(t.Context(), func(*State) (*Mutation, error) { return m, nil }); !errors.As(err, new(*MalformedError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after, _ := os.ReadFile(firstSegmentFile(w)); !bytes.Equal(before, after) {
		t.Error("the journal changed")
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("written outside: %v", left)
	}
	mustCommit(t, w, admit("A")) // and nothing is stuck
}

func TestMoveOfWhatIsNotThereIsDecidedAnew(t *testing.T) {
	w := newWorkspace(t)
	put(t, w, "tasks/queue/X.md", "dropped\n")
	m := &Mutation{By: "t"}
	m.MoveFile("tasks/queue/X.md", "tasks/active/X.md", schema.DigestOf([]byte("dropped\n")))
	os.Remove(filepath.Join(w.Dir, "tasks/queue/X.md"))
	if _, err := w.Transact(t.Context(), func(*State) (*Mutation, error) { return m, nil }); !errors.Is(err, ErrMoved) {
		t.Errorf("%v", err)
	}
}

func TestWhatTheJournalNeverHeldIsReportedAsLost(t *testing.T) {
	w := newWorkspace(t)
	put(t, w, "tasks/queue/X.md", "dropped\n")
	m := &Mutation{By: "t"}
	m.MoveFile("tasks/queue/X.md", "tasks/active/X.md", schema.DigestOf([]byte("dropped\n")))
	interrupted(t, w, m)
	os.Remove(filepath.Join(w.Dir, "tasks/queue/X.md"))
	w = settle(t, w)
	if found := w.Strangers(); len(found) != 1 || !found[0].Lost {
		t.Errorf("%+v", found)
	}
	mustCommit(t, w, admit("A")) // nothing is stuck
	if findings, err := w.Verify(t.Context()); err != nil || len(findings) != 1 || findings[0].Path != "tasks/active/X.md" {
		t.Errorf("%v %+v", err, findings)
	}
}

func TestManyOpsOnOnePathEndAsTheLastSays(t *testing.T) {
	w := newWorkspace(t)
	m := &Mutation{By: "t"}
	m.PutFile("ideas/a", "", []byte("1"))
	m.PutFile("ideas/a", schema.DigestOf([]byte("1")), []byte("2"))
	m.MoveFile("ideas/a", "ideas/b", schema.DigestOf([]byte("2")))
	m.MoveFile("ideas/b", "ideas/c", schema.DigestOf([]byte("2")))
	m.PutFile("ideas/a", "", []byte("3"))
	m.PutFile("ideas/gone", "", []byte("4"))
	m.RemoveFile("ideas/gone", schema.DigestOf([]byte("4")))
	check := func(what string) {
		t.Helper()
		got := fmt.Sprint(read(t, w, "ideas/a"), read(t, w, "ideas/b"), read(t, w, "ideas/c"), read(t, w, "ideas/gone"))
		if got != "3 <absent> 2 <absent>" && got != "3<absent>2<absent>" {
			t.Errorf("%s: %s", what, got)
		}
		if found := w.Strangers(); len(found) > 0 {
			t.Errorf("%s: %+v", what, found)
		}
	}
	mustCommit(t, w, m)
	check("at once")
	os.Remove(filepath.Join(w.Dir, AppliedFile))
	w = settle(t, w)
	check("again")
}

func TestWhatHoldsARecordIsSaidInWords(t *testing.T) {
	for cause, words := range map[error]string{
		syscall.ENOSPC: "disk is full", syscall.EDQUOT: "disk is full", syscall.EROFS: "read-only",
		syscall.EACCES: "permission denied", syscall.ENOTDIR: "in the way", syscall.EIO: "refused",
	} {
		w, f := counted(t)
		f.Reset(func(_ int, op disktest.Op) error {
			if op.Name == "Create" {
				return cause
			}
			return nil
		})
		_, err := w.Transact(t.Context(), func(*State) (*Mutation, error) { return admit("A"), nil })
		held := new(UnappliedError)
		if !errors.As(err, &held) || !errors.Is(err, cause) || !strings.Contains(held.Condition, words) || held.Repair == "" || held.Path == "" {
			t.Errorf("%v: %v", cause, err)
		}
	}
}
