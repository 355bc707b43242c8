package result_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"millrace/controllers/controllertest"
	"millrace/controllers/dispatch"
	"millrace/controllers/recovery"
	"millrace/controllers/result"
	"millrace/schema"
	"millrace/workspace"
)

// world has the three controllers that take work through its stages, in the loop's order.
func world(t *testing.T, files map[string]string) *controllertest.World {
	t.Helper()
	return controllertest.T(t, files, result.New(), recovery.New(), dispatch.New())
}

func read(t *testing.T, o *controllertest.World, file string, into any) {
	t.Helper()
	data, err := os.ReadFile(o.Path(file))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

func TestStraightWay(t *testing.T) {
	o := world(t, nil)
	o.Admit(controllertest.Task("a"))
	nodes := o.Play("BUILDER_COMPLETE", "CHECKER_PASS", "UPDATE_COMPLETE")
	if !slices.Equal(nodes, []string{"builder", "checker", "updater"}) {
		t.Fatalf("went %v", nodes)
	}
	it := o.Want("a", schema.StateDone, "")
	if it.Path != "tasks/done/a.md" || it.EndedBy != "run" || it.Attempts != 1 || it.Observed != 1 || it.Last.Outcome != "UPDATE_COMPLETE" {
		t.Errorf("item is %+v", it)
	}
	var r schema.Run
	read(t, o, workspace.RunFile(it.Run), &r)
	if r.State != schema.RunEnded || r.End != "update_complete" || len(r.Steps) != 3 || r.Plan != o.Digest() {
		t.Errorf("run is %+v", r)
	}
	var trace workspace.Trace
	read(t, o, workspace.TraceFile(it.Run), &trace)
	if len(trace.Nodes) != 3 || len(trace.Edges) != 3 || trace.Edges[2].Next != -1 || trace.Edges[2].To != "update_complete" || trace.Edges[0].Why == "" {
		t.Errorf("trace is %+v", trace)
	}
	var res schema.Result
	read(t, o, workspace.RequestDir(r.ID, r.Steps[0].Request)+"/"+schema.ResultFile, &res)
	if res.Outcome != "BUILDER_COMPLETE" || res.Class != schema.ClassSuccess || res.To != "checker" || len(res.Artifacts) != 1 || res.Plan != o.Digest() {
		t.Errorf("result is %+v", res)
	}
}

func TestRepairLoopSpendsItsBudget(t *testing.T) {
	o := world(t, nil)
	o.Admit(controllertest.Task("a"))
	nodes := o.Play("BUILDER_COMPLETE", "FIX_NEEDED", "FIXER_COMPLETE", "FIX_NEEDED", "FIXER_COMPLETE", "FIX_NEEDED", "BLOCKED", "BLOCKED")
	want := []string{"builder", "checker", "fixer", "doublechecker", "fixer", "doublechecker", "troubleshooter", "consultant"}
	if !slices.Equal(nodes, want) {
		t.Fatalf("went %v", nodes)
	}
	it := o.Want("a", schema.StateBlocked, schema.ClassBlocked)
	if it.Counters["fix_cycle_count"] != 2 || it.Path != "tasks/blocked/a.md" {
		t.Errorf("item is %+v", it)
	}
}

// A failure of every class, and the way its item takes from the first stage on.
func TestFailureClasses(t *testing.T) {
	const blockedRoute = "troubleshooter"
	for class, next := range map[string]string{
		schema.FailTimeout: blockedRoute, schema.FailStalled: blockedRoute, schema.FailExit: blockedRoute,
		schema.FailMissingOutcome: blockedRoute, schema.FailIllegalOutcome: blockedRoute, schema.FailConflicting: blockedRoute,
		schema.FailMissingArtifact: blockedRoute, schema.FailInvalidArtifact: blockedRoute, schema.FailOutboxConflict: blockedRoute,
		schema.FailSupervisorLost: "builder", schema.FailNotStarted: "builder", schema.FailCancelled: "builder",
		schema.FailRunnerNotFound: "builder", schema.FailAuth: "builder", schema.FailProvider: "builder",
		schema.FailRateLimited: "builder", schema.FailNetwork: "builder",
	} {
		t.Run(class, func(t *testing.T) {
			o := world(t, nil)
			o.Admit(controllertest.Task("a"))
			o.Play(class)
			r, it := o.Run(), o.Want("a", schema.StateActive, "")
			if r.Node != next || r.Steps[0].Failure != class || r.Steps[0].Why == "" {
				t.Fatalf("run is %+v", r)
			}
			switch schema.Scope(class) {
			case "stage":
				if it.Counters["troubleshoot_attempt_count"] != 1 || r.FirstFailure != class || r.Steps[0].Class != schema.ClassRecoverable || r.Request == "" {
					t.Errorf("item is %+v, run %+v", it, r)
				}
			case "run":
				if len(it.Counters) > 0 || r.Restarts != 1 || r.Request == "" || r.Request == r.Steps[0].Request {
					t.Errorf("item is %+v, run %+v", it, r)
				}
			case "runner":
				if w, ok := o.Seen.Control.Runners["fake"]; !ok || w.Class != class || len(it.Counters) > 0 || r.Request != "" || r.State != schema.RunParked {
					t.Errorf("runner waits %+v, run %+v", w, r)
				}
			}
		})
	}
}

func TestLostRequestsRestartTwiceThenBlockTheirStage(t *testing.T) {
	o := world(t, nil)
	o.Admit(controllertest.Task("a"))
	nodes := o.Play("supervisor_lost", "not_started", "supervisor_lost", "BLOCKED", "BLOCKED")
	if want := []string{"builder", "builder", "builder", "troubleshooter", "consultant"}; !slices.Equal(nodes, want) {
		t.Fatalf("went %v", nodes)
	}
	it := o.Want("a", schema.StateBlocked, schema.FailSupervisorLost)
	if it.Blocked.Node != "builder" {
		t.Errorf("blocked is %+v", it.Blocked)
	}
}

func TestLostRequestOfASingleAttemptIsNotRepeated(t *testing.T) {
	o := world(t, map[string]string{"stages/once.cue": "package millrace\n\nstages: builder: idempotence: \"single_attempt\"\n"})
	o.Admit(controllertest.Task("a"))
	o.Play("supervisor_lost")
	if r := o.Run(); r.Node != "troubleshooter" {
		t.Fatalf("run is %+v", r)
	}
}

func TestBlockedItemSaysItsFirstFailure(t *testing.T) {
	o := world(t, nil)
	o.Admit(controllertest.Task("a"))
	o.Play("runner_timeout", "runner_exit", "BLOCKED")
	it := o.Want("a", schema.StateBlocked, schema.FailTimeout)
	if it.Blocked.Node != "builder" || it.Blocked.Run != it.Run {
		t.Errorf("blocked is %+v", it.Blocked)
	}
}

func TestAgentIsHeldToItsContract(t *testing.T) {
	for name, c := range map[string]struct {
		change func(c *schema.Completion, seen *workspace.RequestSeen)
		class  string
	}{
		"no outcome": {func(c *schema.Completion, _ *workspace.RequestSeen) { c.Claim = nil }, schema.FailMissingOutcome},
		"an outcome of another stage": {func(c *schema.Completion, _ *workspace.RequestSeen) {
			c.Claim.Outcome = "CHECKER_PASS"
		}, schema.FailIllegalOutcome},
		"a class that the outcome does not carry": {func(c *schema.Completion, _ *workspace.RequestSeen) {
			c.Claim.Class = schema.ClassNoOp
		}, schema.FailIllegalOutcome},
		"a missing file": {func(c *schema.Completion, _ *workspace.RequestSeen) { c.Artifacts = nil }, schema.FailMissingArtifact},
		"an invalid file": {func(_ *schema.Completion, seen *workspace.RequestSeen) {
			seen.Invalid = schema.Diagnostics{{Severity: schema.Error, Path: "x.json", Message: "is wrong"}}
		}, schema.FailInvalidArtifact},
		"a completion of another request": {func(c *schema.Completion, _ *workspace.RequestSeen) {
			c.Request = "req-other"
		}, schema.FailSupervisorLost},
	} {
		t.Run(name, func(t *testing.T) {
			o := world(t, nil)
			o.Admit(controllertest.Task("a"))
			o.Settle()
			done := o.Claim("BUILDER_COMPLETE", "x")
			c.change(done, o.Requests[o.Run().Request])
			o.Settle()
			if s := o.Run().Steps[0]; s.Failure != c.class || s.Message == "" {
				t.Errorf("step is %+v", s)
			}
		})
	}
}

func TestAWarningAboutAnArtifactIsNoFailure(t *testing.T) {
	o := world(t, nil)
	o.Admit(controllertest.Task("a"))
	o.Settle()
	o.Claim("BUILDER_COMPLETE", "x")
	o.Requests[o.Run().Request].Invalid = schema.Diagnostics{{Severity: schema.Warning, Message: "is odd"}}
	o.Settle()
	if r := o.Run(); r.Node != "checker" {
		t.Errorf("run is %+v", r)
	}
}

const checked = "checks: [{name: unit, run: go test}]"

func TestGates(t *testing.T) {
	record := func(passed bool) []schema.CheckRecord {
		return []schema.CheckRecord{{Name: "unit", Run: "go test", Passed: passed}}
	}
	o := world(t, nil)
	o.Admit(controllertest.Task("a", checked))
	o.Play("BUILDER_COMPLETE")

	o.Claim("CHECKER_PASS", "fine").ChecksAfter = record(false)
	c := o.Requests[o.Run().Request].Completion
	c.Artifacts = append(c.Artifacts, o.Leave(o.Run(), "fix_contract.md", "fix it"))
	o.Settle()
	if r := o.Run(); r.Node != "fixer" || r.Steps[1].Outcome != "FIX_NEEDED" || len(r.Steps[1].Failed) != 1 {
		t.Fatalf("a failed check did not fall to FIX_NEEDED: %+v", r)
	}
	o.Play("FIXER_COMPLETE")
	o.Claim("DOUBLECHECK_PASS", "fine").ChecksAfter = record(true)
	o.Settle()
	if r := o.Run(); r.Node != "updater" {
		t.Fatalf("run is %+v", r)
	}
	o.Claim("UPDATE_COMPLETE", "no record at all")
	o.Settle()
	it := o.Want("a", schema.StateActive, "")
	if r := o.Run(); r.Node != "fixer" || it.Counters["fix_cycle_count"] != 2 {
		t.Fatalf("an end without passing checks completed: %+v, %+v", r, it)
	}
	o.Play("FIXER_COMPLETE")
	o.Claim("DOUBLECHECK_PASS", "fine").ChecksAfter = record(true)
	o.Settle()
	o.Claim("UPDATE_COMPLETE", "checked").ChecksAfter = record(true)
	o.Settle()
	o.Want("a", schema.StateDone, "")
}

func TestResumeTargets(t *testing.T) {
	for target, next := range map[string]string{
		"checker": "checker", "": "builder", "updater": "consultant", "consultant": "consultant", "nowhere": "consultant",
	} {
		t.Run("to "+target, func(t *testing.T) {
			o := world(t, nil)
			o.Admit(controllertest.Task("a"))
			o.Play("BUILDER_COMPLETE", "BLOCKED")
			c := o.Claim("TROUBLESHOOT_COMPLETE", "x")
			if target != "" {
				c.Claim.Metadata = map[string]any{"resume_stage": target}
			}
			o.Settle()
			r := o.Run()
			if r.Node != next {
				t.Fatalf("run is %+v", r)
			}
			if illegal := next == "consultant"; illegal != (r.Steps[2].Failure == schema.FailIllegalOutcome) {
				t.Errorf("step is %+v", r.Steps[2])
			}
		})
	}
}

func TestNoProgress(t *testing.T) {
	o := world(t, map[string]string{"modes/test.cue": looseGraph})
	o.Admit(controllertest.Task("a"))
	o.Settle()
	same := func(node, outcome, text, tree string) {
		t.Helper()
		r := o.Run()
		if r == nil || r.Node != node {
			t.Fatalf("run is %+v, want it at %s", r, node)
		}
		c := o.Claim(outcome, text)
		c.TreeBefore, c.TreeAfter = tree, tree
		o.Settle()
	}
	same("builder", "BUILDER_COMPLETE", "built", "t1")
	same("checker", "FIX_NEEDED", "no", "")
	same("builder", "BUILDER_COMPLETE", "built", "t2") // the tree has changed: this is progress
	same("checker", "FIX_NEEDED", "no", "")
	same("builder", "BUILDER_COMPLETE", "built", "t2")
	same("checker", "FIX_NEEDED", "no", "")
	same("builder", "BUILDER_COMPLETE", "built", "t2")
	it := o.Want("a", schema.StateBlocked, schema.FailNoProgress)
	if o.Run() != nil || it.Last.Failure != schema.FailNoProgress {
		t.Errorf("item is %+v", it)
	}
}

// looseGraph lets checker send work back to builder nine times.
const looseGraph = `package millrace

graphs: loose: {
	plane: "execution"
	entry: task: "builder"
	nodes: {
		builder: on: {BUILDER_COMPLETE: "checker", BLOCKED: "blocked"}
		checker: on: {
			CHECKER_PASS: "finished"
			FIX_NEEDED: {to: "builder", counter: "again", limit: 9, then: "blocked"}
			BLOCKED: "blocked"
		}
	}
	ends: {
		finished: {class: "success", state: "done", effects: ["complete"]}
		blocked: {class: "blocked", state: "blocked", effects: ["block"]}
	}
}

modes: test: {graphs: execution: "loose", runner: "fake", runners: fake: {adapter: "command", run: ["true"]}}
`

// What the plan says of a failure goes before the BLOCKED route, and what blocks the item is still the first failure.
func TestTheGraphMayRouteAFailureElsewhere(t *testing.T) {
	o := world(t, map[string]string{"modes/test.cue": strings.Replace(looseGraph, `plane: "execution"`,
		"plane: \"execution\"\n\tfailures: {runner_timeout: \"FIX_NEEDED\", missing_outcome: \"FIX_NEEDED\"}", 1)})
	o.Admit(controllertest.Task("a"))
	o.Play("BUILDER_COMPLETE", schema.FailTimeout)
	r := o.Run()
	if s := r.Steps[1]; r.Node != "builder" || s.Outcome != "FIX_NEEDED" || s.Failure != schema.FailTimeout || s.Counter != "again" {
		t.Fatalf("run is %+v", r)
	}
	o.Play("BUILDER_COMPLETE", schema.FailExit)
	o.Want("a", schema.StateBlocked, schema.FailTimeout)
}

func TestAnOperatorGivesBudgetsBack(t *testing.T) {
	for fresh, left := range map[bool]int{true: 0, false: 2} {
		o := world(t, nil)
		o.Admit(controllertest.Task("a"))
		o.Play("BLOCKED", "BLOCKED", "BLOCKED")
		o.Do(func(v *workspace.View) *workspace.Mutation {
			m := &workspace.Mutation{By: "test"}
			it := v.Items[schema.Key{Family: "task", ID: "a"}].Clone()
			it.Counters = map[string]int{"troubleshoot_attempt_count": 2}
			m.Requeue(v, it, schema.Note{By: "test", What: "retried"}, fresh)
			return m
		})
		o.Settle()
		if it := o.Want("a", schema.StateActive, ""); it.Counters["troubleshoot_attempt_count"] != left {
			t.Errorf("fresh %t: item is %+v", fresh, it)
		}
	}
}
