package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"millrace/reconcile"
	"millrace/schema"
	"millrace/workspace"
)

// A site is a real workspace with observers on it.
type site struct {
	t   *testing.T
	w   *workspace.Workspace
	obs *workspace.Observers
}

func newSite(t *testing.T) *site {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) })
	project := t.TempDir()
	if _, err := workspace.Init(project, workspace.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	return openSite(t, project)
}

func openSite(t *testing.T, project string) *site {
	t.Helper()
	w, err := workspace.Open(project)
	if err != nil {
		t.Fatal(err)
	}
	obs, err := w.Observe(workspace.ObserveOptions{Watch: true, Daemon: "daemon-test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(obs.Close(), w.Close()); err != nil {
			t.Error(err)
		}
	})
	return &site{t, w, obs}
}

func (s *site) options(cs ...reconcile.Controller) reconcile.Options {
	return reconcile.Options{Workspace: s.w, Observers: s.obs, Controllers: cs}
}

// run gives the loop up to the time that a test may take at most.
func (s *site) run(o reconcile.Options) (reconcile.Report, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	rep, err := reconcile.Run(ctx, o)
	if errors.Is(err, context.DeadlineExceeded) {
		s.t.Fatalf("the loop did not end: %+v", rep)
	}
	return rep, err
}

func (s *site) records() []*workspace.Record {
	s.t.Helper()
	var all []*workspace.Record
	for rec, err := range s.w.Records(1) {
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, rec)
	}
	return all
}

