package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"

	"millrace/controllers/dispatch/runner"
	"millrace/schema"
	"millrace/schema/compile"
	"millrace/workspace"
)

// permissions are those of the stages of a plan that a runner runs, sorted.
func permissions(p *schema.Plan, runner string) []string {
	taken := map[string]bool{}
	for _, g := range p.Graphs {
		for _, n := range g.Nodes {
			if n.Runner == runner {
				taken[n.Permission] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(taken))
}

// runner looks whether the agent of a runner is there, and how it would work.
func (d *doctor) runner(r *schema.Runner, taken []string) {
	project, err := d.f.project()
	if err != nil {
		d.add("runner "+r.Name, "error", err.Error(), "run it in a project with a workspace")
		return
	}
	p, a := runner.Ask(d.ctx, r, project), schema.AdapterOf(r.Adapter)
	d.program(r, a, p)
	if a == nil {
		return
	}
	if a.Program != "" && p.Path != "" {
		d.login(r, a, p)
	}
	for _, permission := range taken {
		d.permission(r, a, permission)
	}
}

// program says what was found of the agent itself.
func (d *doctor) program(r *schema.Runner, a *schema.Adapter, p runner.Probe) {
	status, found, repair := "ok", "", ""
	switch {
	case a == nil:
		status, found, repair = "error", p.Trouble, "correct runners."+r.Name+".adapter in the configuration"
	case p.Trouble != "" && p.Path == "" && a.Program == "":
		status, found, repair = "error", p.Trouble, "correct runners."+r.Name+".run in the configuration"
	case p.Trouble != "" && p.Path == "":
		status, found, repair = "error", p.Trouble, fmt.Sprintf("install it (npm install -g %s), name its path in runners.%s.command, or choose another mode ('millrace modes list')", a.Package, r.Name)
	case a.Program == "":
		found = orElse(p.Path, strings.Join(r.Run, " "))
	case p.Broken:
		status, found, repair = "error", p.Trouble, "run it by hand; it must work in the environment of the daemon"
	case p.Trouble != "":
		status, found, repair = "warning", p.Trouble, fmt.Sprintf("is it the program of %s? %s names another", a.Package, "runners."+r.Name+".command")
	case p.Tested == runner.TestedYes:
		found = fmt.Sprintf("%s %s, tested: %s", p.Program, p.Version, p.Path)
	default:
		status, found = "warning", fmt.Sprintf("%s %s is %s than what was tested (%s): %s", p.Program, p.Version, p.Tested, testedRange(a), p.Path)
		repair = fmt.Sprintf("it may well do; npm install -g %s@%s brings a tested one", a.Package, a.Newest)
	}
	d.add("runner "+r.Name, status, found, repair)
	d.found[len(d.found)-1].Agent = &p
}

func testedRange(a *schema.Adapter) string {
	return pick2(a.Oldest == a.Newest, a.Newest, a.Oldest+" to "+a.Newest)
}

// login says whose account the agent would work on, and what that means for runs side by side. Whether the provider
// takes it, only work shows.
func (d *doctor) login(r *schema.Runner, a *schema.Adapter, p runner.Probe) {
	name := "login " + r.Name
	switch p.Login {
	case runner.LoginKey:
		d.add(name, "ok", "the key in "+p.Key+"; every run has a folder of its own, so they may work side by side", "")
	case runner.LoginStored:
		d.add(name, "ok", "the one stored in "+p.Folder+", which one stage at a time uses", "")
	default:
		keys := slices.DeleteFunc(append([]string{r.KeyEnv}, a.Keys...), func(name string) bool { return name == "" })
		shown := strings.Join(keys[:min(len(keys), 4)], ", ") + pick2(len(keys) > 4, ", …", "")
		d.add(name, "warning", fmt.Sprintf("no key in %s, and none stored in %s", shown, p.Folder),
			fmt.Sprintf("log in (%s), or set the variable for the daemon; a provider of your own may need neither", a.Terms().SignIn))
	}
}

// permission says what a permission becomes, and who keeps it.
func (d *doctor) permission(r *schema.Runner, a *schema.Adapter, permission string) {
	permit := a.Terms().Permit(permission)
	switch {
	case permit.AsRoot != "" && os.Geteuid() == 0:
		d.add("permission "+r.Name, "warning", permission+", as root: "+permit.AsRoot, "run the daemon as another user")
	case permit.Advisory() && !slices.ContainsFunc(a.Terms().Permits, func(p schema.Permit) bool { return p.Kept }):
		d.add("permission "+r.Name, "warning", permit.String(), "nothing holds the agent to any: give it a user of its own or a container, or choose an agent that keeps this one")
	case a.Program != "":
		d.add("permission "+r.Name, "ok", permit.String(), "")
	}
}

// An agentShape is an agent that init found.
type agentShape struct {
	Adapter string `json:"adapter"`
	Program string `json:"program"`
	Path    string `json:"path"`
	Mode    string `json:"mode,omitempty"` // the mode that takes it, and is else like the configured one
}

// agents looks in PATH for the agents that there are adapters for; none is run. wanted is the adapter that the
// configured mode takes by name; nil when it leaves the choice to the configuration. Where configuration or modes are
// not in order nothing is told: doctor and the daemon say what is wrong with them.
func (o *initOptions) agents() (found []agentShape, mode *compile.Mode, wanted *schema.Adapter) {
	c := &compileOptions{f: o.f}
	_, config, _, err := c.config()
	if err != nil || config == nil {
		return nil, nil, nil
	}
	modes, err := c.modes()
	if err != nil {
		return nil, nil, nil
	}
	takes := func(m *compile.Mode) *schema.Adapter {
		r, ok := config.Runners.Named[m.Runner]
		if !ok {
			r = m.Runners[m.Runner]
		}
		if r.Command != "" {
			return nil // somebody has chosen the program
		}
		return schema.AdapterOf(r.Adapter)
	}
	for _, m := range modes {
		if m.ID == config.Runtime.DefaultMode || slices.Contains(m.Aliases, config.Runtime.DefaultMode) {
			mode, wanted = m, takes(m)
		}
	}
	for _, name := range schema.AdapterNames() {
		a := schema.AdapterOf(name)
		path, err := exec.LookPath(a.Program)
		if a.Program == "" || err != nil {
			continue
		}
		shown := agentShape{Adapter: name, Program: a.Program, Path: path}
		if i := slices.IndexFunc(modes, func(m *compile.Mode) bool { return mode != nil && takes(m) == a && (m == mode || alike(m, mode)) }); i >= 0 {
			shown.Mode = modes[i].ID
		}
		found = append(found, shown)
	}
	return found, mode, wanted
}

// alike reports whether two modes differ in nothing but who runs them.
func alike(a, b *compile.Mode) bool {
	bare := func(m compile.Mode) compile.Mode {
		m.ID, m.Description, m.Aliases, m.Runner = "", "", nil, ""
		return m
	}
	return reflect.DeepEqual(bare(*a), bare(*b))
}

// sayAgents tells who is to do the work when that one is not there, and who could.
func (o *initOptions) sayAgents(found []agentShape, mode *compile.Mode, wanted *schema.Adapter) {
	if wanted == nil || wanted.Program == "" || slices.ContainsFunc(found, func(a agentShape) bool { return a.Adapter == wanted.Name }) {
		return
	}
	o.f.say("\nthe agent of mode %s, %s, is not in PATH", mode.ID, wanted.Program)
	for _, a := range found {
		if a.Mode != "" {
			o.f.say("  found %s (%s): write  runtime: default_mode: %q  into %s/%s to take it", a.Program, a.Path, a.Mode, workspace.Folder, workspace.ConfigNames[0])
		}
	}
	o.f.say("  to install it: npm install -g %s", wanted.Package)
}
