package result

import (
	"path"

	"millrace/schema"
	"millrace/workspace"
)

// evidence files the completion of a request that was given up as lost and reported after all: its run
// has gone on without it, so it is kept and decides nothing.
func evidence(v *workspace.View) *workspace.Mutation {
	for _, r := range v.ActiveRuns() {
		for i, s := range r.Steps {
			seen := v.Requests[s.Request]
			if !s.Lost() || seen == nil || seen.Completion == nil || seen.Completion.Request != s.Request {
				continue
			}
			c, run := seen.Completion, r.Clone()
			run.Steps[i].Late = true
			m := &workspace.Mutation{By: name, Why: "keep what request " + s.Request + " reported after it was given up"}
			m.PutRun(run)
			m.PutJSON(path.Join(workspace.RequestDir(r.ID, s.Request), schema.EvidenceFile), schema.Result{
				SchemaVersion: schema.Version, Request: s.Request, Run: r.ID, Item: r.Item, Generation: r.Generation,
				Plan: r.Plan, Plane: r.Plane, Node: s.Node, Stage: s.Stage, Exit: c.Exit, Failure: c.Failure, Claim: c.Claim,
				Artifacts: c.Artifacts, Tokens: c.Tokens, Cost: c.Cost, Started: c.Started, Ended: c.Ended,
				Applied: v.Now, Evidence: true,
			})
			m.Tell(workspace.Event{Type: workspace.EvEvidence, Item: r.Item, Run: r.ID, Request: s.Request, Node: s.Node, Class: c.Failure, Tokens: c.Tokens})
			return m
		}
	}
	return nil
}
