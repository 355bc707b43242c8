//go:build agents

package agenttest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"millrace/schema"
	"millrace/workspace"
	"millrace/workspace/reqdir"
)

// fakeKey is the key that every provider is asked with: long enough to be found in a file that it must not be in.
const fakeKey = "key-that-opens-nothing-0123456789"

// mockModel is the model that agents are set up for where their own default will not do.
const mockModel = "mock-model"

// A world is a user: a home with the settings of their agents, a project in git, and a workspace in it.
type world struct {
	t    testing.TB
	home string
	dir  string            // the project
	bin  string            // folder of the millrace to run
	env  map[string]string // of every process
}

// newWorld makes a world whose agents ask modelURL. The adapters are those that the user has set up, all of them when
// none is named; the workspace's mode is what an operator would choose for the first.
func newWorld(t testing.TB, modelURL string, adapters ...string) *world {
	t.Helper()
	root := t.TempDir()
	w := &world{t: t, home: filepath.Join(root, "home"), dir: filepath.Join(root, "project"), bin: filepath.Join(built, "bin")}
	const deadEnd = "http://127.0.0.1:9" // nobody listens on the discard port
	w.env = map[string]string{
		"PATH": searchPath(), "HOME": w.home, "TMPDIR": filepath.Join(w.home, "tmp"), "LANG": "C.UTF-8", "NO_COLOR": "1",
		"HTTP_PROXY": deadEnd, "HTTPS_PROXY": deadEnd, "NO_PROXY": "127.0.0.1,localhost",
		"http_proxy": deadEnd, "https_proxy": deadEnd, "no_proxy": "127.0.0.1,localhost",
	}
	check(t, os.MkdirAll(w.env["TMPDIR"], 0o755))
	check(t, os.MkdirAll(w.dir, 0o755))
	t.Cleanup(w.endStrays)
	w.write(".home/.gitconfig", "[user]\n\tname = t\n\temail = t@example.invalid\n[init]\n\tdefaultBranch = main\n")
	w.git("init", "-q")
	w.write("greeting.txt", "hello\n")
	w.git("add", ".")
	w.git("commit", "-qm", "start")
	if len(adapters) == 0 {
		adapters = []string{"codex_cli", "pi_rpc", "claude_code"}
	}
	for _, adapter := range adapters {
		w.setUp(adapter, modelURL)
	}
	w.must("init", "--mode", map[string]string{"codex_cli": "default_codex", "pi_rpc": "default_pi", "claude_code": "default_claude"}[adapters[0]])
	return w
}

// setUp writes what a user writes to make an agent ask a model of their own: settings of the agent, none of Millrace.
func (w *world) setUp(adapter, modelURL string) {
	w.t.Helper()
	agentBin(w.t, schema.AdapterOf(adapter).Program)
	switch adapter {
	case "codex_cli":
		w.env["OPENAI_API_KEY"] = fakeKey
		w.write(".home/.codex/config.toml", fmt.Sprintf(`model = %q
model_provider = "mock"
[model_providers.mock]
name = "mock"
base_url = "%s/v1"
wire_api = "responses"
env_key = "OPENAI_API_KEY"
`, mockModel, modelURL))
	case "pi_rpc":
		w.env["OPENAI_API_KEY"] = fakeKey
		w.write(".home/.pi/agent/models.json", fmt.Sprintf(`{"providers": {"mock": {"baseUrl": "%s/v1", "api": "openai-completions", "apiKey": "OPENAI_API_KEY",
	"models": [{"id": %q, "reasoning": true}]}}}
`, modelURL, mockModel))
		w.write(".home/.pi/agent/settings.json", fmt.Sprintf(`{"defaultProvider": "mock", "defaultModel": %q}`+"\n", mockModel))
	case "claude_code":
		w.env["ANTHROPIC_API_KEY"], w.env["ANTHROPIC_BASE_URL"] = fakeKey, modelURL
	default:
		w.t.Fatalf("no agent has the adapter %q", adapter)
	}
}

// path is a place in the project, or below .home in the user's home.
func (w *world) path(elem ...string) string {
	rel := filepath.Join(elem...)
	if inHome, ok := strings.CutPrefix(rel, ".home"); ok {
		return filepath.Join(w.home, inHome)
	}
	return filepath.Join(w.dir, rel)
}

func (w *world) write(rel, content string) {
	w.t.Helper()
	check(w.t, os.MkdirAll(filepath.Dir(w.path(rel)), 0o755))
	check(w.t, os.WriteFile(w.path(rel), []byte(content), 0o644))
}

func (w *world) read(rel string) string {
	w.t.Helper()
	data, err := os.ReadFile(w.path(rel))
	check(w.t, err)
	return string(data)
}

// configure adds to the workspace's configuration.
func (w *world) configure(more string) {
	w.t.Helper()
	w.write("millrace-agents/millrace.cue", w.read("millrace-agents/millrace.cue")+"\n"+more+"\n")
}

// drop puts a whole document into intake, as a careful program would.
func (w *world) drop(rel, content string) {
	w.t.Helper()
	w.write(filepath.Join("millrace-agents", "intake", filepath.Dir(rel), ".tmp"), content)
	check(w.t, os.Rename(w.path("millrace-agents", "intake", filepath.Dir(rel), ".tmp"), w.path("millrace-agents", "intake", rel)))
}

