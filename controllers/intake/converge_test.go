package intake

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"millrace/schema"
)

// What people do with declarations converges: whether the daemon looks after every step, now and then,
// or only at the end, the same work is queued with the same content. The world checks on the way that
// every decision is pure, every law holds, and no operation meets a file it does not expect.
func TestConvergesWhateverTheBatching(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := []string{"a", "b", "c", "d"}
		eager, lazy := newWorld(t), newWorld(t)
		eager.config.Runtime.PruneLimit, lazy.config.Runtime.PruneLimit = 1, 1
		both := func(f func(*world)) { f(eager); f(lazy) }
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			n := rapid.IntRange(0, len(ids)-1).Draw(t, "which")
			id := ids[n]
			path := fmt.Sprintf("tasks/%s%d.md", id, rapid.IntRange(1, 2).Draw(t, "place"))
			text := version(ids[:n], id, rapid.IntRange(1, 3).Draw(t, "version"))
			step := rapid.SampledFrom([]string{"write", "write", "remove", "break", "wait"}).Draw(t, "step")
			both(func(w *world) {
				switch step {
				case "write":
					w.drop(path, text)
				case "remove":
					w.drop(path, "")
				case "break":
					w.drop(path, "# broken\n")
				case "wait":
					w.now = w.now.Add(long)
				}
				w.now = w.now.Add(time.Second)
			})
			eager.reconcile()
			if rapid.Bool().Draw(t, "look") {
				lazy.reconcile()
			}
		}
		want := map[string]string{}
		for n, id := range ids {
			v := rapid.IntRange(0, 3).Draw(t, "last version") // 0: gone
			both(func(w *world) {
				w.drop("tasks/"+id+"1.md", "")
				w.drop("tasks/"+id+"2.md", "")
				if v > 0 {
					w.drop("tasks/"+id+"1.md", version(ids[:n], id, v))
				}
			})
			if v > 0 {
				want[id] = fmt.Sprintf("%s %d", id, v)
			}
		}
		for name, w := range map[string]*world{"eager": eager, "lazy": lazy} {
			for range 2 { // absence is seen, and has lasted
				w.reconcile()
				w.now = w.now.Add(long)
			}
			before := w.commits
			w.reconcile()
			if w.commits != before {
				t.Errorf("%s: not at rest", name)
			}
			for _, id := range ids {
				it := w.state.Items[key(id)]
				queued := it != nil && it.State == schema.StateQueue
				if title := want[id]; queued != (title != "") || queued && it.Title != title {
					t.Errorf("%s: %s is %+v, want %q queued", name, id, it, title)
				}
			}
		}
	})
}

func version(earlier []string, id string, v int) string {
	title := fmt.Sprintf("%s %d", id, v)
	if len(earlier) > 0 && v > 1 {
		return task(id, title, "Depends-On: "+earlier[(v+len(id))%len(earlier)])
	}
	return task(id, title)
}
