package agenttest

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"millrace/schema"
)

// The versions that are installed for the tests are those that Millrace says it was tested with, at most.
func TestPinnedVersionsAreTheTestedOnes(t *testing.T) {
	data, err := os.ReadFile("agents/package.json")
	if err != nil {
		t.Fatal(err)
	}
	var pinned struct{ Dependencies map[string]string }
	if err := json.Unmarshal(data, &pinned); err != nil {
		t.Fatal(err)
	}
	agents := 0
	for _, name := range schema.AdapterNames() {
		if a := schema.AdapterOf(name); a.Package != "" {
			if agents++; pinned.Dependencies[a.Package] != a.Newest {
				t.Errorf("%s is pinned at %q and said to be tested up to %q", a.Package, pinned.Dependencies[a.Package], a.Newest)
			}
		}
	}
	if agents == 0 || agents != len(pinned.Dependencies) {
		t.Errorf("%d packages are pinned for %d agents", len(pinned.Dependencies), agents)
	}
	lock, err := os.ReadFile("agents/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(lock), `"resolved"`) {
		t.Error("package-lock.json names where packages come from; npm's own settings say that")
	}
}
