package systemtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"millrace/schema"
	"millrace/workspace"
)

// ownWorkflow is what an operator might write who makes drawings rather than programs: a family, stage
// kinds with outcomes, a graph and a mode of their own. The binaries have heard of none of it.
var ownWorkflow = map[string]string{
	"families/drawing.cue": `package millrace

#Drawing: {
	drawing_id!: =~"^D-[0-9]+$"
	title!:      string
	needs?: [...=~"^D-[0-9]+$"]
	checks?: [...{name!: string, run!: string}]
}

families: drawing: {
	plane:      "studio"
	intake:     ["drawings"]
	definition: "#Drawing"
	dependency: "needs"
	folders: {
		queue:     "studio/wanted"
		active:    "studio/easel"
		done:      "studio/hung"
		blocked:   "studio/stuck"
		cancelled: "studio/bin"
	}
}
`,
	"stages/studio.cue": `package millrace

stages: sketcher: {
	plane: "studio"
	owns: ["drawing"]
	outcomes: {DRAWN: ["success"], SHELVED: ["no_op"]}
	writes: sketch: file: "sketch.md"
	writes_workspace: true
}
stages: critic: {
	plane: "studio"
	owns: ["drawing"]
	outcomes: {APPROVED: ["success"], REDRAW: ["followup_needed"]}
	reads: ["sketch"]
	gate: APPROVED: "REDRAW"
}
stages: framer: {
	plane: "studio"
	owns: ["drawing"]
	outcomes: FRAMED: ["success"]
	entrypoint: "entrypoints/frame.md"
}
`,
	"graphs/studio.cue": `package millrace

graphs: "studio.gallery": {
	plane: "studio"
	entry: drawing: "sketcher"
	failures: runner_exit: "SHELVED"
	nodes: {
		sketcher: on: {DRAWN: "critic", SHELVED: "attic", BLOCKED: "stuck"}
		critic: on: {
			APPROVED: "framer"
			REDRAW: {to: "sketcher", counter: "redraws", limit: 2, then: "stuck"}
			BLOCKED: "stuck"
		}
		framer: on: {FRAMED: "hung", BLOCKED: "stuck"}
	}
	ends: {
		hung:  {class: "success", state: "done"}
		attic: {class: "no_op", state: "done"}
		stuck: {class: "blocked", state: "blocked"}
	}
}
`,
	"modes/studio.cue": `package millrace

modes: studio: {
	description: "drawings"
	graphs: studio: "studio.gallery"
	stages: framer: model: "gilded"
	plane_order: ["studio"]
}
`,
	"entrypoints/studio/sketcher.md":                "# Sketcher\nDraw what is wanted; write it to sketch.md.\n",
	"entrypoints/studio/critic.md":                  "# Critic\nLook at the sketch and say what you think.\n",
	"entrypoints/frame.md":                          "# Framer\nPut a frame around it.\n",
	"skills/stage/studio/sketcher-core/SKILL.md":    "# Sketching\n",
	"skills/stage/studio/critic-core/SKILL.md":      "# Judging\n",
	"skills/stage/studio/framer-core/SKILL.md":      "# Framing\n",
	"skills/stage/studio/sketcher-core/pencils.txt": "HB, 2B\n",
}

func drawing(id string, more ...string) string {
	return fmt.Sprintf("kind: drawing\ndrawing_id: %s\ntitle: Drawing %s\n%s\n", id, id, strings.Join(more, "\n"))
}

// TestOperatorsOwnGraphRuns: a workspace brings its own family, stage kinds, outcomes, graph, gate and
// failure route in CUE files, and items run through them to their ends. Nothing of it is known to Go.
func TestOperatorsOwnGraphRuns(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	for name, text := range ownWorkflow {
		p.write(filepath.Join("millrace-agents", name), text)
	}
	p.write("millrace-agents/millrace.cue", strings.Replace(fmt.Sprintf(testConfig, agentBin), `"standard"`, `"studio"`, 1))
	p.must("compile", "validate")

	p.drop("drawings/plain.yaml", drawing("D-1"))
	p.write("agent/D-2", "critic REDRAW\n")
	p.drop("anywhere.yaml", drawing("D-2", "needs: [D-1]"))
	p.drop("gated.yaml", drawing("D-3", "checks: [{name: dry, run: \"test -e agent/dry || { touch agent/dry; false; }\"}]"))
	p.write("agent/D-4", "sketcher !exit\n")
	p.drop("fails.yaml", drawing("D-4"))
	p.write("agent/D-5", "critic REDRAW REDRAW REDRAW\n")
	p.drop("hopeless.yaml", drawing("D-5"))
	p.must("run", "daemon", "--until", "idle")
	p.must("verify")

	for id, want := range map[string]struct{ state, file, path string }{
		"D-1": {schema.StateDone, "hung/D-1.md", "sketcher critic framer hung"},
		"D-2": {schema.StateDone, "hung/D-2.md", "sketcher critic sketcher critic framer hung"},               // its own outcome leads back
		"D-3": {schema.StateDone, "hung/D-3.md", "sketcher critic sketcher critic framer hung"},               // its own gate
		"D-4": {schema.StateDone, "hung/D-4.md", "sketcher attic"},                                            // its own failure route
		"D-5": {schema.StateBlocked, "stuck/D-5.md", "sketcher critic sketcher critic sketcher critic stuck"}, // its own budget
	} {
		it := p.item("drawing", id)
		if path := p.passage(id); it.State != want.state || path != want.path {
			t.Errorf("%s is %s, went %s; want %s by %s", id, it.State, path, want.state, want.path)
		}
		if _, err := os.Stat(p.path("millrace-agents/studio", want.file)); err != nil {
			t.Error(err)
		}
	}
	prompts, err := filepath.Glob(p.path("millrace-agents/runs/*/*/prompt.md"))
	check(t, err)
	if !slices.ContainsFunc(prompts, func(name string) bool {
		text, _ := os.ReadFile(name)
		return strings.Contains(string(text), "Put a frame around it.") && strings.Contains(string(text), "FRAMED")
	}) {
		t.Error("no prompt shows the operator's own words and outcome")
	}
	if layout, _ := filepath.Glob(p.path("millrace-agents/runs/*/*/skills/stage/studio/sketcher-core/pencils.txt")); len(layout) == 0 {
		t.Error("the operator's skill was not laid out for the stage")
	}
}

// passage is the way of an item: the nodes whose results were applied, and the end.
func (p *project) passage(id string) string {
	var nodes []string
	for _, rec := range p.records() {
		for _, e := range rec.Events {
			switch {
			case e.Item.ID != id:
			case e.Type == workspace.EvFinished:
				nodes = append(nodes, e.Node)
			case e.Type == workspace.EvRunEnded:
				nodes = append(nodes, e.To)
			}
		}
	}
	return strings.Join(nodes, " ")
}
