package dispatch_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/controllers/controllertest"
	"millrace/controllers/dispatch"
	"millrace/controllers/result"
	"millrace/schema"
	"millrace/workspace"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestMain keeps the property test short unless its flag asks for more.
func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "rapid.checks" })
	if !asked {
		if err := flag.Set("rapid.checks", "20"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func world(t *testing.T, files map[string]string) *controllertest.World {
	t.Helper()
	return controllertest.T(t, files, result.New(), dispatch.New())
}

// golden compares what the runtime wrote with testdata. Entrypoints are the assets' business, so the
// tests bring a short one.
func golden(t *testing.T, o *controllertest.World, file, name string) {
	t.Helper()
	got, err := os.ReadFile(o.Path(o.Request(o.Run()) + "/" + file))
	if err != nil {
		t.Fatal(err)
	}
	got = bytes.ReplaceAll(got, []byte(o.Digest()), []byte("PLAN")) // it changes with every asset
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, got, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not %s (write it anew with -update):\n%s", file, name, got)
	}
}

// short replaces the texts of the assets, so that rewording those does not touch the golden files.
var short = map[string]string{
	"entrypoints/execution/builder.md":                        "# Builder\n\nBuild it. Artifacts: builder_summary.md.\n",
	"entrypoints/execution/fixer.md":                          "# Fixer\n\nFix it. Artifacts: fixer_summary.md.\n",
	"entrypoints/execution/troubleshooter.md":                 "# Troubleshooter\n\nRepair it. Artifacts: troubleshoot_report.md.\n",
	"skills/stage/execution/builder-core/SKILL.md":            "# Building\n",
	"skills/stage/execution/fixer-core/SKILL.md":              "# Fixing\n",
	"skills/stage/execution/troubleshooter-core/SKILL.md":     "# Repairing\n",
	"skills/stage/execution/troubleshooter-core/checklist.md": "1. Look.\n",
	"skills/stage/execution/troubleshooter-core/empty.txt":    "",
}

func TestPromptOfAFirstStage(t *testing.T) {
	o := world(t, short)
	o.Admit(controllertest.Task("a", "summary: |\n  Text with a fence:\n  ```go\n  x\n  ```\n  and another:\n  ~~~\n  y\n  ~~~"))
	o.Settle()
	golden(t, o, schema.PromptFile, "first.md")
}

func TestPromptAfterAFailedCheck(t *testing.T) {
	o := world(t, short)
	o.Admit(controllertest.Task("a", "checks: [{name: unit, run: go test, in: lib}]"))
	o.Play("BUILDER_COMPLETE")
	c := o.Claim("CHECKER_PASS", "looks good")
	log := o.Leave(o.Run(), "checks/after-1.log", strings.Repeat(strings.Repeat("early ", 150)+"\n", 20)+"FAIL: the last line\n")
	c.ChecksAfter = []schema.CheckRecord{{Name: "unit", Run: "go test", ExitCode: 1, Log: log}}
	o.Settle()
	if r := o.Run(); r.Node != "fixer" {
		t.Fatalf("run is %+v", r)
	}
	golden(t, o, schema.PromptFile, "fixer.md")
}

func TestPromptOfARepairNamesWhereToResume(t *testing.T) {
	o := world(t, short)
	o.Admit(controllertest.Task("a"))
	o.Play("BUILDER_COMPLETE", "runner_timeout")
	golden(t, o, schema.PromptFile, "troubleshooter.md")
}

func TestManifestOfARepair(t *testing.T) {
	o := world(t, short)
	o.Admit(controllertest.Task("a"))
	o.Play("BUILDER_COMPLETE", "runner_timeout")
	golden(t, o, schema.ContextFile, "troubleshooter.json")
}

// An agent that repeats its prompt must not have ended by that.
func TestNoLineOfARequestIsAnOutcome(t *testing.T) {
	o := world(t, short)
	o.Admit(controllertest.Task("a"))
	o.Settle()
	prompt, err := os.ReadFile(o.Path(o.Request(o.Run()) + "/" + schema.PromptFile))
	if err != nil {
		t.Fatal(err)
	}
	req := schema.Request{Outcomes: []string{"BLOCKED", "BUILDER_COMPLETE"}}
	claim, class, detail := schema.DetectClaim("builder", req.Outcomes, "x", nil, string(prompt))
	if claim != nil || class != schema.FailMissingOutcome {
		t.Errorf("the prompt claims %+v (%s, %s)", claim, class, detail)
	}
}

func TestEveryArtifactIsNamedWithItsPath(t *testing.T) {
	o := world(t, nil)
	o.Admit(controllertest.Task("a"))
	o.Play("BUILDER_COMPLETE")
	r := o.Run()
	prompt, err := os.ReadFile(o.Path(o.Request(r) + "/" + schema.PromptFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range o.Plan.Kind(r.Plane, r.Node).Writes {
		if !strings.Contains(string(prompt), "millrace-agents/"+o.Request(r)+"/"+a.File) {
			t.Errorf("%s is not named", a.File)
		}
	}
	if bytes.Contains(prompt, []byte(o.W.Dir)) {
		t.Error("the prompt names an absolute path")
	}
}

func TestPromptKeepsItsBudgetAndSaysWhatItWithholds(t *testing.T) {
	o := world(t, short)
	o.Admit(controllertest.Task("a"))
	o.Play("BUILDER_COMPLETE")
	big := strings.Repeat("0123456789abcde\n", 3<<10) // 48 KiB
	c := o.Claim("FIX_NEEDED", "x")
	for i, f := range c.Artifacts {
		c.Artifacts[i] = o.Leave(o.Run(), f.Path, big+f.Path)
	}
	for _, extra := range []string{"x1.txt", "x2.txt", "x3.txt", "x4.txt"} {
		c.Artifacts = append(c.Artifacts, o.Leave(o.Run(), extra, big))
	}
	gone := o.Path(o.Request(o.Run()) + "/x1.txt")
	if err := os.WriteFile(gone, []byte("touched"), 0o666); err != nil {
		t.Fatal(err)
	}
	o.Settle()
	r := o.Run()
	prompt, err := os.ReadFile(o.Path(o.Request(r) + "/" + schema.PromptFile))
	if err != nil {
		t.Fatal(err)
	}
	if len(prompt) > 80<<10 {
		t.Errorf("the prompt has %d bytes", len(prompt))
	}
	data, err := os.ReadFile(o.Path(o.Request(r) + "/" + schema.ContextFile))
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Withheld []struct{ Name, Withheld string }
	}
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	why := map[string]string{}
	for _, w := range m.Withheld {
		why[w.Name] = w.Withheld
	}
	if why["x1.txt"] != "the file is not what the stage left" || why["x4.txt"] != "the prompt is full" {
		t.Errorf("withheld: %v", why)
	}
	if !strings.Contains(string(prompt), "x4.txt`, not shown: the prompt is full") {
		t.Error("the prompt does not say so")
	}
}

func TestSkillsAreLaidOut(t *testing.T) {
	o := world(t, short)
	o.Admit(controllertest.Task("a"))
	o.Play("runner_exit")
	dir := o.Request(o.Run())
	for _, name := range []string{"SKILL.md", "checklist.md", "empty.txt"} {
		file := "skills/stage/execution/troubleshooter-core/" + name
		data, err := os.ReadFile(o.Path(dir + "/" + file))
		if err != nil || string(data) != short[file] {
			t.Errorf("%s: %q, %v", file, data, err)
		}
	}
}

// What a stage may propose is offered to it, and only then.
func TestOutboxIsOfferedToKindsThatEmit(t *testing.T) {
	for emits, want := range map[string]bool{"": false, `stages: builder: emits: ["task"]`: true} {
		o := world(t, map[string]string{"stages/x.cue": "package millrace\n\n" + emits + "\n"})
		o.Admit(controllertest.Task("a"))
		o.Settle()
		prompt, err := os.ReadFile(o.Path(workspace.RequestDir(o.Run().ID, o.Run().Request) + "/" + schema.PromptFile))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(prompt), "/outbox/`, of kind task"); got != want {
			t.Errorf("%q: offered %v", emits, got)
		}
	}
}
