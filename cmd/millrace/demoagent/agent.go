// Package demoagent is the agent of the demo: a deterministic program without network that does
// literally what the fenced blocks of its task say. It is held to the same contract as any agent of
// the command adapter: prompt on stdin, artifacts into its request folder, an outcome marker at the
// end. It is no model and does not pretend to be one.
//
// It is the one piece of Millrace outside the assets that knows stages by name, because it plays them.
package demoagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"millrace/schema"
	"millrace/workspace"
)

// ErrAlone is returned when nobody asked: the agent plays a stage only inside a request.
var ErrAlone = errors.New("the demo agent is started by Millrace, as the agent of a stage")

type agent struct {
	request schema.Request
	dir     string // request folder
	project *os.Root
	blocks  []block
	report  []string
}

// Run plays the stage that the environment names, in the project folder it is started in.
func Run(ctx context.Context, in io.Reader, out io.Writer, getenv func(string) string) error {
	run, request := getenv(schema.RunEnv), getenv(schema.RequestEnv)
	if run == "" || request == "" {
		return ErrAlone
	}
	a := &agent{dir: filepath.Join(workspace.Folder, filepath.FromSlash(workspace.RequestDir(run, request)))}
	data, err := os.ReadFile(filepath.Join(a.dir, schema.RequestFile))
	if err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	if err := json.Unmarshal(data, &a.request); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	prompt, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read prompt: %w", err)
	}
	if a.project, err = os.OpenRoot("."); err != nil {
		return fmt.Errorf("open project: %w", err)
	}
	defer func() { _ = a.project.Close() }()
	return a.play(ctx, string(prompt), out)
}

func (a *agent) play(ctx context.Context, prompt string, out io.Writer) error {
	a.say("This is the demo agent, a deterministic program and no model, as %s.", a.request.Stage)
	outcome, err := "", error(nil)
	if a.blocks, err = parse(prompt); err == nil {
		outcome, err = a.stage(ctx)
	}
	if err != nil {
		a.say("I cannot go on: %v.", err)
		outcome = schema.OutcomeBlocked
	}
	if err := a.artifacts(outcome); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s\n\n### %s\n", strings.Join(a.report, "\n"), outcome)
	return err
}

func (a *agent) say(format string, args ...any) {
	a.report = append(a.report, fmt.Sprintf(format, args...))
}

// stage does the stage's work and names its outcome.
func (a *agent) stage(ctx context.Context) (string, error) {
	switch a.request.Stage {
	case "builder":
		return "BUILDER_COMPLETE", a.edit(a.request.Attempt == 1)
	case "integrator":
		return "INTEGRATION_COMPLETE", a.present()
	case "checker":
		return a.check(ctx, "CHECKER_PASS")
	case "fixer":
		return "FIXER_COMPLETE", a.edit(false)
	case "doublechecker":
		return a.check(ctx, "DOUBLECHECK_PASS")
	case "updater":
		return "UPDATE_COMPLETE", a.outline()
	case "troubleshooter":
		a.say("I changed nothing: builder starts again from its task.")
		return "TROUBLESHOOT_COMPLETE", nil
	case "consultant":
		a.say("What the task spells out does not lead to its checks passing: it has to be planned anew.")
		return "NEEDS_PLANNING", nil
	}
	return "", fmt.Errorf("no part is written for me as %s", a.request.Stage)
}

func (a *agent) edit(firstAttempt bool) error {
	chosen := choose(a.blocks, firstAttempt)
	if len(chosen) == 0 {
		return errors.New("the task has no block that says what to edit")
	}
	for _, b := range chosen {
		did, err := b.follow(a.project)
		if err != nil {
			return err
		}
		a.say("- %s", did)
	}
	return nil
}

func (a *agent) present() error {
	for _, b := range a.blocks {
		if _, err := a.project.Stat(b.path); err != nil {
			return fmt.Errorf("find what builder wrote: %w", err)
		}
		a.say("- %s is there", b.path)
	}
	return nil
}

// check runs the task's checks. The runtime runs them as well and believes only itself.
func (a *agent) check(ctx context.Context, pass string) (string, error) {
	failed := 0
	for _, c := range a.request.Checks {
		code, err := runCheck(ctx, c)
		if err != nil {
			return "", err
		}
		a.say("- `%s` ended with exit code %d", c.Run, code)
		if code != 0 {
			failed++
		}
	}
	if failed > 0 {
		a.say("%d of %d checks failed; make them pass.", failed, len(a.request.Checks))
		return "FIX_NEEDED", nil
	}
	if len(a.request.Checks) == 0 {
		a.say("The task names no check, so there is nothing that I could run.")
	}
	return pass, nil
}

func runCheck(ctx context.Context, c schema.Check) (int, error) {
	limit := time.Duration(c.Timeout)
	if limit == 0 {
		limit = 10 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", c.Run)
	cmd.Dir = filepath.FromSlash(c.In)
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 0, fmt.Errorf("run check %s: %w", c.Name, err)
	}
	return 0, nil
}

// artifacts writes what the outcome needs: the report, under each artifact's name.
func (a *agent) artifacts(outcome string) error {
	for _, art := range a.request.Artifacts {
		if !art.NeededFor(outcome) {
			continue
		}
		text := fmt.Sprintf("# %s of %s\n\n%s\n\nOutcome: %s\n",
			strings.ReplaceAll(art.Name, "_", " "), a.request.Item.ID, strings.Join(a.report, "\n"), outcome)
		if err := os.WriteFile(filepath.Join(a.dir, filepath.FromSlash(art.File)), []byte(text), 0o666); err != nil {
			return fmt.Errorf("write artifact %s: %w", art.Name, err)
		}
	}
	return nil
}