func (w *world) git(args ...string) string {
	w.t.Helper()
	cmd := w.command(exec.Command("git", args...))
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// command gives a command the world's folder and environment.
func (w *world) command(cmd *exec.Cmd) *exec.Cmd {
	cmd.Dir = w.dir
	for _, name := range slices.Sorted(maps.Keys(w.env)) {
		cmd.Env = append(cmd.Env, name+"="+w.env[name])
	}
	return cmd
}

// millrace runs a command to its end and returns its exit code and output.
func (w *world) millrace(args ...string) (code int, stdout, stderr string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 4*time.Minute)
	defer cancel()
	cmd := w.command(exec.CommandContext(ctx, filepath.Join(w.bin, "millrace"), args...))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		w.t.Fatalf("millrace %v: %v", args, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// must runs a command that has to succeed and returns what it prints.
func (w *world) must(args ...string) string {
	w.t.Helper()
	code, stdout, stderr := w.millrace(args...)
	if code != 0 {
		w.t.Fatalf("millrace %v: exit %d\n%s%s", args, code, stdout, stderr)
	}
	return stdout
}

var requests atomic.Int64

// stage prepares a supervisor for a single request that is not of any run in the journal. What the request leaves out
// is filled in: one task, two outcomes (DONE and BLOCKED), the adapter's pinned program.
func (w *world) stage(req *schema.Request, prompt string) (cmd *exec.Cmd, dir string) {
	w.t.Helper()
	fill := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	fill(&req.ID, fmt.Sprintf("req-%d-%d", os.Getpid(), requests.Add(1)))
	fill(&req.Run, "run-single")
	fill(&req.Plane, "execution")
	fill(&req.Node, "builder")
	fill(&req.Stage, "builder")
	fill(&req.Runner.Name, req.Runner.Adapter)
	if req.SchemaVersion, req.Item = schema.Version, (schema.Key{Family: "task", ID: "a"}); len(req.Outcomes) == 0 {
		req.Outcomes = []string{schema.OutcomeBlocked, "DONE"}
	}
	if a := schema.AdapterOf(req.Runner.Adapter); a.Program != "" {
		fill(&req.Runner.Command, agentBin(w.t, a.Program))
	}
	req.Attempt, req.Generation, req.Created = max(req.Attempt, 1), max(req.Generation, 1), time.Now().UTC()
	if req.Timeout == 0 {
		req.Timeout = schema.Duration(2 * time.Minute)
	}
	if req.Stall == 0 {
		req.Stall = schema.Duration(time.Minute)
	}
	data, err := json.Marshal(req)
	check(w.t, err)
	rel := filepath.Join("millrace-agents", "runs", req.Run, req.ID)
	w.write(filepath.Join(rel, schema.RequestFile), string(data))
	w.write(filepath.Join(rel, schema.PromptFile), prompt)
	cmd = w.command(exec.Command(filepath.Join(w.bin, "millrace-stage"), w.path(rel)))
	cmd.Stderr = &strings.Builder{}
	return cmd, w.path(rel)
}

// supervise runs a single request to its end.
func (w *world) supervise(req schema.Request) *schema.Completion {
	w.t.Helper()
	cmd, dir := w.stage(&req, "Do the work.\n")
	if err := cmd.Run(); err != nil {
		w.t.Fatalf("supervisor: %v: %s", err, cmd.Stderr)
	}
	c, err := reqdir.ReadCompletion(dir)
	check(w.t, err)
	return c
}

// folder is where a completed request's files are.
func (w *world) folder(c *schema.Completion) string {
	return w.path("millrace-agents", "runs", c.Run, c.Request)
}

// state folds the journal anew, without the daemon's help.
func (w *world) state() *workspace.State {
	w.t.Helper()
	opened, err := workspace.Open(w.dir)
	check(w.t, err)
	defer opened.Close()
	s, err := opened.Load()
	check(w.t, err)
	return s
}

// task finds one task or fails.
func (w *world) task(id string) *schema.Item {
	w.t.Helper()
	it := w.state().Items[schema.Key{Family: "task", ID: id}]
	if it == nil {
		w.t.Fatalf("no task %s", id)
	}
	return it
}

// eventually waits for a condition of the world.
func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			_, status, _ := w.millrace("status")
			w.t.Fatalf("never came: %s\n%s", what, status)
		}
	}
}

// await waits for a channel to be closed.
func (w *world) await(what string, closed <-chan struct{}) {
	w.t.Helper()
	w.eventually(what, func() bool {
		select {
		case <-closed:
			return true
		default:
			return false
		}
	})
}

// processes are those of this world, whoever started them and wherever they went: pid → command line.
func (w *world) processes() map[int]string {
	mine := commandLines()
	maps.DeleteFunc(mine, func(pid int, _ string) bool {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		return err != nil || !slices.Contains(strings.Split(string(env), "\x00"), "HOME="+w.home)
	})
	return mine
}

// commandLines are those of all processes, zombies left out.
func commandLines() map[int]string {
	all := map[int]string{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if pid, notPid := strconv.Atoi(e.Name()); err == nil && notPid == nil && len(line) > 0 {
			all[pid] = strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return all
}

// folderOf is the folder that a process is in; "" for one that is gone.
func folderOf(pid int) string {
	dir, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	return dir
}

// endStrays ends what a failed test left behind, and waits until it is gone: the folders are removed next.
func (w *world) endStrays() {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		left := w.processes()
		if len(left) == 0 {
			return
		}
		for pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	w.t.Errorf("processes that cannot be ended: %v", w.processes())
}
