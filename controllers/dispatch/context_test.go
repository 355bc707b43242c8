package dispatch_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/controllers/controllertest"
	"millrace/controllers/dispatch"
	"millrace/schema"
	"millrace/workspace"
)

// shownTo is context.json as a reader of it sees it.
type shownTo struct {
	Document schema.Digest
	Prompt   struct {
		Path   string
		Digest schema.Digest
		Bytes  int
	}
	Sections []struct {
		Title  string
		Bytes  int
		Digest schema.Digest
	}
	Shown, Withheld []shownFile
	Lineage         []struct {
		Relation, State, Path, Trace string
		Item                         schema.Key
		Document                     schema.Digest
		TraceDigest                  schema.Digest `json:"trace_digest"`
	}
	Interventions, History []struct{ What string }
	Resumed                *schema.Session
}

type shownFile struct {
	Name, Path, Withheld string
	Digest               schema.Digest
	Bytes                int
	Shown                int `json:"shown_bytes"`
}

func contextOf(t controllertest.TB, o *controllertest.World) shownTo {
	t.Helper()
	data, err := os.ReadFile(o.Path(o.Request(o.Run()) + "/" + schema.ContextFile))
	if err != nil {
		t.Fatalf("%v", err)
	}
	var c shownTo
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatalf("%v", err)
	}
	return c
}

// accounts holds context.json to prompt.md and to the files that it names, and returns both.
func accounts(t *testing.T, o *controllertest.World) (string, shownTo) {
	t.Helper()
	c, text := contextOf(t, o), prompt(t, o)
	if c.Prompt.Path != schema.PromptFile || c.Prompt.Bytes != len(text) || c.Prompt.Digest != schema.DigestOf([]byte(text)) {
		t.Errorf("the prompt has %d bytes, context.json says %+v", len(text), c.Prompt)
	}
	rest := text
	for _, s := range c.Sections {
		if s.Bytes > len(rest) || schema.DigestOf([]byte(rest[:s.Bytes])) != s.Digest || !strings.Contains(rest[:s.Bytes], s.Title) {
			t.Fatalf("section %q is not what begins with %.60q", s.Title, rest)
		}
		rest = rest[s.Bytes:]
	}
	if rest != "" {
		t.Errorf("no section has %.60q", rest)
	}
	for _, m := range c.Shown {
		data, err := os.ReadFile(o.Path(m.Path))
		if err != nil || schema.DigestOf(data) != m.Digest || len(data) != m.Bytes || m.Shown > m.Bytes && m.Name != "evidence window" {
			t.Errorf("shown %+v, the file has %d bytes, %v", m, len(data), err)
		}
		if !strings.Contains(text, path.Base(m.Path)) && m.Name != "work item" {
			t.Errorf("%s is shown and not named", m.Path)
		}
	}
	for _, m := range c.Withheld {
		if m.Withheld == "" || m.Shown != 0 {
			t.Errorf("withheld for no reason: %+v", m)
		}
	}
	return text, c
}

