package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"millrace/schema"
	"millrace/workspace/reqdir"
	"millrace/workspace/worktree"
)

// A supervisor runs one request, phase by phase: tree digest and checks, agent, tree digest and
// checks. What it learns goes into the completion, problems that are nobody's failure into its detail.
type supervisor struct {
	job
	home  string // millrace-agents
	group *group
	tree  *worktree.Tree
	turn  *os.File // whose lock is the turn to use a login; nil: the agent has a folder of its own
	at    func(phase string)
}

func newSupervisor(dir string, request *schema.Request, grace time.Duration, at func(string)) (*supervisor, error) {
	home := filepath.Dir(filepath.Dir(filepath.Dir(dir)))
	g, err := newGroup(dir, grace)
	if err != nil {
		return nil, err
	}
	s := &supervisor{job: job{request: request, dir: dir, project: filepath.Dir(home)}, home: home, group: g, at: at}
	s.tree = worktree.New(s.project, filepath.Base(home), s.capture)
	return s, nil
}

func (s *supervisor) close() {
	s.tree.Close()
	s.group.close()
}

func (s *supervisor) run(ctx context.Context) *schema.Completion {
	s.keys = s.secrets()
	c := &schema.Completion{SchemaVersion: schema.Version, Request: s.request.ID, Run: s.request.Run}
	s.before(ctx, c)
	switch held := s.request.Held; {
	case ctx.Err() != nil:
		c.Exit, c.Failure = schema.ExitCancelled, schema.FailCancelled
		reqdir.Note(c, "cancelled before the agent was started")
	case held != nil: // what its checks say now was all that was asked
		s.at("held")
		c.Exit, c.Claim = schema.ExitCompleted, &held.Claim
		reqdir.Note(c, "no agent was started: the outcome is that of request "+held.Request)
	default:
		s.agent(ctx, c)
		s.after(ctx, c)
	}
	s.at("ended")
	note(c, s.sweep())
	note(c, reqdir.List(s.dir, s.request, c))
	c.Ended = time.Now().UTC()
	return c
}

// note keeps an error that does not change what the agent did.
func note(c *schema.Completion, err error) {
	if err != nil {
		reqdir.Note(c, err.Error())
	}
}

// before prepares the folder and what the agent is shown.
func (s *supervisor) before(ctx context.Context, c *schema.Completion) {
	note(c, os.MkdirAll(filepath.Join(s.dir, schema.OutboxFolder), 0o755))
	if s.request.Tree {
		digest, err := s.tree.Digest(ctx)
		c.TreeBefore = digest
		note(c, err)
	}
	if s.request.ChecksBefore && len(s.request.Checks) > 0 {
		records, err := s.checks(ctx, "before")
		c.ChecksBefore = records
		note(c, err)
		note(c, writeJSON(filepath.Join(s.dir, schema.ChecksFile), records))
	}
}

// after digests and checks what a finished agent left. A cancel that arrives meanwhile counts.
func (s *supervisor) after(ctx context.Context, c *schema.Completion) {
	if ctx.Err() != nil {
		return
	}
	if s.request.Tree && !c.Started.IsZero() {
		digest, err := s.tree.Digest(ctx)
		c.TreeAfter = digest
		note(c, err)
	}
	if c.Claim == nil || len(s.request.Checks) == 0 || !slices.Contains(s.request.ChecksAfter, c.Claim.Outcome) {
		return
	}
	s.at("checking")
	records, err := s.checks(ctx, "after")
	c.ChecksAfter = records
	note(c, err)
	if ctx.Err() != nil {
		note(c, reqdir.Ending(s.dir, schema.ExitCancelled))
		c.Exit, c.Failure, c.Claim = schema.ExitCancelled, schema.FailCancelled, nil
		reqdir.Note(c, "cancelled while its checks ran")
	}
}

// sweep ends what carries the request's mark without descending from this process: what a service
// started on the agent's behalf.
func (s *supervisor) sweep() error {
	return reqdir.EndStrays(context.Background(), s.dir)
}

