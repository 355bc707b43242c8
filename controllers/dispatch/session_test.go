package dispatch_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/controllers/controllertest"
	"millrace/schema"
	"millrace/workspace"
)

// said is a session in which its agent has used so many tokens so far; below zero: it did not say.
func said(request, id string, input int64) *schema.Session {
	s := &schema.Session{Request: request, ID: id}
	if input >= 0 {
		s.Tokens = &schema.Tokens{Input: new(input), Output: new(input / 10)}
	}
	return s
}

// fails ends the request in flight with a failure and what is known of its session, and lets the runner be tried again.
func fails(o *controllertest.World, class string, s *schema.Session) {
	c := o.Fail(class)
	c.Session = s
	o.Settle()
	o.Now = o.Now.Add(time.Minute)
	o.Do(func(v *workspace.View) *workspace.Mutation { // a person has put right what stalled it
		m, c := &workspace.Mutation{By: "test", Why: "resume"}, v.Control.Clone()
		c.Runners = nil
		m.PutControl(c)
		return m
	})
	o.Settle()
}

// Trouble that was not the stage's is no reason to pay an agent twice: its session goes on. What the stage itself did
// wrong is begun anew by whoever comes next.
func TestASessionGoesOn(t *testing.T) {
	for class, goesOn := range map[string]bool{
		schema.FailSupervisorLost: true, schema.FailCancelled: true, schema.FailNotStarted: true, schema.FailRateLimited: true,
		schema.FailAuth: true, schema.FailNetwork: true, schema.FailProvider: true, schema.FailRunnerNotFound: true,
		schema.FailTimeout: false, schema.FailStalled: false, schema.FailExit: false, schema.FailMissingOutcome: false,
	} {
		t.Run(class, func(t *testing.T) {
			o := world(t, short)
			o.Admit(controllertest.Task("a"))
			o.Settle()
			before := o.Run().Request
			fails(o, class, said(before, "s-1", 100))
			req := o.AskedFor()
			if !goesOn {
				if req.Session != nil || req.Node == "builder" {
					t.Errorf("%s goes on with %+v", req.Node, req.Session)
				}
				return
			}
			if req.ID == before || req.Node != "builder" || req.Session == nil || req.Session.ID != "s-1" || *req.Session.Tokens.Input != 100 {
				t.Fatalf("the request is %+v, session %+v", req, req.Session)
			}
			text, c := accounts(t, o)
			for _, want := range []string{"## You were interrupted", "(" + class + ")", "`millrace-agents/runs/" + req.Run + "/" + before + "/` does not count"} {
				if !strings.Contains(text, want) {
					t.Errorf("the prompt does not say %q:\n%s", want, text)
				}
			}
			if c.Resumed == nil || c.Resumed.ID != "s-1" {
				t.Errorf("context.json says %+v", c.Resumed)
			}
			o.Play("BUILDER_COMPLETE") // and with the stage the session is over
			if req := o.AskedFor(); req.Session != nil || strings.Contains(prompt(t, o), "You were interrupted") {
				t.Errorf("%s goes on with %+v", req.Node, req.Session)
			}
		})
	}
}

// A chain of failures loses neither the session nor the count from which the next request's own tokens are told.
func TestASessionOutlivesRequestsThatNeverGotToIt(t *testing.T) {
	o := world(t, short)
	o.Admit(controllertest.Task("a"))
	o.Settle()
	first := o.Run().Request
	fails(o, schema.FailSupervisorLost, said(first, "s-1", 100))
	want := func(request, id string, input int64) {
		t.Helper()
		s := o.AskedFor().Session
		if s == nil || s.Request != request || s.ID != id || (s.Tokens == nil) != (input < 0) || s.Tokens != nil && *s.Tokens.Input != input {
			t.Fatalf("the request goes on with %+v, want %s of %s at %d", s, id, request, input)
		}
	}
	want(first, "s-1", 100)
	fails(o, schema.FailRateLimited, nil) // refused before the agent named anything
	want(first, "s-1", 100)
	third := o.Run().Request
	fails(o, schema.FailNetwork, said(third, "s-1", -1)) // named, and not counted
	want(third, "s-1", 100)
	fourth := o.Run().Request
	fails(o, schema.FailNetwork, said(fourth, "s-1", 250))
	want(fourth, "s-1", 250)
	fifth := o.Run().Request
	fails(o, schema.FailNetwork, said(fifth, "s-2", -1)) // the agent took another one: nothing is known of that
	want(fifth, "s-2", -1)
	o.Fail(schema.FailNotStarted).Started = time.Time{} // no agent was started at all
	o.Settle()
	want(fifth, "s-2", -1)
	fails(o, schema.FailNotStarted, nil) // the agent was, and has forgotten it
	if s := o.AskedFor().Session; s != nil {
		t.Errorf("the request goes on with %+v, which is gone", s)
	}
}

// A run ends under the plan that it began under, so what goes on with a session is always the runner that it belongs to.
func TestASessionStaysWithItsRunner(t *testing.T) {
	o := world(t, short)
	o.Admit(controllertest.Task("a"))
	o.Settle()
	first := o.AskedFor()
	o.Freeze(map[string]string{"modes/test.cue": strings.Replace(controllertest.Base, `runner: "fake"`,
		`runner: "other", runners: other: {adapter: "codex_cli"}`, 1)})
	fails(o, schema.FailSupervisorLost, said(first.ID, "s-1", 1))
	if req := o.AskedFor(); req.Session == nil || req.Runner.Name != first.Runner.Name || req.Runner.Adapter != first.Runner.Adapter {
		t.Errorf("request is %+v, session %+v", req, req.Session)
	}
	o.Play("runner_exit") // the stage's own failure: the next one is another's to begin
	if req := o.AskedFor(); req.Session != nil {
		t.Errorf("%s goes on with %+v", req.Node, req.Session)
	}
}

// What an interrupted request had written so far is nobody's word: its successor writes it anew, and is not shown it.
func TestAnInterruptedRequestLeavesNothing(t *testing.T) {
	for class, counts := range map[string]bool{schema.FailSupervisorLost: false, schema.FailNetwork: false, schema.FailTimeout: true} {
		o := world(t, short)
		o.Admit(controllertest.Task("a"))
		o.Settle()
		file := o.Leave(o.Run(), "builder_summary.md", "half a sum")
		c := o.Fail(class)
		c.Artifacts = append(c.Artifacts, file)
		o.Settle()
		o.Now = o.Now.Add(time.Minute)
		o.Settle()
		text, m := accounts(t, o)
		withheld := slices.ContainsFunc(m.Withheld, func(f shownFile) bool { return f.Name == "builder_summary" })
		if strings.Contains(text, "half a sum") != counts || withheld == counts {
			t.Errorf("%s: withheld %v:\n%s", class, withheld, text)
		}
	}
}

// What may be done once only is not gone on with: whether it happened is not known.
func TestASingleAttemptIsBegunAnew(t *testing.T) {
	o := world(t, map[string]string{"stages/x.cue": "package millrace\n\nstages: builder: idempotence: \"single_attempt\"\n"})
	o.Admit(controllertest.Task("a"))
	o.Settle()
	fails(o, schema.FailRateLimited, said(o.Run().Request, "s-1", 1))
	if req := o.AskedFor(); req.Node != "builder" || req.Session != nil {
		t.Errorf("%s goes on with %+v", req.Node, req.Session)
	}
}
