package workspace

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOpenSaysWhenThereIsNoWorkspace(t *testing.T) {
	project := t.TempDir()
	none := new(NoWorkspaceError)
	if _, err := Open(project); !errors.As(err, &none) || none.Fresh || !strings.Contains(err.Error(), Folder) {
		t.Errorf("%v", err)
	}
	if err := os.MkdirAll(filepath.Join(project, Folder, IntakeDir), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(project); !errors.As(err, &none) || !none.Fresh {
		t.Errorf("a folder without journal: %v", err)
	}
}

func TestCreateIsIdempotentAndFinishesWhatACrashLeft(t *testing.T) {
	w := newWorkspace(t)
	again, made, err := Create(w.Project)
	if err != nil || made {
		t.Fatalf("%v, made %v", err, made)
	}
	again.Close()
	w.Close()
	// Only the header of the first segment is left.
	data, _ := os.ReadFile(firstSegmentFile(w))
	header := data[:strings.IndexByte(string(data), '\n')+1]
	if err := os.WriteFile(firstSegmentFile(w), header, 0o644); err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(w.Dir, AppliedFile))
	again, made, err = Create(w.Project)
	if err != nil || !made {
		t.Fatalf("%v, made %v", err, made)
	}
	defer again.Close()
	for rec := range again.Records(1) {
		if rec.Seq != 1 || rec.Events[0].Type != EvWorkspace || rec.Boot == "" {
			t.Errorf("%+v", rec)
		}
	}
}

func TestSecondDaemonIsToldWhoRuns(t *testing.T) {
	w := newWorkspace(t)
	if _, held := w.Daemon(); held {
		t.Error("held before anyone took it")
	}
	info := DaemonInfo{Instance: "d-1", PID: 4711, Host: "here", Since: epoch}
	release, err := w.LockDaemon(info)
	if err != nil {
		t.Fatal(err)
	}
	other := reopen(t, w)
	_, err = other.LockDaemon(DaemonInfo{Instance: "d-2"})
	running := new(DaemonRunningError)
	if !errors.As(err, &running) || running.Info.Instance != "d-1" || !strings.Contains(err.Error(), "4711") {
		t.Errorf("%v", err)
	}
	if seen, held := other.Daemon(); !held || seen.Instance != "d-1" {
		t.Errorf("%+v %v", seen, held)
	}
	mustCommit(t, other, admit("A")) // commands go on beside a daemon
	release()
	if seen, held := other.Daemon(); held || seen.Instance != "d-1" {
		t.Errorf("after the end: %+v %v", seen, held)
	}
	if read(t, w, DaemonLock) != "" {
		t.Error("the lock file was deleted or written")
	}
	// An empty, stale or wrong message is no evidence: nobody runs.
	for _, text := range []string{"", "{", `{"pid":1}`} {
		put(t, w, DaemonFile, text)
		release, err := other.LockDaemon(info)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		release()
	}
}

func TestDaemonRefusesDisksThatHostsMayShare(t *testing.T) {
	w := newWorkspace(t)
	w.shared = func(string) (string, error) { return "NFS", nil }
	if _, err := w.LockDaemon(DaemonInfo{}); !errors.As(err, new(*SharedDiskError)) || !strings.Contains(err.Error(), "--single-host") {
		t.Errorf("%v", err)
	}
	release, err := w.LockDaemon(DaemonInfo{SingleHost: true})
	if err != nil {
		t.Fatal(err)
	}
	release()
}

func TestWaitingForTheLockEndsWithItsContext(t *testing.T) {
	w := newWorkspace(t)
	other := reopen(t, w)
	inside, leave := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		_, err := w.Transact(t.Context(), func(*State) (*Mutation, error) { close(inside); <-leave; return nil, nil })
		done <- err
	}()
	<-inside
	if pid := other.LockHolder(); pid != 0 && pid != os.Getpid() {
		t.Errorf("holder %d", pid)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	for _, who := range []*Workspace{w, other} {
		_, err := who.Transact(ctx, func(*State) (*Mutation, error) { t.Error("decided"); return nil, nil })
		if !errors.As(err, new(*LockedError)) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	}
	close(leave)
	if err := <-done; err != nil {
		t.Error(err)
	}
	mustCommit(t, other, admit("A"))
}

