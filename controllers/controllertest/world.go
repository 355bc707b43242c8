// Package controllertest owns a world for tests of controllers: a real workspace on disk, a real plan
// compiled from the embedded assets, and views made of both. Only time and ids are fakes. After every
// commit it checks the invariants, and every decision is taken twice to show that it is a pure function
// of the view.
package controllertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"millrace/assets"
	"millrace/reconcile"
	"millrace/schema"
	"millrace/schema/compile"
	"millrace/schema/document"
	"millrace/workspace"
)

// TB is what the world needs of a test; *rapid.T has it as well.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// A World is one workspace under test.
type World struct {
	TB          TB
	W           *workspace.Workspace
	Controllers []reconcile.Controller
	Now         time.Time
	Plan        *schema.Plan
	Config      *schema.Config
	Requests    map[string]*workspace.RequestSeen
	Hands       []workspace.Hand
	Intake      *workspace.Intake
	Broken      bool             // the plan's inputs do not compile now
	Seen        *workspace.State // after the last commit or look
	Events      []workspace.Event
	After       time.Duration // the earliest that the last fixpoint asked for

	digest   schema.Digest
	plans    map[schema.Digest]*schema.Plan
	registry *document.Registry
	asked    map[workspace.Query]workspace.Answer
	ids      int
	ctx      context.Context
}

// Base is a mode file for tests: the standard execution graph on a command runner.
const Base = `package millrace

modes: test: {
	graphs: execution: "execution.standard"
	runner: "fake"
	runners: fake: {adapter: "command", run: ["true"]}
}
`

// Planned is a mode file in place of Base, at modes/test.cue: all planes, with the shipped graphs.
const Planned = `package millrace

modes: test: {
	graphs: {execution: "execution.standard", planning: "planning.standard", learning: "learning.standard"}
	runner: "fake"
	runners: fake: {adapter: "command", run: ["true"]}
}
`

// Judged is a mode file in place of Base, at modes/test.cue: execution is one stage, and planning has one stage for
// specs and incidents and one for closure targets, whose outcomes do what they say without looking at evidence.
const Judged = `package millrace

graphs: "planning.judged": {
	plane: "planning"
	entry: {incident: "manager", spec: "manager", closure_target: "arbiter"}
	claim: ["incident", "spec", "closure_target"]
	nodes: {
		manager: on: {MANAGER_COMPLETE: "planned", BLOCKED: "blocked"}
		arbiter: on: {ARBITER_COMPLETE: "judged", REMEDIATION_NEEDED: "again", BLOCKED: "blocked"}
	}
	ends: {
		planned: {class: "success", state: "done"}
		judged: {class: "success", state: "done"}
		again: {class: "followup_needed", state: "open", effects: []}
		blocked: {class: "blocked", state: "blocked"}
	}
}

graphs: "execution.one": {
	plane: "execution"
	entry: task: "builder"
	nodes: builder: on: {BUILDER_COMPLETE: "built", BLOCKED: "blocked"}
	ends: {
		built: {class: "success", state: "done"}
		blocked: {class: "blocked", state: "blocked"}
	}
}

modes: test: {
	graphs: {execution: "execution.one", planning: "planning.judged", learning: "learning.standard"}
	runner: "fake"
	runners: fake: {adapter: "command", run: ["true"]}
}
`

// New makes a world in a folder, with workflow files on top of the embedded ones; Mode "test" is
// current.
func New(tb TB, dir string, files map[string]string, controllers ...reconcile.Controller) *World {
	tb.Helper()
	w, _, err := workspace.Create(dir)
	if err != nil {
		tb.Fatalf("create workspace: %v", err)
	}
	o := &World{
		TB: tb, W: w, Controllers: controllers, Now: time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC),
		Requests: map[string]*workspace.RequestSeen{}, plans: map[schema.Digest]*schema.Plan{},
		asked: map[workspace.Query]workspace.Answer{}, ctx: context.Background(),
	}
	o.Freeze(files)
	return o
}

// Freeze compiles the embedded assets, Base and files, and makes the result the current plan.
func (o *World) Freeze(files map[string]string) {
	o.TB.Helper()
	r := frozen(o.TB, files)
	config := *r.Config
	o.registry, o.Plan, o.digest, o.Config = r.registry, r.Plan, r.Digest, &config
	o.plans[r.Digest] = r.Plan
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test", Why: "freeze"}
		m.PutFile(workspace.PlanPath(r.Digest), workspace.Projection, r.Bytes)
		c := v.Control.Clone()
		c.SchemaVersion, c.Plan, c.Mode = schema.Version, r.Digest, r.Plan.Mode
		m.PutControl(c)
		return m
	})
}

// A made is what workflow files compile to, kept because many worlds have the same ones.
type made struct {
	compile.Result
	registry *document.Registry
}

var mades sync.Map // text of the files → made

func frozen(tb TB, files map[string]string) made {
	tb.Helper()
	key := encode(tb, files)
	if m, ok := mades.Load(key); ok {
		return m.(made)
	}
	all := assets.Files()
	all["modes/test.cue"] = []byte(Base)
	for name, text := range files {
		all[name] = []byte(text)
	}
	r := compile.Compile(compile.Source{Mode: "test", Files: all})
	if r.Plan == nil {
		tb.Fatalf("compile: %v", r.Diags)
	}
	registry, err := document.NewRegistry(r.Plan.Families)
	if err != nil {
		tb.Fatalf("make registry: %v", err)
	}
	m := made{r, registry}
	mades.Store(key, m)
	return m
}

// Digest of the current plan.
func (o *World) Digest() schema.Digest { return o.digest }

