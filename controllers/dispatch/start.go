package dispatch

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"millrace/schema"
	"millrace/workspace"
)

// A stage is a candidate to be started.
type stage struct {
	plan  *schema.Plan
	run   *schema.Run  // a clone, or a new one that has no id yet
	item  *schema.Item // as the view has it
	claim bool         // the run's first

	document workspace.Answer // of the item, canonical
	work     *material        // what is shown of it
	shown    []*material      // what the prompt shows or names of earlier stages
	aside    []*material      // what it does not even name
	past     []entry          // history of the lineage
	own      []entry          // of the item itself, beside that

	kin     *kin              // of any other item: what is around it
	closing *lineage          // of a closure target: what its judge is shown
	held    []schema.File     // files of a held claim that are laid out
	data    map[string][]byte // their bytes, by path
}

// start is the one mutation "stage started": the claim, the request and all that the agent will be
// shown are on record before anything is paid.
func (s *stage) start(v *workspace.View) *workspace.Mutation {
	m := &workspace.Mutation{By: "dispatch", Expect: []workspace.Input{{Path: s.item.Path, Digest: s.item.Document}}}
	r, it := s.run, s.item
	if s.claim {
		r.ID = v.NewID("run")
	}
	r.Request, r.State = v.NewID("req"), schema.RunRunning
	if s.claim {
		it = it.Clone()
		it.Run, it.Observed, it.Attempts = r.ID, it.Generation, it.Attempts+1
		m.MoveItem(v, it, schema.StateActive)
		m.PutTrace(r)
	}
	if s.work != nil {
		s.work.Path = it.Path
	}
	req := s.request(v)
	m.PutRun(r)
	dir := workspace.RequestDir(r.ID, r.Request)
	m.PutJSON(path.Join(dir, schema.RequestFile), req)
	if r.Held != nil {
		s.layOut(m, dir)
	} else {
		s.show(v, m, dir, req)
	}
	m.Why = fmt.Sprintf("start %s of %s", r.Node, r.Item)
	m.Tell(workspace.Event{
		Type: workspace.EvStarted, Item: r.Item, Run: r.ID, Request: r.Request, Plane: r.Plane, Node: r.Node,
		Stage: req.Stage, To: schema.StateActive, Message: runsOn(req),
	})
	return m
}

// show writes what the agent reads.
func (s *stage) show(v *workspace.View, m *workspace.Mutation, dir string, req *schema.Request) {
	if s.closing != nil {
		s.closing.write(m, path.Join(dir, schema.EvidenceWindow))
	}
	skills := s.skills()
	s.past, s.own = s.recall(v)
	p := s.prompt(req, skills)
	m.PutFile(path.Join(dir, schema.PromptFile), "", []byte(p.String()))
	m.PutJSON(path.Join(dir, schema.ContextFile), s.manifest(req, p, skills))
	for _, file := range skills {
		m.PutFile(path.Join(dir, file), "", []byte(s.plan.Assets[file]))
	}
}

func runsOn(req *schema.Request) string {
	if req.Held != nil {
		return "only the checks, for what request " + req.Held.Request + " claimed"
	}
	return strings.TrimSpace("on " + req.Runner.Name + " " + req.Model)
}

// request says all that a supervisor needs to know; nothing of it is looked up later.
func (s *stage) request(v *workspace.View) *schema.Request {
	r, n, kind := s.run, s.plan.Node(s.run.Plane, s.run.Node), s.plan.Kind(s.run.Plane, s.run.Node)
	req := &schema.Request{
		SchemaVersion: schema.Version, ID: r.Request, Run: r.ID, Attempt: len(r.Steps) + 1,
		Plane: r.Plane, Node: r.Node, Stage: kind.ID, Item: r.Item, Generation: r.Generation, Plan: r.Plan,
		Outcomes: outcomes(kind), Model: n.Model, Thinking: n.Thinking, Permission: n.Permission,
		Timeout: n.Timeout, Stall: n.Stall, MaxTurns: n.MaxTurns, Artifacts: kind.Writes,
		Checks: checks(v, s.plan, s.item), Tree: kind.WritesTree, Held: r.Held, Created: v.Now,
	}
	if runner := s.plan.Runners[n.Runner]; runner != nil {
		req.Runner = *runner
		req.Permission = cmp.Or(req.Permission, runner.Permission)
	}
	req.Runner.Name = n.Runner
	req.Session = r.Resumes()
	if len(req.Checks) > 0 {
		req.ChecksBefore = kind.Checks == "before" || r.Held != nil
		req.ChecksAfter = s.plan.ChecksAfter(r.Plane, r.Node)
	}
	return req
}

// outcomes are the legal ones of a kind, sorted.
func outcomes(kind *schema.StageKind) []string {
	all := sortedKeys(kind.Outcomes)
	if _, ok := kind.Outcomes[schema.OutcomeBlocked]; !ok {
		all = append(all, schema.OutcomeBlocked)
		slices.Sort(all)
	}
	return all
}

// defaultCheckTimeout is used when neither check, configuration nor plan says how long.
const defaultCheckTimeout = schema.Duration(10 * time.Minute)

// checks are the item's, or of a closure target those of its whole lineage, each with the timeout that holds for it.
func checks(v *workspace.View, p *schema.Plan, it *schema.Item) []schema.Check {
	timeout := cmp.Or(p.Checks.Timeout, defaultCheckTimeout)
	if v.Config != nil && v.Config.Checks.Timeout > 0 {
		timeout = v.Config.Checks.Timeout
	}
	all := slices.Clone(it.Checks)
	if it.Family == schema.FamilyTarget {
		all = v.LineageChecks(it.ID)
	}
	for i := range all {
		all[i].Timeout = cmp.Or(all[i].Timeout, timeout)
	}
	return all
}

// skills lists the files of the node's skills, the kind's own first, by their paths in the plan: they
// are laid out under the same paths in the request folder.
func (s *stage) skills() []string {
	n, kind := s.plan.Node(s.run.Plane, s.run.Node), s.plan.Kind(s.run.Plane, s.run.Node)
	var files []string
	for _, skill := range append([]string{kind.Skill}, n.Skills...) {
		if skill == "" {
			continue
		}
		dir := strings.TrimSuffix(skill, "/")
		if path.Ext(dir) != "" {
			dir = path.Dir(dir)
		}
		for _, asset := range sortedKeys(s.plan.Assets) {
			if strings.HasPrefix(asset, dir+"/") && !slices.Contains(files, asset) {
				files = append(files, asset)
			}
		}
	}
	return files
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// boolOrder puts what is true first.
func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
