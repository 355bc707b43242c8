package simulate_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/controllers/closure"
	"millrace/controllers/controllertest"
	"millrace/controllers/dispatch"
	"millrace/controllers/recovery"
	"millrace/controllers/result"
	"millrace/schema"
	"millrace/workspace"
)

// What the agents of these plays propose at most, of one item: how much work there is, is theirs to say; how often it is
// tried is not.
const (
	childSpecs = 2 // by a spec that is no child itself, or by an incident
	childTasks = 2
)

// rechecks are how often the checks of one judgement run again, at most.
const rechecks = 2

// A rootBound is how many results a root can come to.
type rootBound struct {
	t    *testing.T
	plan *schema.Plan
}

// most are the results of one run of a family's items.
func (r rootBound) most(family string) int {
	plane := r.plan.Families[family].Plane
	b := boundOf(r.plan, plane, family)
	b.weigh = requests(r.plan, plane)
	n, bounded := b.at(r.plan.Graphs[plane].Entry[family])
	if !bounded {
		r.t.Fatalf("%s has no bound", family)
	}
	return n
}

// of is the bound for so many items. A task may run again by itself: because others wait for it, and once because
// planning found nothing. A verdict raises an incident or is the last, unless work has ended since.
func (r rootBound) of(specs, incidents, tasks int) int {
	again := 1 + r.plan.Recovery.MaxRequeues + 1
	verdicts := 1 + incidents + specs + incidents + tasks
	checked := 1 + rechecks*(1+schema.MaxRestarts)
	return specs*r.most("spec") + incidents*r.most("incident") + tasks*again*r.most("task") + verdicts*checked*r.most("closure_target")
}

// ever is the bound for every item that the budget of incidents leaves room for.
func (r rootBound) ever() int {
	specs := 1 + (1+r.plan.IncidentLimit)*childSpecs
	return r.of(specs, r.plan.IncidentLimit, (specs+r.plan.IncidentLimit)*childTasks)
}

// TestEveryRootEnds: whatever the stages of its lineage come to, a root is closed, or waits for its operator, within
// what the budgets give.
func TestEveryRootEnds(t *testing.T) {
	ended := map[string]int{}
	for seed := range 12 {
		o := rooted(t)
		a := &agents{World: o, t: t, chance: rand.New(rand.NewPCG(uint64(seed), 1)), bad: []int{4, 8, 20}[seed%3]}
		n := a.play(rootBound{t, o.Plan}.ever())
		end := o.Target("root").State
		if end != schema.StateDone && !waits(o) {
			t.Errorf("seed %d: ended after %d results, the target is %s, and nothing waits for the operator", seed, n, end)
		}
		items := map[string]int{}
		for k := range o.Seen.Items {
			items[k.Family]++
		}
		if most := (rootBound{t, o.Plan}).of(items["spec"], items["incident"], items["task"]); n > most || items["incident"] > o.Plan.IncidentLimit {
			t.Errorf("seed %d: %d results of %v, and the budgets give %d", seed, n, items, most)
		}
		ended[end]++
	}
	if ended[schema.StateDone] == 0 || ended[schema.StateDone] == 12 {
		t.Errorf("roots ended in one way only: %v", ended)
	}
}

// TestRootWithGapsForEverStalls: a judge who is never content has the root planned again as often as its budget of
// incidents says; then it stalls.
func TestRootWithGapsForEverStalls(t *testing.T) {
	o := rooted(t)
	a := &agents{World: o, t: t, chance: rand.New(rand.NewPCG(1, 1)), bad: 1 << 20, gaps: true}
	a.play(rootBound{t, o.Plan}.ever())
	it := o.Target("root")
	n := 0
	for k := range o.Seen.Items {
		if k.Family == schema.FamilyIncident {
			n++
		}
	}
	if it.State != schema.StateBlocked || n != o.Plan.IncidentLimit || it.Closure.Verdicts != n+1 || !waits(o) {
		t.Errorf("%d incidents, the target is %s after %d verdicts: %+v", n, it.State, it.Closure.Verdicts, it.Blocked)
	}
}

// rooted is a world whose one root has been dropped.
func rooted(t *testing.T) *controllertest.World {
	t.Helper()
	o := controllertest.T(t, controllertest.Closing(), result.New(), recovery.New(), closure.New(), dispatch.New())
	if out, err := exec.Command("git", "-C", o.W.Project, "init", "-q").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	o.Admit(controllertest.Spec("root"))
	return o
}

// waits reports whether something is stalled until somebody acts.
func waits(o *controllertest.World) bool {
	v := o.View(o.Seen)
	for k, it := range o.Seen.Items {
		if schema.Ended(it.State) {
			continue
		}
		if w := v.Waiting(k); w != nil && w.Stalled {
			return true
		}
	}
	return false
}

// agents do the stages of a world, well enough to be taken and not always well.
type agents struct {
	*controllertest.World
	t      *testing.T
	chance *rand.Rand
	bad    int  // one in so many ends badly
	gaps   bool // the judge is never content
	made   int
}

// settle goes on until nothing happens by itself, waiting for what comes with time.
func (a *agents) settle() {
	a.Settle()
	for a.Run() == nil && a.After > 0 {
		a.Now = a.Now.Add(a.After + time.Second)
		a.Settle()
	}
}

