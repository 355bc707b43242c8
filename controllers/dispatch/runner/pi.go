package runner

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"millrace/schema"
)

// piAdapter runs pi in its RPC mode: commands on its standard input, answers and events on its standard output. It is
// never told set_auto_retry or set_auto_compaction: it would write them into the user's settings.
func piAdapter(j *job) (*agent, error) {
	r := j.request.Runner
	if r.Provider != "" && j.request.Model == "" {
		return nil, refuse(schema.FailRunnerNotFound, "runner %q has the provider %q and no model, and pi heeds a provider for a model only; set runners.%s.model",
			r.Name, r.Provider, r.Name)
	}
	prompt, err := os.ReadFile(filepath.Join(j.dir, schema.PromptFile))
	if err != nil {
		return nil, fmt.Errorf("give prompt: %w", err)
	}
	a := &agent{env: append(j.environment(), "PI_OFFLINE=1")} // no looking for updates, no packages to install; models are asked all the same
	home, err := j.piSeat(a)
	if err != nil {
		return nil, err
	}
	p := &pi{job: j}
	sessions := filepath.Join(home, "sessions")
	a.argv = append(j.piArgs(), "--session-dir", sessions)
	if file := piSession(sessions, j.request.Session); file != "" {
		a.argv = append(a.argv, "--session", file)
		p.before = j.request.Session.Tokens
	} else if s := j.request.Session; s != nil && s.ID != "" {
		p.remarks = append(p.remarks, anew(s, sessions))
	}
	a.argv = append(a.argv, r.Args...)
	if p.to, a.stdin, err = newMouth(); err != nil {
		return nil, err
	}
	p.say(map[string]any{"type": "get_state"})
	p.say(map[string]any{"type": "prompt", "message": string(prompt)})
	a.read, a.event = p.errors.hear, p.event
	a.verdict = func(e ended) verdict {
		v := p.verdict(e)
		v.detail = p.remarks.behind(v.detail)
		return v
	}
	a.abort = func() { p.say(map[string]any{"type": "abort"}) }
	a.free = p.to.free
	return a, nil
}

// piArgs is the command line without what is the run's own. pi has no sandbox: it holds an agent to basic permission by
// giving it no shell, and to nothing else.
func (j *job) piArgs() []string {
	r := j.request.Runner
	argv := []string{cmp.Or(r.Command, schema.AdapterOf("pi_rpc").Program), "--mode", "rpc", "-ne", "-ns", "-nc"}
	for _, option := range [][2]string{{"--provider", r.Provider}, {"--model", j.request.Model}, {"--thinking", j.request.Thinking}} {
		if option[1] != "" {
			argv = append(argv, option[:]...)
		}
	}
	if j.request.Permission == "basic" {
		argv = append(argv, "--tools", "read,edit,write,grep,find,ls")
	}
	return argv
}

// piSeat gives pi its folder, and names the one where the run's sessions are. A stored login is the only thing in the
// user's folder that changes while pi works; without one every run has a folder of its own, whether the key is in the
// environment or in the user's models.json.
func (j *job) piSeat(a *agent) (home string, err error) {
	traits := schema.AdapterOf("pi_rpc")
	user := seatOf(traits, &j.request.Runner, a.env)
	own := seat{dir: j.ownSeat()}
	if user.stored {
		a.slot = user.dir
		return own.dir, own.make(user.dir)
	}
	if err := own.make(user.dir, "models.json", "settings.json", "bin"); err != nil {
		return "", err
	}
	// A login that is there, though empty, keeps pi from moving keys out of old settings into it.
	f, err := os.OpenFile(filepath.Join(own.dir, traits.Login), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = f.WriteString("{}")
		err = errors.Join(err, f.Close())
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("make the agent's folder: %w", err)
	}
	a.env = append(a.env, traits.Folder+"="+own.dir)
	return own.dir, nil
}

