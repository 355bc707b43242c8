package reconcile_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"millrace/reconcile"
	"millrace/schema"
	"millrace/workspace"
	"millrace/workspace/reqdir"
)

// supervisors stand for the separate program: they keep its protocol, in goroutines of the test.
type supervisors struct {
	t       *testing.T
	mu      sync.Mutex
	started []string // request folders, in order
	fail    int      // forks that fail before one succeeds
	dead    int      // supervisors that then die before they take their request
	work    func(dir string) (completes bool)
	running sync.WaitGroup
}

func (s *supervisors) start(dir string) (<-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail > 0 {
		s.fail--
		return nil, errors.New("no such program")
	}
	ended := make(chan struct{})
	if s.dead > 0 {
		s.dead--
		close(ended)
		return ended, nil
	}
	s.started = append(s.started, filepath.Base(dir))
	s.running.Go(func() {
		defer close(ended)
		s.supervise(dir)
	})
	return ended, nil
}

func (s *supervisors) supervise(dir string) {
	release, err := reqdir.Take(dir)
	if errors.Is(err, reqdir.ErrTaken) {
		return
	}
	if err != nil {
		s.t.Error(err)
		return
	}
	defer func() {
		if err := release(); err != nil {
			s.t.Error(err)
		}
	}()
	if first, err := reqdir.Spend(dir); !first || err != nil {
		return
	}
	if s.work != nil && !s.work(dir) {
		return // died: no completion
	}
	c := &schema.Completion{SchemaVersion: schema.Version, Request: filepath.Base(dir), Run: filepath.Base(filepath.Dir(dir)),
		Exit: schema.ExitCompleted, Ended: time.Now().UTC(), Claim: &schema.Claim{Outcome: "DONE"}}
	if err := reqdir.WriteCompletion(dir, c); err != nil {
		s.t.Error(err)
	}
}

func (s *supervisors) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.started)
}

// The test's own small workflow: one run of three stages.
const stages = 3

// dispatcher claims the run's item and starts its next stage.
func dispatcher() reconcile.Controller {
	return controller{"dispatch", func(v *workspace.View) reconcile.Proposal {
		r := v.Runs["run-1"]
		if r == nil || r.Request != "" || len(r.Steps) == stages {
			return reconcile.Proposal{}
		}
		r = r.Clone()
		r.Request = fmt.Sprintf("req-%d", len(r.Steps)+1)
		m := &workspace.Mutation{By: "dispatch", Why: "start " + r.Request}
		m.PutRun(r)
		m.PutJSON(workspace.RequestDir(r.ID, r.Request)+"/"+schema.RequestFile, &schema.Request{SchemaVersion: 1, ID: r.Request, Run: r.ID, Outcomes: []string{"DONE"}})
		return reconcile.Proposal{Mutation: m}
	}}
}

// harvester applies completions; a lost request is started anew by a later tick.
func harvester() reconcile.Controller {
	return controller{"result", func(v *workspace.View) reconcile.Proposal {
		r := v.Runs["run-1"]
		if r == nil || r.Request == "" {
			return reconcile.Proposal{}
		}
		seen := v.Requests[r.Request]
		if seen == nil || seen.Completion == nil && !seen.Lost() {
			return reconcile.Proposal{}
		}
		r = r.Clone()
		outcome := "LOST"
		if seen.Completion != nil {
			outcome = seen.Completion.Claim.Outcome
		}
		r.Steps = append(r.Steps, schema.Step{Request: r.Request, Outcome: outcome})
		r.Request = ""
		m := &workspace.Mutation{By: "result", Why: "apply " + outcome}
		m.PutRun(r)
		return reconcile.Proposal{Mutation: m}
	}}
}

