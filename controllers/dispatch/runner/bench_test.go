package runner

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"millrace/schema"
	"millrace/workspace/reqdir"
)

// stageBinary builds the real supervisor.
func stageBinary(b *testing.B) string {
	b.Helper()
	binary := filepath.Join(b.TempDir(), binaryName)
	if out, err := exec.Command("go", "build", "-trimpath", "-o", binary, "millrace/cmd/millrace-stage").CombinedOutput(); err != nil {
		b.Fatalf("build: %v: %s", err, out)
	}
	return binary
}

// BenchmarkRefusal is the start of a supervisor that finds its request spent: the price of its being a
// process.
func BenchmarkRefusal(b *testing.B) {
	binary := stageBinary(b)
	w := newBench(b, "")
	w.command()
	w.write(filepath.Join(w.dir, schema.StartedFile), "")
	for b.Loop() {
		if out, err := exec.Command(binary, w.dir).CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
}

// BenchmarkNoOpAgent is a whole request whose agent does nothing but end well.
func BenchmarkNoOpAgent(b *testing.B) {
	binary := stageBinary(b)
	for b.Loop() {
		b.StopTimer()
		w := newBench(b, `echo "### DONE"`)
		w.command()
		b.StartTimer()
		if out, err := exec.Command(binary, w.dir).CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
}

// BenchmarkMemory reports what a supervisor holds while its agent works, in KiB: resident, and of
// that its own (the rest is the binary's pages, shared by all supervisors).
func BenchmarkMemory(b *testing.B) {
	binary := stageBinary(b)
	for b.Loop() {
		w := newBench(b, `yes | head -c 100000000; sleep 1; grep -E "^(VmRSS|RssAnon)" /proc/$PPID/status > $MILLRACE_REQUEST_DIR/memory; echo "### DONE"`)
		w.command()
		if out, err := exec.Command(binary, w.dir).CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		var resident, anonymous float64
		for line := range strings.Lines(w.read("memory")) {
			_, _ = fmt.Sscanf(line, "VmRSS: %f kB", &resident)
			_, _ = fmt.Sscanf(line, "RssAnon: %f kB", &anonymous)
		}
		b.ReportMetric(resident, "KiB-resident")
		b.ReportMetric(anonymous, "KiB-own")
	}
}

// BenchmarkTreeDigest is what the digest of a small working tree adds to a stage that may write it: once
// before the agent, once behind it.
func BenchmarkTreeDigest(b *testing.B) {
	w := newBench(b, "")
	w.command()
	w.write(filepath.Join(w.project, "a"), "1\n")
	git(b, w.project, "init", "-q")
	git(b, w.project, "add", "a")
	git(b, w.project, "commit", "-qm", "start")
	for b.Loop() {
		s, err := newSupervisor(w.dir, &w.request, reqdir.Grace, func(string) {})
		if err != nil {
			b.Fatal(err)
		}
		for range 2 {
			if digest, err := s.tree.Digest(b.Context()); err != nil || digest == "" {
				b.Fatal(digest, err)
			}
		}
		s.close()
	}
}
