package recovery_test

import (
	"path/filepath"
	"testing"
	"time"

	"millrace/controllers/controllertest"
	"millrace/controllers/recovery"
	"millrace/schema"
	"millrace/workspace"
)

var generous = schema.RecoveryPolicy{Enabled: true, DependencyRetry: true, MaxRequeues: 3, Cooldowns: []schema.Duration{schema.Duration(time.Hour)}}

// stuck has task a blocked by a class, while b waits for it.
func stuck(t *testing.T, class, lineageA, lineageB string, change ...func(*schema.Item)) *controllertest.World {
	t.Helper()
	o := world(t)
	o.Config.AutoRecovery = generous
	o.Admit(controllertest.Task("a", lineageA) + "---\n" + controllertest.Task("b", "depends_on: [a]", lineageB))
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m, it := &workspace.Mutation{By: "test"}, v.Items[schema.Key{Family: "task", ID: "a"}].Clone()
		it.Counters = map[string]int{"fix_cycle_count": 1}
		for _, c := range change {
			c(it)
		}
		m.Block(v, it, schema.Blocked{Class: class})
		return m
	})
	return o
}

// Only what may be over by itself is tried again: the runner's failures, and a time that was too short.
func TestWhichClassesAreRetried(t *testing.T) {
	retried := map[string]bool{
		schema.FailRunnerNotFound: true, schema.FailAuth: true, schema.FailProvider: true, schema.FailRateLimited: true, schema.FailNetwork: true,
		schema.FailTimeout: true,

		schema.FailSupervisorLost: false, schema.FailNotStarted: false, schema.FailCancelled: false, schema.FailStalled: false, schema.FailExit: false,
		schema.FailMissingOutcome: false, schema.FailIllegalOutcome: false, schema.FailConflicting: false, schema.FailMissingArtifact: false,
		schema.FailInvalidArtifact: false, schema.FailOutboxConflict: false, schema.FailNoProgress: false, schema.FailHandoff: false,
		schema.ClassBlocked: false, schema.ClassEscalate: false,
	}
	for class, again := range retried {
		t.Run(class, func(t *testing.T) {
			o := stuck(t, class, "", "")
			o.Settle()
			o.Want("a", schema.StateBlocked, class)
			if waits := o.After == time.Hour; waits != again {
				t.Fatalf("it looks again in %s", o.After)
			}
			o.Now = o.Now.Add(time.Hour)
			o.Settle()
			state := schema.StateBlocked
			if again {
				state = schema.StateActive
			}
			if it := o.Want("a", state, ""); again && (it.Requeues != 1 || it.Counters["fix_cycle_count"] != 1) {
				t.Errorf("item is %+v: only an operator gives budgets back", it)
			}
		})
	}
}

func TestRetriesAreForWorkOfTheSameLineage(t *testing.T) {
	for name, c := range map[string]struct {
		a, b  string
		again bool
	}{
		"the same root": {"root_spec_id: r", "root_spec_id: r", true},
		"another root":  {"root_spec_id: r", "root_spec_id: s", false},
		"one has none":  {"root_spec_id: r", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			o := stuck(t, schema.FailTimeout, c.a, c.b)
			o.Settle()
			if waits := o.After == time.Hour; waits != c.again {
				t.Errorf("it looks again in %s", o.After)
			}
		})
	}
}

func TestRetriesEndWithTheirBudget(t *testing.T) {
	o := stuck(t, schema.FailTimeout, "", "", func(it *schema.Item) { it.Requeues = generous.MaxRequeues })
	o.Now = o.Now.Add(24 * time.Hour)
	o.Settle()
	o.Want("a", schema.StateBlocked, schema.FailTimeout)
}

// What is waited for stands on the item, so who starts anew waits no longer and no shorter.
func TestCooldownsSurviveARestart(t *testing.T) {
	o := stuck(t, schema.FailTimeout, "", "")
	o.Settle()
	o.Now = o.Now.Add(40 * time.Minute)
	if p := recovery.New().Reconcile(o.View(reopened(t, o))); p.Mutation != nil || p.After != 20*time.Minute {
		t.Fatalf("after a restart it proposes %+v", p)
	}
	o.Now = o.Now.Add(20 * time.Minute)
	if p := recovery.New().Reconcile(o.View(reopened(t, o))); p.Mutation == nil {
		t.Errorf("after a restart it proposes %+v", p)
	}
}

// reopened is the state as a program finds it that starts now.
func reopened(t *testing.T, o *controllertest.World) *workspace.State {
	t.Helper()
	w, err := workspace.Open(filepath.Dir(o.W.Dir))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	s, err := w.Load()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A task that raised an incident waits for what is planned, whatever its failure was.
func TestAnEscalatedTaskIsNotRetried(t *testing.T) {
	o := stuck(t, schema.FailTimeout, "", "", func(it *schema.Item) { it.Raised = "x" })
	o.Admit("kind: incident\nincident_id: x\ntitle: X\n")
	o.Now = o.Now.Add(24 * time.Hour)
	o.Settle()
	o.Want("a", schema.StateBlocked, schema.FailTimeout)
	if o.After != 0 {
		t.Errorf("it looks again in %s", o.After)
	}
}

// The remedy is tried once, whoever looks: that it was stands on the item.
func TestARemedyIsTriedOnceOverARestart(t *testing.T) {
	o := stuck(t, schema.ClassEscalate, "", "", func(it *schema.Item) { it.Raised = "x" })
	o.Admit("kind: incident\nincident_id: x\ntitle: X\n")
	if p := recovery.New().Reconcile(o.View(reopened(t, o))); p.Mutation != nil {
		t.Fatalf("while the incident is open it proposes %+v", p)
	}
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test"}
		m.CancelItem(v, v.Items[schema.Key{Family: schema.FamilyIncident, ID: "x"}].Clone(), "command", "no")
		return m
	})
	if p := recovery.New().Reconcile(o.View(reopened(t, o))); p.Mutation == nil {
		t.Fatal("after a restart nothing is tried")
	}
	o.Settle()
	it := o.Want("a", schema.StateActive, "")
	if it.Remedied != "x" || it.Raised != "" {
		t.Fatalf("item is %+v", it)
	}
	o.Do(func(v *workspace.View) *workspace.Mutation { // and it raises the next one, which ends as well
		m, it := &workspace.Mutation{By: "test"}, v.Items[it.Key()].Clone()
		m.EndRun(v, v.RunOf(it).Clone(), schema.StateBlocked)
		it.Raised = "x"
		m.Block(v, it, schema.Blocked{Class: schema.ClassEscalate})
		return m
	})
	if p := recovery.New().Reconcile(o.View(reopened(t, o))); p.Mutation != nil {
		t.Errorf("it is tried again: %s", p.Mutation.Why)
	}
}
