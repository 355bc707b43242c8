package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The supervisor lives as long as an agent works, beside it: it must stay small.
func TestSupervisorIsSmall(t *testing.T) {
	deps, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatalf("list dependencies: %v", err)
	}
	for dep := range strings.FieldsSeq(string(deps)) {
		for _, heavy := range []string{"cuelang.org/", "github.com/spf13/", "net/http", "millrace/workspace/disk", "millrace/schema/"} {
			if strings.HasPrefix(dep, heavy) || dep == "millrace/workspace" {
				t.Errorf("links %s", dep)
			}
		}
	}
	binary := filepath.Join(t.TempDir(), "millrace-stage")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("binary: %.1f MB", float64(info.Size())/1e6)
	if info.Size() > 8e6 {
		t.Errorf("binary has %d bytes; look at what it links", info.Size())
	}
}
