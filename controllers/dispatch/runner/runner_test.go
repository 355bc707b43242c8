package runner

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/schema"
	"millrace/workspace/reqdir"
)

func TestCommandSucceeds(t *testing.T) {
	b := newBench(t, `cat > $MILLRACE_REQUEST_DIR/seen; pwd; echo to stderr >&2
		echo summary > $MILLRACE_REQUEST_DIR/summary.md; echo new: task > $MILLRACE_REQUEST_DIR/outbox/t.yaml
		echo "### DONE"`)
	b.request.Artifacts = []schema.Artifact{{Name: "summary", File: "summary.md"}, {Name: "more", File: "more.md"}}
	c := b.run()
	b.want(c, schema.ExitCompleted, "", "DONE")
	if c.ExitCode == nil || *c.ExitCode != 0 || c.Started.IsZero() || c.Claim.Source != schema.StdoutFile || c.Tokens != nil {
		t.Errorf("completion %+v", c)
	}
	if got := b.read("seen"); got != "do the work\n" {
		t.Errorf("prompt on standard input: %q", got)
	}
	if got := b.read(schema.StdoutFile); got != b.project+"\n### DONE\n" {
		t.Errorf("stdout %q", got)
	}
	if got := b.read(schema.StderrFile); got != "to stderr\n" {
		t.Errorf("stderr %q", got)
	}
	for _, f := range [][]schema.File{c.Transcripts, c.Artifacts, c.Outbox} {
		for _, file := range f {
			data := b.read(file.Path)
			if file.Digest != schema.DigestOf([]byte(data)) || file.Size != int64(len(data)) {
				t.Errorf("%+v does not fit its file", file)
			}
		}
	}
	if len(c.Transcripts) != 2 || len(c.Artifacts) != 1 || len(c.Outbox) != 1 || c.Outbox[0].Path != "outbox/t.yaml" {
		t.Errorf("listed %v, %v, %v", c.Transcripts, c.Artifacts, c.Outbox)
	}
	if b.exists(".completion.json.tmp") || b.exists(logFile) {
		t.Error("leavings in the request folder")
	}
}

func TestPromptAndPlaceholders(t *testing.T) {
	const show = `for a; do echo "$a"; done; cat; echo "### DONE"`
	for prompt, want := range map[string]string{
		"stdin": "do the work",
		"file":  "@dir/prompt.md",
		"arg":   "do the work",
	} {
		t.Run(prompt, func(t *testing.T) {
			b := newBench(t, "")
			b.request.Model = "small"
			b.request.Runner.Prompt = prompt
			b.request.Runner.Run = []string{"sh", "-c", show, "sh", "{{request_file}}", "{{run_dir}}", "--in={{workspace}}", "{{stage}}/{{model}}"}
			b.request.Runner.Args = []string{"{{millrace}}"}
			b.request.Runner.Env = map[string]string{"TOKEN": "s3cret", schema.RunEnv: "forged"}
			b.want(b.run(), schema.ExitCompleted, "", "DONE")
			self, _ := os.Executable()
			lines := strings.ReplaceAll("@dir/request.json\n@dir\n--in=@project\nbuild/small\n"+self+"\n"+want+"\n", "@dir", b.dir)
			got := strings.ReplaceAll(b.read(schema.StdoutFile), "\n\n", "\n")
			if want := strings.ReplaceAll(lines, "@project", b.project) + "### DONE\n"; got != want {
				t.Errorf("the agent saw\n%s\nwant\n%s", got, want)
			}
			invocation := b.read(schema.InvocationFile)
			if strings.Contains(invocation, "s3cret") || !strings.Contains(invocation, `"TOKEN"`) || strings.Contains(invocation, "do the work") {
				t.Errorf("invocation tells too much or too little:\n%s", invocation)
			}
		})
	}
}

