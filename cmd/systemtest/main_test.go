// Package systemtest runs the real binaries, real agents and real signals against real folders, and
// then looks at the state of the world: lifecycle folders, journal, exit codes, and the log that the
// scripted agent keeps of every start.
package systemtest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/schema"
	"millrace/workspace"
)

var (
	millrace string // the binary under test, with millrace-stage beside it
	agentBin string // the scripted agent
)

// builtEnv names the folder of binaries built already.
const builtEnv = "SYSTEMTEST_BUILT"

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "millrace-systemtest-")
	if err != nil {
		panic(err)
	}
	code := func() int {
		defer os.RemoveAll(dir)
		if built := os.Getenv(builtEnv); built != "" { // a test that runs itself as somebody else
			millrace, agentBin = filepath.Join(built, "millrace"), filepath.Join(built, "agent")
		} else if err := build(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}()
	os.Exit(code)
}

func build(dir string) error {
	args := []string{"build", "-o", dir + "/"}
	if raceEnabled {
		args = append(args, "-race")
	}
	for _, pkgs := range [][]string{{"millrace/cmd/millrace", "millrace/cmd/millrace-stage"}, {"./testdata/agent"}} {
		if out, err := exec.Command("go", append(slices.Clip(args), pkgs...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("build %v: %w\n%s", pkgs, err, out)
		}
	}
	millrace, agentBin = filepath.Join(dir, "millrace"), filepath.Join(dir, "agent")
	return nil
}

// A project is a folder with a workspace in it whose stages are run by the scripted agent.
type project struct {
	t   testing.TB
	dir string
	env []string // besides the usual, for every command
	bin string   // the millrace to run; "": the one under test
}

const testConfig = `runtime: {default_mode: "standard", prune_settle: "300ms"}
runners: {
	default_runner: "agent"
	agent: {adapter: "command", run: [%q], prompt: "stdin"}
}
`

func newProject(t testing.TB) *project {
	t.Helper()
	return newProjectIn(t, t.TempDir())
}

func newProjectIn(t testing.TB, dir string) *project {
	t.Helper()
	p := &project{t: t, dir: dir}
	p.mkdir("agent")
	p.git("init", "-q", "-b", "main")
	p.write("millrace-agents/millrace.cue", fmt.Sprintf(testConfig, agentBin))
	p.must("init")
	t.Cleanup(p.endStrays)
	return p
}

func (p *project) path(elem ...string) string {
	return filepath.Join(append([]string{p.dir}, elem...)...)
}

func (p *project) mkdir(rel string) {
	p.t.Helper()
	if err := os.MkdirAll(p.path(rel), 0o755); err != nil {
		p.t.Fatal(err)
	}
}

func (p *project) write(rel, content string) {
	p.t.Helper()
	p.mkdir(filepath.Dir(rel))
	if err := os.WriteFile(p.path(rel), []byte(content), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// drop puts a whole file into intake by rename, as a careful program would.
func (p *project) drop(rel, content string) {
	p.t.Helper()
	tmp := p.path("millrace-agents", "intake", "."+filepath.Base(rel)+".tmp")
	if err := os.MkdirAll(filepath.Dir(p.path("millrace-agents", "intake", rel)), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(tmp, []byte(content), 0o644); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(tmp, p.path("millrace-agents", "intake", rel)); err != nil {
		p.t.Fatal(err)
	}
}

// task is the smallest task document.
func task(id string, extra ...string) string {
	return fmt.Sprintf("kind: task\ntask_id: %s\ntitle: Task %s\nacceptance: [it is done]\n%s\n", id, id, strings.Join(extra, "\n"))
}

func (p *project) git(args ...string) {
	p.t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.invalid"}, args...)...)
	cmd.Dir = p.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// command prepares a millrace process in the project folder.
func (p *project) command(args ...string) *exec.Cmd {
	cmd := exec.Command(p.program(), args...)
	cmd.Dir = p.dir
	cmd.Env = append(cleanEnv(), p.env...)
	return cmd
}

func (p *project) program() string { return cmp.Or(p.bin, millrace) }

func cleanEnv() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "MILLRACE_") {
			env = append(env, e)
		}
	}
	return append(env, "NO_COLOR=1")
}

// run runs a command to its end and returns its exit code and output.
func (p *project) run(args ...string) (code int, stdout, stderr string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.program(), args...)
	cmd.Dir, cmd.Env = p.dir, append(cleanEnv(), p.env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		code = exit.ExitCode()
	default:
		p.t.Fatalf("millrace %v: %v", args, err)
	}
	return code, out.String(), errs.String()
}

// must runs a command that has to succeed and returns its standard output.
func (p *project) must(args ...string) string {
	p.t.Helper()
	code, stdout, stderr := p.run(args...)
	if code != 0 {
		p.t.Fatalf("millrace %v: exit %d\n%s%s", args, code, stdout, stderr)
	}
	return stdout
}

// state folds the journal anew, without the daemon's help.
func (p *project) state() *workspace.State {
	p.t.Helper()
	w, err := workspace.Open(p.dir)
	if err != nil {
		p.t.Fatal(err)
	}
	defer w.Close()
	s, err := w.Load()
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// item finds one item or fails.
func (p *project) item(family, id string) *schema.Item {
	p.t.Helper()
	it := p.state().Items[schema.Key{Family: family, ID: id}]
	if it == nil {
		p.t.Fatalf("no item %s/%s", family, id)
	}
	return it
}

// records reads the whole journal.
func (p *project) records() []*workspace.Record {
	p.t.Helper()
	w, err := workspace.Open(p.dir)
	if err != nil {
		p.t.Fatal(err)
	}
	defer w.Close()
	var all []*workspace.Record
	for rec, err := range w.Records(1) {
		if err != nil {
			p.t.Fatal(err)
		}
		all = append(all, rec)
	}
	return all
}

// eventually waits for a condition of the world.
func (p *project) eventually(what string, cond func() bool) {
	p.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			_, status, _ := p.run("status")
			p.t.Fatalf("never came: %s\n%s", what, status)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// starts counts agent starts by request, from the log the agent keeps itself.
func (p *project) starts() map[string]int {
	p.t.Helper()
	counts := map[string]int{}
	data, err := os.ReadFile(p.path("agent", "log"))
	if errors.Is(err, os.ErrNotExist) {
		return counts
	}
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		switch words[0] {
		case "start":
			counts[words[1]]++
		case "overlap":
			p.t.Errorf("two agents at once: %s", strings.TrimSpace(line))
		}
	}
	return counts
}

// processes lists what runs with this project's folder in its command line or environment.
func (p *project) processes(name string) []int {
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscan(e.Name(), &pid); err != nil {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue
		}
		words := strings.Split(string(cmdline), "\x00")
		if filepath.Base(words[0]) != name {
			continue
		}
		cwd, _ := os.Readlink(filepath.Join("/proc", e.Name(), "cwd"))
		if strings.Contains(string(cmdline), p.dir) || strings.HasPrefix(cwd, p.dir) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// endStrays ends what a failed test left behind.
func (p *project) endStrays() {
	for _, name := range []string{"millrace", "millrace-stage", "agent", "agent.sh", "bash", "sleep"} {
		for _, pid := range p.processes(name) {
			if proc, err := os.FindProcess(pid); err == nil {
				_ = proc.Kill()
			}
		}
	}
}
