package result_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"millrace/controllers/controllertest"
	"millrace/schema"
	"millrace/workspace"
	"millrace/workspace/reqdir"
)

// A judge writes its three files, and while it is at work the project changes; each start of it leaves a line.
const judgeScript = `package millrace

modes: test: {
	graphs: planning: "planning.standard"
	stages: arbiter: runner: "judge"
	runners: judge: {adapter: "command", run: ["sh", "-c", "echo started >> ../agents; cd $MILLRACE_REQUEST_DIR && cp checks_before.json rubric.md && echo seen > arbiter_report.md && cat > verdict.json <<'END'\nVERDICT\nEND\necho more >> $MILLRACE_WORKSPACE/main.txt; echo '### ARBITER_COMPLETE'"]}
}
`

// supervised lets the real supervisor serve the request in flight, and sees what it reports.
func supervised(t *testing.T, o *controllertest.World, binary string) *schema.Completion {
	t.Helper()
	dir := o.Path(o.Request(o.Run()))
	if out, err := exec.Command(binary, dir).CombinedOutput(); err != nil {
		t.Fatalf("supervisor: %v: %s", err, out)
	}
	c, err := reqdir.ReadCompletion(dir)
	if err != nil {
		t.Fatal(err)
	}
	o.Requests[c.Request] = &workspace.RequestSeen{Started: true, Completion: c}
	o.Inspect(o.Run(), c)
	return c
}

// The whole of it with real processes: checks, a judge who lets the tree move, and the checks again without it.
func TestAJudgeIsStartedOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the supervisor")
	}
	binary := filepath.Join(t.TempDir(), "millrace-stage")
	if out, err := exec.Command("go", "build", "-o", binary, "millrace/cmd/millrace-stage").CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	verdict := strings.ReplaceAll(pass(), `"`, `\"`)
	o := world(t, map[string]string{"modes/closing.cue": strings.Replace(judgeScript, "VERDICT", verdict, 1)})
	gitIn(t, o.W.Project, "init", "-q")
	change(t, o, "one\n")
	starts := filepath.Join(filepath.Dir(o.W.Project), "agents")
	t.Cleanup(func() { os.Remove(starts) })
	o.Admit(controllertest.Spec("root", "checks: [{name: unit, run: 'cat main.txt'}]"))
	o.Finish(schema.Key{Family: "spec", ID: "root"})
	o.Ready("root")
	r := o.Run()

	first := supervised(t, o, binary)
	if len(first.ChecksBefore) != 1 || !first.ChecksBefore[0].Passed || first.ChecksBefore[0].Tree == "" || first.Claim == nil {
		t.Fatalf("the judge completed with %+v", first)
	}
	o.Settle()
	if now := o.Run(); now == nil || now.Rechecks != 1 || now.Request == r.Request {
		t.Fatalf("the run is %+v, the target %+v", now, o.Target("root").Blocked)
	}
	second := supervised(t, o, binary)
	if len(second.ChecksBefore) != 1 || second.ChecksBefore[0].Tree == first.ChecksBefore[0].Tree || second.Claim.Outcome != first.Claim.Outcome {
		t.Fatalf("the checks completed with %+v", second)
	}
	o.Settle()
	c := wantTarget(t, o, schema.StateDone, schema.VerdictPass, "").Closure
	if c.Tree != o.Tree() || content(t, o, "arbiter/verdicts/root@1-1.json") != pass()+"\n" || !strings.Contains(content(t, o, "arbiter/rubrics/root@1-1.md"), `"passed": true`) {
		t.Errorf("its closure is %+v", c)
	}
	if data, err := os.ReadFile(starts); err != nil || string(data) != "started\n" {
		t.Errorf("agents were started: %q, %v", data, err)
	}
	if log := content(t, o, workspace.RequestDir(r.ID, second.Request)+"/checks/before-1.log"); log != "one\nmore\n" {
		t.Errorf("the check saw %q", log)
	}
}
