package runner

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/schema"
)

// What codex says, line by line.
const (
	codexThread   = "01a204e7-52ec-7c71-aa35-3019309578f2"
	codexStarted  = `{"type":"thread.started","thread_id":"` + codexThread + `"}`
	codexModel    = `{"type":"item.completed","item":{"id":"item_0","type":"error","message":"Model metadata for m not found. Defaulting to fallback metadata."}}`
	codexTurn     = `{"type":"turn.started"}`
	codexTool     = `{"type":"item.completed","item":{"id":"item_1","type":"command_execution","command":"true","aggregated_output":"### BLOCKED\n","exit_code":0,"status":"completed"}}`
	codexThinks   = `{"type":"item.completed","item":{"id":"item_2","type":"agent_message","text":"I begin.\n### BLOCKED"}}`
	codexDone     = `{"type":"item.completed","item":{"id":"item_3","type":"agent_message","text":"All is well.\n### DONE"}}`
	codexFinished = `{"type":"turn.completed","usage":{"input_tokens":2000,"cached_input_tokens":800,"cache_write_input_tokens":100,"output_tokens":100,"reasoning_output_tokens":20}}`
	codexSecret   = "sk-that-opens-nothing"
)

func codexTrouble(message string) string {
	return fmt.Sprintf("{\"type\":\"error\",\"message\":%q}", message)
}

func codexFailed(message string) string {
	return codexTrouble(message) + "\n" + fmt.Sprintf(`{"type":"turn.failed","error":{"message":%q}}`, message)
}

