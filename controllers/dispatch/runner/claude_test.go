package runner

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/schema"
	"millrace/workspace/reqdir"
)

const claudeKey = "sk-ant-that-opens-nothing"

// newClaude makes a request whose claude is a shell script; its home is below the project. In the script, $SAY prints
// lines of a file that lies beside it.
func newClaude(t testing.TB, script string) *bench {
	t.Helper()
	b := newBench(t, "")
	program := filepath.Join(b.project, "bin", "claude")
	b.write(program, "#!/bin/sh\ncat > \"$HOME/prompt\"; printf '%s\\n' \"$@\" > \"$HOME/args\"; env > \"$HOME/env\"\n"+script)
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	b.request.Runner = schema.Runner{Name: "claude", Adapter: "claude_code", Command: program}
	home := filepath.Join(b.project, "home")
	b.write(filepath.Join(home, ".claude", "settings.json"), "{}")
	b.write(filepath.Join(home, ".claude", "CLAUDE.md"), "be kind")
	b.env = []string{"HOME=" + home, "XDG_CACHE_HOME=" + filepath.Join(home, ".cache"), "CLAUDE_CONFIG_DIR=" + filepath.Join(home, ".claude"), "ANTHROPIC_API_KEY=" + claudeKey,
		"ANTHROPIC_AUTH_TOKEN=", "CLAUDE_CODE_OAUTH_TOKEN="}
	return b
}

func (b *bench) home(name string) string {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.project, "home", name))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(data)
}

// say is a script that prints lines.
func say(lines ...string) string {
	return "cat <<'END'\n" + strings.Join(lines, "\n") + "\nEND\n"
}

// Lines as the real program prints them, shortened.
const (
	claudeInit   = `{"type":"system","subtype":"init","session_id":"5a-1","model":"m"}`
	claudeAnswer = `{"type":"assistant","message":{"content":[{"type":"text","text":"x"}],"usage":{"input_tokens":1000,"output_tokens":1}},"session_id":"5a-1"}`
	claudeDone   = `{"type":"result","subtype":"success","is_error":false,"api_error_status":null,"session_id":"5a-1","result":"well\n### DONE","total_cost_usd":9,` +
		`"usage":{"input_tokens":7},"modelUsage":{"m":{"inputTokens":900,"costUSD":9}},` +
		`"model_usage_since_last_result":{"m":{"inputTokens":100,"outputTokens":20,"cacheReadInputTokens":40,"cacheCreationInputTokens":5,"thinkingTokens":3,"costUSD":0.5,"costBasis":"list"},` +
		`"n":{"inputTokens":1,"outputTokens":2,"thinkingTokens":1,"costUSD":0.25,"costBasis":"list"}},"permission_denials":[]}`
)

func claudeRetry(status, err, delay string) string {
	return `{"type":"system","subtype":"api_retry","attempt":1,"max_retries":10,"retry_delay_ms":` + delay + `,"error_status":` + status + `,"error":"` + err + `","session_id":"5a-1"}`
}

func claudeError(status, text, more string) string {
	return `{"type":"result","subtype":"success","is_error":true,"api_error_status":` + status + `,"result":"` + text + `","session_id":"5a-1"` + more +
		`,"modelUsage":{},"model_usage_since_last_result":{},"permission_denials":[]}`
}

