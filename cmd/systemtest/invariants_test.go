package systemtest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/schema"
	"millrace/workspace"
)

// TestInvariantOperatorsHalfIsNeverWritten: whatever a daemon has to do with the operator's half, with
// valid, edited, broken, doubled and vanishing declarations, with held and with live changes of the
// workflow, it leaves every file and folder of it as it is: names, bytes, modes and times.
func TestInvariantOperatorsHalfIsNeverWritten(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.write("millrace-agents/modes/builds.cue", "package millrace\n\nmodes: builds: graphs: execution: \"execution.standard\"\n") // the idea stays where it is
	p.write("millrace-agents/millrace.cue", strings.Replace(fmt.Sprintf(testConfig, agentBin), `"standard"`, `"builds"`, 1))
	p.git("add", "-A")
	p.git("commit", "-q", "-m", "begin")
	p.write("agent/delay", "150")
	p.write("agent/a", "checker FIX_NEEDED\n")
	p.drop("tasks/a.yaml", task("a"))
	p.drop("ideas/i.md", "# An idea\n\nIdea-ID: i\nTitle: An idea\nSummary: s\n")
	p.drop("broken.yaml", "kind: task\ntitle: [\n")
	p.drop("twice-1.yaml", task("c"))
	p.drop("twice-2.yaml", task("c"))
	p.drop("goes.yaml", task("goes", "depends_on: [never]"))
	daemon := p.startDaemon()
	p.eventually("an agent works", func() bool { return p.totalStarts() > 0 })
	p.drop("tasks/b.md", "# B\n\nTask-ID: b\nTitle: B\nAcceptance:\n- it is done\n")
	p.eventually("all have been seen", func() bool {
		return p.stateIs("task", "goes", schema.StateQueue) && p.stateIs("task", "b", schema.StateQueue)
	})
	p.write("millrace-agents/stages/own.cue", "package millrace\n\nstages: builder: writes_workspace: \"no\"\n") // does not compile
	p.drop("tasks/b.md", "# B\n\nTask-ID: b\nTitle: B, edited\nAcceptance:\n- it is done\n")
	check(t, os.Remove(p.path("millrace-agents/intake/goes.yaml")))
	before := p.operatorsHalf()
	p.eventually("a is done and the prune was obeyed", func() bool {
		return p.stateIs("task", "a", schema.StateDone) && p.stateIs("task", "goes", schema.StateCancelled)
	})
	check(t, os.Remove(p.path("millrace-agents/stages/own.cue")))
	p.eventually("b is done", func() bool { return p.stateIs("task", "b", schema.StateDone) })
	p.must("control", "stop")
	_ = daemon.Wait()
	after := p.operatorsHalf()
	delete(before, "stages/own.cue") // the operator's own act, and so is its folder's time
	for name, was := range before {
		if after[name] != was && name != "stages" {
			t.Errorf("%s was %s and is %s", name, was, after[name])
		}
	}
	for name := range after {
		if before[name] == "" {
			t.Errorf("%s has appeared", name)
		}
	}
}

// operatorsHalf describes all files and folders that belong to the operator.
func (p *project) operatorsHalf() map[string]string {
	p.t.Helper()
	home, all := p.path("millrace-agents"), map[string]string{}
	for _, top := range append([]string{workspace.IntakeDir, "modes", "graphs", "stages", "families", "entrypoints", "skills"}, workspace.ConfigNames...) {
		check(p.t, filepath.WalkDir(filepath.Join(home, top), func(name string, d fs.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return nil
			}
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			text := ""
			if d.Type().IsRegular() {
				data, err := os.ReadFile(name)
				if err != nil {
					return err
				}
				text = schema.DigestOf(data).Short()
			}
			all[strings.TrimPrefix(name, home+"/")] = fmt.Sprint(info.Mode(), info.ModTime().UnixNano(), text)
			return nil
		}))
	}
	return all
}