func (s *site) state() *workspace.State {
	s.t.Helper()
	st, err := s.w.Load()
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// A controller made of a function.
type controller struct {
	name string
	f    func(*workspace.View) reconcile.Proposal
}

func (c controller) Name() string                                   { return c.name }
func (c controller) Reconcile(v *workspace.View) reconcile.Proposal { return c.f(v) }

func silent(name string) reconcile.Controller {
	return controller{name, func(*workspace.View) reconcile.Proposal { return reconcile.Proposal{} }}
}

// pause proposes a pause of its own until there is one; it stands for any controller with one thing to do.
func pause(name string) reconcile.Controller {
	return controller{name, func(v *workspace.View) reconcile.Proposal {
		if _, done := v.Control.Pauses[name]; done {
			return reconcile.Proposal{}
		}
		return reconcile.Proposal{Mutation: setPause(v, name, name)}
	}}
}

func setPause(v *workspace.View, by, source string) *workspace.Mutation {
	c := v.Control.Clone()
	if c.Pauses == nil {
		c.Pauses = map[string]schema.Pause{}
	}
	c.Pauses[source] = schema.Pause{By: by, Since: v.Now}
	m := &workspace.Mutation{By: by, Why: "pause " + source}
	m.PutControl(c)
	return m
}

func TestControllersAreAskedInOrderFromTheFirst(t *testing.T) {
	s := newSite(t)
	before := len(s.records())
	var asked []string
	watch := func(name string) reconcile.Controller {
		inner := pause(name)
		return controller{name, func(v *workspace.View) reconcile.Proposal {
			asked = append(asked, name)
			return inner.Reconcile(v)
		}}
	}
	o := s.options(watch("one"), watch("two"))
	o.Until = reconcile.Idle
	var told []string
	o.Started = func(rec *workspace.Record) { told = append(told, rec.By) }
	rep, err := s.run(o)
	if err != nil {
		t.Fatal(err)
	}
	if rep.Commits != 2 || !slices.Equal(told, []string{"one", "two"}) {
		t.Errorf("%d commits, told of %v", rep.Commits, told)
	}
	// first proposal wins, then again from the first: one | one two | one two
	if got := strings.Join(asked[:5], " "); got != "one one two one two" {
		t.Errorf("asked %s", got)
	}
	recs := s.records()[before:]
	if len(recs) != 2 || recs[0].By != "one" || recs[1].By != "two" {
		t.Errorf("journal has %+v", recs)
	}
}

func TestIdleIsSilent(t *testing.T) {
	s := newSite(t)
	o := s.options(pause("one"), silent("two"))
	ctx, cancel := context.WithCancel(t.Context())
	committed := make(chan time.Time, 1)
	o.Started = func(*workspace.Record) { committed <- time.Now() }
	var rep reconcile.Report
	done := make(chan error)
	go func() {
		var err error
		rep, err = reconcile.Run(ctx, o)
		done <- err
	}()
	files := func() map[string]time.Time { return mtimes(t, s.w.Dir) }
	worked := <-committed
	waitFor(t, func() bool { return files()[filepath.Join(s.w.Dir, workspace.Checkpoint)].After(worked) })
	early := files()
	time.Sleep(2 * time.Second)
	late := files()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if rep.Commits != 1 {
		t.Errorf("%d commits", rep.Commits)
	}
	if rep.Wakes > 8 {
		t.Errorf("woke %d times", rep.Wakes)
	}
	for p, at := range late {
		if !at.Equal(early[p]) {
			t.Errorf("%s was written while idle", p)
		}
	}
}

func mtimes(t *testing.T, dir string) map[string]time.Time {
	times := map[string]time.Time{}
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			times[p] = info.ModTime()
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return times
}

func TestPanicNamesTheController(t *testing.T) {
	s := newSite(t)
	o := s.options(silent("one"), controller{"clumsy", func(*workspace.View) reconcile.Proposal { panic("oops") }})
	_, err := s.run(o)
	var p *reconcile.PanicError
	if !errors.As(err, &p) || p.Controller != "clumsy" || !strings.Contains(err.Error(), "oops") {
		t.Fatalf("ends with %v", err)
	}
	if _, err := s.run(reconcile.Options{Workspace: s.w, Observers: s.obs, Controllers: []reconcile.Controller{pause("next")}, Until: reconcile.Idle}); err != nil {
		t.Errorf("the lock is not free: %v", err)
	}
}

func TestBreakerNamesWhoFights(t *testing.T) {
	fight := func(name, mode string) reconcile.Controller {
		return controller{name, func(v *workspace.View) reconcile.Proposal {
			if v.Control.Mode == mode {
				return reconcile.Proposal{}
			}
			c := v.Control.Clone()
			c.Mode = mode
			m := &workspace.Mutation{By: name, Why: "wants " + mode}
			m.PutControl(c)
			return reconcile.Proposal{Mutation: m}
		}}
	}
	t.Run("by content", func(t *testing.T) {
		s := newSite(t)
		_, err := s.run(s.options(fight("left", "l"), fight("right", "r")))
		var f *reconcile.FightError
		if !errors.As(err, &f) || !slices.Equal(f.Controllers, []string{"left", "right"}) || f.Path != workspace.ControlFile {
			t.Fatalf("ends with %v", err)
		}
	})
	t.Run("by number", func(t *testing.T) {
		s := newSite(t)
		n := 0
		_, err := s.run(s.options(controller{"restless", func(v *workspace.View) reconcile.Proposal {
			n++
			return reconcile.Proposal{Mutation: setPause(v, "restless", fmt.Sprint(n))}
		}}))
		var f *reconcile.FightError
		if !errors.As(err, &f) || !slices.Equal(f.Controllers, []string{"restless"}) || f.Commits < 10 {
			t.Fatalf("ends with %v", err)
		}
	})
}

func TestQueriesAreAnsweredInTheNextView(t *testing.T) {
	s := newSite(t)
	if err := os.WriteFile(filepath.Join(s.w.Dir, "outline.md"), []byte("a map"), 0o644); err != nil {
		t.Fatal(err)
	}
	curious := controller{"curious", func(v *workspace.View) reconcile.Proposal {
		q := workspace.AskFile("outline.md")
		a, ok := v.Asked[q]
		if !ok {
			return reconcile.Proposal{Observe: []workspace.Query{q}}
		}
		if v.Control.Mode == string(a.Data) {
			return reconcile.Proposal{}
		}
		c := v.Control.Clone()
		c.Mode = string(a.Data)
		m := &workspace.Mutation{By: "curious", Why: "remember", Expect: []workspace.Input{{Path: q.Arg, Digest: a.Digest}}}
		m.PutControl(c)
		return reconcile.Proposal{Mutation: m}
	}}
	if _, err := s.run(reconcile.Options{Workspace: s.w, Observers: s.obs, Controllers: []reconcile.Controller{curious}, Until: reconcile.Idle}); err != nil {
		t.Fatal(err)
	}
	if mode := s.state().Control.Mode; mode != "a map" {
		t.Errorf("read %q", mode)
	}
}

func TestDecidesAnewWhenAFileMoved(t *testing.T) {
	s := newSite(t)
	path := filepath.Join(s.w.Dir, "outline.md")
	tries := 0
	c := controller{"hasty", func(v *workspace.View) reconcile.Proposal {
		if v.Control.Mode != "" {
			return reconcile.Proposal{}
		}
		tries++
		digest := schema.DigestOf([]byte("v1"))
		if tries > 1 { // the view would say so
			digest = schema.DigestOf([]byte("v2"))
		}
		next := v.Control.Clone()
		next.Mode = "done"
		m := &workspace.Mutation{By: "hasty", Why: "rest on a file", Expect: []workspace.Input{{Path: "outline.md", Digest: digest}}}
		m.PutControl(next)
		return reconcile.Proposal{Mutation: m}
	}}
	if err := os.WriteFile(path, []byte("v2"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := s.options(c)
	o.Until = reconcile.Idle
	if _, err := s.run(o); err != nil {
		t.Fatal(err)
	}
	if tries != 2 || s.state().Control.Mode != "done" {
		t.Errorf("%d tries, mode %q", tries, s.state().Control.Mode)
	}
}

// faulty fails some transactions as a full disk does.
type faulty struct {
	reconcile.Store
	left int
	err  error
}

func (f *faulty) Transact(ctx context.Context, decide func(*workspace.State) (*workspace.Mutation, error)) (*workspace.Record, error) {
	if f.left > 0 {
		f.left--
		return nil, f.err
	}
	return f.Store.Transact(ctx, decide)
}

// Until closed ends where idle does, and says what is in the way.
func TestUntilClosedSaysWhatIsLeft(t *testing.T) {
	s := newSite(t)
	o := s.options()
	o.Until = reconcile.Closed
	rep, err := s.run(o)
	if err != nil || len(rep.Left) != 0 {
		t.Fatalf("an empty workspace leaves %q (%v)", rep.Left, err)
	}
	target := &schema.Item{SchemaVersion: schema.Version, Family: schema.FamilyTarget, ID: "r", State: schema.StateOpen, Path: "arbiter/targets/open/r.json",
		Document: schema.DigestOf([]byte("{}")), Generation: 1, Closure: &schema.Closure{}, Lineage: schema.Lineage{RootSpecID: "r"}}
	o.Controllers = []reconcile.Controller{controller{"one", func(v *workspace.View) reconcile.Proposal {
		if v.OpenTarget() != nil {
			return reconcile.Proposal{}
		}
		m := &workspace.Mutation{By: "one"}
		m.AdmitItem(target, []byte("{}"))
		return reconcile.Proposal{Mutation: m}
	}}}
	rep, err = s.run(o)
	if err != nil || !slices.Equal(rep.Left, []string{"the closure target of r is open"}) {
		t.Errorf("it leaves %q (%v)", rep.Left, err)
	}
	o.MaxTicks, o.Controllers = 1, []reconcile.Controller{controller{"far", func(*workspace.View) reconcile.Proposal {
		return reconcile.Proposal{After: time.Second}
	}}}
	if rep, err = s.run(o); err != nil || len(rep.Left) != 2 || !strings.Contains(rep.Left[1], "before everything had come to rest") {
		t.Errorf("it leaves %q (%v)", rep.Left, err)
	}
}

func TestFullDiskIsACondition(t *testing.T) {
	for _, trouble := range []error{fmt.Errorf("append: %w", workspace.ErrFull), &workspace.UnappliedError{Seq: 7, Path: "tasks/queue/a.md", Err: errors.New("full")}} {
		t.Run(fmt.Sprintf("%T", trouble), func(t *testing.T) {
			s := newSite(t)
			o := s.options(pause("one"))
			o.Workspace = &faulty{s.w, 3, trouble}
			o.Until = reconcile.Idle
			var mu sync.Mutex
			var told []reconcile.Condition
			o.Notice = func(c reconcile.Condition) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, c)
			}
			rep, err := s.run(o)
			if err != nil {
				t.Fatal(err)
			}
			if rep.Commits != 1 || len(rep.Conditions) != 0 {
				t.Errorf("report is %+v", rep)
			}
			if len(told) != 2 || told[0].Lifted || !told[1].Lifted || told[1].Tries != 3 {
				t.Errorf("told %+v", told)
			}

			o.Workspace = &faulty{s.w, 1, trouble}
			if _, err := reconcile.Settle(t.Context(), o); !errors.Is(err, trouble) {
				t.Errorf("a command ends with %v", err)
			}
		})
	}
}

func TestUntilIdleWaitsForTimersThatAreNear(t *testing.T) {
	for name, c := range map[string]struct {
		after   time.Duration
		settles bool
		waits   bool
	}{
		"near":        {200 * time.Millisecond, false, true},
		"far":         {15 * time.Minute, false, false},
		"a settling":  {200 * time.Millisecond, true, true},
		"no timer":    {0, false, false},
		"far settles": {300 * time.Millisecond, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			var until time.Time
			fired := false
			o := s.options(controller{"timer", func(v *workspace.View) reconcile.Proposal {
				if until.IsZero() {
					until = v.Now.Add(c.after)
				}
				if fired = !v.Now.Before(until); fired {
					return reconcile.Proposal{}
				}
				return reconcile.Proposal{After: until.Sub(v.Now), Settles: c.settles}
			}})
			o.Until = reconcile.Idle
			if _, err := s.run(o); err != nil {
				t.Fatal(err)
			}
			if c.after > 0 && fired != c.waits {
				t.Errorf("waited for the timer: %v", fired)
			}
		})
	}
}

