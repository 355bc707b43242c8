package runner

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/schema"
	"millrace/workspace/reqdir"
)

// crowd starts what a process group would not end: a plain child, one in a session of its own, one
// forked twice, one without our mark; all but the first ignore TERM. Each writes its pid.
const crowd = `
live() { echo 'echo $$ >> '$MILLRACE_REQUEST_DIR'/pids; '"$1"' while :; do sleep 1; done'; }
IGNORE='trap "" TERM HUP;'
sh -c "$(live '')" &
setsid sh -c "$(live "$IGNORE")" &
(setsid sh -c "($(live "$IGNORE")) & exit 0" &)
env -i PATH="$PATH" setsid sh -c "$(live "$IGNORE")" &
while [ "$(sort -u $MILLRACE_REQUEST_DIR/pids 2>/dev/null | wc -l)" -lt 4 ]; do sleep 0.02; done
`

func TestTimeoutEndsEveryDescendant(t *testing.T) {
	b := newBench(t, crowd+`echo "### DONE"; trap "" TERM; while :; do sleep 1; done`)
	b.request.Timeout = schema.Duration(1500 * time.Millisecond)
	c := b.run()
	b.want(c, schema.ExitTimeout, schema.FailTimeout, "")
	if c.Signal != "SIGKILL" || !strings.Contains(c.Detail, "timeout of 1.5s") {
		t.Errorf("signal %q, detail %q", c.Signal, c.Detail)
	}
	b.wantGone(4)
}

// An agent that ends by itself keeps its outcome; what it left behind is ended.
func TestLeavingsAreEnded(t *testing.T) {
	b := newBench(t, crowd+`echo "### DONE"`)
	b.want(b.run(), schema.ExitCompleted, "", "DONE")
	b.wantGone(4)
}

// A process that is gone when its signal comes, leaving a successor, is ended all the same.
func TestRespawningLeavings(t *testing.T) {
	b := newBench(t, `./respawn; sleep 0.2; echo "### DONE"`)
	b.write(filepath.Join(b.project, "respawn"), "#!/bin/sh\ntrap '' TERM\nsetsid \"$0\" &\nexit 0\n")
	if err := os.Chmod(filepath.Join(b.project, "respawn"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.want(b.run(), schema.ExitCompleted, "", "DONE")
	if left, err := reqdir.Strays(b.dir); err != nil || len(left) > 0 {
		t.Errorf("strays %v, %v", left, err)
	}
}

// "kill 0" is common in scripts; it must not reach the supervisor.
func TestAgentKillsItsGroup(t *testing.T) {
	b := newBench(t, `kill -9 0`)
	b.want(b.run(), schema.ExitFailed, schema.FailExit, "")
}

func TestStall(t *testing.T) {
	b := newBench(t, `for i in 1 2 3 4 5 6; do echo $i; sleep 0.2; done; sleep 60`)
	b.request.Stall = schema.Duration(700 * time.Millisecond)
	c := b.run()
	b.want(c, schema.ExitStalled, schema.FailStalled, "")
	if got := b.read(schema.StdoutFile); got != "1\n2\n3\n4\n5\n6\n" {
		t.Errorf("progress did not keep it alive: %q", got)
	}
}

// Whatever an agent says after our signal, it was cancelled.
func TestCancel(t *testing.T) {
	const stubborn = `trap 'echo "### DONE"; echo "{\"stage\":\"build\",\"terminal_result\":\"DONE\"}" > $MILLRACE_REQUEST_DIR/terminal_result.json; exit 0' TERM
		touch $MILLRACE_REQUEST_DIR/ready; while :; do sleep 0.05; done`
	for _, how := range []string{"cancel file", "SIGTERM"} {
		t.Run(how, func(t *testing.T) {
			b := newBench(t, stubborn)
			cmd := b.command()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "agent ready", func() bool { return b.exists("ready") })
			if how == "SIGTERM" {
				_ = cmd.Process.Signal(syscall.SIGTERM)
			} else {
				b.write(filepath.Join(b.dir, schema.CancelFile), "")
			}
			if err := cmd.Wait(); err != nil {
				t.Fatalf("%v: %s", err, cmd.Stderr)
			}
			c := b.completion()
			b.want(c, schema.ExitCancelled, schema.FailCancelled, "")
			if c.ExitCode == nil || *c.ExitCode != 0 || !strings.Contains(b.read(schema.StdoutFile), "DONE") {
				t.Errorf("the agent was to end well after TERM: %+v", c)
			}
		})
	}
}

func TestCancelDuringChecks(t *testing.T) {
	b := newBench(t, `echo "### DONE"`)
	b.request.Checks = []schema.Check{{Name: "slow", Run: `touch $MILLRACE_REQUEST_DIR/ready; sleep 60`}, {Name: "never", Run: "true"}}
	b.request.ChecksAfter = []string{"DONE"}
	cmd := b.command()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "check runs", func() bool { return b.exists("ready") })
	b.write(filepath.Join(b.dir, schema.CancelFile), "")
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, cmd.Stderr)
	}
	c := b.completion()
	b.want(c, schema.ExitCancelled, schema.FailCancelled, "")
	if len(c.ChecksAfter) != 1 || c.ChecksAfter[0].Passed {
		t.Errorf("checks %+v", c.ChecksAfter)
	}
}

