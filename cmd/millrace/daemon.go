package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"millrace/cmd/millrace/monitor"
	"millrace/cmd/millrace/term"
	"millrace/controllers/approval"
	"millrace/controllers/closure"
	"millrace/controllers/control"
	"millrace/controllers/dispatch"
	"millrace/controllers/dispatch/runner"
	"millrace/controllers/intake"
	"millrace/controllers/learning"
	"millrace/controllers/plan"
	"millrace/controllers/recovery"
	"millrace/controllers/result"
	"millrace/reconcile"
	"millrace/schema"
	"millrace/workspace"
)

func newCmdRun(f *factory) *cobra.Command {
	return group("run", "run the workspace", newCmdRunDaemon(f, nil))
}

type daemonOptions struct {
	f          *factory
	mode       string
	config     string
	maxTicks   int
	until      term.Choice
	monitor    term.Choice
	monitorLog string
	singleHost bool
}

func newCmdRunDaemon(f *factory, runF func(*cobra.Command, *daemonOptions) error) *cobra.Command {
	o := &daemonOptions{f: f}
	cmd := &cobra.Command{
		Use: "daemon", Short: "reconcile what is declared with what is so, until stopped", Args: cobra.NoArgs,
		Long: "Reconcile what is declared with what is so, until stopped ('millrace stop', Ctrl-C; twice: at once).\n" +
			"Agents run under supervisors of their own: they go on when the daemon ends, and the next one takes\n" +
			"their results.",
		Example: "  millrace run daemon --monitor basic\n  millrace run daemon --until idle --monitor json --monitor-log events.jsonl",
	}
	cmd.Flags().StringVar(&o.mode, "mode", "", "mode to run instead of the configured one")
	cmd.Flags().StringVar(&o.config, "config", "", "configuration in the workspace folder to read instead of millrace.cue")
	cmd.Flags().IntVar(&o.maxTicks, "max-ticks", 0, "end after N ticks: one tick starts what can start and applies its results")
	choice(cmd, &o.until, "until", "end when nothing more happens by itself; closed: exit 1 unless everything is done and judged", reconcile.Idle, reconcile.Closed)
	o.monitor.Value = "none"
	choice(cmd, &o.monitor, "monitor", "print events as they happen", "none", "basic", "json")
	cmd.Flags().StringVar(&o.monitorLog, "monitor-log", "", "file for the monitor instead of stdout; appended to")
	cmd.Flags().BoolVar(&o.singleHost, "single-host", false, "no other host uses this folder: needed on NFS and the like")
	completeBy(cmd, "mode", f.modes)
	if err := cmd.MarkFlagFilename("config", "cue", "yaml", "json", "toml"); err != nil {
		panic(err) // the flag was added above
	}
	return leaf(cmd, o, runF, runDaemon)
}

func runDaemon(cmd *cobra.Command, o *daemonOptions) (err error) {
	if err := o.f.operator(cmd); err != nil {
		return err
	}
	if o.maxTicks < 0 {
		return usage("like --max-ticks 1", "%d ticks are too few", o.maxTicks)
	}
	w, err := o.f.open()
	if err != nil {
		return err
	}
	if o.config, err = configName(w, o.config); err != nil {
		return err
	}
	info := o.identity()
	release, err := w.LockDaemon(info)
	if err != nil {
		return err
	}
	defer release()
	obs, err := w.Observe(workspace.ObserveOptions{Watch: true, Mode: o.mode, Config: o.config, Now: o.f.io.Now, Daemon: info.Instance})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, obs.Close()) }()
	seen := &witness{Observers: obs}
	seen.level.Set(slog.LevelWarn)
	shown, err := o.watch(cmd.Context(), w, seen)
	if err != nil {
		return err
	}
	o.f.say("daemon %d runs %s; Ctrl-C or 'millrace stop' ends it", info.PID, w.Dir)
	binary, args := runner.Locate()
	rep, err := reconcile.Run(cmd.Context(), reconcile.Options{
		Workspace: w, Observers: seen, Now: o.f.io.Now, MaxTicks: o.maxTicks, Until: o.until.Value,
		Controllers: []reconcile.Controller{control.New(), plan.New(), intake.New(), result.New(), approval.New(), recovery.New(), closure.New(), dispatch.New(), learning.New()},
		Executor:    &reconcile.Executor{Dir: w.Dir, Start: func(dir string) (<-chan struct{}, error) { return runner.Start(binary, dir, args...) }},
		Log:         slog.New(slog.NewTextHandler(o.f.io.Err, &slog.HandlerOptions{Level: &seen.level})),
		Notice:      (&board{o: o, w: w}).notice,
	})
	return o.ended(w, rep, errors.Join(err, shown()))
}

