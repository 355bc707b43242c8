//go:build agents

package agenttest

import (
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"millrace/cmd/agenttest/modelserver"
	"millrace/schema"
	"millrace/workspace/reqdir"
)

// codexAsks makes a request for codex; its events are kept.
func codexAsks(config ...string) schema.Request {
	r := schema.Runner{Adapter: "codex_cli", EventLog: "full", Config: map[string]string{}}
	for i := 0; i < len(config); i += 2 {
		r.Config[config[i]] = config[i+1]
	}
	return schema.Request{Runner: r}
}

// codexGivesUp are settings with which codex does not try again.
var codexGivesUp = []string{"model_providers.mock.request_max_retries", "0", "model_providers.mock.stream_max_retries", "0"}

// codexProvider replaces the provider in the user's settings.
func (w *world) codexProvider(url, auth string) {
	w.write(".home/.codex/config.toml", fmt.Sprintf("model = %q\nmodel_provider = \"mock\"\n[model_providers.mock]\nname = \"mock\"\nbase_url = \"%s/v1\"\nwire_api = \"responses\"\n%s\n",
		mockModel, url, auth))
}

// codex runs the program without Millrace, as the user would.
func (w *world) codex(args ...string) *exec.Cmd {
	cmd := w.command(exec.Command(agentBin(w.t, "codex"), append([]string{"exec", "--json", "--dangerously-bypass-approvals-and-sandbox",
		"-c", "analytics.enabled=false", "-c", "features.plugins=false"}, args...)...))
	cmd.Stdin = strings.NewReader("Do the work.\n")
	cmd.Stderr = &strings.Builder{}
	return cmd
}

// codexEvents are what codex said.
func (w *world) codexEvents(c *schema.Completion) string {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.folder(c), schema.EventsFile))
	check(w.t, err)
	return string(data)
}

// wantCodexTokens fails when the numbers are others.
func (w *world) wantCodexTokens(what string, t *schema.Tokens, input, cached, write, output, reasoning int64) {
	w.t.Helper()
	value := func(n *int64) string {
		if n == nil {
			return "unknown"
		}
		return strconv.FormatInt(*n, 10)
	}
	if t == nil {
		t = &schema.Tokens{}
	}
	got := fmt.Sprintln(value(t.Input), value(t.CachedRead), value(t.CacheWrite), value(t.Output), value(t.Reasoning))
	if want := fmt.Sprintln(input, cached, write, output, reasoning); got != want {
		w.t.Errorf("%s: tokens %swant %s", what, got, want)
	}
}

// A stage from its prompt to its tokens; the model is one that codex has never heard of, and the prompt a long one.
func TestCodexWorks(t *testing.T) {
	usage := modelserver.Usage{Input: 1000, Cached: 400, CacheWrite: 100, Output: 50, Reasoning: 10}
	model := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Run: "echo hello > made.txt; cat made.txt", Usage: usage},
		modelserver.Reply{Say: done, Usage: usage}))
	w := newWorld(t, model.URL(), "codex_cli")
	req := codexAsks()
	req.Model, req.Thinking = "no-such-model", "high"
	long := strings.Repeat("A long story about a mill. ", 8000)
	cmd, dir := w.stage(&req, long)
	check(t, cmd.Run())
	c, err := reqdir.ReadCompletion(dir)
	check(t, err)
	wantEnd(t, c, schema.ExitCompleted, "", "DONE")
	if got := w.read("made.txt"); got != "hello\n" {
		t.Errorf("it made %q", got)
	}
	w.wantCodexTokens("two calls", c.Tokens, 1000, 800, 200, 100, 20)
	final, err := os.ReadFile(filepath.Join(dir, schema.FinalFile))
	if err != nil || string(final) != done+"\n" {
		t.Errorf("final message %q (%v)", final, err)
	}
	events := w.codexEvents(c)
	if !strings.Contains(events, `"type":"error","message":"Model metadata for `+"`no-such-model`") {
		t.Errorf("it says nothing of the unknown model: %s", events)
	}
	calls := model.Calls()
	if len(calls) != 2 || calls[0].Model != "no-such-model" || calls[0].Effort != "high" || calls[0].Prompt != long || calls[0].Key != fakeKey {
		t.Errorf("%d calls, the first for %s with effort %q and a prompt of %d bytes", len(calls), calls[0].Model, calls[0].Effort, len(calls[0].Prompt))
	}
}