// agent runs the agent and detects what it claims.
func (s *supervisor) agent(ctx context.Context, c *schema.Completion) {
	a, err := s.prepare()
	if err != nil {
		notStarted(c, err)
		return
	}
	if a.stdin != nil {
		defer a.stdin.Close()
	}
	if a.free != nil {
		defer a.free()
	}
	leave, err := s.enter(ctx, a.slot)
	if err != nil {
		notStarted(c, err)
		if ctx.Err() != nil {
			c.Exit = schema.ExitCancelled
		}
		return
	}
	defer leave()
	e, err := s.launch(ctx, a, c)
	if err != nil {
		notStarted(c, err)
		return
	}
	c.Started = e.start.UTC()
	if e.status.Exited() {
		code := e.status.ExitStatus()
		c.ExitCode = &code
	} else {
		c.Signal = unix.SignalName(e.status.Signal())
	}
	v := a.verdict(e)
	if known := schema.AdapterOf(s.request.Runner.Adapter); known != nil && v.failure == schema.FailAuth {
		v.detail += fmt.Sprintf("; log in (%s), or set the key in the environment of the daemon", known.Terms().SignIn)
	}
	v.final, v.detail, v.blocked = s.keys.redact(v.final), s.keys.redact(v.detail), s.keys.redact(v.blocked)
	c.Tokens, c.Cost, c.Session, c.RetryAfter = v.tokens.Credible(), v.cost.Credible(), s.memory.last(), v.retryAfter
	if e.stopped != "" {
		s.stopped(c, e.stopped, v)
		return
	}
	c.Exit, c.Failure = v.exit, v.failure
	if v.final != "" && v.finalIn == schema.FinalFile && v.blocked == "" { // else whoever finds this request lost believed it
		note(c, s.own(schema.FinalFile, []byte(v.final+"\n")))
	}
	if c.Exit == schema.ExitCompleted && c.Failure == "" {
		s.claim(c, v)
	}
	reqdir.Note(c, v.detail) // behind what is wrong with its claim
	if a.event != nil && !s.keepsEvents(c) {
		note(c, os.Remove(filepath.Join(s.dir, schema.EventsFile)))
	}
}

// keepsEvents is the event log policy once the agent has ended by itself: failures keep what an agent said that failed
// or was blocked.
func (s *supervisor) keepsEvents(c *schema.Completion) bool {
	switch s.request.Runner.EventLog {
	case "full":
		return true
	case "none":
		return false
	}
	return c.Failure != "" || c.Claim == nil || c.Claim.Outcome == schema.OutcomeBlocked
}

// stopped says why the agent was ended. One that was silent because its provider, or the way to it, kept failing has
// told why: that is the runner's trouble, not the stage's.
func (s *supervisor) stopped(c *schema.Completion, exit string, v verdict) {
	c.Exit = exit
	switch {
	case exit == schema.ExitTimeout:
		c.Failure = schema.FailTimeout
		reqdir.Note(c, fmt.Sprintf("the agent was ended after its timeout of %v", s.request.Timeout))
	case exit == schema.ExitStalled && schema.Scope(v.failure) == "runner":
		c.Failure = v.failure
		reqdir.Note(c, fmt.Sprintf("the agent was ended after %v without a sign of progress", s.request.Stall), v.detail)
	case exit == schema.ExitStalled:
		c.Failure = schema.FailStalled
		reqdir.Note(c, fmt.Sprintf("the agent was ended after %v without a sign of progress", s.request.Stall))
	default:
		c.Failure = schema.FailCancelled
		reqdir.Note(c, "the agent was ended because its request was cancelled")
	}
}

func (s *supervisor) claim(c *schema.Completion, v verdict) {
	terminal, err := reqdir.ReadTerminal(s.dir)
	note(c, err)
	claim, class, detail := schema.DetectClaim(s.request.Stage, s.request.Outcomes, s.request.ID, terminal, v.final)
	if claim != nil && claim.Source != schema.TerminalFile {
		claim.Source = v.finalIn
	}
	if v.blocked != "" && (claim == nil || claim.Outcome != schema.OutcomeBlocked) {
		claim, class, detail = &schema.Claim{Outcome: schema.OutcomeBlocked, Metadata: map[string]any{"reason": v.blocked}, Source: v.finalIn}, "", ""
	}
	c.Claim, c.Failure = claim, class
	reqdir.Note(c, v.blocked, detail)
}

