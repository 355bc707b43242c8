//go:build agents

package agenttest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/cmd/agenttest/modelserver"
	"millrace/schema"
	"millrace/workspace"
)

// A team is a model that does every stage's work: it reads in the prompt which stage it is and where its artifacts
// belong, has the agent edit the project and write them with the agent's own tools, and ends with an outcome.
type team struct {
	outcomes map[string][]string                                               // of a stage's visits, in turn; the last one counts on. Not there: the good one
	twist    func(work, modelserver.Call, modelserver.Reply) modelserver.Reply // what becomes of an answer; nil: nothing

	mu        sync.Mutex
	visits    map[string]int               // stage → requests so far
	as        map[string]string            // request → outcome
	spent     map[string]modelserver.Usage // by request: what its answers cost
	begun     map[string]int               // by request: agents that began with it, of which there must be one
	remembers map[string]bool              // by request: whether the agent remembered an edit when it began
}

// A work is what the model understands of a call: the stage, the request and its folder, and whether the agent
// remembers from an earlier request that it has edited the project.
type work struct {
	stage, folder, request string
	again                  bool
}

// never is an answer that the test does not wait for: whoever asked is gone by then.
const never = time.Hour

var (
	stageLine  = regexp.MustCompile(`(?m)^- Stage: (\w+)`)
	folderLine = regexp.MustCompile("(?m)^- Request folder: `([^`]+)/`")
)

// kinds are the stages of the standard execution graph: the good outcome, and what each one writes.
var kinds = map[string]struct {
	good  string
	files []string
}{
	"builder":       {"BUILDER_COMPLETE", []string{"builder_summary.md"}},
	"checker":       {"CHECKER_PASS", []string{"checker_expectations.md", "checker_summary.md"}},
	"fixer":         {"FIXER_COMPLETE", []string{"fixer_summary.md"}},
	"doublechecker": {"DOUBLECHECK_PASS", []string{"doublechecker_summary.md"}},
	"updater":       {"UPDATE_COMPLETE", []string{"updater_summary.md"}},
}

func newTeam() *team {
	return &team{visits: map[string]int{}, as: map[string]string{}, spent: map[string]modelserver.Usage{}, begun: map[string]int{}, remembers: map[string]bool{}}
}

// script answers a call.
func (m *team) script(c modelserver.Call) modelserver.Reply {
	m.mu.Lock()
	defer m.mu.Unlock()
	stage, folder := stageLine.FindStringSubmatch(c.Prompt), folderLine.FindStringSubmatch(c.Prompt)
	if stage == nil || folder == nil || kinds[stage[1]].good == "" {
		return modelserver.Reply{Say: "I was not told what to do.\n\n### BLOCKED"}
	}
	w := work{stage: stage[1], folder: folder[1], request: filepath.Base(folder[1])}
	if _, known := m.as[w.request]; !known {
		m.as[w.request] = kinds[w.stage].good
		if all := m.outcomes[w.stage]; len(all) > 0 {
			m.as[w.request] = all[min(m.visits[w.stage], len(all)-1)]
		}
		m.visits[w.stage]++
	}
	if len(c.Results) == 0 {
		m.begun[w.request]++
		m.remembers[w.request] = bytes.Contains(c.Body, []byte("hello, world"))
	}
	w.again = m.remembers[w.request]
	reply := m.next(w, c)
	reply.Usage = modelserver.Usage{Input: 1000 + int64(c.N), Cached: 400, Output: 50 + int64(c.N), Reasoning: 10}
	if c.API == "messages" {
		reply.Usage.CacheWrite = 100
	}
	if m.twist != nil {
		reply = m.twist(w, c, reply)
	}
	if reply.Status == 0 && reply.Stall < never {
		m.spent[w.request] = sum(m.spent[w.request], reply.Usage)
	}
	return reply
}

func sum(a, b modelserver.Usage) modelserver.Usage {
	return modelserver.Usage{Input: a.Input + b.Input, Cached: a.Cached + b.Cached, CacheWrite: a.CacheWrite + b.CacheWrite,
		Output: a.Output + b.Output, Reasoning: a.Reasoning + b.Reasoning}
}

// next is the step that follows what tools gave so far: edit, where the stage builds; write down; end.
func (m *team) next(w work, c modelserver.Call) modelserver.Reply {
	var steps []modelserver.Reply
	if w.stage == "builder" && !w.again {
		steps = edits(c.API)
	}
	outcome := m.as[w.request]
	var notes strings.Builder
	files := kinds[w.stage].files
	if outcome == "FIX_NEEDED" {
		files = append([]string{"fix_contract.md"}, files...)
	}
	if w.stage == "fixer" {
		notes.WriteString("echo '# mended' >> greeting.txt\n")
	}
	for _, name := range files {
		fmt.Fprintf(&notes, "printf '# By %s\\n\\nSeen to be so.\\n' > %s/%s\n", w.stage, w.folder, name)
	}
	steps = append(steps, modelserver.Reply{Run: notes.String()}, modelserver.Reply{Say: "All of it is done.\n\n### " + outcome})
	return steps[min(len(c.Results), len(steps)-1)]
}

