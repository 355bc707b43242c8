package systemtest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/schema"
)

const wholeMode = `package millrace

modes: whole: graphs: {execution: "execution.standard", planning: "planning.standard", learning: "learning.standard"}
`

// wholeWorkflow is a project in which everything happens once: an idea becomes a child spec, that a task which raises
// an incident and is replaced, the first judgement finds a gap, the second closes; another root and a task without
// one wait for it, a probe leads to a task, an incident comes without a root, and two lessons end beside all that.
func wholeWorkflow(t *testing.T) *project {
	t.Helper()
	p := newProject(t)
	p.write("millrace-agents/modes/whole.cue", wholeMode)
	p.write("millrace-agents/millrace.cue", strings.Replace(fmt.Sprintf(testConfig, agentBin), `"standard"`, `"whole"`, 1)+`checks: from_agents: "allow"`+"\n")
	p.script("idea-shop", "planner", "planner_disposition.json", disposed("spec", "idea-shop", `"disposition": "emitted_child_specs", "emitted_spec_ids": ["part"]`))
	p.script("idea-shop", "planner", "outbox/part.yaml", "kind: spec\nspec_id: part\ntitle: Part\ngoals: [g]\nacceptance: [x]\n")
	p.script("part", "manager", "outbox/a.yaml", task("a")+"---\n"+task("on", "depends_on: [a]", `checks: [{name: there, run: "test -f seed"}]`))
	p.write("seed", "x")
	p.write("agent/a", "builder BLOCKED\ntroubleshooter BLOCKED\nconsultant NEEDS_PLANNING\n")
	p.script("a-incident-1", "manager", "outbox/b.yaml", task("b"))
	p.write("agent/idea-shop", "arbiter REMEDIATION_NEEDED ARBITER_COMPLETE\n")
	p.write("agent/ask", "recon RECON_TO_EXECUTION\n")
	p.script("ask", "recon", "recon_packet.md", packet("ask", "to_execution", "Emitted-Task-ID: asked\n"))
	p.script("ask", "recon", "outbox/asked.yaml", task("asked"))
	p.write("agent/no", "recon RECON_NOOP\n")
	p.script("no", "recon", "recon_packet.md", packet("no", "noop", ""))
	p.write("agent/l", "analyst ANALYST_NOOP\n")
	p.write("agent/lib", "librarian LIBRARIAN_NOOP\n")
	p.drop("ideas/shop.md", "# A shop\n\nSell things.\n")
	p.drop("specs/other.yaml", "spec_id: other\ntitle: Other\ngoals: [g]\nacceptance: [x]\n")
	p.drop("tasks/alone.yaml", task("alone"))
	p.drop("incidents/bare.yaml", "incident_id: bare\ntitle: Bare\n")
	p.drop("probes/ask.yaml", "probe_id: ask\ntitle: Ask\nrequest: is it so?\n")
	p.drop("probes/no.yaml", "probe_id: no\ntitle: No\nrequest: is it not?\n")
	p.drop("lessons/l.yaml", "kind: learning_request\nlearning_request_id: l\ntitle: L\n")
	p.drop("lessons/lib.yaml", lesson("lib", "librarian"))
	return p
}

// assertWhole holds a workspace against what becomes of wholeWorkflow, by whatever way.
func (p *project) assertWhole() {
	p.t.Helper()
	want := map[schema.Key]string{{Family: "task", ID: "a"}: schema.StateSuperseded}
	for family, ids := range map[string]string{
		"spec": "idea-shop part other", "incident": "a-incident-1 idea-shop-incident-1 bare", "probe": "ask no", "learning_request": "l lib",
		"task":              "b on alone asked other-task bare-task idea-shop-incident-1-task",
		schema.FamilyTarget: "idea-shop other",
	} {
		for id := range strings.FieldsSeq(ids) {
			want[schema.Key{Family: family, ID: id}] = schema.StateDone
		}
	}
	s := p.state()
	for k, state := range want {
		if it := s.Items[k]; it == nil || it.State != state {
			_, why, _ := p.run("why", k.String())
			p.t.Errorf("%s is %+v, want it %s\n%s", k, it, state, why)
		}
	}
	for k := range s.Items {
		if want[k] == "" {
			p.t.Errorf("%s came from nowhere", k)
		}
	}
	for root, verdict := range map[string]string{"idea-shop": schema.VerdictPass, "other": schema.VerdictUnproven} {
		if it := s.Target(root); it != nil && (it.Generation != 1 || it.Closure.Verdict != verdict) {
			p.t.Errorf("%s was judged %+v, in generation %d", root, it.Closure, it.Generation)
		}
	}
	spent := map[string]bool{}
	for _, l := range p.log() {
		if l.what == "start" && spent[l.request] {
			p.t.Errorf("%s was started twice", l.request)
		}
		spent[l.request] = spent[l.request] || l.what == "start"
	}
	p.must("verify")
	p.must("doctor")
}

// stagesOf counts what agents were started for.
func (p *project) stagesOf() []string {
	var all []string
	for _, l := range p.log() {
		if l.what == "start" {
			all = append(all, l.item+" "+l.stage)
		}
	}
	slices.Sort(all)
	return all
}

func (p *project) totalStages() int { return len(p.stagesOf()) }

// unended are the items that have not come to their end; a superseded one has.
func (p *project) unended() []schema.Key {
	var left []schema.Key
	for k, it := range p.state().Items {
		if !schema.Ended(it.State) {
			left = append(left, k)
		}
	}
	return left
}

// Single ticks of the daemon take the whole workflow where one run takes it, stage for stage, and to rest.
func TestWholeWorkflowInSingleTicks(t *testing.T) {
	t.Parallel()
	one, many := wholeWorkflow(t), wholeWorkflow(t)
	many.untilIdle()
	many.assertWhole()
	ticks := 0
	for ; ticks < 300 && len(one.unended()) > 0 || ticks == 0; ticks++ {
		one.must("run", "daemon", "--max-ticks", "1")
	}
	started := one.totalStages()
	one.must("run", "daemon", "--max-ticks", "1")
	if n := one.totalStages(); n != started {
		t.Errorf("a tick more started %d stages", n-started)
	}
	one.assertWhole()
	if a, b := one.stagesOf(), many.stagesOf(); !slices.Equal(a, b) {
		t.Errorf("after single ticks the stages were\n%q\nafter one run\n%q", a, b)
	}
	t.Logf("%d ticks", ticks)
}

// The daemon is killed again and again, also while a root is judged: all comes to the same end, and nothing is paid twice.
func TestWholeWorkflowUnderKills(t *testing.T) {
	t.Parallel()
	p := wholeWorkflow(t)
	p.write("agent/delay", "60")
	kills := 0
	for ; kills < 80 && !p.stateIs(schema.FamilyTarget, "other", schema.StateDone); kills++ {
		daemon := p.startDaemon()
		time.Sleep(time.Duration(150+37*(kills%11)) * time.Millisecond)
		kill(t, daemon)
	}
	check(t, os.Remove(p.path("agent/delay")))
	p.untilIdle()
	p.assertWhole()
	t.Logf("%d kills", kills)
}
