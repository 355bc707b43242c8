//go:build agents

package agenttest

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"millrace/cmd/agenttest/modelserver"
	"millrace/schema"
	"millrace/workspace/reqdir"
)

const done = "All is well.\n### DONE"

func piRequest() schema.Request {
	return schema.Request{Runner: schema.Runner{Adapter: "pi_rpc"}}
}

// wantEnd fails when a request ended otherwise.
func wantEnd(t *testing.T, c *schema.Completion, exit, failure, outcome string) {
	t.Helper()
	got := ""
	if c.Claim != nil {
		got = c.Claim.Outcome
	}
	if c.Exit != exit || c.Failure != failure || got != outcome {
		t.Errorf("exit %q, failure %q, outcome %q (%s); want %q, %q, %q", c.Exit, c.Failure, got, c.Detail, exit, failure, outcome)
	}
}

// wantTokens fails when the numbers are others: input, cached, output.
func wantTokens(t *testing.T, of string, got *schema.Tokens, input, cached, output int64) {
	t.Helper()
	if got == nil || got.Input == nil || got.CachedRead == nil || got.Output == nil {
		t.Errorf("%s: tokens are unknown: %+v", of, got)
	} else if *got.Input != input || *got.CachedRead != cached || *got.Output != output || got.Reasoning != nil {
		t.Errorf("%s: tokens %d, %d, %d; want %d, %d, %d", of, *got.Input, *got.CachedRead, *got.Output, input, cached, output)
	}
}

// wantNowhere fails when a file below the folder holds the secret; links are not followed.
func wantNowhere(t *testing.T, folder, secret string) {
	t.Helper()
	check(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), secret) {
			t.Errorf("%s holds the key", path)
		}
		return err
	}))
}

// With a key in the environment pi works in a folder of the run's own, and leaves the user's as it was.
func TestPiDoesWork(t *testing.T) {
	t.Parallel()
	m := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Run: "echo made > made.txt; echo $PI_CODING_AGENT_DIR"}, modelserver.Reply{Say: done}))
	w := newWorld(t, m.URL(), "pi_rpc")
	// What Millrace gives it must count, whatever the user has: Node believes the first of two entries.
	w.env["PI_CODING_AGENT_DIR"] = w.path(".home", "elsewhere")
	check(t, os.Rename(w.path(".home", ".pi", "agent"), w.path(".home", "elsewhere")))
	w.write(".home/elsewhere/models.json", strings.Replace(w.read(".home/elsewhere/models.json"), `"reasoning"`,
		`"cost": {"input": 100, "output": 1000, "cacheRead": 50, "cacheWrite": 0}, "reasoning"`, 1)) // dollars a million
	settings := w.read(".home/elsewhere/settings.json")
	req := piRequest()
	req.Thinking, req.Runner.EventLog = "high", "full"
	prompt := strings.Repeat("Do the \"work\".\u2028 \r\n", 12000) // more than a pipe holds
	cmd, dir := w.stage(&req, prompt)
	check(t, cmd.Run())
	c, err := reqdir.ReadCompletion(dir)
	check(t, err)
	wantEnd(t, c, schema.ExitCompleted, "", "DONE")
	wantTokens(t, "two calls", c.Tokens, 1200, 800, 100)
	if w.read("made.txt") != "made\n" || c.Claim.Source != schema.FinalFile || c.Cost == nil || math.Abs(c.Cost.USD-0.26) > 1e-9 || !c.Cost.Reported {
		t.Errorf("claimed in %s, cost %+v", c.Claim.Source, c.Cost)
	}
	calls := m.Calls()
	own := w.path("millrace-agents", "runs", "run-single", "agents", "pi_rpc")
	if len(calls) != 2 || calls[0].Key != fakeKey || calls[0].Effort != "high" || calls[0].Prompt != prompt || strings.TrimSpace(calls[1].Results[0]) != own {
		t.Errorf("%d calls, key %q, effort %q, prompt of %d bytes, tool said %q", len(calls), calls[0].Key, calls[0].Effort, len(calls[0].Prompt), calls[len(calls)-1].Results)
	}
	if left, _ := os.ReadDir(w.path(".home", "elsewhere")); len(left) != 2 || w.read(".home/elsewhere/settings.json") != settings {
		t.Errorf("pi changed the user's folder: %v, settings %s", left, w.read(".home/elsewhere/settings.json"))
	}
	log, err := os.ReadFile(filepath.Join(dir, schema.EventsFile))
	check(t, err)
	if text := string(log); strings.Contains(text, "message_update") || strings.Contains(text, "tool_execution_update") || !strings.Contains(text, `"type":"agent_end"`) {
		t.Errorf("events:\n%s", text)
	}
	if sessions, _ := filepath.Glob(filepath.Join(own, "sessions", "*_"+c.Session.ID+".jsonl")); len(sessions) != 1 {
		t.Errorf("session %q is not among those of the run", c.Session.ID)
	}
	wantNowhere(t, w.dir, fakeKey)
}

