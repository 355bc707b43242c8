package result_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"millrace/controllers/controllertest"
	"millrace/schema"
	"millrace/workspace"
)

// learningMode is the test mode with a learning plane, and triggers.
func learningMode(triggers string) map[string]string {
	return map[string]string{"modes/test.cue": `package millrace

modes: test: {
	graphs: {execution: "execution.standard", learning: "learning.standard"}
	runner: "fake"
	runners: fake: {adapter: "command", run: ["true"]}
	learning_triggers: [` + triggers + `]
}
`}
}

const afterChecking = `{stage: "checker", outcomes: ["CHECKER_PASS"], target: "analyst", action: "improve"},
	{stage: "checker", outcomes: ["CHECKER_PASS", "BLOCKED"], target: "curator", action: "create",
		target_skill_id: "checks", preferred_output_paths: ["skills/learned/checks"]}`

func requests(o *controllertest.World) []*schema.Item {
	var all []*schema.Item
	for k, it := range o.Seen.Items {
		if k.Family == schema.FamilyLearning {
			all = append(all, it)
		}
	}
	slices.SortFunc(all, func(a, b *schema.Item) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// finish completes the request in flight of a task's run, beside whatever else runs.
func finish(t *testing.T, o *controllertest.World, outcome string) *schema.Run {
	t.Helper()
	o.Settle()
	for _, r := range o.Seen.ActiveRuns() {
		if r.Plane == "execution" && r.Request != "" {
			o.CompleteRun(r, outcome)
			o.Settle()
			return r
		}
	}
	t.Fatalf("no task runs: %+v", o.Seen.ActiveRuns())
	return nil
}

func TestTriggersRaiseRequests(t *testing.T) {
	o := world(t, learningMode(afterChecking))
	o.Admit(controllertest.Task("a", lineage))
	finish(t, o, "BUILDER_COMPLETE")
	if got := requests(o); len(got) > 0 {
		t.Fatalf("raised without a trigger: %+v", got)
	}
	run := finish(t, o, "CHECKER_PASS")
	got := requests(o)
	if len(got) != 2 || got[0].ID != "learn-"+run.ID+"-2" || got[1].ID != "learn-"+run.ID+"-2-2" {
		t.Fatalf("raised %+v", got)
	}
	if it := got[1]; it.Target != "curator" || it.Source != "runtime" || it.CreatedBy != "runtime" ||
		it.Lineage.RootSpecID != "root" || it.Lineage.RootIdeaID != "idea" {
		t.Errorf("request is %+v", it)
	}
	text, err := os.ReadFile(o.Path(got[1].Path))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Title: Learn from checker of a", "Requested-Action: create", "Target-Stage: curator", "Target-Skill-ID: checks",
		"- skills/learned/checks", "- " + run.ID, "/builder_summary.md", "/checker_summary.md",
		`Trigger-Metadata: {"item":"task/a","outcome":"CHECKER_PASS","stage":"checker","trigger":"curator: create"}`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the request does not say %q:\n%s", want, text)
		}
	}
	if f := o.Parse("x.md", string(text)); f.Diags.HasErrors() {
		t.Errorf("what the runtime wrote is not valid: %v", f.Diags)
	}
	r := o.Seen.Runs[run.ID]
	if s := r.Steps[1]; len(s.Spawned) != 2 || s.Spawned[0] != got[0].Key() {
		t.Errorf("spawned %+v", s.Spawned)
	}
}

func TestTriggersHearWhatTheStageCameTo(t *testing.T) {
	for name, c := range map[string]struct {
		more, end string
		raised    int
	}{
		"an outcome that fell by its checks": {checked, "CHECKER_PASS", 0},
		"a blocked stage":                    {"", "BLOCKED", 1},
		"a failure, which says nothing":      {"", "runner_timeout", 0},
		"another outcome":                    {"", "FIX_NEEDED", 0},
	} {
		t.Run(name, func(t *testing.T) {
			o := world(t, learningMode(afterChecking))
			o.Admit(controllertest.Task("a", lineage, c.more))
			finish(t, o, "BUILDER_COMPLETE")
			finish(t, o, c.end)
			if got := requests(o); len(got) != c.raised {
				t.Errorf("raised %+v", got)
			}
		})
	}
}

// curated plays a curator's stage to the completion that the test changes, and its result.
func curated(t *testing.T, decision schema.CuratorDecision, files ...string) *controllertest.World {
	t.Helper()
	o := world(t, learningMode(""))
	o.Admit("kind: learning_request\nlearning_request_id: l\ntitle: L\ntarget_stage: curator\ntarget_skill_id: s\n")
	o.Settle()
	c := o.Claim("CURATOR_COMPLETE", "x")
	c.Artifacts = nil
	data, err := json.Marshal(decision)
	if err != nil {
		t.Fatal(err)
	}
	c.Artifacts = append(c.Artifacts, o.Leave(o.Run(), "curator_decision.json", string(data)))
	for _, name := range files {
		c.Artifacts = append(c.Artifacts, o.Leave(o.Run(), name, "text of "+name))
	}
	o.Requests[o.Run().Request].Records = map[string]json.RawMessage{"curator_decision.json": data}
	o.Settle()
	return o
}

