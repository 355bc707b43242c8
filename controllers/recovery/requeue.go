package recovery

import (
	"fmt"
	"time"

	"millrace/schema"
	"millrace/workspace"
)

// requeue gives work that a passing trouble blocked another try when queued work waits for it, within
// the budget and after the cooldown of auto_recovery. What it has used up stands on the item, so a
// restart changes nothing. after is when the next one is due. What waits for the work of an incident is left alone.
func requeue(v *workspace.View) (m *workspace.Mutation, after time.Duration) {
	policy := v.Config
	if policy == nil || !policy.AutoRecovery.Enabled || !policy.AutoRecovery.DependencyRetry {
		return nil, 0
	}
	var next *schema.Item
	var due time.Time
	for it := range v.Blocked() {
		if it.Raised != "" || it.Requeues >= policy.AutoRecovery.MaxRequeues || !passing(it.Blocked) || !waitedFor(v, it) {
			continue
		}
		at := it.Blocked.Since.Add(cooldown(policy.AutoRecovery.Cooldowns, it.Requeues))
		if c := at.Compare(due); next == nil || c < 0 || c == 0 && workspace.CompareKeys(it.Key(), next.Key()) < 0 {
			next, due = it, at
		}
	}
	switch {
	case next == nil:
		return nil, 0
	case due.After(v.Now):
		return nil, due.Sub(v.Now)
	}
	it := next.Clone()
	it.Requeues++
	why := fmt.Sprintf("blocked by %s while queued work waits for it, try %d of %d", it.Blocked.Class, it.Requeues, policy.AutoRecovery.MaxRequeues)
	m = &workspace.Mutation{By: name, Why: fmt.Sprintf("requeue %s: %s", it.Key(), why)}
	m.Requeue(v, it, schema.Note{By: name, What: "requeued", Why: why}, false)
	return m, 0
}

// passing reports whether the trouble may be over without anybody doing something.
func passing(b *schema.Blocked) bool {
	return b != nil && (schema.Scope(b.Class) == "runner" || b.Class == schema.FailTimeout)
}

// waitedFor reports whether queued work of the same lineage depends on the item.
func waitedFor(v *workspace.View, it *schema.Item) bool {
	for _, k := range v.Dependants(it.Key()) {
		if d := v.Items[k]; d != nil && d.State == schema.StateQueue && d.Lineage.RootSpecID == it.Lineage.RootSpecID {
			return true
		}
	}
	return false
}

// cooldown before the next requeue; the last one holds for all that follow.
func cooldown(all []schema.Duration, done int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return time.Duration(all[min(done, len(all)-1)])
}

// unbegun lets a run go that has waited for its runner from the start, when there is a newer plan: it has
// done nothing that would bind it to the old one, and the new one may have a runner that works.
func unbegun(v *workspace.View) *workspace.Mutation {
	for _, r := range v.ActiveRuns() {
		it := v.Items[r.Item]
		if it == nil || it.State != schema.StateActive || it.Run != r.ID || r.State != schema.RunParked || r.Request != "" ||
			r.Plan == v.Control.Plan || v.Compiled.Plan == nil || begun(r) {
			continue
		}
		why := "its runner never served it, and there is a newer plan"
		m := &workspace.Mutation{By: name, Why: fmt.Sprintf("requeue %s: %s", r.Item, why)}
		r, it = r.Clone(), it.Clone()
		m.EndRun(v, r, schema.StateQueue)
		m.PutTrace(r)
		m.Requeue(v, it, schema.Note{By: name, What: "requeued", Why: why}, false)
		return m
	}
	return nil
}

func begun(r *schema.Run) bool {
	for _, s := range r.Steps {
		if s.Wrote || s.Outcome != "" || schema.Scope(s.Failure) != "runner" {
			return true
		}
	}
	return false
}