// The reply is not held to the schema that the model was given: what it says is read as it is.
func TestCodexEnforcesNoSchema(t *testing.T) {
	model := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Say: done}))
	w := newWorld(t, model.URL(), "codex_cli")
	w.write("reply.json", `{"type":"object","properties":{"outcome":{"type":"string"}},"required":["outcome"],"additionalProperties":false}`)
	req := codexAsks()
	req.Runner.Args = []string{"--output-schema", w.path("reply.json")}
	wantEnd(t, w.supervise(req), schema.ExitCompleted, "", "DONE")
	if body := string(model.Calls()[0].Body); !strings.Contains(body, `"json_schema"`) || !strings.Contains(body, `"strict":true`) {
		t.Error("the model was not given the schema")
	}
}

// codex counts a session's tokens from its beginning, without the model's answer whose tool was ended with it. All of
// them are counted, each once.
func TestCodexGoesOnWithASession(t *testing.T) {
	model := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Run: "echo one"}, modelserver.Reply{Run: "touch began; sleep 62"}, modelserver.Reply{Say: done}))
	w := newWorld(t, model.URL(), "codex_cli")
	req := codexAsks()
	cmd, dir := w.stage(&req, "The first prompt.\n")
	check(t, cmd.Start())
	w.eventually("the second tool runs", func() bool { _, err := os.Stat(w.path("began")); return err == nil })
	check(t, os.WriteFile(filepath.Join(dir, schema.CancelFile), []byte("enough\n"), 0o644))
	check(t, cmd.Wait())
	first, err := reqdir.ReadCompletion(dir)
	check(t, err)
	wantEnd(t, first, schema.ExitCancelled, schema.FailCancelled, "")
	w.wantCodexTokens("two calls", first.Tokens, 1200, 800, 0, 100, 20)
	if first.Session == nil {
		t.Fatal("no session")
	}
	next := codexAsks()
	next.Session = first.Session
	second := w.supervise(next)
	wantEnd(t, second, schema.ExitCompleted, "", "DONE")
	w.wantCodexTokens("one more", second.Tokens, 600, 400, 0, 50, 10)
	if second.Session == nil || second.Session.ID != first.Session.ID {
		t.Errorf("session %+v", second.Session)
	}
	if events := w.codexEvents(second); !strings.Contains(events, `"turn.completed","usage":{"input_tokens":2000,`) {
		t.Errorf("it no longer counts as it did: %s", events)
	}
	calls := model.Calls()
	if len(calls) != 3 || !strings.Contains(string(calls[2].Body), "The first prompt.") || !strings.Contains(calls[2].Prompt, "Do the work.") {
		t.Errorf("%d calls, the last with the prompt %q", len(calls), calls[len(calls)-1].Prompt)
	}
	next.ID, next.Session = "", &schema.Session{ID: "01a204e7-52ec-7c71-aa35-000000000000"}
	if c := w.supervise(next); c.Exit != schema.ExitCompleted || !strings.Contains(c.Detail, "it began anew") {
		t.Errorf("a session that nobody has: %s, %q", c.Exit, c.Detail)
	}
}

