//go:build agents

package agenttest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/cmd/agenttest/modelserver"
	"millrace/schema"
	"millrace/workspace/reqdir"
)

// claudeModel is one whose price claude knows.
const claudeModel = "claude-sonnet-4-5"

func claudeRequest(permission string) schema.Request {
	return schema.Request{Runner: schema.Runner{Adapter: "claude_code", EventLog: "full"}, Model: claudeModel, Permission: permission,
		Timeout: schema.Duration(time.Minute), Stall: schema.Duration(30 * time.Second)}
}

func used(c *schema.Completion) string {
	if c.Tokens == nil {
		return "unknown"
	}
	text := ""
	for _, n := range []*int64{c.Tokens.Input, c.Tokens.CachedRead, c.Tokens.CacheWrite, c.Tokens.Output} {
		if n == nil {
			text += " ?"
		} else {
			text += fmt.Sprintf(" %d", *n)
		}
	}
	return text[1:]
}

var claudeUsage = modelserver.Usage{Input: 1000, Cached: 400, CacheWrite: 100, Output: 50}

func TestClaudeWorks(t *testing.T) {
	t.Parallel()
	model := modelserver.Start(t, modelserver.Steps(
		modelserver.Reply{Run: "echo new > made.txt; env | grep -c CLAUDE_CODE_DISABLE_BACKGROUND_TASKS", Usage: claudeUsage},
		modelserver.Reply{Tool: "Agent", Args: map[string]any{"description": "look", "prompt": "look around", "subagent_type": "general-purpose"}, Usage: claudeUsage},
		modelserver.Reply{Say: "looked", Usage: claudeUsage},
		modelserver.Reply{Say: "done\n### DONE", Usage: claudeUsage}))
	w := newWorld(t, model.URL(), "claude_code")
	const settings = `{"model":"claude-opus-4-1-20250805","env":{"FROM_SETTINGS":"1"}}` // claude would rewrite it
	w.write(".home/.claude/settings.json", settings)
	req := claudeRequest("elevated")
	req.Model, req.Thinking = "claude-opus-4-6", "low"
	c := w.supervise(req)
	wantEnd(t, c, schema.ExitCompleted, "", "DONE")
	if w.read("made.txt") != "new\n" || w.read(".home/.claude/settings.json") != settings {
		t.Errorf("the work is %q, the user's settings are %q", w.read("made.txt"), w.read(".home/.claude/settings.json"))
	}
	if used(c) != "2000 1600 400 200" || c.Cost == nil || c.Cost.USD <= 0 || !c.Cost.Reported {
		t.Errorf("used %s, cost %+v: that of the subagent belongs to it", used(c), c.Cost)
	}
	final, err := os.ReadFile(filepath.Join(w.folder(c), schema.FinalFile))
	if err != nil || string(final) != "done\n### DONE\n" || c.Session == nil {
		t.Errorf("final message %q %v, session %v", final, err, c.Session)
	}
	call := model.Calls()[0]
	if call.Key != fakeKey || call.Model != "claude-opus-4-6" || call.Effort != "low" || call.Prompt != "Do the work.\n" {
		t.Errorf("asked as %s of %s, effort %q: %q", call.Key, call.Model, call.Effort, call.Prompt)
	}
	for _, tool := range []string{"AskUserQuestion", "CronCreate", "EnterPlanMode", "EnterWorktree", "ScheduleWakeup"} {
		if slices.Contains(call.Tools, tool) {
			t.Errorf("it is offered %s", tool)
		}
	}
	if _, err := os.Stat(w.path("millrace-agents/runs/run-single/agents/claude_code/projects")); err != nil {
		t.Error("the run has no folder of its own:", err)
	}
	w.assertNoKey()
	wantNowhere(t, w.path("millrace-agents"), fakeKey[len(fakeKey)-20:]) // by which claude remembers keys that were agreed to
}

