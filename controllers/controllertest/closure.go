package controllertest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"millrace/schema"
	"millrace/workspace"
)

// Closing is a workflow whose planning judges what is done, with more lines of configuration.
func Closing(config ...string) map[string]string {
	return map[string]string{
		"modes/closing.cue": "package millrace\n\nmodes: test: graphs: planning: \"planning.standard\"\n",
		"millrace.yaml":     strings.Join(config, "\n"),
	}
}

// Finish ends items as done, as if a run had.
func (o *World) Finish(keys ...schema.Key) {
	o.TB.Helper()
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test", Why: "finish"}
		for _, k := range keys {
			m.Complete(v, v.Items[k].Clone())
		}
		return m
	})
}

// Target is the closure target of a root.
func (o *World) Target(root string) *schema.Item { return o.Seen.Items[workspace.TargetKey(root)] }

// Ready takes the closure target of a root to where its judge may begin, opening it first.
func (o *World) Ready(root string) {
	o.TB.Helper()
	if o.Target(root) == nil {
		o.Do(func(v *workspace.View) *workspace.Mutation {
			m := &workspace.Mutation{By: "test", Why: "open"}
			m.OpenTarget(v, v.Items[schema.Key{Family: schema.FamilySpec, ID: root}], map[string][]byte{
				workspace.ContractSpec: []byte("# The contract of " + root + "\n"), workspace.ContractIdea: []byte("# The idea of " + root + "\n"),
			})
			return m
		})
	}
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test", Why: "make ready"}
		m.MoveItem(v, v.Items[workspace.TargetKey(root)].Clone(), schema.StateQueue)
		return m
	})
	o.Settle()
}

// AskedFor reads the request in flight.
func (o *World) AskedFor() *schema.Request {
	o.TB.Helper()
	data, err := os.ReadFile(o.Path(o.Request(o.Run()) + "/" + schema.RequestFile))
	if err != nil {
		o.TB.Fatalf("%v", err)
	}
	req := new(schema.Request)
	if err := json.Unmarshal(data, req); err != nil {
		o.TB.Fatalf("%v", err)
	}
	return req
}

// Tree is git's digest of the project as it is now.
func (o *World) Tree() string {
	o.TB.Helper()
	digest, err := o.W.TreeDigest(o.ctx)
	if err != nil {
		o.TB.Fatalf("%v", err)
	}
	return digest
}

// Passed are records of the checks that the request in flight asks for, all of them good, on the project as it is.
func (o *World) Passed() []schema.CheckRecord {
	o.TB.Helper()
	var records []schema.CheckRecord
	tree := o.Tree()
	for i, c := range o.AskedFor().Checks {
		log := o.Leave(o.Run(), fmt.Sprintf("%s/before-%d.log", schema.ChecksFolder, i+1), "log of "+c.Name+"\n")
		records = append(records, schema.CheckRecord{Name: c.Name, Run: c.Run, Passed: true, Log: log, Tree: tree})
	}
	return records
}

// Judge completes the request of a judge with an outcome and a verdict, or whatever text stands in its place. Checks
// are what a supervisor says of those before the judge.
func (o *World) Judge(outcome, verdict string, checks []schema.CheckRecord) *schema.Completion {
	o.TB.Helper()
	r := o.Run()
	c := o.Claim(outcome, "round "+r.Request)
	c.ChecksBefore = checks
	for i, f := range c.Artifacts {
		if filepath.Ext(f.Path) == ".json" {
			c.Artifacts[i] = o.Leave(r, f.Path, verdict)
		}
	}
	o.Inspect(r, c)
	return c
}

// Rechecked completes a request that starts no agent as its supervisor would.
func (o *World) Rechecked(checks []schema.CheckRecord) *schema.Completion {
	o.TB.Helper()
	r, req := o.Run(), o.AskedFor()
	if req.Held == nil {
		o.TB.Fatalf("the request starts an agent: %+v", req)
	}
	c := o.complete(r, schema.ExitCompleted, "")
	c.Started, c.Claim, c.ChecksBefore = time.Time{}, &req.Held.Claim, checks
	for _, f := range req.Held.Files {
		data, err := os.ReadFile(o.Path(o.Request(r) + "/" + f.Path))
		if err != nil {
			o.TB.Fatalf("a file of the held claim: %v", err)
		}
		c.Artifacts = append(c.Artifacts, schema.File{Path: f.Path, Size: int64(len(data)), Digest: schema.DigestOf(data)})
	}
	o.Inspect(r, c)
	return c
}

// Verdict is a verdict of a root as a judge writes it: "pass", or "gaps" with these titles.
func Verdict(root, verdict string, gaps ...string) string {
	v := map[string]any{
		"schema_version": 1, "kind": "verdict", "created_at": "2026-11-22T08:00:00Z", "created_by": "arbiter",
		"root_spec_id": root, "verdict": verdict,
		"criteria": []any{map[string]any{"id": "c1", "text": "it is so", "result": "pass", "provenance": "fresh"}},
	}
	var all []any
	for i, g := range gaps {
		all = append(all, map[string]any{"id": fmt.Sprintf("g%d", i+1), "title": g, "summary": "what is still to do", "evidence": []any{"docs/x.md"}})
	}
	if all != nil {
		v["gaps"] = all
	}
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// Reopen is the end of one daemon, at whatever it was, and the start of the next: all that was in memory is gone.
func (o *World) Reopen() {
	o.TB.Helper()
	project := o.W.Project
	if err := o.W.Close(); err != nil {
		o.TB.Fatalf("close: %v", err)
	}
	w, err := workspace.Open(project)
	if err != nil {
		o.TB.Fatalf("open: %v", err)
	}
	o.W = w
	o.Do(func(*workspace.View) *workspace.Mutation { return nil })
}
