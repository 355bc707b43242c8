package dispatch_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"millrace/controllers/controllertest"
	"millrace/controllers/dispatch"
	"millrace/controllers/recovery"
	"millrace/controllers/result"
	"millrace/schema"
	"millrace/workspace"
)

func TestStartIsOneRecord(t *testing.T) {
	o := world(t, nil)
	o.Admit(controllertest.Task("a", "checks: [{name: unit, run: make, timeout: 5m}, {name: lint, run: lint}]"))
	if whys := o.Settle(); len(whys) != 1 {
		t.Fatalf("it took %q", whys)
	}
	r := o.Run()
	it := o.Want("a", schema.StateActive, "")
	if it.Path != "tasks/active/a.md" || it.Run != r.ID || it.Attempts != 1 || it.Observed != 1 {
		t.Errorf("item is %+v", it)
	}
	var req schema.Request
	data, err := os.ReadFile(o.Path(o.Request(r) + "/" + schema.RequestFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &req); err != nil {
		t.Fatal(err)
	}
	if req.ID != r.Request || req.Attempt != 1 || req.Plan != o.Digest() || !req.Tree || req.ChecksBefore || len(req.ChecksAfter) != 0 ||
		!slices.Equal(req.Outcomes, []string{"BLOCKED", "BUILDER_COMPLETE"}) || req.Runner.Run[0] != "true" {
		t.Errorf("request is %+v", req)
	}
	if d := []schema.Duration{req.Checks[0].Timeout, req.Checks[1].Timeout}; d[0] != schema.Duration(5*time.Minute) || d[1] != schema.Duration(10*time.Minute) {
		t.Errorf("check timeouts are %v", d)
	}
	for _, file := range []string{workspace.RunFile(r.ID), workspace.TraceFile(r.ID), o.Request(r) + "/" + schema.PromptFile, o.Request(r) + "/" + schema.ContextFile} {
		if _, err := os.Stat(o.Path(file)); err != nil {
			t.Error(err)
		}
	}
	if !o.Saw(workspace.EvStarted) {
		t.Error("nobody is told")
	}
	o.Play("BUILDER_COMPLETE")
	data, err = os.ReadFile(o.Path(o.Request(o.Run()) + "/" + schema.RequestFile))
	if err != nil {
		t.Fatal(err)
	}
	req = schema.Request{}
	if err := json.Unmarshal(data, &req); err != nil {
		t.Fatal(err)
	}
	if !req.ChecksBefore || !slices.Equal(req.ChecksAfter, []string{"CHECKER_PASS"}) || req.Tree {
		t.Errorf("request of checker is %+v", req)
	}
}

func TestClaimOrder(t *testing.T) {
	o := world(t, nil)
	o.Admit(controllertest.Task("b"))
	o.Now = o.Now.Add(time.Second)
	o.Admit(controllertest.Task("a"))
	o.Admit(controllertest.Task("c", "depends_on: [a]", "priority: 9"))
	o.Admit(controllertest.Task("d", "priority: 1"))
	var order []string
	for range 4 {
		o.Settle()
		order = append(order, o.Run().Item.ID)
		o.Play("BUILDER_COMPLETE", "CHECKER_PASS", "UPDATE_COMPLETE")
	}
	if got := strings.Join(order, " "); got != "d b a c" {
		t.Errorf("claimed %s", got)
	}
}

func TestNothingStartsWhile(t *testing.T) {
	control := func(change func(c *schema.Control)) func(o *controllertest.World) {
		return func(o *controllertest.World) {
			o.Do(func(v *workspace.View) *workspace.Mutation {
				m, c := &workspace.Mutation{By: "test"}, v.Control.Clone()
				change(c)
				m.PutControl(c)
				return m
			})
		}
	}
	for name, c := range map[string]struct {
		set   func(o *controllertest.World)
		flies bool // a run that has begun goes on
	}{
		"a pause is set": {set: control(func(c *schema.Control) {
			c.Pauses = map[string]schema.Pause{"operator": {By: "me"}}
		})},
		"the daemon is to stop":     {set: control(func(c *schema.Control) { c.Stop = &schema.Stop{Daemon: "test"} })},
		"the inputs do not compile": {set: func(o *controllertest.World) { o.Broken = true }, flies: true},
		"the runner is stalled": {set: control(func(c *schema.Control) {
			c.Runners = map[string]schema.RunnerWait{"fake": {Stalled: true}}
		})},
		"the runner waits": {set: func(o *controllertest.World) {
			control(func(c *schema.Control) {
				c.Runners = map[string]schema.RunnerWait{"fake": {Until: o.Now.Add(time.Hour)}}
			})(o)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			o := world(t, nil)
			o.Admit(controllertest.Task("a"))
			c.set(o)
			if o.Settle(); o.Run() != nil {
				t.Error("an item was claimed")
			}
			o = world(t, nil)
			o.Admit(controllertest.Task("a"))
			o.Settle()
			o.Claim("BUILDER_COMPLETE", "x")
			c.set(o)
			o.Settle()
			if r := o.Run(); (r.Request != "") != c.flies || r.Node != "checker" {
				t.Errorf("run is %+v", r)
			}
		})
	}
}

func TestAnotherDaemonsStopDoesNotStopThisOne(t *testing.T) {
	o := world(t, nil)
	o.Admit(controllertest.Task("a"))
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m, c := &workspace.Mutation{By: "test"}, v.Control.Clone()
		c.Stop = &schema.Stop{Daemon: "long gone"}
		m.PutControl(c)
		return m
	})
	if o.Settle(); o.Run() == nil {
		t.Error("nothing started")
	}
}

