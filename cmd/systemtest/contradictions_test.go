package systemtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/schema"
	"millrace/workspace"
)

// A contradiction is what an agent leaves that its stage's contract, or another part of what it leaves, does not bear
// out; and what the operator is told about it.
type contradiction struct {
	id, family, stage string
	outcome           string            // of the script: the files that it needs are written; "": the one that says all is well
	files             map[string]string // left in the request folder
	links             map[string]string // the same, as links
	class             string            // the item is blocked by that; "" for nothing
	why               string            // what "millrace why" says
	declined          string            // what an event says of the outbox
}

const (
	summary    = "planner_summary.md"
	decision   = "planner_disposition.json"
	badUTF8    = "kind: task\ntask_id: x\ntitle: \xff\n"
	twoMarkers = "### PLANNER_COMPLETE\n\n### BLOCKED\n"
)

func terminal(stage, outcome, more string) string {
	return fmt.Sprintf(`{"stage": %q, "terminal_result": %q%s}`, stage, outcome, more)
}

func contradictions() []contradiction {
	ready := func(id string) string {
		return disposed("spec", id, `"disposition": "active_source_ready_for_manager"`)
	}
	return []contradiction{
		// what the agent says
		{id: "no-marker", stage: "planner", files: map[string]string{"say": "It is all planned.\n"}, class: schema.FailMissingOutcome,
			why: `no line "### OUTCOME" in the final message; one of BLOCKED, PLANNER_COMPLETE must be there`},
		{id: "two-markers", stage: "planner", files: map[string]string{"say": twoMarkers}, class: schema.FailConflicting,
			why: "the final message names several outcomes: PLANNER_COMPLETE, BLOCKED"},
		{id: "another-stages-marker", stage: "planner", files: map[string]string{"say": "### MANAGER_COMPLETE\n"}, class: schema.FailIllegalOutcome,
			why: "MANAGER_COMPLETE is no outcome of this stage; legal are BLOCKED, PLANNER_COMPLETE"},
		{id: "file-and-marker", stage: "planner", files: map[string]string{"terminal_result.json": terminal("planner", "BLOCKED", "")},
			class: schema.FailConflicting, why: "terminal_result.json says BLOCKED, the final message says PLANNER_COMPLETE"},
		{id: "file-of-another-stage", stage: "planner", files: map[string]string{"terminal_result.json": terminal("manager", "PLANNER_COMPLETE", "")},
			class: schema.FailIllegalOutcome, why: `stage is "manager", but this request is for "planner"`},
		{id: "another-class", stage: "planner", files: map[string]string{"terminal_result.json": terminal("planner", "PLANNER_COMPLETE", `, "result_class": "no_op"`)},
			class: schema.FailIllegalOutcome, why: "PLANNER_COMPLETE does not carry the class no_op but success"},
		{id: "says-nothing", family: "task", stage: "builder", outcome: "!silent", class: schema.FailMissingOutcome, why: "one of BLOCKED, BUILDER_COMPLETE must be there"},
		{id: "two-at-once", family: "task", stage: "builder", files: map[string]string{"say": "### BUILDER_COMPLETE\n### BLOCKED\n"}, class: schema.FailConflicting,
			why: "names several outcomes: BUILDER_COMPLETE, BLOCKED"},
		{id: "a-checkers-word", family: "task", stage: "builder", files: map[string]string{"say": "### CHECKER_PASS\n"}, class: schema.FailIllegalOutcome, why: "CHECKER_PASS is no outcome"},

		// the artifacts it needs
		{id: "nothing-written", stage: "planner", outcome: "BLOCKED", files: map[string]string{"say": "### PLANNER_COMPLETE\n"}, class: schema.FailMissingArtifact,
			why: "PLANNER_COMPLETE needs " + decision + ", which was not written"},
		{id: "a-link-out", stage: "planner", links: map[string]string{summary: "/etc/hostname"}, class: schema.FailMissingArtifact,
			why: `PLANNER_COMPLETE needs ` + summary + `: "` + summary + `" is not a regular file and was not read`},
		{id: "no-json", stage: "planner", files: map[string]string{decision: "ready"}, class: schema.FailInvalidArtifact, why: decision + ":1"},
		{id: "no-such-field", stage: "planner", files: map[string]string{decision: strings.Replace(ready("no-such-field"), `"kind"`, `"note": "x", "kind"`, 1)},
			class: schema.FailInvalidArtifact, why: "note"},
		{id: "no-such-disposition", stage: "planner", files: map[string]string{decision: disposed("spec", "no-such-disposition", `"disposition": "ready"`)},
			class: schema.FailInvalidArtifact, why: `"ready" is not allowed here`},
		{id: "another-kind", stage: "planner", files: map[string]string{decision: strings.Replace(ready("another-kind"), "planner_disposition", "verdict", 1)},
			class: schema.FailInvalidArtifact, why: `"verdict" is not allowed here`},
		{id: "not-utf8", stage: "planner", files: map[string]string{decision: "{\xff}"}, class: schema.FailInvalidArtifact, why: "not UTF-8"},
		{id: "too-large", stage: "planner", files: map[string]string{decision: ready("too-large") + strings.Repeat(" ", 1<<20)}, class: schema.FailInvalidArtifact, why: decision},
		{id: "of-another-item", stage: "planner", files: map[string]string{decision: ready("other")}, class: schema.FailInvalidArtifact,
			why: decision + " is about spec/other, and the work item is spec/of-another-item"},
		{id: "no-summary", family: "task", stage: "builder", outcome: "BLOCKED", files: map[string]string{"say": "### BUILDER_COMPLETE\n"}, class: schema.FailMissingArtifact,
			why: "BUILDER_COMPLETE needs builder_summary.md, which was not written"},
		{id: "probe-no-packet", family: "probe", stage: "recon", outcome: "BLOCKED", files: map[string]string{"say": "### RECON_NOOP\n"}, class: schema.FailHandoff,
			why: "RECON_NOOP needs recon_packet.md, which was not written"},
		{id: "probe-half-packet", family: "probe", stage: "recon", outcome: "RECON_NOOP", files: map[string]string{"recon_packet.md": "# Packet\n\nDecision: noop\n"},
			class: schema.FailHandoff, why: "recon_packet.md"},
		{id: "probe-other-decision", family: "probe", stage: "recon", outcome: "RECON_NOOP", files: map[string]string{"recon_packet.md": packet("probe-other-decision", "blocked", "")},
			class: schema.FailHandoff, why: "recon_packet.md decides blocked, which does not go with RECON_NOOP"},
		{id: "outside", stage: "planner", files: map[string]string{"terminal_result.json": terminal("planner", "PLANNER_COMPLETE", `, "summary_artifact_paths": ["../../../../outside.md"]`)},
			class: "manager"}, // nothing is read there, and nothing rests on it

		// what it proposes
		{id: "foreign-family", stage: "manager", files: map[string]string{"outbox/f.yaml": "kind: probe\nprobe_id: p\ntitle: P\nrequest: r\n"}, class: schema.FailMissingArtifact,
			why: "proposes no task that can be admitted (f.yaml: manager may not propose a probe)", declined: "manager may not propose a probe"},
		{id: "runtimes-family", stage: "manager", files: map[string]string{"outbox/t.yaml": "kind: closure_target\ntitle: T\n"}, class: schema.FailMissingArtifact,
			why: "proposes no task that can be admitted (t.yaml: ", declined: "closure_target"},
		{id: "no-document", stage: "manager", files: map[string]string{"outbox/notes.txt": "Remember the milk.\n"}, class: schema.FailMissingArtifact,
			why: "notes.txt", declined: "notes.txt"},
		{id: "not-valid", stage: "manager", files: map[string]string{"outbox/t.yaml": "kind: task\ntask_id: t\ntitle: T\n"}, class: schema.FailMissingArtifact,
			why: `task "t": acceptance: is missing`, declined: "acceptance"},
		{id: "not-text", stage: "manager", files: map[string]string{"outbox/t.yaml": badUTF8}, class: schema.FailMissingArtifact,
			why: "not UTF-8", declined: "not UTF-8"},
		{id: "a-link", stage: "manager", links: map[string]string{"outbox/t.yaml": "/etc/hostname"}, class: schema.FailMissingArtifact,
			why: `"outbox/t.yaml" is not a regular file and was not read`},
		{id: "other-root", stage: "manager", files: map[string]string{"outbox/t.yaml": task("other-root-t", "root_spec_id: elsewhere")}, class: schema.FailMissingArtifact,
			why: "root_spec_id is elsewhere, but spec/other-root, which it comes from, says other-root", declined: "root_spec_id is elsewhere, but spec/other-root, which it comes from, says other-root: leave it out, Millrace fills it in"},
		{id: "other-incident", stage: "manager", files: map[string]string{"outbox/t.yaml": task("other-incident-t", "incident_id: elsewhere")}, class: schema.FailMissingArtifact,
			why: "incident_id is elsewhere, but spec/other-incident, which it comes from, has none", declined: "incident_id is elsewhere"},
		{id: "same-id", stage: "manager", files: map[string]string{"outbox/t.yaml": task("there", "summary: another")}, class: schema.FailOutboxConflict,
			why:      "t.yaml: task/there exists with other content (tasks/",
			declined: "propose it under an id of its own"},
		{id: "same-id-twice", stage: "manager", files: map[string]string{"outbox/t.yaml": task("twice"), "outbox/u.yaml": task("twice", "summary: another")},
			class: schema.FailOutboxConflict, why: "u.yaml: task/twice is proposed twice with different content, in t.yaml as well", declined: "the whole result is not accepted: outbox_conflict"},
		{id: "itself", stage: "manager", files: map[string]string{"outbox/t.yaml": task("itself-t", "depends_on: [itself-t]")}, class: schema.FailMissingArtifact,
			why: `"itself-t" is the document itself`, declined: "is the document itself"},
		{id: "circle", stage: "manager", files: map[string]string{"outbox/t.yaml": task("circle-t", "depends_on: [circle-u]"), "outbox/u.yaml": task("circle-u", "depends_on: [circle-t]")},
			declined: "it would depend on itself: [task/circle-u task/circle-t task/circle-u]"},
		{id: "builders-task", family: "task", stage: "builder", files: map[string]string{"outbox/t.yaml": task("builders-t")}, declined: "builder may not propose a task"},
		{id: "blocked-proposes", stage: "manager", outcome: "BLOCKED", files: map[string]string{"outbox/t.yaml": task("blocked-t")}, class: schema.ClassBlocked,
			why: "manager ended with BLOCKED", declined: "a stage that ends with BLOCKED proposes nothing"},
		{id: "half-specs", stage: "planner", files: map[string]string{
			decision:        disposed("spec", "half-specs", `"disposition": "emitted_child_specs", "emitted_spec_ids": ["half-1", "half-2"]`),
			"outbox/1.yaml": "kind: spec\nspec_id: half-1\ntitle: H\ngoals: [g]\nacceptance: [x]\n"}, class: schema.FailInvalidArtifact,
			why: "lists the spec half-2, which the outbox does not bring", declined: "the whole result is not accepted: invalid_artifact"},
	}
}

