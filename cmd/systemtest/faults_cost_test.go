package systemtest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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

// counters are what the kernel has counted for a process so far, its children left out.
type counters struct {
	reads, bytes int // read system calls, and what they gave
	wakes        int // times a thread of it began to run again after waiting
}

func countersOf(t *testing.T, pid int) (c counters) {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	check(t, err)
	for _, thread := range threads {
		for _, name := range []string{"io", "status"} {
			data, err := os.ReadFile(filepath.Join(thread, name))
			check(t, err)
			for line := range strings.Lines(string(data)) {
				var n int
				if _, err := fmt.Sscanf(line, "syscr: %d", &n); err == nil {
					c.reads += n
				} else if _, err := fmt.Sscanf(line, "rchar: %d", &n); err == nil {
					c.bytes += n
				} else if _, err := fmt.Sscanf(line, "voluntary_ctxt_switches: %d", &n); err == nil {
					c.wakes += n
				}
			}
		}
	}
	if c.reads == 0 || c.wakes == 0 {
		t.Fatalf("the kernel counts nothing for process %d: %+v", pid, c)
	}
	return c
}

// Hints bring the work forward, however far away the rescan is; and without any, nothing wakes.
func TestFaultPolling(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.write("millrace-agents/millrace.cue", strings.Replace(fmt.Sprintf(testConfig, agentBin), "runtime: {", `runtime: {rescan: "1h", `, 1))
	daemon := p.startDaemon()
	p.eventually("the daemon runs", p.daemonRuns)
	p.drop("tasks/a.yaml", task("a"))
	p.eventually("a is done", func() bool { return p.stateIs("task", "a", schema.StateDone) })
	time.Sleep(3 * time.Second) // the checkpoint after work
	before := countersOf(t, daemon.Process.Pid)
	time.Sleep(4 * time.Second)
	after := countersOf(t, daemon.Process.Pid)
	if n := after.wakes - before.wakes; n > 20 { // polling every 250 ms would make 16 rounds of several each
		t.Errorf("an idle daemon woke %d times in four seconds", n)
	}
	if n := after.reads - before.reads; n > 0 {
		t.Errorf("an idle daemon made %d read calls in four seconds", n)
	}
	p.must("control", "pause", "--reason", "test") // what a command commits is a hint as well
	p.drop("tasks/b.yaml", task("b"))
	p.eventually("b is queued", func() bool { return p.stateIs("task", "b", schema.StateQueue) })
	p.must("control", "resume")
	p.eventually("b is done", func() bool { return p.stateIs("task", "b", schema.StateDone) })
}

// A stage costs the same number of reads, whatever is queued behind it.
func TestFaultWholeQueueIsReread(t *testing.T) {
	t.Parallel()
	cost := func(queued int) counters {
		p := newProject(t)
		var b strings.Builder
		for i := range queued {
			fmt.Fprintf(&b, "---\n%s", task(fmt.Sprintf("wait-%04d", i), "depends_on: [never]"))
			if i%100 == 99 || i == queued-1 {
				p.drop(fmt.Sprintf("wait/%04d.yaml", i), b.String())
				b.Reset()
			}
		}
		daemon := p.startDaemon()
		p.eventually("all are queued", func() bool { return p.state().Count("task", schema.StateQueue) == queued })
		p.drop("tasks/first.yaml", task("first")) // what is done once is done by now
		p.eventually("first is done", func() bool { return p.stateIs("task", "first", schema.StateDone) })
		time.Sleep(2 * time.Second)
		before := countersOf(t, daemon.Process.Pid)
		const tasks = 8
		for i := range tasks {
			p.drop(fmt.Sprintf("tasks/t%d.yaml", i), task(fmt.Sprintf("t%d", i)))
		}
		p.eventually("all are done", func() bool { return p.state().Count("task", schema.StateDone) == tasks+1 })
		after := countersOf(t, daemon.Process.Pid)
		return counters{reads: (after.reads - before.reads) / (3 * tasks), bytes: (after.bytes - before.bytes) / (3 * tasks)}
	}
	few, many := cost(10), cost(1000)
	t.Logf("a stage with 10 queued: %d reads, %d bytes; with 1000 queued: %d reads, %d bytes", few.reads, few.bytes, many.reads, many.bytes)
	if many.reads > few.reads+few.reads/5 || many.bytes > few.bytes+few.bytes/5 {
		t.Error("a stage reads more when more is queued")
	}
}

