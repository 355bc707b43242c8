package assets_test

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"millrace/assets"
	"millrace/schema"
	"millrace/schema/compile"
)

var (
	marker      = regexp.MustCompile("(?m)^- `### ([A-Z_]+)`")
	shownResult = regexp.MustCompile(`\{"stage": .*\]\}`)
)

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
		claim, class, why := schema.DetectClaim(id, legal, "", []byte(shownResult.FindString(text)), "")
		if claim == nil {
			t.Errorf("%s: its example of a result is none: %s: %s", id, class, why)
			continue
		}
		for _, a := range kind.Writes {
			if named := slices.Contains(claim.Summaries, a.File); named != a.NeededFor(claim.Outcome) {
				t.Errorf("%s: its example of %s names %v", id, claim.Outcome, claim.Summaries)
			}
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

// eachPlan compiles the modes that have all stages between them.
func eachPlan(t *testing.T, do func(*schema.Plan)) {
	t.Helper()
	for _, mode := range []string{"learning_codex_integrated", "blueprint_codex"} {
		p := compile.Compile(compile.Source{Mode: mode, Files: assets.Files()}).Plan
		if p == nil {
			t.Fatal(mode + " does not compile")
		}
		do(p)
	}
}

// TestEntrypointsReadWhatKindsRead: what a kind is shown of earlier stages stands in its list of what to read, in the order
// of its reads; and the list sends nobody to what another stage would have to show.
func TestEntrypointsReadWhatKindsRead(t *testing.T) {
	eachPlan(t, func(p *schema.Plan) {
		files := map[string]string{} // of artifacts, by name
		for _, kind := range p.Stages {
			for _, a := range kind.Writes {
				files[a.Name] = a.File
			}
		}
		for id, kind := range p.Stages {
			_, section, _ := strings.Cut(p.Assets[kind.Entrypoint], "\n## Read")
			section, _, _ = strings.Cut(section, "\n## ")
			at := 0
			for _, name := range kind.Reads {
				if files[name] == "" {
					continue // of a stage that this plan has not
				}
				i := strings.Index(section, "`"+files[name]+"`")
				if i < at {
					t.Errorf("%s reads %s, and its entrypoint does not say so in that order", id, files[name])
				}
				at = max(at, i)
			}
			for name, file := range files {
				if strings.Contains(section, "`"+file+"`") && !slices.Contains(kind.Reads, name) {
					t.Errorf("the entrypoint of %s says to read %s, which the kind does not", id, file)
				}
			}
		}
	})
}

// TestJudgesAndTeachersHaveTheirSkills: whoever judges is given the shared skill for it, and whoever makes skills theirs.
func TestJudgesAndTeachersHaveTheirSkills(t *testing.T) {
	given := map[string][]string{}
	eachPlan(t, func(p *schema.Plan) {
		for _, g := range p.Graphs {
			for _, n := range g.Nodes {
				for _, skill := range n.Skills[1:] {
					if p.Assets[skill] == "" {
						t.Errorf("the plan lacks %s", skill)
					}
					if !slices.Contains(given[skill], n.Stage) {
						given[skill] = append(given[skill], n.Stage)
					}
				}
			}
		}
	})
	for skill, want := range map[string][]string{
		"skills/shared/deep-audit/SKILL.md":    {"arbiter", "auditor", "checker", "doublechecker", "evaluator_blueprint"},
		"skills/shared/skill-creator/SKILL.md": {"curator", "professor"},
	} {
		slices.Sort(given[skill])
		if !slices.Equal(given[skill], want) {
			t.Errorf("%s is given to %v", skill, given[skill])
		}
	}
}

// TestSkillsIndexIsTrue: the index has every skill once, with its own description, and nothing else.
func TestSkillsIndexIsTrue(t *testing.T) {
	files := assets.Files()
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.*) \\|$")
	listed := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(string(files[schema.SkillsIndex]), -1) {
		if listed[m[1]] != "" {
			t.Errorf("%s is listed twice", m[1])
		}
		listed[m[1]] = m[2]
	}
	for name, data := range files {
		if path.Base(name) != "SKILL.md" {
			continue
		}
		head, err := compile.ReadSkillHead(string(data))
		if err != nil || listed[name] != head.Description {
			t.Errorf("the index says of %s %q, and it says itself %q (%v)", name, listed[name], head.Description, err)
		}
		delete(listed, name)
	}
	for name := range listed {
		t.Errorf("the index lists %s, which does not exist", name)
	}
}

// TestTextsAreShort: nobody follows what nobody reads to its end. Examples do not count.
func TestTextsAreShort(t *testing.T) {
	for name, data := range assets.Files() {
		if path.Ext(name) != ".md" {
			continue
		}
		if n := strings.Count(fenced.ReplaceAllString(string(data), ""), "\n"); n > 80 {
			t.Errorf("%s has %d lines", name, n)
		}
	}
}
