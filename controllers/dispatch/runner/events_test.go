package runner

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/schema"
	"millrace/workspace/reqdir"
)

// eventsAdapter stands for adapters of agents that speak in events: {"say","fail","session","noise"} by line. Its
// agent is a shell script, and shares the folder that its runner's provider names.
func eventsAdapter(j *job) (*agent, error) {
	var said, failed string
	return &agent{argv: j.request.Runner.Run, env: j.environment(), slot: j.request.Runner.Provider,
		event: func(line []byte) heard {
			var e struct{ Say, Fail, Session, Noise string }
			if json.Unmarshal(line, &e) != nil {
				return heard{keep: true}
			}
			said, failed = e.Say, e.Fail
			if e.Session != "" {
				if j.remember(func(s *schema.Session) { s.ID, s.Waiting = e.Session, "patience" }) != nil {
					failed = "cannot remember"
				}
			}
			return heard{progress: e.Fail == "", keep: e.Noise == ""}
		},
		verdict: func(e ended) verdict {
			v := verdict{exit: schema.ExitCompleted, final: said, finalIn: schema.FinalFile}
			if v.failure = textClass(failed); failed != "" {
				v.exit, v.detail = schema.ExitFailed, failed
			}
			return v
		}}, nil
}

func newEvents(t *testing.T, script string) *bench {
	t.Helper()
	b := newBench(t, script)
	b.request.Runner.Adapter = "events"
	return b
}

func TestEventsAreKeptByPolicy(t *testing.T) {
	const noise, done = `printf '%s\n' '{"noise":"x"}'; echo garbage; `, `printf '%s\n' '{"say":"well\n### DONE"}'`
	for _, c := range []struct {
		policy, script string
		kept           bool
	}{
		{"", noise + done, false},
		{"failures", noise + done, false},
		{"full", noise + done, true},
		{"none", noise + `printf '%s\n' '{"fail":"429 too many requests"}'`, false},
		{"failures", noise + `printf '%s\n' '{"fail":"429 too many requests"}'`, true},
		{"failures", noise + `printf '%s\n' '{"say":"### BLOCKED"}'`, true},
		{"failures", noise + `printf '%s\n' '{"say":"no outcome"}'`, true},
	} {
		b := newEvents(t, c.script)
		b.request.Runner.EventLog = c.policy
		got := b.run()
		if b.exists(schema.EventsFile) != c.kept {
			t.Errorf("%q %s: kept is %v (%s)", c.policy, c.script, !c.kept, got.Detail)
		} else if c.kept {
			if text := b.read(schema.EventsFile); strings.Contains(text, "noise") || !strings.HasPrefix(text, "garbage\n{") {
				t.Errorf("%q: kept %q", c.policy, text)
			}
			if len(got.Transcripts) == 0 || got.Transcripts[0].Path != schema.EventsFile || got.Transcripts[0].Digest == "" {
				t.Errorf("%q: transcripts are %+v", c.policy, got.Transcripts)
			}
		}
	}
}

func TestFinalMessageIsWrittenDown(t *testing.T) {
	b := newEvents(t, `ln -s /etc/passwd $MILLRACE_REQUEST_DIR/final.md; printf '%s\n' '{"say":"well\n### DONE"}'`)
	c := b.run()
	b.want(c, schema.ExitCompleted, "", "DONE")
	if got := b.read(schema.FinalFile); got != "well\n### DONE\n" || c.Claim.Source != schema.FinalFile {
		t.Errorf("final message %q, claimed in %s", got, c.Claim.Source)
	}
	if target, err := os.Readlink(filepath.Join(b.dir, schema.FinalFile+".foreign")); err != nil || target != "/etc/passwd" {
		t.Errorf("the link that lay there leads to %q (%v)", target, err)
	}
}

