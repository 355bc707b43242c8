package systemtest

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/rand"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"millrace/controllers/closure"
	"millrace/controllers/control"
	"millrace/controllers/dispatch"
	"millrace/controllers/intake"
	"millrace/controllers/plan"
	"millrace/controllers/recovery"
	"millrace/controllers/result"
	"millrace/reconcile"
	"millrace/schema"
	"millrace/schema/document"
	"millrace/workspace"
)

// TestPropertyRandomHands plays random operator's acts, agents' outcomes and restarts against the real
// loop on a real folder. After every step the invariants must hold but for what a hand in the runtime's
// folders explains, and then that hand must be shown; no input may have changed and nothing that a hand
// put anywhere may be lost. At the end, with every hand withdrawn, all that can be done must be done,
// and then nothing must happen any more.
func TestPropertyRandomHands(t *testing.T) {
	seeds, steps := size("MILLRACE_PROPERTY_SEEDS", 3), size("MILLRACE_PROPERTY_STEPS", 40)
	first := size("MILLRACE_PROPERTY_FIRST", 1)
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			leaks := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, leaks) })
			g := newGame(t, int64(seed))
			for step := range steps {
				name := g.act()
				g.acted = append(g.acted, name)
				g.settle(1 + g.rng.Intn(2))
				g.hold(fmt.Sprintf("seed %d, step %d, after %s", seed, step, name))
			}
			g.finish()
		})
	}
}

// A game is a workspace under random hands.
type game struct {
	*project
	w        *workspace.Workspace
	o        *workspace.Observers
	registry *document.Registry

	mu      sync.Mutex // of all below, while a stage is played
	rng     *rand.Rand
	files   map[string]string        // the operator's half as the player left it, below millrace-agents
	strange map[string]schema.Digest // what hands put into lifecycle folders, by path
	calm    bool                     // agents do well from now on
	played  []string                 // acts during stages since the last look
	acted   []string                 // all acts of the player
}

// config is the configuration with some values that say nothing, so that each is another one.
func config(n int) string {
	c := strings.Replace(fmt.Sprintf(testConfig, "/bin/true"), `"300ms"`, `"20ms", prune_limit: 1`, 1)
	return c + fmt.Sprintf("budgets: fix_cycle_count: %d\n", 1+n%3)
}

