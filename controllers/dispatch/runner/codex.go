package runner

import (
	"cmp"
	"encoding/json"
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

// codexAdapter runs "codex exec": the prompt on its standard input, events on its standard output.
func codexAdapter(j *job) (*agent, error) {
	c := &codex{job: j}
	a := &agent{env: j.environment(), read: c.errors.hear, event: c.event, lately: c.lately, verdict: c.verdict}
	if err := c.sit(a); err != nil {
		return nil, err
	}
	c.goOn()
	a.argv = c.argv()
	var err error
	a.stdin, err = j.prompt() // codex begins when it has read all of it
	return a, err
}

// codexKey is the variable in which codex exec takes a key for its own provider. It reads OPENAI_API_KEY only where a
// provider of the user's names it.
const codexKey = "CODEX_API_KEY"

// codexSettings are the user's that a folder of a run's own links to.
var codexSettings = []string{".env", "config.toml", "AGENTS.md", "AGENTS.override.md", "rules", "hooks.json"}

// codex is one run of the program, as far as it has told.
type codex struct {
	job     *job
	home    string         // its folder
	own     bool           // the folder is the run's own
	hidden  []string       // variables with keys, which its tools are not shown
	session string         // that it goes on with; "": it starts one
	before  *schema.Tokens // that the session had used before
	thread  string         // the session, as it says
	total   *schema.Tokens // that the session has used now, as it says
	said    string         // its last message
	done    bool           // its turn is complete
	trouble string         // what went wrong since it got further last
	errors  complaints
	remarks remarks
}

// sit gives codex its folder. Keys go no further than its environment: it does not write them down, and its tools, of
// which everything is written down, are not shown them.
func (c *codex) sit(a *agent) error {
	traits, r := schema.AdapterOf("codex_cli"), &c.job.request.Runner
	user, seat := seatOf(traits, r, a.env).dir, c.job.sit(traits, a.env)
	c.home, c.own = seat.dir, seat.key != ""
	if profile := filepath.Join(user, r.Profile+".config.toml"); r.Profile != "" {
		if _, err := os.Stat(profile); err != nil {
			return refuse(schema.FailRunnerNotFound, "runner %q has the profile %q, and codex would go on without it: %v; write that file, or change runners.%s.profile",
				r.Name, r.Profile, err, r.Name)
		}
	}
	if c.own {
		if err := c.makeHome(a, user, seat); err != nil {
			return err
		}
	} else {
		a.slot = seat.dir
	}
	c.hidden = present(a.env, r.KeyEnv, traits.Keys...)
	return nil
}

// makeHome makes a folder of the run's own, and hands the key over under the name that codex reads it by.
func (c *codex) makeHome(a *agent, user string, own seat) error {
	settings := codexSettings
	if profile := c.job.request.Runner.Profile; profile != "" {
		settings = append(slices.Clone(settings), profile+".config.toml")
	}
	if err := own.make(user, settings...); err != nil {
		return err
	}
	a.env = append(a.env, schema.AdapterOf("codex_cli").Folder+"="+own.dir)
	if lookup(a.env, codexKey) == "" {
		a.env = append(a.env, codexKey+"="+lookup(a.env, own.key))
	}
	return nil
}

// goOn looks for the session that the request is to go on with.
func (c *codex) goOn() {
	s := c.job.request.Session
	switch {
	case s == nil || s.ID == "":
	case c.rollout(s.ID) == "":
		c.remarks = append(c.remarks, anew(s, c.home))
	default:
		c.session, c.before = s.ID, s.Tokens
	}
}

// rollout is the file in which codex keeps a session, relative to its folder; "": there is none.
func (c *codex) rollout(id string) string {
	if strings.Trim(id, "0123456789abcdef-") != "" || strings.HasPrefix(id, "-") {
		return ""
	}
	found, _ := fs.Glob(os.DirFS(c.home), "sessions/*/*/*/rollout-*-"+id+".jsonl") // the pattern is a good one
	if len(found) == 0 {
		return ""
	}
	return found[len(found)-1]
}

// argv is the command line. Options of exec count for resume, too, when they stand before it.
func (c *codex) argv() []string {
	q := c.job.request
	r := &q.Runner
	argv := []string{cmp.Or(r.Command, schema.AdapterOf("codex_cli").Program), "exec", "--json", "-C", c.job.project}
	set := func(key, value string) { argv = append(argv, "-c", key+"="+value) }
	if !inGit(c.job.project) {
		argv = append(argv, "--skip-git-repo-check")
	}
	if q.Model != "" {
		argv = append(argv, "-m", q.Model)
	}
	if q.Thinking != "" {
		set("model_reasoning_effort", fmt.Sprintf("%q", q.Thinking))
	}
	if r.Profile != "" {
		argv = append(argv, "-p", r.Profile)
	}
	switch q.Permission {
	case "basic":
		argv = append(argv, "-s", "workspace-write")
		set("approval_policy", `"never"`)
	case "elevated":
		argv = append(argv, "-s", "danger-full-access")
		set("approval_policy", `"never"`)
	default:
		argv = append(argv, "--dangerously-bypass-approvals-and-sandbox")
	}
	set("analytics.enabled", "false") // else it waits 5 s for a server that it cannot reach, after its work
	if c.own {
		set("features.plugins", "false") // else it fetches the whole catalogue into every new folder
	}
	for _, name := range c.hidden {
		set("shell_environment_policy.set."+name, `""`)
	}
	for _, key := range slices.Sorted(maps.Keys(r.Config)) {
		set(key, r.Config[key])
	}
	argv = append(argv, r.Args...)
	if c.session != "" {
		argv = append(argv, "resume", c.session)
	}
	return append(argv, "-")
}

// inGit tells whether a folder is in a repository as codex sees it.
func inGit(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
			return true
		}
		if dir == filepath.Dir(dir) {
			return false
		}
	}
}