// Errors and retries, however many, are no progress; and what they were about is the reason of the stall.
func TestRetriesDoNotKeepAnAgentAlive(t *testing.T) {
	b := newEvents(t, `printf '%s\n' '{"say":"### DONE"}'; while :; do printf '%s\n' '{"fail":"429 too many requests"}'; sleep 0.05; done`)
	b.request.Stall = schema.Duration(400 * time.Millisecond)
	c := b.run()
	b.want(c, schema.ExitStalled, schema.FailRateLimited, "")
	if !strings.Contains(c.Detail, "without a sign of progress") || !strings.Contains(c.Detail, "too many") {
		t.Errorf("detail is %q", c.Detail)
	}
	b = newEvents(t, `while :; do echo noise >&2; printf '%s\n' '{"fail":"thinking"}'; sleep 0.05; done`)
	b.request.Stall = schema.Duration(400 * time.Millisecond)
	b.want(b.run(), schema.ExitStalled, schema.FailStalled, "")
}

func TestSessionIsKnownBeforeTheEnd(t *testing.T) {
	b := newEvents(t, `printf '%s\n' '{"session":"s-1"}'; sleep 60`)
	b.env = []string{killAtEnv + "=ending"}
	b.request.Timeout = schema.Duration(500 * time.Millisecond)
	b.killed()
	var s schema.Session
	if err := json.Unmarshal([]byte(b.read(schema.SessionFile)), &s); err != nil || s.ID != "s-1" || s.Waiting != "patience" || s.Request != b.request.ID {
		t.Errorf("session is %+v (%v)", s, err)
	}
	if err := reqdir.EndStrays(t.Context(), b.dir); err != nil {
		t.Fatal(err)
	}
	c, err := reqdir.Salvage(b.dir)
	if err != nil || c.Session == nil || c.Session.ID != "s-1" || c.Session.Waiting != "" {
		t.Errorf("salvaged %+v (%v)", c, err)
	}
	b = newEvents(t, `printf '%s\n' '{"session":"s-2"}'; printf '%s\n' '{"say":"### DONE"}'`)
	if c := b.run(); c.Session == nil || c.Session.ID != "s-2" || c.Session.Waiting != "" {
		t.Errorf("session is %+v", c.Session)
	}
}

// Agents that share a folder take turns; the limits of a stage do not run while it waits for its turn.
func TestOneAgentAtATimeInASharedFolder(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	shared := t.TempDir()
	const script = `mkdir "$SHARED/busy" || echo twice >> "$SHARED/trouble"; sleep 0.5; rmdir "$SHARED/busy"; printf '%s\n' '{"say":"### DONE"}'`
	var all []*bench
	for range 3 {
		b := newEvents(t, script)
		b.request.Runner.Provider, b.request.Runner.Env = shared, map[string]string{"SHARED": shared}
		b.request.Timeout = schema.Duration(1300 * time.Millisecond) // less than two of them take
		all = append(all, b)
	}
	ended := make(chan error)
	for _, b := range all {
		cmd := b.command()
		go func() { ended <- cmd.Run() }()
	}
	for range all {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	for _, b := range all {
		b.want(b.completion(), schema.ExitCompleted, "", "DONE")
	}
	if text, err := os.ReadFile(filepath.Join(shared, "trouble")); err == nil {
		t.Errorf("they met: %s", text)
	}
}

func TestCancelledWhileItWaitsForItsTurn(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	shared := t.TempDir()
	first := newEvents(t, `sleep 30`)
	first.request.Runner.Provider = shared
	one := first.command()
	if err := one.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first has its turn", func() bool { return first.exists(schema.InvocationFile) })
	second := newEvents(t, `touch ran; printf '%s\n' '{"say":"### DONE"}'`)
	second.request.Runner.Provider = shared
	two := second.command()
	if err := two.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second says what it waits for", func() bool {
		return second.exists(schema.SessionFile) && strings.Contains(second.read(schema.SessionFile), shared)
	})
	second.write(filepath.Join(second.dir, schema.CancelFile), "enough\n")
	if err := two.Wait(); err != nil {
		t.Fatal(err)
	}
	second.want(second.completion(), schema.ExitCancelled, schema.FailCancelled, "")
	if _, err := os.Stat(filepath.Join(second.project, "ran")); err == nil {
		t.Error("it ran")
	}
	first.write(filepath.Join(first.dir, schema.CancelFile), "enough\n")
	if err := one.Wait(); err != nil {
		t.Fatal(err)
	}
}