// What goes to the agents that codex starts is in no event of its own, and is counted all the same; a provider that
// reports nothing leaves it unknown.
func TestCodexCountsItsAgents(t *testing.T) {
	spawn := modelserver.Reply{Tool: "multi_agent_v1/spawn_agent", Args: map[string]any{"message": "Help."}}
	model := modelserver.Start(t, func(c modelserver.Call) modelserver.Reply {
		body := string(c.Body)
		switch tools := strings.Count(body, `"function_call_output"`); {
		case !strings.Contains(body, "Do the work."):
			return modelserver.Reply{Say: "Helped."}
		case tools == 0:
			return spawn
		case tools == 1:
			return modelserver.Reply{Run: "sleep 1"} // the agent is content meanwhile
		}
		return modelserver.Reply{Say: done}
	})
	w := newWorld(t, model.URL(), "codex_cli")
	c := w.supervise(codexAsks())
	wantEnd(t, c, schema.ExitCompleted, "", "DONE")
	w.wantCodexTokens("three calls and one of an agent", c.Tokens, 2400, 1600, 0, 200, 40)
	if events := w.codexEvents(c); !strings.Contains(events, `"turn.completed","usage":{"input_tokens":3000,`) {
		t.Errorf("it counts otherwise now: %s", events)
	}
	w = newWorld(t, modelserver.Start(t, modelserver.Steps(modelserver.Reply{Say: done, NoUsage: true})).URL(), "codex_cli")
	if c = w.supervise(codexAsks()); c.Tokens != nil || c.Exit != schema.ExitCompleted {
		t.Errorf("%s, tokens %+v", c.Exit, c.Tokens)
	}
}

// Permissions hold, where the system lets codex make its sandbox; where it does not, its tools do not run at all.
func TestCodexPermissions(t *testing.T) {
	for _, p := range []struct {
		permission string
		held       bool
	}{{"basic", true}, {"elevated", false}, {"maximum", false}} {
		someone, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		defer someone.Close()
		model := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Run: "echo x > inside; echo x > ../outside; echo x > $MILLRACE_REQUEST_DIR/artifact; " +
			"(exec 3<>/dev/tcp/127.0.0.1/" + strconv.Itoa(someone.Addr().(*net.TCPAddr).Port) + ") && echo x > connected; true"}, modelserver.Reply{Say: done}))
		w := newWorld(t, model.URL(), "codex_cli")
		req := codexAsks("sandbox_workspace_write.exclude_slash_tmp", "true", "sandbox_workspace_write.exclude_tmpdir_env_var", "true")
		req.Permission = p.permission
		c := w.supervise(req)
		wantEnd(t, c, schema.ExitCompleted, "", "DONE")
		there := func(rel string) bool { _, err := os.Stat(w.path(rel)); return err == nil }
		switch {
		case there("../outside") == p.held:
			t.Errorf("%s: something was written outside of the project: %v", p.permission, !p.held)
		case there("connected") == p.held:
			t.Errorf("%s: a connection was made: %v", p.permission, !p.held)
		case there("inside") && !there(filepath.Join("millrace-agents", "runs", c.Run, c.Request, "artifact")):
			t.Errorf("%s: artifacts cannot be written", p.permission)
		case !there("inside") && p.held:
			t.Logf("no sandbox here: %v", model.Calls()[1].Results)
		case !there("inside"):
			t.Errorf("%s: nothing was written: %v", p.permission, model.Calls()[1].Results)
		}
	}
}

// The key reaches the provider, and nothing that is written down: not codex, not its tools, not the model.
func TestCodexKeyIsNotWrittenDown(t *testing.T) {
	for _, key := range []struct{ name, auth string }{
		{"OPENAI_API_KEY", "requires_openai_auth = true"}, {"CODEX_API_KEY", "requires_openai_auth = true"},
		{"OUR_KEY", "requires_openai_auth = true"}, {"OUR_KEY", `env_key = "OUR_KEY"`},
	} {
		model := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Run: "env; export -p; set"}, modelserver.Reply{Say: done}))
		w := newWorld(t, model.URL(), "codex_cli")
		w.codexProvider(model.URL(), key.auth)
		delete(w.env, "OPENAI_API_KEY")
		w.env[key.name] = fakeKey
		req := codexAsks()
		req.Runner.KeyEnv = "OUR_KEY"
		wantEnd(t, w.supervise(req), schema.ExitCompleted, "", "DONE")
		for _, call := range model.Calls() {
			if call.Key != fakeKey || strings.Contains(string(call.Body), fakeKey) {
				t.Errorf("%s: the provider was asked with %q", key, call.Key)
			}
		}
		if given := strings.Join(model.Calls()[1].Results, ""); !strings.Contains(given, "MILLRACE_REQUEST_DIR=") {
			t.Errorf("%s: its tools are without the request's variables: %s", key, given)
		}
		wantNowhere(t, filepath.Dir(w.dir), fakeKey)
	}
}

