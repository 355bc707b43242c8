package workspace

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/schema"
	"millrace/schema/compile"
)

func TestPlanIsCompiledOnlyWhenAnInputChanged(t *testing.T) {
	x := observe(t, ObserveOptions{Watch: true})
	x.settle()
	n := x.o.inputs.compiles
	if n != 1 {
		t.Errorf("compiled %d times at the start", n)
	}
	x.drop("intake/a.md", taskDoc("a"))
	x.until("a", isDeclared("a"))
	x.write("skills/stray~", "editor")
	if err := os.Chtimes(x.dir+"/modes", time.Now(), time.Now()); err != nil {
		t.Fatal(err)
	}
	x.o.watch.lose()
	x.settle()
	if x.o.inputs.compiles != n {
		t.Error("compiled again for nothing")
	}
	x.write("millrace.cue", "runtime: lanes: execution: 3\n")
	x.until("the new plan", func(v *View) bool { return v.Compiled.Plan != nil && v.Compiled.Plan.Lanes["execution"] == 3 })
}

func TestBrokenInputsKeepTheLastGoodConfiguration(t *testing.T) {
	x := observe(t, ObserveOptions{Watch: true})
	x.write("millrace.cue", "runtime: rescan: \"77s\"\n")
	rescan := func(v *View) bool { return v.Config.Runtime.Rescan == schema.Duration(77*time.Second) }
	x.until("the setting", rescan)
	x.write("millrace.cue", "runtime: rescan: 12 apples\n")
	x.until("the diagnosis", func(v *View) bool { return v.Compiled.Plan == nil && v.Compiled.Diags.HasErrors() })
	x.round(func(v *View) *Mutation {
		if !rescan(v) || !v.Compiled.Ready || v.Registry == nil {
			t.Errorf("config %+v, ready %v", v.Config.Runtime, v.Compiled.Ready)
		}
		return nil
	})
	x.remove("millrace.cue")
	if err := os.Symlink("/etc/hostname", x.dir+"/millrace.cue"); err != nil {
		t.Fatal(err)
	}
	x.until("the link's refusal", func(v *View) bool {
		return v.Compiled.Plan == nil && strings.Contains(v.Compiled.Diags.Error(), "symbolic link")
	})
	x.remove("millrace.cue")
	x.until("the default", func(v *View) bool { return v.Compiled.Plan != nil && !rescan(v) })
	x.drop("intake/a.md", taskDoc("a"))
	x.until("a", isDeclared("a"))
}

func TestSettingsThatGuardAgainstAgentsComeWithThePlan(t *testing.T) {
	x := observe(t, ObserveOptions{Watch: true})
	x.settle()
	freeze := func(v *View) *Mutation {
		c := v.Control.Clone()
		c.Plan = v.Compiled.Digest
		m := &Mutation{By: "plan", Why: "adopt"}
		m.PutFile(PlanPath(c.Plan), "", v.Compiled.Bytes)
		m.PutControl(c)
		return m
	}
	x.view(freeze)
	x.write("millrace.cue", "checks: from_agents: \"allow\"\nruntime: rescan: \"77s\"\nauto_recovery: max_requeues: 9\n")
	x.until("the setting that is no guard", func(v *View) bool { return v.Config.Runtime.Rescan == schema.Duration(77*time.Second) })
	x.view(func(v *View) *Mutation {
		if c := v.Config; c.Checks.FromAgents != "approval" || c.AutoRecovery.MaxRequeues != 3 {
			t.Errorf("in force before anybody vouched for it: %+v, %+v", c.Checks, c.AutoRecovery)
		}
		return freeze(v)
	})
	x.view(func(v *View) *Mutation {
		if c := v.Config; c.Checks.FromAgents != "allow" || c.AutoRecovery.MaxRequeues != 9 {
			t.Errorf("not in force: %+v, %+v", c.Checks, c.AutoRecovery)
		}
		return nil
	})
}

func TestChangedInputsAreNamed(t *testing.T) {
	x := observe(t, ObserveOptions{Watch: true})
	x.settle()
	x.view(func(v *View) *Mutation {
		if v.Compiled.Plan == nil {
			t.Fatal(v.Compiled.Diags)
		}
		c := v.Control.Clone()
		c.Plan = v.Compiled.Digest
		m := &Mutation{By: "plan", Why: "first"}
		m.PutFile(PlanPath(c.Plan), "", compile.Marshal(v.Compiled.Plan))
		m.PutControl(c)
		return m
	})
	var input string
	x.round(func(v *View) *Mutation {
		if len(v.Compiled.Changed) > 0 || v.Plans(v.Control.Plan) == nil || v.Plans("sha256:00") != nil {
			t.Errorf("changed: %v", v.Compiled.Changed)
		}
		for name := range v.Compiled.Plan.Inputs {
			if strings.HasPrefix(name, "entrypoints/") {
				input = name
			}
		}
		return nil
	})
	data, err := os.ReadFile(x.dir + "/" + input)
	if err != nil {
		t.Fatal(err)
	}
	x.write(input, string(data)+"\nOne more sentence.\n")
	x.until("the change", func(v *View) bool { return slices.Equal(v.Compiled.Changed, []string{input}) })
	x.write(input, string(data))
	x.until("the way back", func(v *View) bool { return len(v.Compiled.Changed) == 0 && v.Compiled.Digest == v.Control.Plan })

	// Another mode uses other files; none but the configuration has changed.
	x.write("millrace.cue", "runtime: default_mode: \"default_codex_integrated\"\n")
	x.until("another mode", func(v *View) bool {
		return v.Compiled.Plan != nil && v.Compiled.Plan.Mode == "default_codex_integrated" && slices.Equal(v.Compiled.Changed, []string{"millrace.cue"})
	})
}