func TestHowACommandEnds(t *testing.T) {
	tests := []struct {
		name, script           string
		exit, failure, outcome string
		detail                 string
	}{
		{"no outcome", `echo fine`, schema.ExitCompleted, schema.FailMissingOutcome, "", "BLOCKED, DONE"},
		{"illegal", `echo "### OTHER"`, schema.ExitCompleted, schema.FailIllegalOutcome, "", "OTHER"},
		{"two outcomes", `echo "### DONE"; echo "### BLOCKED"`, schema.ExitCompleted, schema.FailConflicting, "", "DONE, BLOCKED"},
		{"marker on stderr is none", `echo "### DONE" >&2`, schema.ExitCompleted, schema.FailMissingOutcome, "", ""},
		{"file", `echo '{"stage":"build","terminal_result":"BLOCKED"}' > $MILLRACE_REQUEST_DIR/terminal_result.json`,
			schema.ExitCompleted, "", "BLOCKED", ""},
		{"file against marker", `echo '{"stage":"build","terminal_result":"BLOCKED"}' > $MILLRACE_REQUEST_DIR/terminal_result.json; echo "### DONE"`,
			schema.ExitCompleted, schema.FailConflicting, "", "BLOCKED"},
		{"file is a link", `ln -s /etc/hostname $MILLRACE_REQUEST_DIR/terminal_result.json; echo "### DONE"`,
			schema.ExitCompleted, schema.FailIllegalOutcome, "", "link"},
		{"exit code", `echo "### DONE"; echo "no luck" >&2; exit 3`, schema.ExitFailed, schema.FailExit, "", "exit code 3: no luck"},
		{"exit code 127", `exec /no/such/tool`, schema.ExitFailed, schema.FailExit, "", "exit code 127"},
		{"killed by another", `echo "### DONE"; kill -9 $$`, schema.ExitFailed, schema.FailExit, "", "not by Millrace"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, tt.script)
			c := b.run()
			b.want(c, tt.exit, tt.failure, tt.outcome)
			if !strings.Contains(c.Detail, tt.detail) {
				t.Errorf("detail %q lacks %q", c.Detail, tt.detail)
			}
		})
	}
}

func TestNotStarted(t *testing.T) {
	tests := []struct {
		name, failure, detail string
		change                func(*bench)
	}{
		{"not in PATH", schema.FailRunnerNotFound, "not in PATH", func(b *bench) { b.request.Runner.Run = []string{"no-such-agent"} }},
		{"no such file", schema.FailRunnerNotFound, "does not exist", func(b *bench) { b.request.Runner.Run = []string{"./agent.sh"} }},
		{"not executable", schema.FailRunnerNotFound, "chmod", func(b *bench) {
			b.write(filepath.Join(b.project, "agent.sh"), "#!/bin/sh\n")
			b.request.Runner.Run = []string{"./agent.sh"}
		}},
		{"no interpreter", schema.FailRunnerNotFound, "interpreter", func(b *bench) {
			b.write(filepath.Join(b.project, "agent.sh"), "#!/no/such/shell\n")
			_ = os.Chmod(filepath.Join(b.project, "agent.sh"), 0o755)
			b.request.Runner.Run = []string{"./agent.sh"}
		}},
		{"nothing to run", schema.FailRunnerNotFound, "runners.mine.run", func(b *bench) { b.request.Runner.Run = nil }},
		{"unknown adapter", schema.FailRunnerNotFound, "command", func(b *bench) { b.request.Runner.Adapter = "telepathy" }},
		{"unknown prompt", schema.FailRunnerNotFound, "stdin, file or arg", func(b *bench) { b.request.Runner.Prompt = "smoke" }},
		{"prompt too long", schema.FailNotStarted, "stdin or file", func(b *bench) {
			b.request.Runner.Prompt = "arg"
			b.write(filepath.Join(b.dir, schema.PromptFile), strings.Repeat("x", 1<<20))
		}},
		{"no prompt", schema.FailNotStarted, "prompt", func(b *bench) { _ = os.Remove(filepath.Join(b.dir, schema.PromptFile)) }},
		{"cancelled before", schema.FailCancelled, "before", func(b *bench) { b.write(filepath.Join(b.dir, schema.CancelFile), "") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, "echo '### DONE'")
			tt.change(b)
			c := b.run()
			exit := schema.ExitNotStarted
			if tt.failure == schema.FailCancelled {
				exit = schema.ExitCancelled
			}
			b.want(c, exit, tt.failure, "")
			if !strings.Contains(c.Detail, tt.detail) || !c.Started.IsZero() || c.ExitCode != nil {
				t.Errorf("completion %+v; detail must have %q", c, tt.detail)
			}
		})
	}
}