// edits change greeting.txt with the tools that each agent has for that.
func edits(api string) []modelserver.Reply {
	switch api {
	case "responses":
		return []modelserver.Reply{{Run: "apply_patch <<'EOF'\n*** Begin Patch\n*** Update File: greeting.txt\n@@\n-hello\n+hello, world\n*** End Patch\nEOF\n"}}
	case "chat":
		return []modelserver.Reply{{Tool: "edit", Args: map[string]any{"path": "greeting.txt", "edits": []any{map[string]any{"oldText": "hello", "newText": "hello, world"}}}}}
	}
	return []modelserver.Reply{
		{Tool: "Read", Args: map[string]any{"file_path": "greeting.txt"}},
		{Tool: "Edit", Args: map[string]any{"file_path": "greeting.txt", "old_string": "hello", "new_string": "hello, world"}},
	}
}

// greet is a task whose one check sees the edit, but does not say what it is.
const greet = `kind: task
task_id: greet
title: Greet the world
acceptance: [greeting.txt greets the world]
checks: [{name: greets, run: "grep -q world greeting.txt"}]
`

// trace is the way that the task's latest run took.
func (w *world) trace() workspace.Trace {
	w.t.Helper()
	var t workspace.Trace
	check(w.t, json.Unmarshal([]byte(w.must("runs", "trace", "latest", "-o", "json")), &t))
	return t
}

// assertPaid holds the tokens in a trace against what the model said that its answers cost.
func (m *team) assertPaid(t *testing.T, trace workspace.Trace) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range trace.Nodes {
		u, got := m.spent[n.Request], n.Tokens
		if got == nil {
			t.Errorf("%s: no tokens are known, want %+v", n.Node, u)
			continue
		}
		for class, pair := range map[string]struct {
			got  *int64
			want int64
			must bool // else it may be unknown
		}{
			"input":       {got.Input, u.Input - u.Cached - u.CacheWrite, true},
			"cached read": {got.CachedRead, u.Cached, true},
			"cache write": {got.CacheWrite, u.CacheWrite, u.CacheWrite > 0},
			"output":      {got.Output, u.Output, true},
			"reasoning":   {got.Reasoning, u.Reasoning, false},
		} {
			if (pair.got == nil && pair.must) || (pair.got != nil && *pair.got != pair.want) {
				t.Errorf("%s: %s tokens are %s, the model gave %d", n.Node, class, known(pair.got), pair.want)
			}
		}
	}
	for request, n := range m.begun {
		if n != 1 {
			t.Errorf("%d agents began request %s", n, request)
		}
	}
}

// assertCountedOnce holds what a trace says of all tokens against what the model said of all its answers. What the lost
// request had used is in it where its agent tells before it ends.
func (m *team) assertCountedOnce(t *testing.T, trace workspace.Trace, lost string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	var want, got int64
	for request, u := range m.spent {
		if request != lost {
			want += u.Input + u.Output
		}
	}
	for _, n := range trace.Nodes {
		got += n.Tokens.Total()
	}
	if got != want {
		t.Errorf("%d tokens are on record, the model gave %d: %+v", got, want, m.spent)
	}
}

func known(n *int64) string {
	if n == nil {
		return "unknown"
	}
	return fmt.Sprint(*n)
}

// assertWent holds a finished task's trace against the outcomes that it should have had, in turn.
func (w *world) assertWent(id string, outcomes ...string) workspace.Trace {
	w.t.Helper()
	if it := w.task(id); it.State != schema.StateDone || len(it.Counters) != strings.Count(strings.Join(outcomes, " "), "FIX_NEEDED") {
		w.t.Errorf("task %s is %s, with budgets spent: %v\n%s", id, it.State, it.Counters, w.must("why", "task/"+id))
	}
	t := w.trace()
	if w.task(id).State == schema.StateDone { // the last record may have to be applied yet
		w.eventually("its run has ended", func() bool { t = w.trace(); return t.State == schema.RunEnded })
	}
	var went []string
	for _, n := range t.Nodes {
		went = append(went, n.Outcome)
	}
	if fmt.Sprint(went) != fmt.Sprint(outcomes) {
		w.t.Errorf("the task went by %v, want %v\n%s", went, outcomes, w.must("runs", "trace", "latest"))
	}
	w.must("verify")
	return t
}
