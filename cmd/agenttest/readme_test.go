//go:build agents

package agenttest

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"millrace/cmd/agenttest/modelserver"
	"millrace/cmd/pagetest"
	"millrace/schema"
)

var update = flag.Bool("update", false, "write what the commands print into README.md")

// takesPart is a model that does the page's task: in every stage it has the agent run one command, and then says how
// the stage ended.
func takesPart(c modelserver.Call) modelserver.Reply {
	stage := regexp.MustCompile(`(?m)^- Stage: (\w+)`).FindStringSubmatch(c.Prompt)
	folder := regexp.MustCompile("(?m)^- Request folder: `([^`]+)/`").FindStringSubmatch(c.Prompt)
	if stage == nil || folder == nil {
		return modelserver.Reply{Say: "I was not told what to do: " + c.Prompt}
	}
	command, outcome := "echo '# Seen to be so' | tee", "UPDATE_COMPLETE"
	switch stage[1] {
	case "builder":
		command, outcome = "printf '# Taking part\\n\\nThere is nothing to build.\\n' > CONTRIBUTING.md && "+command, "BUILDER_COMPLETE"
	case "checker":
		command, outcome = command+" "+folder[1]+"/checker_expectations.md", "CHECKER_PASS"
	}
	if len(c.Results) == 0 {
		return modelserver.Reply{Run: command + " " + folder[1] + "/" + stage[1] + "_summary.md"}
	}
	return modelserver.Reply{Say: "It is done.\n\n### " + outcome}
}

// TestReadmeWithAnAgent does what README.md tells somebody who has Claude Code: it types the commands of that section in
// a project of theirs, with the real agent, and compares what is printed as the tour's test does.
func TestReadmeWithAnAgent(t *testing.T) {
	t.Parallel()
	const readme = "../../README.md"
	source, err := os.ReadFile(readme)
	check(t, err)
	w := newWorld(t, modelserver.Start(t, takesPart).URL(), "claude_code")
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
	if it := w.task("take-part"); it.State != schema.StateDone {
		t.Errorf("the task is %s", it.State)
	}
	if *update {
		check(t, os.WriteFile(readme, []byte(page.String()), 0o644))
	}
}