func TestClaudeSucceeds(t *testing.T) {
	b := newClaude(t, say(claudeInit, claudeAnswer, claudeDone))
	prompt := strings.Repeat("do the work\n", 20_000)
	b.write(filepath.Join(b.dir, schema.PromptFile), prompt)
	b.request.Model, b.request.Thinking, b.request.MaxTurns, b.request.Permission = "sonnet", "high", 7, "elevated"
	b.request.Runner.Args = []string{"--strict-mcp-config"}
	b.request.Runner.Env = map[string]string{"CLAUDE_CODE_DISABLE_AUTO_MEMORY": "0"}
	c := b.run()
	b.want(c, schema.ExitCompleted, "", "DONE")
	seat := filepath.Join(filepath.Dir(b.dir), schema.AgentsFolder, "claude")
	want := []string{"-p", "--output-format", "stream-json", "--verbose", "--model", "sonnet", "--effort", "high", "--max-turns", "7",
		"--permission-mode", "acceptEdits", "--allowedTools", claudeWorks, "--disallowedTools", claudeNever,
		"--settings", filepath.Join(b.project, "home", ".claude", "settings.json"), "--strict-mcp-config"}
	if got := strings.Split(strings.TrimSpace(b.home("args")), "\n"); !slices.Equal(got, want) {
		t.Errorf("arguments\n%q, want\n%q", got, want)
	}
	if b.home("prompt") != prompt {
		t.Error("it was given another prompt")
	}
	env := strings.Split(b.home("env"), "\n")
	for _, entry := range []string{"CLAUDE_CONFIG_DIR=" + seat, "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "CLAUDE_CODE_DISABLE_AUTO_MEMORY=0", "ANTHROPIC_API_KEY=" + claudeKey} {
		if !slices.Contains(env, entry) {
			t.Errorf("environment lacks %s", entry)
		}
	}
	if text, err := os.ReadFile(filepath.Join(seat, "CLAUDE.md")); err != nil || string(text) != "be kind" {
		t.Errorf("the user's instructions are not there: %q %v", text, err)
	}
	if _, err := os.Lstat(filepath.Join(seat, "settings.json")); err == nil {
		t.Error("the user's settings.json can be written to through the run's folder")
	}
	got, _ := json.Marshal(c.Tokens)
	if string(got) != `{"input":101,"cached_read":40,"cache_write":5,"output":22,"reasoning":4}` || c.Cost == nil || *c.Cost != (schema.Cost{USD: 0.75, Reported: true}) {
		t.Errorf("used %s, %+v", got, c.Cost)
	}
	if b.read(schema.FinalFile) != "well\n### DONE\n" || c.Session == nil || c.Session.ID != "5a-1" || b.exists(schema.EventsFile) || c.Detail != "" {
		t.Errorf("final message %q, completion %+v", b.read(schema.FinalFile), c)
	}
}

func TestClaudePermissions(t *testing.T) {
	for permission, want := range map[string]string{
		"basic":    "acceptEdits\n--allowedTools\n" + claudeReads + "\n--disallowedTools\n" + claudeShells,
		"elevated": "acceptEdits\n--allowedTools\n" + claudeWorks + "\n--disallowedTools\n" + claudeNever,
		"maximum":  "bypassPermissions\n--disallowedTools\n" + claudeNever,
		"":         "bypassPermissions\n--disallowedTools\n" + claudeNever,
	} {
		b := newClaude(t, say(claudeInit, claudeAnswer, claudeDone))
		b.request.Permission, b.request.Thinking = permission, "minimal"
		c := b.run()
		b.want(c, schema.ExitCompleted, "", "DONE")
		root := os.Geteuid() == 0 && strings.HasPrefix(want, "bypass")
		if root {
			want = "acceptEdits\n--allowedTools\n" + claudeWorks + "\n--disallowedTools\n" + claudeNever
		}
		if args := b.home("args"); !strings.Contains(args, "--permission-mode\n"+want+"\n") || strings.Contains(args, "effort") {
			t.Errorf("%q: arguments %q", permission, args)
		}
		if strings.Contains(c.Detail, "to root") != root || !strings.Contains(c.Detail, "no thinking level minimal") {
			t.Errorf("%q: detail %q", permission, c.Detail)
		}
	}
}

