package dispatch

import (
	"slices"
	"strings"
	"testing"

	"millrace/assets"
	"millrace/schema"
	"millrace/schema/compile"
	"millrace/workspace"
)

// A stage can only succeed when its prompt names every file that its outcomes need. The list is made
// from the plan and not left to the entrypoint's text, so an operator's stages have it as well.
func TestFaultRequiredArtifactNamedInNoPrompt(t *testing.T) {
	modes, diags := compile.Modes(assets.Files())
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	named := 0
	for _, m := range modes {
		r := compile.Compile(compile.Source{Mode: m.ID, Files: assets.Files()})
		if r.Plan == nil {
			t.Fatal(r.Diags)
		}
		for plane, g := range r.Plan.Graphs {
			for node := range g.Nodes {
				named += eachArtifactNamed(t, r.Plan, plane, node)
			}
		}
	}
	if named < 50 {
		t.Errorf("only %d artifacts were looked at", named)
	}
}

func eachArtifactNamed(t *testing.T, p *schema.Plan, plane, node string) (named int) {
	t.Helper()
	kind := p.Kind(plane, node)
	s := &stage{
		plan: p, run: &schema.Run{ID: "run-1", Request: "req-1", Plane: plane, Node: node},
		item: &schema.Item{Family: kind.Owns[0], ID: "a", Generation: 1}, work: &material{text: "# A\n"},
	}
	req := s.request(&workspace.View{State: workspace.NewState()})
	prompt := s.prompt(req, nil).String()
	for _, a := range kind.Writes {
		if !slices.ContainsFunc(outcomes(kind), a.NeededFor) {
			continue
		}
		named++
		if !strings.Contains(prompt, workspace.RequestDir("run-1", "req-1")+"/"+a.File) {
			t.Errorf("the prompt of %s does not name %s", node, a.File)
		}
	}
	return named
}
