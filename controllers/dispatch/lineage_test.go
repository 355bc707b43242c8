package dispatch_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"millrace/controllers/controllertest"
	"millrace/schema"
	"millrace/schema/document"
	"millrace/workspace"
)

// judged has a root whose one task went through its stages and whose judge has been started. Its closure may be
// changed before that.
func judged(t *testing.T, change func(o *controllertest.World, c *schema.Closure)) *controllertest.World {
	t.Helper()
	files := controllertest.Closing()
	files["entrypoints/planning/arbiter.md"] = "# Arbiter\n\nJudge it. Artifacts: rubric.md, verdict.json, arbiter_report.md.\n"
	files["skills/stage/planning/arbiter-core/SKILL.md"] = "# Judging\n"
	o := world(t, files)
	o.Admit(controllertest.Spec("root", "checks: [{name: unit, run: make test}]"))
	o.Finish(schema.Key{Family: "spec", ID: "root"})
	o.Admit(controllertest.Task("a", "root_spec_id: root", "checks: [{name: unit, run: make more, in: lib}, {name: again, run: make test}]"))
	o.Settle()
	for o.Run() != nil {
		r := o.Run()
		c := o.Claim(map[string]string{"builder": "BUILDER_COMPLETE", "checker": "CHECKER_PASS", "updater": "UPDATE_COMPLETE"}[r.Node], "text")
		for _, name := range []string{"unit", "again"} {
			c.ChecksAfter = append(c.ChecksAfter, schema.CheckRecord{Name: name, Passed: true})
		}
		o.Settle()
	}
	if it := o.Task("a"); it.State != schema.StateDone {
		t.Fatalf("a is %+v", it)
	}
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test", Why: "open"}
		it := m.OpenTarget(v, v.Items[schema.Key{Family: "spec", ID: "root"}], map[string][]byte{
			workspace.ContractSpec: []byte("# Root\n\nIt must be so.\n"), workspace.ContractIdea: []byte("# The idea\n")})
		if change != nil {
			change(o, it.Closure)
			m.PutItem(it)
		}
		return m
	})
	o.Ready("root")
	return o
}

func window(t *testing.T, o *controllertest.World) schema.Evidence {
	t.Helper()
	data, err := os.ReadFile(o.Path(o.Request(o.Run()) + "/" + schema.EvidenceWindow))
	if err != nil {
		t.Fatal(err)
	}
	var e schema.Evidence
	if err := json.Unmarshal(data, &e); err != nil {
		t.Fatal(err)
	}
	r, err := document.NewRegistry(o.Plan.Families)
	if err != nil {
		t.Fatal(err)
	}
	if _, diags := r.Artifact("#Evidence", schema.EvidenceWindow, data); diags.HasErrors() {
		t.Errorf("it breaks its definition: %v", diags)
	}
	return e
}