// Forget makes a plan unknown, as if its archive had been lost.
func (o *World) Forget(d schema.Digest) { delete(o.plans, d) }

// View is what a controller is shown of a state.
func (o *World) View(s *workspace.State) *workspace.View {
	v := &workspace.View{
		State: s, Now: o.Now, Daemon: "test", Config: o.Config, Intake: o.Intake, Registry: o.registry,
		Requests: o.Requests, Hands: o.Hands, Asked: o.asked,
		NewID: func(prefix string) string {
			o.ids++
			return fmt.Sprintf("%s-%04d", prefix, o.ids)
		},
		Plans: func(d schema.Digest) *schema.Plan { return o.plans[d] },
	}
	v.Compiled = workspace.Compiled{Ready: true}
	if !o.Broken {
		v.Compiled.Plan, v.Compiled.Digest = o.Plan, o.digest
	}
	return v
}

// Do commits a mutation.
func (o *World) Do(change func(v *workspace.View) *workspace.Mutation) {
	o.TB.Helper()
	o.commit(func(v *workspace.View) (*workspace.Mutation, error) { return change(v), nil })
}

func (o *World) commit(decide func(v *workspace.View) (*workspace.Mutation, error)) *workspace.Record {
	o.TB.Helper()
	transact := func() (*workspace.Record, error) {
		return o.W.Transact(o.ctx, func(s *workspace.State) (*workspace.Mutation, error) {
			o.Seen = s // brought up to date by the commit; nobody else commits here
			return decide(o.View(s))
		})
	}
	rec, err := transact()
	if errors.Is(err, workspace.ErrMoved) { // what was asked has changed since: the loop looks again
		clear(o.asked)
		rec, err = transact()
	}
	if err != nil {
		o.TB.Fatalf("commit: %v", err)
	}
	if rec != nil {
		o.Events = append(o.Events, rec.Events...)
		if rec.By != "test" {
			o.lawful()
		}
	}
	return rec
}

func (o *World) lawful() {
	o.TB.Helper()
	if found := o.Seen.Invariants(); len(found) > 0 {
		o.TB.Fatalf("broken law: %+v", found)
	}
	for _, it := range o.Seen.Items {
		if d, err := o.W.Digest(it.Path); err != nil || d != it.Document {
			o.TB.Fatalf("document of %s at %s is %q, not %q (%v)", it.Key(), it.Path, d, it.Document, err)
		}
	}
	running := map[string]int{}
	for _, l := range o.Seen.Lanes() {
		running[l.Plane]++
	}
	for plane, n := range running {
		if n > max(1, o.Plan.Lanes[plane]) {
			o.TB.Fatalf("%d runs in the lanes of %s", n, plane)
		}
	}
}

// Step lets the controllers decide once and commits that; nil when all are settled.
func (o *World) Step() *workspace.Record {
	o.TB.Helper()
	for range 10 {
		var asks []workspace.Query
		rec := o.commit(func(v *workspace.View) (*workspace.Mutation, error) {
			o.After = 0
			for _, c := range o.Controllers {
				p := o.twice(c, v)
				if p.Mutation != nil {
					return p.Mutation, nil
				}
				if p.After > 0 && (o.After == 0 || p.After < o.After) {
					o.After = p.After
				}
				asks = append(asks, p.Observe...)
			}
			return nil, nil
		})
		if rec != nil || len(asks) == 0 {
			return rec
		}
		for _, q := range asks {
			o.asked[q] = o.W.Answer(o.ctx, q)
		}
	}
	o.TB.Fatalf("the controllers never stop asking")
	return nil
}

// twice takes a decision two times on the same view.
func (o *World) twice(c reconcile.Controller, v *workspace.View) reconcile.Proposal {
	o.TB.Helper()
	before, ids := o.shown(v), o.ids
	first := c.Reconcile(v)
	end := o.ids
	o.ids = ids
	second := c.Reconcile(v)
	if a, b := encode(o.TB, first), encode(o.TB, second); a != b || o.ids != end {
		o.TB.Fatalf("%s is not pure:\n%s\n%s", c.Name(), a, b)
	}
	if o.shown(v) != before {
		o.TB.Fatalf("%s changed the view", c.Name())
	}
	return first
}

func (o *World) shown(v *workspace.View) string {
	items := []any{}
	for _, k := range slices.SortedFunc(maps.Keys(v.Items), workspace.CompareKeys) {
		items = append(items, v.Items[k])
	}
	return encode(o.TB, []any{items, v.ActiveRuns(), v.Control, v.Requests})
}

func encode(tb TB, v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		tb.Fatalf("encode: %v", err)
	}
	return string(data)
}

// Settle steps to the fixpoint and returns the reasons of what was committed.
func (o *World) Settle() []string {
	o.TB.Helper()
	o.asked = map[workspace.Query]workspace.Answer{}
	var whys []string
	for rec := o.Step(); rec != nil; rec = o.Step() {
		whys = append(whys, rec.By+": "+rec.Why)
		if len(whys) > 50 {
			o.TB.Fatalf("no fixpoint: %q", whys[40:])
		}
	}
	return whys
}

// Path of a workspace file on disk.
func (o *World) Path(rel string) string {
	return filepath.Join(o.W.Dir, filepath.FromSlash(rel))
}

// T makes a world for a plain test, in its own folder.
func T(t *testing.T, files map[string]string, controllers ...reconcile.Controller) *World {
	t.Helper()
	o := New(t, t.TempDir(), files, controllers...)
	o.ctx = t.Context()
	t.Cleanup(func() { _ = o.W.Close() })
	return o
}