// A failure can be gone on with: pi remembers what its tools gave, and only what is new is counted.
func TestPiGoesOnWithItsSession(t *testing.T) {
	t.Parallel()
	fails := true
	m := modelserver.Start(t, func(c modelserver.Call) modelserver.Reply {
		switch {
		case c.N == 1:
			return modelserver.Reply{Run: "echo found-it"}
		case fails:
			return modelserver.Reply{Status: http.StatusInternalServerError}
		}
		return modelserver.Reply{Say: done}
	})
	w := newWorld(t, m.URL(), "pi_rpc")
	first := w.supervise(piRequest())
	wantEnd(t, first, schema.ExitFailed, schema.FailProvider, "")
	wantTokens(t, "the first request", first.Tokens, 600, 400, 50)
	if _, err := os.Stat(filepath.Join(w.folder(first), schema.EventsFile)); err != nil {
		t.Errorf("a failure keeps its events: %v", err)
	}
	fails = false
	req := piRequest()
	req.Session = first.Session
	second := w.supervise(req)
	wantEnd(t, second, schema.ExitCompleted, "", "DONE")
	wantTokens(t, "the second request", second.Tokens, 600, 400, 50)
	wantTokens(t, "the session", second.Session.Tokens, 1200, 800, 100)
	calls := m.Calls()
	if last := calls[len(calls)-1]; second.Session.ID != first.Session.ID || !strings.Contains(string(last.Body), "found-it") {
		t.Errorf("session %s went on as %s; the model was shown\n%s", first.Session.ID, second.Session.ID, last.Body)
	}
	if _, err := os.Stat(filepath.Join(w.folder(second), schema.EventsFile)); err == nil {
		t.Error("a success keeps no events")
	}

	req.Session = &schema.Session{Request: "gone", ID: "01a204ec-0000-7000-8000-000000000000", Tokens: second.Session.Tokens}
	third := w.supervise(req) // what is left of no session is begun anew, and nobody is asked
	wantEnd(t, third, schema.ExitCompleted, "", "DONE")
	wantTokens(t, "a new session", third.Session.Tokens, 600, 400, 50)
}

func TestPiPermissionsAndThinking(t *testing.T) {
	t.Parallel()
	m := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Say: done, NoUsage: true}))
	w := newWorld(t, m.URL(), "pi_rpc")
	for i, permission := range []string{"basic", "elevated", "maximum"} {
		req := piRequest()
		req.Permission, req.Runner.Provider, req.Model = permission, "mock", mockModel
		c := w.supervise(req)
		wantEnd(t, c, schema.ExitCompleted, "", "DONE")
		if offered := " " + strings.Join(m.Calls()[i].Tools, " ") + " "; strings.Contains(offered, " bash ") == (permission == "basic") || !strings.Contains(offered, " edit ") {
			t.Errorf("%s: offered%s", permission, offered)
		}
		if c.Tokens != nil || c.Cost != nil || c.Session.Tokens != nil {
			t.Errorf("tokens that nobody told of: %+v, %+v", c.Tokens, c.Cost)
		}
	}
}

