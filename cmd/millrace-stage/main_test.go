package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"millrace/schema"
	"millrace/workspace/reqdir"
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
	supervise(t, binary)
}

// supervise has the binary run a request whose agent is the program millrace beside it.
func supervise(t *testing.T, binary string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "millrace-agents", "runs", "run-1", "req-1")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		filepath.Join(dir, schema.PromptFile):           "work\n",
		filepath.Join(filepath.Dir(binary), "millrace"): "#!/bin/sh\necho \"### DONE\"\n",
		filepath.Join(dir, schema.RequestFile): `{"schema_version": 1, "request": "req-1", "run": "run-1", "stage": "build",
			"item": "task/a", "outcomes": ["BLOCKED", "DONE"], "timeout": "1m", "stall_timeout": "1m",
			"runner": {"name": "beside", "adapter": "command", "run": ["{{millrace}}"]}}`,
	}
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(binary, dir).CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("supervisor: %v: %s", err, out)
	}
	c, err := reqdir.ReadCompletion(dir)
	if err != nil || c.Exit != schema.ExitCompleted || c.Claim == nil || c.Claim.Outcome != "DONE" {
		t.Errorf("completion %+v, %v", c, err)
	}
}