// A tool that is denied ends in success all the same.
func TestClaudeDenied(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "outside.txt")
	model := modelserver.Start(t, modelserver.Steps(
		modelserver.Reply{Tool: "Write", Args: map[string]any{"file_path": outside, "content": "x"}},
		modelserver.Reply{Say: "### DONE"}))
	w := newWorld(t, model.URL(), "claude_code")
	c := w.supervise(claudeRequest("basic"))
	wantEnd(t, c, schema.ExitCompleted, "", "BLOCKED")
	if reason, _ := c.Claim.Metadata["reason"].(string); !strings.Contains(reason, "denied") || !strings.Contains(reason, outside) {
		t.Errorf("reason %q", reason)
	}
	if _, err := os.Stat(outside); err == nil {
		t.Error("it was written all the same")
	}
	offered := model.Calls()[0].Tools
	if slices.Contains(offered, "Bash") || !slices.Contains(offered, "Grep") || !slices.Contains(offered, "Edit") {
		t.Errorf("with basic permission it is offered %v", offered)
	}
}

func TestClaudePermissions(t *testing.T) {
	t.Parallel()
	for _, permission := range []string{"basic", "elevated", "maximum"} {
		t.Run(permission, func(t *testing.T) {
			t.Parallel()
			w, c := claudeSays(t, permission, modelserver.Reply{Run: "true && make --version > made.txt", Say: "I have no shell.\n### DONE"})
			w2, c2 := claudeSays(t, permission, modelserver.Reply{Tool: "Write", Args: map[string]any{"file_path": "@dir/note.md", "content": "x"}})
			wantEnd(t, c, schema.ExitCompleted, "", "DONE")
			wantEnd(t, c2, schema.ExitCompleted, "", "DONE")
			_, err := os.Stat(w.path("made.txt"))
			if ran := err == nil; ran != (permission != "basic") {
				t.Errorf("a command ran: %v", ran)
			}
			if _, err := os.Stat(w2.path("note.md")); err != nil {
				t.Error(err)
			}
			if fallen := strings.Contains(c.Detail, "to root"); fallen != (permission == "maximum" && os.Geteuid() == 0) {
				t.Errorf("detail %q", c.Detail)
			}
		})
	}
}

// claudeSays runs a claude that does one thing and is done; @dir is the project.
func claudeSays(t *testing.T, permission string, reply modelserver.Reply) (*world, *schema.Completion) {
	t.Helper()
	var w *world
	model := modelserver.Start(t, func(c modelserver.Call) modelserver.Reply {
		if c.N > 1 {
			return modelserver.Reply{Say: "### DONE"}
		}
		if path, ok := reply.Args["file_path"].(string); ok {
			reply.Args["file_path"] = strings.ReplaceAll(path, "@dir", w.dir)
		}
		return reply
	})
	w = newWorld(t, model.URL(), "claude_code")
	return w, w.supervise(claudeRequest(permission))
}

// Claude bypasses its rules for nobody who is root.
func TestClaudeRefusesRoot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	w := newWorld(t, "http://127.0.0.1:9", "claude_code")
	cmd := w.command(exec.Command(agentBin(t, "claude"), "-p", "--permission-mode", "bypassPermissions"))
	cmd.Stdin = strings.NewReader("hello")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "root") {
		t.Errorf("%v: %s", err, out)
	}
}

// A session that was ended in a tool is gone on with; what it had cost before is not counted again, though claude does.
func TestClaudeGoesOn(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"cancelled", "killed"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			model := modelserver.Start(t, modelserver.Steps(
				modelserver.Reply{Run: "touch remembered; " + inTool, Usage: claudeUsage}, modelserver.Reply{Say: "### DONE", Usage: claudeUsage}))
			w := newWorld(t, model.URL(), "claude_code")
			first := w.during(claudeRequest("elevated"), "started", func(dir string) {
				if how == "cancelled" {
					cancel(dir)
					return
				}
				time.Sleep(time.Second) // it writes its session down as it goes
				for pid, line := range w.processes() {
					if strings.Contains(line, "stream-json") {
						_ = syscall.Kill(pid, syscall.SIGKILL)
					}
				}
			})
			if first.Session == nil {
				t.Fatalf("no session: %+v", first)
			}
			req := claudeRequest("elevated")
			req.Session = first.Session
			second := w.supervise(req)
			wantEnd(t, second, schema.ExitCompleted, "", "DONE")
			calls := model.Calls()
			if body := string(calls[len(calls)-1].Body); !strings.Contains(body, "touch remembered") || second.Session == nil || second.Session.ID != first.Session.ID {
				t.Errorf("it did not go on: session %v, then %v", first.Session, second.Session)
			}
			if used(second) != "500 400 100 50" || second.Cost == nil || first.Cost != nil && second.Cost.USD > first.Cost.USD*1.01 {
				t.Errorf("used %s, cost %+v after %+v", used(second), second.Cost, first.Cost)
			}
		})
	}
}