// newCodex makes a request for a codex that says these lines and then runs the rest of a script; it writes down how it
// was called. Its user has neither key nor login.
func newCodex(t *testing.T, rest string, lines ...string) *bench {
	t.Helper()
	b := newBench(t, "")
	script := "#!/bin/sh\ncd $MILLRACE_REQUEST_DIR\n" + `printf '%s\n' "$@" > argv; cat > stdin; echo "$CODEX_HOME|$CODEX_API_KEY" > seen; echo WARNING: old >&2` +
		"\ncat <<'EOF'\n" + strings.Join(lines, "\n") + "\nEOF\n" + rest + "\n"
	b.write(filepath.Join(b.user(), "bin", "codex"), script)
	if err := os.Chmod(filepath.Join(b.user(), "bin", "codex"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.env = []string{"HOME=" + b.user(), "XDG_CACHE_HOME=" + b.user(), "PATH=" + filepath.Join(b.user(), "bin") + ":" + os.Getenv("PATH"),
		"CODEX_HOME=", "CODEX_API_KEY=", "OPENAI_API_KEY="}
	b.request.Runner = schema.Runner{Name: "mine", Adapter: "codex_cli"}
	return b
}

// user is the home of a bench's user.
func (b *bench) user() string { return filepath.Join(b.project, "home") }

// argv is how codex was called.
func (b *bench) argv() []string {
	b.t.Helper()
	return strings.Split(strings.TrimSuffix(b.read("argv"), "\n"), "\n")
}

// rollout writes the files of a session: how many answers of the model it has had, and those that went to
// an agent which it started and told all it knew.
func (b *bench) rollout(home string, answers, others int) {
	b.t.Helper()
	const other = "01a20503-5155-7f73-9f8e-16afb9b6299b"
	record := func(thread, session string) string {
		return `{"type":"token_usage_record","payload":{"thread_id":"` + thread + `","session_id":"` + session +
			`","usage":{"input_tokens":1000,"cached_input_tokens":400,"cache_write_input_tokens":0,"output_tokens":50,"reasoning_output_tokens":10}}}` + "\n"
	}
	noise := record("01a20503-516e-75c2-85a4-9e484883e9b6", "01a20503-516e-75c2-85a4-9e484883e9b6") +
		`{"type":"response_item","payload":{"type":"token_usage_record","usage":{"input_tokens":7}}}` + "\n"
	parent := strings.Repeat(record(codexThread, codexThread), answers)
	folder := filepath.Join(home, "sessions", "2026", "11", "22")
	b.write(filepath.Join(folder, "rollout-2026-11-22T20-18-56-"+codexThread+".jsonl"), parent+noise)
	b.write(filepath.Join(folder, "rollout-2026-11-22T20-19-00-"+other+".jsonl"), parent+strings.Repeat(record(other, codexThread), others)+noise)
}

// tokens are a completion's: input, cached, cache write, output, reasoning; "-" for what is unknown.
func tokens(t *schema.Tokens) string {
	if t == nil {
		return "unknown"
	}
	var all []string
	for _, n := range []*int64{t.Input, t.CachedRead, t.CacheWrite, t.Output, t.Reasoning} {
		if n == nil {
			all = append(all, "-")
		} else {
			all = append(all, fmt.Sprint(*n))
		}
	}
	return strings.Join(all, " ")
}

func TestCodexSucceeds(t *testing.T) {
	b := newCodex(t, "", codexStarted, codexModel, codexTurn, codexThinks, codexTool, codexDone, codexFinished)
	c := b.run()
	b.want(c, schema.ExitCompleted, "", "DONE")
	if got := b.read(schema.FinalFile); got != "All is well.\n### DONE\n" {
		t.Errorf("final message %q", got)
	}
	if got := tokens(c.Tokens); got != "1100 800 100 100 20" {
		t.Errorf("tokens %s", got)
	}
	if c.Session == nil || c.Session.ID != codexThread || tokens(c.Session.Tokens) != "1100 800 100 100 20" {
		t.Errorf("session %+v", c.Session)
	}
	if got := b.read("stdin"); got != "do the work\n" {
		t.Errorf("it was given %q", got)
	}
	want := []string{"exec", "--json", "-C", b.project, "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "-c", "analytics.enabled=false", "-"}
	if got := b.argv(); !slices.Equal(got, want) {
		t.Errorf("it was called with %q", got)
	}
	if got := b.read("seen"); got != "|\n" {
		t.Errorf("without a key it was given %q", got)
	}
}

func TestCodexCommandLine(t *testing.T) {
	for permission, want := range map[string]string{
		"":         "--dangerously-bypass-approvals-and-sandbox",
		"basic":    `-s workspace-write -c approval_policy="never"`,
		"elevated": `-s danger-full-access -c approval_policy="never"`,
		"maximum":  "--dangerously-bypass-approvals-and-sandbox",
	} {
		b := newCodex(t, "", codexStarted, codexDone, codexFinished)
		git(t, b.project, "init", "-q")
		b.write(filepath.Join(b.user(), ".codex", "fast.config.toml"), "")
		b.request.Permission, b.request.Model, b.request.Thinking = permission, "m-1", "high"
		r := &b.request.Runner
		r.Command, r.Profile, r.Args = filepath.Join("home", "bin", "codex"), "fast", []string{"-c", "model_verbosity=low"}
		r.Config = map[string]string{"z": "1", "sandbox_workspace_write.network_access": "true"}
		b.want(b.run(), schema.ExitCompleted, "", "DONE")
		all := `exec --json -C ` + b.project + ` -m m-1 -c model_reasoning_effort="high" -p fast ` + want +
			` -c analytics.enabled=false -c sandbox_workspace_write.network_access=true -c z=1 -c model_verbosity=low -`
		if got := strings.Join(b.argv(), " "); got != all {
			t.Errorf("%q: called with\n%s\nnot\n%s", permission, got, all)
		}
	}
}

// codex passes a profile over that it does not find.
func TestCodexWithoutItsProfile(t *testing.T) {
	b := newCodex(t, "", codexStarted, codexDone, codexFinished)
	b.request.Runner.Profile = "fast"
	c := b.run()
	b.want(c, schema.ExitNotStarted, schema.FailRunnerNotFound, "")
	if !strings.Contains(c.Detail, filepath.Join(".codex", "fast.config.toml")) || !strings.Contains(c.Detail, "runners.mine.profile") {
		t.Errorf("detail %q", c.Detail)
	}
}

// With a key in the environment a run has a folder of its own. The key goes there, and nowhere else.
func TestCodexKey(t *testing.T) {
	for _, name := range []string{"CODEX_API_KEY", "OPENAI_API_KEY", "MY_KEY"} {
		b := newCodex(t, `cat config.toml $CODEX_HOME/config.toml $CODEX_HOME/fast.config.toml > config`, codexStarted, codexTurn,
			codexTrouble("Reconnecting... 1/5 (unexpected status 401 Unauthorized: Incorrect API key: "+codexSecret+")"), codexFailed("status 401 of "+codexSecret))
		b.write(filepath.Join(b.user(), ".codex", "config.toml"), "one\n")
		b.write(filepath.Join(b.user(), ".codex", "fast.config.toml"), "two\n")
		b.env = append(b.env, name+"="+codexSecret)
		b.request.Runner.KeyEnv, b.request.Runner.Profile, b.request.Runner.EventLog = "MY_KEY", "fast", "full"
		c := b.run()
		b.want(c, schema.ExitFailed, schema.FailAuth, "")
		own := filepath.Join(filepath.Dir(b.dir), schema.AgentsFolder, "mine")
		if got := b.read("seen"); got != own+"|"+codexSecret+"\n" {
			t.Errorf("%s: it was given %q", name, got)
		}
		if got := b.read("config"); got != "one\ntwo\n" {
			t.Errorf("%s: settings %q", name, got)
		}
		all := strings.Join(b.argv(), " ")
		for _, want := range []string{"-c features.plugins=false", `-c shell_environment_policy.set.` + name + `=""`, `-c shell_environment_policy.set.CODEX_API_KEY=""`} {
			if !strings.Contains(all, want) {
				t.Errorf("%s: no %s in %s", name, want, all)
			}
		}
		if !strings.Contains(c.Detail, "status 401 of <") || !b.exists(schema.EventsFile) {
			t.Errorf("%s: detail %q", name, c.Detail)
		}
		if err := os.Remove(filepath.Join(b.dir, "seen")); err != nil {
			t.Fatal(err)
		}
		b.wantNowhere(codexSecret)
	}
}

// wantNowhere fails when a file of the project has the text in it.
func (b *bench) wantNowhere(text string) {
	b.t.Helper()
	err := filepath.WalkDir(b.project, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || path == filepath.Join(b.user(), "bin", "codex") {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), text) {
			b.t.Errorf("%s has it", path)
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// With a stored login there is one folder, the user's, and a key that is there for others does not count.
func TestCodexLogin(t *testing.T) {
	b := newCodex(t, "", codexStarted, codexDone, codexFinished)
	b.write(filepath.Join(b.user(), ".codex", "auth.json"), `{"tokens":{"id_token":"x"}}`)
	b.env = append(b.env, "OPENAI_API_KEY="+codexSecret)
	b.want(b.run(), schema.ExitCompleted, "", "DONE")
	if got := b.read("seen"); got != "|\n" {
		t.Errorf("it was given %q", got)
	}
	if slots, err := filepath.Glob(filepath.Join(b.user(), "millrace", "slots", "*.lock")); err != nil || len(slots) != 1 {
		t.Errorf("slots %q (%v)", slots, err)
	}
	if all := strings.Join(b.argv(), " "); strings.Contains(all, "plugins") || !strings.Contains(all, `-c shell_environment_policy.set.OPENAI_API_KEY="" -`) {
		t.Errorf("called with %s", all)
	}
}

func TestCodexGoesOn(t *testing.T) {
	n := func(n int64) *int64 { return &n }
	before := &schema.Session{Request: "r", ID: codexThread, Tokens: &schema.Tokens{Input: n(600), CachedRead: n(400), CacheWrite: n(0), Output: n(50), Reasoning: n(10)}}
	b := newCodex(t, "", codexStarted, codexTurn, codexDone, codexFinished)
	b.request.Session = before
	b.rollout(filepath.Join(b.user(), ".codex"), 2, 1)
	c := b.run()
	b.want(c, schema.ExitCompleted, "", "DONE")
	if got := b.argv(); !slices.Equal(got[len(got)-3:], []string{"resume", codexThread, "-"}) {
		t.Errorf("called with %q", got)
	}
	// What codex forgot is in its record.
	if got := tokens(c.Tokens); got != "1200 800 0 100 20" || tokens(c.Session.Tokens) != "1800 1200 0 150 30" {
		t.Errorf("tokens %s, of the session %s", got, tokens(c.Session.Tokens))
	}

	b = newCodex(t, "", codexStarted, codexTurn, codexDone, codexFinished)
	b.request.Session = &schema.Session{ID: strings.Replace(codexThread, "01", "02", 1), Tokens: before.Tokens}
	c = b.run()
	b.want(c, schema.ExitCompleted, "", "DONE")
	if strings.Contains(strings.Join(b.argv(), " "), "resume") || !strings.Contains(c.Detail, "it began anew") || tokens(c.Tokens) != "1100 800 100 100 20" {
		t.Errorf("called with %q, detail %q, tokens %s", b.argv(), c.Detail, tokens(c.Tokens))
	}

	b = newCodex(t, `echo "Error: thread/resume failed: unreadable" >&2; exit 1`)
	b.request.Session = before
	b.rollout(filepath.Join(b.user(), ".codex"), 1, 0)
	c = b.run()
	b.want(c, schema.ExitFailed, schema.FailNotStarted, "")
	if c.Session != nil || !strings.Contains(c.Detail, "unreadable") || c.Tokens != nil {
		t.Errorf("session %+v, detail %q", c.Session, c.Detail)
	}

	for _, id := range []string{"--last", "../../x", "*"} {
		b = newCodex(t, "", codexStarted, codexDone, codexFinished)
		b.request.Session = &schema.Session{ID: id}
		if b.run(); slices.Contains(b.argv(), id) {
			t.Errorf("%q was taken for a session: %q", id, b.argv())
		}
	}
}

func TestCodexFails(t *testing.T) {
	const waits = 7 * time.Second
	for _, c := range []struct {
		rest, class, detail string
		after               time.Duration
		lines               []string
	}{
		{"exit 1", schema.FailAuth, "401", 0, []string{codexStarted, codexTurn, codexFailed("unexpected status 401 Unauthorized: Incorrect API key provided.")}},
		{"exit 1", schema.FailAuth, "403 Forbidden: not here; log in (codex login)", 0, []string{codexStarted, codexTurn, codexFailed("unexpected status 403 Forbidden: not here")}},
		{"exit 1", schema.FailAuth, "`K`", 0, []string{codexStarted, codexTurn, codexFailed("Missing environment variable: `K`.")}},
		{"exit 1", schema.FailRateLimited, "429", 0, []string{codexStarted, codexTurn, codexFailed("exceeded retry limit, last status: 429 Too Many Requests")}},
		{"exit 1", schema.FailRateLimited, "in 7s", waits, []string{codexStarted, codexTurn, codexFailed("rate limit exceeded: Please try again in 7s.")}},
		{"exit 1", schema.FailProvider, "high demand", 0, []string{codexStarted, codexTurn, codexFailed("We’re currently experiencing high demand, which may cause temporary errors.")}},
		{"exit 1", schema.FailNetwork, "disconnected", 0, []string{codexStarted, codexTurn, codexTool, codexFailed("stream disconnected before completion: stream closed")}},
		{"exit 1", schema.FailExit, "context window", 0, []string{codexStarted, codexTurn, codexFailed("Codex ran out of room in the model's context window.")}},
		{"echo error: unexpected argument --x >&2; echo For more, try --help >&2; exit 2", schema.FailExit, "exit code 2: error: unexpected argument", 0, nil},
		{"echo Error: Missing optional dependency x. Reinstall Codex >&2; exit 1", schema.FailRunnerNotFound, "Reinstall", 0, nil},
		{"exit 127", schema.FailRunnerNotFound, "it needs Node", 0, nil},
		{"echo Error loading config.toml: invalid type >&2; exit 1", schema.FailRunnerNotFound, "invalid type", 0, nil},
		// No turn.completed, no success, whatever it has said before and its exit code says.
		{"exit 0", schema.FailExit, "interrupted", 0, []string{codexStarted, codexTurn, codexDone}},
		{"exit 143", schema.FailExit, "interrupted", 0, []string{codexStarted, codexTurn, codexDone}},
		{"kill -TERM $$", schema.FailExit, "interrupted", 0, []string{codexStarted, codexTurn, codexDone}},
		{"exit 0", schema.FailExit, "interrupted", 0, []string{codexStarted, codexTurn, codexDone, codexFinished, codexTurn}},
		{"exit 0", schema.FailExit, "interrupted", 0, []string{codexStarted, codexTurn, codexDone, codexFinished[:40]}},
		{"exit 0", schema.FailExit, "interrupted", 0, nil},
		{"exit 101", schema.FailExit, "exit code 101", 0, []string{codexStarted, codexTurn, codexDone, codexFinished}},
	} {
		b := newCodex(t, c.rest, c.lines...)
		got := b.run()
		b.want(got, schema.ExitFailed, c.class, "")
		if !strings.Contains(got.Detail, c.detail) || time.Duration(got.RetryAfter) != c.after {
			t.Errorf("%s: detail %q, retry after %v", c.rest, got.Detail, got.RetryAfter)
		}
	}
}

// What it used is known of a codex that was ended in the middle; what a provider does not report is unknown, not zero.
func TestCodexTokens(t *testing.T) {
	b := newCodex(t, "sleep 60", codexStarted, codexTurn, codexTool)
	b.rollout(filepath.Join(b.user(), ".codex"), 2, 0)
	b.request.Timeout = schema.Duration(1500 * time.Millisecond)
	c := b.run()
	b.want(c, schema.ExitTimeout, schema.FailTimeout, "")
	if tokens(c.Tokens) != "1200 800 0 100 20" || tokens(c.Session.Tokens) != "1200 800 0 100 20" {
		t.Errorf("tokens %s, session %+v", tokens(c.Tokens), c.Session)
	}
	for usage, want := range map[string]string{
		`{"input_tokens":0,"cached_input_tokens":0,"output_tokens":0,"reasoning_output_tokens":0}`: "unknown",
		`null`:                                 "unknown",
		`{"input_tokens":5,"output_tokens":1}`: "5 - - 1 -",
		`{"input_tokens":5,"cached_input_tokens":9,"output_tokens":1}`: "0 9 - 1 -",
	} {
		b := newCodex(t, "", codexStarted, codexTurn, codexDone, `{"type":"turn.completed","usage":`+usage+`}`)
		if c := b.run(); tokens(c.Tokens) != want || c.Exit != schema.ExitCompleted {
			t.Errorf("%s: %s (%s)", usage, tokens(c.Tokens), c.Detail)
		}
	}
}

// An agent that only says that it tries again is none that gets further.
func TestCodexWaitsForTheNetwork(t *testing.T) {
	again := codexTrouble("Reconnecting... waiting for network (Connection failed: error sending request)")
	b := newCodex(t, `while :; do echo '`+again+`'; echo '`+codexModel+`'; sleep 0.05; done`, codexStarted, codexTurn)
	b.request.Stall = schema.Duration(time.Second)
	c := b.run()
	b.want(c, schema.ExitStalled, schema.FailNetwork, "")
	if !strings.Contains(c.Detail, "without a sign of progress") || !strings.Contains(c.Detail, "waiting for network") {
		t.Errorf("detail %q", c.Detail)
	}
	// One that got further since has another reason to be silent.
	b = newCodex(t, `sleep 60`, codexStarted, codexTurn, again, codexTool)
	b.request.Stall = schema.Duration(time.Second)
	b.want(b.run(), schema.ExitStalled, schema.FailStalled, "")
}

// While the model looks after a long command nothing is said; the record of the session tells that it answers.
func TestCodexRecordIsASignOfProgress(t *testing.T) {
	record := `{"timestamp":"%s","type":"token_usage_record","payload":{"thread_id":"` + codexThread + `","session_id":"` + codexThread + `","usage":{"input_tokens":1}}}\n`
	const rest = `for n in 1 2 3 4 5 6; do sleep 0.3; printf '%s' "$(date -u +%%Y-%%m-%%dT%%H:%%M:%%S.%%NZ)" >> $HOME/.codex/$RECORD; done; echo '` + codexDone + `'; echo '` + codexFinished + `'`
	for name, exit := range map[string]string{"sessions/2026/11/22/rollout-2026-11-22T20-18-56-" + codexThread + ".jsonl": schema.ExitCompleted, "notes.jsonl": schema.ExitStalled} {
		b := newCodex(t, fmt.Sprintf(rest, record), codexStarted, codexTurn)
		b.rollout(filepath.Join(b.user(), ".codex"), 0, 0)
		b.request.Runner.Env = map[string]string{"RECORD": name}
		b.request.Stall = schema.Duration(1200 * time.Millisecond)
		if c := b.run(); c.Exit != exit {
			t.Errorf("%s: %s (%s)", name, c.Exit, c.Detail)
		}
	}
}
