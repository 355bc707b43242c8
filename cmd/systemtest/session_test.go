package systemtest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"millrace/schema"
	"millrace/workspace"
)

// inFlight is the folder of the only request in flight.
func (p *project) inFlight() (id, dir string) {
	p.t.Helper()
	runs := p.state().ActiveRuns()
	if len(runs) != 1 || runs[0].Request == "" {
		p.t.Fatalf("runs are %+v", runs)
	}
	return runs[0].Request, p.path("millrace-agents", workspace.RequestDir(runs[0].ID, runs[0].Request))
}

// remember writes session.json as a supervisor does for an agent that has sessions.
func (p *project) remember(dir string, s schema.Session) {
	p.t.Helper()
	data, err := json.Marshal(s)
	check(p.t, err)
	check(p.t, os.WriteFile(filepath.Join(dir, ".session.json.tmp"), data, 0o644))
	check(p.t, os.Rename(filepath.Join(dir, ".session.json.tmp"), filepath.Join(dir, schema.SessionFile)))
}

// An agent that waits is not one that works: whoever looks is told so. When its supervisor is lost its session is not:
// the next request goes on with it, says so, and what nobody counted is not taken for nothing.
func TestFaultLostAgentIsPaidAgain(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.write("agent/hold", "")
	p.drop("tasks/a.yaml", task("a"))
	p.startDaemon()
	p.eventually("an agent works", func() bool { return p.totalStarts() == 1 })
	first, dir := p.inFlight()
	session := schema.Session{Request: first, ID: "s-1"}
	session.Waiting = "another agent uses the login stored in /home/x/.agent\x1b[2J"
	p.remember(dir, session)
	const waits = "another agent uses the login stored in /home/x/.agent[2J"
	p.says([]string{"status"}, "its agent waits: "+waits)
	p.says([]string{"why", "a"}, "its stage builder waits: "+waits, "cleared by:")
	p.says([]string{"why"}, "running", "task/a: its stage builder waits: "+waits)
	p.says([]string{"runs", "trace", "latest"}, "its agent waits: "+waits)
	p.says([]string{"runs", "show", "latest"}, waits)
	p.says([]string{"status", "-o", "json"}, `"waiting": "`+waits)
	p.says([]string{"runs", "trace", "latest", "-o", "json"}, `"waiting": "`+waits)
	session.Waiting = ""
	p.remember(dir, session)
	p.says([]string{"why", "a"}, "nothing is in its way")
	if out := p.must("status"); strings.Contains(out, "waits") {
		t.Errorf("it waits no more, and status says\n%s", out)
	}

	supervisors := p.processes("millrace-stage")
	if len(supervisors) != 1 {
		t.Fatalf("supervisors %v", supervisors)
	}
	check(t, syscall.Kill(supervisors[0], syscall.SIGKILL))
	p.eventually("another agent works", func() bool { return p.totalStarts() == 2 })
	second, now := p.inFlight()
	var req schema.Request
	data, err := os.ReadFile(filepath.Join(now, schema.RequestFile))
	check(t, err)
	check(t, json.Unmarshal(data, &req))
	if second == first || req.Session == nil || req.Session.ID != "s-1" || req.Session.Request != first || req.Session.Tokens != nil {
		t.Errorf("request %s goes on with %+v", second, req.Session)
	}
	text, err := os.ReadFile(filepath.Join(now, schema.PromptFile))
	check(t, err)
	if !strings.Contains(string(text), "## You were interrupted") || !strings.Contains(string(text), first+"/` does not count") {
		t.Errorf("the prompt does not say so:\n%s", text)
	}

	// The second counts, and is lost as well.
	in, out := int64(2000), int64(100)
	p.remember(now, schema.Session{Request: second, ID: "s-1", Tokens: &schema.Tokens{Input: &in, Output: &out}})
	supervisors = p.processes("millrace-stage")
	check(t, syscall.Kill(supervisors[0], syscall.SIGKILL))
	p.eventually("a third agent works", func() bool { return p.totalStarts() == 3 })
	_, third := p.inFlight()
	data, err = os.ReadFile(filepath.Join(third, schema.RequestFile))
	check(t, err)
	req = schema.Request{}
	check(t, json.Unmarshal(data, &req))
	if req.Session == nil || req.Session.Request != second || req.Session.Tokens.Total() != 2100 {
		t.Errorf("the third goes on with %+v", req.Session)
	}
	p.says([]string{"status"}, "≥2.1k")
	p.says([]string{"runs", "trace", "latest"}, "tokens unknown", "≥2.1k tokens")
	p.says([]string{"runs", "ls", "-o", "json"}, `"tokens": 2100`, `"tokens_at_least": true`)
	check(t, os.Remove(p.path("agent", "hold")))
	p.eventually("a is done", func() bool { return p.stateIs("task", "a", schema.StateDone) })
	p.must("verify")
}

// An agent that gives up says why in its last words. Whoever looks at the item is told them.
func TestFaultBlockedAgentGivesNoReason(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.shellAgent("printf 'I tried.\\n\\nThe \\033[1mdatabase\\033[0m is\\nnot there.\\n\\n### BLOCKED\\n'\n", "")
	p.drop("tasks/a.yaml", task("a"))
	p.untilIdle()
	const why = "The [1mdatabase[0m is not there."
	it := p.item("task", "a")
	if it.State != schema.StateBlocked || it.Blocked == nil || it.Blocked.Message != why {
		t.Fatalf("a is %s, %+v", it.State, it.Blocked)
	}
	p.says([]string{"why", "a"}, why)
	p.says([]string{"status"}, why)
	p.says([]string{"runs", "trace", "latest"}, why)
	p.says([]string{"get", "task", "a", "-o", "json"}, why)
}