// A request that cannot be read is answered all the same, or it would be started for ever.
func TestUnreadableRequest(t *testing.T) {
	b := newBench(t, "")
	cmd := b.command()
	b.write(filepath.Join(b.dir, schema.RequestFile), `{"request":`)
	if out, err := cmd.Output(); err != nil {
		t.Fatalf("%v: %s%s", err, out, cmd.Stderr)
	}
	b.want(b.completion(), schema.ExitNotStarted, schema.FailNotStarted, "")
}

func TestTranscriptsAreCapped(t *testing.T) {
	b := newBench(t, `echo first; head -c 100000000 /dev/zero | tr '\0' '=' | fold -w 99; echo; echo "### DONE"`)
	c := b.run()
	b.want(c, schema.ExitCompleted, "", "DONE")
	out := b.read(schema.StdoutFile)
	if len(out) > transcriptCap+100 || !strings.HasPrefix(out, "first\n") || !strings.HasSuffix(out, "### DONE\n") {
		t.Errorf("%d bytes kept; head and tail must be there", len(out))
	}
	if c.Transcripts[0].Size != int64(len(out)) || c.Transcripts[0].Dropped < 90_000_000 {
		t.Errorf("listed as %+v", c.Transcripts[0])
	}
	if !strings.Contains(out, fmt.Sprintf("[millrace: %d bytes left out]", c.Transcripts[0].Dropped)) {
		t.Error("the gap is not marked")
	}
}

func TestProducts(t *testing.T) {
	b := newBench(t, `cd $MILLRACE_REQUEST_DIR; ln -s /etc/hostname link.md; mkdir folder.md; mkfifo pipe.md
		ln -s ../../../../.. out; truncate -s 70000000 huge.md; mkdir -p kit/deep; echo a > kit/a; echo b > kit/deep/b
		echo s > said.md; truncate -s 2000000 outbox/big.md; ln -s /etc/hostname outbox/link.md; mkdir outbox/sub; echo y > outbox/sub/y.yaml
		echo '{"stage":"build","terminal_result":"DONE","summary_artifact_paths":["said.md","/etc/passwd","../x.md"]}' > terminal_result.json`)
	for _, name := range []string{"link.md", "folder.md", "pipe.md", "out/etc/hostname", "huge.md", "kit/", "../../escape.md"} {
		b.request.Artifacts = append(b.request.Artifacts, schema.Artifact{Name: name, File: name})
	}
	c := b.run()
	b.want(c, schema.ExitCompleted, "", "DONE")
	var got []string
	for _, f := range append(c.Artifacts, c.Outbox...) {
		if f.Digest == "" {
			f.Path += "!"
		}
		got = append(got, f.Path)
	}
	slices.Sort(got)
	want := []string{"huge.md!", "kit/a", "kit/deep/b", "outbox/big.md!", "outbox/sub/y.yaml", "said.md"}
	if !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
	for _, name := range []string{"link.md", "folder.md", "pipe.md", "out/etc/hostname", "huge.md", "escape.md", "outbox/big.md", "outbox/link.md", "/etc/passwd", "../x.md"} {
		if !strings.Contains(c.Detail, name) {
			t.Errorf("detail does not name %s:\n%s", name, c.Detail)
		}
	}
}

