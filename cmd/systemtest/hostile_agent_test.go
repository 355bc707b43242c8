package systemtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/schema"
)

// shellAgent lets a script do the work of every stage. It runs in the project folder.
func (p *project) shellAgent(script, config string) {
	p.t.Helper()
	p.write("agent.sh", "#!/bin/bash\n"+script)
	check(p.t, os.Chmod(p.path("agent.sh"), 0o755))
	p.write("millrace-agents/millrace.cue", fmt.Sprintf(testConfig, "./agent.sh")+config)
}

// What an agent leaves is read as carefully as what a stranger drops.
func TestHostileAgent(t *testing.T) {
	const summary = `"$MILLRACE_REQUEST_DIR"/builder_summary.md`
	const done = "\necho '### BUILDER_COMPLETE'\n"
	for name, c := range map[string]struct{ script, failure string }{ // failure: "" none, "*" any or none
		"artifact is a FIFO":        {"mkfifo " + summary + done, schema.FailMissingArtifact},
		"artifact is a folder":      {"mkdir " + summary + done, schema.FailMissingArtifact},
		"artifact is a link out":    {"ln -s \"$PWD\"/../outside.md " + summary + done, schema.FailMissingArtifact},
		"request folder is gone":    {`rm -rf "$MILLRACE_REQUEST_DIR"` + done, schema.FailSupervisorLost},
		"lock is replaced":          {`echo x > ` + summary + `; cd "$MILLRACE_REQUEST_DIR"; rm -f supervisor.lock; mkfifo supervisor.lock; sleep 1` + done, "*"},
		"protocol is replaced":      {`cd "$MILLRACE_REQUEST_DIR"; for f in request.json stdout.txt ending completion.json; do rm -rf $f; mkfifo $f; done` + done, "*"},
		"request is rewritten":      {"echo x > " + summary + `; echo '{}' > "$MILLRACE_REQUEST_DIR"/request.json` + done, ""},
		"output has no end":         {"echo x > " + summary + "; head -c 30000000 /dev/zero; echo" + done, ""},
		"output is one long line":   {"echo x > " + summary + "; head -c 30000000 /dev/zero | tr '\\0' x; echo" + done, ""},
		"all outcomes at once":      {"grep -o '### [A-Z_]*'" + done, schema.FailConflicting},
		"outbox of links and pipes": {"echo x > " + summary + `; cd "$MILLRACE_REQUEST_DIR" && mkdir -p outbox && cd outbox && ln -s /etc/passwd a.yaml && mkfifo b.yaml && head -c 5000000 /dev/urandom > c.yaml` + done, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProjectIn(t, filepath.Join(t.TempDir(), "project"))
			check(t, os.WriteFile(filepath.Join(p.dir, "..", "outside.md"), []byte("a secret from outside"), 0o644))
			p.shellAgent(c.script, "")
			p.drop("tasks/a.yaml", task("a"))
			p.must("run", "daemon", "--max-ticks", "1")
			it := p.item("task", "a")
			if it.Last == nil || it.Last.Failure != c.failure && c.failure != "*" {
				t.Errorf("the stage ended with %+v, want failure %q", it.Last, c.failure)
			}
			t.Logf("%s", p.must("describe", "a"))
			p.must("status")
			if !strings.Contains(name, "request") && !strings.Contains(name, "protocol") { // which verify is to find
				p.must("verify")
			}
			p.must("run", "daemon", "--max-ticks", "1") // the next stage is shown what this one left
			err := filepath.Walk(p.path("millrace-agents"), func(path string, info os.FileInfo, err error) error {
				if err != nil || !info.Mode().IsRegular() {
					return err
				}
				if info.Size() > 16<<20 {
					t.Errorf("%s takes %d bytes", path, info.Size())
				}
				data, err := os.ReadFile(path)
				if strings.Contains(string(data), "a secret from outside") {
					t.Errorf("%s tells what lies outside", path)
				}
				return err
			})
			check(t, err)
		})
	}
}
