package systemtest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestJSONOutputIsDocumented runs every command that prints JSON in a workspace where there is something to
// tell, and looks every field up in docs/json-output.md and docs/file-formats.md.
func TestJSONOutputIsDocumented(t *testing.T) {
	t.Parallel()
	d := documented(t)
	p := newProject(t)
	p.drop("tasks/good.yaml", task("good"))
	p.drop("tasks/bad.yaml", "title: bad\nacceptance: it is\n")
	p.drop("tasks/later.yaml", task("later", "depends_on: [nobody]"))
	monitor := p.must("run", "daemon", "--until", "idle", "--monitor", "json")
	p.must("pause", "--reason", "lunch")
	for line := range strings.Lines(monitor) {
		d.check("monitor", line, "The monitor")
	}
	for command, shape := range map[string]string{
		"status": "Status", "queue ls --all": "list of Item", "get task": "list of Item", "get task good": "Item", "queue show good": "Document",
		"describe good": "Description", "why later": "Why", "why": "list of Why", "runs ls": "list of Run", "runs show latest": "Run", "runs trace latest": "Trace",
		"history": "list of Event", "intake ls": "list of Declaration", "diff": "Diff", "approvals ls": "list of Approval", "validate": "Validate", "compile validate": "Compile", "config validate": "Compile",
		"compile show": "The frozen plan", "modes list": "list of Mode", "modes show standard": "Mode", "init": "Init", "verify": "list of Finding",
		"doctor": "list of Checkup", "lock status": "Lock", "version": "Version", "plan diff": "list of text",
	} {
		_, stdout, stderr := p.run(append(strings.Fields(command), "-o", "json")...)
		if stdout == "" {
			t.Errorf("millrace %s -o json prints nothing: %s", command, stderr)
			continue
		}
		d.check(command, stdout, shape)
	}
	run := p.item("task", "good").Run
	for path, shape := range map[string]string{
		"state/control.json": "state/control.json", "state/status/task/good.json": "An item", "runs/" + run + "/run.json": "A run", "runs/" + run + "/trace.json": "Trace",
		"runs/" + run + "/*/request.json": "Request", "runs/" + run + "/*/completion.json": "Completion", "runs/" + run + "/*/result.json": "Result",
		"state/compiled_plan.json": "The frozen plan", "state/daemon.json": "DaemonInfo",
	} {
		data, err := os.ReadFile(p.glob("millrace-agents/" + path))
		if err != nil {
			t.Fatal(err)
		}
		d.check(path, string(data), shape)
	}
	d.shapes["line"] = d.shapes["The journal"]
	journal, err := os.ReadFile(p.glob("millrace-agents/state/journal/*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(journal)) {
		d.check("journal", strings.SplitN(line, " ", 3)[2], "line")
	}
}

// documentation is what the pages say: shape → field → type.
type documentation struct {
	t      *testing.T
	shapes map[string]map[string]string
}

func documented(t *testing.T) *documentation {
	t.Helper()
	d := &documentation{t, map[string]map[string]string{}}
	row := regexp.MustCompile("^\\| `([^`]+)` \\| ([^|]+) \\| .*\\|$")
	for _, page := range []string{"file-formats.md", "json-output.md"} {
		text, err := os.ReadFile("../../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		heading := ""
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
				heading = title // Declaration is two shapes, an item's and a line of intake ls: their fields are joined here
			}
			if m := row.FindStringSubmatch(line); m != nil {
				if d.shapes[heading] == nil {
					d.shapes[heading] = map[string]string{}
				}
				d.shapes[heading][m[1]] = m[2]
			}
		}
	}
	return d
}

// check looks a JSON text up.
func (d *documentation) check(what, text, shape string) {
	d.t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		d.t.Errorf("%s is not JSON: %v\n%s", what, err, text)
		return
	}
	for _, wrong := range d.compare(v, shape, "") {
		d.t.Errorf("%s: %s", what, wrong)
	}
}

// compare says where a value is not as a type of the documentation has it.
func (d *documentation) compare(v any, typ, at string) []string {
	if of, ok := strings.CutPrefix(typ, "list of "); ok {
		list, isList := v.([]any)
		if !isList {
			return []string{fmt.Sprintf("%s is no list", at)}
		}
		var wrong []string
		for _, e := range list {
			wrong = append(wrong, d.compare(e, of, at+"[]")...)
		}
		return slices.Compact(wrong)
	}
	object, isObject := v.(map[string]any)
	if rest, ok := strings.CutPrefix(typ, "object: "); ok {
		_, of, _ := strings.Cut(rest, " → ")
		if !isObject {
			return []string{fmt.Sprintf("%s is no object", at)}
		}
		var wrong []string
		for k, e := range object {
			wrong = append(wrong, d.compare(e, of, at+"."+k)...)
		}
		return wrong
	}
	fields := d.shapes[typ]
	switch {
	case fields == nil && isObject && typ != "anything" && typ != "JSON":
		return []string{fmt.Sprintf("%s is an object, but documented as %s", at, typ)}
	case fields == nil:
		return nil
	case !isObject:
		return []string{fmt.Sprintf("%s is no %s", at, typ)}
	}
	var wrong []string
	for k, e := range object {
		of, known := fields[k]
		if !known {
			wrong = append(wrong, fmt.Sprintf("%s.%s (%s) is not documented", at, k, typ))
			continue
		}
		wrong = append(wrong, d.compare(e, of, at+"."+k)...)
	}
	return wrong
}

// glob finds the one file, or the first, that a pattern names.
func (p *project) glob(pattern string) string {
	p.t.Helper()
	found, err := filepath.Glob(p.path(pattern))
	if err != nil || len(found) == 0 {
		p.t.Fatalf("no %s: %v", pattern, err)
	}
	return found[0]
}