// configName is the name in the workspace folder of the file that --config means: the plan rests on it, so it
// lies where the other inputs do.
func configName(w *workspace.Workspace, arg string) (string, error) {
	if arg == "" {
		return "", nil
	}
	path, name := arg, filepath.Base(arg)
	if beside := within(w, name); path == name && exists(beside) == nil {
		path = beside
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if err := exists(path); err != nil {
		return "", fail(exitInvalid, "name a file in "+workspace.Folder, "read configuration: %w", err)
	}
	given, errGiven := os.Stat(path)
	inside, errInside := os.Stat(within(w, name))
	if errGiven != nil || errInside != nil || !os.SameFile(given, inside) || !slices.Contains(configEndings, filepath.Ext(name)) {
		return "", usage("put it beside millrace.cue, under a name of its own", "%s is no configuration in %s", arg, w.Dir)
	}
	return name, nil
}

var configEndings = []string{".cue", ".yaml", ".json", ".toml"}

func exists(path string) error {
	_, err := os.Stat(path)
	return err
}

// ended says how the daemon ended. Being told to end is no error.
func (o *daemonOptions) ended(w *workspace.Workspace, rep reconcile.Report, err error) error {
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	o.f.say("daemon ended%s", pick2(rep.Stopped, " as asked", ""))
	if err := o.f.leftRunning(w); err != nil {
		return err
	}
	if err := o.f.leftWaiting(w); err != nil || len(rep.Left) == 0 {
		return err
	}
	return fail(exitDiffers, "'millrace why' says what it waits for", "not closed: %s", strings.Join(rep.Left, "; "))
}

// leftWaiting says that there is more to do than was done.
func (f *factory) leftWaiting(w *workspace.Workspace) error {
	s, err := w.Load()
	if err != nil {
		return err
	}
	count := map[string]int{}
	for _, it := range s.Items {
		count[it.State]++
	}
	var words []string
	for _, state := range []string{schema.StateQueue, schema.StateBlocked} {
		if n := count[state]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, inWords(state)))
		}
	}
	if len(words) > 0 {
		f.say("left: %s; 'millrace status' says why", strings.Join(words, ", "))
	}
	return nil
}

// A board shows what the daemon lives with: on its own terminal, and to whoever asks for the status.
type board struct {
	o *daemonOptions
	w *workspace.Workspace

	mu   sync.Mutex
	held []workspace.Condition
}

// notice is called by the loop and by those who start stages.
func (b *board) notice(c reconcile.Condition) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = slices.DeleteFunc(b.held, func(h workspace.Condition) bool { return h.Name == c.Name })
	if c.Lifted {
		b.o.f.say("%s goes on", c.Name)
	} else {
		b.held = append(b.held, workspace.Condition{Name: c.Name, Message: c.Message, Since: c.Since.UTC()})
		b.o.f.say("%s; tried again until it works", b.o.f.io.PaintErr(term.Yellow, c.Name+" is held up: "+c.Message))
	}
	_ = b.w.ShowConditions(b.held) // it has been said here; what it tells of may be the reason why it cannot be written
}

