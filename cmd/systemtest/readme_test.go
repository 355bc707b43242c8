package systemtest

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/cmd/pagetest"
)

var update = flag.Bool("update", false, "write what the commands print into README.md")

const readme = "../../README.md"

// TestReadmeTour does what the tour of README.md tells its reader to do: it writes the files that the
// tour shows, types its commands into one shell, and compares what they print. What differs from run to
// run (times, ids, digests, durations) is compared by its form; "…" alone on a line stands for any lines.
// The section before it needs a real agent: cmd/agenttest types that.
func TestReadmeTour(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	p := &project{t: t, dir: t.TempDir()}
	t.Cleanup(p.endStrays)
	sh := pagetest.Open(t, p.dir, filepath.Dir(millrace), append(cleanEnv(), "HOME="+p.dir))
	var out strings.Builder
	for _, b := range pagetest.Blocks(string(source)) {
		switch {
		case !strings.Contains(b.Section, "tour"):
		case b.File != "":
			sh.Write(b.File, b.Body)
		case b.Lang == "console":
			b.Body = sh.Play(b.Body, *update)
		}
		out.WriteString(b.Text())
	}
	if *update {
		if err := os.WriteFile(readme, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
