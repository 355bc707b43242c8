package runner

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/schema"
)

// fakePi answers commands as pi does. $1 of said is the reason it stopped for, $2 its text, $3 an error.
const fakePi = `#!/bin/sh
say() { printf '%s\n' "$1"; }
answer() { say "{\"type\":\"response\",\"command\":\"$1\",\"success\":true,\"data\":{$2}}"; }
usage='{"input":600,"output":50,"cacheRead":400,"cacheWrite":7,"cost":{"total":0.25}}'
said() {
	say "{\"type\":\"message_update\",\"snapshot\":\"$2\"}"
	say "{\"type\":\"message_end\",\"message\":{\"role\":\"assistant\",\"stopReason\":\"$1\",\"errorMessage\":\"$3\",\"usage\":$usage}}"
	text=$2
}
fin() { say '{"type":"turn_end"}'; say '{"type":"agent_end","messages":[]}'; }
tr '\0' '\n' < /proc/$$/environ | grep PI_ > $MILLRACE_REQUEST_DIR/pi_env
echo "$@" > $MILLRACE_REQUEST_DIR/pi_args
start; while IFS= read -r line; do
	case $line in
	*'"type":"get_state"'*) answer get_state '"sessionId":"s-1","isStreaming":false,"model":{"headers":"secret"}' ;;
	*'"type":"prompt"'*) printf '%s\n' "$line" > $MILLRACE_REQUEST_DIR/pi_prompt; work ;;
	*'"type":"abort_retry"'*) echo x >> $MILLRACE_REQUEST_DIR/kept_from_retry; answer abort_retry ;;
	*'"type":"abort"'*) aborted; answer abort ;;
	*'"type":"get_last_assistant_text"'*) answer get_last_assistant_text "\"text\":\"$text\"" ;;
	esac
done
end
`

// newPi makes a request whose pi does this work; more are other functions of its script.
func newPi(t *testing.T, work string, more ...string) *bench {
	t.Helper()
	b := newBench(t, "")
	b.request.Runner = schema.Runner{Name: "mine", Adapter: "pi_rpc", Command: filepath.Join(b.project, "fake", "pi")}
	script := "start() { :; }\naborted() { :; }\nend() { :; }\n" + strings.Join(more, "\n") + "\nwork() {\nanswer prompt\n" + work + "\n}\n"
	b.write(b.request.Runner.Command, strings.Replace(fakePi, "\nstart;", "\n"+script+"start;", 1))
	if err := os.Chmod(b.request.Runner.Command, 0o755); err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(b.project, "home")
	b.env = []string{"HOME=" + home, "XDG_CACHE_HOME=" + filepath.Join(home, ".cache"), "PI_CODING_AGENT_DIR="}
	return b
}

func TestPi(t *testing.T) {
	b := newPi(t, `say '{"type":"agent_start"}'; said toolUse one; said stop 'well\n### DONE'; fin`)
	b.write(filepath.Join(b.dir, schema.PromptFile), strings.Repeat("a \"line\"\u2028 of it\n", 12000)) // more than a pipe holds
	b.request.Model, b.request.Thinking, b.request.Permission = "m", "high", "basic"
	b.request.Runner.Provider, b.request.Runner.Args, b.request.Runner.EventLog = "p", []string{"--offline"}, "full"
	c := b.run()
	b.want(c, schema.ExitCompleted, "", "DONE")
	if c.Claim.Source != schema.FinalFile || b.read(schema.FinalFile) != "well\n### DONE\n" {
		t.Errorf("claimed in %s: %q", c.Claim.Source, b.read(schema.FinalFile))
	}
	if got, _ := json.Marshal([]any{c.Tokens, c.Cost, c.Session}); string(got) != `[{"input":1200,"cached_read":800,"cache_write":14,"output":100},{"usd":0.5,"reported":true},`+
		`{"request":"`+b.request.ID+`","session":"s-1","tokens":{"input":1200,"cached_read":800,"cache_write":14,"output":100}}]` {
		t.Errorf("tokens, cost and session are %s", got)
	}
	var prompt struct{ Message string }
	if err := json.Unmarshal([]byte(b.read("pi_prompt")), &prompt); err != nil || prompt.Message != b.read(schema.PromptFile) {
		t.Errorf("it was given a prompt of %d bytes: %v", len(prompt.Message), err)
	}
	want := "--mode rpc -ne -ns -nc --provider p --model m --thinking high --tools read,edit,write,grep,find,ls --session-dir " +
		filepath.Join(filepath.Dir(b.dir), "agents", "mine", "sessions") + " --offline\n"
	if got := b.read("pi_args"); got != want {
		t.Errorf("started with %s, not %s", got, want)
	}
	if text := b.read(schema.EventsFile); strings.Contains(text, "snapshot") || strings.Contains(text, "secret") || !strings.Contains(text, "agent_end") {
		t.Errorf("events:\n%s", text)
	}
}

