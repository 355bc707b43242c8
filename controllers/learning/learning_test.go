package learning_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"millrace/controllers/controllertest"
	"millrace/controllers/dispatch"
	"millrace/controllers/learning"
	"millrace/controllers/recovery"
	"millrace/controllers/result"
	"millrace/schema"
	"millrace/workspace"
)

const mode = `package millrace

modes: test: {
	graphs: {execution: "execution.standard", learning: "learning.standard"}
	runner: "fake"
	runners: fake: {adapter: "command", run: ["true"]}
}
`

func world(t *testing.T) *controllertest.World {
	t.Helper()
	return controllertest.T(t, map[string]string{"modes/test.cue": mode}, result.New(), recovery.New(), dispatch.New(), learning.New())
}

// decide admits a request that has come to a decided change of the skill, with the files that the stage wrote.
func decide(o *controllertest.World, id, skill string, files map[string]string) schema.Key {
	o.TB.Helper()
	o.Admit("kind: learning_request\nlearning_request_id: " + id + "\ntitle: L\n")
	k := schema.Key{Family: schema.FamilyLearning, ID: id}
	r := &schema.Run{ID: "run-" + id, Request: "req-" + id}
	o.Do(func(v *workspace.View) *workspace.Mutation {
		it := v.Items[k].Clone()
		it.Learned = &schema.Learned{Skill: skill, Run: r.ID, Request: r.Request}
		for _, name := range slices.Sorted(maps.Keys(files)) {
			it.Learned.Files = append(it.Learned.Files, o.Leave(r, "update/skill/"+name, files[name]))
		}
		m := &workspace.Mutation{By: "test", Why: "decide"}
		it.EndedBy = "run"
		m.MoveItem(v, it, schema.StateDone)
		return m
	})
	return k
}

// skills are the learned files as they lie there, by path below skills/learned.
func skills(t *testing.T, o *controllertest.World) map[string]string {
	t.Helper()
	found := map[string]string{}
	top := o.Path(workspace.LearnedDir)
	err := filepath.WalkDir(top, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		found[strings.TrimPrefix(p, top+"/")] = string(data)
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return found
}

func want(t *testing.T, o *controllertest.World, files map[string]string) {
	t.Helper()
	if got := skills(t, o); !maps.Equal(got, files) {
		t.Fatalf("skills/learned holds %v, want %v", got, files)
	}
}

func TestDecidedSkillIsWritten(t *testing.T) {
	o := world(t)
	k := decide(o, "l", "flaky", map[string]string{"SKILL.md": "one", "more/SKILL.md": "two"})
	o.Settle()
	want(t, o, map[string]string{"flaky/SKILL.md": "one", "flaky/more/SKILL.md": "two"})
	it := o.Seen.Items[k]
	if it.Learned != nil || it.State != schema.StateDone || len(it.Notes) != 1 || it.Notes[0].What != "skill flaky changed" || !o.Saw(workspace.EvLearned) {
		t.Errorf("item is %+v", it)
	}
	v := o.View(o.Seen)
	if p := workspace.LearnedDir + "/flaky/SKILL.md"; !v.Vouched(p, schema.DigestOf([]byte("one"))) || v.Vouched(p, schema.DigestOf([]byte("an agent's"))) {
		t.Error("only what the runtime wrote is vouched for")
	}
	if again := o.Settle(); len(again) > 0 {
		t.Errorf("and then %q", again)
	}
}

func TestSkillIsReplacedAsAWhole(t *testing.T) {
	o := world(t)
	decide(o, "a", "flaky", map[string]string{"SKILL.md": "one", "old.md": "old"})
	o.Settle()
	if err := os.WriteFile(o.Path(workspace.LearnedDir+"/flaky/mine.md"), []byte("a person's"), 0o666); err != nil {
		t.Fatal(err)
	}
	decide(o, "b", "flaky", map[string]string{"SKILL.md": "two"})
	o.Settle()
	want(t, o, map[string]string{"flaky/SKILL.md": "two", "flaky/mine.md": "a person's"})
}

func TestOldestDecisionFirst(t *testing.T) {
	o := world(t)
	decide(o, "b", "flaky", map[string]string{"SKILL.md": "later"})
	decide(o, "a", "flaky", map[string]string{"SKILL.md": "earlier"})
	o.Settle()
	want(t, o, map[string]string{"flaky/SKILL.md": "later"})
}

// What a person wrote stays, and the update with it: neither is lost.
func TestEditByHandStays(t *testing.T) {
	for name, edit := range map[string]func(o *controllertest.World) string{
		"an edit of what was learned": func(o *controllertest.World) string {
			decide(o, "a", "flaky", map[string]string{"SKILL.md": "one"})
			o.Settle()
			return "flaky/SKILL.md"
		},
		"a skill of their own": func(*controllertest.World) string { return "flaky/SKILL.md" },
	} {
		t.Run(name, func(t *testing.T) {
			o := world(t)
			file := o.Path(workspace.LearnedDir + "/" + edit(o))
			if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte("a person's"), 0o666); err != nil {
				t.Fatal(err)
			}
			k := decide(o, "l", "flaky", map[string]string{"SKILL.md": "two", "new.md": "new"})
			o.Settle()
			want(t, o, map[string]string{"flaky/SKILL.md": "a person's"})
			it := o.Seen.Items[k]
			if it.Learned != nil || len(it.Notes) != 1 || !strings.Contains(it.Notes[0].Why, "changed by hand") ||
				!strings.Contains(it.Notes[0].Why, "runs/run-l/req-l/update/skill") || !o.Saw(workspace.EvUnlearned) {
				t.Errorf("item is %+v", it)
			}
			if data, err := os.ReadFile(o.Path("runs/run-l/req-l/update/skill/SKILL.md")); err != nil || string(data) != "two" {
				t.Errorf("the update is %q, %v", data, err)
			}
		})
	}
}

