package compile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/assets"
	"millrace/schema"
	"millrace/schema/compile"
)

// TestAdvised: what is shown of texts that stop nobody. It is no part of the plan, because it may rest on files that the
// plan was not made from.
func TestAdvised(t *testing.T) {
	cases, err := filepath.Glob("testdata/advised/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatal("no cases", err)
	}
	for _, name := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			before, files := readCase(t, name)
			want := files["want"]
			delete(files, "want")
			r := mustCompile(t, compile.Source{Files: with(files)})
			got := r.Diags.Error() + "\n"
			if *update {
				if err := os.WriteFile(name, []byte(before+"-- want --\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("says\n%s\nwant\n%s", got, want)
			}
			if len(r.Plan.Warnings) > 0 {
				t.Errorf("the plan holds %v", r.Plan.Warnings)
			}
		})
	}
}

// TestAdviceWaits: who has an error to mend is not told what could be nicer.
func TestAdviceWaits(t *testing.T) {
	_, files := readCase(t, "testdata/advised/sections.txtar")
	files["graphs/mine.cue"] = strings.Replace(files["graphs/mine.cue"], `TWO_PASS: "done"`, `TWO_PASS: "don"`, 1)
	r := compile.Compile(compile.Source{Files: with(files)})
	if len(r.Diags) != 1 || r.Diags[0].Severity != schema.Error || !strings.Contains(r.Diags[0].Message, `"don"`) {
		t.Errorf("says %v", r.Diags)
	}
}

// TestWhatAPromptNamesIsAnInput: the plan of a prompt is made anew when a file that it names changes or goes.
func TestWhatAPromptNamesIsAnInput(t *testing.T) {
	prompt := string(assets.Files()["entrypoints/execution/builder.md"]) + "\nSee `skills/own/words.md`.\n"
	files := map[string]string{"entrypoints/execution/builder.md": prompt, "skills/own/words.md": "Please.\n"}
	r := mustCompile(t, compile.Source{Files: with(files)})
	if r.Plan.Inputs["skills/own/words.md"] != schema.DigestOf([]byte("Please.\n")) {
		t.Errorf("inputs are %v", r.Plan.Inputs)
	}
	delete(files, "skills/own/words.md")
	if r := compile.Compile(compile.Source{Files: with(files)}); r.Plan != nil {
		t.Error("compiles without what it names")
	}
}

func TestReadSkillHead(t *testing.T) {
	for text, want := range map[string]compile.SkillHead{
		"---\nname: a\ndescription: b c\n---\n# A\n":              {Name: "a", Description: "b c"},
		"---\r\nname: a\r\ndescription: 'b: c'\r\n---\r\n# A\r\n": {Name: "a", Description: "b: c"},
		"---\nname: a\ndescription: >-\n  b\n  c\n---\n":          {Name: "a", Description: "b c"},
		"---\nname: a\nlicense: {x: 1}\n---\n":                    {Name: "a"},
	} {
		if head, err := compile.ReadSkillHead(text); err != nil || head != want {
			t.Errorf("%q: %+v, %v", text, head, err)
		}
	}
	for _, text := range []string{"", "# A\n", "---\nname: a\n", "---\nname: [\n---\n", "name: a\n---\n"} {
		if head, err := compile.ReadSkillHead(text); err == nil {
			t.Errorf("%q: %+v", text, head)
		}
	}
}
