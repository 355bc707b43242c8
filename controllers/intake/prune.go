package intake

import (
	"fmt"
	"time"

	"millrace/schema"
)

// byPrune is who ended an item whose declaration disappeared.
const byPrune = "prune"

// absent is the row of a declaration that disappeared: a prune, unless something holds it.
func (t *table) absent(a Action, it *schema.Item) Action {
	v, d := t.v, it.Declared
	switch f := v.Intake.Files[d.Path]; {
	case f.Keeps(a.Key):
		return show(a, Keep, fmt.Sprintf("%s is not valid now; what was admitted from it stays", d.Path))
	case schema.Ended(it.State), it.Cancel != nil:
		return a
	case !v.Intake.Complete:
		return hold(a, "the declarations have not all been read yet")
	case v.Config != nil && !v.Config.Runtime.Prune:
		return hold(a, "its declaration is gone; pruning is off (runtime.prune)")
	case v.Git.Busy != "":
		return hold(a, fmt.Sprintf("its declaration is gone; git is busy (%s)", v.Git.Busy))
	case d.Absent == nil:
		return do(a, Miss, fmt.Sprintf("its declaration %s is gone", d.Path))
	}
	if due := t.dueAt(d); v.Now.Before(due) {
		a.Until = due
		return hold(a, fmt.Sprintf("its declaration is gone; cancelled at %s unless it comes back", due.Format(time.RFC3339)))
	}
	if v.Git.Repository && d.Branch != "" && d.Branch != v.Git.Branch {
		return hold(a, fmt.Sprintf("its declaration is gone, but was last seen on branch %s; HEAD is on %s", d.Branch, v.Git.Branch))
	}
	if why, tooMany := t.tooMany(); tooMany {
		return hold(a, why)
	}
	if r, ok := t.placed(a); !ok {
		return r
	}
	if it.State == schema.StateActive {
		return do(a, Doom, "its declaration is gone: cancelled when its stage ends")
	}
	return do(a, Cancel, "its declaration is gone")
}

// dueAt is when an absence has lasted long enough. A change of branch starts the time anew: what it
// brings back may be noticed later than the change itself.
func (t *table) dueAt(d *schema.Declaration) time.Time {
	since := *d.Absent
	if h := t.v.Control.Head; h != nil && h.Since.After(since) {
		since = h.Since
	}
	return since.Add(t.settle())
}

func (t *table) settle() time.Duration {
	if t.v.Config == nil {
		return 0
	}
	return time.Duration(t.v.Config.Runtime.PruneSettle)
}

// lastBranch is the branch on which a declaration that is missed now was last seen: the one before,
// when HEAD has only just moved.
func (t *table) lastBranch() string {
	h := t.v.Control.Head
	switch {
	case h == nil || h.Branch == "":
		return t.v.Git.Branch
	case h.Before != "" && t.v.Now.Before(h.Since.Add(t.settle())):
		return h.Before
	}
	return h.Branch
}

// tooMany holds a prune that would take more than the configured share of the live declarations at
// once. One alone is never too many: its owner removed one file.
func (t *table) tooMany() (why string, held bool) {
	t.count()
	limit := 1.0
	if t.v.Config != nil {
		limit = t.v.Config.Runtime.PruneLimit
	}
	if t.missing <= 1 || float64(t.missing) <= limit*float64(t.live) {
		return "", false
	}
	return fmt.Sprintf("%d of %d live declarations are gone at once, more than runtime.prune_limit (%g) allows; raise it or millrace queue cancel them",
		t.missing, t.live, limit), true
}

func (t *table) count() {
	if t.counted {
		return
	}
	t.counted = true
	for k, it := range t.v.Items {
		if it.Declared == nil || schema.Ended(it.State) {
			continue
		}
		t.live++
		if it.Cancel == nil && len(t.v.Intake.ByKey[k]) == 0 && !t.v.Intake.Files[it.Declared.Path].Keeps(k) {
			t.missing++
		}
	}
}
