package runner

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"millrace/schema"
)

// commandAdapter runs any program: exit code 0, and an outcome as a line "### OUTCOME" on its standard
// output or in terminal_result.json.
func commandAdapter(j *job) (*agent, error) {
	r := j.request.Runner
	if len(r.Run) == 0 {
		return nil, refuse(schema.FailRunnerNotFound, "runner %q does not say what to run; set runners.%s.run in millrace.cue", r.Name, r.Name)
	}
	prompt := filepath.Join(j.dir, schema.PromptFile)
	a := &agent{env: j.environment()}
	template := append(append([]string{}, r.Run...), r.Args...)
	fill := j.placeholders(prompt)
	for _, arg := range template {
		a.argv = append(a.argv, fill.Replace(arg))
	}
	if err := a.give(r, prompt, strings.Contains(strings.Join(template, " "), "{{prompt_file}}")); err != nil {
		return nil, err
	}
	var said schema.Markers
	a.read = func(stream string, p []byte) bool {
		if stream == schema.StdoutFile {
			_, _ = said.Write(p) // cannot fail
		}
		return len(p) > 0
	}
	a.verdict = func(e ended) verdict { return commandVerdict(j, e, &said) }
	return a, nil
}

// give hands the prompt over: on standard input, as an argument, or as a file whose name is an
// argument (the last one unless a placeholder names it).
func (a *agent) give(r schema.Runner, prompt string, named bool) error {
	switch r.Prompt {
	case "", "stdin":
		f, err := os.Open(prompt)
		if err != nil {
			return fmt.Errorf("give prompt: %w", err)
		}
		a.stdin = f
	case "file":
		if !named {
			a.argv = append(a.argv, prompt)
		}
	case "arg":
		text, err := os.ReadFile(prompt)
		if err != nil {
			return fmt.Errorf("give prompt: %w", err)
		}
		a.prompt = string(text)
		a.argv = append(a.argv, a.prompt)
	default:
		return refuse(schema.FailRunnerNotFound, "runner %q wants its prompt by %q; set runners.%s.prompt to stdin, file or arg", r.Name, r.Prompt, r.Name)
	}
	return nil
}

func (j *job) placeholders(prompt string) *strings.Replacer {
	return strings.NewReplacer(
		"{{prompt_file}}", prompt,
		"{{request_file}}", filepath.Join(j.dir, schema.RequestFile),
		"{{run_dir}}", j.dir,
		"{{workspace}}", j.project,
		"{{stage}}", j.request.Stage,
		"{{model}}", j.request.Model,
		"{{millrace}}", millrace(),
	)
}

// millrace is the path of the millrace program: beside the supervisor, or the supervisor itself.
func millrace() string {
	self, err := os.Executable()
	if err != nil {
		return "millrace"
	}
	if beside := filepath.Join(filepath.Dir(self), "millrace"); filepath.Base(self) == binaryName && executable(beside) == nil {
		return beside
	}
	return self
}

func commandVerdict(j *job, e ended, said *schema.Markers) verdict {
	v := verdict{exit: schema.ExitCompleted, final: said.Text(), finalIn: schema.StdoutFile}
	if e.status.Exited() && e.status.ExitStatus() == 0 {
		return v
	}
	v.exit, v.failure = schema.ExitFailed, schema.FailExit
	v.detail = j.request.Runner.Run[0] + " " + e.String()
	if e.status.Signaled() {
		v.detail += ", not by Millrace"
	}
	if line := lastLine(filepath.Join(j.dir, schema.StderrFile)); line != "" {
		v.detail += ": " + line
	}
	return v
}
