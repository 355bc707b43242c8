package assets_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"millrace/assets"
	"millrace/schema"
	"millrace/schema/compile"
)

const tasks = "millrace-agents/intake/tasks/"

// demoProject writes the demo project into a folder.
func demoProject(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range assets.Demo() {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// check runs a command of the project as the runtime does, and returns what it says and whether it passes.
func check(t *testing.T, dir, run string) (string, bool) {
	t.Helper()
	cmd := exec.Command("sh", "-c", run)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), err == nil
}

var (
	block     = regexp.MustCompile("(?ms)^```(write|replace) (\\S+)( first-attempt)?\n(.*?)^```$")
	taskBlock = regexp.MustCompile("(?ms)^````task (\\S+)( after \\S+)?\n(.*?)^````$")
)

// dropped is a declaration of the demo; ideaTasks are the tasks that its idea spells out, by file and what they follow.
func dropped(task string) string { return string(assets.Demo()[tasks+task]) }

func ideaTasks() map[string]string {
	found := map[string]string{}
	for _, b := range taskBlock.FindAllStringSubmatch(string(assets.Demo()["ideas/glance.md"]), -1) {
		found[b[1]+b[2]] = b[3]
	}
	return found
}

// follow does what the blocks of a task say, as the contract on Demo has it.
func follow(t *testing.T, dir, task string, firstAttempt bool) {
	t.Helper()
	all := block.FindAllStringSubmatch(task, -1)
	if len(all) == 0 {
		t.Fatalf("there are no blocks in\n%s", task)
	}
	for _, b := range all {
		verb, name, first, text := b[1], b[2], b[3] != "", b[4]
		if first != firstAttempt && (first || has(all, verb, name)) {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		if verb == "replace" {
			old, wanted, ok := strings.Cut(text, "====\n")
			data, err := os.ReadFile(path)
			if err != nil || !ok {
				t.Fatal(name, err)
			}
			switch n := strings.Count(string(data), old); {
			case n == 0 && strings.Contains(string(data), wanted):
				continue
			case n != 1:
				t.Fatalf("%s: %q occurs %d times", name, old, n)
			}
			text = strings.Replace(string(data), old, wanted, 1)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func has(all [][]string, verb, name string) bool {
	for _, b := range all {
		if b[1] == verb && b[2] == name && b[3] != "" {
			return true
		}
	}
	return false
}

// TestDemoGoesAsItSays plays the demo by hand: what README promises is what happens.
func TestDemoGoesAsItSays(t *testing.T) {
	dir := demoProject(t)
	out, passes := check(t, dir, "sh test.sh")
	if passes || strings.Count(out, "FAIL ") != 2 || strings.Count(out, "ok ") != 1 {
		t.Fatalf("a new project says\n%s", out)
	}
	follow(t, dir, dropped("upper.md"), true)
	if out, passes := check(t, dir, "sh test.sh upper"); !passes {
		t.Errorf("upper is not straight:\n%s", out)
	}
	follow(t, dir, dropped("longest.md"), true)
	if out, passes := check(t, dir, "sh test.sh longest"); passes || !strings.Contains(out, "want three\n    got  one\n") {
		t.Errorf("the first attempt at longest is not subtly wrong:\n%s", out)
	}
	follow(t, dir, dropped("longest.md"), false)
	if out, passes := check(t, dir, "sh test.sh longest"); !passes {
		t.Errorf("the repair of longest is none:\n%s", out)
	}
	follow(t, dir, ideaTasks()["finest-word.md after finest"], true)
	follow(t, dir, ideaTasks()["report.md"], true)
	if out, passes := check(t, dir, "sh test.sh"); !passes || strings.Count(out, "ok ") != 5 {
		t.Errorf("in the end\n%s", out)
	}
	readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(readme), "| planned |") || strings.Contains(string(readme), "| an idea |") || strings.Count(string(readme), "| ready |") != 5 {
		t.Error("README does not say that everything is ready")
	}
}

// TestTheIdeaNeedsNoTask: the idea may be dropped before the tasks are done, which wait until it is closed.
func TestTheIdeaNeedsNoTask(t *testing.T) {
	dir := demoProject(t)
	for _, run := range []string{"sh test.sh finest", "sh test.sh report"} {
		if out, passes := check(t, dir, run); passes {
			t.Errorf("%s passes in a new project:\n%s", run, out)
		}
	}
	follow(t, dir, ideaTasks()["finest-word.md after finest"], true)
	follow(t, dir, ideaTasks()["report.md"], true)
	if out, passes := check(t, dir, "sh test.sh finest && sh test.sh report"); !passes {
		t.Errorf("without upper and longest\n%s", out)
	}
}

// TestDemoConfigurationSelectsItsMode: the demo workspace compiles to a plan whose runner is this program.
func TestDemoConfigurationSelectsItsMode(t *testing.T) {
	files := assets.Files()
	files["millrace.cue"] = assets.Demo()["millrace-agents/millrace.cue"]
	r := compile.Compile(compile.Source{Files: files})
	if r.Plan == nil {
		t.Fatal(r.Diags)
	}
	if r.Plan.Checks.FromAgents != "allow" {
		t.Errorf("checks of planned tasks: %s", r.Plan.Checks.FromAgents)
	}
	for name, n := range r.Plan.Graphs["execution"].Nodes {
		runner := r.Plan.Runners[n.Runner]
		if runner == nil || runner.Adapter != "command" || strings.Join(runner.Run, " ") != "{{millrace}} demo-agent" || runner.Prompt != "stdin" {
			t.Errorf("%s is run by %+v", name, runner)
		}
	}
}

// TestDemoDeclarations: two are valid, and one is refused for two reasons.
func TestDemoDeclarations(t *testing.T) {
	registry := registry(t)
	found := map[string]*schema.Document{}
	said := ""
	for name, data := range assets.Demo() {
		if rel, ok := strings.CutPrefix(name, "millrace-agents/"); ok && strings.HasPrefix(rel, "intake/") {
			p := registry.Parse(rel, data)
			for _, d := range p.Docs {
				found[d.Doc.ID] = d.Doc
			}
			if len(p.Diags) > 0 {
				said += p.Diags.Error() + "\n"
			}
		}
	}
	for _, id := range []string{"upper", "longest"} {
		d := found[id]
		if d == nil {
			t.Errorf("%s is not valid:\n%s", id, said)
			continue
		}
		head, err := d.Head()
		if err != nil || len(head.Checks) != 1 {
			t.Errorf("%s: %+v %v", id, head, err)
		}
		if !strings.Contains(d.Body, "```write lib/"+id+".sh\n") || !strings.Contains(string(registry.Render(d)), d.Body) {
			t.Errorf("%s: the blocks do not come through: %q", id, d.Body)
		}
	}
	want := `intake/tasks/reverse.yaml:2:1: task "reverse": acceptance: is missing
  add acceptance with at least one entry
intake/tasks/reverse.yaml:5:14: task "reverse": depends_on[0]: "the upper task" is not an id
  an id has only letters, digits, '.', '_' and '-' (like the-upper-task)
intake/tasks/reverse.yaml:6:1: task "reverse": acceptence: is not a known field
  did you mean acceptance?
`
	if len(found) != 2 || said != want {
		t.Errorf("%d are valid, and said is\n%s", len(found), said)
	}
}

// TestDemoIdea: it becomes a spec with what the arbiter is to judge, and the tasks in it come through as valid
// documents.
func TestDemoIdea(t *testing.T) {
	registry := registry(t)
	p := registry.Parse("intake/ideas/glance.md", assets.Demo()["ideas/glance.md"])
	if len(p.Docs) != 1 || len(p.Diags) > 0 {
		t.Fatal(p.Diags)
	}
	spec := registry.Admit(p.Docs[0].Doc, "operator", time.Time{})
	text := string(registry.Render(spec))
	var asked schema.Spec
	if err := spec.Decode(&asked); err != nil || asked.ID != "idea-glance" || len(asked.Goals) != 1 || len(asked.Acceptance) != 2 {
		t.Errorf("%+v %v", asked, err)
	}
	all := ideaTasks()
	for name, want := range map[string]struct {
		checks    int
		dependsOn string
	}{"finest.md": {}, "report.md": {1, "finest"}, "finest-word.md after finest": {checks: 1}} {
		file, _, _ := strings.Cut(name, " ")
		p := registry.Parse("intake/tasks/"+file, []byte(all[name]))
		if len(p.Docs) != 1 || len(p.Diags) > 0 || !strings.Contains(text, all[name]) {
			t.Errorf("%s: %v\n%s", name, p.Diags, text)
			continue
		}
		head, err := p.Docs[0].Doc.Head()
		if err != nil || len(head.Checks) != want.checks || strings.Join(head.DependsOn, " ") != want.dependsOn || p.Docs[0].Doc.ID+".md" != file {
			t.Errorf("%s: %+v %v", name, head, err)
		}
	}
	if len(all) != 3 || !strings.Contains(all["finest.md"], "\n```question\n") || block.MatchString(all["finest.md"]) {
		t.Errorf("%d tasks; the first is\n%s", len(all), all["finest.md"])
	}
}
