package workspace

import (
	"testing"
	"time"

	"millrace/schema"
)

// waitingView is a view of one plane with the items given, and a plan that takes tasks at node "start".
func waitingView(items ...*schema.Item) *View {
	s := NewState()
	s.Control.Plan = "sha256:p"
	p := &schema.Plan{Mode: "m", PlaneOrder: []string{"work"}, Graphs: map[string]*schema.Graph{"work": {
		Plane: "work", Claim: []string{"task"}, Entry: map[string]string{"task": "start"},
		Nodes: map[string]*schema.Node{"start": {Stage: "start", Runner: "r"}},
	}}}
	for i, it := range items {
		it.Family, it.CreatedAt = "task", time.Unix(int64(i), 0)
		s.SetItem(it)
	}
	return &View{State: s, Now: time.Unix(1000, 0), Plans: func(schema.Digest) *schema.Plan { return p }}
}

func inQueue(id string, deps ...string) *schema.Item {
	return &schema.Item{ID: id, State: schema.StateQueue, DependsOn: deps}
}

func inState(state, id string) *schema.Item { return &schema.Item{ID: id, State: state} }

func TestWaitingNamesTheTrueBlocker(t *testing.T) {
	later := time.Unix(2000, 0)
	for name, c := range map[string]struct {
		items   []*schema.Item
		change  func(*View)
		of      string
		reason  string // "": nothing is in its way
		cleared string
		stalled bool
	}{
		"first in the queue": {items: []*schema.Item{inQueue("a")}, of: "a"},
		"behind another":     {items: []*schema.Item{inQueue("a"), inQueue("b")}, of: "b", reason: WaitTurn, cleared: "its turn; a higher priority brings it forward"},
		"nobody runs it": {items: []*schema.Item{inQueue("a")}, of: "a", change: func(v *View) { v.NoDaemon = true },
			reason: WaitNoDaemon, cleared: "millrace run daemon", stalled: true},
		"paused": {items: []*schema.Item{inQueue("a")}, of: "a",
			change: func(v *View) { v.Control.Pauses = map[string]schema.Pause{PauseOperator: {Reason: "x"}} },
			reason: WaitPaused, cleared: "millrace resume --reason …", stalled: true},
		"needs what is queued": {items: []*schema.Item{inQueue("a"), inQueue("b", "a")}, of: "b", reason: WaitDependency, cleared: "a being done"},
		"needs what is done":   {items: []*schema.Item{inState(schema.StateDone, "a"), inQueue("b", "a")}, of: "b"},
		"needs what is missing": {items: []*schema.Item{inQueue("b", "a")}, of: "b",
			reason: WaitDependency, cleared: "declare a, or take it out of the dependencies of b", stalled: true},
		"needs what is blocked": {items: []*schema.Item{inState(schema.StateBlocked, "a"), inQueue("b", "a")}, of: "b",
			reason: WaitDependency, cleared: "millrace queue retry-blocked a --reason …", stalled: true},
		"needs what is held": {items: []*schema.Item{inQueue("b", "a")}, of: "b",
			change: func(v *View) { v.Hold[schema.Key{Family: "task", ID: "a"}] = true },
			reason: WaitDependency, cleared: "millrace queue admit a", stalled: true},
		"an act comes before a wait": {items: []*schema.Item{inQueue("a"), inQueue("b", "a", "gone")}, of: "b",
			reason: WaitDependency, cleared: "declare gone, or take it out of the dependencies of b", stalled: true},
		"runner waits": {items: []*schema.Item{inQueue("a")}, of: "a",
			change: func(v *View) { v.Control.Runners = map[string]schema.RunnerWait{"r": {Until: later}} },
			reason: WaitRunner, cleared: "time; or millrace control resume --runner r"},
		"runner stalled": {items: []*schema.Item{inQueue("a")}, of: "a",
			change: func(v *View) { v.Control.Runners = map[string]schema.RunnerWait{"r": {Stalled: true}} },
			reason: WaitRunner, cleared: "a change of its configuration, or millrace control resume --runner r", stalled: true},
		"lane taken": {items: []*schema.Item{inQueue("a"), inState(schema.StateActive, "b")}, of: "a",
			change: func(v *View) {
				v.SetRun(&schema.Run{ID: "run-1", Item: schema.Key{Family: "task", ID: "b"}, Plane: "work", State: schema.RunRunning, Request: "req"})
			},
			reason: WaitLane, cleared: "the end of run run-1"},
		"no plan": {items: []*schema.Item{inQueue("a")}, of: "a", change: func(v *View) { v.Control.Plan = "" }, reason: WaitPlan, cleared: "millrace run daemon freezes it"},
		"does not compile": {items: []*schema.Item{inQueue("a")}, of: "a",
			change: func(v *View) {
				v.Compiled = Compiled{Ready: true, Diags: schema.Diagnostics{{Path: "millrace.cue", Line: 3, Message: "no"}}}
			},
			reason: WaitPlan, cleared: "fix millrace.cue:3: no", stalled: true},
		"blocked": {items: []*schema.Item{inState(schema.StateBlocked, "a")}, of: "a", reason: WaitBlocked, cleared: "millrace queue retry-blocked a --reason …", stalled: true},
		"done":    {items: []*schema.Item{inState(schema.StateDone, "a")}, of: "a"},
		"unknown": {of: "a", reason: WaitUnknown, cleared: "millrace intake ls shows what is", stalled: true},
		"by hand": {items: []*schema.Item{inQueue("a")}, of: "a",
			change: func(v *View) {
				v.Hands = []Hand{{What: "copied", Key: schema.Key{Family: "task", ID: "a"}, Path: "tasks/done/a.md", Was: "tasks/queue/a.md"}}
			},
			reason: WaitHands, stalled: true,
			cleared: "remove the copy tasks/done/a.md; what is to be done besides is declared in intake/ under another id"},
	} {
		t.Run(name, func(t *testing.T) {
			v := waitingView(c.items...)
			if c.change != nil {
				c.change(v)
			}
			w := v.Waiting(schema.Key{Family: "task", ID: c.of})
			if w == nil {
				w = &schema.Waiting{}
			}
			if w.Reason != c.reason || w.ClearedBy != c.cleared || w.Stalled != c.stalled {
				t.Errorf("got %q cleared by %q (stalled %v: %s), want %q cleared by %q (stalled %v)",
					w.Reason, w.ClearedBy, w.Stalled, w.Message, c.reason, c.cleared, c.stalled)
			}
			if all := v.Obstacles(schema.Key{Family: "task", ID: c.of}); c.reason != "" && all[0] != *w && w.Until == nil {
				t.Errorf("the first obstacle is %+v, waiting says %+v", all[0], *w)
			}
		})
	}
}

func TestIdleIsWhatTheHeadOfThePlaneWaitsFor(t *testing.T) {
	v := waitingView(inQueue("b", "gone"))
	if w := v.Idle("work"); w == nil || w.Reason != WaitDependency {
		t.Errorf("got %+v", w)
	}
	v = waitingView(inState(schema.StateBlocked, "a"))
	if w := v.Idle("work"); w == nil || w.Reason != WaitNoWork || w.Message != "nothing is queued; 1 blocked" {
		t.Errorf("got %+v", w)
	}
	v = waitingView(inQueue("a"))
	if w := v.Idle("work"); w != nil {
		t.Errorf("about to be claimed, got %+v", w)
	}
	v = waitingView()
	v.NoDaemon, v.Intake = true, &Intake{}
	if w := v.Idle("work"); w == nil || w.Reason != WaitNoWork {
		t.Errorf("a daemon would find nothing to do, got %+v", w)
	}
}