func TestTheManifestAccountsForThePrompt(t *testing.T) {
	t.Run("execution", func(t *testing.T) {
		o := world(t, short)
		o.Admit(controllertest.Task("a"))
		o.Play("BUILDER_COMPLETE", "FIX_NEEDED", "FIXER_COMPLETE", "FIX_NEEDED")
		_, c := accounts(t, o)
		var names []string
		for _, m := range c.Shown {
			names = append(names, m.Name)
		}
		if want := []string{"work item", "doublechecker_summary", "fix_contract", "checker_summary", "fixer_summary", "builder_summary", "checker_expectations"}; !sameSet(names, want) {
			t.Errorf("shown: %q", names)
		}
		why := map[string]int{}
		for _, m := range c.Withheld {
			why[m.Name+": "+m.Withheld]++
		}
		if why["fix_contract: a later stage wrote it anew"] != 1 || why["request folder: not this stage's business: what a stage leaves for others are its artifacts"] != 4 {
			t.Errorf("withheld: %v", why)
		}
	})
	t.Run("before checks", func(t *testing.T) {
		o := world(t, short)
		o.Admit(controllertest.Task("a", "checks: [{name: unit, run: make}]"))
		o.Play("BUILDER_COMPLETE")
		_, c := accounts(t, o)
		if !slices.ContainsFunc(c.Withheld, func(m shownFile) bool { return path.Base(m.Path) == schema.ChecksFile }) {
			t.Errorf("the checks to come are not among %+v", c.Withheld)
		}
	})
	t.Run("judge", func(t *testing.T) {
		text, c := accounts(t, judged(t, nil))
		var names []string
		for _, m := range c.Shown {
			names = append(names, m.Name)
		}
		if !sameSet(names, []string{"work item", "contract", "contract", "evidence window"}) || !strings.Contains(text, "task a (Do a)") {
			t.Errorf("shown: %q", names)
		}
	})
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// Whatever somebody declares and however much goes wrong, a prompt stays one that can be read; what is cut is said.
func TestFaultPromptGrowsWithoutEnd(t *testing.T) {
	o := world(t, short)
	var checks []string
	for i := range 400 {
		checks = append(checks, fmt.Sprintf("{name: check-%d, run: %q}", i, strings.Repeat("x ", 200)))
	}
	o.Admit(controllertest.Task("a", "risk:\n"+strings.Repeat("- "+strings.Repeat("lorem ipsum ", 5000)+"\n", 8), "checks: ["+strings.Join(checks, ", ")+"]"))
	o.Play("BUILDER_COMPLETE")
	c := o.Claim("CHECKER_PASS", strings.Repeat("well ", 10_000))
	for i := range 200 {
		c.Artifacts = append(c.Artifacts, o.Leave(o.Run(), fmt.Sprintf("extra-%03d.txt", i), strings.Repeat("y", 40_000)))
	}
	c.Claim.Metadata = map[string]any{"message": strings.Repeat("because ", 5000)}
	for i := range 400 {
		log := o.Leave(o.Run(), fmt.Sprintf("checks/after-%d.log", i+1), strings.Repeat("log\n", 5000))
		c.ChecksAfter = append(c.ChecksAfter, schema.CheckRecord{Name: fmt.Sprintf("check-%d", i), ExitCode: 1, Log: log})
	}
	o.Settle()
	text, m := accounts(t, o)
	if len(text) > (192+32)<<10 {
		t.Errorf("the prompt has %d bytes", len(text))
	}
	for _, want := range []string{
		"This is its beginning, 49152 of ", "Read the rest before you begin: `millrace-agents/tasks/active/a.md`", "more, which `millrace-agents/runs/",
		"not shown: the prompt is full", "The check check-0 failed after checker.", "more, which `context.json` in the request folder lists",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the prompt does not say %q", want)
		}
	}
	if len(m.Shown)+len(m.Withheld) < 600 {
		t.Errorf("only %d are shown and %d withheld", len(m.Shown), len(m.Withheld))
	}
}

// A binary is not poured into a prompt, and what would break out of its fence is not shown.
func TestWhatCannotBeShownIsNamed(t *testing.T) {
	o := world(t, short)
	o.Admit(controllertest.Task("a"))
	o.Settle()
	c := o.Claim("BUILDER_COMPLETE", "x")
	c.Artifacts = append(c.Artifacts, o.Leave(o.Run(), "image.bin", "GIF\x00\x01"), o.Leave(o.Run(), "fence.md", strings.Repeat("~", 5000)),
		o.Leave(o.Run(), "latin.txt", "caf\xe9 "+strings.Repeat("é", 10_000)))
	o.Settle()
	text, m := accounts(t, o)
	why := map[string]string{}
	for _, w := range m.Withheld {
		why[w.Name] = w.Withheld
	}
	if why["image.bin"] != "it is no text" || !strings.HasPrefix(why["fence.md"], "it cannot be set apart") || why["latin.txt"] != "" {
		t.Errorf("withheld: %v", why)
	}
	if !strings.Contains(text, "caf? é") || strings.ContainsRune(text, '\uFFFD') {
		t.Error("a text in another encoding is not shown as far as it goes")
	}
}

