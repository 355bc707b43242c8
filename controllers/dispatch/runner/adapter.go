package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"millrace/schema"
)

// An adapter knows one agent program: how to run it for a job, how to read what it says, and what
// its end means. A new one is a new entry here; the supervisor does not change.
type adapter func(*job) (*agent, error)

var adapters = map[string]adapter{
	"claude_code": claudeAdapter,
	"codex_cli":   codexAdapter,
	"command":     commandAdapter,
	"pi_rpc":      piAdapter,
}

// A job is one request as adapters see it.
type job struct {
	request *schema.Request
	dir     string // request folder
	project string // where the agent works
	memory  memory
	keys    secrets
}

// An agent is a job made ready to run. Its functions are called from the goroutines that read its output, abort from
// another one; verdict when all output has been read.
type agent struct {
	argv      []string // argv[0] is looked for in the PATH of env, or in the project when it has a slash
	env       []string
	stdin     *os.File                                      // closed by the supervisor once the agent has it; nil: nothing to read
	prompt    string                                        // when it is an argument: invocation.json names it only
	slot      string                                        // folder that only one agent at a time may use; "": its own
	read      func(stream string, p []byte) (progress bool) // what it prints, as it comes; nil: stderr is no progress
	event     func(line []byte) heard                       // its standard output is events, one a line; read then gets stderr only
	lately    func() time.Time                              // when it got further last without saying so, asked before it counts as stalled; nil: it says all
	abort     func()                                        // the agent's own way to be ended; nil: it has none
	interrupt unix.Signal                                   // what asks it to end, in place of abort; 0: nothing
	verdict   func(ended) verdict
	free      func() // releases what the adapter holds for it, started or not; nil: nothing
}

// heard is what a line of events means to the supervisor.
type heard struct {
	progress bool // the agent got further: errors and retries are none
	keep     bool // worth a place in the event log
}

// A verdict is what an adapter makes of an agent that ended by itself.
type verdict struct {
	exit, failure, detail string
	retryAfter            schema.Duration
	blocked               string // why the outcome is BLOCKED whatever the agent says; "": it is what the agent says
	final                 string // the agent's final message, as far as outcomes are concerned
	finalIn               string // transcript it stands in; final.md is written by the supervisor
	tokens                *schema.Tokens
	cost                  *schema.Cost
}

// A refusal says why no agent was started.
type refusal struct{ class, detail string }

func (r *refusal) Error() string { return r.detail }

func refuse(class, format string, args ...any) error {
	return &refusal{class, fmt.Sprintf(format, args...)}
}

func (j *job) prepare() (*agent, error) {
	adapt, ok := adapters[j.request.Runner.Adapter]
	if !ok {
		return nil, refuse(schema.FailRunnerNotFound, "runner %q has the adapter %q, which this Millrace does not know; it knows: %s",
			j.request.Runner.Name, j.request.Runner.Adapter, strings.Join(schema.AdapterNames(), ", "))
	}
	return adapt(j)
}

// prompt is what the agent is to read, open.
func (j *job) prompt() (*os.File, error) {
	f, err := os.Open(filepath.Join(j.dir, schema.PromptFile))
	if err != nil {
		return nil, fmt.Errorf("give prompt: %w", err)
	}
	return f, nil
}

// remarks are what a person should know of a run, however it ended.
type remarks []string

// behind puts them behind what is said of its end: why it failed comes first.
func (r remarks) behind(detail string) string {
	if detail == "" {
		return strings.Join(r, "; ")
	}
	return strings.Join(slices.Concat([]string{detail}, r), "; ")
}

// anew says that a session cannot be gone on with.
func anew(s *schema.Session, folder string) string {
	return fmt.Sprintf("the agent's session %s is not in %s any more: it began anew", s.ID, folder)
}

// environment is what an agent gets: the daemon's (secrets live there), then the operator's settings,
// then what marks and informs every process of the request.
func (j *job) environment() []string {
	return environment(&j.request.Runner, map[string]string{
		schema.RequestEnv:      j.request.ID,
		schema.RunEnv:          j.request.Run,
		"MILLRACE_REQUEST_DIR": j.dir,
		"MILLRACE_WORKSPACE":   j.project,
		"MILLRACE_STAGE":       j.request.Stage,
		"MILLRACE_ITEM":        j.request.Item.String(),
	})
}

func environment(r *schema.Runner, marks map[string]string) []string {
	vars := map[string]string{}
	for _, entry := range unmarked(os.Environ()) {
		if name, value, ok := strings.Cut(entry, "="); ok && name != GraceEnv {
			vars[name] = value
		}
	}
	maps.Copy(vars, r.Env)
	maps.Copy(vars, marks)
	env := make([]string, 0, len(vars))
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		env = append(env, name+"="+vars[name])
	}
	return env
}

// settled keeps the last entry of every name: programs differ in which one they believe.
func settled(env []string) []string {
	var kept []string
	for i, entry := range env {
		name, _, _ := strings.Cut(entry, "=")
		if !slices.ContainsFunc(env[i+1:], func(later string) bool { return strings.HasPrefix(later, name+"=") }) {
			kept = append(kept, entry)
		}
	}
	return kept
}

// unmarked drops the marks of another request.
func unmarked(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return name == schema.RequestEnv || name == schema.RunEnv
	})
}

// find resolves a program's name as the agent's environment would.
func find(name, project string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(project, path)
		}
		return path, executable(path)
	}
	var search string
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, "PATH="); ok {
			search = value
		}
	}
	for _, folder := range filepath.SplitList(search) {
		if !filepath.IsAbs(folder) {
			continue // what a program is must not depend on the folder it runs in
		}
		if path := filepath.Join(folder, name); executable(path) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%q is not in PATH (%s)", name, search)
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s does not exist", path)
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", path)
	case unix.Access(path, unix.X_OK) != nil:
		return fmt.Errorf("%s is not executable (chmod +x it)", path)
	}
	return nil
}
