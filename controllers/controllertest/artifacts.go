package controllertest

import (
	"encoding/json"
	"maps"
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
	for _, name := range slices.Sorted(maps.Keys(files)) {
		c.Artifacts = append(c.Artifacts, o.Leave(r, name, files[name]))
	}
	o.Inspect(r, c)
}

// Inspect shows what a completion's artifacts say, as the observers do.
func (o *World) Inspect(r *schema.Run, c *schema.Completion) {
	o.TB.Helper()
	seen := o.Requests[r.Request]
	seen.Records, seen.Invalid = map[string]json.RawMessage{}, nil
	definitions := map[string]string{}
	for _, a := range o.plans[r.Plan].Kind(r.Plane, r.Node).Writes {
		definitions[a.File] = a.Schema
	}
	for _, f := range c.Artifacts {
		definition := definitions[f.Path]
		if definition == "" {
			continue
		}
		data, err := o.W.ReadFile(o.Request(r)+"/"+f.Path, schema.MaxFile)
		if err != nil {
			seen.Invalid = append(seen.Invalid, schema.Diagnostic{Path: f.Path, Message: err.Error()})
			continue
		}
		record, diags := o.registry.Artifact(definition, f.Path, data)
		seen.Invalid = append(seen.Invalid, diags...)
		if record != nil {
			seen.Records[f.Path] = record
		}
	}
}
