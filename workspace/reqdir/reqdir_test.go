package reqdir

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"millrace/schema"
)

// The test binary also plays a supervisor that holds a request until it is killed.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "hold" {
		release, err := Take(os.Args[2])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("held")
		time.Sleep(time.Hour)
		_ = release()
	}
	goleak.VerifyTestMain(m)
}

// hold starts a process that holds dir.
func hold(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "hold", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func alive(t *testing.T, dir string) bool {
	t.Helper()
	is, err := Alive(dir)
	if err != nil {
		t.Fatal(err)
	}
	return is
}

func TestTake(t *testing.T) {
	dir := t.TempDir()
	if alive(t, dir) {
		t.Error("alive before anything")
	}
	release, err := Take(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !alive(t, dir) {
		t.Error("not alive while it is held, asked by the holder's own process")
	}
	if _, err := Take(dir); !errors.Is(err, ErrTaken) {
		t.Errorf("taken twice: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if alive(t, dir) {
		t.Error("alive after its release")
	}
	release, err = Take(dir)
	if err != nil {
		t.Fatal(err)
	}
	_ = release()
}

func TestDeathOfTheHolderFreesTheRequest(t *testing.T) {
	dir := t.TempDir()
	holder := hold(t, dir)
	if !alive(t, dir) {
		t.Error("not alive while another process holds it")
	}
	if _, err := Take(dir); !errors.Is(err, ErrTaken) {
		t.Errorf("taken from another process: %v", err)
	}
	woke := make(chan error, 1)
	go func() { woke <- Await(t.Context(), dir) }()
	select {
	case err := <-woke:
		t.Fatalf("woke while it is held: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	_ = holder.Process.Kill()
	if err := <-woke; err != nil || alive(t, dir) {
		t.Errorf("after its death: %v, alive %v", err, alive(t, dir))
	}
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	hold(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := Await(ctx, dir); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if err := Await(t.Context(), t.TempDir()); err != nil {
		t.Errorf("nobody ever held it: %v", err)
	}
}

// A request of another machine cannot be asked: it is presumed alive until it completes.
func TestAnotherMachinesRequest(t *testing.T) {
	if machineID() == "" {
		t.Log("this machine has no id: every request is its own")
		return
	}
	dir := t.TempDir()
	write(t, dir, schema.StartedFile, `{"machine_id":"f00d","pid":7}`)
	if !alive(t, dir) {
		t.Error("presumed dead")
	}
	write(t, dir, schema.CompletionFile, `{}`)
	if alive(t, dir) {
		t.Error("alive after its completion")
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestSpendOnce(t *testing.T) {
	dir := t.TempDir()
	if is, err := Started(dir); is || err != nil {
		t.Errorf("started %v, %v", is, err)
	}
	results := make(chan bool, 20)
	for range cap(results) {
		go func() {
			first, err := Spend(dir)
			results <- first && err == nil
		}()
	}
	firsts := 0
	for range cap(results) {
		if <-results {
			firsts++
		}
	}
	if is, err := Started(dir); firsts != 1 || !is || err != nil {
		t.Errorf("spent %d times; started %v, %v", firsts, is, err)
	}
	by := StartedBy(dir)
	if by.PID != os.Getpid() || by.Boot == "" || by.Start == 0 || by.At.IsZero() {
		t.Errorf("message %+v", by)
	}
}

func TestReadRequestAndCompletion(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadRequest(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no request: %v", err)
	}
	if _, err := ReadCompletion(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no completion: %v", err)
	}
	for _, text := range []string{"", "{", "[]", "{}", `{"request":"r","exit":"fine"}`, `{"request":"r","exit":"failed","schema_version":99}`,
		"\x00\x00\x00\x00", strings.Repeat(" ", maxRecord+1)} {
		write(t, dir, schema.CompletionFile, text)
		_, err := ReadCompletion(dir)
		if broken, ok := errors.AsType[*BrokenError](err); !ok || !strings.Contains(broken.Error(), "completion.json") {
			t.Errorf("%.40q: %v", text, err)
		}
	}
	for _, make := range []func(string) error{
		func(p string) error { return os.Symlink("/etc/passwd", p) },
		func(p string) error { return os.Mkdir(p, 0o755) },
		func(p string) error { return unix.Mkfifo(p, 0o644) },
	} {
		p := filepath.Join(dir, schema.RequestFile)
		_ = os.Remove(p)
		if err := make(p); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadRequest(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("read what is no file: %v", err)
		}
	}
}

func TestWriteCompletion(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, unfinished)); err != nil { // an agent's trick
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, schema.CompletionFile), 0o755); err != nil {
		t.Fatal(err)
	}
	c := &schema.Completion{SchemaVersion: 1, Request: "r", Run: "run", Exit: schema.ExitFailed, Ended: time.Now().UTC()}
	if err := WriteCompletion(dir, c); err != nil {
		t.Fatal(err)
	}
	got, err := ReadCompletion(dir)
	if err != nil || got.Request != "r" || got.Exit != c.Exit {
		t.Errorf("read back %+v, %v", got, err)
	}
}

// marked starts a process that carries the mark, with what sh script starts below it.
func marked(t *testing.T, request, script string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), schema.RequestEnv+"="+request)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-done })
	return cmd
}

func TestStrays(t *testing.T) {
	request := fmt.Sprintf("req-strays-%d", os.Getpid())
	if left, err := Strays(request); err != nil || len(left) != 0 {
		t.Fatalf("strays %v, %v", left, err)
	}
	if _, err := Strays(""); err == nil {
		t.Error("an empty request marks everything")
	}
	dir := t.TempDir()
	marked(t, request+"0", "exec sleep 60") // a longer id is another request
	cmd := marked(t, request, `trap "" TERM; env -i setsid sleep 60 & (setsid sleep 60 & echo > `+dir+`/ready) & while :; do sleep 1; done`)
	for !exist(t, filepath.Join(dir, "ready")) {
		time.Sleep(5 * time.Millisecond)
	}
	left, err := Strays(request)
	if err != nil || len(left) < 3 || !slices.Contains(left, cmd.Process.Pid) || !slices.IsSorted(left) {
		t.Errorf("strays %v, %v", left, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := endStrays(ctx, request, 200*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	for _, pid := range left {
		if p, err := readProcess(pid); err == nil && !p.Dead {
			t.Errorf("process %d lives", pid)
		}
	}
	if left, err := Strays(request + "0"); err != nil || len(left) != 1 {
		t.Errorf("another request's process: %v, %v", left, err)
	}
}

func exist(t *testing.T, path string) bool {
	t.Helper()
	is, err := exists(path)
	if err != nil {
		t.Fatal(err)
	}
	return is
}

// A process id that was reused since must not be signalled.
func TestSignalOnlyTheSameProcess(t *testing.T) {
	cmd := marked(t, "req-signal", "exec sleep 60")
	p, err := readProcess(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	other := p
	other.Start++
	if err := other.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if now, err := readProcess(p.PID); err != nil || now.Dead {
		t.Fatalf("another process's signal hit: %+v %v", now, err)
	}
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := (Process{PID: 1 << 22, Start: 1}).Signal(unix.SIGKILL); err != nil {
		t.Errorf("a process that is gone: %v", err)
	}
}

func TestProcessNamesMayLie(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a) R 1 (b")
	data, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if p, err := readProcess(cmd.Process.Pid); err != nil || p.Parent != os.Getpid() {
		t.Errorf("process %+v, %v", p, err)
	}
}

func TestSalvage(t *testing.T) {
	finished := schema.Completion{Request: "req-1", Run: "run-1", Exit: schema.ExitCompleted, Claim: &schema.Claim{Outcome: "DONE"},
		ChecksAfter: []schema.CheckRecord{{Name: "x", Passed: true}}}
	data, err := json.Marshal(finished)
	if err != nil {
		t.Fatal(err)
	}
	type files = map[string]string
	tests := []struct {
		name                           string
		files                          files
		exit, failure, outcome, source string
	}{
		{"nothing", files{}, schema.ExitFailed, schema.FailSupervisorLost, "", ""},
		{"transcript", files{"stdout.txt": "### DONE\n"}, schema.ExitFailed, schema.FailSupervisorLost, "DONE", "stdout.txt"},
		{"final message before transcript", files{"stdout.txt": "### BLOCKED\n", "final.md": "### DONE"}, schema.ExitFailed, schema.FailSupervisorLost, "DONE", "final.md"},
		{"file", files{"terminal_result.json": `{"stage":"build","terminal_result":"BLOCKED"}`}, schema.ExitFailed, schema.FailSupervisorLost, "BLOCKED", "terminal_result.json"},
		{"half a file", files{"terminal_result.json": `{"stage":"bu`, "stdout.txt": "### DONE\n"}, schema.ExitFailed, schema.FailSupervisorLost, "", ""},
		{"conflict", files{"stdout.txt": "### DONE\n### BLOCKED\n"}, schema.ExitFailed, schema.FailSupervisorLost, "", ""},
		{"illegal", files{"stdout.txt": "### WON\n"}, schema.ExitFailed, schema.FailSupervisorLost, "", ""},
		{"unfinished completion", files{unfinished: string(data)}, schema.ExitFailed, schema.FailSupervisorLost, "DONE", ""},
		{"half a completion", files{unfinished: string(data[:40]), "stdout.txt": "### BLOCKED"}, schema.ExitFailed, schema.FailSupervisorLost, "BLOCKED", "stdout.txt"},
		{"cancelled", files{"cancel": "", "stdout.txt": "### DONE\n"}, schema.ExitCancelled, schema.FailCancelled, "", ""},
		{"being ended", files{endingFile: "timeout\n", "stdout.txt": "### DONE\n"}, schema.ExitTimeout, schema.FailTimeout, "", ""},
		{"lost, then ended", files{endingFile: "failed\n", "stdout.txt": "### DONE\n"}, schema.ExitFailed, schema.FailSupervisorLost, "", ""},
		{"lost while a cancel was wanted", files{endingFile: "failed\n", "cancel": "x"}, schema.ExitCancelled, schema.FailCancelled, "", ""},
		{"being ended, cut off", files{endingFile: "", "stdout.txt": "### DONE\n"}, schema.ExitCancelled, schema.FailCancelled, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, schema.RequestFile, `{"schema_version":1,"request":"req-1","run":"run-1","stage":"build","outcomes":["BLOCKED","DONE"],"artifacts":[{"name":"s","file":"s.md"}]}`)
			write(t, dir, "s.md", "summary")
			for name, text := range tt.files {
				write(t, dir, name, text)
			}
			if _, err := Spend(dir); err != nil {
				t.Fatal(err)
			}
			c, err := Salvage(dir)
			if err != nil {
				t.Fatal(err)
			}
			var outcome, source string
			if c.Claim != nil {
				outcome, source = c.Claim.Outcome, c.Claim.Source
			}
			if c.Request != "req-1" || c.Run != "run-1" || c.Exit != tt.exit || c.Failure != tt.failure || outcome != tt.outcome || source != tt.source || c.Detail == "" {
				t.Errorf("salvaged %+v, claim %q of %q", c, outcome, source)
			}
			if outcome != "" && tt.files[unfinished] != string(data) && (len(c.Artifacts) == 0 || c.Ended.IsZero()) {
				t.Errorf("artifacts %v, ended %v", c.Artifacts, c.Ended)
			}
		})
	}
}

// What the lost agent said of its session's tokens is paid by its request, less what earlier ones have paid.
func TestSalvageTokens(t *testing.T) {
	for name, tt := range map[string]struct {
		request, session string
		want             int64 // -1: unknown
	}{
		"first":            {``, `{"request":"req-1","session":"s","tokens":{"input":7,"output":3}}`, 10},
		"goes on":          {`,"session":{"session":"s","tokens":{"input":5,"output":1}}`, `{"request":"req-1","session":"s","tokens":{"input":7,"output":3}}`, 4},
		"silent":           {``, `{"request":"req-1","session":"s"}`, -1},
		"before a session": {``, `{"request":"req-1","waiting":"x"}`, -1},
		"another's":        {``, `{"request":"req-0","session":"s","tokens":{"input":7}}`, -1},
		"nonsense":         {``, `{"request":"req-1","session":"s","tokens":{"input":-7}}`, 0},
		"beyond all count": {``, `{"request":"req-1","session":"s","tokens":{"input":9223372036854775807,"output":9}}`, -1},
	} {
		dir := t.TempDir()
		write(t, dir, schema.RequestFile, `{"schema_version":1,"request":"req-1","run":"run-1"`+tt.request+`}`)
		write(t, dir, schema.SessionFile, tt.session)
		c, err := Salvage(dir)
		if err != nil {
			t.Fatal(err)
		}
		if (c.Tokens == nil) != (tt.want < 0) || c.Tokens.Total() != max(0, tt.want) {
			t.Errorf("%s: %+v, want %d tokens in all", name, c.Tokens, tt.want)
		}
	}
}

func TestManyProducts(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, schema.OutboxFolder), 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range schema.MaxItems + 5 {
		write(t, dir, fmt.Sprintf("outbox/%04d.md", i), "x")
	}
	var c schema.Completion
	if err := List(dir, &schema.Request{}, &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Outbox) != schema.MaxItems+1 || // one more than there may be: that is how everybody sees it
		!strings.Contains(c.Detail, "more than") {
		t.Errorf("%d listed, detail %q", len(c.Outbox), c.Detail)
	}
}

func TestStraysWithLargeEnvironment(t *testing.T) {
	request := fmt.Sprintf("req-large-%d", os.Getpid())
	cmd := exec.Command("sleep", "60")
	cmd.Env = append(os.Environ(), "LARGE="+strings.Repeat("x", 100_000), schema.RequestEnv+"="+request)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if left, err := Strays(request); err != nil || !slices.Equal(left, []int{cmd.Process.Pid}) {
		t.Errorf("strays %v, %v", left, err)
	}
}

// BenchmarkAwait is the time from the end of a supervisor until who awaits it goes on.
func BenchmarkAwait(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		b.StopTimer()
		release, err := Take(dir)
		if err != nil {
			b.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- Await(b.Context(), dir) }()
		time.Sleep(20 * time.Millisecond)
		b.StartTimer()
		_ = release()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStrays(b *testing.B) {
	all, err := pids()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if left, err := Strays("req-nobody"); err != nil || len(left) != 0 {
			b.Fatal(left, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(all)), "µs/process")
}

func TestFirstEndingStands(t *testing.T) {
	dir := t.TempDir()
	for _, exit := range []string{schema.ExitTimeout, schema.ExitFailed} {
		if err := Ending(dir, exit); err != nil {
			t.Fatal(err)
		}
	}
	if exit, err := wasEnding(dir); exit != schema.ExitTimeout || err != nil {
		t.Errorf("ending as %q, %v", exit, err)
	}
}
