package systemtest

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/workspace"
	"millrace/workspace/reqdir"
)

// TestBench is the end-to-end program behind `make bench`: whole processes, a no-op agent, and queues
// of growing length. It prints what docs/performance.md reports and asserts nothing about time.
// MILLRACE_BENCH=short is its size for CI: it shows that everything is measured, not how fast it is.
func TestBench(t *testing.T) {
	if os.Getenv("MILLRACE_BENCH") == "" {
		t.Log("runs under make bench only: its figures mean nothing on a busy machine")
		return
	}
	queues, many := []int{10, 1_000, 10_000}, 100_000
	if os.Getenv("MILLRACE_BENCH") == "short" {
		queues, many = []int{10, 200}, 1_000
	}
	for _, queued := range queues {
		t.Run(fmt.Sprint(queued), func(t *testing.T) { benchQueue(t, queued) })
	}
	t.Run("burst", benchBurst)
	t.Run(fmt.Sprintf("readers at %d", many), func(t *testing.T) {
		p := newProject(t)
		p.fill(many)
		p.readers()
	})
}

// benchSize reads how much is measured from the environment, or takes the long or the short size.
func benchSize(name string, long, short int) int {
	if os.Getenv("MILLRACE_BENCH") == "short" {
		long = short
	}
	return size(name, long)
}

// fill queues n tasks that cannot start: they wait for one that never comes.
func (p *project) fill(n int) {
	p.t.Helper()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "---\n%s", task(fmt.Sprintf("wait-%06d", i), "depends_on: [never]"))
		if (i+1)%500 == 0 || i == n-1 {
			p.drop(fmt.Sprintf("wait/%06d.yaml", i), b.String())
			b.Reset()
		}
	}
	began := time.Now()
	p.untilIdle()
	report(p.t, fmt.Sprintf("admit %d tasks, from files to idle", n), time.Since(began))
}

func benchQueue(t *testing.T, queued int) {
	p := newProject(t)
	p.fill(queued)
	p.startUp("with the snapshot")
	if err := os.Remove(p.path("millrace-agents/state/snapshot")); err != nil {
		t.Fatal(err)
	}
	daemon := p.startUp("without the snapshot")

	rounds := benchSize("MILLRACE_BENCH_DROPS", 100, 5)
	from := time.Now()
	report(t, "drop by rename → agent started", p.dropLatency("moved", rounds, 0)...)
	report(t, "prepared elsewhere, moved in → agent started", p.dropLatency("old", rounds, 200*time.Millisecond)...)
	report(t, "written in place → agent started", p.writeLatency("written", rounds)...)
	p.stages(from)
	p.syncs(daemon.Process.Pid)

	time.Sleep(10 * time.Second)
	idle := time.Duration(benchSize("MILLRACE_BENCH_IDLE", 60, 3)) * time.Second
	cpu, writes, wakes := cpuTime(t, daemon.Process.Pid), stored(t, daemon.Process.Pid), switches(t, daemon.Process.Pid)
	time.Sleep(idle)
	used := cpuTime(t, daemon.Process.Pid) - cpu
	t.Logf("%-50s %.4f %% CPU, %d bytes written, %d wake-ups", fmt.Sprintf("idle over %s", idle), 100*used.Seconds()/idle.Seconds(),
		stored(t, daemon.Process.Pid)-writes, switches(t, daemon.Process.Pid)-wakes)
	t.Logf("%-50s %d MB", "resident memory", residentMB(t, daemon.Process.Pid))
	stopDaemon(t, daemon)
	p.readers()
}

// startUp measures a start with one task waiting: until the daemon says in the journal that it runs,
// and until that task's agent runs.
func (p *project) startUp(how string) *exec.Cmd {
	id := "first-" + strings.Fields(how)[0]
	p.drop(id+".yaml", task(id))
	began := time.Now()
	daemon := p.startDaemon()
	p.eventually(id+" is done", func() bool { return p.isDone(id) })
	for _, rec := range p.records() {
		for _, e := range rec.Events {
			if e.Type == workspace.EvDaemon && rec.Time.After(began) {
				report(p.t, "start-up "+how+" → daemon.started", rec.Time.Sub(began))
			}
		}
	}
	report(p.t, "start-up "+how+" → agent of a waiting task", p.startOf(id).Sub(began))
	if how != "without the snapshot" {
		stopDaemon(p.t, daemon)
	}
	return daemon
}

