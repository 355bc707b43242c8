package workspace

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"millrace/schema"
)

// TestInvariantEveryPaidRequestIsOnRecord: an agent that was started without a record that asks for it
// would be paid and forgotten.
func TestInvariantEveryPaidRequestIsOnRecord(t *testing.T) {
	w := newWorkspace(t)
	claimed(t, w)
	m := &Mutation{By: "t"}
	m.PutJSON("runs/run-A/req-1/request.json", schema.Request{SchemaVersion: 1, ID: "req-1", Run: "run-A"})
	mustCommit(t, w, m)
	put(t, w, "runs/run-A/req-1/started", "{}\n")
	if found, err := w.Verify(t.Context()); err != nil || len(found) > 0 {
		t.Fatalf("verify: %v %v", err, found)
	}
	put(t, w, "runs/run-A/req-2/started", "{}\n")
	found, err := w.Verify(t.Context())
	if err != nil || len(found) != 1 || found[0].Law != LawPaid || !strings.Contains(found[0].Path, "req-2") {
		t.Errorf("verify: %v %v", err, found)
	}
}

// TestInvariantLanesAreCounted: lanes are those of the widest plan that the plane's runs run under.
func TestInvariantLanesAreCounted(t *testing.T) {
	w := newWorkspace(t)
	plan := schema.DigestOf([]byte("plan"))
	m := &Mutation{By: "t"}
	m.PutJSON(PlanPath(plan), schema.Plan{SchemaVersion: 1, Lanes: map[string]int{"execution": 2}})
	m.PutControl(&schema.Control{SchemaVersion: 1, Plan: plan})
	mustCommit(t, w, m)
	for i, id := range []string{"A", "B", "C"} {
		mustCommit(t, w, admit(id))
		m := claim(id)
		m.PutRun(&schema.Run{SchemaVersion: 1, ID: "run-" + id, Item: schema.Key{Family: "task", ID: id}, State: schema.RunRunning, Plane: "execution", Plan: plan})
		mustCommit(t, w, m)
		found, err := w.Verify(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if laws := len(found); i < 2 && laws > 0 || i == 2 && (laws != 1 || found[0].Law != LawLanes) {
			t.Errorf("with %d runs: %v", i+1, found)
		}
	}
}

// TestInvariantsAreDocumented: docs/invariants.md names every law that Verify may name.
func TestInvariantsAreDocumented(t *testing.T) {
	code, err := os.ReadFile("invariants.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/invariants.md")
	if err != nil {
		t.Fatal(err)
	}
	laws := regexp.MustCompile(`\n\tLaw\w+ += "([a-z-]+)"`).FindAllStringSubmatch(string(code), -1)
	if len(laws) < 10 {
		t.Fatalf("found only %d laws", len(laws))
	}
	for _, law := range laws {
		if !strings.Contains(string(page), "\n| `"+law[1]+"` |") {
			t.Errorf("%s is not in docs/invariants.md", law[1])
		}
	}
}
