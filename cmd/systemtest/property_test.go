package systemtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/controllers/control"
	"millrace/controllers/dispatch"
	"millrace/controllers/intake"
	"millrace/controllers/plan"
	"millrace/controllers/recovery"
	"millrace/controllers/result"
	"millrace/reconcile"
	"millrace/schema"
	"millrace/workspace"
	"millrace/workspace/reqdir"
)

// TestPropertyRandomHands plays random operator's acts, agents' outcomes and restarts against the real
// loop on a real folder. After every step the invariants must hold and no input may have changed; at
// the end, with every hand withdrawn, all that can be done must be done.
func TestPropertyRandomHands(t *testing.T) {
	seeds, steps := size("MILLRACE_PROPERTY_SEEDS", 3), size("MILLRACE_PROPERTY_STEPS", 40)
	first := size("MILLRACE_PROPERTY_FIRST", 1)
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			g := newGame(t, int64(seed))
			for step := range steps {
				name := g.act()
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
	mu    sync.Mutex // of rng, while a stage is played
	rng   *rand.Rand
	w     *workspace.Workspace
	o     *workspace.Observers
	files map[string]string // intake files as the player left them
	calm  bool              // agents do well from now on
}

func newGame(t *testing.T, seed int64) *game {
	dir := t.TempDir()
	p := &project{t: t, dir: dir}
	p.write("millrace-agents/millrace.cue", strings.Replace(fmt.Sprintf(testConfig, "/bin/true"), `"300ms"`, `"20ms", prune_limit: 1`, 1))
	if _, err := workspace.Init(dir, workspace.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	g := &game{project: p, rng: rand.New(rand.NewSource(seed)), files: map[string]string{}}
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

// settle runs a few ticks of the real loop; its agents are played by finishStage.
func (g *game) settle(ticks int) {
	g.t.Helper()
	_, err := reconcile.Run(g.t.Context(), reconcile.Options{
		Workspace: g.w, Observers: g.o, MaxTicks: ticks, Until: reconcile.Idle,
		Controllers: []reconcile.Controller{control.New(), plan.New(), intake.New(), result.New(), recovery.New(), dispatch.New()},
		Executor:    &reconcile.Executor{Dir: g.w.Dir, Start: g.finishStage},
		Notice:      func(c reconcile.Condition) { g.t.Logf("condition %+v", c) },
	})
	if err != nil {
		g.t.Fatal(err)
	}
}

// finishStage plays supervisor and agent: it leaves behind what a stage of any luck leaves.
func (g *game) finishStage(dir string) error {
	req, err := reqdir.ReadRequest(dir)
	if err != nil {
		return err
	}
	release, err := reqdir.Take(dir)
	if err != nil {
		return err
	}
	defer release()
	if spent, err := reqdir.Spend(dir); err != nil || !spent {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	luck := g.rng.Intn(12)
	if g.calm {
		luck = 11
	}
	outcome := ""
	c := &schema.Completion{SchemaVersion: schema.Version, Request: req.ID, Run: req.Run, Exit: schema.ExitCompleted, Ended: time.Now().UTC()}
	switch luck {
	case 0: // the supervisor was killed
		return nil
	case 1:
		c.Exit, c.Failure = schema.ExitFailed, schema.FailExit
	case 2:
		c.Exit, c.Failure = schema.ExitTimeout, schema.FailTimeout
	case 3:
		outcome = schema.OutcomeBlocked
	case 4, 5:
		outcome = req.Outcomes[g.rng.Intn(len(req.Outcomes))]
	default:
		for _, o := range req.Outcomes {
			if o != schema.OutcomeBlocked && !strings.Contains(o, "NEED") {
				outcome = o
			}
		}
	}
	if outcome != "" {
		c.Claim = &schema.Claim{Outcome: outcome, Source: schema.StdoutFile}
		for _, a := range req.Artifacts {
			if a.NeededFor(outcome) {
				if err := os.WriteFile(filepath.Join(dir, a.File), []byte("of "+req.ID), 0o644); err != nil {
					return err
				}
			}
		}
	}
	if err := reqdir.List(dir, req, c); err != nil {
		return err
	}
	return reqdir.WriteCompletion(dir, c)
}

// act does one random thing that an operator might do, and names it.
func (g *game) act() string {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(g.files)), func(f string) bool { return f == "pause.yaml" })
	pick := func() string { return names[g.rng.Intn(len(names))] }
	what := g.rng.Intn(12)
	if len(names) == 0 {
		what = 0
	}
	switch what {
	case 0, 1, 2:
		id := fmt.Sprintf("t%02d", g.rng.Intn(12))
		deps := ""
		if g.rng.Intn(3) == 0 {
			deps = fmt.Sprintf("depends_on: [t%02d]", g.rng.Intn(12))
		}
		g.put(id+".yaml", task(id, deps, fmt.Sprintf("priority: %d", g.rng.Intn(3))))
		return "drop " + id
	case 3:
		f := pick()
		g.put(f, strings.Replace(g.files[f], "title: ", fmt.Sprintf("title: edit %d of ", g.rng.Intn(1000)), 1))
		return "edit " + f
	case 4:
		f := pick()
		delete(g.files, f)
		check(g.t.(*testing.T), os.Remove(g.path("millrace-agents/intake", f)))
		return "delete " + f
	case 5:
		f := pick()
		g.put(f, "kind: task\ntitle: [broken\n")
		return "break " + f
	case 6:
		f := pick()
		moved := fmt.Sprintf("moved-%d-%s", g.rng.Intn(1000), filepath.Base(f))
		g.files[moved] = g.files[f]
		delete(g.files, f)
		check(g.t.(*testing.T), os.Rename(g.path("millrace-agents/intake", f), g.path("millrace-agents/intake", moved)))
		return "move " + f
	case 7:
		return g.moveDocument()
	case 8:
		return g.cancel()
	case 9:
		g.put("pause.yaml", "kind: control\npaused: true\nreason: the game\n")
		return "pause"
	case 10:
		if _, paused := g.files["pause.yaml"]; paused {
			delete(g.files, "pause.yaml")
			check(g.t.(*testing.T), os.Remove(g.path("millrace-agents/intake/pause.yaml")))
			return "resume"
		}
		return "nothing"
	default:
		g.close()
		g.open()
		return "restart"
	}
}

func (g *game) put(name, content string) {
	g.files[name] = content
	g.drop(name, content)
}

// moveDocument moves some item's document by hand into another lifecycle folder.
func (g *game) moveDocument() string {
	var movable []*schema.Item
	s := g.state()
	for _, it := range s.Items {
		if it.State == schema.StateQueue || it.State == schema.StateBlocked {
			movable = append(movable, it)
		}
	}
	if len(movable) == 0 {
		return "nothing"
	}
	slices.SortFunc(movable, func(a, b *schema.Item) int { return strings.Compare(a.ID, b.ID) })
	it := movable[g.rng.Intn(len(movable))]
	to := []string{"queue", "blocked", "cancelled", "done"}[g.rng.Intn(4)]
	from := g.path("millrace-agents", it.Path)
	check(g.t.(*testing.T), os.Rename(from, g.path("millrace-agents/tasks", to, filepath.Base(it.Path))))
	return fmt.Sprintf("move document of %s from %s to %s", it.ID, it.State, to)
}

// cancel ends a queued or blocked item as the command does: one audited mutation.
func (g *game) cancel() string {
	did := "nothing"
	_, err := g.w.Transact(g.t.Context(), func(s *workspace.State) (*workspace.Mutation, error) {
		v := g.o.View(s)
		for _, k := range slices.SortedFunc(maps.Keys(s.Items), workspace.CompareKeys) {
			it := s.Items[k]
			if it.State != schema.StateQueue && it.State != schema.StateBlocked || g.rng.Intn(3) > 0 {
				continue
			}
			m := &workspace.Mutation{By: "queue cancel", Why: "the game"}
			m.CancelItem(v, it.Clone(), "command", "the game")
			did = "cancel " + it.ID
			return m, nil
		}
		return nil, nil
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return did
}

// hold checks what must be so after every step.
func (g *game) hold(when string) {
	g.t.Helper()
	for name, want := range g.files {
		got, err := os.ReadFile(g.path("millrace-agents/intake", name))
		if err != nil || string(got) != want {
			g.t.Fatalf("%s: input %s was touched: %v", when, name, err)
		}
	}
	findings, err := g.w.Verify(g.t.Context())
	for tries := 0; err == nil && len(findings) > 0 && tries < 20; tries++ {
		time.Sleep(20 * time.Millisecond) // a hand in the runtime's folders is seen by the next rescans
		g.settle(1)
		findings, err = g.w.Verify(g.t.Context())
	}
	if err != nil {
		g.t.Fatalf("%s: %v", when, err)
	}
	for _, f := range findings {
		g.t.Errorf("%s: %s: %s: %s", when, f.Law, f.Path, f.Message)
	}
	s := g.state()
	for _, f := range s.Invariants() {
		g.t.Errorf("%s: %s: %s: %s", when, f.Law, f.Path, f.Message)
	}
	if g.t.Failed() {
		for _, rec := range g.records() {
			events, _ := json.Marshal(rec.Events)
			g.t.Logf("%d %s: %s %s", rec.Seq, rec.By, rec.Why, events)
		}
		g.t.FailNow()
	}
}

// finish withdraws every hand and lets good agents end what can be ended.
func (g *game) finish() {
	g.t.Helper()
	g.calm = true
	if _, paused := g.files["pause.yaml"]; paused {
		delete(g.files, "pause.yaml")
		check(g.t.(*testing.T), os.Remove(g.path("millrace-agents/intake/pause.yaml")))
	}
	g.settle(400)
	g.hold("at the end")
	s := g.state()
	if len(s.Runs) != 0 {
		g.t.Errorf("%d runs never ended", len(s.Runs))
	}
	for k, it := range s.Items {
		if k.Family == "task" && (it.State == schema.StateActive || it.State == schema.StateQueue && len(s.Unmet(it)) == 0) {
			g.t.Errorf("%s is still %s", k, it.State)
		}
	}
}