func (p *project) isDone(id string) bool {
	_, err := os.Stat(p.path("millrace-agents/tasks/done", id+".md"))
	return err == nil
}

// benchBurst measures the validation of 10,000 documents, each a file of its own.
func benchBurst(t *testing.T) {
	p := newProject(t)
	n := benchSize("MILLRACE_BENCH_BURST", 10_000, 500)
	for i := range n {
		p.write(fmt.Sprintf("millrace-agents/intake/tasks/burst-%06d.md", i), fmt.Sprintf("# Task %d\n\nTask-ID: burst-%06d\nAcceptance: it is done\nDepends-On: never\n", i, i))
	}
	time.Sleep(time.Second)
	began := time.Now()
	p.must("validate")
	report(t, fmt.Sprintf("validate %d files", n), time.Since(began))
	began = time.Now()
	p.untilIdle()
	report(t, fmt.Sprintf("admit %d files", n), time.Since(began))
}

func (p *project) readers() {
	for _, args := range [][]string{{"version"}, {"status"}, {"queue", "ls"}, {"queue", "ls", "-o", "json"}} {
		var took []time.Duration
		for range 11 {
			began := time.Now()
			p.must(args...)
			took = append(took, time.Since(began))
		}
		report(p.t, "millrace "+strings.Join(args, " "), took...)
	}
}

// dropLatency drops one task after the other into an idle daemon and reads, from the agent's own log,
// when it was started. Files are left to age before they are moved in.
func (p *project) dropLatency(name string, rounds int, age time.Duration) []time.Duration {
	return p.latency(name, rounds, func(id string) time.Time {
		tmp := p.path("millrace-agents", "intake", "."+id+".tmp")
		p.ok(os.WriteFile(tmp, []byte(task(id)), 0o644))
		time.Sleep(age)
		began := time.Now()
		p.ok(os.Rename(tmp, p.path("millrace-agents", "intake", id+".yaml")))
		return began
	})
}

// writeLatency writes each file where it is watched, as an editor without a rename does: it has to
// settle.
func (p *project) writeLatency(name string, rounds int) []time.Duration {
	return p.latency(name, rounds, func(id string) time.Time {
		p.ok(os.WriteFile(p.path("millrace-agents", "intake", id+".yaml"), []byte(task(id)), 0o644))
		return time.Now()
	})
}

func (p *project) latency(name string, rounds int, drop func(id string) time.Time) []time.Duration {
	var took []time.Duration
	for i := range rounds {
		id := fmt.Sprintf("%s-%03d", name, i)
		began := drop(id)
		p.eventually(id+" is done", func() bool { return p.isDone(id) })
		took = append(took, p.startOf(id).Sub(began))
	}
	return took
}

