package systemtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"millrace/schema"
	"millrace/workspace"
)

// TestUpgradeUnderWay replaces the binaries by freshly built ones while an agent works, kills the daemon
// and starts the new one: the same agent is awaited under its old supervisor, its result is applied, and
// what follows runs under the new one.
func TestUpgradeUnderWay(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.mkdir("bin")
	p.bin = p.path("bin/millrace")
	for _, name := range []string{"millrace", "millrace-stage"} {
		check(t, os.Link(filepath.Join(filepath.Dir(millrace), name), p.path("bin", name)))
	}
	fresh := p.path("fresh") + "/"
	build := exec.Command("go", "build", "-o", fresh, "-ldflags", "-X main.version=upgraded", "millrace/cmd/millrace", "millrace/cmd/millrace-stage")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	p.write("agent/delay", "3000")
	p.drop("tasks/a.yaml", task("a"))
	old := p.startDaemon()
	p.eventually("an agent works", func() bool { return p.totalStarts() == 1 })
	agents, supervisors := p.processes("agent"), p.processes("millrace-stage")

	for _, name := range []string{"millrace", "millrace-stage"} {
		check(t, os.Rename(fresh+name, p.path("bin", name)))
	}
	check(t, old.Process.Kill())
	_ = old.Wait() // says that it was killed
	if v := p.must("version"); !strings.Contains(v, "upgraded") {
		t.Fatalf("the binary is not the new one: %s", v)
	}
	p.write("agent/delay", "0")
	now := p.command("run", "daemon", "--until", "idle")
	check(t, now.Start())
	if a, b := p.processes("agent"), p.processes("millrace-stage"); !slices.Equal(a, agents) || !slices.Equal(b, supervisors) {
		t.Errorf("agents %v under %v, want those that were at work: %v under %v", a, b, agents, supervisors)
	}
	if err := now.Wait(); err != nil {
		t.Fatalf("new daemon: %v", err)
	}
	p.must("verify")
	p.assertExactlyOnce(1)
	daemons := 0
	for _, rec := range p.records() {
		for _, e := range rec.Events {
			switch e.Type {
			case workspace.EvDaemon:
				daemons++
			case workspace.EvFinished:
				if daemons != 2 || e.Class != schema.ClassSuccess {
					t.Errorf("the result of %s (%s) was applied by daemon %d, want the second", e.Node, e.Class, daemons)
				}
			case workspace.EvRestarted:
				t.Errorf("%s was started again", e.Node)
			}
		}
	}
}
