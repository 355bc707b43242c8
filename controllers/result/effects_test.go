package result_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/controllers/controllertest"
	"millrace/schema"
	"millrace/workspace"
)

const lineage = "root_spec_id: root\nspec_id: part\nroot_idea_id: idea"

func TestEscalationOpensAnIncident(t *testing.T) {
	o := world(t, nil)
	o.Admit(controllertest.Task("a", lineage))
	o.Play("BUILDER_COMPLETE", "runner_timeout", "BLOCKED", "NEEDS_PLANNING")
	it := o.Want("a", schema.StateBlocked, schema.FailTimeout)
	k := schema.Key{Family: schema.FamilyIncident, ID: "a-incident-1"}
	inc := o.Seen.Items[k]
	if inc == nil || inc.State != schema.StateQueue || inc.Path != "incidents/incoming/a-incident-1.md" || inc.Source != "runtime" ||
		inc.Lineage.RootSpecID != "root" || inc.Lineage.RootIdeaID != "idea" || inc.CreatedAt.IsZero() {
		t.Fatalf("incident is %+v", inc)
	}
	text, err := os.ReadFile(o.Path(inc.Path))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Incident-ID: a-incident-1", "Source-Task-ID: a", "Source-Spec-ID: part", "Source-Stage: consultant", "Source-Plane: execution",
		"Failure-Class: runner_timeout", "Needs-Planning: true", "Opened-By: consultant", "Consultant-Decision: NEEDS_PLANNING",
		"- runs/" + it.Run + "/", "/consultant_report.md", "- checker: runner_timeout", "Severity: medium",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the incident does not say %q:\n%s", want, text)
		}
	}
	var r schema.Run
	read(t, o, workspace.RunFile(it.Run), &r)
	if last := r.Steps[len(r.Steps)-1]; len(last.Spawned) != 1 || last.Spawned[0] != k || r.End != "needs_planning" {
		t.Errorf("run is %+v", r)
	}
}

func TestOneRootRaisesOnlySoManyIncidents(t *testing.T) {
	o := world(t, map[string]string{"millrace.yaml": "budgets:\n  incident_limit: 1\n"})
	o.Admit(controllertest.Task("a", lineage) + "---\n" + controllertest.Task("b", lineage))
	o.Play("BUILDER_COMPLETE", "BLOCKED", "BLOCKED", "NEEDS_PLANNING", "BUILDER_COMPLETE", "BLOCKED", "BLOCKED", "NEEDS_PLANNING")
	o.Want("a", schema.StateBlocked, schema.ClassEscalate)
	it := o.Want("b", schema.StateBlocked, schema.ClassEscalate)
	if n := o.Seen.Count(schema.FamilyIncident, schema.StateQueue); n != 1 || len(it.Notes) != 1 || !strings.Contains(it.Notes[0].What, "incident_limit") {
		t.Errorf("%d incidents, %+v", n, it.Notes)
	}
}

// emitting is the standard workflow with a builder that may propose tasks.
func emitting(more string) map[string]string {
	return map[string]string{"stages/emits.cue": "package millrace\n\nstages: builder: emits: [\"task\", \"spec\"]\n", "millrace.yaml": more}
}

func propose(o *controllertest.World, files ...workspace.OutboxFile) {
	o.Claim("BUILDER_COMPLETE", "x")
	o.Requests[o.Run().Request].Outbox = files
	o.Settle()
}

func TestOutboxIsAdmittedWithLineage(t *testing.T) {
	o := world(t, emitting(""))
	o.Admit(controllertest.Task("a", lineage, "incident_id: inc"))
	o.Settle()
	propose(o, o.Parse("b.yaml", controllertest.Task("b", "depends_on: [c]")+"---\n"+controllertest.Task("c", "root_spec_id: root")),
		o.Parse("s.yaml", "kind: spec\nspec_id: s\ntitle: S\ngoals: [g]\nacceptance: [x]\n"))
	b, c := o.Task("b"), o.Task("c")
	if b == nil || c == nil {
		t.Fatalf("b is %+v, c is %+v", b, c)
	}
	want := schema.Lineage{RootIdeaID: "idea", RootSpecID: "root", SpecID: "part", ParentTaskID: "a", IncidentID: "inc"}
	if b.Lineage != want || c.Lineage != want || b.Source != "outbox" || b.CreatedBy != "builder" || b.State != schema.StateQueue {
		t.Errorf("b is %+v", b)
	}
	s := o.Seen.Items[schema.Key{Family: schema.FamilySpec, ID: "s"}]
	if s == nil || s.Lineage.RootSpecID != "root" || s.Lineage.SpecID != "s" {
		t.Errorf("s is %+v", s)
	}
	text, err := os.ReadFile(o.Path(b.Path))
	if err != nil || !strings.Contains(string(text), "Parent-Task-ID: a") {
		t.Errorf("b is %s, %v", text, err)
	}
	if r := o.Run(); r.Node != "checker" || len(r.Steps[0].Spawned) != 3 {
		t.Errorf("run is %+v", r)
	}
}

