package workspace

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"millrace/schema"
	"millrace/workspace/disk"
	"millrace/workspace/disk/disktest"
)

// history is a day in the life of a workspace, in mutations that each need the ones before.
func history() []*Mutation {
	edited := []byte("# Task B, edited\n\nTask-ID: B\n")
	edit := &Mutation{By: "intake", Why: "edit"}
	edit.PutFile("tasks/queue/B.md", schema.DigestOf(docBytes("B")), edited)
	it := task("B", "queue", edited)
	it.Generation = 2
	edit.PutItem(it)
	cancel := &Mutation{By: "intake", Why: "prune"}
	it = it.Clone()
	it.State, it.Path, it.EndedBy = "cancelled", "tasks/cancelled/B.md", "prune"
	cancel.MoveFile("tasks/queue/B.md", it.Path, it.Document)
	cancel.PutItem(it)
	first := claim("A")
	first.Ops = append(first.Ops, Op{Do: Append, Path: "state/ledger.jsonl", Text: "one\n"})
	return []*Mutation{admit("A", "B"), first, edit, result(), bigMutationOnly(), cancel}
}

// crashed opens what a power cut left and says how many of the mutations it holds; the workspace must
// be exactly what it was after as many.
func crashed(t *testing.T, project, what string, worlds []world) int {
	t.Helper()
	w := openOn(t, project, boot2, plain)
	defer w.Close()
	got, err := look2(t, w)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	n := int(w.state.Seq) - 1
	if e := (expectation{before: worlds[n], after: worlds[n]}); e.which(got) == "" {
		t.Errorf("%s: after %d mutations, %s", what, n, e.differences(got))
	}
	if findings, err := w.Verify(t.Context()); err != nil || len(findings) > 0 {
		t.Errorf("%s: verify: %v %+v", what, err, findings)
	}
	return n
}

