package systemtest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"millrace/schema"
	"millrace/workspace"
)

// learner is the agent of the learning plane: it waits as long as agent/study is there, and decides on the skill
// whose text lies in agent/skill.
const learner = `cat >/dev/null
echo "$1" >>agent/learned
while [ -e agent/study ]; do sleep 0.02; done
cd "$MILLRACE_REQUEST_DIR" || exit 1
project=$2
case $1 in
curator)
	mkdir skill_update
	cp "$project/agent/skill" skill_update/SKILL.md
	cat >curator_decision.json <<END
{"schema_version": 1, "kind": "curator_decision", "created_at": "2026-11-22T08:00:00Z", "created_by": "curator",
 "decision": "apply", "target_skill_id": "flaky", "changes": [{"path": "SKILL.md"}], "evidence": ["e"]}
END
	echo "### CURATOR_COMPLETE" ;;
librarian)
	echo none >skill_install_report.md
	echo "### LIBRARIAN_NOOP" ;;
esac
`

const beside = `package millrace

modes: beside: {
	graphs: {execution: "execution.standard", planning: "planning.standard", learning: "learning.standard"}
	stages: {
		for name in ["analyst", "professor", "curator", "librarian"] {(name): runner: "learner"}%s
	}
}
`

func lesson(id, stage string, more ...string) string {
	return fmt.Sprintf("kind: learning_request\nlearning_request_id: %s\ntitle: Lesson %s\ntarget_stage: %s\n%s\n", id, id, stage, strings.Join(more, "\n"))
}

// TestLearningBesideWork: tasks run to their ends beside a stage of the learning plane that takes its time, what it
// decides is written when they rest, and a stage that names the skill gets it with its next run.
func TestLearningBesideWork(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.write("agent/learner.sh", learner)
	p.write("agent/skill", "# One\n")
	p.write("millrace-agents/modes/beside.cue", fmt.Sprintf(beside, ""))
	p.write("millrace-agents/millrace.cue", strings.Replace(fmt.Sprintf(testConfig, agentBin), `"standard"`, `"beside"`, 1)+
		fmt.Sprintf("runners: learner: {adapter: \"command\", run: [\"sh\", %q, \"{{stage}}\", %q]}\n", p.path("agent/learner.sh"), p.dir))
	p.must("compile", "validate")
	daemon := p.command("run", "daemon")
	check(t, daemon.Start())

	p.write("agent/study", "")
	p.drop("l.yaml", lesson("l", "curator", "target_skill_id: flaky"))
	p.eventually("the curator works", func() bool { return p.learned() == "curator" })
	p.drop("tasks.yaml", task("a")+"---\n"+task("b", "depends_on: [a]"))
	p.eventually("tasks are done beside it", func() bool { return p.stands("task", "b") == schema.StateDone })
	if state := p.stands("learning_request", "l"); state != schema.StateActive {
		t.Fatalf("the lesson is %s", state)
	}

	skill := filepath.Join("millrace-agents", workspace.LearnedDir, "flaky", "SKILL.md")
	p.write("agent/hold", "")
	p.drop("c.yaml", task("c"))
	p.eventually("c is built", func() bool { return p.stands("task", "c") == schema.StateActive })
	check(t, os.Remove(p.path("agent/study")))
	p.eventually("the lesson is over", func() bool { return p.stands("learning_request", "l") == schema.StateDone })
	if why := p.must("why", "l"); p.item("learning_request", "l").Learned == nil || p.text(skill) != "" || !strings.Contains(why, "waits while execution works on c") {
		t.Errorf("a skill changed under a running stage, or nobody says that it waits: %q, %s", p.text(skill), why)
	}
	check(t, os.Remove(p.path("agent/hold")))
	p.eventually("the skill is written", func() bool { return p.text(skill) == "# One\n" })
	ended, learned := p.at(workspace.EvRunEnded, "c"), p.at(workspace.EvLearned, "l")
	if ended == 0 || learned < ended {
		t.Errorf("the run of c ended in record %d, and the skill was written in %d", ended, learned)
	}
	p.drop("lib.yaml", lesson("lib", "librarian"))
	p.eventually("the librarian is asked", func() bool { return p.stands("learning_request", "lib") == schema.StateDone })
	if way := p.passage("lib"); way != "librarian librarian_noop" {
		t.Errorf("lib went %s", way)
	}

	// A stage names the skill: what is learned next is a new plan, and nobody holds it for an agent's edit.
	p.write("millrace-agents/modes/beside.cue", fmt.Sprintf(beside, "\n\t\tbuilder: skills: [\"skills/learned/flaky/SKILL.md\"]"))
	before := p.state().Control.Plan
	p.eventually("builders get the skill", func() bool { return p.state().Control.Plan != before })
	first := p.state().Control.Plan
	p.write("agent/skill", "# Two\n")
	p.write("agent/hold", "")
	p.drop("d.yaml", task("d"))
	p.eventually("d is built", func() bool { return p.stands("task", "d") == schema.StateActive })
	p.drop("again.yaml", lesson("again", "curator", "target_skill_id: flaky"))
	p.eventually("the next lesson is over", func() bool { return p.stands("learning_request", "again") == schema.StateDone })
	check(t, os.Remove(p.path("agent/hold")))
	p.eventually("the skill changes", func() bool { return p.text(skill) == "# Two\n" })
	p.eventually("the plan follows", func() bool { return p.state().Control.Plan != first })
	p.drop("e.yaml", task("e"))
	p.eventually("e is done", func() bool { return p.stands("task", "e") == schema.StateDone })
	if held := p.state().Control.Held; len(held) > 0 {
		t.Errorf("held: %v", held)
	}
	for id, want := range map[string]string{"d": "# One\n", "e": "# Two\n"} {
		if got := p.given(id); got != want {
			t.Errorf("the builder of %s was given %q", id, got)
		}
	}
	p.must("control", "stop")
	check(t, daemon.Wait())
	p.must("verify")
	p.starts() // no two agents at once on one tree
}

// learned are the stages that the learner was started for, in order.
func (p *project) learned() string { return strings.Join(strings.Fields(p.text("agent/learned")), " ") }

// text of a file of the project; "" when there is none.
func (p *project) text(rel string) string {
	data, err := os.ReadFile(p.path(rel))
	if err != nil && !os.IsNotExist(err) {
		p.t.Error(err)
	}
	return string(data)
}

// stands is the state of an item; "" before it is admitted.
func (p *project) stands(family, id string) string {
	if it := p.state().Items[schema.Key{Family: family, ID: id}]; it != nil {
		return it.State
	}
	return ""
}

// at is the record that tells the first such event of an item.
func (p *project) at(event, id string) uint64 {
	for _, rec := range p.records() {
		if slices.ContainsFunc(rec.Events, func(e workspace.Event) bool { return e.Type == event && e.Item.ID == id }) {
			return rec.Seq
		}
	}
	return 0
}

// given is the learned skill that was laid out for the first stage of a task's run.
func (p *project) given(id string) string {
	p.t.Helper()
	data, err := os.ReadFile(p.path("millrace-agents", workspace.RunFile(p.item("task", id).Run)))
	check(p.t, err)
	var r schema.Run
	check(p.t, json.Unmarshal(data, &r))
	return p.text(filepath.Join("millrace-agents", workspace.RequestDir(r.ID, r.Steps[0].Request), workspace.LearnedDir, "flaky", "SKILL.md"))
}
