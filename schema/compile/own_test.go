package compile_test

import (
	"slices"
	"strings"
	"testing"

	"millrace/schema"
	"millrace/schema/compile"
	"millrace/schema/document"
)

// ownFiles is an operator's workflow: a family, two stage kinds, a graph and a mode of their own, on a plane of
// their own, beside the baseline.
var ownFiles = map[string]string{
	"millrace.cue": `runtime: {default_mode: "support", lanes: support: 3}
runners: {
	default_runner: "script"
	script: {adapter: "command", run: ["./answer.sh"]}
}
`,
	"families/ticket.cue": `package millrace

#Ticket: {
	ticket_id!: #TicketID
	title!:     string
	depends_on?: [...#TicketID]
}
#TicketID: =~"^T-[0-9]+$"

families: ticket: {
	plane: "support"
	intake: ["tickets"]
	definition: "#Ticket"
	dependency: "depends_on"
	folders: {
		queue:     "tickets/queue"
		active:    "tickets/active"
		done:      "tickets/answered"
		blocked:   "tickets/blocked"
		cancelled: "tickets/cancelled"
	}
}
`,
	"stages/support.cue": `package millrace

stages: answerer: {
	plane: "support"
	owns: ["ticket"]
	outcomes: {ANSWERED: ["success"], NOT_OURS: ["no_op"]}
	writes: answer: file: "answer.md"
	idempotence: "single_attempt"
	gate: ANSWERED: "BLOCKED"
}
stages: reviewer: {
	plane: "support"
	owns: ["ticket"]
	outcomes: {GOOD: ["success"], AGAIN: ["followup_needed"]}
	reads: ["answer"]
	entrypoint: "entrypoints/review.md"
	skill:      "skills/own/SKILL.md"
}
`,
	"graphs/support.cue": `package millrace

graphs: "support.two_eyes": {
	plane: "support"
	entry: ticket: "answerer"
	failures: missing_artifact: "NOT_OURS"
	nodes: {
		answerer: on: {ANSWERED: "review", NOT_OURS: "declined", BLOCKED: "stuck"}
		review: {
			stage: "reviewer"
			model: "careful"
			on: {
				GOOD: "answered"
				AGAIN: {
					to: "answerer", counter: "answers", limit: 1, then: "stuck"
					resume: {keys: ["back_to"], default: ticket: "answerer"}
				}
				BLOCKED: "stuck"
			}
		}
	}
	ends: {
		answered: {class: "success", state: "done"}
		declined: {class: "no_op", state: "done"}
		stuck: {class: "blocked", state: "blocked"}
	}
}
`,
	"modes/support.cue": `package millrace

modes: support: {
	graphs: {execution: "execution.standard", support: "support.two_eyes"}
	stages: answerer: skills: ["skills/own/SKILL.md"]
	exclusive: [["execution", "support"]]
	plane_order: ["support", "execution"]
}
`,
	"entrypoints/support/answerer.md":              prompt("Answerer", "Into answer.md."),
	"entrypoints/review.md":                        prompt("Reviewer", ""),
	"skills/stage/support/answerer-core/SKILL.md":  "---\nname: answerer-core\ndescription: How to answer.\n---\n\n# Answering\n",
	"skills/own/SKILL.md":                          "---\nname: own\ndescription: How we say it.\n---\n\n# House style\n",
	"skills/own/references/words.md":               "Please, thank you.\n",
	"skills/own/picture.bin":                       "\xff\xfe",
	"skills/stage/support/answerer-core/.hidden":   "left out",
	"skills/stage/support/answerer-core/notes.md~": "left out",
}

// prompt is an entrypoint with all that is asked of one.
func prompt(title, write string) string {
	text := "# " + title + "\n\n## Purpose\n\nHelp.\n\n## What to read\n\nThe ticket.\n\n## What you may do\n\nRead.\n\n## How to end\n\nWell.\n"
	if write != "" {
		text += "\n## What to write\n\n" + write + "\n"
	}
	return text
}

