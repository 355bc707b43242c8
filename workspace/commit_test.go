package workspace

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"millrace/schema"
)

func newWorkspace(t testing.TB) *Workspace {
	t.Helper()
	w, made, err := Create(t.TempDir())
	if err != nil || !made {
		t.Fatalf("Create: %v, made %v", err, made)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func reopen(t testing.TB, w *Workspace) *Workspace {
	t.Helper()
	again, err := Open(w.Project)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { again.Close() })
	return again
}

func mustCommit(t testing.TB, w *Workspace, m *Mutation) *Record {
	t.Helper()
	rec, err := w.Transact(t.Context(), func(*State) (*Mutation, error) { return m, nil })
	if err != nil {
		t.Fatalf("Transact: %v", err)
	}
	return rec
}

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func task(id, state string, doc []byte) *schema.Item {
	it := &schema.Item{
		SchemaVersion: 1, Family: "task", ID: id, State: state, Path: "tasks/" + state + "/" + id + ".md",
		Title: "Task " + id, Priority: 5, CreatedAt: epoch, Generation: 1, Document: schema.DigestOf(doc),
		Source: "declaration", Declared: &schema.Declaration{Path: "intake/" + id + ".md", Digest: schema.DigestOf(doc)},
		Updated: epoch,
	}
	switch {
	case state == schema.StateBlocked:
		it.Blocked = &schema.Blocked{Class: schema.FailExit, Since: epoch}
	case schema.Ended(state):
		it.EndedBy = "test"
	}
	return it
}

func docBytes(id string) []byte { return []byte("# Task " + id + "\n\nTask-ID: " + id + "\n") }

func admit(ids ...string) *Mutation {
	m := &Mutation{By: "intake", Why: "admit"}
	for _, id := range ids {
		doc := docBytes(id)
		m.PutFile("tasks/queue/"+id+".md", "", doc)
		m.PutItem(task(id, "queue", doc))
		m.Tell(Event{Type: EvAdmitted, Item: schema.Key{Family: "task", ID: id}})
	}
	return m
}

func claim(id string) *Mutation {
	doc, run := docBytes(id), "run-"+id
	it := task(id, "active", doc)
	it.Run, it.Attempts = run, 1
	m := &Mutation{By: "dispatch", Why: "claim"}
	m.MoveFile("tasks/queue/"+id+".md", it.Path, it.Document)
	m.PutItem(it)
	m.PutRun(&schema.Run{SchemaVersion: 1, ID: run, Item: it.Key(), State: schema.RunRunning, Node: "builder", Request: "req-1"})
	m.PutFile("runs/"+run+"/req-1/prompt.md", "", []byte("do it\n"))
	return m
}

func read(t testing.TB, w *Workspace, rel string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(w.Dir, rel))
	if errors.Is(err, os.ErrNotExist) {
		return "<absent>"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestCommitIsAppliedAndReadBack(t *testing.T) {
	w := newWorkspace(t)
	mustCommit(t, w, admit("A", "B"))
	rec := mustCommit(t, w, claim("A"))
	if rec.Seq != 3 {
		t.Fatalf("seq %d, want 3", rec.Seq)
	}
	if got := read(t, w, "tasks/queue/A.md"); got != "<absent>" {
		t.Errorf("queue still has A: %q", got)
	}
	if got := read(t, w, "tasks/active/A.md"); got != string(docBytes("A")) {
		t.Errorf("active A: %q", got)
	}
	for name, load := range map[string]func() (*State, error){
		"load": reopen(t, w).Load,
		"transact": func() (s *State, err error) {
			_, err = reopen(t, w).Transact(context.Background(), func(st *State) (*Mutation, error) { s = st; return nil, nil })
			return s, err
		},
	} {
		s, err := load()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if s.Seq != 3 || s.Items[schema.Key{Family: "task", ID: "A"}].State != "active" || len(s.Runs) != 1 || len(s.Ready("task")) != 1 {
			t.Errorf("%s: %+v", name, s)
		}
	}
	n := 0
	for rec, err := range w.Records(2) {
		if err != nil || rec.Seq != uint64(n+2) {
			t.Fatalf("record %d: %v %+v", n, err, rec)
		}
		n++
	}
	if n != 2 {
		t.Errorf("%d records", n)
	}
	if err := w.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, pos, ok := readSnapshot(w.disk); !ok || pos.Seq != 3 {
		t.Errorf("snapshot %v at %+v", ok, pos)
	}
}
