package workspace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"millrace/schema"
	"millrace/workspace/disk"
	"millrace/workspace/disk/disktest"
)

// The crash matrix: for each kind of mutation a fault at every file operation. Whatever the fault, the
// workspace is found exactly as before or exactly as after, and Verify has nothing to say.

type crashKind struct {
	name    string
	prepare func(t testing.TB, w *Workspace)
	act     func(ctx context.Context, w *Workspace) error
}

func transacts(m func() *Mutation) func(context.Context, *Workspace) error {
	return func(ctx context.Context, w *Workspace) error {
		_, err := w.Transact(ctx, func(*State) (*Mutation, error) { return m(), nil })
		return err
	}
}

func withAdmitted(ids ...string) func(testing.TB, *Workspace) {
	return func(t testing.TB, w *Workspace) { mustCommit(t, w, admit(ids...)) }
}

func claimed(t testing.TB, w *Workspace) {
	mustCommit(t, w, admit("A"))
	m := claim("A")
	m.Ops = append(m.Ops, Op{Do: Append, Path: "state/ledger.jsonl", Text: "one\n"})
	mustCommit(t, w, m)
}

func result() *Mutation {
	doc := docBytes("A")
	it := task("A", "done", doc)
	it.Run = "run-A"
	m := &Mutation{By: "result", Why: "done"}
	m.MoveFile("tasks/active/A.md", it.Path, it.Document)
	m.PutItem(it)
	m.PutRun(&schema.Run{SchemaVersion: 1, ID: "run-A", Item: it.Key(), State: schema.RunEnded, End: "done"})
	m.PutJSON("runs/run-A/trace.json", map[string]any{"nodes": []string{"builder", "<checker>"}})
	m.PutJSON("runs/run-A/req-1/result.json", map[string]string{"outcome": "BUILT"})
	m.Ops = append(m.Ops, Op{Do: Append, Path: "state/ledger.jsonl", Offset: 4, Text: "two\n"})
	return m
}

// replace writes, moves and removes where strangers lie.
func replace() *Mutation {
	m := claim("A")
	m.PutFile("tasks/queue/NEW.md", "", []byte("new\n"))
	m.PutFile("state/odd.json", Projection, []byte("{}\n"))
	m.RemoveFile("tasks/queue/GONE.md", schema.DigestOf([]byte("never this\n")))
	return m
}