// A file in a folder that the stage reads is needed like any other.
func TestFilesOfANeededFolderComeFirst(t *testing.T) {
	o := world(t, map[string]string{"modes/learn.cue": "package millrace\n\nmodes: test: graphs: learning: \"learning.standard\"\n"})
	o.Admit("kind: learning_request\nlearning_request_id: l\ntitle: Learn\nrequested_action: create\n")
	o.Play("ANALYST_COMPLETE")
	c := o.Claim("PROFESSOR_COMPLETE", "skill")
	c.Artifacts = append(c.Artifacts, o.Leave(o.Run(), "a-note.md", strings.Repeat("note\n", 5000)), o.Leave(o.Run(), "b-note.md", strings.Repeat("note\n", 5000)))
	o.Settle()
	text := prompt(t, o)
	skill, note := strings.Index(text, "skill_candidate: skill"), strings.Index(text, "a-note.md")
	if o.Run().Node != "curator" || skill < 0 || note < skill {
		t.Errorf("at %s the skill is shown at %d, the note at %d", o.Run().Node, skill, note)
	}
}

// family admits a spec, work of it in all states, and a task that rests on one that is done.
func family(t *testing.T, siblings int) *controllertest.World {
	t.Helper()
	o := world(t, short)
	o.Admit(controllertest.Spec("root", "root_idea_id: better"))
	o.Admit(controllertest.Spec("part", "root_spec_id: root"))
	o.Admit(controllertest.Task("base", "root_spec_id: root", "spec_id: part"))
	o.Finish(schema.Key{Family: "spec", ID: "root"}, schema.Key{Family: "spec", ID: "part"})
	o.Play("BUILDER_COMPLETE", "CHECKER_PASS", "UPDATE_COMPLETE")
	o.Do(func(v *workspace.View) *workspace.Mutation { // what follows is admitted and not claimed yet
		m, c := &workspace.Mutation{By: "test"}, v.Control.Clone()
		c.Pauses = map[string]schema.Pause{"operator": {By: "me"}}
		m.PutControl(c)
		return m
	})
	for i := range siblings {
		o.Admit(controllertest.Task(fmt.Sprintf("s%02d", i), "root_spec_id: root", "priority: -1"))
	}
	o.Admit(controllertest.Task("cousin", "root_spec_id: root", "spec_id: part", "priority: -1"))
	o.Admit(controllertest.Task("next", "root_spec_id: root", "spec_id: part", "depends_on: [base]"))
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m, c := &workspace.Mutation{By: "test"}, v.Control.Clone()
		c.Pauses = nil
		m.PutControl(c)
		return m
	})
	o.Settle()
	if r := o.Run(); r == nil || r.Item.ID != "next" {
		t.Fatalf("run is %+v", r)
	}
	return o
}

func TestAStageIsToldWhereItsWorkComesFrom(t *testing.T) {
	o := family(t, 30)
	text, c := accounts(t, o)
	base := o.Task("base")
	for _, want := range []string{
		"- Idea: better", "- Root: spec root (All of root): done; `millrace-agents/specs/done/root.md`", "- Comes from: spec part (All of part): done;",
		"- Rests on: task base (Do base): done, ended at update_complete; `millrace-agents/tasks/done/base.md`",
		"  - builder: BUILDER_COMPLETE; builder_summary.md in `millrace-agents/runs/" + base.Run,
		"- Beside it, of the same root: 31 queue; the 12 nearest are:\n  - task cousin (Do cousin): queue;",
		"- 2026-11-22T", "task/base: updater: UPDATE_COMPLETE",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the prompt does not say %q:\n%s", want, text)
		}
	}
	relations := map[string]int{}
	for _, r := range c.Lineage {
		relations[r.Relation]++
		if it := o.Item(r.Item.Family, r.Item.ID); it == nil || it.Document != r.Document || it.State != r.State || it.Path != r.Path {
			t.Errorf("%+v is not %+v", r, it)
		}
		if r.Relation == "dependency" {
			if data, err := os.ReadFile(o.Path(r.Trace)); err != nil || schema.DigestOf(data) != r.TraceDigest {
				t.Errorf("the trace of %+v is another, %v", r, err)
			}
		}
	}
	if relations["root"] != 1 || relations["parent"] != 1 || relations["dependency"] != 1 || relations["sibling"] != 12 {
		t.Errorf("relations are %v", relations)
	}
	if last := c.Withheld[len(c.Withheld)-1]; last.Name != "lineage" || !strings.HasPrefix(last.Withheld, "19 more") {
		t.Errorf("withheld: %+v", last)
	}
}

