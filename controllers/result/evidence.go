package result

import (
	"path"

	"millrace/schema"
	"millrace/workspace"
)

// evidence files the completion of a request that was given up as lost and reported after all: its run
// has gone on without it, so it is kept and changes nothing. It rests on not being filed yet, so that
// happens once.
func evidence(v *workspace.View) *workspace.Mutation {
	for _, r := range v.ActiveRuns() {
		for _, s := range r.Steps {
			seen := v.Requests[s.Request]
			if s.Failure != schema.FailSupervisorLost || seen == nil || seen.Completion == nil {
				continue
			}
			c, file := seen.Completion, path.Join(workspace.RequestDir(r.ID, s.Request), schema.EvidenceFile)
			m := &workspace.Mutation{By: name, Why: "keep what request " + s.Request + " reported after it was given up",
				Expect: []workspace.Input{{Path: file}}}
			m.PutJSON(file, schema.Result{
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