func newGame(t *testing.T, seed int64) *game {
	dir := t.TempDir()
	p := &project{t: t, dir: dir}
	registry, err := document.NewRegistry(nil)
	check(t, err)
	g := &game{project: p, registry: registry, rng: rand.New(rand.NewSource(seed)), files: map[string]string{}, strange: map[string]schema.Digest{}}
	g.put("millrace.cue", config(0))
	if _, err := workspace.Init(dir, workspace.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	g.open()
	t.Cleanup(g.close)
	return g
}

func (g *game) open() {
	var err error
	if g.w, err = workspace.Open(g.dir); err != nil {
		g.t.Fatal(err)
	}
	if g.o, err = g.w.Observe(workspace.ObserveOptions{Daemon: "game"}); err != nil {
		g.t.Fatal(err)
	}
}

func (g *game) close() {
	if err := g.o.Close(); err != nil {
		g.t.Error(err)
	}
	if err := g.w.Close(); err != nil {
		g.t.Error(err)
	}
}

// settle runs a few ticks of the real loop, or until it is idle (0); its agents are played by
// finishStage.
func (g *game) settle(ticks int) reconcile.Report {
	g.t.Helper()
	rep, err := reconcile.Run(g.t.Context(), reconcile.Options{
		Workspace: g.w, Observers: g.o, MaxTicks: ticks, Until: reconcile.Idle,
		Controllers: []reconcile.Controller{
			twice{control.New(), g.t}, twice{plan.New(), g.t}, twice{intake.New(), g.t},
			twice{result.New(), g.t}, twice{recovery.New(), g.t}, twice{closure.New(), g.t}, twice{dispatch.New(), g.t},
		},
		Executor: &reconcile.Executor{Dir: g.w.Dir, Start: func(dir string) (<-chan struct{}, error) { return nil, g.finishStage(dir) }},
		Notice:   func(c reconcile.Condition) { g.t.Logf("condition %+v", c) },
	})
	if err != nil {
		g.tell()
		g.t.Fatal(err)
	}
	return rep
}

// twice asks a controller a second time: the same view must give the same proposal, and stay as it was.
type twice struct {
	reconcile.Controller
	t testing.TB
}

func (c twice) Reconcile(v *workspace.View) reconcile.Proposal {
	before, fresh := c.view(v), v.NewID
	var ids []string
	v.NewID = func(prefix string) string {
		ids = append(ids, fresh(prefix))
		return ids[len(ids)-1]
	}
	p := c.Controller.Reconcile(v)
	given := 0
	v.NewID = func(string) string {
		given++
		return ids[given-1]
	}
	again := c.Controller.Reconcile(v)
	v.NewID = fresh
	if !reflect.DeepEqual(p, again) {
		c.t.Errorf("%s proposes two things for one view:\n%+v\n%+v", c.Name(), p.Mutation, again.Mutation)
	}
	if c.view(v) != before {
		c.t.Errorf("%s has changed its view", c.Name())
	}
	return p
}

func (c twice) view(v *workspace.View) string {
	var items []*schema.Item
	for _, k := range slices.SortedFunc(maps.Keys(v.Items), workspace.CompareKeys) {
		items = append(items, v.Items[k])
	}
	data, err := json.Marshal([]any{v.Control, items, v.ActiveRuns(), v.Requests, v.Hands, v.Intake.Unreconciled})
	check(c.t, err)
	return string(data)
}

// put writes a file of the operator's half, as a careful program would.
func (g *game) put(name, content string) {
	g.files[name] = content
	g.place(name, content)
}

func (g *game) place(name, content string) {
	tmp := g.path("millrace-agents", filepath.Dir(name), "."+filepath.Base(name)+".tmp")
	check(g.t, os.MkdirAll(filepath.Dir(tmp), 0o755))
	check(g.t, os.WriteFile(tmp, []byte(content), 0o644))
	check(g.t, os.Rename(tmp, g.path("millrace-agents", name)))
}

func (g *game) remove(name string) {
	delete(g.files, name)
	check(g.t, os.Remove(g.path("millrace-agents", name)))
}

// seen shows a view as a daemon would have it now that has nothing left to look at again, and commits
// what is made of it.
func (g *game) seen(look func(v *workspace.View) *workspace.Mutation) {
	g.t.Helper()
	for range 20 {
		check(g.t, g.o.Refresh(g.t.Context()))
		if _, err := g.w.Transact(g.t.Context(), func(s *workspace.State) (*workspace.Mutation, error) { g.o.View(s); return nil, nil }); err != nil {
			g.t.Fatal(err)
		}
		next := g.o.Next()
		wait := time.Until(next)
		if next.IsZero() || wait > time.Second {
			break
		}
		time.Sleep(max(wait, time.Millisecond))
	}
	_, err := g.w.Transact(g.t.Context(), func(s *workspace.State) (*workspace.Mutation, error) { return look(g.o.View(s)), nil })
	if err != nil {
		g.t.Fatal(err)
	}
}

// hold checks what must be so after every step.
func (g *game) hold(when string) {
	g.t.Helper()
	if len(g.played) > 0 {
		when += " and, while stages ran, " + strings.Join(g.played, ", ")
		g.played = nil
	}
	for name, want := range g.files {
		got, err := os.ReadFile(g.path("millrace-agents", name))
		if err != nil || string(got) != want {
			g.t.Errorf("%s: input %s was touched: %v", when, name, err)
		}
	}
	left := g.unexplained()
	for tries := 0; len(left) > 0 && tries < 20; tries++ {
		time.Sleep(20 * time.Millisecond) // a hand in the runtime's folders is seen by the next rescans
		g.settle(1)
		left = g.unexplained()
	}
	for _, f := range left {
		g.t.Errorf("%s: %s: %s: %s", when, f.Law, f.Path, f.Message)
	}
	for path, d := range g.lost() {
		g.t.Errorf("%s: what a hand put at %s is lost (%s)", when, path, d.Short())
	}
	if g.t.Failed() {
		g.tell()
		g.t.FailNow()
	}
}

// unexplained are the findings that no hand in the runtime's folders explains which is shown.
func (g *game) unexplained() []workspace.Finding {
	findings, err := g.w.Verify(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	if len(findings) == 0 {
		return nil
	}
	shown := map[string]bool{}
	g.seen(func(v *workspace.View) *workspace.Mutation {
		for _, h := range v.Hands {
			shown[h.Path], shown[h.Was] = true, true
		}
		return nil
	})
	return slices.DeleteFunc(findings, func(f workspace.Finding) bool { return shown[f.Path] || g.edited(f.Path) })
}

// edited reports whether a path is the document of an ended item that a hand wrote over: nobody reads
// those again, so that is what verify alone shows.
func (g *game) edited(path string) bool {
	it := g.state().ByPath(path)
	return it != nil && schema.Ended(it.State) && g.strange[path] != ""
}

// lost are the strange bytes that are neither in the workspace nor in its journal any more.
func (g *game) lost() map[string]schema.Digest {
	if len(g.strange) == 0 {
		return nil
	}
	kept := map[schema.Digest]bool{}
	check(g.t, filepath.WalkDir(g.path("millrace-agents"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.Contains(path, "/runs/") {
			return err
		}
		data, err := os.ReadFile(path)
		kept[schema.DigestOf(data)] = true
		return err
	}))
	for _, rec := range g.records() {
		for _, op := range rec.Ops {
			if op.Do == workspace.Write {
				kept[op.Digest] = true
			}
		}
	}
	lost := maps.Clone(g.strange)
	maps.DeleteFunc(lost, func(_ string, d schema.Digest) bool { return kept[d] })
	return lost
}

// tell logs the game and the journal.
func (g *game) tell() {
	g.t.Logf("acts: %s", strings.Join(g.acted, "; "))
	for _, rec := range g.records() {
		events, _ := json.Marshal(rec.Events)
		g.t.Logf("%d %s: %s %s", rec.Seq, rec.By, rec.Why, events)
	}
}

// finish withdraws every hand and lets good agents end what can be ended.
func (g *game) finish() {
	g.t.Helper()
	g.calm = true
	for name := range g.files {
		if strings.HasSuffix(name, "pause.yaml") {
			g.remove(name)
		}
	}
	g.put("millrace.cue", config(0))
	g.settle(0)
	for tries := 0; g.withdraw() && tries < 20; tries++ {
		time.Sleep(20 * time.Millisecond)
		g.settle(0)
	}
	g.hold("at the end")
	if findings, err := g.w.Verify(g.t.Context()); err != nil || len(findings) > 0 {
		g.t.Errorf("at the end: %v %+v", err, findings)
	}
	if rep := g.settle(0); rep.Commits > 0 {
		g.t.Errorf("an idle workspace made %d commits", rep.Commits)
	}
	g.seen(func(v *workspace.View) *workspace.Mutation {
		if len(v.Runs) != 0 {
			g.t.Errorf("%d runs never ended", len(v.Runs))
		}
		for k, it := range v.Items {
			switch {
			case schema.Ended(it.State):
			case v.Waiting(k) == nil:
				g.t.Errorf("%s is %s and nothing says what it waits for", k, it.State)
			case k.Family == "task" && (it.State == schema.StateActive || it.State == schema.StateQueue && len(v.Unmet(it)) == 0):
				g.t.Errorf("%s is still %s: %+v", k, it.State, v.Waiting(k))
			}
		}
		return nil
	})
	if g.t.Failed() {
		g.tell()
	}
	reached := map[string]int{}
	for _, rec := range g.records() {
		for _, e := range rec.Events {
			reached[e.Type]++
		}
	}
	g.t.Logf("what the game came to: %v", reached)
}

// withdraw takes back what is still held, paused, or in the way by hand, and says whether anything was.
func (g *game) withdraw() bool {
	var hands []workspace.Hand
	did := false
	g.seen(func(v *workspace.View) *workspace.Mutation {
		hands = v.Hands
		c := v.Control.Clone()
		if len(c.Held) == 0 && len(c.Pauses) == 0 && len(c.Runners) == 0 {
			return nil
		}
		did = true
		for p, h := range c.Held {
			if c.Accepted == nil {
				c.Accepted = map[string]schema.Digest{}
			}
			c.Accepted[p] = h.Digest
			delete(c.Held, p)
		}
		delete(c.Pauses, workspace.PauseOperator)
		clear(c.Runners)
		m := &workspace.Mutation{By: "game", Why: "every hand is withdrawn"}
		m.PutControl(c)
		return m
	})
	for _, h := range hands {
		did = true
		switch {
		case h.What == workspace.HandMoved && h.Digest == g.state().Items[h.Key].Document:
			check(g.t, os.Rename(g.path("millrace-agents", h.Path), g.path("millrace-agents", h.Was)))
		case h.What == workspace.HandEdited:
			g.place(h.Path, string(g.content(g.state().Items[h.Key].Document)))
		case h.What != workspace.HandDeleted:
			check(g.t, os.Remove(g.path("millrace-agents", h.Path)))
		}
		delete(g.strange, h.Path)
	}
	for path := range g.strange {
		if data, err := os.ReadFile(g.path("millrace-agents", path)); g.edited(path) && err == nil && schema.DigestOf(data) == g.strange[path] {
			check(g.t, os.Remove(g.path("millrace-agents", path))) // the journal has what belongs there
			delete(g.strange, path)
			did = true
		}
	}
	return did
}

// content finds bytes that the journal once wrote.
func (g *game) content(d schema.Digest) []byte {
	for _, rec := range g.records() {
		for i := range rec.Ops {
			if op := &rec.Ops[i]; op.Do == workspace.Write && op.Digest == d {
				return op.Content()
			}
		}
	}
	g.t.Fatalf("the journal never held %s", d)
	return nil
}