// A codexEvent is a line of its standard output.
type codexEvent struct {
	Type    string                   `json:"type"`
	Thread  string                   `json:"thread_id"`
	Message string                   `json:"message"`
	Error   struct{ Message string } `json:"error"`
	Item    struct{ Type, Text string }
	Usage   *codexUsage `json:"usage"`
}

func (c *codex) event(line []byte) heard {
	var e codexEvent
	if err := json.Unmarshal(line, &e); err != nil && e.Type == "" {
		return heard{keep: true}
	}
	h := heard{keep: true, progress: e.Type != "" && e.Item.Type != "error"}
	switch e.Type {
	case "error": // it tries again, or gives up
		c.trouble, h.progress = e.Message, false
	case "turn.failed":
		c.trouble, h.progress = cmp.Or(e.Error.Message, c.trouble), false
	case "thread.started":
		c.thread = e.Thread
		if e.Thread != c.session {
			c.before = nil
		}
		c.remember(c.before)
	case "turn.started":
		c.done = false
	case "item.completed":
		if e.Item.Type == "agent_message" {
			c.said = e.Item.Text
		}
	case "turn.completed":
		c.done, c.total = true, e.Usage.tokens()
		c.remember(c.total)
	}
	if h.progress {
		c.trouble = ""
	}
	return h
}

func (c *codex) remember(tokens *schema.Tokens) {
	err := c.job.remember(func(s *schema.Session) {
		if s.ID = c.thread; tokens != nil {
			s.Tokens = tokens
		}
	})
	if err != nil {
		c.remarks = append(c.remarks, err.Error())
	}
}

func (c *codex) verdict(e ended) verdict {
	v := verdict{exit: schema.ExitCompleted, final: c.said, finalIn: schema.FinalFile, tokens: c.spent()}
	if !c.done || !e.status.Exited() || e.status.ExitStatus() != 0 {
		c.failed(&v, e)
	}
	v.detail = c.remarks.behind(v.detail)
	return v
}

// failed says what became of a codex that did not end as one does whose turn is complete.
func (c *codex) failed(v *verdict, e ended) {
	v.exit, v.failure = schema.ExitFailed, schema.FailExit
	code, how := e.status.ExitStatus(), e.String()
	said := cmp.Or(c.trouble, firstError(string(c.errors)))
	v.detail = "codex " + how + ": " + said
	switch class := textClass(said); {
	case c.trouble == "" && !c.done && (e.status.Signaled() || code == 0 || code == 128+int(unix.SIGTERM)):
		v.detail = "codex was interrupted: it " + how + " before its turn was complete"
	case c.thread == "" && c.session != "": // another request begins anew
		v.failure = schema.FailNotStarted
		v.detail = fmt.Sprintf("codex could not go on with its session %s and %s: %s", c.session, how, said)
	case c.thread == "" && code == 127:
		v.failure = schema.FailRunnerNotFound
		v.detail = strings.TrimSuffix(v.detail, ": ") + "; it needs Node in the PATH of the daemon"
	case c.thread == "" && (strings.Contains(said, "Missing optional dependency") || strings.HasPrefix(said, "Error loading config")): // it is so for every item
		v.failure = schema.FailRunnerNotFound
	case class != "" && (c.trouble != "" || c.thread == ""):
		v.failure, v.retryAfter = class, cmp.Or(retryAfter(said), schema.Duration(retryAt(said, time.Now())))
	}
	v.detail = strings.TrimSuffix(v.detail, ": ")
}
