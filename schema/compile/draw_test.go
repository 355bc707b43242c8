package compile_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"millrace/assets"
	"millrace/schema"
	"millrace/schema/compile"
)

// TestDraw holds the drawings of two modes: testdata/draw/*.
func TestDraw(t *testing.T) {
	for name, mode := range map[string]string{"integrated": "default_codex_integrated", "blueprint": "blueprint_learning_codex"} {
		t.Run(name, func(t *testing.T) { drawn(t, name, mode) })
	}
}

func drawn(t *testing.T, as, mode string) {
	p := mustCompile(t, compile.Source{Mode: mode, Files: assets.Files()}).Plan
	for _, format := range compile.Formats {
		got, err := compile.Draw(p, "", format)
		if err != nil {
			t.Fatal(err)
		}
		name := "testdata/draw/" + as + "." + format
		if *update {
			if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: draws\n%s", format, got)
		}
		one, err := compile.Draw(p, "execution", format)
		if err != nil || !strings.Contains(one, "troubleshooter") || strings.Contains(one, "auditor") {
			t.Errorf("%s: one plane is drawn as\n%s%v", format, one, err)
		}
	}
}

func TestDrawShowsEveryNodeAndEdge(t *testing.T) {
	p := mustCompile(t, compile.Source{Files: with(ownFiles)}).Plan
	for _, format := range compile.Formats {
		drawn, err := compile.Draw(p, "", format)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range p.Graphs {
			for name, n := range g.Nodes {
				if !strings.Contains(drawn, name) {
					t.Errorf("%s lacks node %s", format, name)
				}
				for outcome := range n.On {
					if !strings.Contains(drawn, outcome) {
						t.Errorf("%s lacks outcome %s", format, outcome)
					}
				}
			}
			for _, name := range slices.Collect(maps.Keys(g.Ends)) {
				if !strings.Contains(drawn, name) {
					t.Errorf("%s lacks end %s", format, name)
				}
			}
		}
		if format != "json" {
			continue
		}
		var back struct {
			Graphs map[string]*schema.Graph `json:"graphs"`
		}
		if err := json.Unmarshal([]byte(drawn), &back); err != nil || len(back.Graphs) != 2 {
			t.Errorf("json does not read back: %v", err)
		}
	}
}

func TestDrawRefuses(t *testing.T) {
	p := mustCompile(t, compile.Source{Mode: "standard", Files: assets.Files()}).Plan
	if _, err := compile.Draw(p, "planing", "text"); err == nil || !strings.Contains(err.Error(), `mode "standard" has no plane "planing"`) {
		t.Error(err)
	}
	if _, err := compile.Draw(p, "", "dott"); err == nil || !strings.Contains(err.Error(), `did you mean "dot"?`) {
		t.Error(err)
	}
}

// TestDrawShowsApprovals: who reads a drawing sees where somebody is asked, and where a denial leads.
func TestDrawShowsApprovals(t *testing.T) {
	files := with(ownFiles)
	graph := string(files["graphs/support.cue"])
	files["graphs/support.cue"] = []byte(strings.Replace(graph, `ANSWERED: "review"`,
		`ANSWERED: {to: "review", counter: "tries", limit: 3, then: "stuck", approval: {capability: "publish", reason: "it is read", denied: "stuck"}}`, 1))
	p := mustCompile(t, compile.Source{Files: files}).Plan
	for format, want := range map[string][]string{
		"text":    {"→ review, 3 × tries, then stuck, once publish is approved; denied → stuck"},
		"mermaid": {`-->|"ANSWERED (3 × tries), publish approved"| support_review`, `-.->|"ANSWERED, publish denied"| support_stuck`, `-.->|"ANSWERED, spent"| support_stuck`},
		"dot":     {`[label="ANSWERED, publish denied", style=dashed]`},
		"json":    {`"capability": "publish"`},
	} {
		drawn, err := compile.Draw(p, "support", format)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range want {
			if !strings.Contains(drawn, text) {
				t.Errorf("%s lacks %s:\n%s", format, text, drawn)
			}
		}
	}
}
