package result_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/controllers/controllertest"
	"millrace/schema"
	"millrace/workspace"
)

func TestRunnerWaitsDoubleUpToAQuarterHour(t *testing.T) {
	o := world(t, nil)
	o.Admit(controllertest.Task("a"))
	o.Settle()
	var waits []time.Duration
	for range 7 {
		o.Play(schema.FailProvider)
		waits = append(waits, o.After)
		o.Now = o.Seen.Control.Runners["fake"].Until
	}
	want := []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 15 * time.Minute, 15 * time.Minute}
	if !slices.Equal(waits, want) {
		t.Errorf("waited %v", waits)
	}
	if w := o.Seen.Control.Runners["fake"]; w.Attempts != 7 {
		t.Errorf("wait is %+v", w)
	}
	o.Settle()
	o.Play("BUILDER_COMPLETE")
	if r := o.Run(); r.Node != "checker" || len(o.Seen.Control.Runners) != 0 || !o.Saw(workspace.EvRunnerResumed) {
		t.Errorf("run is %+v, runners %+v", r, o.Seen.Control.Runners)
	}
}

func TestAfterSixHoursTheRunTakesTheBlockedRoute(t *testing.T) {
	o := world(t, nil)
	o.Admit(controllertest.Task("a") + "---\n" + controllertest.Task("b"))
	o.Settle()
	began := o.Now
	for o.Run().Node == "builder" {
		o.Play(schema.FailNetwork)
		if w, ok := o.Seen.Control.Runners["fake"]; ok && w.Until.After(o.Now) {
			o.Now = w.Until
		}
	}
	if d := o.Now.Sub(began); d < 6*time.Hour || d > 7*time.Hour {
		t.Errorf("it took %s", d)
	}
	r := o.Run()
	if r.Node != "troubleshooter" || r.FirstFailure != schema.FailNetwork || o.Task("a").Counters["troubleshoot_attempt_count"] != 1 {
		t.Errorf("run is %+v", r)
	}
	o.Want("b", schema.StateQueue, "")
}

func TestSixHoursAreWaitedOnceAndNotCountedWhileSomebodyHadToAct(t *testing.T) {
	o := world(t, nil)
	o.Admit(controllertest.Task("a"))
	o.Settle()
	o.Play(schema.FailAuth)
	o.Now = o.Now.Add(8 * time.Hour) // the key is renewed the next morning
	resume(o)
	o.Settle()
	o.Play(schema.FailNetwork)
	if r := o.Run(); r.Node != "builder" || r.State != schema.RunParked {
		t.Fatalf("run is %+v", r)
	}
	for o.Run() != nil {
		if w, ok := o.Seen.Control.Runners["fake"]; ok && w.Until.After(o.Now) {
			o.Now = w.Until
		}
		o.Settle()
		left := o.Run().Node != "builder"
		o.Play(schema.FailNetwork)
		if r := o.Run(); left && r != nil && r.State == schema.RunParked {
			t.Fatalf("it waits again at %s: %+v", r.Node, r)
		}
	}
	o.Want("a", schema.StateBlocked, schema.FailNetwork)
}

// resume is "control resume --runner fake".
func resume(o *controllertest.World) {
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m, c := &workspace.Mutation{By: "test"}, v.Control.Clone()
		delete(c.Runners, "fake")
		m.PutControl(c)
		return m
	})
}

// One expired key blocks the whole queue, task by task, through the repair ladder: seen elsewhere.
func TestFaultAnExpiredKeyNeverTouchesTheQueue(t *testing.T) {
	o := world(t, nil)
	o.Admit(controllertest.Task("a") + "---\n" + controllertest.Task("b") + "---\n" + controllertest.Task("c"))
	o.Play(schema.FailAuth)
	o.Now = o.Now.Add(48 * time.Hour)
	o.Settle()
	w := o.Seen.Control.Runners["fake"]
	if !w.Stalled || w.Config != workspace.RunnerSettings(o.Plan, "fake") || !o.Saw(workspace.EvRunnerStalled) {
		t.Fatalf("runner is %+v", w)
	}
	if it := o.Want("a", schema.StateActive, ""); len(it.Counters) > 0 || it.Attempts != 1 {
		t.Errorf("a is %+v", it)
	}
	for _, id := range []string{"b", "c"} {
		if it := o.Want(id, schema.StateQueue, ""); it.Attempts != 0 {
			t.Errorf("%s is %+v", id, it)
		}
	}
	resume(o)
	if nodes := o.Play("BUILDER_COMPLETE"); nodes[0] != "builder" {
		t.Errorf("went %v", nodes)
	}
}

func TestTheProvidersOwnWaitIsKept(t *testing.T) {
	o := world(t, nil)
	o.Admit(controllertest.Task("a"))
	o.Settle()
	o.Complete(schema.ExitFailed, schema.FailRateLimited).RetryAfter = schema.Duration(20 * time.Minute)
	o.Settle()
	if o.After != 20*time.Minute {
		t.Errorf("it looks again in %s", o.After)
	}
}

// Requests that were under way when a runner began to wait do not make it wait longer.
func TestFailuresAtTheSameTimeAreOneWait(t *testing.T) {
	o := world(t, map[string]string{"modes/test.cue": strings.Replace(controllertest.Base, "graphs:", "lanes: execution: 2\n\tgraphs:", 1)})
	o.Admit(controllertest.Task("a") + "---\n" + controllertest.Task("b"))
	o.Settle()
	for _, r := range o.Seen.ActiveRuns() {
		o.CompleteRun(r, schema.FailProvider)
	}
	o.Now = o.Now.Add(-time.Minute)
	o.Settle()
	if w := o.Seen.Control.Runners["fake"]; w.Attempts != 1 || w.Until.Sub(o.Now) != 30*time.Second {
		t.Errorf("wait is %+v at %s", w, o.Now)
	}
}

// A stage that ran is no proof for a runner that began to wait while it did.
func TestOnlyAStageBegunSinceLiftsAWait(t *testing.T) {
	o := world(t, map[string]string{"modes/test.cue": strings.Replace(controllertest.Base, "graphs:", "lanes: execution: 2\n\tgraphs:", 1)})
	o.Admit(controllertest.Task("a") + "---\n" + controllertest.Task("b"))
	o.Settle()
	runs := o.Seen.ActiveRuns()
	o.CompleteRun(runs[0], schema.FailAuth)
	o.Settle()
	o.CompleteRun(runs[1], "BUILDER_COMPLETE")
	o.Requests[runs[1].Request].Completion.Started = runs[1].Started
	o.Settle()
	if w := o.Seen.Control.Runners["fake"]; !w.Stalled {
		t.Errorf("wait is %+v", w)
	}
}
