//go:build agents

package agenttest

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"millrace/cmd/agenttest/modelserver"
	"millrace/cmd/pagetest"
)

var update = flag.Bool("update", false, "write what the commands print into README.md")

// TestReadmeWithAnAgent does what README.md tells somebody who has Claude Code: it types the commands of that section in
// a project of theirs, with the real agent, and compares what is printed as the tour's test does.
func TestReadmeWithAnAgent(t *testing.T) {
	t.Parallel()
	const readme = "../../README.md"
	source, err := os.ReadFile(readme)
	check(t, err)
	m := newTeam()
	m.twist = func(_ work, _ modelserver.Call, r modelserver.Reply) modelserver.Reply {
		if r.Tool != "" { // the team would edit another file
			r.Tool, r.Args, r.Run = "", nil, "printf '# Taking part\\n\\nThere is nothing to build.\\n' > CONTRIBUTING.md"
		}
		return r
	}
	w := newWorld(t, modelserver.Start(t, m.script).URL(), "claude_code")
	check(t, os.RemoveAll(w.path("millrace-agents"))) // the reader makes it
	sh := pagetest.Open(t, filepath.Dir(w.dir), w.bin, w.command(exec.Command("true")).Env)
	sh.Elsewhere = append(sh.Elsewhere, filepath.Dir(agentBin(t, "claude")), "/usr/local/bin")
	sh.Run("cd " + filepath.Base(w.dir))
	var page strings.Builder
	for _, b := range pagetest.Blocks(string(source)) {
		switch {
		case !strings.Contains(b.Section, "Claude Code"):
		case b.File != "":
			sh.Write(b.File, b.Body)
		case b.Lang == "console":
			b.Body = sh.Play(b.Body, *update)
		}
		page.WriteString(b.Text())
	}
	w.assertWent("take-part", "BUILDER_COMPLETE", "CHECKER_PASS", "UPDATE_COMPLETE")
	if *update {
		check(t, os.WriteFile(readme, []byte(page.String()), 0o644))
	}
}