// codex itself takes no key from OPENAI_API_KEY for its own provider, and CODEX_API_KEY before a stored login. Its stages
// are the same: a login is not passed over for a key that is there for others.
func TestCodexLoginAndKeys(t *testing.T) {
	const login, other, own = "login-that-opens-nothing", "others-key-that-opens-nothing", "own-key-that-opens-nothing"
	for _, c := range []struct {
		stored    bool
		env       map[string]string
		alone, in string // key that codex asks with by itself, in a stage
	}{
		{true, nil, login, login},
		{true, map[string]string{"OPENAI_API_KEY": other}, login, login},
		{true, map[string]string{"OPENAI_API_KEY": other, "CODEX_API_KEY": own}, own, own},
		{false, map[string]string{"OPENAI_API_KEY": other}, "", other},
		{false, map[string]string{"OPENAI_API_KEY": other, "CODEX_API_KEY": own}, own, own},
	} {
		model := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Say: done}))
		w := newWorld(t, model.URL(), "codex_cli")
		w.codexProvider(model.URL(), "requires_openai_auth = true")
		delete(w.env, "OPENAI_API_KEY")
		maps.Copy(w.env, c.env)
		if c.stored {
			w.write(".home/.codex/auth.json", `{"auth_mode":"apikey","OPENAI_API_KEY":"`+login+`"}`)
		}
		check(t, w.codex("-").Run())
		got := w.supervise(codexAsks())
		wantEnd(t, got, schema.ExitCompleted, "", "DONE")
		calls := model.Calls()
		if len(calls) != 2 || calls[0].Key != c.alone || calls[1].Key != c.in {
			t.Errorf("%+v: %d calls, %q alone and %q in a stage", c, len(calls), calls[0].Key, calls[1].Key)
		}
		_, err := os.Stat(filepath.Join(filepath.Dir(w.folder(got)), schema.AgentsFolder, "codex_cli"))
		if own := err == nil; own == (c.in == login) {
			t.Errorf("%+v: a folder of its own is %v", c, own)
		}
	}
}

// Stages with a stored login are never at work at the same time; with a key they are.
func TestCodexLoginIsUsedByOneAtATime(t *testing.T) {
	for _, stored := range []bool{true, false} {
		var mu sync.Mutex
		busy, most := 0, 0
		model := modelserver.Start(t, func(c modelserver.Call) modelserver.Reply {
			mu.Lock()
			defer mu.Unlock()
			if len(c.Results) > 0 {
				busy--
				return modelserver.Reply{Say: done}
			}
			busy++
			most = max(most, busy)
			return modelserver.Reply{Run: "sleep 1.5"}
		})
		w := newWorld(t, model.URL(), "codex_cli")
		w.codexProvider(model.URL(), "requires_openai_auth = true")
		if stored {
			w.write(".home/.codex/auth.json", `{"auth_mode":"apikey","OPENAI_API_KEY":"login-that-opens-nothing"}`)
		}
		var both []*exec.Cmd
		var dirs []string
		for range 2 {
			req := codexAsks()
			cmd, dir := w.stage(&req, "Do the work.\n")
			check(t, cmd.Start())
			both, dirs = append(both, cmd), append(dirs, dir)
		}
		for i, cmd := range both {
			check(t, cmd.Wait())
			c, err := reqdir.ReadCompletion(dirs[i])
			check(t, err)
			wantEnd(t, c, schema.ExitCompleted, "", "DONE")
		}
		if want := map[bool]int{true: 1, false: 2}[stored]; most != want {
			t.Errorf("with a stored login %v, %d at a time", stored, most)
		}
	}
}