func TestPanicInDecideFreesTheLock(t *testing.T) {
	w := newWorkspace(t)
	func() {
		defer func() { _ = recover() }()
		_, _ = w.Transact(t.Context(), func(*State) (*Mutation, error) { panic("controller") })
	}()
	mustCommit(t, reopen(t, w), admit("A"))
	mustCommit(t, w, admit("B"))
}

func TestFolderReplacedUnderAnOpenWorkspaceIsNoticed(t *testing.T) {
	w := newWorkspace(t)
	mustCommit(t, w, admit("A"))
	if err := os.Rename(w.Dir, w.Dir+".old"); err != nil {
		t.Fatal(err)
	}
	commit := func() error {
		_, err := w.Transact(t.Context(), func(*State) (*Mutation, error) { return admit("B"), nil })
		return err
	}
	if err := commit(); !errors.As(err, new(*GoneError)) {
		t.Errorf("moved: %v", err)
	}
	fresh, _, err := Create(w.Project)
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	if err := commit(); !errors.As(err, new(*GoneError)) {
		t.Errorf("replaced: %v", err)
	}
	if s, _ := fresh.Load(); s.Seq != 1 {
		t.Errorf("the new one has %d records", s.Seq)
	}
}

func TestTruncatedEmptyOrWrongTypeStateFilesStopNothing(t *testing.T) {
	damage := map[string]func(p string) error{
		"empty":     func(p string) error { return os.Truncate(p, 0) },
		"truncated": func(p string) error { info, _ := os.Stat(p); return os.Truncate(p, info.Size()/2) },
		"text":      func(p string) error { return os.WriteFile(p, []byte("[]\n"), 0o644) },
		"missing":   os.Remove,
		"folder":    func(p string) error { return errors.Join(os.Remove(p), os.MkdirAll(filepath.Join(p, "x"), 0o755)) },
		"link":      func(p string) error { return errors.Join(os.Remove(p), os.Symlink("/etc/hostname", p)) },
	}
	for _, file := range []string{AppliedFile, Snapshot, Checkpoint, ControlFile, "state/status/task/A.json"} {
		for name, hurt := range damage {
			t.Run(filepath.Base(file)+"/"+name, func(t *testing.T) {
				w := newWorkspace(t)
				m := admit("A")
				m.PutJSON(ControlFile, map[string]any{"schema_version": 1, "mode": "demo"})
				mustCommit(t, w, m)
				if err := w.Checkpoint(t.Context()); err != nil {
					t.Fatal(err)
				}
				mustCommit(t, w, admit("B"))
				w.Close()
				if err := hurt(filepath.Join(w.Dir, file)); err != nil {
					t.Fatal(err)
				}
				w = reopen(t, w)
				s, err := w.Load()
				if err != nil || s.Seq != 3 || len(s.Items) != 2 || s.Control.Mode != "demo" {
					t.Fatalf("load: %v %+v", err, s)
				}
				it := s.Items[s.Ready("task")[0].Key()].Clone()
				it.Title = "changed"
				m = &Mutation{By: "t"}
				m.PutItem(it)
				m.PutControl(&s.Control)
				mustCommit(t, w, m)
				if err := w.Checkpoint(t.Context()); err != nil {
					t.Fatal(err)
				}
				for range 2 { // also after a power cut
					if findings, err := w.Verify(t.Context()); err != nil || len(findings) > 0 {
						t.Errorf("verify: %v %+v", err, findings)
					}
					w = reopen(t, w)
					w.boot = "another"
				}
			})
		}
	}
}