var request = schema.Key{Family: schema.FamilyLearning, ID: "l"}

func TestDecidedSkillWaits(t *testing.T) {
	o := curated(t, schema.CuratorDecision{Decision: "apply", TargetSkillID: "s", Changes: []schema.SkillChange{{Path: "more/a.md"}}},
		"skill_update/SKILL.md", "skill_update/more/a.md")
	it := o.Seen.Items[request]
	if it.State != schema.StateDone || it.Learned == nil || it.Learned.Skill != "s" || it.Learned.Run != it.Run || len(it.Learned.Files) != 2 ||
		it.Learned.Files[0].Path != "skill_update/SKILL.md" || it.Learned.Files[0].Digest == "" {
		t.Fatalf("item is %+v, %+v", it, it.Learned)
	}
	if _, err := os.Stat(o.Path(workspace.LearnedDir)); !os.IsNotExist(err) {
		t.Errorf("a result wrote a skill: %v", err)
	}
}

func TestDecisionMustBearOutTheSkill(t *testing.T) {
	many := []string{"skill_update/SKILL.md"}
	for i := range 64 {
		many = append(many, "skill_update/"+strings.Repeat("x", i+1))
	}
	apply := schema.CuratorDecision{Decision: "apply", TargetSkillID: "s"}
	for name, c := range map[string]struct {
		decision schema.CuratorDecision
		files    []string
		says     string
	}{
		"a decision not to":   {schema.CuratorDecision{Decision: "noop", TargetSkillID: "s"}, many[:1], "noop contradicts CURATOR_COMPLETE"},
		"no skill":            {schema.CuratorDecision{Decision: "apply"}, many[:1], "target_skill_id"},
		"a skill elsewhere":   {schema.CuratorDecision{Decision: "apply", TargetSkillID: "../stage"}, many[:1], "target_skill_id"},
		"another skill":       {schema.CuratorDecision{Decision: "apply", TargetSkillID: "other"}, many[:1], "changes skill other, and the request is about s"},
		"no head":             {apply, []string{"skill_update/other.md"}, "no SKILL.md"},
		"a head further down": {apply, []string{"skill_update/a/SKILL.md"}, "no SKILL.md"},
		"a change of nothing": {schema.CuratorDecision{Decision: "apply", TargetSkillID: "s", Changes: []schema.SkillChange{{Path: "b.md"}}}, many[:1], "changes b.md"},
		"a hidden file":       {apply, []string{"skill_update/SKILL.md", "skill_update/.git/config"}, "have names of letters"},
		"a name for a shell":  {apply, []string{"skill_update/SKILL.md", "skill_update/a b\n"}, "have names of letters"},
		"too many files":      {apply, many, "65 files"},
	} {
		t.Run(name, func(t *testing.T) {
			o := curated(t, c.decision, c.files...)
			it := o.Seen.Items[request]
			if it.State != schema.StateBlocked || it.Learned != nil || it.Blocked.Class != schema.FailInvalidArtifact || !strings.Contains(it.Blocked.Message, c.says) {
				t.Errorf("item is %s, %+v, learned %+v", it.State, it.Blocked, it.Learned)
			}
		})
	}
}

func TestNoopLearnsNothing(t *testing.T) {
	o := world(t, learningMode(""))
	o.Admit("kind: learning_request\nlearning_request_id: l\ntitle: L\ntarget_stage: curator\ntarget_skill_id: s\n")
	o.Play("CURATOR_NOOP")
	if it := o.Seen.Items[request]; it.State != schema.StateDone || it.Learned != nil {
		t.Errorf("item is %+v", it)
	}
}

// A plan may come to ask for more than a document says that was admitted before.
func TestTargetThatIsNotToldWaits(t *testing.T) {
	o := world(t, learningMode(""))
	o.Admit("kind: learning_request\nlearning_request_id: l\ntitle: L\ntarget_stage: curator\n---\n" +
		"kind: learning_request\nlearning_request_id: m\ntitle: M\ntarget_stage: curator\npreferred_output_paths: [skills/learned/m]\n")
	o.Settle()
	if r := o.Run(); r == nil || r.Item.ID != "m" || r.Node != "curator" {
		t.Errorf("it runs %+v", r)
	}
	w := o.View(o.Seen).Waiting(request)
	if w == nil || !w.Stalled || !strings.Contains(w.Message, "curator must be told what to work on, by target_skill_id or preferred_output_paths") {
		t.Errorf("l waits for %+v", w)
	}
}
