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
	prompt  string
	blocks  []block
	report  []string
	made    map[string]string // artifacts that are more than the report, by name
}

// Run plays the stage that the environment names, in the project folder it is started in.
func Run(ctx context.Context, in io.Reader, out io.Writer, getenv func(string) string) error {
	run, request := getenv(schema.RunEnv), getenv(schema.RequestEnv)
	if run == "" || request == "" {
		return ErrAlone
	}
	a := &agent{made: map[string]string{}, dir: filepath.Join(workspace.Folder, filepath.FromSlash(workspace.RequestDir(run, request)))}
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
	a.prompt = string(prompt)
	return a.play(ctx, out)
}

func (a *agent) play(ctx context.Context, out io.Writer) error {
	a.say("This is the demo agent, a deterministic program and no model, as %s.", a.request.Stage)
	outcome, err := "", error(nil)
	if a.blocks, err = parse(a.prompt); err == nil {
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
		return "TROUBLESHOOT_COMPLETE", a.open()
	case "consultant":
		if err := a.open(); err != nil {
			a.say("- %s", err)
		}
		a.say("What the task spells out does not lead to what it asks for: it has to be planned anew.")
		return "NEEDS_PLANNING", nil
	case "auditor":
		return "AUDITOR_COMPLETE", a.audit()
	case "planner":
		return "PLANNER_COMPLETE", a.dispose()
	case "manager":
		return "MANAGER_COMPLETE", a.propose()
	case "arbiter":
		return a.judge(ctx)
	}
	return "", fmt.Errorf("no part is written for me as %s", a.request.Stage)
}

// open is the question that the task leaves open, if there is one: who builds cannot answer it.
func (a *agent) open() error {
	for _, b := range a.blocks {
		if b.verb == verbQuestion {
			return fmt.Errorf("the task leaves a question open: %s", strings.Join(b.lines, " "))
		}
	}
	return nil
}

func (a *agent) edit(firstAttempt bool) error {
	if err := a.open(); err != nil {
		return err
	}
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
	for _, b := range edits(a.blocks) {
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
		passed, err := a.runCheck(ctx, c)
		if err != nil {
			return "", err
		}
		if !passed {
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

func (a *agent) runCheck(ctx context.Context, c schema.Check) (passed bool, err error) {
	limit := time.Duration(c.Timeout)
	if limit == 0 {
		limit = 10 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", c.Run)
	cmd.Dir = filepath.FromSlash(c.In)
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		return false, fmt.Errorf("run check %s: %w", c.Name, err)
	}
	a.say("- `%s` ended with exit code %d", c.Run, cmd.ProcessState.ExitCode())
	return cmd.ProcessState.Success(), nil
}

// artifacts writes what the outcome needs: what the stage made under the artifact's name, else the report.
func (a *agent) artifacts(outcome string) error {
	for _, art := range a.request.Artifacts {
		text := a.made[art.Name]
		switch {
		case !art.NeededFor(outcome):
			continue
		case text == "":
			text = a.titled(art.Name) + "\nOutcome: " + outcome + "\n"
		}
		if err := os.WriteFile(filepath.Join(a.dir, filepath.FromSlash(art.File)), []byte(text), 0o666); err != nil {
			return fmt.Errorf("write artifact %s: %w", art.Name, err)
		}
	}
	return nil
}

// titled is the report as a document.
func (a *agent) titled(name string) string {
	return fmt.Sprintf("# %s of %s\n\n%s\n", strings.ReplaceAll(name, "_", " "), a.request.Item.ID, strings.Join(a.report, "\n"))
}