func TestStopEndsTheLoopOnceCommitted(t *testing.T) {
	s := newSite(t)
	stop := controller{"control", func(v *workspace.View) reconcile.Proposal {
		return reconcile.Proposal{Mutation: setPause(v, "control", "stop"), Stop: true}
	}}
	rep, err := s.run(s.options(stop, pause("after")))
	if err != nil || !rep.Stopped || rep.Commits != 1 {
		t.Fatalf("report %+v, error %v", rep, err)
	}
	if _, there := s.state().Control.Pauses["stop"]; !there {
		t.Error("the stop is not committed")
	}
}

func TestNothingStartsOnceAStopIsWanted(t *testing.T) {
	s := newSite(t)
	_, err := s.w.Transact(t.Context(), func(st *workspace.State) (*workspace.Mutation, error) {
		c := st.Control.Clone()
		c.Stop = &schema.Stop{Daemon: "daemon-test", Cancel: true}
		m := &workspace.Mutation{By: "test", Why: "stop"}
		m.PutControl(c)
		return m, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	asked := false
	o := s.options(silent("control"), controller{"dispatch", func(*workspace.View) reconcile.Proposal {
		asked = true
		return reconcile.Proposal{}
	}})
	o.Until = reconcile.Idle
	if _, err := s.run(o); err != nil {
		t.Fatal(err)
	}
	if asked {
		t.Error("dispatch was asked although a stop is wanted")
	}
	if _, err := reconcile.Settle(t.Context(), o); err != nil || asked {
		t.Errorf("a command asked dispatch (%v), error %v", asked, err)
	}
}