// Whatever a stage leaves that is invalid or contradicts itself: nothing of it is taken over, and the operator is told
// what was wrong with it.
func TestInvalidAndContradictoryOutput(t *testing.T) {
	t.Parallel()
	p := newPlanning(t, "blocked")
	p.write("millrace-agents/graphs/short.cue", `package millrace

graphs: short: {
	plane: "execution"
	entry: task: "builder"
	nodes: builder: on: {BUILDER_COMPLETE: "finished", BLOCKED: "blocked"}
	ends: {
		finished: {class: "success", state: "done"}
		blocked: {class: "blocked", state: "blocked"}
	}
}
`)
	p.write("millrace-agents/modes/plain.cue", strings.Replace(plainMode("blocked"), "execution.standard", "short", 1))
	p.drop("tasks/there.yaml", task("there"))
	check(t, os.WriteFile(p.path("outside.md"), []byte("not theirs"), 0o644))
	all := contradictions()
	for _, c := range all {
		if c.outcome != "" {
			p.write("agent/"+c.id, c.stage+" "+c.outcome+"\n")
		}
		for file, content := range c.files {
			p.script(c.id, c.stage, file, content)
		}
		for file, to := range c.links {
			p.mkdir(filepath.Dir(filepath.Join("agent/files", c.id, c.stage, file)))
			check(t, os.Symlink(to, p.path("agent/files", c.id, c.stage, file)))
		}
		switch c.family {
		case "task":
			p.drop("tasks/"+c.id+".yaml", task(c.id))
		case "probe":
			p.drop("probes/"+c.id+".yaml", "title: P\nrequest: r\n")
		default:
			p.drop("specs/"+c.id+".yaml", "title: S\ngoals: [g]\nacceptance: [x]\n")
		}
	}
	p.untilIdle()
	s := p.state()
	told := map[string][]workspace.Event{} // by the item whose stage proposed
	byRun := map[string]string{}
	for _, rec := range p.records() {
		for _, e := range rec.Events {
			switch e.Type {
			case workspace.EvStarted:
				byRun[e.Run] = e.Item.ID
			case workspace.EvDeclined:
				told[byRun[e.Run]] = append(told[byRun[e.Run]], e)
			}
		}
	}
	for _, c := range all {
		t.Run(c.id, func(t *testing.T) {
			family := c.family
			if family == "" {
				family = "spec"
			}
			it := s.Items[schema.Key{Family: family, ID: c.id}]
			switch {
			case it == nil:
				t.Fatal("it was not admitted")
			case c.class == "manager": // it went on to the next stage, which had nothing to propose
				if it.Last.Node != "manager" {
					t.Errorf("it is %+v", it.Last)
				}
			case c.class == "":
				if it.State != schema.StateDone {
					t.Errorf("it is %s: %+v", it.State, it.Blocked)
				}
			default:
				why := p.must("why", c.id)
				if it.State != schema.StateBlocked || it.Blocked.Class != c.class || !strings.Contains(flat(why), flat(c.why)) {
					t.Errorf("it is %s by %+v, and why says\n%s", it.State, it.Blocked, why)
				}
			}
			found := c.declined == ""
			for _, e := range told[c.id] {
				found = found || strings.Contains(e.Message, c.declined)
			}
			if !found {
				t.Errorf("declined were %+v", told[c.id])
			}
		})
	}
	for k, it := range s.Items { // nothing came of any of it, but for half a circle
		if it.Source == "outbox" && k.ID != "circle-t" && k.ID != "outside-task" {
			t.Errorf("%s was admitted", k)
		}
	}
	if why := p.must("why", "circle-t"); !strings.Contains(why, "needs circle-u, which does not exist") {
		t.Errorf("why says\n%s", why)
	}
	p.must("verify")
}

// flat is a text without its line ends, which a terminal's width sets.
func flat(text string) string { return strings.Join(strings.Fields(text), " ") }

func TestTooManyProposals(t *testing.T) {
	t.Parallel()
	p := newPlanning(t, "blocked")
	for i := range schema.MaxItems + 2 {
		p.script("s", "manager", fmt.Sprintf("outbox/t-%d.yaml", i), task(fmt.Sprintf("t-%d", i)))
	}
	p.drop("specs/s.yaml", "title: S\ngoals: [g]\nacceptance: [x]\n")
	p.untilIdle()
	if why := p.must("why", "s"); !strings.Contains(flat(why), "invalid_artifact: outbox/ holds more than 1000 files, and none of them was admitted") {
		t.Errorf("why says\n%s", why)
	}
	if n := p.state().Count("task", schema.StateQueue); n != 0 {
		t.Errorf("%d tasks were admitted", n)
	}
}