// TestOwnWorkflow: an operator's stages, graph, mode and family compile and route like ours.
func TestOwnWorkflow(t *testing.T) {
	r := mustCompile(t, compile.Source{Files: with(ownFiles)})
	p := r.Plan
	if p.Mode != "support" || p.Graphs["support"].ID != "support.two_eyes" || p.Graphs["execution"] == nil {
		t.Fatalf("%s %v", p.Mode, p.PlaneOrder)
	}
	if !slices.Equal(p.PlaneOrder, []string{"support", "execution"}) || p.Lanes["support"] != 3 || p.Lanes["execution"] != 1 || len(p.Exclusive) != 1 {
		t.Errorf("planes: %v %v %v", p.PlaneOrder, p.Lanes, p.Exclusive)
	}
	n, k := p.Node("support", "review"), p.Kind("support", "answerer")
	if n.Stage != "reviewer" || n.Runner != "script" || n.Model != "careful" || n.Entrypoint != "entrypoints/review.md" {
		t.Errorf("%+v", n)
	}
	if k.RetrySafe() || k.Marker != "ANSWERER_RUNNING" || k.Writes[0].Name != "answer" || k.Writes[0].File != "answer.md" {
		t.Errorf("%+v", k)
	}
	for name, want := range map[string]bool{
		"entrypoints/review.md": true, "skills/own/references/words.md": true, "skills/stage/support/answerer-core/SKILL.md": true,
		"skills/own/picture.bin": false, "skills/stage/support/answerer-core/.hidden": false, "skills/stage/support/answerer-core/notes.md~": false,
	} {
		if text, there := p.Assets[name]; there != want || there && text != ownFiles[name] {
			t.Errorf("asset %s: %v", name, there)
		}
	}
	if skills := p.Node("support", "answerer").Skills; !slices.Equal(skills, []string{"skills/stage/support/answerer-core/SKILL.md", "skills/own/SKILL.md"}) {
		t.Errorf("skills: %v", skills)
	}
	f := p.Families["ticket"]
	if f == nil || f.IDField != "ticket_id" || f.Extension != ".md" || !strings.Contains(f.Source, "#Ticket:") || !strings.Contains(f.Source, "#TicketID:") ||
		strings.Contains(f.Source, "families") {
		t.Errorf("family: %+v", f)
	}
	if p.Families["task"].Source != "" {
		t.Error("the definition of task is built in")
	}
	if len(r.Diags) != 1 || r.Diags[0].Path != "skills/own/picture.bin" {
		t.Errorf("says %v", r.Diags)
	}
}

func TestOwnWorkflowRoutes(t *testing.T) {
	p := mustCompile(t, compile.Source{Files: with(ownFiles)}).Plan
	at := func(node string) *schema.Run {
		return &schema.Run{ID: "r", Plane: "support", Node: node, Item: schema.Key{Family: "ticket", ID: "T-1"}, Steps: []schema.Step{{Node: "answerer"}}}
	}
	for _, c := range []struct {
		node    string
		v       schema.Verdict
		spent   int
		to, end string
		effects []string
	}{
		{"answerer", schema.Verdict{Outcome: "ANSWERED"}, 0, "review", "", nil},
		{"answerer", schema.Verdict{Outcome: "ANSWERED", ChecksRun: true}, 0, "", "stuck", []string{"block"}},
		{"answerer", schema.Verdict{Outcome: "NOT_OURS"}, 0, "", "declined", []string{"complete"}},
		{"answerer", schema.Verdict{Outcome: "NOT_OURS", Failure: schema.FailMissingArtifact}, 0, "", "declined", []string{"complete"}},
		{"review", schema.Verdict{Outcome: "GOOD"}, 0, "", "answered", []string{"complete"}},
		{"review", schema.Verdict{Outcome: "AGAIN"}, 0, "answerer", "", nil},
		{"review", schema.Verdict{Outcome: "AGAIN", Metadata: map[string]any{"back_to": "review"}}, 0, "review", "", nil},
		{"review", schema.Verdict{Outcome: "AGAIN"}, 1, "", "stuck", []string{"block"}},
	} {
		d, err := p.Route(at(c.node), map[string]int{"answers": c.spent}, c.v)
		if err != nil || d.Node != c.to || d.End != c.end || !slices.Equal(d.Effects, c.effects) {
			t.Errorf("%s %s: %+v %v", c.node, c.v.Outcome, d, err)
		}
	}
	if got := p.FailureOutcome("support", "answerer", schema.FailMissingArtifact); got != "NOT_OURS" {
		t.Error(got)
	}
	if got := p.FailureOutcome("support", "review", schema.FailMissingArtifact); got != schema.OutcomeBlocked {
		t.Error(got)
	}
	if got := p.ChecksAfter("support", "answerer"); !slices.Equal(got, []string{"ANSWERED"}) {
		t.Error(got)
	}
}

// TestOwnFamilyIsRead: documents of the operator's family are read like ours.
func TestOwnFamilyIsRead(t *testing.T) {
	p := mustCompile(t, compile.Source{Files: with(ownFiles)}).Plan
	registry, err := document.NewRegistry(p.Families)
	if err != nil {
		t.Fatal(err)
	}
	good := registry.Parse("intake/tickets/one.yaml", []byte("ticket_id: T-1\ntitle: It rattles\ndepends_on: [T-2]\n"))
	if len(good.Docs) != 1 || len(good.Diags) > 0 || good.Docs[0].Doc.Key() != (schema.Key{Family: "ticket", ID: "T-1"}) {
		t.Errorf("%+v", good)
	}
	bad := registry.Parse("intake/tickets/two.yaml", []byte("ticket_id: two\ntitle: It rattles\n"))
	if len(bad.Docs) != 0 || !bad.Diags.HasErrors() {
		t.Errorf("%+v", bad)
	}
}