// begin commits the run that the workflow takes through its stages.
func (s *site) begin() {
	s.t.Helper()
	_, err := s.w.Transact(s.t.Context(), func(*workspace.State) (*workspace.Mutation, error) {
		m := &workspace.Mutation{By: "test", Why: "begin"}
		m.PutRun(&schema.Run{SchemaVersion: 1, ID: "run-1", State: schema.RunRunning})
		return m, nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) workflow(sup *supervisors) reconcile.Options {
	sup.t = s.t
	s.t.Cleanup(sup.running.Wait)
	o := s.options(harvester(), dispatcher())
	o.Executor = &reconcile.Executor{Dir: s.w.Dir, Start: sup.start}
	return o
}

func TestSingleTicksEqualOneRun(t *testing.T) {
	final := func(t *testing.T, ticks func(s *site, sup *supervisors)) string {
		s := newSite(t)
		s.begin()
		sup := &supervisors{}
		ticks(s, sup)
		if sup.count() != 2 {
			t.Errorf("%d supervisors for two ticks", sup.count())
		}
		data, err := json.Marshal(s.state().Runs["run-1"])
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	together := final(t, func(s *site, sup *supervisors) {
		o := s.workflow(sup)
		o.MaxTicks = 2
		if rep, err := s.run(o); err != nil || rep.Ticks != 2 {
			t.Fatalf("report %+v, error %v", rep, err)
		}
	})
	single := final(t, func(s *site, sup *supervisors) {
		for range 2 { // each in a process of its own, as far as a test can
			own := openSite(s.t, s.w.Project)
			o := own.workflow(sup)
			o.MaxTicks = 1
			if rep, err := own.run(o); err != nil || rep.Ticks != 1 {
				t.Fatalf("report %+v, error %v", rep, err)
			}
		}
	})
	if together != single {
		t.Errorf("two ticks leave\n%s\ntwo single ticks leave\n%s", together, single)
	}
}

func TestUntilIdleRunsEverything(t *testing.T) {
	s := newSite(t)
	s.begin()
	sup := &supervisors{}
	o := s.workflow(sup)
	o.Until = reconcile.Idle
	rep, err := s.run(o)
	if err != nil {
		t.Fatal(err)
	}
	if r := s.state().Runs["run-1"]; len(r.Steps) != stages || sup.count() != stages {
		t.Errorf("%d steps by %d supervisors", len(r.Steps), sup.count())
	}
	if rep.Wakes > 6*stages {
		t.Errorf("woke %d times for %d stages", rep.Wakes, stages)
	}
}

func TestStagesOutliveTheDaemonAndAreAwaited(t *testing.T) {
	s := newSite(t)
	s.begin()
	release := make(chan struct{})
	sup := &supervisors{work: func(string) bool { <-release; return true }}
	o := s.workflow(sup)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := reconcile.Run(ctx, o)
		done <- err
	}()
	for sup.count() == 0 {
		time.Sleep(time.Millisecond)
	}
	waitFor(t, func() bool {
		alive, err := reqdir.Alive(filepath.Join(s.w.Dir, "runs/run-1/req-1"))
		return alive && err == nil
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("ends with %v", err)
	}

	// The next daemon finds it alive, starts nothing, and applies its completion.
	own := openSite(t, s.w.Project)
	o = own.workflow(sup)
	o.MaxTicks = 1
	time.AfterFunc(100*time.Millisecond, func() { close(release) })
	if _, err := own.run(o); err != nil {
		t.Fatal(err)
	}
	if r := own.state().Runs["run-1"]; sup.count() != 1 || len(r.Steps) != 1 || r.Steps[0].Outcome != "DONE" {
		t.Errorf("%d supervisors, steps %+v", sup.count(), r.Steps)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}

func TestLostRequestIsNotStartedAgain(t *testing.T) {
	s := newSite(t)
	s.begin()
	sup := &supervisors{work: func(string) bool { return false }}
	o := s.workflow(sup)
	o.MaxTicks = 1
	if _, err := s.run(o); err != nil {
		t.Fatal(err)
	}
	r := s.state().Runs["run-1"]
	if len(r.Steps) != 1 || r.Steps[0].Outcome != "LOST" || !slices.Equal(sup.started, []string{"req-1"}) {
		t.Errorf("steps %+v after %v", r.Steps, sup.started)
	}
}

func TestStartThatFailsIsAConditionAndTriedAgain(t *testing.T) {
	s := newSite(t)
	s.begin()
	sup := &supervisors{fail: 2}
	o := s.workflow(sup)
	o.MaxTicks = 1
	var mu sync.Mutex
	var told []reconcile.Condition
	o.Notice = func(c reconcile.Condition) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, c)
	}
	if _, err := s.run(o); err != nil {
		t.Fatal(err)
	}
	if len(told) != 2 || told[0].Name != "start req-1" || told[1].Tries != 2 || !told[1].Lifted {
		t.Errorf("told %+v", told)
	}
	if sup.count() != 1 {
		t.Errorf("%d supervisors", sup.count())
	}
}

// A supervisor that dies before it took its request is seen to end: nobody waits the ten seconds that
// one has for taking it.
func TestSupervisorThatDiesAtOnceIsReplaced(t *testing.T) {
	s := newSite(t)
	s.begin()
	sup := &supervisors{dead: 1}
	o := s.workflow(sup)
	o.MaxTicks = 1
	began := time.Now()
	if _, err := s.run(o); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("the next supervisor came after %v", took)
	}
	if sup.count() != 1 {
		t.Errorf("%d supervisors took the request", sup.count())
	}
}

func TestSpentRequestIsNeverStarted(t *testing.T) {
	s := newSite(t)
	s.begin()
	sup := &supervisors{}
	o := s.workflow(sup)
	dir := filepath.Join(s.w.Dir, "runs/run-1/req-1")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := reqdir.Spend(dir); err != nil {
		t.Fatal(err)
	}
	o.MaxTicks = 1
	if _, err := s.run(o); err != nil {
		t.Fatal(err)
	}
	if sup.count() != 0 {
		t.Error("a spent request was started")
	}
	if r := s.state().Runs["run-1"]; len(r.Steps) != 1 || r.Steps[0].Outcome != "LOST" {
		t.Errorf("steps %+v", r.Steps)
	}
}