// piSession is the file of a session to go on with; "": there is none any more, and pi would ask somebody what to do.
func piSession(folder string, s *schema.Session) string {
	if s == nil || s.ID == "" {
		return ""
	}
	names, _ := os.ReadDir(folder) // none yet
	for _, n := range names {
		if n.Type().IsRegular() && strings.HasSuffix(n.Name(), "_"+s.ID+".jsonl") {
			return filepath.Join(folder, n.Name())
		}
	}
	return ""
}

// pi is one run of the program, as far as it has told.
type pi struct {
	job     *job
	to      *mouth
	before  *schema.Tokens // what the session that it goes on with had used
	spent   piUsage
	last    piMessage // the assistant's last
	text    string    // of that message, once asked for
	idle    bool      // it has nothing more to do
	done    bool      // and has said its last word
	mending bool      // it makes room in a context that was too small, and goes on
	refused string    // why it did not take the prompt
	errors  complaints
	remarks remarks
}

// An event of pi's, or its answer to a command.
type piEvent struct {
	Type      string
	Message   piMessage
	Reason    string // of compaction
	WillRetry bool
	Command   string
	Success   bool
	Error     string
	Data      struct {
		SessionID   string
		IsStreaming bool
		Text        string
	}
}

type piMessage struct {
	Role, StopReason, ErrorMessage string
	Usage                          piUsage
}

// piUsage has its cached tokens outside of its input.
type piUsage struct {
	Input, Output, CacheRead, CacheWrite int64
	Cost                                 struct{ Total float64 }
}

func (p *pi) say(command map[string]any) {
	line, _ := json.Marshal(command) // strings only
	p.to.say(append(line, '\n'))
}

// event hears one line. Snapshots that grow with every word are neither parsed nor kept; nor is the last event parsed,
// which repeats all messages of the run.
func (p *pi) event(line []byte) heard {
	var e piEvent
	switch {
	case is(line, "message_update"), is(line, "tool_execution_update"):
		return heard{progress: true}
	case is(line, "agent_end"):
		e.Type = "agent_end"
	default:
		if err := json.Unmarshal(line, &e); err != nil && e.Type == "" {
			return heard{keep: true}
		}
	}
	well := p.last.StopReason != "error"
	switch e.Type {
	case "message_update", "tool_execution_update":
		return heard{progress: true}
	case "response":
		p.answer(&e)
		return heard{keep: !e.Success} // answers tell of the user's settings
	case "agent_start":
		p.idle, p.mending = false, false
	case "message_start":
		well = e.Message.StopReason != "error"
	case "message_end":
		well = e.Message.StopReason != "error"
		if e.Message.Role == "assistant" {
			p.last = e.Message
			p.count(e.Message.Usage)
		}
	case "turn_end":
		if p.last.StopReason != "toolUse" {
			p.ask() // agent_end may be too long a line to be heard
		}
	case "agent_end":
		p.ask()
	case "compaction_start":
		p.mending = e.Reason == "overflow"
	case "compaction_end":
		if p.mending = p.mending && e.WillRetry; !p.mending {
			p.ask()
		}
	case "tool_execution_start", "tool_execution_end":
	default:
		well = false
	}
	return heard{progress: well, keep: true}
}

func is(line []byte, event string) bool {
	return bytes.HasPrefix(line, []byte(`{"type":"`+event+`"`))
}

// ask wants to know whether this was all: pi says that it ended, and retries a moment later. It is kept from that;
// when to try again is Millrace's business.
func (p *pi) ask() {
	for _, command := range []string{"abort_retry", "get_state", "get_last_assistant_text"} {
		p.say(map[string]any{"type": command})
	}
}

func (p *pi) answer(e *piEvent) {
	switch {
	case e.Command == "prompt" && !e.Success:
		p.refused = e.Error
		p.to.end()
	case e.Command == "abort":
		p.to.end()
	case e.Command == "get_state" && e.Success:
		p.idle = p.last.Role != "" && !e.Data.IsStreaming
		p.remember(e.Data.SessionID)
	case e.Command == "get_last_assistant_text" && e.Success && p.idle && !p.mending:
		p.text, p.done = e.Data.Text, true
		p.to.end()
	}
}