func TestTwoSupervisorsStartOneAgent(t *testing.T) {
	rounds := 50
	if testing.Short() {
		rounds = 10
	}
	for range rounds {
		b := newBench(t, `echo x >> $MILLRACE_REQUEST_DIR/starts; echo "### DONE"`)
		start := filepath.Join(b.project, "go")
		b.env = []string{goEnv + "=" + start}
		one, two := b.command(), b.command()
		for _, cmd := range []*exec.Cmd{one, two} {
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
		}
		b.write(start, "")
		for _, cmd := range []*exec.Cmd{one, two} {
			if err := cmd.Wait(); err != nil {
				t.Errorf("supervisor: %v: %s", err, cmd.Stderr)
			}
		}
		if got := b.read("starts"); got != "x\n" {
			t.Fatalf("agent starts: %q", got)
		}
		b.want(b.completion(), schema.ExitCompleted, "", "DONE")
	}
}

func TestSpentRequestsAreLeftAlone(t *testing.T) {
	for _, file := range []string{schema.StartedFile, schema.CompletionFile} {
		b := newBench(t, `echo x > $MILLRACE_REQUEST_DIR/starts`)
		b.write(filepath.Join(b.dir, file), "whatever")
		cmd := b.command()
		if err := cmd.Run(); err != nil {
			t.Errorf("with %s: %v: %s", file, err, cmd.Stderr)
		}
		if b.exists("starts") || b.read(file) != "whatever" {
			t.Errorf("with %s there, the agent was started or the file changed", file)
		}
	}
}

func TestStartDetachesAndReaps(t *testing.T) {
	b := newBench(t, `ps -o sid= -p $PPID | tr -d ' ' > $MILLRACE_REQUEST_DIR/sid; echo $PPID > $MILLRACE_REQUEST_DIR/supervisor; sleep 0.3; echo "### DONE"`)
	b.command() // writes the request
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(schema.RequestEnv, "req-of-another") // this process may itself run inside a stage
	began := time.Now()
	ended, err := Start(self, b.dir, subcommand)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Start took %v", took)
	}
	if alive := func() bool { a, _ := reqdir.Alive(b.dir); return a }; true {
		eventually(t, "alive", func() bool { return alive() || b.exists(schema.CompletionFile) })
	}
	if err := reqdir.Await(t.Context(), b.dir); err != nil {
		t.Fatal(err)
	}
	b.want(b.completion(), schema.ExitCompleted, "", "DONE")
	if b.read("sid") != b.read("supervisor") {
		t.Errorf("session %q of supervisor %q", b.read("sid"), b.read("supervisor"))
	}
	eventually(t, "no zombie", func() bool {
		left, err := reqdir.Descendants(os.Getpid())
		return err == nil && len(left) == 0
	})
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the end of the supervisor was never told")
	}
	if b.exists(logFile) {
		t.Errorf("supervisor said: %s", b.read(logFile))
	}
}

func TestStartSaysWhatIsMissing(t *testing.T) {
	b := newBench(t, "")
	if _, err := Start("/no/such/millrace-stage", b.dir); err == nil || !strings.Contains(err.Error(), "start supervisor") {
		t.Errorf("error %v", err)
	}
}

func TestLocate(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if binary, args := Locate(); binary != self || !slices.Equal(args, []string{subcommand}) {
		t.Errorf("located %s %q", binary, args)
	}
}

func TestServeUsage(t *testing.T) {
	var out strings.Builder
	if code := Serve(nil, &out); code != 2 || !strings.Contains(out.String(), "usage") {
		t.Errorf("exit %d: %s", code, &out)
	}
	out.Reset()
	if code := Serve([]string{filepath.Join(t.TempDir(), "none")}, &out); code != 1 || out.Len() == 0 {
		t.Errorf("exit %d: %s", code, &out)
	}
}