// Runs with a key have folders of their own, and can be at work at the same time.
func TestClaudesAtTheSameTime(t *testing.T) {
	t.Parallel()
	model := modelserver.Start(t, func(c modelserver.Call) modelserver.Reply {
		if len(c.Results) > 0 {
			return modelserver.Reply{Say: "### DONE"}
		}
		return modelserver.Reply{Run: `for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do test -e met && break; touch here.$PPID; test $(ls here.* | wc -l) = 2 && touch met; perl -e "select undef, undef, undef, .2"; done; test -e met`}
	})
	w := newWorld(t, model.URL(), "claude_code")
	all := []schema.Request{claudeRequest("elevated"), claudeRequest("elevated")}
	all[0].Run, all[1].Run = "run-one", "run-two"
	for _, c := range w.together(all) {
		wantEnd(t, c, schema.ExitCompleted, "", "DONE")
		folder := w.path("millrace-agents", "runs", c.Run, "agents", "claude_code")
		if sessions, _ := filepath.Glob(filepath.Join(folder, "projects", "*", "*.jsonl")); len(sessions) != 1 {
			t.Errorf("sessions of %s: %v", c.Run, sessions)
		}
		if config, err := os.ReadFile(filepath.Join(folder, ".claude.json")); err != nil || !strings.HasSuffix(strings.TrimSpace(string(config)), "}") {
			t.Errorf("configuration of %s: %q %v", c.Run, config, err)
		}
	}
	if _, err := os.Stat(w.path("met")); err != nil {
		t.Error("they were not at work at the same time")
	}
	if _, err := os.Stat(w.path(".home/.claude.json")); err == nil {
		t.Error("the user's own configuration was written")
	}
	w.assertNoKey()
}

// together supervises several requests at a time.
func (w *world) together(all []schema.Request) []*schema.Completion {
	w.t.Helper()
	ended := make(chan error)
	dirs := make([]string, len(all))
	for i := range all {
		cmd, dir := w.stage(&all[i], "Do the work.\n")
		dirs[i] = dir
		go func() { ended <- cmd.Run() }()
	}
	var completions []*schema.Completion
	for range all {
		check(w.t, <-ended)
	}
	for _, dir := range dirs {
		c, err := reqdir.ReadCompletion(dir)
		check(w.t, err)
		completions = append(completions, c)
	}
	return completions
}

// With a stored login claude works in the user's own folder, and only one at a time.
func TestClaudeOfAStoredLogin(t *testing.T) {
	t.Parallel()
	const token = "sk-ant-oat01-that-opens-nothing"
	model := modelserver.Start(t, func(c modelserver.Call) modelserver.Reply {
		if len(c.Results) > 0 {
			return modelserver.Reply{Say: "### DONE"}
		}
		return modelserver.Reply{Run: `mkdir busy || touch twice; perl -e "select undef, undef, undef, 1"; rmdir busy`}
	})
	w := newWorld(t, model.URL(), "claude_code")
	delete(w.env, "ANTHROPIC_API_KEY")
	w.write(".home/.claude/.credentials.json", `{"claudeAiOauth":{"accessToken":"`+token+`","refreshToken":"none","expiresAt":4102444800000,"scopes":["user:inference"],"subscriptionType":"max"}}`)
	all := []schema.Request{claudeRequest("elevated"), claudeRequest("elevated")}
	all[0].Run, all[1].Run = "run-one", "run-two"
	for _, c := range w.together(all) {
		wantEnd(t, c, schema.ExitCompleted, "", "DONE")
		if _, err := os.Stat(w.path("millrace-agents", "runs", c.Run, "agents")); err == nil {
			t.Errorf("%s has a folder of its own", c.Run)
		}
	}
	if _, err := os.Stat(w.path("twice")); err == nil {
		t.Error("both were in the user's folder at the same time")
	}
	if sessions, _ := filepath.Glob(w.path(".home/.claude/projects/*/*.jsonl")); len(sessions) != 2 {
		t.Errorf("sessions in the user's folder: %v", sessions)
	}
	for _, call := range model.Calls() {
		if call.Key != token {
			t.Errorf("asked with %q", call.Key)
		}
	}
	if _, err := os.Stat(w.path(".home/.claude/.claude.json")); err == nil {
		t.Error("its configuration is not where the user's is")
	}
}