func TestHowClaudeEnds(t *testing.T) {
	retry := claudeRetry("429", "rate_limit", "7959")
	tests := []struct {
		name, script  string
		failure       string
		detail        string
		wait          time.Duration
		tokensUnknown bool
	}{
		{"no result", say(claudeInit, claudeAnswer), schema.FailExit, "interrupted: it ended with exit code 0 without a result", 0, true},
		{"ended by another", say(claudeInit, claudeAnswer) + "kill -9 $$", schema.FailExit, "was ended by signal killed", 0, true},
		{"refuses to start", "echo 'no can do' >&2; exit 1", schema.FailExit, "exit code 1 without a result: no can do", 0, true},
		{"success and exit code 143", say(claudeInit, claudeAnswer, claudeDone) + "exit 143", schema.FailExit, "exit code 143", 0, false},
		{"turns spent", say(claudeInit, claudeAnswer, `{"type":"result","subtype":"error_max_turns","is_error":true,"errors":["Reached maximum number of turns (2)"],"session_id":"5a-1"}`) + "exit 1",
			schema.FailExit, "spent the turns that it was given (max_turns 0): Reached maximum", 0, true},
		{"success that is an error", say(claudeInit, claudeError("400", "API Error: 400 bad thing ### DONE", "")) + "exit 1", schema.FailExit, "400 bad thing", 0, false},
		{"unknown model", say(claudeInit, `{"type":"assistant","error":"model_not_found"}`, claudeError("404", "issue with the selected model", "")) + "exit 1", schema.FailExit, "selected model", 0, false},
		{"401", say(claudeInit, claudeError("401", "Invalid API key", "")) + "exit 1", schema.FailAuth, "Invalid API key", 0, false},
		{"not logged in", say(claudeInit, `{"type":"assistant","error":"authentication_failed"}`, claudeError("null", "Not logged in", "")) + "exit 1", schema.FailAuth, "Not logged in; log in (claude auth login)", 0, false},
		{"no money", say(claudeInit, `{"type":"assistant","error":"billing_error"}`, claudeError("400", "Credit balance is too low", "")) + "exit 1", schema.FailAuth, "Credit", 0, false},
		{"429", say(claudeInit, retry, claudeError("429", "slow down", "")) + "exit 1", schema.FailRateLimited, "slow down", 7959 * time.Millisecond, false},
		{"429, claude's own delay", say(claudeInit, claudeRetry("429", "rate_limit", "594"), claudeError("429", "slow down", "")) + "exit 1", schema.FailRateLimited, "slow down", 0, false},
		{"529", say(claudeInit, claudeError("529", "Overloaded", "")) + "exit 1", schema.FailProvider, "Overloaded", 0, false},
		{"refused", say(claudeInit, `{"type":"assistant","error":"server_error"}`, claudeError("null", "Connection refused", `,"api_error":"connection_failed"`)) + "exit 1", schema.FailNetwork, "refused", 0, false},
		{"ended while it waited", say(claudeInit, retry) + "kill -9 $$", schema.FailRateLimited, "status 429", 7959 * time.Millisecond, true},
		{"trouble that passed", say(claudeInit, retry, claudeAnswer) + "exit 1", schema.FailExit, "without a result", 0, true},
		{"garbage", "echo garbage; echo '{\"type\":7}'; echo '[]'; exit 1", schema.FailExit, "without a result", 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newClaude(t, tt.script)
			b.request.Permission = "elevated"
			c := b.run()
			b.want(c, schema.ExitFailed, tt.failure, "")
			if !strings.Contains(c.Detail, tt.detail) || c.RetryAfter != schema.Duration(tt.wait) || (c.Tokens == nil) != tt.tokensUnknown {
				t.Errorf("detail %q, retry after %v, tokens %v", c.Detail, c.RetryAfter, c.Tokens)
			}
			if !b.exists(schema.EventsFile) {
				t.Error("what it said is not kept")
			}
		})
	}
}

// The limit of an account says until when.
func TestClaudeLimitResets(t *testing.T) {
	b := newClaude(t, `echo '{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":'$(($(date +%s)+3600))'}}'`+"\n"+say(claudeError("429", "5-hour limit", ""))+"exit 1")
	c := b.run()
	b.want(c, schema.ExitFailed, schema.FailRateLimited, "")
	if wait := time.Duration(c.RetryAfter); wait < 59*time.Minute || wait > time.Hour {
		t.Errorf("retry after %v", wait)
	}
}

func TestWhatClaudeUsed(t *testing.T) {
	result := func(fields string) string {
		return `{"type":"result","subtype":"success","is_error":false,"result":"### DONE",` + fields + `}`
	}
	for _, c := range []struct{ name, lines, tokens, cost string }{
		{"old versions count the process", result(`"modelUsage":{"m":{"inputTokens":1,"outputTokens":2,"costUSD":1}}`) + "\n" + result(`"modelUsage":{"m":{"inputTokens":3,"outputTokens":4,"costUSD":2}}`),
			`{"input":3,"cached_read":0,"cache_write":0,"output":4}`, `{"usd":2,"reported":true}`},
		{"new ones count the session, and each turn", result(`"modelUsage":{"m":{"inputTokens":9}},"model_usage_since_last_result":{"m":{"inputTokens":3}}`) + "\n" + result(`"modelUsage":{"m":{"inputTokens":9}},"model_usage_since_last_result":{}`),
			`{"input":3,"cached_read":0,"cache_write":0,"output":0}`, `{"usd":0,"reported":true}`},
		{"a guessed price is none", result(`"model_usage_since_last_result":{"m":{"inputTokens":3,"costUSD":1,"costBasis":"unknown"},"n":{"costUSD":1}}`),
			`{"input":3,"cached_read":0,"cache_write":0,"output":0}`, `null`},
		{"who says nothing of it", result(`"model_usage_since_last_result":{"m":{"inputTokens":0}}`), `null`, `null`},
	} {
		b := newClaude(t, say(claudeInit, claudeAnswer, c.lines))
		got := b.run()
		b.want(got, schema.ExitCompleted, "", "DONE")
		tokens, _ := json.Marshal(got.Tokens)
		cost, _ := json.Marshal(got.Cost)
		if string(tokens) != c.tokens || string(cost) != c.cost {
			t.Errorf("%s: %s, %s", c.name, tokens, cost)
		}
	}
}