// play goes on until nothing happens any more, and counts the results; more than most are a failure.
func (a *agents) play(most int) (n int) {
	for a.settle(); a.Run() != nil; a.settle() {
		if n++; n > most {
			a.t.Fatalf("no end after %d results", most)
		}
		a.act()
	}
	return n
}

func (a *agents) act() {
	r := a.Run()
	kind := a.Plan.Kind(r.Plane, r.Node)
	if r.Request == "" {
		a.t.Fatalf("run %s stands at %s without a request", r.ID, r.Node)
	}
	if a.AskedFor().Held != nil {
		a.Rechecked(a.Passed())
		return
	}
	if a.chance.IntN(3*a.bad) == 0 {
		classes := slices.DeleteFunc(slices.Clone(stageFailures), func(c string) bool { return c == schema.FailCancelled })
		a.Fail(classes[a.chance.IntN(len(classes))])
		return
	}
	outcome := ""
	for o := range kind.Outcomes {
		if o != schema.OutcomeBlocked && (outcome == "" || strings.Contains(outcome, "NEED") || o < outcome && !strings.Contains(o, "NEED")) {
			outcome = o // the one that says all is well
		}
	}
	if a.chance.IntN(a.bad) == 0 {
		all := slices.Sorted(maps.Keys(kind.Outcomes))
		outcome = all[a.chance.IntN(len(all))]
	}
	if a.gaps && a.judges(kind) {
		outcome = "REMEDIATION_NEEDED"
	}
	a.made++
	c := a.Claim(outcome, fmt.Sprint(a.made))
	a.write(r, kind, c, outcome)
	if a.judges(kind) {
		if c.ChecksBefore = a.Passed(); len(c.ChecksBefore) > 0 && a.chance.IntN(a.bad) == 0 {
			c.ChecksBefore[0].Passed = false
		}
	}
	for _, check := range a.Seen.Items[r.Item].Checks {
		c.ChecksAfter = append(c.ChecksAfter, schema.CheckRecord{Name: check.Name, Run: check.Run, Passed: a.chance.IntN(a.bad) != 0})
	}
	a.Inspect(r, c)
	if outcome == schema.OutcomeBlocked {
		return
	}
	seen := a.Requests[r.Request]
	for _, text := range a.proposes(r, kind, seen) {
		seen.Outbox = append(seen.Outbox, a.Parse(fmt.Sprintf("%d.yaml", len(seen.Outbox)), text))
	}
}

func (a *agents) judges(kind *schema.StageKind) bool {
	return slices.ContainsFunc(kind.Writes, func(w schema.Artifact) bool { return w.Schema == "#Verdict" })
}

// write leaves the artifacts that have a definition.
func (a *agents) write(r *schema.Run, kind *schema.StageKind, c *schema.Completion, outcome string) {
	head := map[string]any{"schema_version": 1, "created_at": a.Now.Format(time.RFC3339), "created_by": kind.ID}
	for i, f := range c.Artifacts {
		w := kind.Writes[slices.IndexFunc(kind.Writes, func(w schema.Artifact) bool { return w.File == f.Path })]
		switch w.Schema {
		case "#Verdict":
			text := controllertest.Verdict("root", schema.VerdictPass)
			if outcome != "ARBITER_COMPLETE" {
				text = controllertest.Verdict("root", schema.VerdictGaps, "something is missing")
			}
			c.Artifacts[i] = a.Leave(r, f.Path, text)
		case "#PlannerDisposition":
			head["kind"], head["source_work_item_family_id"], head["source_work_item_id"] = "planner_disposition", r.Item.Family, r.Item.ID
			head["disposition"] = "active_source_ready_for_manager"
			if a.divides(r) {
				head["disposition"], head["emitted_spec_ids"] = "emitted_child_specs", a.children(r, childSpecs)
			} else if a.chance.IntN(3*a.bad) == 0 {
				head["disposition"] = "blocked"
			}
			data, err := json.Marshal(head)
			if err != nil {
				a.t.Fatal(err)
			}
			c.Artifacts[i] = a.Leave(r, f.Path, string(data))
		}
	}
}

// divides reports whether the planner makes specs of this item: children have none themselves.
func (a *agents) divides(r *schema.Run) bool {
	return !strings.Contains(r.Item.ID, "-part") && len(r.Item.ID)%2 == int(a.chance.Uint64()%2)
}

func (a *agents) children(r *schema.Run, n int) []string {
	var ids []string
	for i := range n {
		ids = append(ids, fmt.Sprintf("%s-part%d", r.Item.ID, i))
	}
	return ids
}

// proposes is what goes with the artifacts, as documents.
func (a *agents) proposes(r *schema.Run, kind *schema.StageKind, seen *workspace.RequestSeen) []string {
	var all []string
	for _, record := range seen.Records {
		var d schema.PlannerDisposition
		if json.Unmarshal(record, &d) == nil {
			for _, id := range d.EmittedSpecIDs {
				all = append(all, controllertest.Spec(id))
			}
		}
	}
	if slices.Contains(kind.Emits, "task") && a.chance.IntN(3*a.bad) != 0 {
		for i := range 1 + a.chance.IntN(childTasks) {
			more := []string{"checks: [{name: holds, run: \"true\"}]"}
			if i > 0 {
				more = append(more, fmt.Sprintf("depends_on: [%s-task0]", r.Item.ID))
			}
			all = append(all, controllertest.Task(fmt.Sprintf("%s-task%d", r.Item.ID, i), more...))
		}
	}
	return all
}
