package compile_test

import (
	"strings"
	"testing"

	"millrace/schema"
	"millrace/schema/compile"
)

// TestHostileFiles: whatever is written into a workflow file or the configuration, the answer is a plan or a
// place and a reason.
func TestHostileFiles(t *testing.T) {
	texts := map[string]string{
		"empty":               "",
		"binary":              "\x00\x01\xfe\xff",
		"invalid UTF-8":       "package millrace\nmodes: \"\xff\": {}\n",
		"only a package":      "package millrace\n",
		"byte order mark":     "\ufeffpackage millrace\n_x: 1\n",
		"CRLF":                "package millrace\r\n_x: 1\r\n",
		"deep":                "package millrace\n_x: " + strings.Repeat("{a: ", 500) + "1" + strings.Repeat("}", 500),
		"deep lists":          "package millrace\n_x: " + strings.Repeat("[", 500) + strings.Repeat("]", 500),
		"structural cycle":    "package millrace\nstages: a: stages.a & {b: stages.a}\n",
		"value cycle":         "package millrace\n_a: _b + 1\n_b: _a\nmodes: m: description: _a\n",
		"import of nothing":   "package millrace\nimport \"example.com/nothing\"\nmodes: m: nothing.x\n",
		"import of a builtin": "package millrace\nimport \"strings\"\n_x: strings.ToUpper(\"x\")\n",
		"a list at the top":   "package millrace\n[1, 2]\n",
		"text at the top":     "package millrace\n\"x\"\n",
		"section is text":     "package millrace\nmodes: \"x\"\n",
		"section is a list":   "package millrace\nstages: [1]\n",
		"entry is a list":     "package millrace\ngraphs: \"execution.standard\": [1]\n",
		"edge is a number":    "package millrace\ngraphs: \"execution.standard\": nodes: builder: on: BLOCKED: 3\n",
		"edge is null":        "package millrace\ngraphs: \"execution.standard\": ends: update_complete: gate: null\n",
		"huge number":         "package millrace\nmodes: standard: lanes: execution: 1e400\n",
		"limit as fraction":   "package millrace\ngraphs: mine: graphs[\"execution.standard\"] & {nodes: builder: on: BLOCKED: limit: 1.5}\n",
		"comprehension":       "package millrace\nmodes: {for i in [1, 2, 3] {\"m\\(i)\": graphs: execution: \"execution.standard\"}}\n",
		"odd labels":          "package millrace\nmodes: \"a/../b\": graphs: {}\nmodes: \"\": graphs: {}\n",
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			r := compile.Compile(compile.Source{Mode: "standard", Files: with(map[string]string{"modes/x.cue": text})})
			if r.Plan == nil && !r.Diags.HasErrors() {
				t.Error("no plan and no reason")
			}
			judge(t, r.Diags)
			for _, file := range compile.ConfigFiles {
				c, diags := compile.LoadConfig(file, []byte(text))
				if c == nil && !diags.HasErrors() {
					t.Errorf("%s: no configuration and no reason", file)
				}
				judge(t, diags)
			}
		})
	}
	r := compile.Compile(compile.Source{})
	if r.Plan != nil || !r.Diags.HasErrors() {
		t.Errorf("nothing at all compiles: %v", r.Diags)
	}
}

func judge(t *testing.T, diags schema.Diagnostics) {
	t.Helper()
	for _, d := range diags {
		if d.Path == "" || d.Message == "" {
			t.Errorf("says nothing of use: %+v", d)
		}
	}
	t.Log(diags)
}
