package systemtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestBench is the end-to-end program behind `make bench`: whole processes, a no-op agent, and queues
// of growing length. It prints a table for docs/performance.md and asserts nothing about time.
func TestBench(t *testing.T) {
	if os.Getenv("MILLRACE_BENCH") == "" {
		t.Log("runs under make bench only: its figures mean nothing on a busy machine")
		return
	}
	for _, queued := range []int{10, 1_000, 10_000} {
		t.Run(fmt.Sprint(queued), func(t *testing.T) { benchQueue(t, queued) })
	}
	t.Run("readers at 100000", func(t *testing.T) {
		p := newProject(t)
		p.fill(100_000)
		p.readers()
	})
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

	began := time.Now()
	daemon := p.startDaemon()
	p.waitRunning()
	report(t, "start-up with the snapshot", time.Since(began))
	stopDaemon(t, daemon)
	if err := os.Remove(p.path("millrace-agents/state/snapshot")); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	daemon = p.startDaemon()
	p.waitRunning()
	report(t, "start-up without the snapshot", time.Since(began))

	time.Sleep(3 * time.Second)
	rounds := size("MILLRACE_BENCH_DROPS", 40)
	report(t, "drop by rename → agent started", p.dropLatency("moved", rounds, 0)...)
	report(t, "prepared elsewhere, moved in → agent started", p.dropLatency("old", rounds, 200*time.Millisecond)...)
	report(t, "one stage with a no-op agent, start to start", p.stageGaps()...)

	time.Sleep(10 * time.Second)
	idle := time.Duration(size("MILLRACE_BENCH_IDLE", 60)) * time.Second
	cpu, writes := cpuTime(t, daemon.Process.Pid), written(t, daemon.Process.Pid)
	time.Sleep(idle)
	used := cpuTime(t, daemon.Process.Pid) - cpu
	t.Logf("%-50s %.3f %% CPU, %d write calls", fmt.Sprintf("idle over %s", idle), 100*used.Seconds()/idle.Seconds(), written(t, daemon.Process.Pid)-writes)
	t.Logf("%-50s %d MB", "resident memory", residentMB(t, daemon.Process.Pid))
	stopDaemon(t, daemon)
	p.readers()
}

func (p *project) readers() {
	for _, args := range [][]string{{"version"}, {"status"}, {"queue", "ls"}} {
		var took []time.Duration
		for range 11 {
			began := time.Now()
			p.must(args...)
			took = append(took, time.Since(began))
		}
		report(p.t, "millrace "+strings.Join(args, " "), took...)
	}
}

func (p *project) waitRunning() {
	for i := 0; ; i++ {
		if len(p.processes("millrace")) > 0 && p.lockHeld() {
			return
		}
		if i > 60_000 {
			p.t.Fatal("the daemon never ran")
		}
		time.Sleep(time.Millisecond)
	}
}

// lockHeld asks the kernel whether a daemon of this workspace holds its lock.
func (p *project) lockHeld() bool {
	f, err := os.OpenFile(p.path("millrace-agents/state/daemon.lock"), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil
}

// dropLatency drops one task after the other into an idle daemon and reads, from the agent's own log,
// when it was started. Files are left to age before they are moved in.
func (p *project) dropLatency(name string, rounds int, age time.Duration) []time.Duration {
	var took []time.Duration
	for i := range rounds {
		id := fmt.Sprintf("%s-%03d", name, i)
		tmp := p.path("millrace-agents", "intake", "."+id+".tmp")
		check(p.t, os.WriteFile(tmp, []byte(task(id)), 0o644))
		time.Sleep(age)
		began := time.Now()
		check(p.t, os.Rename(tmp, p.path("millrace-agents", "intake", id+".yaml")))
		p.eventually(id+" is done", func() bool {
			_, err := os.Stat(p.path("millrace-agents/tasks/done", id+".md"))
			return err == nil
		})
		for _, l := range p.log() {
			if l.what == "start" && l.item == "task/"+id {
				took = append(took, l.at.Sub(began))
				break
			}
		}
	}
	return took
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

// stageGaps is what a stage costs beside its agent's own time: from one agent's end to the next
// agent's start within the same item.
func (p *project) stageGaps() []time.Duration {
	var gaps []time.Duration
	var end logged
	for _, l := range p.log() {
		if l.what == "start" && end.item == l.item {
			gaps = append(gaps, l.at.Sub(end.at))
		}
		if l.what == "end" {
			end = l
		}
	}
	return gaps
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

func cpuTime(t testing.TB, pid int) time.Duration {
	data, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "stat"))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	var ticks int64
	for _, s := range f[11:13] {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100 on Linux
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
