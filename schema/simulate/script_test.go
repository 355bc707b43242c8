package simulate_test

import (
	"errors"
	"strings"
	"testing"

	"millrace/schema"
	"millrace/schema/simulate"
)

// TestScriptErrors: what is wrong is said with its place and with what would be right.
func TestScriptErrors(t *testing.T) {
	p := planOf(t, "learning_codex")
	for name, c := range map[string]struct{ script, want string }{
		"empty":             {"# nothing\n\n", "s: the script names no item\n  begin with a line that names one, its family first: closure_target, incident, learning_request, probe, spec, task"},
		"family":            {"tusk a", "s:1:1: \"tusk\" begins no item\n  did you mean \"task\"?"},
		"not taken":         {"blueprint_draft a", "s:1:1: no graph of mode learning_codex takes items of family blueprint_draft"},
		"id":                {"task ../a", "s:1:6: \"../a\" is not an id"},
		"second id":         {"task a b", "s:1:8: an item takes no \"b\""},
		"target":            {"learning_request a target_stage=curater", "s:1:20: an item of family learning_request cannot begin at \"curater\"\n  did you mean \"curator\"? it begins at analyst, professor, curator, librarian"},
		"no targets":        {"task a target_stage=checker", "cannot begin at \"checker\"\n  it begins at builder"},
		"outcome":           {"task a\n  CHECKER_PASS", "s:2:3: builder, where task/a stands, does not end with \"CHECKER_PASS\"\n  builder ends with BLOCKED, BUILDER_COMPLETE, or"},
		"near outcome":      {"task a\nBUILDER_COMPLET", "did you mean \"BUILDER_COMPLETE\"?"},
		"near failure":      {"task a\nruner_timeout", "did you mean \"runner_timeout\"?"},
		"detail":            {"task a\nBUILDER_COMPLETE  chekcs=fail", "s:2:19: BUILDER_COMPLETE of builder takes no \"chekcs\"\n  did you mean \"checks\"? it takes checks, class"},
		"no value":          {"task a\nBUILDER_COMPLETE checks", "s:2:18: checks says nothing\n  write checks=fail or checks=pass"},
		"value":             {"task a\nBUILDER_COMPLETE checks=no", "BUILDER_COMPLETE of builder has no checks \"no\"\n  there are fail, pass"},
		"key":               {"spec a\nPLANNER_COMPLETE key=blokked", "has no key \"blokked\"\n  did you mean \"blocked\"? there are blocked, emitted_child_specs"},
		"wish":              {"task a\nBLOCKED\nTROUBLESHOOT_COMPLETE resume_stage=bilder", "s:3:23: TROUBLESHOOT_COMPLETE of troubleshooter has no resume_stage \"bilder\"\n  did you mean \"builder\"?"},
		"wish of a failure": {"task a\nBLOCKED\nrunner_exit resume_stage=builder", "s:3:13: runner_exit of troubleshooter takes no \"resume_stage\"\n  it takes checks"},
		"after the end":     {"learning_request a\nANALYST_NOOP\nANALYST_NOOP", "s:3:1: learning_request/a has ended at analyst_noop\n  name the next item"},
		"done twice":        {"learning_request a\nANALYST_NOOP\nlearning_request a", "s:3:1: learning_request/a ended as done on line 2"},
		"under way twice":   {"task a\ntask a", "s:2:1: task/a, begun on line 1, still stands at builder"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := simulate.Script(p, "s", []byte(c.script))
			if !errors.As(err, new(schema.Diagnostics)) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
}

// TestScriptPlays: what ends, what it spent, and what became of it.
func TestScriptPlays(t *testing.T) {
	p := planOf(t, "learning_codex")
	for name, c := range map[string]struct{ script, nodes, end, state, spent string }{
		"short":   {"task", "builder", "", "active", ""},
		"windows": {"task a\r\nBUILDER_COMPLETE\r\n", "builder → checker", "", "active", ""},
		"target":  {"learning_request a target_stage=librarian # why\nLIBRARIAN_NOOP", "librarian", "librarian_noop", "done", ""},
		"key":     {"spec a\nPLANNER_COMPLETE key=blocked", "planner", "blocked", "blocked", ""},
		"not owned": {"spec a\nBLOCKED\nMECHANIC_COMPLETE\nPLANNER_COMPLETE\nMANAGER_COMPLETE", "planner → mechanic → planner → manager", "manager_complete", "done",
			"mechanic_attempt_count 1 of 2, mechanic_resume_count 1 of 3"},
		"refused wish": {"task a\nBLOCKED\nTROUBLESHOOT_COMPLETE resume_stage=updater", "builder → troubleshooter → consultant", "", "active", "troubleshoot_attempt_count 1 of 2"},
		"class":        {"task a\nBLOCKED class=recoverable_failure", "builder → troubleshooter", "", "active", "troubleshoot_attempt_count 1 of 2"},
		"restarts":     {"task a\nnot_started\nsupervisor_lost\nsupervisor_lost", "builder → builder → builder → troubleshooter", "", "active", "troubleshoot_attempt_count 1 of 2"},
		"single":       {"closure_target a\nsupervisor_lost", "arbiter", "blocked", "blocked", ""},
		"waits":        {"task a\nauth_failed\nauth_failed", "builder → builder → builder", "", "active", ""},
		"no progress":  {"task a\nno_progress", "builder", "blocked", "blocked", ""},
		"fresh":        {"task a\nBLOCKED\nBLOCKED\nBLOCKED\ntask a\nBLOCKED", "builder → troubleshooter", "", "active", "troubleshoot_attempt_count 1 of 2"},
		"again":        {"closure_target a\nREMEDIATION_NEEDED\nclosure_target a\nARBITER_COMPLETE key=remediation", "arbiter", "remediation_needed", "open", ""},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := simulate.Script(p, "s", []byte(c.script))
			if err != nil {
				t.Fatal(err)
			}
			s := all[len(all)-1]
			var nodes []string
			for _, m := range s.Moves {
				nodes = append(nodes, m.Node)
			}
			if !s.Ended() {
				nodes = append(nodes, s.Node)
			}
			if path(nodes) != c.nodes || s.End != c.end || s.State != c.state || s.Budgets() != c.spent {
				t.Errorf("%s, end %q, %s, spent %q", path(nodes), s.End, s.State, s.Budgets())
			}
		})
	}
}