func (o *daemonOptions) identity() workspace.DaemonInfo {
	var random [3]byte
	_, _ = rand.Read(random[:]) // never fails
	now := o.f.io.Now().UTC()
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return workspace.DaemonInfo{
		Instance: "daemon-" + now.Format("20060102T150405.000Z") + "-" + hex.EncodeToString(random[:]),
		PID:      os.Getpid(), Host: host, Command: strings.Join(os.Args, " "), Mode: o.mode, Config: o.config, Since: now, SingleHost: o.singleHost,
	}
}

// watch begins the monitor; what it returns ends it after everything committed has been shown.
func (o *daemonOptions) watch(ctx context.Context, w *workspace.Workspace, seen *witness) (func() error, error) {
	if o.monitor.Value == "none" {
		return func() error { return nil }, nil
	}
	s, err := w.Load()
	if err != nil {
		return nil, err
	}
	out, closeLog := *o.f.io, func() error { return nil }
	if o.monitorLog != "" {
		file, err := os.OpenFile(o.monitorLog, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
		if err != nil {
			return nil, fmt.Errorf("open monitor log: %w", err)
		}
		out.Out, out.Colour, out.Width, closeLog = file, false, 0, file.Close
	}
	m := &monitor.Monitor{Printer: monitor.Basic{IO: &out}, Idle: func() string { return o.idle(w) }, Now: o.f.io.Now, Running: inFlight(s)}
	seen.rejected = make(chan schema.Diagnostic, 1000)
	m.Rejections = seen.rejected
	if o.monitor.Value == "json" {
		m.Printer = monitor.JSON{IO: &out}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() {
		err := m.Run(ctx, w.Project, s.Seq, w.Tail(ctx, s.Seq+1))
		if errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) {
			err = nil // nobody reads any more; the work goes on
		}
		done <- err
	}()
	return func() error {
		last, err := w.Load()
		if err == nil {
			m.Until(last.Seq)
			err = <-done
		}
		cancel()
		return errors.Join(err, closeLog())
	}, nil
}

// A witness tells the monitor of declarations and workflow files that turn out to be invalid: they
// change nothing, so no record says it.
type witness struct {
	*workspace.Observers
	rejected chan schema.Diagnostic // nil: nobody asks
	fresh    bool                   // the next view is the first since a look at the world
	told     map[schema.Diagnostic]bool
	level    slog.LevelVar // of the log: runtime.log_level
}

// Refresh looks at the world.
func (s *witness) Refresh(ctx context.Context) error {
	s.fresh = true
	return s.Observers.Refresh(ctx)
}

// View shows what was seen.
func (s *witness) View(state *workspace.State) *workspace.View {
	v := s.Observers.View(state)
	var level slog.Level
	if v.Config != nil && level.UnmarshalText([]byte(v.Config.Runtime.LogLevel)) == nil {
		s.level.Set(level)
	}
	if s.rejected == nil || !s.fresh {
		return v
	}
	s.fresh = false
	now := map[schema.Diagnostic]bool{}
	faults := rejections(v)
	if v.Compiled.Plan == nil {
		faults = append(faults, v.Compiled.Diags...)
	}
	for _, d := range faults {
		now[d] = true
		if s.told[d] {
			continue
		}
		select {
		case s.rejected <- d:
		default: // a flood of errors: the first thousand are enough for a monitor
		}
	}
	s.told = now
	return v
}

// inFlight are the requests under way, with their runs.
func inFlight(s *workspace.State) map[string]string {
	requests := map[string]string{}
	for _, r := range s.Runs {
		if r.Request != "" {
			requests[r.Request] = r.ID
		}
	}
	return requests
}

// idle is the one line that says what a quiet daemon waits for.
func (o *daemonOptions) idle(w *workspace.Workspace) string {
	f := *o.f
	f.dir = w.Project
	_, v, err := f.state()
	if err != nil {
		return err.Error()
	}
	var s statusShape
	s.planes(v)
	for _, p := range s.Planes {
		if p.Waiting != nil {
			return p.Waiting.Message
		}
	}
	return "nothing is queued"
}
