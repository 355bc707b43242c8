package result_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"millrace/controllers/controllertest"
	"millrace/schema"
	"millrace/workspace"
)

func gitIn(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v: %s", args, err, out)
	}
}

// judging has a root with one task of two checks, all done, and its judge in flight. The project is a repository.
func judging(t *testing.T, config ...string) *controllertest.World {
	t.Helper()
	o := lineageOf(t, "checks: [{name: unit, run: make test}, {name: lint, run: make lint, in: lib}]", config...)
	o.Ready("root")
	return o
}

func lineageOf(t *testing.T, task string, config ...string) *controllertest.World {
	t.Helper()
	o := world(t, controllertest.Closing(config...))
	gitIn(t, o.W.Project, "init", "-q")
	change(t, o, "one")
	o.Admit(controllertest.Spec("root") + "---\n" + controllertest.Task("a", "root_spec_id: root\nspec_id: root", task))
	o.Finish(schema.Key{Family: "spec", ID: "root"}, schema.Key{Family: "task", ID: "a"})
	return o
}

// change moves the working tree.
func change(t *testing.T, o *controllertest.World, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(o.W.Project, "main.txt"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

const (
	closes   = "ARBITER_COMPLETE"
	remedies = "REMEDIATION_NEEDED"
)

func pass() string { return controllertest.Verdict("root", schema.VerdictPass) }

func gaps(titles ...string) string {
	return controllertest.Verdict("root", schema.VerdictGaps, titles...)
}

// wantTarget is the target in a state; class "" expects that nothing blocks it.
func wantTarget(t *testing.T, o *controllertest.World, state, verdict, class string) *schema.Item {
	t.Helper()
	it := o.Target("root")
	if it.State != state || it.Closure.Verdict != verdict {
		t.Fatalf("the target is %s with verdict %q (%+v, notes %+v), want %s with %q", it.State, it.Closure.Verdict, it.Blocked, it.Notes, state, verdict)
	}
	if got := it.Blocked; (got == nil) != (class == "") || got != nil && got.Class != class {
		t.Errorf("it is blocked by %+v, want %q", got, class)
	}
	if _, err := os.Stat(o.Path(it.Path)); err != nil {
		t.Error(err)
	}
	return it
}

func incidents(o *controllertest.World) []*schema.Item {
	var all []*schema.Item
	for _, it := range o.Seen.Items {
		if it.Family == schema.FamilyIncident {
			all = append(all, it)
		}
	}
	return all
}

func content(t *testing.T, o *controllertest.World, file string) string {
	t.Helper()
	data, err := os.ReadFile(o.Path(file))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestATargetClosesOnProof(t *testing.T) {
	o := judging(t)
	r := o.Run()
	o.Judge(closes, pass(), o.Passed())
	before := o.Seen.Seq
	o.Settle()
	it := wantTarget(t, o, schema.StateDone, schema.VerdictPass, "")
	c := it.Closure
	if it.Path != "arbiter/targets/closed/root.json" || c.Judged != before+1 || c.At.IsZero() || c.Verdicts != 1 || len(c.Checks) != 2 ||
		c.Tree != o.Tree() || c.Tree == "" || len(c.Gaps) != 0 || it.EndedSeq != c.Judged {
		t.Errorf("the target is %+v, its closure %+v", it, c)
	}
	want := []string{"arbiter/reports/root@1-1.md", "arbiter/rubrics/root@1-1.md", "arbiter/verdicts/root@1-1.json"}
	if !slices.Equal(c.Kept, want) {
		t.Errorf("kept %v", c.Kept)
	}
	if content(t, o, want[2]) != pass() || !strings.HasPrefix(content(t, o, want[1]), "rubric: round") || !strings.HasPrefix(content(t, o, want[0]), "arbiter_report: round") {
		t.Error("what was kept is not what was written")
	}
	var run schema.Run
	read(t, o, workspace.RunFile(r.ID), &run)
	if run.End != "arbiter_complete" || len(run.Steps) != 1 || run.Held != nil || len(incidents(o)) != 0 {
		t.Errorf("the run is %+v", run)
	}
	var stored schema.Item
	read(t, o, workspace.StatusPath(it.Key()), &stored)
	if stored.Closure.Verdict != schema.VerdictPass {
		t.Errorf("its status says %+v", stored.Closure)
	}
}

// A verdict that does not go with the outcome, the target or its own definition closes nothing and opens nothing.
func TestInvalidVerdictsStallTheTarget(t *testing.T) {
	for name, c := range map[string]struct{ outcome, verdict, class, says string }{
		"it closes with gaps":         {closes, gaps("open"), schema.FailInvalidArtifact, `says "gaps", which does not go with ARBITER_COMPLETE`},
		"it passes and names gaps":    {closes, controllertest.Verdict("root", "pass", "but"), schema.FailInvalidArtifact, `says "pass" and names 1 gaps, the first "but"`},
		"it passes without evidence":  {closes, strings.Replace(pass(), "fresh", "missing", 1), schema.FailInvalidArtifact, "criterion c1"},
		"a criterion is a gap":        {closes, strings.Replace(pass(), `"result":"pass"`, `"result":"gap"`, 1), schema.FailInvalidArtifact, "criterion c1"},
		"it remedies and passes":      {remedies, pass(), schema.FailInvalidArtifact, "does not go with REMEDIATION_NEEDED"},
		"it remedies without a gap":   {remedies, gaps(), schema.FailInvalidArtifact, "names none"},
		"another root, closed":        {closes, controllertest.Verdict("other", "pass"), schema.FailInvalidArtifact, "judges other, and the target is root"},
		"another root, remedied":      {remedies, controllertest.Verdict("other", "gaps", "x"), schema.FailInvalidArtifact, "judges other"},
		"it is no JSON":               {closes, `{"schema_version": 1,`, schema.FailInvalidArtifact, "verdict.json"},
		"it breaks its definition":    {closes, `{"schema_version": 1, "kind": "verdict"}`, schema.FailInvalidArtifact, "verdict.json"},
		"it is larger than is read":   {closes, strings.Repeat(" ", schema.MaxFile) + pass(), schema.FailInvalidArtifact, "at most"},
		"nothing stands in its place": {closes, "", schema.FailInvalidArtifact, "verdict.json"},
	} {
		t.Run(name, func(t *testing.T) {
			o := judging(t)
			o.Judge(c.outcome, c.verdict, o.Passed())
			o.Settle()
			it := wantTarget(t, o, schema.StateBlocked, "", c.class)
			if !strings.Contains(it.Blocked.Message, c.says) || it.Path != "arbiter/targets/stalled/root.json" {
				t.Errorf("it says %q", it.Blocked.Message)
			}
			if it.Closure.Verdicts != 0 || len(it.Closure.Kept) != 0 || len(incidents(o)) != 0 || o.Run() != nil {
				t.Errorf("closure %+v, run %+v", it.Closure, o.Run())
			}
			if _, err := os.Stat(o.Path("arbiter/verdicts/root@1-1.json")); err == nil {
				t.Error("the verdict was kept")
			}
		})
	}
}

func TestAMissingVerdictStallsTheTarget(t *testing.T) {
	o := judging(t)
	c := o.Judge(closes, pass(), o.Passed())
	c.Artifacts = slices.DeleteFunc(c.Artifacts, func(f schema.File) bool { return f.Path == "verdict.json" })
	o.Inspect(o.Run(), c)
	o.Settle()
	wantTarget(t, o, schema.StateBlocked, "", schema.FailMissingArtifact)
}

// What is to be kept must be as the supervisor listed it, and of a size that is read.
func TestAReportThatCannotBeKeptIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"too large": {strings.Repeat("x", schema.MaxFile+1), "at most"},
		"changed":   {"", "no longer what the supervisor listed"},
	} {
		t.Run(name, func(t *testing.T) {
			o := judging(t)
			done := o.Judge(closes, pass(), o.Passed())
			for i, f := range done.Artifacts {
				if f.Path == "arbiter_report.md" {
					listed := o.Leave(o.Run(), f.Path, c.text)
					if c.text != "" {
						done.Artifacts[i] = listed
					}
				}
			}
			o.Settle()
			if it := wantTarget(t, o, schema.StateBlocked, "", schema.FailInvalidArtifact); !strings.Contains(it.Blocked.Message, "arbiter_report.md cannot be kept") ||
				!strings.Contains(it.Blocked.Message, c.says) {
				t.Errorf("it says %q", it.Blocked.Message)
			}
		})
	}
}

// An agent's word alone closes nothing: what its evidence lacks becomes an incident.
func TestMissingProofIsRemedied(t *testing.T) {
	for name, c := range map[string]struct {
		checks func(all []schema.CheckRecord) []schema.CheckRecord
		gap    string
		says   []string
	}{
		"a check fails": {func(all []schema.CheckRecord) []schema.CheckRecord {
			all[1].Passed, all[1].ExitCode = false, 2
			return all
		}, "The check lint does not pass", []string{"`make lint` ended with exit code 2", "checks/before-2.log"}},
		"a check has no record": {func(all []schema.CheckRecord) []schema.CheckRecord { return all[:1] },
			"The check lint has no record", []string{"`make lint`"}},
		"a record is of another command": {func(all []schema.CheckRecord) []schema.CheckRecord {
			all[0].Run = "true"
			return all
		}, "The check unit has no record", nil},
		"none was run": {func([]schema.CheckRecord) []schema.CheckRecord { return nil }, "The check unit has no record", nil},
	} {
		t.Run(name, func(t *testing.T) {
			o := judging(t)
			r := o.Run()
			o.Judge(closes, pass(), c.checks(o.Passed()))
			o.Settle()
			inc := incidents(o)
			if len(inc) != 1 {
				t.Fatalf("incidents %v", inc)
			}
			// The incident is claimed at once: its run is the one that is in flight now.
			it := wantTarget(t, o, schema.StateOpen, schema.VerdictGaps, "")
			if !slices.Contains(it.Closure.Gaps, c.gap) || it.Closure.Verdicts != 1 || len(it.Closure.Kept) != 3 || it.Path != "arbiter/targets/open/root.json" {
				t.Errorf("its closure is %+v", it.Closure)
			}
			text := content(t, o, inc[0].Path)
			for _, want := range append(c.says, c.gap, "Source-Stage: arbiter", "Source-Plane: planning", "Root-Spec-ID: root", "does not bear out",
				"- arbiter/verdicts/root@1-1.json", "- runs/"+r.ID+"/") {
				if !strings.Contains(text, want) {
					t.Errorf("the incident does not say %q:\n%s", want, text)
				}
			}
			var run schema.Run
			read(t, o, workspace.RunFile(r.ID), &run)
			if run.End != "remediation_needed" || len(run.Steps) != 1 || !strings.Contains(run.Steps[0].Why, "remediation") || run.Rechecks != 0 {
				t.Errorf("the run is %+v", run)
			}
		})
	}
}

func TestGapsBecomeAnIncident(t *testing.T) {
	o := judging(t)
	r := o.Run()
	o.Judge(remedies, gaps("The fields are not documented", "Second"), o.Passed())
	before := o.Seen.Seq
	o.Settle()
	it := wantTarget(t, o, schema.StateOpen, schema.VerdictGaps, "")
	if c := it.Closure; c.Judged != before+1 || !slices.Equal(c.Gaps, []string{"The fields are not documented", "Second"}) || len(c.Kept) != 3 || len(c.Checks) != 2 {
		t.Errorf("its closure is %+v", c)
	}
	if text := content(t, o, it.Path); !strings.Contains(text, "arbiter/verdicts/root@1-2.json") {
		t.Errorf("its document does not say where the next verdict is kept:\n%s", text)
	}
	inc := incidents(o)
	if len(inc) != 1 || inc[0].Lineage.RootSpecID != "root" || inc[0].Source != "runtime" {
		t.Fatalf("incidents %+v", inc)
	}
	text := content(t, o, inc[0].Path)
	for _, want := range []string{"- The fields are not documented: what is still to do (docs/x.md)", "Source-Spec-ID: root", "Opened-By: arbiter", "ended with REMEDIATION_NEEDED", "/result.json"} {
		if !strings.Contains(text, want) {
			t.Errorf("the incident does not say %q:\n%s", want, text)
		}
	}
	var run schema.Run
	read(t, o, workspace.RunFile(r.ID), &run)
	if last := run.Steps[0]; len(last.Spawned) != 1 || last.Spawned[0] != inc[0].Key() {
		t.Errorf("the step is %+v", last)
	}
}

// Of many gaps the incident tells the first and where the rest is: its document stays one that can be read.
func TestManyGapsAreBounded(t *testing.T) {
	o := judging(t)
	var many []string
	for i := range 500 {
		many = append(many, fmt.Sprintf("gap %d %s", i, strings.Repeat("x", 1500)))
	}
	o.Judge(remedies, gaps(many...), o.Passed())
	o.Settle()
	text := content(t, o, incidents(o)[0].Path)
	if !strings.Contains(text, "and 400 more gaps, in arbiter/") || len(text) > 300<<10 {
		t.Errorf("the incident has %d bytes", len(text))
	}
	if n := len(o.Target("root").Closure.Gaps); n != 100 {
		t.Errorf("the target names %d gaps", n)
	}
}

// The tree moved while the judge was at work: the checks run again, and nobody is paid for that.
func TestAMovedTreeIsCheckedAgain(t *testing.T) {
	o := judging(t)
	r := o.Run()
	o.Judge(closes, pass(), o.Passed())
	change(t, o, "two")
	o.Settle()
	it := wantTarget(t, o, schema.StateActive, "", "")
	now := o.Run()
	if now.ID != r.ID || now.Request == r.Request || now.Node != r.Node || now.Rechecks != 1 || it.Run != r.ID || it.Attempts != 1 {
		t.Fatalf("the run is %+v", now)
	}
	req := o.AskedFor()
	if req.Held == nil || req.Held.Request != r.Request || req.Held.Claim.Outcome != closes || len(req.Held.Files) != 3 || len(req.Checks) != 2 || !req.ChecksBefore {
		t.Fatalf("the request is %+v", req)
	}
	if content(t, o, o.Request(now)+"/verdict.json") != pass() || !strings.Contains(content(t, o, o.Request(now)+"/prompt.md"), "No agent is started") {
		t.Error("the claim's files are not laid out")
	}
	var res schema.Result
	read(t, o, workspace.RequestDir(r.ID, r.Request)+"/result.json", &res)
	if res.To != r.Node || !strings.Contains(res.Why, "1 of 2") || res.Outcome != closes {
		t.Errorf("the first result is %+v", res)
	}
	o.Rechecked(o.Passed())
	o.Settle()
	c := wantTarget(t, o, schema.StateDone, schema.VerdictPass, "").Closure
	if c.Tree != o.Tree() || c.Verdicts != 1 || content(t, o, "arbiter/verdicts/root@1-1.json") != pass() {
		t.Errorf("its closure is %+v", c)
	}
	var run schema.Run
	read(t, o, workspace.RunFile(r.ID), &run)
	if len(run.Steps) != 2 || run.Steps[0].Outcome != closes || run.Steps[1].To != "arbiter_complete" || run.Steps[1].Tokens != nil {
		t.Errorf("the run is %+v", run)
	}
}

func TestATreeThatDoesNotHoldStillIsRemedied(t *testing.T) {
	o := judging(t)
	o.Judge(closes, pass(), o.Passed())
	for i := range 3 {
		change(t, o, fmt.Sprint("moved ", i))
		o.Settle()
		if i == 2 {
			break
		}
		if r := o.Run(); r.Rechecks != i+1 {
			t.Fatalf("after %d moves the run is %+v", i+1, r)
		}
		o.Rechecked(o.Passed())
	}
	it := wantTarget(t, o, schema.StateOpen, schema.VerdictGaps, "")
	if !slices.Equal(it.Closure.Gaps, []string{"The working tree does not hold still"}) || len(incidents(o)) != 1 {
		t.Errorf("its closure is %+v", it.Closure)
	}
	if text := content(t, o, incidents(o)[0].Path); !strings.Contains(text, "has moved since the checks ran. They were run 3 times") {
		t.Errorf("the incident is\n%s", text)
	}
}

// A check that itself changes the tree proves nothing of the tree that it leaves.
func TestACheckThatChangesTheTreeProvesNothing(t *testing.T) {
	o := judging(t)
	moving := func() []schema.CheckRecord {
		all := o.Passed()
		all[0].TreeAfter = "another"
		return all
	}
	o.Judge(closes, pass(), moving())
	o.Settle()
	for range 2 {
		o.Rechecked(moving())
		o.Settle()
	}
	it := wantTarget(t, o, schema.StateOpen, schema.VerdictGaps, "")
	if text := content(t, o, incidents(o)[0].Path); !strings.Contains(text, "the check unit changes the working tree") {
		t.Errorf("%+v\n%s", it.Closure, text)
	}
}

func TestAFailureInTheSecondRoundIsRemedied(t *testing.T) {
	o := judging(t)
	o.Judge(closes, pass(), o.Passed())
	change(t, o, "two")
	o.Settle()
	all := o.Passed()
	all[0].Passed, all[0].ExitCode = false, 1
	o.Rechecked(all)
	o.Settle()
	if it := wantTarget(t, o, schema.StateOpen, schema.VerdictGaps, ""); !slices.Equal(it.Closure.Gaps, []string{"The check unit does not pass"}) {
		t.Errorf("its closure is %+v", it.Closure)
	}
}

// Nothing is lost with a supervisor that was to run the checks only: they run again, although the judge may not.
func TestALostRecheckStartsAgain(t *testing.T) {
	o := judging(t)
	o.Judge(closes, pass(), o.Passed())
	change(t, o, "two")
	o.Settle()
	first := o.Run().Request
	o.Requests = map[string]*workspace.RequestSeen{first: {Started: true, Salvage: &schema.Completion{
		SchemaVersion: 1, Request: first, Run: o.Run().ID, Exit: schema.ExitFailed, Failure: schema.FailSupervisorLost, Ended: o.Now,
	}}}
	o.Settle()
	r := o.Run()
	if r == nil || r.Request == first || r.Restarts != 1 || r.Rechecks != 1 || o.AskedFor().Held == nil {
		t.Fatalf("the run is %+v, the target %+v", r, o.Target("root"))
	}
	o.Rechecked(o.Passed())
	o.Settle()
	wantTarget(t, o, schema.StateDone, schema.VerdictPass, "")
}

// What the checks of a judge said was lost with its supervisor, the judgement was not.
func TestASalvagedJudgementIsCheckedAgain(t *testing.T) {
	o := judging(t)
	r := o.Run()
	c := o.Judge(closes, pass(), nil)
	c.Exit, c.Failure = schema.ExitFailed, schema.FailSupervisorLost
	seen := o.Requests[r.Request]
	seen.Completion, seen.Salvage = nil, c
	o.Settle()
	if now := o.Run(); now == nil || now.Rechecks != 1 || o.AskedFor().Held == nil {
		t.Fatalf("the run is %+v, the target %+v", now, o.Target("root"))
	}
	o.Rechecked(o.Passed())
	o.Settle()
	wantTarget(t, o, schema.StateDone, schema.VerdictPass, "")
}

// A judge that was lost is not started again by itself, nor one that failed.
func TestAFailedJudgeStallsTheTarget(t *testing.T) {
	for end, class := range map[string]string{
		schema.OutcomeBlocked: schema.ClassBlocked, schema.FailTimeout: schema.FailTimeout, schema.FailSupervisorLost: schema.FailSupervisorLost,
		schema.FailExit: schema.FailExit, schema.FailMissingOutcome: schema.FailMissingOutcome,
	} {
		t.Run(end, func(t *testing.T) {
			o := judging(t)
			o.CompleteRun(o.Run(), end)
			o.Settle()
			wantTarget(t, o, schema.StateBlocked, "", class)
			if o.Run() != nil || len(incidents(o)) != 0 {
				t.Errorf("the run is %+v", o.Run())
			}
		})
	}
}

// The checks may be told where the claim's files lie: what they change there is no word of the judge.
func TestAHeldClaimThatWasTamperedWithIsRefused(t *testing.T) {
	o := judging(t)
	o.Judge(closes, pass(), o.Passed())
	change(t, o, "two")
	o.Settle()
	o.Leave(o.Run(), "verdict.json", controllertest.Verdict("root", "pass")+"\n")
	o.Rechecked(o.Passed())
	o.Settle()
	if it := wantTarget(t, o, schema.StateBlocked, "", schema.FailInvalidArtifact); !strings.Contains(it.Blocked.Message, "verdict.json is not what the judge wrote") {
		t.Errorf("it says %q", it.Blocked.Message)
	}
}

// What became of the files between the two requests does not matter: the journal has them.
func TestAHeldClaimSurvivesItsFolder(t *testing.T) {
	o := judging(t)
	r := o.Run()
	o.Judge(closes, pass(), o.Passed())
	change(t, o, "two")
	o.Settle() // the step that holds the claim, and the one that starts the request, are two commits
	second := o.Run()
	if second.Held == nil || content(t, o, workspace.RunDir(r.ID)+"/held/verdict.json") != pass() {
		t.Fatalf("the run is %+v", second)
	}
	// Lost once more, and all files on disk are gone: the third request has them again.
	for _, dir := range []string{workspace.RequestDir(r.ID, r.Request), o.Request(second), workspace.RunDir(r.ID) + "/held"} {
		if err := os.RemoveAll(o.Path(dir)); err != nil {
			t.Fatal(err)
		}
	}
	o.Requests = map[string]*workspace.RequestSeen{second.Request: {Started: true}}
	o.Settle()
	if third := o.Run(); third.Request == second.Request || content(t, o, o.Request(third)+"/verdict.json") != pass() {
		t.Fatalf("the run is %+v", third)
	}
	o.Rechecked(o.Passed())
	o.Settle()
	wantTarget(t, o, schema.StateDone, schema.VerdictPass, "")
}

func TestALineageWithoutChecksClosesUnproven(t *testing.T) {
	o := lineageOf(t, "")
	o.Ready("root")
	o.Judge(closes, pass(), nil)
	change(t, o, "two") // no check says anything about any tree
	o.Settle()
	it := wantTarget(t, o, schema.StateDone, schema.VerdictUnproven, "")
	if len(it.Notes) == 0 || !strings.Contains(it.Notes[len(it.Notes)-1].What, "unproven") || len(it.Closure.Kept) != 3 {
		t.Errorf("the target is %+v", it)
	}
}

func TestRequireChecksRefusesTheUnproven(t *testing.T) {
	o := lineageOf(t, "", "closure:", "  require_checks: true")
	o.Ready("root")
	o.Judge(closes, pass(), nil)
	o.Settle()
	it := wantTarget(t, o, schema.StateOpen, schema.VerdictGaps, "")
	if !slices.Equal(it.Closure.Gaps, []string{"No check proves root"}) || len(incidents(o)) != 1 {
		t.Errorf("its closure is %+v", it.Closure)
	}
}

// between ends the incident and returns the target to its judge, with what was done in between.
func between(t *testing.T, o *controllertest.World, done ...string) {
	t.Helper()
	var keys []schema.Key
	for _, inc := range incidents(o) {
		if inc.State == schema.StateDone {
			continue
		}
		if r := o.Run(); r != nil { // its stage was started at once
			o.Do(func(v *workspace.View) *workspace.Mutation {
				m := &workspace.Mutation{By: "test", Why: "end"}
				m.EndRun(v, r.Clone(), "done")
				m.Complete(v, v.Items[inc.Key()].Clone())
				return m
			})
			continue
		}
		keys = append(keys, inc.Key())
	}
	for _, id := range done {
		o.Admit(controllertest.Task(id, "root_spec_id: root"))
		keys = append(keys, schema.Key{Family: "task", ID: id})
	}
	if len(keys) > 0 {
		o.Finish(keys...)
	}
	o.Ready("root")
}

// Planning that leads to no work leads nowhere: the second time, somebody must look.
func TestRepeatedRemediationStalls(t *testing.T) {
	o := judging(t)
	o.Judge(remedies, gaps("one"), o.Passed())
	o.Settle()
	between(t, o)
	o.Judge(remedies, gaps("one still"), o.Passed())
	o.Settle()
	it := wantTarget(t, o, schema.StateBlocked, schema.VerdictGaps, schema.StallRepeated)
	if len(incidents(o)) != 1 || it.Closure.Verdicts != 2 || !slices.Equal(it.Closure.Gaps, []string{"one still"}) || !strings.Contains(it.Blocked.Message, "one still") {
		t.Errorf("%d incidents, closure %+v, %+v", len(incidents(o)), it.Closure, it.Blocked)
	}
	if content(t, o, "arbiter/verdicts/root@1-2.json") != gaps("one still") || content(t, o, "arbiter/verdicts/root@1-1.json") != gaps("one") {
		t.Error("not both verdicts are kept")
	}
}

// The same holds when it is the evidence that leads there.
func TestRepeatedMissingProofStalls(t *testing.T) {
	o := judging(t)
	o.Judge(remedies, gaps("one"), o.Passed())
	o.Settle()
	between(t, o)
	o.Judge(closes, pass(), nil)
	o.Settle()
	wantTarget(t, o, schema.StateBlocked, schema.VerdictGaps, schema.StallRepeated)
}

func TestRemediationAfterWorkGoesOn(t *testing.T) {
	o := judging(t)
	o.Judge(remedies, gaps("one"), o.Passed())
	o.Settle()
	between(t, o, "repair")
	o.Judge(remedies, gaps("two"), o.Passed())
	o.Settle()
	it := wantTarget(t, o, schema.StateOpen, schema.VerdictGaps, "")
	if len(incidents(o)) != 2 || it.Closure.Verdicts != 2 {
		t.Errorf("%d incidents, closure %+v", len(incidents(o)), it.Closure)
	}
	between(t, o, "repair-2")
	o.Judge(closes, pass(), o.Passed())
	o.Settle()
	if c := wantTarget(t, o, schema.StateDone, schema.VerdictPass, "").Closure; c.Verdicts != 3 || len(c.Gaps) != 0 || c.Kept[0] != "arbiter/reports/root@1-3.md" {
		t.Errorf("its closure is %+v", c)
	}
}

func TestTheIncidentLimitStalls(t *testing.T) {
	o := judging(t, "budgets:", "  incident_limit: 1")
	o.Judge(remedies, gaps("one"), o.Passed())
	o.Settle()
	between(t, o, "repair")
	o.Judge(remedies, gaps("two"), o.Passed())
	o.Settle()
	it := wantTarget(t, o, schema.StateBlocked, schema.VerdictGaps, schema.StallIncidentLimit)
	if len(incidents(o)) != 1 || it.Closure.Verdicts != 2 || len(it.Closure.Kept) != 3 {
		t.Errorf("%d incidents, closure %+v", len(incidents(o)), it.Closure)
	}
}

// Work that was brought while the judge was at work is done first, and no incident asks for it.
func TestNewWorkGoesFirst(t *testing.T) {
	o := judging(t)
	o.Admit(controllertest.Task("late", "root_spec_id: root"))
	o.Judge(closes, pass(), o.Passed())
	o.Settle()
	it := wantTarget(t, o, schema.StateOpen, "", "")
	if it.Closure.Verdicts != 0 || len(incidents(o)) != 0 || len(it.Notes) == 0 || !strings.Contains(it.Notes[len(it.Notes)-1].What, "task/late") {
		t.Errorf("closure %+v, notes %+v", it.Closure, it.Notes)
	}
	if late := o.Task("late"); late.State != schema.StateActive {
		t.Errorf("late is %+v", late)
	}
}

// A daemon that dies between completion and commit finds everything where it was.
func TestACompletionSurvivesADaemon(t *testing.T) {
	o := judging(t)
	o.Judge(closes, pass(), o.Passed())
	change(t, o, "two")
	o.Reopen()
	o.Settle()
	if o.Run() == nil || o.AskedFor().Held == nil {
		t.Fatalf("the run is %+v", o.Run())
	}
	o.Reopen() // the request was committed, nobody has started it
	o.Settle()
	o.Rechecked(o.Passed())
	o.Reopen()
	o.Settle()
	wantTarget(t, o, schema.StateDone, schema.VerdictPass, "")
}

// Whatever the graph says, nothing closes without proof: not when it does not ask for any, and not when it takes what is
// missing for an end.
func TestClosingNeedsProofInEveryGraph(t *testing.T) {
	const graph = `package millrace

modes: test: graphs: planning: "planning.own"
graphs: "planning.own": {
	plane: "planning"
	entry: closure_target: "arbiter"
	nodes: arbiter: on: {ARBITER_COMPLETE: EDGE, REMEDIATION_NEEDED: "no", BLOCKED: "blocked"}
	ends: {
		yes: {class: "success", state: "done", effects: ["close"]}
		no: {class: "followup_needed", state: "open", effects: ["remediate"]}
		blocked: {class: "blocked", state: "blocked"}
	}
}
`
	for name, edge := range map[string]string{"no prove": `"yes"`, "no way": `{to: "yes", effects: ["prove"], routes: remediation: "yes"}`} {
		for _, proven := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, proven %v", name, proven), func(t *testing.T) {
				o := world(t, map[string]string{"modes/closing.cue": strings.Replace(graph, "EDGE", edge, 1)})
				o.Admit(controllertest.Spec("root", "checks: [{name: unit, run: make}]"))
				o.Finish(schema.Key{Family: "spec", ID: "root"})
				o.Ready("root")
				if proven {
					o.Judge(closes, pass(), o.Passed())
					o.Settle()
					wantTarget(t, o, schema.StateDone, schema.VerdictPass, "")
					return
				}
				o.Judge(closes, pass(), nil)
				o.Settle()
				if it := wantTarget(t, o, schema.StateBlocked, "", schema.FailInvalidArtifact); !strings.Contains(it.Blocked.Message, "unit has no record") {
					t.Errorf("it says %q", it.Blocked.Message)
				}
			})
		}
	}
}

// What a judge proposes is held with its claim.
func TestAHeldClaimKeepsItsOutbox(t *testing.T) {
	o := judging(t)
	c := o.Judge(closes, pass(), o.Passed())
	c.Outbox = []schema.File{o.Leave(o.Run(), "outbox/later.yaml", "kind: task\n")}
	change(t, o, "two")
	o.Settle()
	if o.AskedFor().Held == nil || content(t, o, o.Request(o.Run())+"/outbox/later.yaml") != "kind: task\n" {
		t.Errorf("the request is %+v", o.AskedFor())
	}
}