func TestARunEndsUnderThePlanItBeganUnder(t *testing.T) {
	o := world(t, nil)
	o.Admit(controllertest.Task("a") + "---\n" + controllertest.Task("b"))
	o.Settle()
	old := o.Digest()
	o.Freeze(map[string]string{"modes/test.cue": strings.Replace(controllertest.Base, "execution.standard", "execution.with_integrator", 1)})
	if nodes := o.Play("BUILDER_COMPLETE", "CHECKER_PASS", "UPDATE_COMPLETE"); !slices.Equal(nodes, []string{"builder", "checker", "updater"}) {
		t.Errorf("the first went %v", nodes)
	}
	r := o.Run()
	if nodes := o.Play("BUILDER_COMPLETE", "INTEGRATION_COMPLETE"); !slices.Equal(nodes, []string{"builder", "integrator"}) || r.Plan == old {
		t.Errorf("the second went %v under %s", nodes, r.Plan)
	}
}

func TestAnItemInSomebodysHandsIsNotClaimedAndBlocksNobody(t *testing.T) {
	o := world(t, nil)
	o.Admit(controllertest.Task("a") + "---\n" + controllertest.Task("b"))
	o.Hands = []workspace.Hand{{What: "copied", Key: schema.Key{Family: "task", ID: "a"}, Path: "tasks/done/a.md"}}
	o.Settle()
	if r := o.Run(); r == nil || r.Item.ID != "b" {
		t.Fatalf("run is %+v", r)
	}
}

func TestADocumentThatChangedSinceIsNotClaimed(t *testing.T) {
	o := world(t, nil)
	o.Admit(controllertest.Task("a") + "---\n" + controllertest.Task("b"))
	if err := os.WriteFile(o.Path("tasks/queue/a.md"), []byte("mine"), 0o666); err != nil {
		t.Fatal(err)
	}
	v := o.View(o.Seen)
	for _, id := range []string{"a", "b"} {
		path := "tasks/queue/" + id + ".md"
		data, err := os.ReadFile(o.Path(path))
		if err != nil {
			t.Fatal(err)
		}
		v.Asked[workspace.AskFile(path)] = workspace.Answer{Data: data, Digest: schema.DigestOf(data)}
	}
	p := dispatch.New().Reconcile(v)
	if p.Mutation == nil || p.Mutation.Events[0].Item.ID != "b" {
		t.Errorf("proposed %+v", p.Mutation)
	}
}

func TestAWaitingRunnerStopsOnlyWhatNeedsIt(t *testing.T) {
	two := map[string]string{"modes/test.cue": `package millrace

modes: test: {
	graphs: execution: "execution.standard"
	runner: "fake"
	runners: {
		fake: {adapter: "command", run: ["true"]}
		other: {adapter: "command", run: ["false"]}
	}
	stages: checker: runner: "other"
}
`}
	o := world(t, two)
	o.Admit(controllertest.Task("a") + "---\n" + controllertest.Task("b"))
	o.Play("BUILDER_COMPLETE")
	c := o.Complete(schema.ExitFailed, schema.FailRateLimited)
	c.RetryAfter = schema.Duration(90 * time.Second)
	o.Settle()
	runs := o.Seen.ActiveRuns()
	if len(runs) != 1 || runs[0].State != schema.RunParked || runs[0].Node != "checker" {
		t.Fatalf("runs are %+v", runs)
	}
	if o.After != 90*time.Second {
		t.Errorf("it looks again in %s", o.After)
	}
	// builder may have changed the tree, so the run keeps its lane.
	o.Want("b", schema.StateQueue, "")
	o.Now = o.Now.Add(2 * time.Minute)
	o.Settle()
	if r := o.Run(); r.State != schema.RunRunning || r.Request == "" || r.Node != "checker" {
		t.Errorf("run is %+v", r)
	}
	o.Play("CHECKER_PASS")
	if w := o.Seen.Control.Runners; len(w) != 0 {
		t.Errorf("a runner that serves again still waits: %+v", w)
	}
}