func strangers(t testing.TB, w *Workspace) {
	mustCommit(t, w, admit("A"))
	put(t, w, "tasks/active/A.md", "a stranger's\n")
	put(t, w, "tasks/queue/NEW.md", "another stranger's\n")
	put(t, w, "tasks/queue/GONE.md", "and another's\n")
	if err := os.MkdirAll(filepath.Join(w.Dir, "state/odd.json/folder"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, w *Workspace, rel, text string) {
	t.Helper()
	p := filepath.Join(w.Dir, rel)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func bigMutation() *Mutation {
	m := admit("A")
	m.PutFile("ideas/big.md", "", bytes.Repeat([]byte("large\n"), 20_000))
	return m
}

func crashKinds() []crashKind {
	nothing := func(testing.TB, *Workspace) {}
	return []crashKind{
		{"admit", nothing, transacts(func() *Mutation { return admit("A", "B") })},
		{"claim", withAdmitted("A"), transacts(func() *Mutation { return claim("A") })},
		{"result", claimed, transacts(result)},
		{"remove", func(t testing.TB, w *Workspace) {
			mustCommit(t, w, &Mutation{By: "t", Ops: putOps("ideas/x.md", "", "x\n")})
		}, transacts(func() *Mutation {
			m := &Mutation{By: "t"}
			m.RemoveFile("ideas/x.md", schema.DigestOf([]byte("x\n")))
			return m
		})},
		{"append", func(t testing.TB, w *Workspace) {
			mustCommit(t, w, &Mutation{By: "t", Ops: []Op{{Do: Append, Path: "state/ledger.jsonl", Text: "first\n"}}})
		}, transacts(func() *Mutation {
			return &Mutation{By: "t", Ops: []Op{{Do: Append, Path: "state/ledger.jsonl", Text: "second\n", Offset: 6}}}
		})},
		{"blob", nothing, transacts(bigMutation)},
		{"replace", strangers, transacts(replace)},
		{"roll", func(t testing.TB, w *Workspace) { w.roll = 1; mustCommit(t, w, admit("Z")); w.roll = segmentSize },
			transacts(func() *Mutation { return admit("A") })},
		{"checkpoint", claimed, func(ctx context.Context, w *Workspace) error { return w.Checkpoint(ctx) }},
	}
}

func putOps(p string, was schema.Digest, text string) []Op {
	m := &Mutation{}
	m.PutFile(p, was, []byte(text))
	return m.Ops
}

// openOn opens a project on a wrapped disk, in a given boot.
func openOn(t testing.TB, project, boot string, wrap func(disk.FS) disk.FS) *Workspace {
	t.Helper()
	w, err := openDir(project, func(dir string) (disk.FS, error) {
		d, err := disk.OpenRoot(dir)
		if err != nil {
			return nil, err
		}
		return wrap(disktest.NoSync(d)), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w.boot = boot
	w.fatal = func(err error) { panic(err) }
	t.Cleanup(func() { w.Close() })
	return w
}

func plain(d disk.FS) disk.FS { return d }

const boot1, boot2 = "boot-1", "boot-2"

// prepared makes a project in which a kind of mutation can be made.
func (k crashKind) prepared(t testing.TB) (project string) {
	t.Helper()
	project = tempWorkspace(t)
	w, _, err := create(project, func(dir string) (disk.FS, error) {
		d, err := disk.OpenRoot(dir)
		return disktest.NoSync(d), err
	}, func(w *Workspace) { w.boot = boot1 })
	if err != nil {
		t.Fatal(err)
	}
	if k.name == "roll" { // every segment holds one record
		w.Close()
		rewriteRoll(t, project)
		w = openOn(t, project, boot1, plain)
	}
	k.prepare(t, w)
	w.Close()
	return project
}

// rewriteRoll makes the first segment full.
func rewriteRoll(t testing.TB, project string) {
	t.Helper()
	p := filepath.Join(project, Folder, segmentPath(segmentName(1)))
	data, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	line, rest, _ := bytes.Cut(data, []byte{'\n'})
	payload, _ := unframe(line)
	var h header
	if err := json.Unmarshal(payload, &h); err != nil {
		t.Fatal(err)
	}
	h.Roll = 1
	raw, _ := json.Marshal(h)
	if err := os.WriteFile(p, append(frame(raw), rest...), 0o644); err != nil {
		t.Fatal(err)
	}
}

func clone(t testing.TB, project string) string {
	t.Helper()
	to := tempWorkspace(t)
	if err := os.CopyFS(to, os.DirFS(project)); err != nil {
		t.Fatal(err)
	}
	return to
}

// A world is all that must be as before or as after.
type world struct {
	state string            // the fold
	files map[string]string // everything but the journal's own files
}

// stateJSON is the whole state as text.
func stateJSON(s *State) string {
	values := []any{s.Seq, s.Hash, s.Time, s.Boot, s.Control, sortedKeys(s.Hold), s.ActiveRuns()}
	for _, k := range slices.SortedFunc(maps.Keys(s.Items), CompareKeys) {
		values = append(values, s.Items[k])
	}
	for _, family := range slices.Sorted(maps.Keys(s.counts)) {
		values = append(values, family, s.counts[family], ids(s.Ready(family)))
	}
	raw, err := json.Marshal(values)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// stateText leaves out what differs between two runs of one history.
func stateText(s *State) string {
	same := *s
	same.Hash, same.Time, same.Boot = "", epoch, ""
	return stateJSON(&same)
}

func files(t testing.TB, project string) map[string]string {
	t.Helper()
	found := map[string]string{}
	root := filepath.Join(project, Folder)
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		rel = filepath.ToSlash(rel)
		for _, o := range []string{LockFile, JournalDir, BlobsDir, AppliedFile, Checkpoint, Snapshot} {
			if rel == o || strings.HasPrefix(rel, o+"/") {
				return nil
			}
		}
		if strings.HasSuffix(rel, ".millrace~") {
			return nil
		}
		data, err := os.ReadFile(p)
		found[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func look2(t testing.TB, w *Workspace) (world, error) {
	t.Helper()
	var text string
	_, err := w.Transact(t.Context(), func(s *State) (*Mutation, error) { text = stateText(s); return nil, nil })
	return world{text, files(t, w.Project)}, err
}

type expectation struct {
	kind          crashKind
	project       string // never touched again
	before, after world
	ops           []disktest.Op // of opening, acting
}

func (k crashKind) expectation(t testing.TB) expectation {
	t.Helper()
	e := expectation{kind: k, project: k.prepared(t)}
	w := openOn(t, clone(t, e.project), boot1, plain)
	var err error
	if e.before, err = look2(t, w); err != nil {
		t.Fatal(err)
	}
	w.Close()
	var faulty *disktest.Faulty
	w = openOn(t, clone(t, e.project), boot1, func(d disk.FS) disk.FS { faulty = disktest.NewFaulty(d, nil); return faulty })
	if err := k.act(t.Context(), w); err != nil {
		t.Fatalf("act: %v", err)
	}
	e.ops = faulty.Ops()
	if e.after, err = look2(t, w); err != nil {
		t.Fatal(err)
	}
	return e
}

// found checks a workspace after a fault, by whoever opens it next.
func (e expectation) found(t testing.TB, project, boot, what string, must string) {
	t.Helper()
	w := openOn(t, project, boot, plain)
	defer w.Close()
	loaded, err := w.Load()
	if err != nil {
		t.Fatalf("%s: load: %v", what, err)
	}
	if text := stateText(loaded); text != e.before.state && text != e.after.state {
		t.Errorf("%s: loaded state is neither before nor after:\n%s", what, text)
	}
	got, err := look2(t, w)
	if err != nil {
		t.Fatalf("%s: transact: %v", what, err)
	}
	if which := e.which(got); which == "" {
		t.Errorf("%s: neither before nor after:\n%s", what, e.differences(got))
	} else if must != "" && !strings.Contains(which, must) {
		t.Errorf("%s: found as %s, must be as %s", what, which, must)
	}
	findings, err := w.Verify(t.Context())
	if err != nil {
		t.Fatalf("%s: verify: %v", what, err)
	}
	for _, f := range findings {
		if e.kind.name == "replace" && f.Law == LawOneFolder && strings.Contains(e.before.files[f.Path], "stranger") {
			continue // the copy that a person made before
		}
		t.Errorf("%s: verify: %+v", what, f)
	}
}

func (e expectation) which(got world) string {
	which := ""
	if got.state == e.before.state && maps.Equal(got.files, e.before.files) {
		which += "before"
	}
	if got.state == e.after.state && maps.Equal(got.files, e.after.files) {
		which += "after"
	}
	return which
}

func (e expectation) differences(got world) string {
	near, name := e.before, "before"
	if got.state == e.after.state {
		near, name = e.after, "after"
	}
	text := "compared with " + name + ":\n"
	if got.state != near.state {
		text += "state: " + got.state + "\n"
	}
	for p, data := range got.files {
		if old, there := near.files[p]; !there || old != data {
			text += fmt.Sprintf("  %s: %.60q, expected %.60q\n", p, data, near.files[p])
		}
	}
	for p := range near.files {
		if _, there := got.files[p]; !there {
			text += "  " + p + ": missing\n"
		}
	}
	return text
}

// longer reports whether the long size of the suites was asked for.
func longer() bool { return os.Getenv("MILLRACE_TEST_LONG") != "" }

func TestReturnedErrorAtEveryOperation(t *testing.T) {
	for _, k := range crashKinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			e := k.expectation(t)
			for n, op := range e.ops {
				e.errorAt(t, fmt.Sprintf("EIO at %d %s", n, op), disktest.FailAt(n, syscall.EIO))
				if op.Name == "WriteAt" {
					e.errorAt(t, fmt.Sprintf("half at %d %s", n, op), disktest.FailAt(n, fmt.Errorf("%w: %w", syscall.EIO, disktest.ErrPartly)))
				}
				e.errorAt(t, fmt.Sprintf("full from %d %s", n, op), disktest.FullFrom(n))
			}
		})
	}
}

func (e expectation) errorAt(t *testing.T, what string, fault disktest.Fault) {
	t.Helper()
	project := clone(t, e.project)
	var faulty *disktest.Faulty
	w := openOn(t, project, boot1, func(d disk.FS) disk.FS { faulty = disktest.NewFaulty(d, fault); return faulty })
	var ended error
	w.fatal = func(err error) { ended = err }
	err := e.kind.act(t.Context(), w)
	must := ""
	var unapplied *UnappliedError
	switch {
	case err == nil:
		must = "after"
	case ended != nil: // the process is gone: the next one decides
	case errors.As(err, &unapplied):
		must = "after"
	default:
		must = "before"
	}
	if ended == nil {
		// The same process goes on by itself when the fault is over.
		faulty.Reset(nil)
		got, err := look2(t, w)
		if which := e.which(got); err != nil || !strings.Contains(which, must) || which == "" {
			t.Errorf("%s: goes on: %v, as %q, must be as %s\n%s", what, err, which, must, e.differences(got))
		}
	}
	w.Close()
	e.found(t, project, boot1, what, must)
}

func TestKilledAtEveryChange(t *testing.T) {
	for _, k := range crashKinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			e := k.expectation(t)
			n := 0
			for _, op := range e.ops {
				if !op.Mutates() {
					continue
				}
				e.killAt(t, n, op, false)
				if op.Name == "WriteAt" {
					e.killAt(t, n, op, true)
				}
				n++
			}
		})
	}
}

func (e expectation) killAt(t *testing.T, n int, op disktest.Op, half bool) {
	t.Helper()
	project := clone(t, e.project)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "MILLRACE_TEST_CHILD=kill", "KIND="+e.kind.name, "PROJECT="+project,
		"AT="+strconv.Itoa(n), "HALF="+strconv.FormatBool(half))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("kill at %d %s: child ended with %v\n%s", n, op, err, out)
	}
	e.found(t, project, boot1, fmt.Sprintf("kill at %d %s (half %v)", n, op, half), "")
}

