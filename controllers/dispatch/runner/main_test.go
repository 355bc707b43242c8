package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"millrace/schema"
	"millrace/workspace/reqdir"
)

// The test binary is the supervisor, too: "supervise" runs one request, "stage" is Serve as millrace
// would call it.
const (
	killAtEnv = "RUNNER_TEST_KILL_AT" // the phase in which the supervisor kills itself
	goEnv     = "RUNNER_TEST_GO"      // a file whose appearance starts it
)

func TestMain(m *testing.M) {
	adapters["events"] = eventsAdapter
	if len(os.Args) > 2 && os.Args[1] == "supervise" {
		os.Exit(superviseMain(os.Args[2]))
	}
	if len(os.Args) > 2 && os.Args[1] == subcommand {
		os.Exit(Serve(os.Args[2:], os.Stderr))
	}
	if len(os.Args) > 2 && os.Args[1] == smallDisk {
		if err := onSmallDisk(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func superviseMain(dir string) int {
	for start := os.Getenv(goEnv); start != ""; {
		if _, err := os.Stat(start); err == nil {
			break
		}
	}
	grace, err := time.ParseDuration(os.Getenv(GraceEnv))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	before := openFiles()
	err = supervise(context.Background(), dir, grace, func(phase string) {
		if phase == os.Getenv(killAtEnv) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
	if err == nil {
		err = goleak.Find()
	}
	if after := openFiles(); err == nil && after > before+3 { // the runtime's own: epoll and its eventfd
		err = fmt.Errorf("%d files open, %d before", after, before)
	}
	if left, _ := reqdir.Descendants(os.Getpid()); err == nil && len(left) > 0 {
		err = fmt.Errorf("processes left: %v", left)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func openFiles() int {
	names, _ := os.ReadDir("/proc/self/fd")
	return len(names)
}

// A bench is a project with one request in it.
type bench struct {
	t       testing.TB
	project string
	dir     string
	request schema.Request
	grace   string
	env     []string
}

// newBench makes a request whose agent is a shell script.
func newBench(t testing.TB, script string) *bench {
	t.Helper()
	project := t.TempDir()
	id := fmt.Sprintf("req-%d-%d", os.Getpid(), time.Now().UnixNano())
	b := &bench{t: t, project: project, dir: filepath.Join(project, "millrace-agents", "runs", "run-1", id), grace: "300ms"}
	b.request = schema.Request{SchemaVersion: schema.Version, ID: id, Run: "run-1", Attempt: 1,
		Plane: "execution", Node: "build", Stage: "build", Item: schema.Key{Family: "task", ID: "a"}, Generation: 1,
		Outcomes: []string{"BLOCKED", "DONE"},
		Runner:   schema.Runner{Name: "mine", Adapter: "command", Run: []string{"sh", "-c", script}},
		Timeout:  schema.Duration(time.Minute), Stall: schema.Duration(time.Minute), Created: time.Now().UTC()}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b.write(filepath.Join(b.dir, schema.PromptFile), "do the work\n")
	return b
}

func (b *bench) write(path, text string) {
	b.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) read(name string) string {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(data)
}

// command prepares a supervisor process.
func (b *bench) command() *exec.Cmd {
	b.t.Helper()
	data, err := json.Marshal(b.request)
	if err != nil {
		b.t.Fatal(err)
	}
	b.write(filepath.Join(b.dir, schema.RequestFile), string(data))
	self, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command(self, "supervise", b.dir)
	cmd.Env = append(os.Environ(), GraceEnv+"="+b.grace, "GORACE=atexit_sleep_ms=0") // the race detector waits 1s otherwise
	cmd.Env = append(cmd.Env, b.env...)
	cmd.Stderr = &strings.Builder{}
	b.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := reqdir.EndStrays(ctx, b.dir); err != nil {
			b.t.Errorf("strays after the test: %v", err)
		}
	})
	return cmd
}

// run supervises the request in a process of its own and returns the completion.
func (b *bench) run() *schema.Completion {
	b.t.Helper()
	cmd := b.command()
	if err := cmd.Run(); err != nil {
		b.t.Fatalf("supervisor: %v: %s", err, cmd.Stderr)
	}
	return b.completion()
}

func (b *bench) completion() *schema.Completion {
	b.t.Helper()
	c, err := reqdir.ReadCompletion(b.dir)
	if err != nil {
		b.t.Fatal(err)
	}
	if c.Request != b.request.ID || c.Run != "run-1" || c.Ended.IsZero() {
		b.t.Errorf("completion is of %q, %q, ended %v", c.Request, c.Run, c.Ended)
	}
	return c
}

// killed supervises until the supervisor is killed by SIGKILL.
func (b *bench) killed() {
	b.t.Helper()
	cmd := b.command()
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		b.t.Fatalf("supervisor ended otherwise: %v: %s", err, cmd.Stderr)
	}
}

func (b *bench) want(c *schema.Completion, exit, failure, outcome string) {
	b.t.Helper()
	got := ""
	if c.Claim != nil {
		got = c.Claim.Outcome
	}
	if c.Exit != exit || c.Failure != failure || got != outcome {
		b.t.Errorf("exit %q, failure %q, outcome %q (%s); want %q, %q, %q", c.Exit, c.Failure, got, c.Detail, exit, failure, outcome)
	}
}

// wantGone fails when one of the processes whose ids the agent wrote into the file pids lives.
func (b *bench) wantGone(count int) {
	b.t.Helper()
	pids := strings.Fields(b.read("pids"))
	if len(pids) != count {
		b.t.Errorf("%d processes reported, want %d", len(pids), count)
	}
	for _, text := range pids {
		pid, err := strconv.Atoi(text)
		if err != nil {
			b.t.Fatal(err)
		}
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			b.t.Errorf("process %d lives: %v", pid, err)
		}
	}
	if left, err := reqdir.Strays(b.dir); err != nil || len(left) > 0 {
		b.t.Errorf("strays %v, %v", left, err)
	}
}

// eventually waits for a state of the world, generously.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func (b *bench) exists(name string) bool {
	_, err := os.Lstat(filepath.Join(b.dir, name))
	return err == nil
}
