package reconcile

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"millrace/schema"
	"millrace/workspace"
)

// A breaker ends a fixpoint that does not come: controllers that undo each other's work would commit
// for ever.
type breaker struct {
	before  map[string][]schema.Digest // contents each path has had in this fixpoint, without times
	writers map[string][]string        // controllers that wrote each path
	commits int
	last    []string        // controllers of the latest commits
	touched map[string]bool // what the world touched
}

// marks are what a mutation will leave when it is committed.
type marks struct {
	by       string
	contents map[string]schema.Digest
}

// A FightError names the controllers that kept the loop from its fixpoint.
type FightError struct {
	Controllers []string
	Path        string // that returned to content it had before, or ""
	Commits     int
}

func (e *FightError) Error() string {
	who := strings.Join(e.Controllers, " and ")
	if e.Path != "" {
		return fmt.Sprintf("reach fixpoint: controllers %s fight: %s returned to content it had before, after %d commits",
			who, e.Path, e.Commits)
	}
	return fmt.Sprintf("reach fixpoint: controllers %s fight: no end after %d commits", who, e.Commits)
}

func newBreaker() *breaker {
	return &breaker{before: map[string][]schema.Digest{}, writers: map[string][]string{}, touched: map[string]bool{}}
}

// allowance is how many commits a fixpoint may take for what has been touched.
func (b *breaker) allowance() int { return 10 + 4*len(b.touched) }

// check says what a mutation would leave, or that it must not be committed.
func (b *breaker) check(by string, m *workspace.Mutation, v *workspace.View) (marks, error) {
	if b.commits >= b.allowance() {
		b.touch(v)
		if b.commits >= b.allowance() {
			return marks{}, &FightError{Controllers: sortedUnique(append(b.last, by)), Commits: b.commits}
		}
	}
	mk := marks{by, map[string]schema.Digest{}}
	for i := range m.Ops {
		op := &m.Ops[i]
		if op.Do != workspace.Write || op.JSON == nil {
			continue
		}
		if _, known := b.before[op.Path]; !known {
			b.before[op.Path] = present(op.Path, v)
		}
		d := timeless(op.JSON)
		past := b.before[op.Path]
		if len(past) > 0 && past[len(past)-1] == d {
			continue // it has not left that content: at most a time moves on
		}
		if slices.Contains(past, d) {
			return marks{}, &FightError{Controllers: sortedUnique(append(b.writers[op.Path], by)), Path: op.Path, Commits: b.commits}
		}
		mk.contents[op.Path] = d
	}
	return mk, nil
}

// commit takes in what a mutation has left.
func (b *breaker) commit(mk marks) {
	b.commits++
	b.last = append(b.last, mk.by)
	if len(b.last) > 10 {
		b.last = b.last[1:]
	}
	for p, d := range mk.contents {
		b.before[p] = append(b.before[p], d)
		b.writers[p] = append(b.writers[p], mk.by)
	}
}

// forget drops the contents: the world was looked at anew, so what it had before is worth having again.
// The number of commits still counts.
func (b *breaker) forget() {
	clear(b.before)
	clear(b.writers)
}

// touch counts what hints and timers brought: keys whose declarations and items may disagree, people's
// hands, runs, blocked items, changed inputs of the plan, and skill changes that waited. It is looked at only when many commits have been made.
func (b *breaker) touch(v *workspace.View) {
	if v.Intake != nil {
		for _, k := range v.Intake.Unreconciled {
			b.touched[k.String()] = true
		}
	}
	for _, h := range v.Hands {
		b.touched[h.Path] = true
	}
	for _, r := range v.ActiveRuns() {
		b.touched[r.ID] = true
	}
	for it := range v.Blocked() { // time may touch these: cooldowns of many can end at once
		b.touched[it.Key().String()] = true
	}
	for _, p := range v.Compiled.Changed {
		b.touched[p] = true
	}
	for _, k := range v.Learned() { // the end of foreground work frees all of them at once
		b.touched["skill of "+k.String()] = true
	}
}

// present is the content that the state says a path has now; it knows the paths it folds.
func present(p string, v *workspace.View) []schema.Digest {
	var now any
	switch dir := path.Dir(p); {
	case p == workspace.ControlFile:
		now = v.Control
	case path.Dir(dir) == workspace.StatusDir:
		k := schema.Key{Family: path.Base(dir), ID: strings.TrimSuffix(path.Base(p), ".json")}
		if it := v.Items[k]; it != nil {
			now = it
		}
	case path.Dir(dir) == workspace.RunsDir && path.Base(p) == "run.json":
		if r := v.Runs[path.Base(dir)]; r != nil {
			now = r
		}
	}
	if now == nil {
		return nil
	}
	raw, err := json.Marshal(now)
	if err != nil {
		return nil // our own types always marshal; without a past the path is only watched from here
	}
	return []schema.Digest{timeless(raw)}
}

// timeless is the digest of a JSON value without its times and sequence numbers.
func timeless(raw []byte) schema.Digest {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return schema.DigestOf(raw)
	}
	strip(v)
	data, err := json.Marshal(v)
	if err != nil {
		return schema.DigestOf(raw)
	}
	return schema.DigestOf(data)
}

func strip(v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, field := range v {
			if isTime(name) {
				delete(v, name)
				continue
			}
			strip(field)
		}
	case []any:
		for _, e := range v {
			strip(e)
		}
	}
}

func isTime(name string) bool {
	switch name {
	case "at", "since", "until", "first", "seq":
		return true
	}
	return strings.HasSuffix(name, "_at")
}

func sortedUnique(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}