func prompt(t *testing.T, o *controllertest.World) string {
	t.Helper()
	data, err := os.ReadFile(o.Path(o.Request(o.Run()) + "/" + schema.PromptFile))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestTheJudgeIsShownTheWholeLineage(t *testing.T) {
	o := judged(t, nil)
	e, task := window(t, o), o.Task("a")
	if e.Target != "root" || e.RootSpecID != "root" || e.Generation != 1 || e.Judged != 0 || e.Seq == 0 || e.Seq > o.Seen.Seq || len(e.Contract) != 2 {
		t.Errorf("the window is %+v", e)
	}
	if len(e.Items) != 2 || e.Items[0].Item != task.Key() || e.Items[1].Item.Family != "spec" {
		t.Fatalf("its items are %+v", e.Items)
	}
	a := e.Items[0]
	if a.State != schema.StateDone || a.EndedSeq != task.EndedSeq || !a.Newer || a.End != "update_complete" || a.Run != task.Run || a.Withheld != "" || len(a.Results) != 3 {
		t.Fatalf("the task is %+v", a)
	}
	var run schema.Run
	data, err := os.ReadFile(o.Path(workspace.RunFile(task.Run)))
	if err != nil || json.Unmarshal(data, &run) != nil {
		t.Fatal(err)
	}
	for i, r := range a.Results {
		if s := run.Steps[i]; r.Request != s.Request || r.Outcome != s.Outcome || len(r.Artifacts) == 0 || fmt.Sprint(r.Artifacts) != fmt.Sprint(s.Artifacts) {
			t.Errorf("result %d is %+v, the run says %+v", i, r, s)
		}
	}
	// The same command in the same place is one check; two others of one name are told apart.
	req := o.AskedFor()
	var names []string
	for _, c := range req.Checks {
		names = append(names, c.Name+": "+c.Run)
	}
	if !slices.Equal(names, []string{"unit: make test", "unit-2: make more"}) || !req.ChecksBefore || len(req.ChecksAfter) != 0 {
		t.Errorf("the request asks for %v: %+v", names, req)
	}
	if len(e.Checks) != 2 || e.Checks[1].Name != "unit-2" {
		t.Errorf("the window's checks are %+v", e.Checks)
	}
	golden(t, o, schema.PromptFile, "arbiter.md")
}

// What is newer than the verdict before is told by the journal, and the verdict before is shown.
func TestTheJudgeIsShownTheVerdictBefore(t *testing.T) {
	o := judged(t, func(o *controllertest.World, c *schema.Closure) {
		c.Verdict, c.Verdicts, c.Judged, c.Gaps = schema.VerdictGaps, 1, o.Task("a").EndedSeq, []string{"The fields are not documented"}
		c.Kept = []string{"arbiter/rubrics/root@1-1.md"}
		for file, text := range map[string]string{"arbiter/rubrics/root@1-1.md": "the first rubric\n"} {
			if err := os.MkdirAll(o.Path("arbiter/rubrics"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(o.Path(file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	})
	for _, it := range window(t, o).Items {
		if it.Newer {
			t.Errorf("%s is newer than the verdict", it.Item)
		}
	}
	text := prompt(t, o)
	for _, want := range []string{"Verdict 1 of this generation: gaps", "- The fields are not documented", "the first rubric", "arbiter/verdicts/root@1-2.json"} {
		if !strings.Contains(text, want) {
			t.Errorf("the prompt does not say %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, ", new") {
		t.Error("something is called new")
	}
}

// Somebody edited the contract below arbiter/: what counts is what it was, and it lies there again.
func TestAChangedContractIsPutBack(t *testing.T) {
	o := judged(t, func(o *controllertest.World, c *schema.Closure) { c.Contract = slices.Clone(c.Contract) })
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test", Why: "back"}
		r := v.ActiveRuns()[0].Clone()
		m.EndRun(v, r, "test")
		m.MoveItem(v, o.Target("root").Clone(), schema.StateOpen)
		return m
	})
	file := "arbiter/contracts/root@1.md"
	if err := os.WriteFile(o.Path(file), []byte("# Root\n\nWhatever there is.\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o.Ready("root")
	if text := prompt(t, o); !strings.Contains(text, "It must be so.") || strings.Contains(text, "Whatever there is.") {
		t.Errorf("the prompt says\n%s", text)
	}
	if now, err := os.ReadFile(o.Path(file)); err != nil || string(now) != "# Root\n\nIt must be so.\n" {
		t.Errorf("it is %q, %v", now, err)
	}
}

// Whatever a lineage holds, all of it is named, and what is not told in full says where the rest is.
func TestALargeLineageIsBounded(t *testing.T) {
	o := world(t, controllertest.Closing())
	const n = 700
	docs, keys := []string{controllertest.Spec("root")}, []schema.Key{{Family: "spec", ID: "root"}}
	for i := range n {
		id := fmt.Sprintf("t%03d", i)
		docs, keys = append(docs, controllertest.Task(id, "root_spec_id: root")), append(keys, schema.Key{Family: "task", ID: id})
	}
	o.Admit(strings.Join(docs, "---\n"))
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test", Why: "finish"}
		for i, k := range keys {
			it := v.Items[k].Clone()
			r := &schema.Run{SchemaVersion: 1, ID: fmt.Sprintf("run-%d", i), Item: k, State: schema.RunEnded, End: "done", Plan: o.Digest(),
				Steps: []schema.Step{{Request: "r", Node: "builder", Stage: "builder", Outcome: "BUILDER_COMPLETE", Message: strings.Repeat("long ", 1000)}}}
			it.Run = r.ID
			m.PutTrace(r)
			m.Complete(v, it)
		}
		return m
	})
	o.Ready("root")
	e := window(t, o)
	told, withheld := 0, 0
	for _, it := range e.Items {
		switch {
		case it.Withheld != "":
			withheld++
			if it.Trace == "" || len(it.Results) > 0 {
				t.Fatalf("%+v", it)
			}
		case len(it.Results) == 1 && strings.HasSuffix(it.Results[0].Message, "(the trace has the rest)"):
			told++
		default:
			t.Fatalf("%+v", it)
		}
	}
	if told+withheld != n+1 || told == 0 || withheld == 0 {
		t.Errorf("%d told, %d withheld", told, withheld)
	}
	text := prompt(t, o)
	if len(text) > 64<<10 || !strings.Contains(text, "more, which are listed in `millrace-agents/") {
		t.Errorf("the prompt has %d bytes", len(text))
	}
}

func TestALineageWithoutChecksSaysSo(t *testing.T) {
	for config, want := range map[string]string{"": "closes as unproven", "closure:\n  require_checks: true": "closure.require_checks"} {
		o := world(t, controllertest.Closing(config))
		o.Admit(controllertest.Spec("root"))
		o.Finish(schema.Key{Family: "spec", ID: "root"})
		o.Ready("root")
		if text := prompt(t, o); !strings.Contains(text, want) || strings.Contains(text, "They have been run before you") {
			t.Errorf("the prompt does not say %q:\n%s", want, text)
		}
		if req := o.AskedFor(); len(req.Checks) != 0 || req.ChecksBefore {
			t.Errorf("the request is %+v", req)
		}
	}
}

// The prompt of a judge ends nothing by being repeated.
func TestNoLineOfAJudgesPromptIsAnOutcome(t *testing.T) {
	o := judged(t, nil)
	if claim, class, detail := schema.DetectClaim("arbiter", o.AskedFor().Outcomes, "x", nil, prompt(t, o)); claim != nil {
		t.Errorf("%+v %s %s", claim, class, detail)
	}
}

// A root that was opened again is judged by what came since its last verdict, in whichever generation that was.
func TestNewnessOutlivesAGeneration(t *testing.T) {
	o := judged(t, nil)
	judgement := o.Seen.Seq
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test", Why: "close"}
		m.EndRun(v, v.ActiveRuns()[0].Clone(), "done")
		it := o.Target("root").Clone()
		it.Closure.Verdict, it.Closure.Judged = schema.VerdictPass, v.Seq
		m.Complete(v, it)
		return m
	})
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test", Why: "reopen"}
		m.ReopenRoot(v, "root", "test", "more to do")
		return m
	})
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test", Why: "open"}
		m.OpenTarget(v, v.Items[schema.Key{Family: "spec", ID: "root"}], map[string][]byte{workspace.ContractSpec: []byte("# Root\n")})
		return m
	})
	o.Admit(controllertest.Task("b", "root_spec_id: root"))
	o.Finish(schema.Key{Family: "task", ID: "b"})
	o.Ready("root")
	e := window(t, o)
	if e.Generation != 2 || e.Judged < judgement || len(e.Items) != 3 {
		t.Fatalf("the window is %+v", e)
	}
	for _, it := range e.Items {
		if it.Newer != (it.Item.ID == "b") {
			t.Errorf("%s: newer is %v", it.Item, it.Newer)
		}
	}
}