func TestAParkedRunThatChangedNothingGivesItsLane(t *testing.T) {
	o := world(t, map[string]string{"modes/test.cue": strings.Replace(controllertest.Base, `runner: "fake"`,
		`runner: "fake", runners: other: {adapter: "command", run: ["x"]}, stages: checker: runner: "other"`, 1)})
	o.Admit(controllertest.Task("a") + "---\n" + controllertest.Task("b"))
	o.Settle()
	o.Claim("BUILDER_COMPLETE", "x").TreeBefore = "same"
	o.Requests[o.Run().Request].Completion.TreeAfter = "same"
	o.Settle()
	o.Complete(schema.ExitNotStarted, schema.FailRunnerNotFound)
	o.Settle()
	runs := o.Seen.ActiveRuns()
	if len(runs) != 2 || runs[0].State != schema.RunParked || runs[1].Item.ID != "b" || runs[1].Node != "builder" {
		t.Fatalf("runs are %+v", runs)
	}
}

// Whatever stages come to and whatever else happens, running runs never exceed the plan's lanes (the
// world checks that after every commit), and every item ends or waits for a reason.
func TestLanesAreNeverExceeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "lanes-")
		if err != nil {
			t.Fatalf("%v", err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		lanes := rapid.IntRange(1, 3).Draw(t, "lanes")
		mode := strings.Replace(controllertest.Base, "graphs:", "lanes: execution: "+string(rune('0'+lanes))+"\n\tgraphs:", 1)
		o := controllertest.New(t, dir, map[string]string{"modes/test.cue": mode}, result.New(), recovery.New(), dispatch.New())
		defer func() { _ = o.W.Close() }()
		for _, id := range []string{"a", "b", "c", "d"} {
			o.Admit(controllertest.Task(id))
		}
		for range 10 {
			step(t, o)
		}
	})
}

func step(t *rapid.T, o *controllertest.World) {
	inFlight := slices.DeleteFunc(o.Seen.ActiveRuns(), func(r *schema.Run) bool { return r.Request == "" })
	if len(inFlight) > 0 {
		r := rapid.SampledFrom(inFlight).Draw(t, "run")
		kind := o.Plan.Kind(r.Plane, r.Node)
		ends := append(slices.Sorted(func(yield func(string) bool) {
			for outcome := range kind.Outcomes {
				if !yield(outcome) {
					return
				}
			}
		}), schema.FailTimeout, schema.FailSupervisorLost, schema.FailNetwork, schema.FailAuth, schema.FailCancelled)
		o.CompleteRun(r, rapid.SampledFrom(ends).Draw(t, "end"))
	}
	switch rapid.IntRange(0, 5).Draw(t, "and") {
	case 0:
		o.Now = o.Now.Add(20 * time.Minute)
	case 1:
		o.Do(func(v *workspace.View) *workspace.Mutation { // an operator resumes all runners
			m, c := &workspace.Mutation{By: "test"}, v.Control.Clone()
			c.Runners = nil
			m.PutControl(c)
			return m
		})
	case 2:
		if active := o.Seen.Active(); len(active) > 0 {
			k := rapid.SampledFrom(active).Draw(t, "cancel")
			to := rapid.SampledFrom([]string{schema.StateQueue, schema.StateCancelled}).Draw(t, "to")
			o.Do(func(v *workspace.View) *workspace.Mutation {
				m, it := &workspace.Mutation{By: "test"}, v.Items[k].Clone()
				it.Cancel = &schema.Cancel{By: "command", Why: "test", At: v.Now, To: to}
				m.PutItem(it)
				return m
			})
		}
	}
	o.Settle()
}

// A stage is shown what has happened last in the whole lineage of its item, and no more of it than ten entries.
func TestHistoryIsThatOfTheLineage(t *testing.T) {
	o := world(t, nil)
	for i := range 8 {
		o.Admit(controllertest.Task(fmt.Sprintf("k%d", i), "root_spec_id: root"))
		o.Do(func(v *workspace.View) *workspace.Mutation {
			m := &workspace.Mutation{By: "test", Why: "note"}
			it := v.Items[schema.Key{Family: "task", ID: fmt.Sprintf("k%d", i)}].Clone()
			for n := range 2 {
				it.Note(schema.Note{At: v.Now.Add(time.Duration(2*i+n) * time.Second), By: "operator", What: fmt.Sprintf("note %d", 2*i+n)})
			}
			m.PutItem(it)
			return m
		})
	}
	o.Admit(controllertest.Task("stranger"))
	o.Settle()
	data, err := os.ReadFile(o.Path(o.Request(o.Run()) + "/" + schema.ContextFile))
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Item    schema.Key
		History []struct{ What string }
	}
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, e := range c.History {
		got = append(got, e.What)
	}
	for n := 6; n < 16; n++ {
		want = append(want, fmt.Sprintf("note %d by operator", n))
	}
	if c.Item.ID != "k0" || !slices.Equal(got, want) {
		t.Errorf("%s is shown %q", c.Item, got)
	}
}
