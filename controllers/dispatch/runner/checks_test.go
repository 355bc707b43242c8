package runner

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/schema"
)

func TestChecks(t *testing.T) {
	b := newBench(t, `cat $MILLRACE_REQUEST_DIR/checks_before.json; touch made; echo "### DONE"`)
	if err := os.Mkdir(filepath.Join(b.project, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(b.project, "outside")); err != nil {
		t.Fatal(err)
	}
	b.request.Checks = []schema.Check{
		{Name: "made", Run: "echo looking; test -f made"},
		{Name: "in sub", Run: "basename $PWD", In: "sub"},
		{Name: "code", Run: "echo wrong >&2; exit 7"},
		{Name: "slow", Run: "trap '' TERM; setsid sleep 60 & sleep 60", Timeout: schema.Duration(300 * time.Millisecond)},
		{Name: "outside", Run: "ls", In: "outside"},
		{Name: "above", Run: "ls", In: "../.."},
		{Name: "missing", Run: "ls", In: "none"},
		{Name: "killed", Run: "kill -9 $$"},
	}
	b.request.ChecksBefore, b.request.ChecksAfter = true, []string{"DONE"}
	c := b.run()
	b.want(c, schema.ExitCompleted, "", "DONE")
	want := []struct {
		code           int
		passed         bool
		detail, logged string
	}{
		{0, true, "", "looking\n"}, {0, true, "", "sub\n"}, {7, false, "", "wrong\n"}, {-1, false, "timeout of 300ms", ""},
		{-1, false, "escapes", ""}, {-1, false, "escapes", ""}, {-1, false, "no such file", ""}, {137, false, "signal", ""},
	}
	if len(c.ChecksBefore) != len(want) || len(c.ChecksAfter) != len(want) {
		t.Fatalf("%d checks before, %d after", len(c.ChecksBefore), len(c.ChecksAfter))
	}
	for i, w := range want {
		got := c.ChecksAfter[i]
		if got.ExitCode != w.code || got.Passed != w.passed || !strings.Contains(got.Detail, w.detail) {
			t.Errorf("check %s: %+v", got.Name, got)
		}
		if w.logged != "" && (b.read(got.Log.Path) != w.logged || got.Log.Digest != schema.DigestOf([]byte(w.logged))) {
			t.Errorf("check %s logged %q as %+v", got.Name, b.read(got.Log.Path), got.Log)
		}
	}
	if c.ChecksBefore[0].Passed || c.ChecksBefore[0].Log.Path != "checks/before-1.log" {
		t.Errorf("before: %+v", c.ChecksBefore[0])
	}
	var shown []schema.CheckRecord
	if err := json.Unmarshal([]byte(strings.TrimSuffix(b.read(schema.StdoutFile), "### DONE\n")), &shown); err != nil || len(shown) != len(want) {
		t.Errorf("the agent was shown %d checks: %v", len(shown), err)
	}
}

func TestChecksOnlyAfterGatedOutcomes(t *testing.T) {
	b := newBench(t, `echo "### BLOCKED"`)
	b.request.Checks, b.request.ChecksAfter = []schema.Check{{Name: "x", Run: "true"}}, []string{"DONE"}
	if c := b.run(); len(c.ChecksAfter)+len(c.ChecksBefore) != 0 {
		t.Errorf("checks were run: %+v", c)
	}
}

func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// repositoryState is all of .git by content: a digest must not change a byte of it.
func repositoryState(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `cd "$1" && find .git -type f -exec sha256sum {} + | sort; find .git | sort`, "sh", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestTreeDigest(t *testing.T) {
	b := newBench(t, `echo change >> a; echo new > b; echo no > ignored; mkdir -p millrace-agents/tasks; echo z > millrace-agents/tasks/z; echo "### DONE"`)
	b.write(filepath.Join(b.project, "a"), "1\n")
	b.write(filepath.Join(b.project, ".gitignore"), "ignored\n")
	b.write(filepath.Join(b.project, "millrace-agents", "outline.md"), "tracked\n")
	git(t, b.project, "init", "-q")
	git(t, b.project, "add", "a", ".gitignore", "millrace-agents/outline.md")
	git(t, b.project, "commit", "-qm", "start")
	b.write(filepath.Join(b.project, "staged"), "s\n")
	git(t, b.project, "add", "staged")
	before := repositoryState(t, b.project)
	b.request.Tree = true
	temp := t.TempDir()
	b.env = []string{"TMPDIR=" + temp}
	c := b.run()
	b.want(c, schema.ExitCompleted, "", "DONE")
	if after := repositoryState(t, b.project); after != before {
		t.Error("the repository was touched")
	}
	// What git itself says of the same tree, without the workspace folder.
	reference := func() string {
		index := "GIT_INDEX_FILE=" + filepath.Join(t.TempDir(), "index")
		out, err := exec.Command("sh", "-c", `cd "$1" && export "$2" && git add -A . && git rm -rq --cached millrace-agents && git write-tree`, "sh", b.project, index).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	if want := reference(); c.TreeAfter != want || c.TreeBefore == want || len(c.TreeBefore) != 40 {
		t.Errorf("before %q, after %q; git says %q", c.TreeBefore, c.TreeAfter, want)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestTreeDigestOfAPartOfARepository(t *testing.T) {
	b := newBench(t, `cp a b; echo "### DONE"`)
	b.request.Tree = true
	top := filepath.Dir(b.project)
	b.write(filepath.Join(b.project, "a"), "1\n")
	git(t, top, "init", "-q")
	b.write(filepath.Join(top, "elsewhere"), "not ours\n")
	c := b.run()
	b.want(c, schema.ExitCompleted, "", "DONE")
	if len(c.TreeBefore) != 40 || c.TreeBefore == c.TreeAfter || c.Detail != "" {
		t.Errorf("before %q, after %q: %s", c.TreeBefore, c.TreeAfter, c.Detail)
	}
}

func TestTreeDigestWithoutGit(t *testing.T) {
	b := newBench(t, `echo "### DONE"`)
	b.request.Tree = true
	c := b.run()
	b.want(c, schema.ExitCompleted, "", "DONE")
	if c.TreeBefore != "" || c.TreeAfter != "" || c.Detail != "" {
		t.Errorf("before %q, after %q: %s", c.TreeBefore, c.TreeAfter, c.Detail)
	}
}
