// Package result owns what a finished stage means: it normalises the completion, decides what follows
// under the run's own frozen plan, and commits result, effects, route, counters and trace together.
//
// A completion goes through these files: verdict.go says what the stage is held to have said, failure.go what is tried
// again and which runner waits, outbox.go what it proposed (lineage.go: where that comes from), route.go where the run
// goes, approval.go whether that was ruled before, triggers.go what is to be learned from it. late.go files what comes
// after a request was given up.
//
// What a plan may have done on the way is an effect. effects.go lists them and has what they share; artifacts.go reads
// what the stage wrote, agree.go holds its ids against the work and makes documents of it, keep.go keeps it for good. Each
// effect decides before anything is changed and applies in the commit of the result: escalate in incident.go;
// disposition, handoff and decompose in planning.go; draft in drafts.go, packet and critique in blueprint.go, promote in
// promote.go, repair in repair.go; prove and close in closure.go (held.go: the checks alone, once more), remediate in
// remedy.go; learn in learning.go.
package result

import (
	"path"
	"slices"

	"millrace/reconcile"
	"millrace/schema"
	"millrace/workspace"
)

const name = "result"

type controller struct{}

// New makes the controller.
func New() reconcile.Controller { return controller{} }

func (controller) Name() string { return name }

// Reconcile applies one completion, oldest run first; or lets an item leave whose end is wanted while no
// stage of it runs; or files a completion that nobody waits for any more.
func (controller) Reconcile(v *workspace.View) reconcile.Proposal {
	for _, r := range v.ActiveRuns() {
		it := v.Items[r.Item]
		if it == nil || it.State != schema.StateActive || it.Run != r.ID {
			continue // recovery's to repair
		}
		if r.Request == "" {
			if it.Cancel != nil {
				return reconcile.Proposal{Mutation: between(v, r, it)}
			}
			continue
		}
		if h := open(v, r, it); h != nil {
			m := h.apply()
			if len(h.asks) > 0 { // what it decided rests on files that have not been read
				return reconcile.Proposal{Observe: h.asks}
			}
			return reconcile.Proposal{Mutation: m}
		}
	}
	return reconcile.Proposal{Mutation: evidence(v)}
}

// A harvest is the application of one completion. Run and item are clones.
type harvest struct {
	*workspace.View
	m    *workspace.Mutation
	plan *schema.Plan
	kind *schema.StageKind
	run  *schema.Run
	item *schema.Item
	c    *schema.Completion
	seen *workspace.RequestSeen

	edge     *schema.Edge // that the claimed outcome takes
	step     schema.Step
	effects  []string
	admitted []admission
	brought  []schema.Key // that the outbox holds and that are items now: admitted, or there already with the same content
	declined []schema.Declined
	state    string          // that an effect takes the item to
	why      *schema.Blocked // that an effect gives as the reason of blocking
	asks     []workspace.Query

	kept      []paper           // files that are kept with the result
	blueprint *schema.Blueprint // of the item, as the result leaves it
	resume    string            // node that an effect has the run resume at, where the edge allows that
	closing                     // of a closure target
}

// open finds what a run's request has come to; nil while it has come to nothing.
func open(v *workspace.View, r *schema.Run, it *schema.Item) *harvest {
	h := &harvest{View: v, seen: v.Requests[r.Request], c: r.Salvaged}
	if h.seen != nil && h.seen.Completion != nil {
		h.c = h.seen.Completion
	}
	if h.c == nil || v.Plans == nil {
		return nil
	}
	if h.plan = v.Plans(r.Plan); h.plan == nil {
		return nil // recovery's to report
	}
	if h.kind = h.plan.Kind(r.Plane, r.Node); h.kind == nil {
		return nil
	}
	if h.seen == nil {
		h.seen = &workspace.RequestSeen{}
	}
	h.run, h.item = r.Clone(), it.Clone()
	h.m = &workspace.Mutation{By: name}
	return h
}

// apply is the one mutation that a completion becomes.
func (h *harvest) apply() *workspace.Mutation {
	h.begin()
	v := h.verdict()
	switch {
	case h.c.Exit == schema.ExitCancelled && h.item.Cancel != nil:
		h.wanted(v)
	case v.Failure != "" && schema.Scope(v.Failure) == "runner" && !h.exhausted(v.Failure):
		h.backOff(v)
	case v.Failure != "" && schema.Scope(v.Failure) == "run" && h.again():
		h.restart(v)
	default:
		h.route(v)
	}
	if v.Failure == "" {
		h.served()
	}
	return h.m
}

// begin fills in what the step says whatever is decided.
func (h *harvest) begin() {
	h.step = schema.Step{
		Request: h.run.Request, Node: h.run.Node, Stage: h.kind.ID, Tokens: h.c.Tokens, Tree: h.c.TreeAfter,
		Ended: h.c.Ended, Artifacts: map[string]schema.Digest{}, Failed: failedChecks(h.c),
	}
	if h.c.Exit != schema.ExitNotStarted && h.c.Failure != schema.FailRunnerNotFound {
		h.step.Started = h.c.Started
		moved := h.c.TreeBefore == "" || h.c.TreeBefore != h.c.TreeAfter
		h.step.Wrote = h.kind.WritesTree && moved
	}
	for _, f := range h.c.Artifacts {
		h.step.Artifacts[f.Path] = f.Digest
	}
}