func (p *project) ok(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// startOf is when the agent of a task's first stage noted its start.
func (p *project) startOf(id string) time.Time {
	for _, l := range p.log() {
		if l.what == "start" && l.item == "task/"+id {
			return l.at
		}
	}
	p.t.Fatalf("%s never started", id)
	return time.Time{}
}

type logged struct {
	what, request string
	at            time.Time
	item, stage   string
}

func (p *project) log() []logged {
	data, err := os.ReadFile(p.path("agent", "log"))
	if err != nil {
		p.t.Fatal(err)
	}
	var all []logged
	for line := range strings.Lines(string(data)) {
		w := strings.Fields(line)
		ns, err := strconv.ParseInt(w[2], 10, 64)
		if err != nil {
			p.t.Fatal(err)
		}
		all = append(all, logged{w[0], w[1], time.Unix(0, ns), w[3], w[4]})
	}
	return all
}

// stages tells, by stage, what it costs beside its agent's own work, and on what the time is spent:
// the journal, the agent's log and the completions say when each part ended.
func (p *project) stages(from time.Time) {
	agent := map[string]map[string]time.Time{"start": {}, "end": {}}
	for _, l := range p.log() {
		agent[l.what][l.request] = l.at
	}
	wanted := map[string]time.Time{}
	parts := map[string][]time.Duration{}
	add := func(stage, part string, d time.Duration) {
		name := fmt.Sprintf("stage %s, %s", stage, part)
		parts[name] = append(parts[name], d)
	}
	for _, rec := range p.records() {
		for _, e := range rec.Events {
			switch {
			case e.Type == workspace.EvStarted:
				wanted[e.Request] = rec.Time
			case e.Type == workspace.EvFinished && wanted[e.Request].After(from):
				c, err := reqdir.ReadCompletion(p.path("millrace-agents", workspace.RequestDir(e.Run, e.Request)))
				p.ok(err)
				start, end := agent["start"][e.Request], agent["end"][e.Request]
				add(e.Stage, "1 decided → agent forked", c.Started.Sub(wanted[e.Request]))
				add(e.Stage, "2 forked → agent's first line", start.Sub(c.Started))
				add(e.Stage, "3 agent's last line → completion", c.Ended.Sub(end))
				add(e.Stage, "4 completion → result decided", rec.Time.Sub(c.Ended))
				add(e.Stage, "all but the agent's work", rec.Time.Sub(wanted[e.Request])-end.Sub(start))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		report(p.t, name, parts[name]...)
	}
}

// syncs counts the calls that wait for the disk while one task goes through its stages, by strace where
// it is installed: a drop, three stages and their checkpoint.
func (p *project) syncs(pid int) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		p.t.Log("fsyncs of a task: strace is not installed, not counted")
		return
	}
	time.Sleep(5 * time.Second) // the checkpoint of the work before
	out := p.path("agent", "strace")
	cmd := exec.Command(strace, "-f", "-qq", "-e", "trace=fsync,fdatasync,syncfs", "-o", out, "-p", fmt.Sprint(pid))
	p.ok(cmd.Start())
	time.Sleep(time.Second)
	p.dropLatency("syncs", 1, 0)
	time.Sleep(5 * time.Second)
	p.ok(cmd.Process.Signal(syscall.SIGINT))
	_ = cmd.Wait() // ended by our signal
	data, err := os.ReadFile(out)
	p.ok(err)
	counts := map[string]int{}
	for _, call := range []string{"fsync(", "fdatasync(", "syncfs("} {
		counts[strings.TrimSuffix(call, "(")] = strings.Count(string(data), " "+call)
	}
	starts := 0
	for _, l := range p.log() {
		if l.what == "start" && strings.HasPrefix(l.item, "task/syncs-") {
			starts++
		}
	}
	p.t.Logf("%-50s %v", fmt.Sprintf("one task, %d stages, checkpoint", starts), counts)
}

func report(t testing.TB, what string, took ...time.Duration) {
	slices.Sort(took)
	at := func(q float64) time.Duration { return took[int(q*float64(len(took)-1))].Round(10 * time.Microsecond) }
	if len(took) == 0 {
		t.Fatalf("%s: nothing measured", what)
	}
	if len(took) == 1 {
		t.Logf("%-50s %v", what, at(0))
		return
	}
	t.Logf("%-50s median %v, p99 %v, n %d", what, at(0.5), at(0.99), len(took))
}

func stopDaemon(t testing.TB, cmd *exec.Cmd) {
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

// switches counts how often the threads of a process have gone to sleep by themselves: its wake-ups.
func switches(t testing.TB, pid int) (n int) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has ended
		}
		for line := range strings.Lines(string(data)) {
			var own int
			if _, err := fmt.Sscanf(line, "voluntary_ctxt_switches: %d", &own); err == nil {
				n += own
			}
		}
	}
	return n
}

// cpuTime is what the threads of a process have used of the processors, to the nanosecond.
func cpuTime(t testing.TB, pid int) (used time.Duration) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		var ns int64
		data, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has ended
		}
		if _, err := fmt.Sscan(string(data), &ns); err != nil {
			t.Fatal(err)
		}
		used += time.Duration(ns)
	}
	return used
}

// stored counts the bytes that a process has caused to be written to a disk. (Its write calls would
// count the eight bytes with which the Go runtime wakes itself.)
func stored(t testing.TB, pid int) (n int64) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if _, err := fmt.Sscanf(line, "write_bytes: %d", &n); err == nil {
			return n
		}
	}
	t.Fatal("no write_bytes in /proc io")
	return 0
}

func residentMB(t testing.TB, pid int) int {
	data, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var kb int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err == nil {
			return kb / 1024
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