// What context.json says of the history, the prompt says as well: where the steps do not tell it, as entries.
func TestTheHistoryIsInThePrompt(t *testing.T) {
	o := family(t, 2)
	o.Play("BUILDER_COMPLETE")
	text, c := accounts(t, o)
	if len(c.History) < 2 {
		t.Fatalf("the history is %+v", c.History)
	}
	for _, e := range c.History {
		if !strings.Contains(text, e.What) {
			t.Errorf("the prompt does not tell %q", e.What)
		}
	}
	if strings.Count(text, "builder: BUILDER_COMPLETE") != 2 { // as a step, and of base
		t.Errorf("a step is told twice:\n%s", text)
	}
}

// What an operator did to the item is told however much happens around it.
func TestInterventionsAreNotCrowdedOut(t *testing.T) {
	o := world(t, short)
	o.Admit(controllertest.Task("a", "root_spec_id: root", "priority: 1"))
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m, it := &workspace.Mutation{By: "test"}, v.Items[schema.Key{Family: "task", ID: "a"}].Clone()
		it.Note(schema.Note{At: v.Now.Add(-time.Hour), By: "command", What: "requeued", Why: "use the other database\n## Then"})
		m.PutItem(it)
		return m
	})
	o.Admit(controllertest.Task("b", "root_spec_id: root"))
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m, it := &workspace.Mutation{By: "test"}, v.Items[schema.Key{Family: "task", ID: "b"}].Clone()
		for range 12 {
			it.Note(schema.Note{At: v.Now, By: "command", What: "noise"})
		}
		m.PutItem(it)
		return m
	})
	o.Settle()
	text, c := accounts(t, o)
	if len(c.History) != 10 || len(c.Interventions) != 1 || !strings.Contains(text, "task/a: requeued by command: use the other database ## Then\n") {
		t.Errorf("history %+v, interventions %+v:\n%s", c.History, c.Interventions, text)
	}
}

// The same view gives the same bytes, whatever the order of maps and whichever zone a time was read in.
func TestTheSameViewGivesTheSamePrompt(t *testing.T) {
	o := family(t, 40)
	o.Claim("BUILDER_COMPLETE", "x")
	o.Controllers = o.Controllers[:1] // only the result
	o.Settle()
	o.Controllers = append(o.Controllers, dispatch.New())
	zones := []*time.Location{time.UTC, time.FixedZone("east", 5*3600), time.FixedZone("west", -9*3600)}
	local := time.Local
	t.Cleanup(func() { time.Local = local })
	asked := map[workspace.Query]workspace.Answer{}
	var first string
	for round := range 30 {
		zone := zones[round%len(zones)]
		time.Local = zone
		v := o.View(o.Seen)
		v.NewID = func(prefix string) string { return prefix + "-x" }
		v.Now, v.Asked = v.Now.In(zone), asked
		for _, it := range v.Items {
			it.CreatedAt, it.Updated = it.CreatedAt.In(zone), it.Updated.In(zone)
			if it.Last != nil {
				it.Last.At = it.Last.At.In(zone)
			}
			for i := range it.Notes {
				it.Notes[i].At = it.Notes[i].At.In(zone)
			}
		}
		p := dispatch.New().Reconcile(v)
		for len(p.Observe) > 0 && p.Mutation == nil {
			for _, q := range p.Observe {
				asked[q] = o.W.Answer(t.Context(), q)
			}
			p = dispatch.New().Reconcile(v)
		}
		var text string
		for i := range p.Mutation.Ops {
			if op := &p.Mutation.Ops[i]; slices.Contains([]string{schema.PromptFile, schema.ContextFile}, path.Base(op.Path)) {
				text += string(op.Content())
			}
		}
		if first == "" {
			first = text
		}
		if !strings.Contains(text, "# This request") || text != first {
			t.Fatalf("round %d gives\n%s\nthe first gave\n%s", round, text, first)
		}
	}
}
