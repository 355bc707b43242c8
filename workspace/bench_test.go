package workspace

import (
	"fmt"
	"testing"

	"millrace/schema"
	"millrace/workspace/disk"
	"millrace/workspace/disk/disktest"
)

// filled makes a workspace with n queued items, each with what a real one carries.
func filled(tb testing.TB, n int) *Workspace {
	tb.Helper()
	project := tempWorkspace(tb)
	w, _, err := create(project, func(dir string) (disk.FS, error) {
		d, err := disk.OpenRoot(dir)
		return disktest.NoSync(d), err
	}, func(*Workspace) {})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { w.Close() })
	for i := 0; i < n; i += 32 {
		m := &Mutation{By: "intake", Why: "admit"}
		for j := i; j < min(i+32, n); j++ {
			id := fmt.Sprintf("T-%06d", j)
			doc := docBytes(id)
			it := task(id, "queue", doc)
			it.Priority, it.DependsOn = j%10, nil
			if j%3 == 2 {
				it.DependsOn = []string{fmt.Sprintf("T-%06d", j-1)}
			}
			it.Counters = map[string]int{"fix": 1}
			it.Checks = []schema.Check{{Name: "unit", Run: "go test ./..."}}
			m.PutFile(it.Path, "", doc)
			m.PutItem(it)
		}
		mustCommit(tb, w, m)
	}
	return w
}

func BenchmarkCommit(b *testing.B) {
	w, _, err := Create(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	n := 0
	for b.Loop() {
		n++
		mustCommit(b, w, admit(fmt.Sprintf("T-%d", n)))
	}
}

func BenchmarkCatchUpNothingNew(b *testing.B) {
	w := filled(b, 1000)
	for b.Loop() {
		if _, err := w.Transact(b.Context(), func(*State) (*Mutation, error) { return nil, nil }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoad10000(b *testing.B) {
	for _, snapshot := range []bool{false, true} {
		b.Run(fmt.Sprintf("snapshot=%v", snapshot), func(b *testing.B) {
			w := filled(b, 10_000)
			if snapshot {
				if err := w.Checkpoint(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				s, err := w.Load()
				if err != nil || len(s.Items) != 10_000 {
					b.Fatalf("%v %d", err, len(s.Items))
				}
			}
		})
	}
}

func BenchmarkCheckpoint10000(b *testing.B) {
	w := filled(b, 10_000)
	for b.Loop() {
		if _, err := encodeSnapshot(w.state, w.last); err != nil {
			b.Fatal(err)
		}
	}
}
