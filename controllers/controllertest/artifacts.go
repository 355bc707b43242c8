package controllertest

import (
	"encoding/json"
	"slices"

	"millrace/schema"
)

// Say completes the request in flight with an outcome and exactly the given files, which are held against their
// definitions as the observers do it.
func (o *World) Say(outcome string, files map[string]string) *schema.Completion {
	o.TB.Helper()
	r := o.Run()
	c := o.complete(r, schema.ExitCompleted, "")
	c.Claim = &schema.Claim{Outcome: outcome, Source: schema.StdoutFile}
	o.Write(r, c, files)
	return c
}

// Write adds files to what a request has left.
func (o *World) Write(r *schema.Run, c *schema.Completion, files map[string]string) {
	o.TB.Helper()
	seen := o.Requests[r.Request]
	if seen.Records == nil {
		seen.Records = map[string]json.RawMessage{}
	}
	definitions := map[string]string{}
	for _, a := range o.plans[r.Plan].Kind(r.Plane, r.Node).Writes {
		definitions[a.File] = a.Schema
	}
	names := []string{}
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		c.Artifacts = append(c.Artifacts, o.Leave(r, name, files[name]))
		if definitions[name] == "" {
			continue
		}
		record, diags := o.registry.Artifact(definitions[name], name, []byte(files[name]))
		seen.Invalid = append(seen.Invalid, diags...)
		if record != nil {
			seen.Records[name] = record
		}
	}
}
