package schema

import (
	"reflect"
	"testing"
)

func TestTokensSince(t *testing.T) {
	n := func(i int64) *int64 { return &i }
	var none *Tokens
	for name, tt := range map[string]struct {
		now, before *Tokens
		total       int64
		known       bool
	}{
		"unknown":                 {none, &Tokens{Input: n(5)}, 0, false},
		"from the beginning":      {&Tokens{Input: n(5), Output: n(2)}, none, 7, true},
		"from there on":           {&Tokens{Input: n(50), CachedRead: n(30), CacheWrite: n(4), Output: n(20), Reasoning: n(9)}, &Tokens{Input: n(5), CachedRead: n(10), CacheWrite: n(4), Output: n(2), Reasoning: n(1)}, 83, true},
		"a class that was not":    {&Tokens{Input: n(5), Output: n(2), CachedRead: n(1)}, &Tokens{Input: n(5), Output: n(2)}, 1, true},
		"a class that is no more": {&Tokens{Input: n(5)}, &Tokens{Input: n(1), Output: n(2)}, 4, false},
		"never less than nothing": {&Tokens{Input: n(1), Output: n(1)}, &Tokens{Input: n(5), Output: n(5)}, 0, true},
	} {
		got := tt.now.Since(tt.before)
		if got.Total() != tt.total || got.Known() != tt.known || (got == nil) != (tt.now == nil) {
			t.Errorf("%s: %+v is %d", name, got, got.Total())
		}
	}
}

func TestTokensPlus(t *testing.T) {
	n := func(i int64) *int64 { return &i }
	var none *Tokens
	some := &Tokens{Input: n(5), Output: n(2)}
	if none.Plus(none) != nil || none.Plus(some) != some || some.Plus(none) != some {
		t.Error("what is unknown counts")
	}
	got := some.Plus(&Tokens{Input: n(1), CachedRead: n(3), Reasoning: n(4)})
	want := &Tokens{Input: n(6), CachedRead: n(3), Output: n(2), Reasoning: n(4)}
	if !reflect.DeepEqual(got, want) || *some.Input != 5 {
		t.Errorf("the sum is %+v", got)
	}
}

func TestResumes(t *testing.T) {
	s := &Session{Request: "r", ID: "s"}
	lost := Step{Node: "builder", To: "builder", Failure: FailSupervisorLost, Session: s}
	for name, tt := range map[string]struct {
		run  Run
		want *Session
	}{
		"a new run":               {Run{Node: "builder"}, nil},
		"lost":                    {Run{Node: "builder", Steps: []Step{lost}}, s},
		"something came between":  {Run{Node: "builder", Steps: []Step{lost, {Node: "builder", To: "builder", Failure: FailNetwork}}}, nil},
		"it is another's turn":    {Run{Node: "checker", Steps: []Step{lost}}, nil},
		"it led somewhere":        {Run{Node: "builder", Steps: []Step{{Node: "builder", To: "fixer", Failure: FailNetwork, Session: s}}}, nil},
		"it ended well":           {Run{Node: "builder", Steps: []Step{{Node: "builder", To: "builder", Outcome: "X", Session: s}}}, nil},
		"the stage's own failure": {Run{Node: "builder", Steps: []Step{{Node: "builder", To: "builder", Failure: FailTimeout, Session: s}}}, nil},
		"no agent is started":     {Run{Node: "builder", Held: &Held{}, Steps: []Step{lost}}, nil},
	} {
		if got := tt.run.Resumes(); got != tt.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