// The supervisor is killed by SIGKILL in each phase; what is left says what to do.
func TestSupervisorKilled(t *testing.T) {
	const agent = `echo x >> $MILLRACE_REQUEST_DIR/starts; echo "### DONE"`
	tests := []struct {
		phase, script string
		timeout       time.Duration
		started       bool
		exit, failure string // of the salvage
		outcome       string
	}{
		{phase: "lock", script: agent},
		{phase: "locked", script: agent},
		{"started", agent, time.Minute, true, schema.ExitFailed, schema.FailSupervisorLost, ""},
		{"ended", agent, time.Minute, true, schema.ExitFailed, schema.FailSupervisorLost, "DONE"},
		{"completing", agent, time.Minute, true, schema.ExitFailed, schema.FailSupervisorLost, "DONE"},
		{"ending", agent + "; sleep 60", time.Second, true, schema.ExitTimeout, schema.FailTimeout, ""},
		// by the agent, so after its start: having said nothing, or its last word
		{"", `kill -9 $PPID; sleep 60`, time.Minute, true, schema.ExitFailed, schema.FailSupervisorLost, ""},
		{"", agent + `; sleep 0.3; kill -9 $PPID; sleep 60`, time.Minute, true, schema.ExitFailed, schema.FailSupervisorLost, "DONE"},
	}
	for _, tt := range tests {
		t.Run(tt.phase+tt.outcome, func(t *testing.T) {
			b := newBench(t, tt.script)
			b.request.Timeout = schema.Duration(tt.timeout)
			b.env = []string{killAtEnv + "=" + tt.phase}
			b.killed()
			if err := reqdir.Await(t.Context(), b.dir); err != nil { // the agent's fork may hold it until its exec
				t.Fatal(err)
			}
			started, err := reqdir.Started(b.dir)
			if err != nil || started != tt.started || b.exists(schema.CompletionFile) {
				t.Errorf("started %v, %v; completion %v", started, err, b.exists(schema.CompletionFile))
			}
			b.env = nil
			if !tt.started { // the same request is simply started
				b.want(b.run(), schema.ExitCompleted, "", "DONE")
				return
			}
			if err := reqdir.EndStrays(t.Context(), b.dir); err != nil {
				t.Fatal(err)
			}
			if left, err := reqdir.Strays(b.dir); err != nil || len(left) > 0 {
				t.Errorf("strays %v, %v", left, err)
			}
			c, err := reqdir.Salvage(b.dir)
			if err != nil {
				t.Fatal(err)
			}
			b.want(c, tt.exit, tt.failure, tt.outcome)
			cmd := b.command() // it is spent: nobody starts it again
			if err := cmd.Run(); err != nil || b.exists(schema.CompletionFile) {
				t.Errorf("second supervisor: %v: %s", err, cmd.Stderr)
			}
		})
	}
}

// What an agent says when recovery ends it is no claim; what it had said before is.
func TestEndingALostAgent(t *testing.T) {
	const stubborn = `trap 'echo "{\"stage\":\"build\",\"terminal_result\":\"DONE\"}" > $MILLRACE_REQUEST_DIR/terminal_result.json; exit 0' TERM
		%s; exec >/dev/null 2>&1; kill -9 $PPID; while :; do sleep 0.05; done` // its pipes break with its supervisor
	for said, outcome := range map[string]string{"true": "", `echo "### BLOCKED"; sleep 0.3`: "BLOCKED"} {
		b := newBench(t, strings.Replace(stubborn, "%s", said, 1))
		if outcome != "" { // what it says after the signal is the same here
			b.request.Runner.Run[2] = strings.ReplaceAll(b.request.Runner.Run[2], "DONE", outcome)
		}
		b.killed()
		if said, err := reqdir.Salvage(b.dir); err != nil || (said.Claim == nil) != (outcome == "") {
			t.Fatalf("before: %+v, %v", said, err)
		}
		if outcome == "" {
			if err := reqdir.Ending(b.dir, schema.ExitFailed); err != nil {
				t.Fatal(err)
			}
		}
		if err := reqdir.EndStrays(t.Context(), b.dir); err != nil {
			t.Fatal(err)
		}
		if !b.exists(schema.TerminalFile) {
			t.Error("the agent was to write its result after TERM")
		}
		c, err := reqdir.Salvage(b.dir)
		if err != nil {
			t.Fatal(err)
		}
		b.want(c, schema.ExitFailed, schema.FailSupervisorLost, outcome)
	}
}

// The agent of a lost supervisor is found by its mark, with what it started; what has neither mark nor parent, by its
// cgroup, where there can be one.
func TestStraysOfALostSupervisor(t *testing.T) {
	b := newBench(t, `setsid sleep 60 & env -i setsid sleep 60 & (env -i PATH="$PATH" setsid sleep 60 &)
		sleep 0.2; kill -9 $PPID; trap "" TERM; while :; do sleep 1; done`)
	want := 3
	if c, err := reqdir.NewCgroup("req-probe"); err == nil {
		c.Remove()
		want = 4
	}
	b.killed()
	left, err := reqdir.Strays(b.dir)
	if err != nil || len(left) < want {
		t.Fatalf("strays %v, %v", left, err)
	}
	if alive, err := reqdir.Alive(b.dir); alive || err != nil {
		t.Errorf("alive %v, %v", alive, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := reqdir.EndStrays(ctx, b.dir); err != nil {
		t.Fatal(err)
	}
	if left, err := reqdir.Strays(b.dir); err != nil || len(left) != 0 {
		t.Errorf("strays %v, %v", left, err)
	}
}