// launch runs a prepared agent under the request's limits. An error means that it was not started.
func (s *supervisor) launch(ctx context.Context, a *agent, c *schema.Completion) (ended, error) {
	a.env = settled(a.env)
	path, err := find(a.argv[0], s.project, a.env)
	if err != nil {
		return ended{}, refuse(schema.FailRunnerNotFound, "runner %q: %v; install it, or set runners.%s in millrace.cue",
			s.request.Runner.Name, err, s.request.Runner.Name)
	}
	note(c, writeJSON(filepath.Join(s.dir, schema.InvocationFile), newInvocation(s.request, s.project, a.argv, a.env, a.prompt)))
	name := schema.StdoutFile
	if a.event != nil {
		name = schema.EventsFile
	}
	out, err := openTranscript(filepath.Join(s.dir, name), transcriptCap)
	if err != nil {
		return ended{}, err
	}
	errs, err := openTranscript(filepath.Join(s.dir, schema.StderrFile), transcriptCap)
	if err != nil {
		_, _ = out.close()
		return ended{}, err
	}
	abort := a.abort
	if a.interrupt != 0 {
		abort = func() { _ = unix.Kill(s.group.pid, a.interrupt) } // it has not been reaped
	}
	progress := newClock()
	plain, complaints := s.keys.over(out), s.keys.over(errs)
	var stdout io.Writer = &ear{plain, name, a.read, progress}
	if a.event != nil {
		stdout = &lines{each: func(line []byte) {
			h := a.event(line)
			if h.progress {
				progress.touch()
			}
			if h.keep && s.request.Runner.EventLog != "none" {
				_, _ = out.Write(append(s.keys.bytes(line), '\n')) // counts what it cannot keep
			}
		}}
	}
	e, err := s.group.run(ctx, &program{
		path: path, argv: a.argv, env: a.env, dir: s.project, stdin: a.stdin, hold: s.turn,
		stdout: stdout, stderr: &ear{complaints, schema.StderrFile, a.read, progress},
		timeout: time.Duration(s.request.Timeout), stall: time.Duration(s.request.Stall), progress: progress, lately: a.lately,
		ending: func(exit string) { note(c, reqdir.Ending(s.dir, exit)); s.at("ending") },
		abort:  abort,
	})
	_, _ = plain.Close(), complaints.Close() // a transcript takes everything
	for _, t := range []*transcript{out, errs} {
		dropped, closeErr := t.close()
		note(c, closeErr)
		c.Transcripts = append(c.Transcripts, schema.File{Path: filepath.Base(t.path), Dropped: dropped})
	}
	if err != nil {
		return e, startFailure(s.request.Runner.Name, err)
	}
	return e, nil
}

// startFailure tells a program that cannot be run from a machine that cannot start one now.
func startFailure(runner string, err error) error {
	switch {
	case errors.Is(err, unix.E2BIG):
		return refuse(schema.FailNotStarted, "runner %q: %v: the prompt does not fit into an argument; set runners.%s.prompt to stdin or file", runner, err, runner)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOEXEC):
		return refuse(schema.FailRunnerNotFound, "runner %q: %v: not a program for this machine, or a script whose interpreter (its first line, #!…) is missing", runner, err)
	}
	return err
}

func notStarted(c *schema.Completion, err error) {
	c.Exit, c.Failure = schema.ExitNotStarted, schema.FailNotStarted
	if r, ok := errors.AsType[*refusal](err); ok {
		c.Failure = r.class
	}
	note(c, err)
}

// An ear hears one of the agent's outputs: transcript, adapter and stall clock.
type ear struct {
	keep     io.Writer
	stream   string
	read     func(stream string, p []byte) bool
	progress *clock
}

func (e *ear) Write(p []byte) (int, error) {
	if e.read != nil && e.read(e.stream, p) {
		e.progress.touch()
	}
	return e.keep.Write(p)
}

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(path), err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}
