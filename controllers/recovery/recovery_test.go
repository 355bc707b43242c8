package recovery_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/controllers/control"
	"millrace/controllers/controllertest"
	"millrace/controllers/dispatch"
	"millrace/controllers/recovery"
	"millrace/controllers/result"
	"millrace/reconcile"
	"millrace/schema"
	"millrace/workspace"
	"millrace/workspace/reqdir"
)

func world(t *testing.T) *controllertest.World {
	t.Helper()
	return controllertest.T(t, nil, result.New(), recovery.New(), dispatch.New())
}

// started has a task whose builder is in flight.
func started(t *testing.T, more ...string) *controllertest.World {
	t.Helper()
	o := world(t)
	o.Admit(controllertest.Task("a", more...))
	o.Settle()
	return o
}

func (l lostCase) see(o *controllertest.World) {
	o.Requests = map[string]*workspace.RequestSeen{o.Run().Request: l.seen(o)}
}

type lostCase struct {
	seen func(o *controllertest.World) *workspace.RequestSeen
	node string // where the run is afterwards
}

func TestLostRequests(t *testing.T) {
	salvage := func(o *controllertest.World, claim string, files ...string) *schema.Completion {
		r := o.Run()
		c := &schema.Completion{SchemaVersion: schema.Version, Request: r.Request, Run: r.ID, Exit: schema.ExitFailed,
			Failure: schema.FailSupervisorLost, Started: o.Now, Ended: o.Now}
		if claim != "" {
			c.Claim = &schema.Claim{Outcome: claim, Source: schema.StdoutFile}
		}
		for _, f := range files {
			c.Artifacts = append(c.Artifacts, o.Leave(r, f, "text"))
		}
		return c
	}
	for name, c := range map[string]lostCase{
		"nothing is left": {func(*controllertest.World) *workspace.RequestSeen {
			return &workspace.RequestSeen{Started: true}
		}, "builder"},
		"an agent that had finished is not paid twice": {func(o *controllertest.World) *workspace.RequestSeen {
			return &workspace.RequestSeen{Started: true, Salvage: salvage(o, "BUILDER_COMPLETE", "builder_summary.md")}
		}, "checker"},
		"what it said is not legal": {func(o *controllertest.World) *workspace.RequestSeen {
			return &workspace.RequestSeen{Started: true, Salvage: salvage(o, "CHECKER_PASS", "builder_summary.md")}
		}, "builder"},
		"what it said needs a file that is not there": {func(o *controllertest.World) *workspace.RequestSeen {
			return &workspace.RequestSeen{Started: true, Salvage: salvage(o, "BUILDER_COMPLETE")}
		}, "builder"},
		"its completion cannot be read": {func(*controllertest.World) *workspace.RequestSeen {
			return &workspace.RequestSeen{Started: true, Broken: "unexpected end of JSON input"}
		}, "builder"},
	} {
		t.Run(name, func(t *testing.T) {
			o := started(t)
			first := o.Run().Request
			c.see(o)
			o.Settle()
			r := o.Run()
			if r.Node != c.node || r.Request == "" || r.Request == first || r.Salvaged != nil || len(r.Steps) != 1 {
				t.Fatalf("run is %+v", r)
			}
			if restarted := r.Steps[0].Failure == schema.FailSupervisorLost; restarted != (c.node == "builder") || len(o.Task("a").Counters) > 0 {
				t.Errorf("step is %+v", r.Steps[0])
			}
			if _, err := os.Stat(o.Path(workspace.RequestDir(r.ID, first) + "/" + schema.ResultFile)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLiveRequestsAreLeftAlone(t *testing.T) {
	for name, seen := range map[string]*workspace.RequestSeen{
		"its supervisor lives":           {Alive: true, Started: true},
		"it has not started":             {},
		"something of it still runs":     {Started: true, Strays: 1},
		"it is broken but lives":         {Alive: true, Started: true, Broken: "half"},
		"nobody has looked at it so far": nil,
	} {
		t.Run(name, func(t *testing.T) {
			o := started(t)
			if seen != nil {
				o.Requests = map[string]*workspace.RequestSeen{o.Run().Request: seen}
			}
			if whys := o.Settle(); len(whys) > 0 {
				t.Errorf("it did %q", whys)
			}
		})
	}
}

// A check that should have followed the claim was lost with the supervisor: the claim proves nothing.
func TestSalvagedClaimWithoutItsChecksIsNotTaken(t *testing.T) {
	o := started(t, "checks: [{name: unit, run: make}]")
	o.Play("BUILDER_COMPLETE")
	r := o.Run()
	c := &schema.Completion{Request: r.Request, Run: r.ID, Exit: schema.ExitFailed, Failure: schema.FailSupervisorLost,
		Claim: &schema.Claim{Outcome: "CHECKER_PASS"}, Ended: o.Now}
	for _, f := range []string{"checker_expectations.md", "checker_summary.md"} {
		c.Artifacts = append(c.Artifacts, o.Leave(r, f, "x"))
	}
	o.Requests = map[string]*workspace.RequestSeen{r.Request: {Started: true, Salvage: c}}
	o.Settle()
	if r := o.Run(); r.Node != "checker" || r.Restarts != 1 {
		t.Errorf("run is %+v", r)
	}
}

// What a lost supervisor knew of its agent's session lies in the request folder, and the next request goes on with it.
func TestALostRequestsSessionGoesOn(t *testing.T) {
	o := started(t)
	r := o.Run()
	dir := o.Path(o.Request(r))
	if _, err := reqdir.Spend(dir); err != nil {
		t.Fatal(err)
	}
	o.Leave(r, schema.SessionFile, `{"request":"`+r.Request+`","session":"s-1","tokens":{"input":1000,"output":50}}`)
	c, err := reqdir.Salvage(dir)
	if err != nil {
		t.Fatal(err)
	}
	o.Requests = map[string]*workspace.RequestSeen{r.Request: {Started: true, Salvage: c}}
	o.Settle()
	req := o.AskedFor()
	if req.ID == r.Request || req.Session == nil || req.Session.ID != "s-1" || req.Session.Request != r.Request || req.Session.Tokens.Total() != 1050 {
		t.Errorf("request %s goes on with %+v", req.ID, req.Session)
	}
	if s := o.Run().Steps[0]; s.Failure != schema.FailSupervisorLost || s.Tokens.Total() != 1050 {
		t.Errorf("the lost one is %+v", s)
	}
}

func TestALateReportIsEvidenceOnly(t *testing.T) {
	o := started(t)
	r := o.Run()
	o.Requests = map[string]*workspace.RequestSeen{r.Request: {Started: true}}
	o.Settle()
	late := &schema.Completion{Request: r.Request, Run: r.ID, Exit: schema.ExitCompleted, Claim: &schema.Claim{Outcome: "BUILDER_COMPLETE"}, Ended: o.Now}
	o.Requests = map[string]*workspace.RequestSeen{r.Request: {Started: true, Completion: late}}
	rec := o.Step()
	if rec == nil || len(rec.Events) != 1 || rec.Events[0].Type != workspace.EvEvidence {
		t.Fatalf("committed %+v", rec)
	}
	for rec := o.Step(); rec != nil; rec = o.Step() {
		if rec.By == "result" {
			t.Fatalf("filed again: %+v", rec)
		}
	}
	if now := o.Run(); now.Node != "builder" || len(now.Steps) != 1 {
		t.Errorf("run is %+v", now)
	}
	if _, err := os.Stat(o.Path(workspace.RequestDir(r.ID, r.Request) + "/" + schema.EvidenceFile)); err != nil {
		t.Error(err)
	}
}

func wantEnd(o *controllertest.World, c schema.Cancel) {
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m, it := &workspace.Mutation{By: "test"}, v.Items[schema.Key{Family: "task", ID: "a"}].Clone()
		c.At = v.Now
		it.Cancel = &c
		m.PutItem(it)
		return m
	})
}

func TestCancelNowIsTwoSteps(t *testing.T) {
	for to, state := range map[string]string{schema.StateCancelled: schema.StateCancelled, schema.StateQueue: schema.StateActive} {
		t.Run(to, func(t *testing.T) {
			o := started(t)
			r := o.Run()
			o.Requests = map[string]*workspace.RequestSeen{r.Request: {Alive: true, Started: true}}
			wantEnd(o, schema.Cancel{By: "command", Why: "wrong task", Now: true, To: to})
			if whys := o.Settle(); len(whys) != 1 {
				t.Fatalf("it did %q", whys)
			}
			data, err := os.ReadFile(o.Path(o.Request(r) + "/" + schema.CancelFile))
			if err != nil || string(data) != "command: wrong task\n" {
				t.Fatalf("cancel is %q, %v", data, err)
			}
			o.Want("a", schema.StateActive, "")
			if o.Run().Request != r.Request {
				t.Fatal("the run lost its request")
			}
			o.Fail(schema.FailCancelled)
			o.Settle()
			it := o.Want("a", state, "")
			if it.Cancel != nil || len(it.Counters) > 0 {
				t.Errorf("item is %+v", it)
			}
			if state == schema.StateActive && (it.Run == r.ID || it.Attempts != 2) {
				t.Errorf("it was not begun anew: %+v", it)
			}
			if state == schema.StateCancelled && (it.EndedBy != "command" || it.Path != "tasks/cancelled/a.md") {
				t.Errorf("item is %+v", it)
			}
		})
	}
}

// A prune waits for the end of the stage; what completes meanwhile is complete.
func TestCancelAtTheEndOfTheStage(t *testing.T) {
	for end, state := range map[string]string{
		"BUILDER_COMPLETE": schema.StateCancelled, "runner_exit": schema.StateCancelled, "supervisor_lost": schema.StateCancelled,
		"network_unavailable": schema.StateCancelled,
	} {
		t.Run(end, func(t *testing.T) {
			o := started(t)
			wantEnd(o, schema.Cancel{By: "prune", Why: "its declaration is gone", To: schema.StateCancelled})
			if whys := o.Settle(); len(whys) > 0 {
				t.Fatalf("it did %q", whys)
			}
			o.Play(end)
			it := o.Want("a", state, "")
			if it.EndedBy != "prune" || o.Run() != nil {
				t.Errorf("item is %+v", it)
			}
		})
	}
	t.Run("done is done", func(t *testing.T) {
		o := started(t)
		o.Play("BUILDER_COMPLETE", "CHECKER_PASS")
		wantEnd(o, schema.Cancel{By: "prune", Why: "gone", To: schema.StateCancelled})
		o.Play("UPDATE_COMPLETE")
		if it := o.Want("a", schema.StateDone, ""); it.Cancel != nil {
			t.Errorf("item is %+v", it)
		}
	})
	t.Run("nothing is escalated", func(t *testing.T) {
		o := started(t)
		o.Play("BLOCKED", "BLOCKED")
		wantEnd(o, schema.Cancel{By: "prune", Why: "gone", To: schema.StateCancelled})
		o.Play("NEEDS_PLANNING")
		o.Want("a", schema.StateCancelled, "")
		if n := o.Seen.Count(schema.FamilyIncident, schema.StateQueue); n != 0 {
			t.Errorf("%d incidents", n)
		}
	})
	t.Run("between stages", func(t *testing.T) {
		o := started(t)
		o.Controllers = o.Controllers[:2]
		o.Play("BUILDER_COMPLETE")
		wantEnd(o, schema.Cancel{By: "prune", Why: "gone", To: schema.StateCancelled})
		o.Settle()
		o.Want("a", schema.StateCancelled, "")
	})
}

// blockedBy has a task that took the BLOCKED route to its end with the class.
func blockedBy(t *testing.T, class string) *controllertest.World {
	t.Helper()
	o := started(t)
	o.Admit(controllertest.Task("b", "depends_on: [a]"))
	o.Play(class, "BLOCKED", "BLOCKED")
	o.Want("a", schema.StateBlocked, class)
	return o
}

func TestTimeoutsAreRetriedWhileWorkWaits(t *testing.T) {
	o := blockedBy(t, schema.FailTimeout)
	o.Config.AutoRecovery = schema.RecoveryPolicy{Enabled: true, DependencyRetry: true, MaxRequeues: 2,
		Cooldowns: []schema.Duration{schema.Duration(5 * time.Minute), schema.Duration(time.Hour)}}
	for n, cooldown := range []time.Duration{5 * time.Minute, time.Hour} {
		o.Settle()
		o.Want("a", schema.StateBlocked, schema.FailTimeout)
		if o.After != cooldown {
			t.Fatalf("try %d is due in %s", n+1, o.After)
		}
		o.Now = o.Now.Add(cooldown)
		o.Settle()
		it := o.Want("a", schema.StateActive, "")
		if it.Requeues != n+1 || !strings.Contains(it.Notes[len(it.Notes)-1].Why, "runner_timeout") {
			t.Fatalf("item is %+v", it)
		}
		// The budgets of the first run stay spent: only an operator gives them back.
		o.Play([][]string{{"runner_timeout", "BLOCKED", "BLOCKED"}, {"runner_timeout", "BLOCKED"}}[n]...)
	}
	o.Now = o.Now.Add(24 * time.Hour)
	o.Settle()
	o.Want("a", schema.StateBlocked, schema.FailTimeout)
	if o.After != 0 {
		t.Errorf("it looks again in %s", o.After)
	}
}

func TestOtherBlockedWorkWaitsForItsOperator(t *testing.T) {
	policy := schema.RecoveryPolicy{Enabled: true, DependencyRetry: true, MaxRequeues: 3}
	t.Run("another class", func(t *testing.T) {
		o := blockedBy(t, schema.FailExit)
		o.Config.AutoRecovery = policy
		o.Settle()
		o.Want("a", schema.StateBlocked, schema.FailExit)
	})
	t.Run("nobody waits", func(t *testing.T) {
		o := started(t)
		o.Play(schema.FailTimeout, "BLOCKED", "BLOCKED")
		o.Config.AutoRecovery = policy
		o.Settle()
		o.Want("a", schema.StateBlocked, schema.FailTimeout)
	})
	t.Run("switched off", func(t *testing.T) {
		o := blockedBy(t, schema.FailTimeout)
		o.Config.AutoRecovery = schema.RecoveryPolicy{DependencyRetry: true, MaxRequeues: 3}
		o.Settle()
		o.Want("a", schema.StateBlocked, schema.FailTimeout)
	})
}

func TestInconsistenciesAreRepaired(t *testing.T) {
	t.Run("a run without its item", func(t *testing.T) {
		o := started(t)
		r := o.Run()
		o.Do(func(v *workspace.View) *workspace.Mutation {
			m, it := &workspace.Mutation{By: "test"}, v.Items[r.Item].Clone()
			m.Block(v, it, schema.Blocked{Class: schema.FailExit})
			return m
		})
		o.Requests = map[string]*workspace.RequestSeen{r.Request: {Alive: true, Started: true}}
		o.Controllers = o.Controllers[:2]
		if whys := o.Settle(); len(whys) > 0 {
			t.Fatalf("it did %q while the stage lived", whys)
		}
		o.Requests = map[string]*workspace.RequestSeen{r.Request: {Started: true, Completion: &schema.Completion{}}}
		o.Settle()
		if o.Run() != nil {
			t.Errorf("run is %+v", o.Run())
		}
	})
	t.Run("an active item without a run", func(t *testing.T) {
		o := world(t)
		o.Admit(controllertest.Task("a"))
		o.Do(func(v *workspace.View) *workspace.Mutation {
			m, it := &workspace.Mutation{By: "test"}, v.Items[schema.Key{Family: "task", ID: "a"}].Clone()
			m.MoveItem(v, it, schema.StateActive)
			return m
		})
		whys := o.Settle()
		if len(whys) != 2 || !strings.HasPrefix(whys[0], "recovery: requeue task/a") {
			t.Errorf("it did %q", whys)
		}
	})
	t.Run("a plan that is lost", func(t *testing.T) {
		o := started(t)
		old := o.Digest()
		o.Requests = map[string]*workspace.RequestSeen{o.Run().Request: {Started: true, Completion: &schema.Completion{}}}
		o.Freeze(map[string]string{"entrypoints/execution/builder.md": "other, but builder_summary.md\n"})
		o.Forget(old)
		o.Settle()
		o.Want("a", schema.StateBlocked, "plan_missing")
	})
}

func TestANewRunnerTakesOverWhatNeverBegan(t *testing.T) {
	o := started(t)
	o.Controllers = append([]reconcile.Controller{control.New()}, o.Controllers...)
	first := o.Run().ID
	o.Play(schema.FailRunnerNotFound)
	if w := o.Seen.Control.Runners["fake"]; !w.Stalled || o.Run().State != schema.RunParked {
		t.Fatalf("runner is %+v", w)
	}
	o.Freeze(map[string]string{"modes/test.cue": strings.Replace(controllertest.Base, `"true"`, `"found"`, 1)})
	whys := o.Settle()
	r := o.Run()
	if r == nil || r.ID == first || r.Request == "" || r.Plan != o.Digest() {
		t.Fatalf("run is %+v after %q", r, whys)
	}
	if len(o.Seen.Control.Runners) != 0 || !slices.ContainsFunc(whys, func(w string) bool { return strings.Contains(w, "runners wait no more: fake") }) {
		t.Errorf("runners are %+v after %q", o.Seen.Control.Runners, whys)
	}
}