// A login that pi has stored is used where it is, by one agent at a time, and stays there.
func TestPiWithAStoredLogin(t *testing.T) {
	t.Parallel()
	const stored = "stored-key-that-opens-nothing"
	m := modelserver.Start(t, func(c modelserver.Call) modelserver.Reply {
		if len(c.Results) == 0 {
			return modelserver.Reply{Run: "mkdir busy || touch met; sleep 2; rmdir busy"}
		}
		return modelserver.Reply{Say: done}
	})
	w := newWorld(t, m.URL(), "pi_rpc")
	w.write(".home/.pi/agent/auth.json", fmt.Sprintf(`{"mock": {"type": "api_key", "key": %q}}`, stored))
	settings := w.read(".home/.pi/agent/settings.json") // and OPENAI_API_KEY is set: pi believes its login first
	var dirs []string
	ends := make(chan error)
	for range 2 {
		req := piRequest()
		cmd, dir := w.stage(&req, "Do the work.\n")
		dirs = append(dirs, dir)
		go func() { ends <- cmd.Run() }()
	}
	check(t, <-ends)
	check(t, <-ends)
	for _, dir := range dirs {
		c, err := reqdir.ReadCompletion(dir)
		check(t, err)
		wantEnd(t, c, schema.ExitCompleted, "", "DONE")
	}
	if _, err := os.Stat(w.path("met")); err == nil {
		t.Error("they met in the user's folder")
	}
	for _, call := range m.Calls() {
		if call.Key != stored {
			t.Errorf("asked with %q", call.Key)
		}
	}
	if w.read(".home/.pi/agent/settings.json") != settings {
		t.Errorf("the user's settings became %s", w.read(".home/.pi/agent/settings.json"))
	}
	if names, _ := filepath.Glob(w.path(".home", ".pi", "agent", "*")); len(names) != 3 {
		t.Errorf("the user's folder has %v", names)
	}
	wantNowhere(t, w.dir, stored)
	wantNowhere(t, w.dir, fakeKey)
}

// A key in models.json is read through a link by any number of agents; nothing of theirs is in the user's folder.
func TestPiWithAKeyInItsModels(t *testing.T) {
	t.Parallel()
	const literal = "literal-key-that-opens-nothing"
	m := modelserver.Start(t, modelserver.Say(done))
	w := newWorld(t, m.URL(), "pi_rpc")
	delete(w.env, "OPENAI_API_KEY")
	w.write(".home/.pi/agent/models.json", strings.ReplaceAll(w.read(".home/.pi/agent/models.json"), "OPENAI_API_KEY", literal))
	c := w.supervise(piRequest())
	wantEnd(t, c, schema.ExitCompleted, "", "DONE")
	if calls := m.Calls(); len(calls) != 1 || calls[0].Key != literal {
		t.Errorf("%d calls", len(calls))
	}
	if names, _ := os.ReadDir(w.path(".home", ".pi", "agent")); len(names) != 2 {
		t.Errorf("the user's folder has %v", names)
	}
	wantNowhere(t, w.dir, literal)
}

func TestPiWithoutAnyLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "http://127.0.0.1:9", "pi_rpc")
	delete(w.env, "OPENAI_API_KEY")
	check(t, os.RemoveAll(w.path(".home", ".pi")))
	for _, model := range []string{"", "openai/gpt-5"} {
		req := piRequest()
		req.Model = model
		c := w.supervise(req)
		wantEnd(t, c, schema.ExitFailed, schema.FailAuth, "")
		if !strings.Contains(c.Detail, "No API key found") || !strings.Contains(c.Detail, "log in (pi, and in it /login)") {
			t.Errorf("%q: detail is %q", model, c.Detail)
		}
	}
}

// What pi is not told: set_auto_retry would be written into the settings of the user.
func TestPiWritesRetrySettingsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "http://127.0.0.1:9", "pi_rpc")
	cmd := w.command(exec.Command(agentBin(t, "pi"), "--mode", "rpc", "-ne", "-ns", "-nc", "--no-session"))
	cmd.Stdin = strings.NewReader(`{"type":"set_auto_retry","enabled":false}` + "\n" + `{"type":"get_state"}` + "\n")
	out, err := cmd.Output()
	check(t, err)
	var settings struct{ Retry struct{ Enabled *bool } }
	check(t, json.Unmarshal([]byte(w.read(".home/.pi/agent/settings.json")), &settings))
	if settings.Retry.Enabled == nil || *settings.Retry.Enabled {
		t.Errorf("it does not any more: set_auto_retry could be used\n%s", out)
	}
}