func TestClaudeDenied(t *testing.T) {
	denied := strings.Replace(claudeDone, `"permission_denials":[]`, `"permission_denials":[{"tool_name":"Bash","tool_input":{"command":"make all"}},{"tool_name":"Bash","tool_input":{"command":"make all"}},{"tool_name":"X"}]`, 1)
	const why = `the agent was denied what its permission (elevated) does not cover: Bash "make all", X`
	for _, script := range []string{
		say(claudeInit, claudeAnswer, denied),
		say(claudeInit, claudeAnswer, denied, claudeDone), // a later turn makes it no better
		`echo '{"stage":"build","terminal_result":"DONE"}' > $MILLRACE_REQUEST_DIR/terminal_result.json` + "\n" + say(claudeInit, claudeAnswer, denied),
		say(claudeInit, claudeAnswer, strings.Replace(denied, "### DONE", "no outcome", 1)),
	} {
		b := newClaude(t, script)
		b.request.Permission = "elevated"
		c := b.run()
		b.want(c, schema.ExitCompleted, "", "BLOCKED")
		if c.Claim == nil || c.Claim.Metadata["reason"] != why || c.Detail != why {
			t.Errorf("claim %+v, detail %q", c.Claim, c.Detail)
		}
	}
	b := newClaude(t, `echo '{"stage":"build","terminal_result":"BLOCKED","metadata":{"reason":"mine"}}' > $MILLRACE_REQUEST_DIR/terminal_result.json`+"\n"+
		say(claudeInit, claudeAnswer, strings.Replace(denied, "### DONE", "### BLOCKED", 1)))
	b.request.Permission = "elevated"
	c := b.run()
	if b.want(c, schema.ExitCompleted, "", "BLOCKED"); c.Claim == nil || c.Claim.Metadata["reason"] != "mine" || c.Detail != why {
		t.Errorf("claim %+v, detail %q", c.Claim, c.Detail)
	}
}

func TestClaudeRetriesAreAStall(t *testing.T) {
	for status, want := range map[string]string{"429": schema.FailRateLimited, "500": schema.FailProvider, "529": schema.FailProvider, "401": schema.FailAuth, "null": schema.FailNetwork} {
		b := newClaude(t, say(claudeInit)+"while :; do "+`echo '`+claudeRetry(status, "x", "7959")+"'; sleep 0.05; done")
		b.request.Stall = schema.Duration(400 * time.Millisecond)
		cmd := b.command()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it says what it waits for", func() bool {
			return b.exists(schema.SessionFile) && strings.Contains(b.read(schema.SessionFile), "time again in 8s")
		})
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v: %s", err, cmd.Stderr)
		}
		c := b.completion()
		b.want(c, schema.ExitStalled, want, "")
		if status == "429" && c.RetryAfter != schema.Duration(7959*time.Millisecond) {
			t.Errorf("retry after %v", c.RetryAfter)
		}
	}
}

// Claude is asked to end by SIGINT: it tells what it used, and may call its end a success.
func TestClaudeIsInterrupted(t *testing.T) {
	b := newClaude(t, "trap 'cat <<END\n"+claudeDone+"\nEND\nexit 0' INT TERM\n"+say(claudeInit, claudeAnswer)+"touch $HOME/ready; while :; do sleep 0.05; done")
	cmd := b.command()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it works", func() bool { _, err := os.Stat(filepath.Join(b.project, "home", "ready")); return err == nil })
	b.write(filepath.Join(b.dir, schema.CancelFile), "")
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, cmd.Stderr)
	}
	c := b.completion()
	b.want(c, schema.ExitCancelled, schema.FailCancelled, "")
	if c.Tokens.Total() != 168 || c.Session == nil || c.Session.ID != "5a-1" {
		t.Errorf("used %d, session %+v", c.Tokens.Total(), c.Session)
	}
	b = newClaude(t, "trap '' INT; trap 'cat <<END\n"+claudeDone+"\nEND\nexit 0' TERM\n"+say(claudeInit, claudeAnswer)+"while :; do sleep 0.05; done")
	b.request.Timeout = schema.Duration(time.Second)
	b.want(b.run(), schema.ExitTimeout, schema.FailTimeout, "")
}

