package assets_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"millrace/assets"
	"millrace/schema"
	"millrace/schema/compile"
)

var marker = regexp.MustCompile("(?m)^- `### ([A-Z_]+)`")

// TestEntrypointsStateTheContract: each prompt names exactly the outcomes of its stage, the other way to end, and
// what it must write.
func TestEntrypointsStateTheContract(t *testing.T) {
	for _, mode := range []string{"learning_codex_integrated", "blueprint_codex"} { // which have all stages between them
		p := compile.Compile(compile.Source{Mode: mode, Files: assets.Files()}).Plan
		if p == nil {
			t.Fatal(mode + " does not compile")
		}
		eachStatesTheContract(t, p)
	}
}

func eachStatesTheContract(t *testing.T, p *schema.Plan) {
	t.Helper()
	for id, kind := range p.Stages {
		text := p.Assets[kind.Entrypoint]
		var named, legal []string
		for _, m := range marker.FindAllStringSubmatch(text, -1) {
			named = append(named, m[1])
		}
		for outcome := range kind.Outcomes {
			legal = append(legal, outcome)
		}
		slices.Sort(named)
		slices.Sort(legal)
		if !slices.Equal(named, legal) {
			t.Errorf("%s: the entrypoint names %v, and legal are %v", id, named, legal)
		}
		for _, must := range []string{"terminal_result.json", `"stage": "` + id + `"`, "request folder", "millrace-agents/"} {
			if !strings.Contains(text, must) {
				t.Errorf("%s: the entrypoint lacks %s", id, must)
			}
		}
		for _, a := range kind.Writes {
			if !strings.Contains(text, "- `"+a.File+"`") {
				t.Errorf("%s: the entrypoint does not list %s", id, a.File)
			}
		}
		skill := p.Assets[kind.Skill]
		if !strings.HasPrefix(skill, "---\nname: "+id+"-core\ndescription: ") {
			t.Errorf("%s: the skill does not say what it is", id)
		}
	}
}

// TestFilesAreInputsOrKnown: everything that is deployed is something a plan can be compiled from.
func TestFilesAreInputs(t *testing.T) {
	files := assets.Files()
	if len(files) < 20 {
		t.Fatalf("only %d files", len(files))
	}
	for name := range files {
		if !compile.IsInput(name) {
			t.Errorf("%s is deployed, and nothing reads it", name)
		}
	}
	files["modes/standard.cue"] = nil
	if len(assets.Files()["modes/standard.cue"]) == 0 {
		t.Error("a caller's change is seen by the next")
	}
}
