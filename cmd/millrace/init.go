package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"millrace/assets"
	"millrace/workspace"
)

type initOptions struct {
	f    *factory
	out  output
	mode string
	demo bool
}

// initShape is what init did.
type initShape struct {
	Workspace string   `json:"workspace"` // the folder millrace-agents
	New       bool     `json:"new"`
	Created   []string `json:"created"`
	Kept      []string `json:"kept,omitempty"`
	Held      []string `json:"held,omitempty"`

	Agents []agentShape `json:"agents"` // those found in PATH; none is run
}

func newCmdInit(f *factory, runF func(*cobra.Command, *initOptions) error) *cobra.Command {
	o := &initOptions{f: f}
	cmd := &cobra.Command{
		Use: "init", Short: "make a workspace here; nothing is ever overwritten", Args: cobra.NoArgs,
		Long: "Make the folder " + workspace.Folder + " in the project: configuration, workflow files, intake. It may be run\n" +
			"again; what is missing is added, nothing is overwritten. --demo makes a small project as well, whose\n" +
			"tasks are done by a bundled program that is no model.",
	}
	o.out.flag(cmd)
	cmd.Flags().StringVar(&o.mode, "mode", "", "default mode of a new configuration")
	cmd.Flags().BoolVar(&o.demo, "demo", false, "make the demo project (in an empty folder)")
	completeBy(cmd, "mode", f.modes)
	return leaf(cmd, o, runF, runInit)
}

func runInit(cmd *cobra.Command, o *initOptions) error {
	if err := o.f.operator(cmd); err != nil {
		return err
	}
	project, err := filepath.Abs(o.f.dir)
	if err != nil {
		return err
	}
	if o.demo && o.mode != "" {
		return usage("leave --mode out", "the demo has its own mode")
	}
	if err := o.checkMode(); err != nil {
		return err
	}
	if err := os.MkdirAll(project, 0o777); err != nil {
		return fmt.Errorf("make project folder: %w", err)
	}
	var demo map[string][]byte
	if o.demo {
		demo = assets.Demo()
		if err := demoProject(cmd, project, demo); err != nil {
			return err
		}
	}
	rep, err := workspace.Init(project, workspace.InitOptions{Mode: o.mode, Now: o.f.io.Now})
	if err != nil {
		return err
	}
	// Declarations last: what git tracks before the workspace exists would be held.
	for _, name := range slices.Sorted(maps.Keys(demo)) {
		if strings.HasPrefix(name, workspace.Folder+"/") {
			if err := create(project, name, demo[name]); err != nil {
				return err
			}
		}
	}
	return o.print(rep)
}

// checkMode refuses a mode that there is not: the workspace would not run.
func (o *initOptions) checkMode() error {
	if o.mode == "" {
		return nil
	}
	modes, err := (&compileOptions{f: o.f}).modes()
	if err != nil {
		return err
	}
	var names []string
	for _, m := range modes {
		if m.ID == o.mode || slices.Contains(m.Aliases, o.mode) {
			return nil
		}
		names = append(names, m.ID)
	}
	return usage("there are "+strings.Join(names, ", "), "there is no mode %q", o.mode)
}

func (o *initOptions) print(rep workspace.InitReport) error {
	shown := initShape{Workspace: rep.Dir, New: rep.New, Created: append([]string{}, rep.Created...), Kept: rep.Kept}
	for _, k := range rep.Held {
		shown.Held = append(shown.Held, k.String())
	}
	found, mode, wanted := o.agents()
	shown.Agents = append([]agentShape{}, found...)
	return o.f.io.Print(o.out.Value, reportOf(shown, func() {
		o.f.say("%s %s", pick2(rep.New, "made", "completed"), rep.Dir)
		if n := len(rep.Kept); n > 0 {
			o.f.say("kept %d files that differ from the shipped ones", n)
		}
		if n := len(rep.Held); n > 0 {
			o.f.say("held %s that git tracks already; 'millrace queue admit --all' runs them, --done records them as done", some(n, "declaration"))
		}
		if o.demo {
			o.f.say("\nnext: 'millrace run daemon --monitor basic --until idle'; README.md says what you will see, and what to drop then")
			return
		}
		o.f.say("\nnext: drop a task into %s/%s/tasks/, then 'millrace run daemon --monitor basic'", workspace.Folder, workspace.IntakeDir)
		o.f.say("      ('millrace doctor' says whether the agent of its stages is ready)")
		o.sayAgents(found, mode, wanted)
	}, shown.Workspace))
}

// demoProject writes the demo's own files and commits them, as a project that Millrace comes to later
// would be.
func demoProject(cmd *cobra.Command, project string, files map[string][]byte) error {
	if err := forDemo(project, files); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		config := slices.Contains(workspace.ConfigNames, strings.TrimPrefix(name, workspace.Folder+"/"))
		if strings.HasPrefix(name, workspace.Folder+"/") && !config {
			continue
		}
		if err := create(project, name, files[name]); err != nil {
			return err
		}
	}
	if _, err := exec.LookPath("git"); err != nil {
		return nil // the demo runs without git as well
	}
	git := func(args ...string) error {
		c := exec.CommandContext(cmd.Context(), "git", append([]string{"-C", project, "-c", "user.name=demo", "-c", "user.email=demo@localhost",
			"-c", "commit.gpgsign=false", "-c", "core.hooksPath=" + os.DevNull}, args...)...)
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
		}
		return nil
	}
	if git("rev-parse", "HEAD") == nil {
		return nil // somebody's history: nothing of ours belongs into it
	}
	return errors.Join(git("init", "-q"), git("add", "."), git("commit", "-q", "-m", "The demo project"))
}

// forDemo refuses a folder that holds anything but the demo: its tasks edit what they find.
func forDemo(project string, files map[string][]byte) error {
	entries, err := os.ReadDir(project)
	if err != nil {
		return fmt.Errorf("read project folder: %w", err)
	}
	own := map[string]bool{".git": true, workspace.Folder: true}
	for name := range files {
		top, _, _ := strings.Cut(name, "/")
		own[top] = true
	}
	for _, e := range entries {
		if !own[e.Name()] {
			return refused("make an empty one: mkdir demo && cd demo && millrace init --demo", "the folder %s is not empty (%s)", project, e.Name())
		}
	}
	return nil
}

// create writes a file that is not there yet.
func create(project, name string, data []byte) error {
	path := filepath.Join(project, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return fmt.Errorf("write demo: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err == nil {
		_, err = f.Write(data)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("write demo: %w", err)
	}
	return nil
}
