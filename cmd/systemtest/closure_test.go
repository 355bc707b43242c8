package systemtest

import (
	"os"
	"strings"
	"testing"
	"time"

	"millrace/schema"
)

// says runs a command, whatever its exit code, and wants all of that in what it prints.
func (p *project) says(args []string, want ...string) {
	p.t.Helper()
	_, stdout, stderr := p.run(args...)
	for _, w := range want {
		if !strings.Contains(stdout+stderr, w) {
			p.t.Errorf("millrace %v does not say %q:\n%s%s", args, w, stdout, stderr)
		}
	}
}

// silent wants that a running daemon adds nothing to the journal.
func (p *project) silent(at string) {
	p.t.Helper()
	p.eventually("it rests: "+at, func() bool {
		before := p.state().Seq
		time.Sleep(300 * time.Millisecond)
		return p.state().Seq == before
	})
	before := p.state().Seq
	time.Sleep(700 * time.Millisecond)
	if after := p.state().Seq; after != before {
		p.t.Errorf("%s, the journal grew from %d to %d", at, before, after)
	}
}

// At every station of a closure target the commands say where it stands and what to do, and a daemon with nothing to
// do writes nothing.
func TestStationsOfAClosureTarget(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.write("agent/r", "arbiter BLOCKED ARBITER_COMPLETE\n")
	p.write("agent/hold", "")
	p.startDaemon()
	p.drop("specs/r.yaml", "spec_id: r\ntitle: R\ngoals: [g]\nacceptance: [x]\n")
	p.eventually("r is planned", func() bool { return p.stateIs("spec", "r", schema.StateActive) })
	p.drop("specs/z.yaml", "spec_id: z\ntitle: Z\ngoals: [g]\nacceptance: [x]\n")
	p.eventually("z waits", func() bool { return p.stateIs("spec", "z", schema.StateQueue) })
	p.silent("while r is open and its stage works")
	p.says([]string{"closure", "show", "r"}, "open", "spec/r is active", "Waiting roots:  z")
	p.says([]string{"why", "z"}, "the closure target of r is open", "millrace closure abandon r")
	p.remove("agent/hold")

	p.eventually("r is stalled", func() bool { return p.stateIs(schema.FamilyTarget, "r", schema.StateBlocked) })
	p.silent("while r is stalled")
	for _, args := range [][]string{{"status"}, {"closure", "show", "r"}, {"why", "closure_target/r"}, {"why", "z"}, {"doctor"}} {
		p.says(args, "millrace closure retry r --reason …")
	}
	p.says([]string{"queue", "cancel", "r", "--reason", "no"}, "millrace closure abandon r")
	p.must("closure", "retry", "r", "--reason", "look again")
	p.eventually("r is closed", func() bool { return p.stateIs(schema.FamilyTarget, "r", schema.StateDone) })
	p.says([]string{"closure", "show", "r"}, "unproven, the 1st of this generation", "arbiter/verdicts/r@1-1.json")

	p.eventually("z is closed", func() bool { return p.stateIs(schema.FamilyTarget, "z", schema.StateDone) })
	p.silent("when all is closed")
	p.write("agent/hold", "")
	p.must("queue", "reopen", "z", "--reason", "more of it")
	p.eventually("z is planned again", func() bool { return p.stateIs("spec", "z", schema.StateActive) })
	p.must("closure", "abandon", "z", "--reason", "no longer")
	p.says([]string{"why", "closure_target/z"}, "being abandoned", "spec/z is active")
	p.remove("agent/hold")
	p.eventually("z is abandoned", func() bool { return p.stateIs(schema.FamilyTarget, "z", schema.StateCancelled) })
	p.silent("when z is abandoned")
	if shown := p.must("closure", "show", "z"); !strings.Contains(shown, "abandoned, 2") || strings.Contains(shown, "0th") {
		t.Errorf("what was abandoned is shown as\n%s", shown)
	}
	p.must("verify")
	p.must("doctor")
}

func (p *project) remove(rel string) {
	p.t.Helper()
	check(p.t, os.Remove(p.path(rel)))
}