func TestDamagedSnapshotIsNotUsed(t *testing.T) {
	w := newWorkspace(t)
	mustCommit(t, w, admit("A", "B"))
	if err := w.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(w.Dir, Snapshot)
	good, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := append([]byte{}, good...)
		bad[i] ^= 0x20
		if err := os.WriteFile(p, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, ok := readSnapshot(w.disk); ok {
			t.Fatalf("used with byte %d changed", i)
		}
	}
	// A snapshot of another history: the journal does not have its record.
	other := newWorkspace(t)
	mustCommit(t, other, admit("C"))
	if err := os.WriteFile(filepath.Join(other.Dir, Snapshot), good, 0o644); err != nil {
		t.Fatal(err)
	}
	if s, err := other.Load(); err != nil || len(s.Items) != 1 {
		t.Errorf("%v %+v", err, s)
	}
}

func TestCheckpointWithNothingNewWritesNothing(t *testing.T) {
	w, f := counted(t)
	mustCommit(t, w, admit("A"))
	if err := w.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := reopen(t, w)
	before, _ := os.Stat(filepath.Join(w.Dir, Checkpoint))
	f.Reset(nil)
	for _, who := range []*Workspace{w, other} {
		if err := who.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, op := range f.Ops() {
		if op.Mutates() {
			t.Errorf("%s", op)
		}
	}
	if after, _ := os.Stat(filepath.Join(w.Dir, Checkpoint)); !os.SameFile(before, after) {
		t.Error("another process wrote it anew")
	}
}

func TestReadFileStaysInside(t *testing.T) {
	w := newWorkspace(t)
	put(t, w, "ideas/a.md", "idea\n")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"ideas/link": secret, "ideas/dir": filepath.Dir(secret), "ideas/in": "a.md"} {
		if err := os.Symlink(to, filepath.Join(w.Dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if data, err := w.ReadFile("ideas/a.md", 5); err != nil || string(data) != "idea\n" {
		t.Errorf("%q %v", data, err)
	}
	for _, p := range []string{"ideas/link", "ideas/in", "ideas/dir/secret", "../x", "/etc/hostname", "ideas", ""} {
		if data, err := w.ReadFile(p, 100); err == nil {
			t.Errorf("%s: read %q", p, data)
		}
		if d, err := w.Digest(p); err == nil {
			t.Errorf("%s: digest %s", p, d)
		}
	}
	if _, err := w.ReadFile("ideas/a.md", 4); !errors.As(err, new(*TooLargeError)) {
		t.Errorf("%v", err)
	}
	if d, err := w.Digest("ideas/none"); err != nil || d != "" {
		t.Errorf("%q %v", d, err)
	}
}

func TestVerifyFindsWhatPeopleAndDisksDid(t *testing.T) {
	w := newWorkspace(t)
	mustCommit(t, w, admit("A", "B", "C"))
	mustCommit(t, w, bigMutationOnly())
	put(t, w, "tasks/queue/A.md", "edited\n")
	put(t, w, "tasks/blocked/B.md", string(docBytes("B")))
	mustCommit(t, w, admit("D"))
	os.Rename(filepath.Join(w.Dir, "tasks/queue/D.md"), filepath.Join(w.Dir, "tasks/queue/E.md"))
	os.Remove(filepath.Join(w.Dir, "state/status/task/C.json"))
	put(t, w, "intake/mine.md", "the operator's own\n")
	blobs, _ := os.ReadDir(filepath.Join(w.Dir, BlobsDir))
	put(t, w, BlobsDir+"/"+blobs[0].Name(), "damaged")
	findings, err := w.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"tasks/queue/A.md": LawProjected, "tasks/queue/D.md": LawProjected, "state/status/task/C.json": LawProjected, "tasks/blocked/B.md": LawOneFolder,
		BlobsDir + "/" + blobs[0].Name(): LawEvidence,
	}
	for _, f := range findings {
		if want[f.Path] != f.Law {
			t.Errorf("unexpected: %+v", f)
		}
		delete(want, f.Path)
		if f.Message == "" || f.Repair == "" {
			t.Errorf("says nothing: %+v", f)
		}
	}
	if len(want) > 0 {
		t.Errorf("not found: %v", want)
	}
}

func bigMutationOnly() *Mutation {
	m := bigMutation()
	m.Ops = m.Ops[len(m.Ops)-1:]
	return m
}