// count adds what a message cost. The sums that pi would give forget what it compacted away.
func (p *pi) count(u piUsage) {
	p.spent.add(u)
	p.remember("")
}

// remember writes down the session; what cannot be written is only worth less.
func (p *pi) remember(id string) {
	_ = p.job.remember(func(s *schema.Session) {
		if id != "" {
			s.ID = id
		}
		s.Tokens = p.spent.tokens().Plus(p.before)
	})
}

func (u *piUsage) add(v piUsage) {
	u.Input += v.Input
	u.Output += v.Output
	u.CacheRead += v.CacheRead
	u.CacheWrite += v.CacheWrite
	u.Cost.Total += v.Cost.Total
}

// tokens of a usage; a provider that reports none makes it zero, and that is unknown.
func (u piUsage) tokens() *schema.Tokens {
	if u.Input+u.Output+u.CacheRead+u.CacheWrite == 0 {
		return nil
	}
	return &schema.Tokens{Input: &u.Input, Output: &u.Output, CachedRead: &u.CacheRead, CacheWrite: &u.CacheWrite}
}

func (p *pi) verdict(e ended) verdict {
	v := verdict{exit: schema.ExitFailed, tokens: p.spent.tokens()}
	if usd := p.spent.Cost.Total; usd > 0 { // zero is a model without prices
		v.cost = &schema.Cost{USD: usd, Reported: true}
	}
	trouble := ""
	switch {
	case p.refused != "":
		trouble = p.refused
	case p.last.StopReason == "error":
		trouble = p.last.ErrorMessage
	case e.status.Exited() && e.status.ExitStatus() == 127:
		v.failure, v.detail = schema.FailRunnerNotFound, "pi could not be run: "+p.complaint()+"; it needs Node in the PATH of the daemon"
		return v
	case !e.status.Exited() || e.status.ExitStatus() != 0:
		trouble = p.complaint()
	case !p.done:
		v.failure, v.detail = schema.FailExit, "pi ended without having said that its work is done"
		return v
	case p.last.StopReason == "length":
		v.failure, v.detail = schema.FailExit, "pi's last message was cut off where its model may write no more"
		return v
	case p.last.StopReason != "stop":
		v.failure, v.detail = schema.FailExit, fmt.Sprintf("pi stopped for the reason %q", p.last.StopReason)
		return v
	default:
		v.exit, v.final, v.finalIn = schema.ExitCompleted, p.text, schema.FinalFile
		return v
	}
	v.failure, v.retryAfter = piClass(trouble), retryAfter(trouble)
	v.detail = strings.TrimSuffix(fmt.Sprintf("pi %s: %s", e, firstLine(trouble)), ": ")
	return v
}

// complaint is the line of standard error that says what went wrong.
func (p *pi) complaint() string {
	for line := range strings.Lines(string(p.errors)) {
		if strings.Contains(line, "Error") || strings.Contains(line, "No models") {
			return strings.TrimSpace(line)
		}
	}
	return lastLine(filepath.Join(p.job.dir, schema.StderrFile))
}

var (
	piStatus = regexp.MustCompile(`^([0-9]{3}) `) // as the libraries of providers begin what they say of an answer
	piLost   = []string{"terminated", "timed out", "timeout", "other side closed", "premature close", "connection lost", "ended without", "websocket"}
)

// piClass is the failure class of what pi says went wrong.
func piClass(text string) string {
	var status int
	if m := piStatus.FindStringSubmatch(text); m != nil {
		_, _ = fmt.Sscan(m[1], &status) // digits
	}
	lower := strings.ToLower(text)
	class := textClass(text)
	switch {
	case status != 0 && (statusClass(status) != "" || class == ""):
		class = statusClass(status)
	case class != "":
	case strings.Contains(lower, "/login"):
		class = schema.FailAuth
	case slices.ContainsFunc(piLost, func(words string) bool { return strings.Contains(lower, words) }):
		class = schema.FailNetwork
	}
	if class == "" {
		return schema.FailExit
	}
	return class
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return strings.ToValidUTF8(line[:min(len(line), 300)], "")
}