func TestPowerCutOverAHistory(t *testing.T) {
	limit := 6
	if longer() {
		limit = 500
	}
	for _, checkpoint := range []bool{false, true} {
		t.Run(fmt.Sprintf("checkpoint=%v", checkpoint), func(t *testing.T) {
			t.Parallel()
			project := crashKind{prepare: func(testing.TB, *Workspace) {}}.prepared(t)
			var rec *disktest.Recorder
			w := openOn(t, project, boot1, func(d disk.FS) disk.FS {
				var err error
				if rec, err = disktest.NewRecorder(d, filepath.Join(project, Folder)); err != nil {
					t.Fatal(err)
				}
				return rec
			})
			worlds, committed := []world{lookAt(t, w)}, []int{}
			for i, m := range history() {
				mustCommit(t, w, m)
				committed = append(committed, rec.Events())
				worlds = append(worlds, lookAt(t, w))
				if checkpoint && i == 2 {
					if err := w.Checkpoint(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
			n := 0
			for crash := range rec.Crashes(limit, 7) {
				dir := filepath.Join(tempWorkspace(t), "p")
				if err := crash.Write(filepath.Join(dir, Folder)); err != nil {
					t.Fatal(err)
				}
				have, must := crashed(t, dir, crash.String(), worlds), 0
				for must < len(committed) && crash.At >= committed[must] {
					must++
				}
				if have < must {
					t.Errorf("%s: %d mutations, %d had been committed", crash, have, must)
				}
				os.RemoveAll(dir)
				if n++; t.Failed() {
					return
				}
			}
			t.Logf("%d folders", n)
		})
	}
}

func lookAt(t *testing.T, w *Workspace) world {
	t.Helper()
	got, err := look2(t, w)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// The repair after a power cut, and the redo after a crash, may be interrupted themselves.
func TestInterruptedRepairIsRepeated(t *testing.T) {
	project := crashKind{prepare: func(testing.TB, *Workspace) {}}.prepared(t)
	var rec *disktest.Recorder
	w := openOn(t, project, boot1, func(d disk.FS) disk.FS {
		var err error
		if rec, err = disktest.NewRecorder(d, filepath.Join(project, Folder)); err != nil {
			t.Fatal(err)
		}
		return rec
	})
	worlds := []world{lookAt(t, w)}
	for _, m := range history() {
		mustCommit(t, w, m)
		worlds = append(worlds, lookAt(t, w))
	}
	var crashes []*disktest.Crash
	for c := range rec.Crashes(6, 3) {
		crashes = append(crashes, c)
	}
	rng := rand.New(rand.NewPCG(5, 0))
	for range 6 {
		c := crashes[rng.IntN(len(crashes))]
		interruptRepair(t, c, worlds)
	}
}

// interruptRepair lets the repair fail, and the power go again, at each of its operations.
func interruptRepair(t *testing.T, c *disktest.Crash, worlds []world) {
	t.Helper()
	image := filepath.Join(tempWorkspace(t), "image")
	if err := c.Write(filepath.Join(image, Folder)); err != nil {
		t.Fatal(err)
	}
	least := 0
	for n := 0; ; n++ {
		project := clone(t, image)
		var rec *disktest.Recorder
		var faulty *disktest.Faulty
		w := openOn(t, project, boot2, func(d disk.FS) disk.FS {
			var err error
			if rec, err = disktest.NewRecorder(d, filepath.Join(project, Folder)); err != nil {
				t.Fatal(err)
			}
			faulty = disktest.NewFaulty(rec, func(i int, _ disktest.Op) error {
				if i == n {
					return syscall.EIO
				}
				return nil
			})
			return faulty
		})
		w.fatal = func(error) {}
		_, err := look2(t, w)
		ended := len(faulty.Ops()) <= n
		w.Close()
		what := fmt.Sprintf("%s; then EIO at operation %d (%v)", c, n, err)
		for again := range rec.Crashes(1, uint64(n)) {
			if again.At < rec.Events() {
				continue // earlier moments were those of earlier faults
			}
			dir := filepath.Join(tempWorkspace(t), "p")
			if err := again.Write(filepath.Join(dir, Folder)); err != nil {
				t.Fatal(err)
			}
			least = max(least, crashed(t, dir, what+"; then "+again.String(), worlds))
			os.RemoveAll(dir)
		}
		if got := crashed(t, project, what, worlds); got < least {
			t.Errorf("%s: %d mutations, there were %d", what, got, least)
		}
		os.RemoveAll(project)
		if ended || t.Failed() {
			return
		}
	}
}

func TestReprojectWritesDamagedStateFilesAnew(t *testing.T) {
	w := newWorkspace(t)
	mustCommit(t, w, admit("A", "B"))
	mustCommit(t, w, claim("A"))
	good := map[string]string{}
	for p, text := range map[string]string{"state/status/task/A.json": "", "state/status/task/B.json": "[]", "runs/run-A/run.json": "{"} {
		good[p] = read(t, w, p)
		put(t, w, p, text)
	}
	put(t, w, "tasks/queue/B.md", "edited by hand\n")
	if err := w.Reproject(t.Context()); err != nil {
		t.Fatal(err)
	}
	for p, want := range good {
		if got := read(t, w, p); got != want {
			t.Errorf("%s: %q", p, got)
		}
	}
	if got := read(t, w, "tasks/queue/B.md"); got != "edited by hand\n" {
		t.Errorf("a document was touched: %q", got)
	}
}

func TestRecordedGivesBackWhatAPersonDeleted(t *testing.T) {
	w := newWorkspace(t)
	mustCommit(t, w, admit("A"))
	mustCommit(t, w, claim("A"))
	os.Remove(filepath.Join(w.Dir, "tasks/active/A.md"))
	data, err := w.Recorded("tasks/active/A.md", schema.DigestOf(docBytes("A")))
	if err != nil || string(data) != string(docBytes("A")) {
		t.Errorf("%q %v", data, err)
	}
	if _, err := w.Recorded("tasks/active/X.md", schema.DigestOf([]byte("x"))); err == nil || !strings.Contains(err.Error(), "tasks/active/X.md") {
		t.Errorf("%v", err)
	}
}

func TestLargeStateIsKeptInABlobAndFolded(t *testing.T) {
	w := newWorkspace(t)
	run := &schema.Run{SchemaVersion: 1, ID: "r", State: schema.RunRunning, Started: epoch}
	for i := range 800 {
		run.Steps = append(run.Steps, schema.Step{Request: fmt.Sprint("req-", i), Node: "builder", Why: strings.Repeat("because ", 8), Ended: epoch})
	}
	m := &Mutation{By: "t"}
	m.PutRun(run)
	rec := mustCommit(t, w, m)
	if rec.Ops[0].Blob < maxInline {
		t.Fatalf("%+v", rec.Ops[0].Blob)
	}
	s, err := reopen(t, w).Load()
	if err != nil || len(s.Runs["r"].Steps) != 800 {
		t.Fatalf("%v", err)
	}
	if data, err := w.Content(&rec.Ops[0]); err != nil || string(data) != read(t, w, RunFile("r")) {
		t.Errorf("%v", err)
	}
}

// Nobody watches the folders of ended items: a document that is gone comes back when somebody asks, and one that a
// person has changed stays.
func TestReprojectBringsTheDocumentOfAnEndedItemBack(t *testing.T) {
	w := newWorkspace(t)
	mustCommit(t, w, admit("A"))
	mustCommit(t, w, claim("A"))
	mustCommit(t, w, result())
	name := task("A", "done", docBytes("A")).Path
	was := read(t, w, name)
	if err := os.Remove(filepath.Join(w.Dir, name)); err != nil {
		t.Fatal(err)
	}
	if err := w.Reproject(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := read(t, w, name); got != was {
		t.Errorf("%s holds %q", name, got)
	}
	put(t, w, name, "edited by hand\n")
	if err := w.Reproject(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := read(t, w, name); got != "edited by hand\n" {
		t.Errorf("a person's edit was overwritten: %q", got)
	}
}
