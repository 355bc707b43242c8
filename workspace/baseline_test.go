package workspace

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"millrace/assets"
	"millrace/schema"
)

func TestInitIsIdempotentAndNeverOverwrites(t *testing.T) {
	project := t.TempDir()
	own := filepath.Join(project, Folder, "modes", "own.cue")
	if err := os.MkdirAll(filepath.Dir(own), 0o755); err != nil {
		t.Fatal(err)
	}
	var changed string // an asset that a person wrote first
	for name := range assets.Files() {
		if strings.HasPrefix(name, "entrypoints/") {
			changed = name
		}
	}
	for name, data := range map[string]string{".gitignore": "mine\n", "modes/own.cue": "// mine\n", changed: "mine\n"} {
		full := filepath.Join(project, Folder, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	first, err := Init(project, InitOptions{Mode: "default_codex"})
	if err != nil {
		t.Fatal(err)
	}
	if !first.New || len(first.Created) != len(assets.Files())+1 || !slices.Equal(first.Kept, []string{".gitignore", changed}) {
		t.Errorf("new %v, created %d of %d, kept %v", first.New, len(first.Created), len(assets.Files()), first.Kept)
	}
	if _, err := os.Stat(filepath.Join(project, Folder, IntakeDir, "tasks")); err != nil {
		t.Errorf("there is nowhere to drop a task: %v", err)
	}
	before := listing(t, project)
	second, err := Init(project, InitOptions{Mode: "default_pi"})
	if err != nil {
		t.Fatal(err)
	}
	if second.New || len(second.Created) > 0 {
		t.Errorf("the second time: %+v", second)
	}
	if after := listing(t, project); after != before {
		t.Errorf("the second init changed something:\n%s\n%s", before, after)
	}
	if data, _ := os.ReadFile(filepath.Join(project, Folder, changed)); string(data) != "mine\n" {
		t.Errorf("%s is now %q", changed, data)
	}
	data, err := os.ReadFile(filepath.Join(project, Folder, Manifest))
	if err != nil {
		t.Fatal(err)
	}
	var b Baseline
	if err := json.Unmarshal(data, &b); err != nil || b.Files[changed] != schema.DigestOf(assets.Files()[changed]) {
		t.Errorf("manifest: %v, %v", err, b)
	}
	if config, _ := os.ReadFile(filepath.Join(project, Folder, "millrace.cue")); !bytes.Contains(config, []byte(`default_mode: "default_codex"`)) {
		t.Errorf("configuration: %s", config)
	}
}

func TestInitKeepsAConfigurationUnderAnyName(t *testing.T) {
	project := t.TempDir()
	if err := os.Mkdir(filepath.Join(project, Folder), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(project, Folder, "millrace.yaml"), []byte("runtime: {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	rep, err := Init(project, InitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(rep.Created, "millrace.cue") {
		t.Error("a second configuration was made")
	}
}

func TestGitTracksTheOperatorsHalfOnly(t *testing.T) {
	x := observe(t, ObserveOptions{})
	x.git("init")
	x.write("intake/a.md", taskDoc("a"))
	x.write("tasks/queue/q.md", taskDoc("q"))
	x.write("outline.md", "map")
	x.git("add", ".")
	var tops []string
	for name := range strings.SplitSeq(strings.TrimSpace(x.git("ls-files", Folder)), "\n") {
		top, _, _ := strings.Cut(strings.TrimPrefix(name, Folder+"/"), "/")
		if !slices.Contains(tops, top) {
			tops = append(tops, top)
		}
	}
	want := []string{".gitignore", "entrypoints", "families", "graphs", "intake", "millrace.cue", "modes", "outline.md", "skills", "stages"}
	slices.Sort(tops)
	if !slices.Equal(tops, want) {
		t.Errorf("git tracks %v, want %v", tops, want)
	}
}

func TestCloneHoldsWhatGitTracks(t *testing.T) {
	x := observe(t, ObserveOptions{})
	x.git("init")
	x.write("intake/a.md", taskDoc("a"))
	x.write("intake/more/two.yaml", "kind: task\ntask_id: b\ntitle: B\nacceptance: [it works]\n---\nkind: task\ntask_id: c\ntitle: C\nacceptance: [it works]\n")
	x.write("intake/ideas/shiny.md", "# Shiny\n\nMake it shiny.\n")
	x.write("intake/control.yaml", "kind: control\npaused: false\nreason: none\n")
	x.git("add", ".")
	x.git("commit", "-q", "-m", "declare")
	clone := filepath.Join(t.TempDir(), "clone")
	gitIn(t, t.TempDir(), "clone", "-q", x.w.Project, clone)
	if err := os.WriteFile(filepath.Join(clone, Folder, "intake", "new.md"), []byte(taskDoc("new")), 0o644); err != nil {
		t.Fatal(err)
	}
	rep, err := Init(clone, InitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	held := []schema.Key{{Family: "spec", ID: "idea-shiny"}, taskKey("a"), taskKey("b"), taskKey("c")}
	if !rep.New || !slices.Equal(rep.Held, held) {
		t.Errorf("held %v, want %v", rep.Held, held)
	}
	x.close()
	y := observeAt(t, clone, ObserveOptions{})
	y.until("the untracked one", isDeclared("new"))
	y.round(func(v *View) *Mutation {
		if !slices.Equal(v.Intake.Unreconciled, []schema.Key{taskKey("new")}) || len(v.Hold) != len(held) {
			t.Errorf("unreconciled %v, hold %v", v.Intake.Unreconciled, v.Hold)
		}
		m := &Mutation{By: "queue admit", Why: "a"}
		m.PutJSON(HoldFile, schema.Hold{SchemaVersion: 1, Keys: []schema.Key{taskKey("b"), taskKey("c")}})
		return m
	})
	y.until("what was released", func(v *View) bool {
		d := v.Intake.ByKey[taskKey("a")]
		return slices.Contains(v.Intake.Unreconciled, taskKey("a")) && len(d) == 1 && d[0].Doc != nil
	})
}

// TestInitInReadOnlyTree and TestUnreadableFile run again as a user without root's rights, for whom
// permissions mean something.
func TestInitInReadOnlyTree(t *testing.T) {
	if asNobody(t) {
		return
	}
	project := filepath.Join(os.Getenv("TMPDIR"), "readonly")
	if err := os.Mkdir(project, 0o555); err != nil {
		t.Fatal(err)
	}
	_, err := Init(project, InitOptions{})
	if err == nil || !strings.Contains(err.Error(), "permission denied") || !strings.Contains(err.Error(), "must be allowed to write "+project) {
		t.Errorf("error: %v", err)
	}
}

func TestUnreadableFile(t *testing.T) {
	if asNobody(t) {
		return
	}
	x := observe(t, ObserveOptions{Watch: true})
	x.write("intake/locked/in.md", taskDoc("in"))
	x.write("intake/secret.md", taskDoc("secret"))
	x.drop("intake/b.md", taskDoc("b"))
	if err := os.Chmod(filepath.Join(x.dir, "intake/secret.md"), 0); err != nil {
		t.Fatal(err)
	}
	x.until("the rejection", rejected("intake/secret.md"))
	x.until("the file beside it", isDeclared("b"))
	x.until("the file below", isDeclared("in"))
	if err := os.Chmod(filepath.Join(x.dir, "intake/secret.md"), 0o644); err != nil {
		t.Fatal(err)
	}
	x.until("the file made readable", isDeclared("secret"))
	if err := os.Chmod(filepath.Join(x.dir, "intake/locked"), 0); err != nil {
		t.Fatal(err)
	}
	x.o.watch.lose()
	x.until("the folder's notice", func(v *View) bool { return len(v.Notices) == 1 && !v.Intake.Complete })
	x.round(func(v *View) *Mutation {
		if len(v.Intake.ByKey[taskKey("in")]) != 1 {
			t.Error("a folder that cannot be read loses its declarations")
		}
		return nil
	})
	if err := os.Chmod(filepath.Join(x.dir, "intake/locked"), 0o755); err != nil {
		t.Fatal(err)
	}
	x.o.watch.lose()
	x.until("the folder again", func(v *View) bool { return len(v.Notices) == 0 && v.Intake.Complete })
}

// asNobody runs the calling test again as another user when this one is root, and reports whether it
// did.
func asNobody(t *testing.T) bool {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("TMPDIR") == "" {
			t.Setenv("TMPDIR", t.TempDir())
		}
		return false
	}
	dir, err := os.MkdirTemp("", "nobody")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	data, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "test")
	if err := errorsOf(os.WriteFile(binary, data, 0o755), os.Chown(dir, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "-test.run=^"+t.Name()+"$", "-test.count=1")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("PASS")) {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
	return true
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
