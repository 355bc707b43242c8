package runner

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"millrace/schema"
)

// claudeAdapter runs "claude -p": the prompt on its standard input, events on its standard output.
func claudeAdapter(j *job) (*agent, error) {
	c := &claude{job: j}
	a := &agent{env: j.environment(), event: c.event, verdict: c.verdict, interrupt: unix.SIGINT}
	for _, option := range claudeOptions {
		if name, _, _ := strings.Cut(option, "="); lookup(a.env, name) == "" { // else the operator has said otherwise
			a.env = append(a.env, option)
		}
	}
	if err := c.sit(a); err != nil {
		return nil, err
	}
	a.argv = c.argv()
	var err error
	a.stdin, err = j.prompt()
	return a, err
}

// claudeOptions are what makes a stage of a conversation: it reaches for nothing but its model, its work is over when
// it says so, and it knows what it was shown.
var claudeOptions = []string{
	"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1",
	"CLAUDE_CODE_DISABLE_BACKGROUND_TASKS=1",
	"CLAUDE_CODE_DISABLE_AUTO_MEMORY=1",
}

// Tools by what is to become of them. A tool that is only not allowed is denied when it is used, which blocks the
// stage; one that is taken away the agent never tries. Without Bash it is given Glob and Grep.
const (
	claudeReads  = "Read,Glob,Grep" // anywhere; acceptEdits allows edits below the project
	claudeWorks  = claudeReads + ",Bash,Monitor,Edit,Write,NotebookEdit,WebFetch,WebSearch"
	claudeNever  = "AskUserQuestion,CronCreate,EnterPlanMode,EnterWorktree,ScheduleWakeup" // nobody answers, nothing is later, the work is here
	claudeShells = claudeNever + ",Bash,Monitor,WebFetch,WebSearch"
)

// claudeSettings are the user's that a folder of a run's own links to. Their settings.json, with hooks, permissions and
// proxies that are to hold here, too, is not one of them: claude rewrites it, through a link, when a setting in it is out
// of date. It only reads one that an argument names.
var claudeSettings = []string{"CLAUDE.md", "agents", "commands", "skills"}

// claudePlanted are what the user has elsewhere or not at all, and claude runs programs from: an earlier agent may have
// put them into the run's own folder.
var claudePlanted = []string{"settings.json", "settings.local.json", ".claude.json", "plugins", "hooks"}

// claude is one run of the program, as far as it has told.
type claude struct {
	job      *job
	home     string // its folder
	settings string // the user's settings.json, when its folder is the run's own
	resumed  string // session that it goes on with; "": it starts one

	answered bool // by a model
	results  []claudeResult
	trouble  claudeTrouble // since a model answered last
	remarks  remarks
}

// sit gives claude its folder. A key stays in the environment: claude writes it down nowhere.
func (c *claude) sit(a *agent) error {
	traits, r := schema.AdapterOf("claude_code"), &c.job.request.Runner
	user, seat := seatOf(traits, r, a.env).dir, c.job.sit(traits, a.env)
	c.home = seat.dir
	if seat.key == "" {
		a.slot = seat.dir
		return nil
	}
	if err := seat.make(user, claudeSettings...); err != nil {
		return err
	}
	for _, name := range claudePlanted {
		if err := os.RemoveAll(filepath.Join(seat.dir, name)); err != nil {
			return fmt.Errorf("make the agent's folder: %w", err)
		}
	}
	if path := filepath.Join(user, "settings.json"); isFile(path) {
		c.settings = path
	}
	a.env = append(a.env, traits.Folder+"="+seat.dir)
	if !slices.Contains(traits.Keys, seat.key) {
		a.env = append(a.env, traits.Keys[0]+"="+lookup(a.env, seat.key))
	}
	return nil
}

func (c *claude) argv() []string {
	q := c.job.request
	argv := []string{cmp.Or(q.Runner.Command, schema.AdapterOf("claude_code").Program), "-p", "--output-format", "stream-json", "--verbose"}
	add := func(option, value string) {
		if value != "" {
			argv = append(argv, option, value)
		}
	}
	add("--model", q.Model)
	if slices.Contains(schema.AdapterOf("claude_code").Thinking, q.Thinking) {
		add("--effort", q.Thinking)
	} else if q.Thinking != "" {
		c.remark("claude has no thinking level " + q.Thinking + ": it used its own")
	}
	if q.MaxTurns > 0 {
		add("--max-turns", strconv.Itoa(q.MaxTurns))
	}
	argv = append(argv, c.permission()...)
	add("--settings", c.settings)
	argv = append(argv, q.Runner.Args...)
	if s := q.Session; s != nil && s.ID != "" {
		if c.knows(s.ID) {
			c.resumed = s.ID
		} else {
			c.remark(anew(s, c.home))
		}
	}
	add("--resume", c.resumed)
	return argv
}

// permission is what the agent may do without being asked. It bypasses its own rules for nobody who is root.
func (c *claude) permission() []string {
	switch c.job.request.Permission {
	case "basic":
		return []string{"--permission-mode", "acceptEdits", "--allowedTools", claudeReads, "--disallowedTools", claudeShells}
	case "elevated":
	default:
		if os.Geteuid() != 0 {
			return []string{"--permission-mode", "bypassPermissions", "--disallowedTools", claudeNever}
		}
		c.remark("claude refuses maximum permission to root: it ran with elevated, the most that it allows")
	}
	return []string{"--permission-mode", "acceptEdits", "--allowedTools", claudeWorks, "--disallowedTools", claudeNever}
}

// knows tells whether a session can be gone on with: it fails when it is asked for another.
func (c *claude) knows(session string) bool {
	if strings.Trim(session, "0123456789abcdef-") != "" {
		return false
	}
	found, _ := fs.Glob(os.DirFS(c.home), "projects/*/"+session+".jsonl") // the pattern is a good one
	return len(found) > 0
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func (c *claude) remark(text string) { c.remarks = append(c.remarks, text) }
