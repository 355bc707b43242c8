package systemtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/schema"
)

func TestFaultOwnWritesWakeTheReconciler(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.drop("tasks/a.yaml", task("a"))
	daemon := p.startDaemon()
	p.eventually("a is done", func() bool { return p.stateIs("task", "a", schema.StateDone) })
	time.Sleep(4 * time.Second) // whatever the end of the work stirred up settles
	before := written(t, daemon.Process.Pid)
	files := listing(t, p.path("millrace-agents"))
	time.Sleep(3 * time.Second)
	if after := written(t, daemon.Process.Pid); after != before {
		t.Errorf("an idle daemon made %d write calls in three seconds", after-before)
	}
	if now := listing(t, p.path("millrace-agents")); now != files {
		t.Errorf("an idle daemon changed the workspace:\n%s\n%s", files, now)
	}
}

// written counts the write system calls that a process has made.
func written(t *testing.T, pid int) (calls int) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if _, err := fmt.Sscanf(line, "syscw: %d", &calls); err == nil {
			return calls
		}
	}
	t.Fatal("no syscw in /proc io")
	return 0
}

func listing(t *testing.T, dir string) string {
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, path, info.Size(), info.ModTime().UnixNano())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