// killChild is the process that is killed.
func killChild() int {
	n, _ := strconv.Atoi(os.Getenv("AT"))
	half := os.Getenv("HALF") == "true"
	i := slices.IndexFunc(crashKinds(), func(k crashKind) bool { return k.name == os.Getenv("KIND") })
	w, err := openDir(os.Getenv("PROJECT"), func(dir string) (disk.FS, error) {
		d, err := disk.OpenRoot(dir)
		return disktest.NewFaulty(disktest.NoSync(d), disktest.KillAt(n, half)), err
	})
	if err == nil {
		w.boot = boot1
		err = crashKinds()[i].act(context.Background(), w)
	}
	fmt.Println("not killed:", err)
	return 1
}

func TestPowerCutAtEveryChange(t *testing.T) {
	limit := 24
	if longer() {
		limit = 3000
	}
	for _, k := range crashKinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			e := k.expectation(t)
			project := clone(t, e.project)
			var rec *disktest.Recorder
			w := openOn(t, project, boot1, func(d disk.FS) disk.FS {
				var err error
				if rec, err = disktest.NewRecorder(d, filepath.Join(project, Folder)); err != nil {
					t.Fatal(err)
				}
				return rec
			})
			if err := k.act(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			n, returned := 0, rec.Events()
			for crash := range rec.Crashes(limit, 1) {
				n++
				dir := filepath.Join(tempWorkspace(t), "p")
				if err := crash.Write(filepath.Join(dir, Folder)); err != nil {
					t.Fatal(err)
				}
				must := ""
				if crash.At >= returned {
					must = "after"
				}
				e.found(t, dir, boot2, crash.String(), must)
				os.RemoveAll(dir)
				if t.Failed() {
					return
				}
			}
			t.Logf("%d folders", n)
		})
	}
}