// Nothing but a last message that ended well, said by a program that ended well, is success.
func TestWhatPiDoesNotFinishIsNoSuccess(t *testing.T) {
	const done = `said stop '### DONE'; `
	for _, c := range []struct {
		name, work, more, exit, failure, detail string
	}{
		{"no end", done + `exit 0`, "", schema.ExitFailed, schema.FailExit, "without having said"},
		{"nothing at all", `exit 0`, "", schema.ExitFailed, schema.FailExit, "without having said"},
		{"cut off", `said length '### DONE'; fin`, "", schema.ExitFailed, schema.FailExit, "cut off"},
		{"aborted by another", `said aborted '### DONE'; fin`, "", schema.ExitFailed, schema.FailExit, "aborted"},
		{"bad end", done + `fin`, `end() { echo "TypeError: x" >&2; echo "Node.js v20" >&2; exit 3; }`, schema.ExitFailed, schema.FailExit, "exit code 3: TypeError: x"},
		{"no such model", ``, `start() { echo 'Error: Model "x" not found.' >&2; exit 1; }`, schema.ExitFailed, schema.FailExit, `Model "x" not found`},
		{"no Node", ``, `start() { echo "env: 'node': No such file or directory" >&2; exit 127; }`, schema.ExitFailed, schema.FailRunnerNotFound, "needs Node"},
		{"killed", done + `kill -9 $$`, "", schema.ExitFailed, schema.FailExit, "signal killed"},
		{"no login", `say '{"type":"response","command":"prompt","success":false,"error":"No API key found for x.\n\nUse /login"}'`, "", schema.ExitFailed, schema.FailAuth, "log in (pi, and in it /login)"},
		{"auth", `said error '### DONE' '401 wrong'; fin`, "", schema.ExitFailed, schema.FailAuth, "401 wrong"},
		{"unknown model", `said error '' '404 no such model'; fin`, "", schema.ExitFailed, schema.FailExit, "404"},
		{"lost", `said error '### DONE' terminated; fin`, "", schema.ExitFailed, schema.FailNetwork, "terminated"},
		{"limit", `said error '' '429 slow down, try again in 2m5s'; fin`, "", schema.ExitFailed, schema.FailRateLimited, "429"},
		{"no room", `said error '' 'prompt is too long'; fin; say '{"type":"compaction_start","reason":"overflow"}'; say '{"type":"compaction_end","willRetry":false}'`, "",
			schema.ExitFailed, schema.FailExit, "too long"},
		{"deaf", done + `fin; while :; do sleep 1; done`, "", schema.ExitStalled, schema.FailStalled, ""},
		{"deaf, after errors", `said error '' '503 x'; fin; while :; do say '{"type":"auto_retry_start"}'; sleep 0.1; done`, "", schema.ExitStalled, schema.FailProvider, "503"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newPi(t, c.work, c.more)
			if c.exit == schema.ExitStalled {
				b.request.Stall = schema.Duration(time.Second)
			}
			got := b.run()
			b.want(got, c.exit, c.failure, "")
			if !strings.Contains(got.Detail, c.detail) {
				t.Errorf("detail is %q", got.Detail)
			}
			if c.name == "limit" && got.RetryAfter != schema.Duration(125*time.Second) {
				t.Errorf("retry after %v", got.RetryAfter)
			}
		})
	}
}

// pi says that it ended before it tries again; Millrace says when.
func TestPiIsKeptFromRetrying(t *testing.T) {
	b := newPi(t, `said error '' '500 x'; fin; say '{"type":"auto_retry_start"}'`)
	b.want(b.run(), schema.ExitFailed, schema.FailProvider, "")
	if !b.exists("kept_from_retry") {
		t.Error("it was not")
	}
	if text := b.read(schema.EventsFile); !strings.Contains(text, "auto_retry_start") {
		t.Errorf("events of a failure:\n%s", text)
	}
}

