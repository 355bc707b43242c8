package workspace

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// crowded is a workspace with n admitted declarations and observers that have seen them all.
func crowded(b *testing.B, n int) (*Workspace, *Observers) {
	b.Helper()
	project := b.TempDir()
	if _, err := Init(project, InitOptions{}); err != nil {
		b.Fatal(err)
	}
	w, err := Open(project)
	if err != nil {
		b.Fatal(err)
	}
	for i := range n {
		id := fmt.Sprintf("t%05d", i)
		if err := os.WriteFile(filepath.Join(w.Dir, "intake", id+".md"), []byte(taskDoc(id)), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	o, err := w.Observe(ObserveOptions{Watch: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { o.Close(); w.Close() })
	for busy := true; busy; {
		if err := o.Refresh(b.Context()); err != nil {
			b.Fatal(err)
		}
		transact(b, w, func(s *State) *Mutation {
			v := o.View(s)
			m := &Mutation{By: "bench", Why: "admit"}
			for _, k := range v.Intake.Unreconciled[:min(500, len(v.Intake.Unreconciled))] {
				one := admitDoc(v, v.Intake.ByKey[k][0])
				m.Ops = append(m.Ops, one.Ops...)
			}
			busy = len(v.Items) < n
			if len(m.Ops) == 0 {
				return nil
			}
			return m
		})
	}
	for range 10 {
		time.Sleep(60 * time.Millisecond)
		if err := o.Refresh(b.Context()); err != nil {
			b.Fatal(err)
		}
		transact(b, w, func(s *State) *Mutation { o.View(s); return nil })
	}
	return w, o
}

func transact(b *testing.B, w *Workspace, do func(*State) *Mutation) {
	b.Helper()
	if _, err := w.Transact(context.Background(), func(s *State) (*Mutation, error) { return do(s), nil }); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkObserve at 10,000 declarations: a rescan that finds nothing, the rescan that also compares
// every file, a view, a view after one item changed, and the start.
func BenchmarkObserve(b *testing.B) {
	w, o := crowded(b, 10000)
	rescan := func(b *testing.B, thorough int) {
		for b.Loop() {
			o.scanned, o.rescans = time.Time{}, thorough
			if err := o.Refresh(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("refresh", func(b *testing.B) {
		for b.Loop() {
			if err := o.Refresh(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("rescan", func(b *testing.B) { rescan(b, 1) })
	b.Run("rescan/thorough", func(b *testing.B) { rescan(b, 0) })
	transact(b, w, func(s *State) *Mutation {
		b.Run("view", func(b *testing.B) {
			for b.Loop() {
				o.View(s)
			}
		})
		it := s.Items[taskKey("t00042")]
		b.Run("view/changed", func(b *testing.B) {
			for b.Loop() {
				s.touched[it.Key()] = true
				o.View(s)
			}
		})
		return nil
	})
	b.Run("start", func(b *testing.B) {
		for b.Loop() {
			n, err := w.Observe(ObserveOptions{})
			if err != nil {
				b.Fatal(err)
			}
			first := true
			for complete := false; !complete; {
				if err := n.Refresh(b.Context()); err != nil {
					b.Fatal(err)
				}
				transact(b, w, func(s *State) *Mutation {
					if first { // as a fold just read is
						for k := range s.Items {
							s.touched[k] = true
						}
						first = false
					}
					complete = n.View(s).Intake.Complete
					return nil
				})
			}
			n.Close()
		}
	})
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.Logf("%d MB in use with %d items", m.HeapInuse>>20, 10000)
}
