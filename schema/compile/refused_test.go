package compile_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"millrace/schema/compile"
)

var update = flag.Bool("update", false, "write the messages that were found into the golden files")

// sections splits a case: a comment, then files that each begin with "-- name --".
var section = regexp.MustCompile(`(?m)^-- (\S+) --\n`)

func readCase(t testing.TB, name string) (before string, files map[string]string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text, files := string(data), map[string]string{}
	marks := section.FindAllStringSubmatchIndex(text, -1)
	for i, m := range marks {
		end := len(text)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		files[text[m[2]:m[3]]] = text[m[1]:end]
	}
	before, _, _ = strings.Cut(text, "-- want --\n")
	return before, files
}

// TestRefused holds every law with a failing example: testdata/refused/*.txtar has the files that are put on
// top of the baseline, and "want" the messages.
func TestRefused(t *testing.T) {
	cases, err := filepath.Glob("testdata/refused/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatal("no cases", err)
	}
	for _, name := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			before, files := readCase(t, name)
			want := files["want"]
			delete(files, "want")
			r := compile.Compile(compile.Source{Files: with(files)})
			if r.Plan != nil || !r.Diags.HasErrors() || r.Bytes != nil || r.Digest != "" {
				t.Fatal("compiles")
			}
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
		})
	}
}