func TestUpdateThatChangedIsNotMade(t *testing.T) {
	o := world(t)
	k := decide(o, "l", "flaky", map[string]string{"SKILL.md": "one", "more.md": "two"})
	if err := os.WriteFile(o.Path("runs/run-l/req-l/update/skill/more.md"), []byte("something else"), 0o666); err != nil {
		t.Fatal(err)
	}
	o.Settle()
	want(t, o, map[string]string{})
	if it := o.Seen.Items[k]; it.Learned != nil || len(it.Notes) != 1 || !strings.Contains(it.Notes[0].Why, "not what was decided on") {
		t.Errorf("item is %+v", it)
	}
}

func TestSkillWaitsForForeground(t *testing.T) {
	o := world(t)
	o.Admit(controllertest.Task("a"))
	o.Settle()
	k := decide(o, "l", "flaky", map[string]string{"SKILL.md": "one"})
	for _, outcome := range []string{"BUILDER_COMPLETE", "CHECKER_PASS"} {
		o.Play(outcome)
		want(t, o, map[string]string{})
		if w := o.View(o.Seen).Waiting(k); w == nil || w.Reason != workspace.WaitExclusive || !strings.Contains(w.Message, "execution works on a") {
			t.Fatalf("it waits for %+v", w)
		}
	}
	o.Play("UPDATE_COMPLETE")
	want(t, o, map[string]string{"flaky/SKILL.md": "one"})
	if w := o.View(o.Seen).Waiting(k); w != nil {
		t.Errorf("it still waits for %+v", w)
	}
}

func TestSkillWaitsForResume(t *testing.T) {
	o := world(t)
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m, c := &workspace.Mutation{By: "test", Why: "pause"}, v.Control.Clone()
		c.Pauses = map[string]schema.Pause{workspace.PauseOperator: {By: "me"}}
		m.PutControl(c)
		return m
	})
	decide(o, "l", "flaky", map[string]string{"SKILL.md": "one"})
	o.Settle()
	want(t, o, map[string]string{})
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m, c := &workspace.Mutation{By: "test", Why: "resume"}, v.Control.Clone()
		c.Pauses = nil
		m.PutControl(c)
		return m
	})
	o.Settle()
	want(t, o, map[string]string{"flaky/SKILL.md": "one"})
}
