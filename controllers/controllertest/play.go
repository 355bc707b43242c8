package controllertest

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"millrace/schema"
	"millrace/workspace"
)

// Task is the declaration of a task, with more YAML lines after it.
func Task(id string, more ...string) string {
	return fmt.Sprintf("kind: task\ntask_id: %s\ntitle: Do %s\nacceptance: [it is done]\n%s\n", id, id, strings.Join(more, "\n"))
}

// Spec is the declaration of a spec, with more YAML lines after it. It is a root: it descends from nothing.
func Spec(id string, more ...string) string {
	return fmt.Sprintf("kind: spec\nspec_id: %s\ntitle: All of %s\ngoals: [it is so]\nacceptance: [it is seen]\n%s\n", id, id, strings.Join(more, "\n"))
}

// Admit admits the documents of a YAML declaration, oldest first.
func (o *World) Admit(yaml string) {
	o.TB.Helper()
	p := o.registry.Parse("intake/x.yaml", []byte(yaml))
	if len(p.Docs) == 0 || p.Diags.HasErrors() {
		o.TB.Fatalf("declare: %v", p.Diags)
	}
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test", Why: "admit"}
		for _, d := range p.Docs {
			it, data, err := v.NewItem(o.registry.Admit(d.Doc, "operator", o.Now), "declaration")
			if err != nil {
				o.TB.Fatalf("%v", err)
			}
			m.AdmitItem(it, data)
		}
		return m
	})
}

// Parse reads documents as an outbox would hold them.
func (o *World) Parse(name, text string) workspace.OutboxFile {
	p := o.registry.Parse("tasks/"+name, []byte(text))
	f := workspace.OutboxFile{Path: name, Diags: p.Diags}
	for _, d := range p.Docs {
		f.Docs = append(f.Docs, d.Doc)
	}
	return f
}

// Task finds a task's item.
func (o *World) Task(id string) *schema.Item { return o.Seen.Items[schema.Key{Family: "task", ID: id}] }

// Item finds any item.
func (o *World) Item(family, id string) *schema.Item {
	return o.Seen.Items[schema.Key{Family: family, ID: id}]
}

// RunIn is the only run of a plane that has not ended, or nil.
func (o *World) RunIn(plane string) *schema.Run {
	o.TB.Helper()
	var found *schema.Run
	for _, r := range o.Seen.ActiveRuns() {
		if r.Plane == plane {
			if found != nil {
				o.TB.Fatalf("more than one run in %s", plane)
			}
			found = r
		}
	}
	return found
}

// Run is the only run that has not ended, or nil.
func (o *World) Run() *schema.Run {
	o.TB.Helper()
	runs := o.Seen.ActiveRuns()
	if len(runs) > 1 {
		o.TB.Fatalf("%d runs", len(runs))
	}
	if len(runs) == 0 {
		return nil
	}
	return runs[0]
}

// Request reads the request in flight of a run.
func (o *World) Request(r *schema.Run) string { return workspace.RequestDir(r.ID, r.Request) }

// Claim completes the request in flight with an outcome and all the files that it needs, each holding
// the text.
func (o *World) Claim(outcome, text string) *schema.Completion {
	o.TB.Helper()
	return o.claim(o.Run(), outcome, text)
}

func (o *World) claim(r *schema.Run, outcome, text string) *schema.Completion {
	o.TB.Helper()
	c := o.complete(r, schema.ExitCompleted, "")
	c.Claim = &schema.Claim{Outcome: outcome, Source: schema.StdoutFile}
	for _, a := range o.plans[r.Plan].Kind(r.Plane, r.Node).Writes {
		if file := a.File; a.NeededFor(outcome) {
			if strings.HasSuffix(file, "/") {
				file += "SKILL.md"
			}
			c.Artifacts = append(c.Artifacts, o.Leave(r, file, a.Name+": "+text+"\n"))
		}
	}
	return c
}

// exits are the exit kinds that are not "failed", by failure class.
var exits = map[string]string{
	schema.FailTimeout: schema.ExitTimeout, schema.FailStalled: schema.ExitStalled, schema.FailCancelled: schema.ExitCancelled,
	schema.FailNotStarted: schema.ExitNotStarted, schema.FailRunnerNotFound: schema.ExitNotStarted,
}

// Fail completes the request in flight with a failure.
func (o *World) Fail(class string) *schema.Completion {
	o.TB.Helper()
	return o.fail(o.Run(), class)
}

func (o *World) fail(r *schema.Run, class string) *schema.Completion {
	o.TB.Helper()
	return o.complete(r, cmp.Or(exits[class], schema.ExitFailed), class)
}

// CompleteRun completes a run's request with an outcome (in capitals) or a failure class.
func (o *World) CompleteRun(r *schema.Run, end string) {
	o.TB.Helper()
	if strings.ToUpper(end) == end {
		o.claim(r, end, r.Request)
		return
	}
	o.fail(r, end)
}

// Complete gives the request in flight a completion, which may be changed until the next step.
func (o *World) Complete(exit, class string) *schema.Completion {
	o.TB.Helper()
	return o.complete(o.Run(), exit, class)
}

func (o *World) complete(r *schema.Run, exit, class string) *schema.Completion {
	o.TB.Helper()
	if r == nil || r.Request == "" {
		o.TB.Fatalf("no request is in flight")
	}
	c := &schema.Completion{
		SchemaVersion: schema.Version, Request: r.Request, Run: r.ID, Exit: exit, Failure: class,
		Started: o.Now, Ended: o.Now.Add(time.Minute),
	}
	o.Now = o.Now.Add(time.Minute)
	o.Requests[r.Request] = &workspace.RequestSeen{Started: true, Completion: c}
	return c
}

// Leave writes a file into the request folder.
func (o *World) Leave(r *schema.Run, name, text string) schema.File {
	o.TB.Helper()
	file := o.Path(o.Request(r) + "/" + name)
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		o.TB.Fatalf("%v", err)
	}
	if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
		o.TB.Fatalf("%v", err)
	}
	return schema.File{Path: name, Size: int64(len(text)), Digest: schema.DigestOf([]byte(text))}
}

// Play settles, then completes one stage after the other with the given outcomes or failure classes,
// settling after each. It returns the nodes where each of them was met.
func (o *World) Play(ends ...string) []string {
	o.TB.Helper()
	o.Settle()
	var nodes []string
	for i, end := range ends {
		r := o.Run()
		if r == nil {
			o.TB.Fatalf("no run is left for %s; it went %v", end, nodes)
		}
		nodes = append(nodes, r.Node)
		if strings.ToUpper(end) == end {
			o.Claim(end, fmt.Sprintf("round %d", i))
		} else {
			o.Fail(end)
		}
		o.Settle()
	}
	return nodes
}

// Want is what a test expects of an item.
func (o *World) Want(id, state, class string) *schema.Item {
	o.TB.Helper()
	it := o.Task(id)
	if it == nil || it.State != state {
		o.TB.Fatalf("%s is %+v, want it %s", id, it, state)
	}
	if class != "" && (it.Blocked == nil || it.Blocked.Class != class) {
		o.TB.Fatalf("%s is blocked by %+v, want %s", id, it.Blocked, class)
	}
	return it
}

// Told lists the types of the events since the last call.
func (o *World) Told() []string {
	var types []string
	for _, e := range o.Events {
		types = append(types, e.Type)
	}
	o.Events = nil
	return types
}

// Saw reports whether an event of the type was committed since the last call of Told.
func (o *World) Saw(typ string) bool {
	return slices.ContainsFunc(o.Events, func(e workspace.Event) bool { return e.Type == typ })
}