// What a stage leaves in memory and in the journal does not grow, and what follows the journal reads
// on from where it was.
func TestFaultMemoryAndLogsGrowWithEveryStage(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.env = append(p.env, "GODEBUG=gctrace=1", "GOGC=25")
	cmd := p.command("run", "daemon", "--monitor", "json")
	var trace bytes.Buffer
	cmd.Stderr = &trace
	check(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	journal := func() int {
		files, err := filepath.Glob(p.path("millrace-agents/state/journal/*"))
		check(t, err)
		n := 0
		for _, f := range files {
			n += int(mustSize(t, f))
		}
		return n
	}
	type sample struct{ journal, read int }
	const tasks, stages = 14, 42
	var samples []sample
	for batch := range 3 {
		j, r := journal(), 0
		if batch > 0 {
			r = countersOf(t, cmd.Process.Pid).bytes
		}
		for i := range tasks {
			p.drop(fmt.Sprintf("tasks/t%d-%02d.yaml", batch, i), task(fmt.Sprintf("t%d-%02d", batch, i)))
		}
		p.eventually("a batch is done", func() bool { return p.state().Count("task", schema.StateDone) == tasks*(batch+1) })
		time.Sleep(1500 * time.Millisecond)
		samples = append(samples, sample{(journal() - j) / stages, (countersOf(t, cmd.Process.Pid).bytes - r) / stages})
	}
	check(t, cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait()
	live := liveHeap(trace.String())
	t.Logf("for a stage of each batch: %+v; heap in use after each collection %v MB", samples, live)
	first, last := samples[1], samples[2]
	if last.journal > first.journal+first.journal/5 {
		t.Errorf("the journal grows by %d bytes a stage, at first by %d", last.journal, first.journal)
	}
	// A thread that ends takes its count with it, so one batch may seem to read too little. The first one
	// counts the start as well, and yet far less than reading the journal from its beginning would cost.
	if early := max(samples[0].read, first.read); last.read > early+early/5 {
		t.Errorf("a stage reads %d bytes, at first %d", last.read, early)
	}
	if early, late := live[len(live)/4], live[len(live)-1]; late > early+4 { // 76 KiB a stage would be more than 6 MB
		t.Errorf("the heap grew from %d to %d MB over %d stages", early, late, 2*stages)
	}
}

// liveHeap lists the megabytes in use after each garbage collection.
func liveHeap(trace string) (mb []int) {
	for line := range strings.Lines(trace) {
		if _, sizes, ok := strings.Cut(line, " cpu, "); ok && strings.HasPrefix(line, "gc ") {
			var before, during, after int
			if _, err := fmt.Sscanf(sizes, "%d->%d->%d MB", &before, &during, &after); err == nil {
				mb = append(mb, after)
			}
		}
	}
	return mb
}

// A garbage collection comes with every few megabytes that are allocated; to compile the schemas takes
// tens of them.
func TestFaultVersionCompilesSchemas(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.env = append(p.env, "GODEBUG=gctrace=1")
	collections := func(args ...string) int {
		_, _, stderr := p.run(args...)
		return len(liveHeap(stderr))
	}
	if n := collections("compile", "validate"); n < 4 {
		t.Fatalf("only %d collections where schemas are compiled: this test shows nothing", n)
	}
	for _, args := range [][]string{{"version"}, {"--version"}, {"help"}, {"lock", "status"}, {"queue", "ls"}} {
		if n := collections(args...); n > 1 {
			t.Errorf("%v took %d garbage collections", args, n)
		}
	}
}
