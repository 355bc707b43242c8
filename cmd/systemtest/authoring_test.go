package systemtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/cmd/pagetest"
	"millrace/schema"
)

const (
	authoringPage = "../../docs/authoring.md"
	authoringDesk = "../../docs/authoring" // the workspace that the page builds
)

// TestAuthoringPage does what docs/authoring.md teaches: an operator's own plane, two families that enter one graph at
// two nodes, stage kinds, an artifact with a definition, a budgeted repair, an approval edge and a mode, all in CUE. The
// page shows parts of the files below docs/authoring, which are what runs; its other files are written where the reader
// is, its commands are typed, and what they print is compared as in the tour.
func TestAuthoringPage(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile(authoringPage)
	check(t, err)
	home := t.TempDir()
	repository, err := filepath.Abs("../..")
	check(t, err)
	check(t, os.Symlink(repository, filepath.Join(home, "millrace")))
	p := &project{t: t, dir: filepath.Join(home, "desk")}
	t.Cleanup(p.endStrays)
	sh := pagetest.Open(t, home, filepath.Dir(millrace), append(cleanEnv(), "HOME="+home))
	shown := map[string]bool{}
	var out strings.Builder
	for _, b := range pagetest.Blocks(string(source)) {
		text, err := os.ReadFile(filepath.Join(authoringDesk, b.File))
		switch {
		case b.File != "" && err == nil:
			shown[b.File] = true
			if !strings.Contains(string(text), b.Body) {
				t.Errorf("%s is not as the page shows it:\n%s", b.File, b.Body)
			}
		case b.File != "":
			sh.Write(b.File, b.Body)
		case b.Lang == "console":
			b.Body = sh.Play(b.Body, *update)
		}
		out.WriteString(b.Text())
	}
	if *update {
		check(t, os.WriteFile(authoringPage, []byte(out.String()), 0o644))
	}
	check(t, filepath.WalkDir(authoringDesk, func(path string, d fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(authoringDesk, path); err == nil && filepath.Ext(path) == ".cue" && !shown[rel] {
			t.Errorf("the page shows nothing of %s", rel)
		}
		return err
	}))
	if n := strings.Count(string(source), "\n"); n > 250 {
		t.Errorf("the page has %d lines", n)
	}

	const passed = "reviewer reviser reviewer publisher published"
	for id, want := range map[string]struct{ family, state, class, path string }{
		"v1":     {"release", schema.StateDone, "", "drafter " + passed},
		"polite": {"hotfix", schema.StateDone, "", passed},
		"shout":  {"hotfix", schema.StateBlocked, schema.FailApprovalDenied, "reviewer reviser reviewer turned_down"},
	} {
		it := p.item(want.family, id)
		class := ""
		if it.Blocked != nil {
			class = it.Blocked.Class
		}
		if way := p.passage(id); it.State != want.state || class != want.class || way != want.path {
			t.Errorf("%s is %s (%s) and went %s; want %s (%s) by %s", id, it.State, class, way, want.state, want.class, want.path)
		}
	}
	if r := p.item("release", "v1").Approvals; len(r) != 1 {
		t.Errorf("of v1 was decided %+v", r)
	}
	for _, ruling := range p.item("release", "v1").Approvals {
		if ruling.Declared != "intake/approvals/v1.yaml" || ruling.By != "nora" {
			t.Errorf("v1 was decided by %+v", ruling)
		}
	}
	if text, err := os.ReadFile(p.path("CHANGELOG.md")); err != nil || strings.Count(string(text), "\n") != 2 {
		t.Errorf("published is %q: %v", text, err)
	}
	d := documented(t)
	for command, shape := range map[string]string{"approvals ls --all": "list of Approval", "approvals show v1": "Approval", "get release v1": "Item",
		"status": "Status", "intake ls": "list of Declaration"} {
		d.check(command, p.must(append(strings.Fields(command), "-o", "json")...), shape)
	}
	p.must("verify")
}