// Whatever door a document comes through, what it says of others is done.
func TestOutboxBlocksAndSupersedes(t *testing.T) {
	o := world(t, emitting(""))
	o.Admit(controllertest.Task("a", lineage))
	o.Settle()
	o.Admit(controllertest.Task("later") + "---\n" + controllertest.Task("old") + "---\n" + controllertest.Task("on", "depends_on: [old]"))
	propose(o, o.Parse("x.yaml", controllertest.Task("new", "blocks: [later, x]", "supersedes: [old]")+"---\n"+controllertest.Task("x")))
	if later, x := o.Task("later"), o.Task("x"); !slices.Contains(later.DependsOn, "new") || x == nil || !slices.Contains(x.DependsOn, "new") {
		t.Errorf("later is %+v, x is %+v", later, x)
	}
	old, on := o.Task("old"), o.Task("on")
	if old.State != schema.StateSuperseded || old.EndedBy != "new" || !slices.Equal(on.DependsOn, []string{"new"}) {
		t.Errorf("old is %+v, on is %+v", old, on)
	}
	if _, err := os.Stat(o.Path(old.Path)); err != nil {
		t.Error(err)
	}
}

func TestOutboxDeclines(t *testing.T) {
	for name, c := range map[string]struct{ doc, why string }{
		"a family it may not propose": {"kind: probe\nprobe_id: p\ntitle: P\nrequest: r\n", "may not propose a probe"},
		"a lineage of its own":        {controllertest.Task("b", "root_spec_id: other"), "says root"},
		"work that is done":           {controllertest.Task("b", "status_hint: done"), "already done"},
		"an invalid document":         {"kind: task\ntask_id: b\ntitle: B\n", "acceptance"},
		"a circle":                    {controllertest.Task("b", "depends_on: [a]"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := world(t, emitting(""))
			o.Admit(controllertest.Task("a", lineage))
			if c.why == "" { // a waits for b already
				c.why = "depend on itself"
				o = world(t, emitting(""))
				o.Admit(controllertest.Task("z", lineage) + "---\n" + controllertest.Task("a", "depends_on: [b]"))
			}
			o.Settle()
			propose(o, o.Parse("x.yaml", c.doc))
			r := o.Run()
			if r.Node != "checker" || len(r.Steps[0].Spawned) > 0 {
				t.Fatalf("run is %+v", r)
			}
			var res schema.Result
			read(t, o, workspace.RequestDir(r.ID, r.Steps[0].Request)+"/"+schema.ResultFile, &res)
			if len(res.Declined) != 1 || !strings.Contains(res.Declined[0].Why, c.why) || !o.Saw(workspace.EvDeclined) {
				t.Errorf("declined %+v", res.Declined)
			}
		})
	}
}

func TestBlockedStagesProposeNothing(t *testing.T) {
	o := world(t, emitting(""))
	o.Admit(controllertest.Task("a"))
	o.Settle()
	o.Claim("BLOCKED", "x")
	o.Requests[o.Run().Request].Outbox = []workspace.OutboxFile{o.Parse("b.yaml", controllertest.Task("b"))}
	o.Settle()
	if o.Task("b") != nil || !o.Saw(workspace.EvDeclined) {
		t.Errorf("b is %+v", o.Task("b"))
	}
}

func TestOutboxConflicts(t *testing.T) {
	for name, c := range map[string]struct {
		again    string
		conflict bool
	}{
		"an equal document changes nothing":     {controllertest.Task("b"), false},
		"another one makes the result invalid":  {controllertest.Task("b", "summary: other"), true},
		"two of one id make the result invalid": {controllertest.Task("c") + "---\n" + controllertest.Task("c", "summary: other"), true},
		"two equal ones of one id are one":      {controllertest.Task("c") + "---\n" + controllertest.Task("c"), false},
	} {
		t.Run(name, func(t *testing.T) {
			o := world(t, emitting(""))
			o.Admit(controllertest.Task("a"))
			o.Settle()
			propose(o, o.Parse("b.yaml", controllertest.Task("b")))
			before := o.Task("b").Document
			o.Play("BLOCKED", "TROUBLESHOOT_COMPLETE") // and builder is asked again
			o.Now = o.Now.Add(time.Hour)
			var out []workspace.OutboxFile
			for i, part := range strings.Split(c.again, "---\n") {
				out = append(out, o.Parse(fmt.Sprintf("again-%d.yaml", i), part))
			}
			propose(o, out...)
			s := o.Run().Steps[3]
			if got := s.Failure == schema.FailOutboxConflict; got != c.conflict || o.Task("b").Document != before {
				t.Errorf("step is %+v", s)
			}
			if want := map[bool]int{true: 1}[strings.Contains(c.again, "task_id: c") && !c.conflict]; len(s.Spawned) != want {
				t.Errorf("spawned %v", s.Spawned)
			}
			if c.conflict && (len(s.Spawned) > 0 || o.Task("c") != nil) {
				t.Errorf("a part was admitted: %+v", s.Spawned)
			}
		})
	}
}

func TestChecksOfAgentsRunOnlyAsAllowed(t *testing.T) {
	runner := func(permission string) string {
		return strings.Replace(controllertest.Base, `run: ["true"]`, `run: ["true"], permission: "`+permission+`"`, 1)
	}
	for name, c := range map[string]struct {
		policy, permission string
		run                bool
	}{
		"allowed":                  {"allow", "basic", true},
		"denied":                   {"deny", "maximum", false},
		"not approved":             {"approval", "basic", false},
		"from a stage trusted all": {"approval", "maximum", true},
	} {
		t.Run(name, func(t *testing.T) {
			files := emitting("checks:\n  from_agents: " + c.policy + "\n")
			files["modes/test.cue"] = runner(c.permission)
			o := world(t, files)
			o.Admit(controllertest.Task("a"))
			o.Settle()
			propose(o, o.Parse("b.yaml", controllertest.Task("b", checked)))
			if b := o.Task("b"); b == nil || (len(b.Checks) > 0) != c.run || (len(b.Notes) == 0) != c.run {
				t.Errorf("b is %+v", b)
			}
		})
	}
}