// A context that is too small is made room in, and the work goes on; an end that is too long to be heard is one.
func TestPiGoesOn(t *testing.T) {
	b := newPi(t, `said error '' 'prompt is too long'; fin; say '{"type":"compaction_start","reason":"overflow"}'
		(sleep 0.5; say '{"type":"compaction_end","reason":"overflow","willRetry":true}'; say '{"type":"agent_start"}'
		said stop '### DONE'; fin) & text='### DONE'`)
	b.want(b.run(), schema.ExitCompleted, "", "DONE")

	b = newPi(t, `said stop '### DONE'; say '{"type":"turn_end"}'; printf '{"type":"agent_end","messages":["'; head -c 17000000 /dev/zero | tr '\0' x; say '"]}'`)
	b.request.Stall = schema.Duration(10 * time.Second)
	b.want(b.run(), schema.ExitCompleted, "", "DONE")
}

func TestPiIsAbortedFirst(t *testing.T) {
	for name, c := range map[string]struct{ work, more string }{
		"heeds it":          {`said toolUse x`, `aborted() { said aborted '### DONE'; fin; }; end() { touch $MILLRACE_REQUEST_DIR/well; }`},
		"says it succeeded": {`said toolUse x`, `aborted() { said stop '### DONE'; fin; }; end() { touch $MILLRACE_REQUEST_DIR/well; }`},
		"never reads":       {``, `start() { touch $MILLRACE_REQUEST_DIR/well; setsid sleep 60 & while :; do sleep 1; done; }`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newPi(t, c.work, c.more)
			b.write(filepath.Join(b.dir, schema.PromptFile), strings.Repeat("x", 200_000))
			b.request.Timeout = schema.Duration(1500 * time.Millisecond)
			got := b.run()
			b.want(got, schema.ExitTimeout, schema.FailTimeout, "")
			if !b.exists("well") {
				t.Error("it was not let to its end")
			}
			if name == "heeds it" && (got.Signal != "" || *got.ExitCode != 0 || *got.Tokens.Output != 100 || got.Session.ID != "s-1") {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestPiGoesOnWithASession(t *testing.T) {
	b := newPi(t, `said stop '### DONE'; fin`)
	n := func(n int64) *int64 { return &n }
	b.request.Session = &schema.Session{Request: "before", ID: "s-1", Tokens: &schema.Tokens{Input: n(1000), Output: n(10), CachedRead: n(5)}}
	file := filepath.Join(filepath.Dir(b.dir), "agents", "mine", "sessions", "2026-01-01_s-1.jsonl")
	b.write(file, "{}\n")
	c := b.run()
	b.want(c, schema.ExitCompleted, "", "DONE")
	if !strings.HasSuffix(b.read("pi_args"), " --session "+file+"\n") {
		t.Errorf("started with %s", b.read("pi_args"))
	}
	if *c.Tokens.Input != 600 || *c.Session.Tokens.Input != 1600 || *c.Session.Tokens.CachedRead != 405 || *c.Session.Tokens.CacheWrite != 7 {
		t.Errorf("tokens %v, of the session %v", *c.Tokens.Input, *c.Session.Tokens.Input)
	}

	b = newPi(t, `usage='{"input":0}'; said stop '### DONE'; fin`) // nothing is left of that session
	b.request.Session = &schema.Session{Request: "before", ID: "s-0", Tokens: &schema.Tokens{Input: n(1000)}}
	c = b.run()
	b.want(c, schema.ExitCompleted, "", "DONE")
	if !strings.Contains(c.Detail, "session s-0") || !strings.Contains(c.Detail, "began anew") {
		t.Errorf("detail is %q", c.Detail)
	}
	if strings.Contains(b.read("pi_args"), "--session ") || c.Tokens != nil || c.Cost != nil || c.Session.Tokens != nil {
		t.Errorf("started with %s, tokens %+v %+v, cost %v", b.read("pi_args"), c.Tokens, c.Session, c.Cost)
	}
}

func TestSeatOfPi(t *testing.T) {
	const keyed = "OPENAI_API_KEY=sk-1"
	for _, c := range []struct {
		name, login string
		env         []string
		keyEnv      string
		own         bool
	}{
		{"a key", "", []string{keyed}, "", true},
		{"neither: the key may be in models.json", "", nil, "", true},
		{"a login that holds nothing", "{}\n", nil, "", true},
		{"a login", `{"anthropic":{}}`, nil, "", false},
		{"a login counts more than a key", `{"anthropic":{}}`, []string{keyed}, "", false},
		{"but not more than the runner's", `{"anthropic":{}}`, []string{"MINE=sk-2"}, "MINE", true},
	} {
		b := newPi(t, `said stop '### DONE'; fin`)
		user := filepath.Join(b.project, "user")
		b.env = append(append(b.env, c.env...), "PI_CODING_AGENT_DIR="+user)
		b.request.Runner.KeyEnv = c.keyEnv
		b.write(filepath.Join(user, "models.json"), `{"apiKey":"sk-3"}`)
		if c.login != "" {
			b.write(filepath.Join(user, "auth.json"), c.login)
		}
		b.want(b.run(), schema.ExitCompleted, "", "DONE")
		own := filepath.Join(filepath.Dir(b.dir), "agents", "mine")
		folder := user
		if c.own {
			folder = own
			if target, err := os.Readlink(filepath.Join(own, "models.json")); err != nil || target != filepath.Join(user, "models.json") {
				t.Errorf("%s: models.json leads to %q (%v)", c.name, target, err)
			}
			if data, err := os.ReadFile(filepath.Join(own, "auth.json")); err != nil || string(data) != "{}" {
				t.Errorf("%s: login %q (%v)", c.name, data, err)
			}
		}
		if got := b.read("pi_env"); strings.Count(got, "PI_CODING_AGENT_DIR=") != 1 || !strings.Contains(got, "PI_CODING_AGENT_DIR="+folder+"\n") || !strings.Contains(got, "PI_OFFLINE=1\n") {
			t.Errorf("%s: environment\n%s", c.name, got)
		}
		slots, _ := filepath.Glob(filepath.Join(b.project, "home", ".cache", "millrace", "slots", "*"))
		if (len(slots) == 0) != c.own {
			t.Errorf("%s: slots %v", c.name, slots)
		}
	}
}

func TestPiHeedsNoProviderWithoutAModel(t *testing.T) {
	b := newPi(t, `said stop '### DONE'; fin`)
	b.request.Runner.Provider = "openai"
	c := b.run()
	b.want(c, schema.ExitNotStarted, schema.FailRunnerNotFound, "")
	if !strings.Contains(c.Detail, "runners.mine.model") {
		t.Errorf("detail is %q", c.Detail)
	}
}

// What pi has been seen to say.
func TestPiClass(t *testing.T) {
	for text, want := range map[string]string{
		"401 Incorrect API key provided":                  schema.FailAuth,
		"403 Your account has no credit":                  schema.FailAuth,
		"429 mock says no":                                schema.FailRateLimited,
		"500 status code (no body)":                       schema.FailProvider,
		"529 overloaded":                                  schema.FailProvider,
		"404 mock says no":                                schema.FailExit,
		"400 too many requests in one batch of 500":       schema.FailRateLimited,
		"Connection error.":                               schema.FailNetwork,
		"terminated":                                      schema.FailNetwork,
		"Request timed out.":                              schema.FailNetwork,
		"No models available. Use /login to log into":     schema.FailAuth,
		"Authentication failed for \"x\". Run '/login x'": schema.FailAuth,
		"Unknown provider \"nope\".":                      schema.FailExit,
		"prompt is too long: 200500 tokens":               schema.FailExit,
	} {
		if got := piClass(text); got != want {
			t.Errorf("%q is %q, not %q", text, got, want)
		}
	}
	for text, want := range map[string]time.Duration{
		"429 Please try again in 1m2.5s.": 62500 * time.Millisecond, "Please retry in 320ms": 320 * time.Millisecond,
		"quota will reset after 5h2m": 302 * time.Minute, "retry after 1.2.3s": 0, "retried in vain": 0,
	} {
		if got := retryAfter(text); got != schema.Duration(want) {
			t.Errorf("%q is %v, not %v", text, got, want)
		}
	}
}

func TestSettledEnvironment(t *testing.T) {
	if got := fmt.Sprint(settled(slices.Clone([]string{"A=1", "AB=2", "A=3", "B="}))); got != "[AB=2 A=3 B=]" {
		t.Errorf("settled is %s", got)
	}
}