// carried is the session that is left of a request which was to go on with the given one. One that came to nothing before
// its agent spoke leaves what it was given, and what an agent does not tell anew of the same session still holds. An
// agent that was there and did not begin could not go on with it: the next one starts anew.
func carried(c *schema.Completion, class string, given *schema.Session) *schema.Session {
	now := c.Session
	switch {
	case now == nil && class == schema.FailNotStarted && !c.Started.IsZero():
		return nil
	case now == nil:
		return given
	case given != nil && now.ID == given.ID && now.Tokens == nil:
		s := *now
		s.Tokens = given.Tokens
		return &s
	}
	return now
}

// failedChecks are those after the stage, else, when there were none, those before it.
func failedChecks(c *schema.Completion) []schema.CheckRecord {
	records := c.ChecksAfter
	if len(records) == 0 {
		records = c.ChecksBefore
	}
	var failed []schema.CheckRecord
	for _, r := range records {
		if !r.Passed {
			failed = append(failed, r)
		}
	}
	return failed
}

// decide completes the step and takes the request out of flight; what becomes of run and item is said
// by close or stay, which follow.
func (h *harvest) decide(v schema.Verdict, to, why string) {
	h.step.Outcome, h.step.Class, h.step.Failure = v.Outcome, v.Class, v.Failure
	h.step.Message, h.step.To, h.step.Why = v.Message, to, why
	if h.kind.RetrySafe() && v.Failure != "" && schema.Scope(v.Failure) != "stage" {
		h.step.Session = carried(h.c, v.Failure, h.run.Resumes())
	}
	h.run.Steps = append(h.run.Steps, h.step)
	h.run.Request, h.run.Salvaged = "", nil
	h.item.Last = &schema.Outcome{
		Run: h.run.ID, Request: h.step.Request, Node: h.step.Node, Outcome: v.Outcome, Class: v.Class,
		Failure: v.Failure, At: h.Now,
	}
	h.m.Why = h.step.Node + " of " + h.run.Item.String() + ": " + why
	h.file(why)
	for _, d := range h.declined {
		h.m.Tell(workspace.Event{
			Type: workspace.EvDeclined, Item: d.Item, Run: h.run.ID, Request: h.step.Request, Plane: h.run.Plane,
			Node: h.step.Node, Stage: h.step.Stage, Path: d.Path, Message: d.Why,
		})
	}
	// The result comes first: what follows from it has been told by now.
	h.m.Events = slices.Insert(h.m.Events, 0, workspace.Event{
		Type: workspace.EvFinished, Item: h.run.Item, Run: h.run.ID, Request: h.step.Request, Plane: h.run.Plane,
		Node: h.step.Node, Stage: h.step.Stage, Outcome: v.Outcome, Class: firstOf(v.Failure, v.Class), To: to,
		Message: firstOf(v.Message, why), Tokens: h.c.Tokens, Elapsed: elapsed(h.c),
	})
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func elapsed(c *schema.Completion) schema.Duration {
	if c.Started.IsZero() || c.Ended.Before(c.Started) {
		return 0
	}
	return schema.Duration(c.Ended.Sub(c.Started))
}

// file writes result.json.
func (h *harvest) file(why string) {
	s, c := h.step, h.c
	h.m.PutJSON(path.Join(workspace.RequestDir(h.run.ID, s.Request), schema.ResultFile), schema.Result{
		SchemaVersion: schema.Version, Request: s.Request, Run: h.run.ID, Item: h.run.Item, Generation: h.run.Generation,
		Plan: h.run.Plan, Plane: h.run.Plane, Node: s.Node, Stage: s.Stage, Exit: c.Exit, Outcome: s.Outcome,
		Class: s.Class, Failure: s.Failure, Message: s.Message, Claim: c.Claim, Artifacts: c.Artifacts,
		Tokens: c.Tokens, Cost: c.Cost, ChecksBefore: c.ChecksBefore, ChecksAfter: c.ChecksAfter,
		TreeBefore: c.TreeBefore, TreeAfter: c.TreeAfter, To: s.To, Why: why, Counter: s.Counter, Effects: h.effects,
		Spawned: s.Spawned, Declined: h.declined, Started: c.Started, Ended: c.Ended, Applied: h.Now,
	})
}

// stay leaves the item active: its run goes on from run.Node.
func (h *harvest) stay(state string) {
	if h.item.Cancel != nil {
		h.leave()
		return
	}
	h.run.State = state
	h.item.Updated = h.Now
	h.m.PutItem(h.item)
	h.m.PutRun(h.run)
	h.m.PutTrace(h.run)
}

// leave ends the run of an item whose end is wanted and takes the item where it is wanted.
func (h *harvest) leave() { leave(h.View, h.m, h.run, h.item) }

func leave(v *workspace.View, m *workspace.Mutation, r *schema.Run, it *schema.Item) {
	c := it.Cancel
	m.EndRun(v, r, c.To)
	m.PutTrace(r)
	if c.To == schema.StateQueue {
		m.Requeue(v, it, schema.Note{By: c.By, What: "requeued", Why: c.Why}, false)
		return
	}
	m.CancelItem(v, it, c.By, c.Why)
}

// wanted applies a completion that says: ended because you asked.
func (h *harvest) wanted(v schema.Verdict) {
	h.decide(v, h.item.Cancel.To, "ended because "+h.item.Cancel.By+" wanted it")
	h.leave()
}

// between lets an item go whose run waits for its next stage.
func between(v *workspace.View, r *schema.Run, it *schema.Item) *workspace.Mutation {
	m := &workspace.Mutation{By: name, Why: "end the run of " + it.Key().String() + " as " + it.Cancel.By + " wanted"}
	leave(v, m, r.Clone(), it.Clone())
	return m
}