func TestClaudeGoesOn(t *testing.T) {
	script := say(claudeInit, claudeAnswer, claudeDone)
	b := newClaude(t, script)
	before := int64(1000)
	b.request.Session = &schema.Session{Request: "req-0", ID: "5a-1", Tokens: &schema.Tokens{Input: &before}}
	b.write(filepath.Join(filepath.Dir(b.dir), schema.AgentsFolder, "claude", "projects", "-p", "5a-1.jsonl"), "{}\n")
	c := b.run()
	b.want(c, schema.ExitCompleted, "", "DONE")
	if used, all := c.Tokens.Total(), c.Session.Tokens.Total(); used != 168 || all != 1168 {
		t.Errorf("used %d, the session %d", used, all)
	}
	if !strings.HasSuffix(b.home("args"), "--resume\n5a-1\n") {
		t.Errorf("arguments %q", b.home("args"))
	}
	for _, id := range []string{"5a-2", "../5a-1", "*"} {
		b = newClaude(t, script)
		b.request.Session = &schema.Session{Request: "req-0", ID: id}
		b.write(filepath.Join(filepath.Dir(b.dir), schema.AgentsFolder, "claude", "projects", "-p", "5a-1.jsonl"), "{}\n")
		c := b.run()
		b.want(c, schema.ExitCompleted, "", "DONE")
		if strings.Contains(b.home("args"), "--resume") || !strings.Contains(c.Detail, "began anew") {
			t.Errorf("%s: arguments %q, detail %q", id, b.home("args"), c.Detail)
		}
	}
	b = newClaude(t, say(`{"type":"result","subtype":"error_during_execution","is_error":true,"session_id":"5a-1","errors":["No conversation found with session ID: 5a-1"]}`)+"exit 1")
	b.request.Session = &schema.Session{Request: "req-0", ID: "5a-1"}
	b.write(filepath.Join(filepath.Dir(b.dir), schema.AgentsFolder, "claude", "projects", "-p", "5a-1.jsonl"), "")
	c = b.run()
	if b.want(c, schema.ExitFailed, schema.FailNotStarted, ""); c.Session != nil {
		t.Errorf("the next request would go on with %+v", c.Session)
	}
}

// A supervisor that is lost while the checks run has written down what the agent used.
func TestClaudeIsPaidWhenItsSupervisorIsLost(t *testing.T) {
	b := newClaude(t, say(claudeInit, claudeAnswer, claudeDone))
	b.request.Checks, b.request.ChecksAfter = []schema.Check{{Name: "c", Run: "true"}}, []string{"DONE"}
	b.env = append(b.env, killAtEnv+"=checking")
	b.killed()
	c, err := reqdir.Salvage(b.dir)
	if err != nil || c.Tokens.Total() != 168 || c.Claim == nil || c.Claim.Outcome != "DONE" {
		t.Errorf("salvaged %+v (%v)", c, err)
	}
}

// With a stored login claude works in the user's folder, as if the user had started it.
func TestClaudeOfAStoredLogin(t *testing.T) {
	b := newClaude(t, say(claudeInit, claudeAnswer, claudeDone))
	b.env = append(b.env, "ANTHROPIC_API_KEY=", "CLAUDE_CONFIG_DIR=")
	b.write(filepath.Join(b.project, "home", ".claude", ".credentials.json"), "{}")
	b.want(b.run(), schema.ExitCompleted, "", "DONE")
	if strings.Contains(b.home("args"), "--settings") || !strings.Contains(b.home("env"), "\nCLAUDE_CONFIG_DIR=\n") {
		t.Errorf("arguments %q, environment %q", b.home("args"), b.home("env"))
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(b.dir), schema.AgentsFolder)); err == nil {
		t.Error("the run has a folder of its own")
	}
	if slots, _ := os.ReadDir(filepath.Join(b.project, "home", ".cache", "millrace", "slots")); len(slots) != 1 {
		t.Errorf("%d slots taken", len(slots))
	}
}

// A tool may print its environment, and a provider say a key back.
func TestClaudeTellsNoKey(t *testing.T) {
	b := newClaude(t, `echo '{"type":"user","message":{"content":"'$ANTHROPIC_API_KEY'"}}'`+"\n"+
		`echo '{"type":"result","subtype":"success","is_error":true,"api_error_status":401,"result":"bad key '$ANTHROPIC_API_KEY'"}'; exit 1`)
	b.env = append(b.env, "ANTHROPIC_API_KEY=", "MY_KEY="+claudeKey)
	b.request.Runner.KeyEnv = "MY_KEY"
	c := b.run()
	b.want(c, schema.ExitFailed, schema.FailAuth, "")
	if !strings.Contains(c.Detail, "bad key <") {
		t.Errorf("detail %q", c.Detail)
	}
	err := filepath.WalkDir(filepath.Join(b.project, "millrace-agents"), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if data, err := os.ReadFile(path); err != nil || strings.Contains(string(data), claudeKey) {
			t.Errorf("%s has the key (%v)", path, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
