package systemtest

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/schema"
	"millrace/workspace"
	"millrace/workspace/reqdir"
)

// A campaign is eight ideas dropped at once, and all that comes of them until every root is closed, by agents that
// take no time: testdata/campaign/script says what happens. What must come of it is exact, whatever the machine, and
// whoever is killed on the way.
var (
	campaignItems = map[string]int{"spec": 11, "task": 57, "incident": 5, "learning_request": 10, "closure_target": 8}
	campaignCalls = map[string]int{
		"builder": 60, "checker": 58, "updater": 58, "fixer": 8, "doublechecker": 8, "troubleshooter": 2,
		"planner": 18, "manager": 16, "arbiter": 11, "auditor": 5, "mechanic": 4,
		"curator": 8, "analyst": 3, "professor": 2,
	}
	campaignStates = map[string]int{
		"spec/done": 11, "task/done": 55, "task/superseded": 2, "incident/done": 5, "learning_request/done": 10, "closure_target/done": 8,
	}
)

// Three tasks run twice, as they ran out of time.
const (
	campaignIdeas   = 8
	campaignResults = 261
	campaignRuns    = 97
)

// TestCampaign runs the campaign once and counts; under make campaign it tells what that costs, once, ten
// times as much, and with the daemon killed every second. CAMPAIGN_SCALE=100 makes it one hundred times as much.
func TestCampaign(t *testing.T) {
	if os.Getenv("MILLRACE_CAMPAIGN") == "" {
		t.Parallel()
		c := newCampaign(t, 1, 3*time.Second)
		c.untilClosed()
		c.count()
		return
	}
	const nap = 500 * time.Millisecond
	t.Run("×1", func(t *testing.T) { newCampaign(t, 1, nap).measure() })
	scale := size("CAMPAIGN_SCALE", 10)
	t.Run(fmt.Sprintf("×%d", scale), func(t *testing.T) { newCampaign(t, scale, nap).measure() })
	t.Run("×1, killed every second", func(t *testing.T) {
		c := newCampaign(t, 1, nap)
		kills := c.killedUntilClosed(time.Second)
		t.Logf("the daemon was killed %d times", kills)
		c.count()
	})
}

type campaign struct {
	*project
	scale int
	nap   time.Duration // after which an agent that fell asleep is ended; longer than one that works ever takes
	used  usage
}

// usage is what the processes of a campaign took.
type usage struct {
	wall, daemon, all time.Duration // all: with supervisors, agents, checks and git
	peakKB            int
	by                []sample
}

// A sample is the processor time that the daemon had used at a time.
type sample struct {
	at   time.Time
	used time.Duration
}

const campaignConfig = `runtime: default_mode: "campaign"
runners: agent: {adapter: "command", run: [%q], prompt: "stdin"}
stages: updater: timeout: %q
auto_recovery: cooldowns: ["1ms"]
checks: from_agents: "allow"
`

func newCampaign(t testing.TB, scale int, nap time.Duration) *campaign {
	t.Helper()
	c := &campaign{project: newProject(t), scale: scale, nap: nap}
	agent := c.path("bin/agent")
	c.mkdir("bin")
	if out, err := exec.Command("go", "build", "-o", agent, "./testdata/campaign/agent").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	check(t, os.CopyFS(c.path("campaign"), os.DirFS("testdata/campaign/millrace-agents")))
	for _, name := range []string{"graphs/campaign.cue", "modes/campaign.cue"} {
		check(t, os.Rename(c.path("campaign", name), c.path("millrace-agents", name)))
	}
	script, err := os.ReadFile("testdata/campaign/script")
	check(t, err)
	c.write("agent/script", string(script))
	c.mkdir("agent/visits")
	c.write(".gitignore", "/agent/\n/bin/\n/campaign/\n")
	c.write("millrace-agents/millrace.cue", fmt.Sprintf(campaignConfig, agent, nap))
	for i := range campaignIdeas * scale {
		c.drop(fmt.Sprintf("ideas/i%04d.md", i), fmt.Sprintf("# Idea %d\n\nMake it so.\n", i))
	}
	return c
}

// untilClosed runs the daemon until nothing is left to do.
func (c *campaign) untilClosed() {
	c.t.Helper()
	cmd := c.command("run", "daemon", "--until", "closed")
	out := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = out, out
	began := time.Now()
	c.ok(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	deadline := time.After(time.Duration(c.scale) * 5 * time.Minute)
	for {
		select {
		case err := <-ended:
			c.used.wall = time.Since(began)
			c.used.all = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			if err != nil {
				c.t.Fatalf("run daemon: %v\n%s", err, out)
			}
			return
		case <-deadline:
			_, why, _ := c.run("why")
			c.t.Fatalf("the campaign does not end:\n%s\n%s", out, why)
		case <-time.After(50 * time.Millisecond):
			c.sample(cmd.Process.Pid)
		}
	}
}

// sample reads what the daemon alone has used by now.
func (c *campaign) sample(pid int) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return // it has ended
	}
	for line := range strings.Lines(string(data)) {
		var kb int
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kb); err == nil {
			c.used.peakKB = max(c.used.peakKB, kb)
		}
	}
	if used := cpuTime(c.t, pid); used > c.used.daemon {
		c.used.daemon = used
		c.used.by = append(c.used.by, sample{time.Now(), used})
	}
}

// usedBy is the processor time that the daemon had used at a time, or soon after.
func (u *usage) usedBy(at time.Time) time.Duration {
	i := slices.IndexFunc(u.by, func(s sample) bool { return !s.at.Before(at) })
	if i < 0 {
		return u.daemon
	}
	return u.by[i].used
}

// killedUntilClosed kills the daemon again and again until one of them has nothing left to do, and counts the kills.
func (c *campaign) killedUntilClosed(life time.Duration) (kills int) {
	c.t.Helper()
	killed := 0
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); {
		cmd := c.command("run", "daemon", "--until", "closed")
		out := &strings.Builder{}
		cmd.Stdout, cmd.Stderr = out, out
		c.ok(cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			switch {
			case err == nil:
				return kills
			case cmd.ProcessState.ExitCode() == 6 && strings.Contains(out.String(), fmt.Sprintf("(process %d on", killed)):
				time.Sleep(50 * time.Millisecond) // a child that it had forked and that had not yet begun still has its lock
			default:
				c.t.Fatalf("run daemon: %v\n%s", err, out)
			}
		case <-time.After(life):
			killed = cmd.Process.Pid
			check(c.t, cmd.Process.Signal(syscall.SIGKILL))
			<-ended
			kills++
		}
	}
	c.t.Fatalf("the campaign does not end, however often the daemon is started")
	return kills
}

// count holds the journal against what a campaign must come to, and looks whether anybody helped.
func (c *campaign) count() {
	t := c.t
	t.Helper()
	calls, runs, results, begun, judged := map[string]int{}, map[string]bool{}, 0, map[string]int{}, map[string]int{}
	for _, rec := range c.records() {
		if rec.By == "command" {
			t.Errorf("record %d is an operator's act: %s", rec.Seq, rec.Why)
		}
		for _, e := range rec.Events {
			switch e.Type {
			case workspace.EvStarted:
				runs[e.Run] = true
				begun[e.Request]++
			case workspace.EvFinished:
				judged[e.Request]++
				if e.Outcome != "" { // else it was lost with its daemon, and is started anew
					calls[e.Stage]++
					results++
				}
			}
		}
	}
	s := c.state()
	items, states := map[string]int{}, map[string]int{}
	for k, it := range s.Items {
		items[k.Family]++
		states[k.Family+"/"+it.State]++
		if it.State != schema.StateDone && it.State != schema.StateSuperseded {
			t.Errorf("%s is %s: %+v", k, it.State, it.Blocked)
		}
	}
	c.same("items", items, campaignItems)
	c.same("states", states, campaignStates)
	c.same("calls", calls, campaignCalls)
	if want := campaignResults * c.scale; results != want {
		t.Errorf("%d results, want %d", results, want)
	}
	if want := campaignRuns * c.scale; len(runs) != want {
		t.Errorf("%d runs, want %d", len(runs), want)
	}
	for request, n := range begun {
		if n != 1 || judged[request] != 1 {
			t.Errorf("request %s was begun %d times and its result applied %d times", request, n, judged[request])
		}
	}
	for k, it := range s.Items {
		if k.Family == schema.FamilyTarget && (it.Closure == nil || it.Closure.Verdict != schema.VerdictPass) {
			t.Errorf("%s closed without proof: %+v", k, it.Closure)
		}
	}
	c.must("verify")
}

func (c *campaign) same(what string, got, want map[string]int) {
	c.t.Helper()
	for _, name := range slices.Sorted(maps.Keys(merged(got, want))) {
		if got[name] != want[name]*c.scale {
			c.t.Errorf("%s: %d × %s, want %d", what, got[name], name, want[name]*c.scale)
		}
	}
}

func merged(a, b map[string]int) map[string]int {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// measure runs the campaign, counts, and tells what it cost.
func (c *campaign) measure() {
	t := c.t
	t.Helper()
	c.untilClosed()
	u := c.used
	t.Logf("%-50s %v", "wall time, from the daemon's start to its end", u.wall.Round(time.Millisecond))
	t.Logf("%-50s %v", "of it agents asleep", time.Duration(3*c.scale)*c.nap)
	t.Logf("%-50s daemon %v, supervisors, agents, checks and git %v", "processor time", u.daemon.Round(time.Millisecond), (u.all - u.daemon).Round(time.Millisecond))
	t.Logf("%-50s %d MB", "peak memory of the daemon", u.peakKB>>10)
	c.stagesCost()
	c.count()
}

// stagesCost tells what a stage costs beside its agent: from the record that starts it to that of its result, less the
// time that its agent ran; by tenths of the campaign, so that growth shows.
func (c *campaign) stagesCost() {
	type cost struct{ beside, all time.Duration }
	var all []cost
	started := map[string]time.Time{}
	var ends []time.Time
	for _, rec := range c.records() {
		for _, e := range rec.Events {
			switch e.Type {
			case workspace.EvStarted:
				started[e.Request] = rec.Time
			case workspace.EvFinished:
				done, err := reqdir.ReadCompletion(c.path("millrace-agents", workspace.RequestDir(e.Run, e.Request)))
				c.ok(err)
				if done.Failure == schema.FailTimeout {
					continue
				}
				took := rec.Time.Sub(started[e.Request])
				all = append(all, cost{took - done.Ended.Sub(done.Started), took})
				ends = append(ends, rec.Time)
			}
		}
	}
	n := len(all)
	for i := range 10 {
		from, to := i*n/10, (i+1)*n/10
		if i > 0 && i < 9 && c.scale < 10 {
			continue
		}
		var beside, took []time.Duration
		for _, a := range all[from:to] {
			beside, took = append(beside, a.beside), append(took, a.all)
		}
		report(c.t, fmt.Sprintf("tenth %d, a stage beside its agent's run", i+1), beside...)
		report(c.t, fmt.Sprintf("tenth %d, a stage", i+1), took...)
		each := func(d time.Duration) time.Duration { return (d / time.Duration(to-from)).Round(10 * time.Microsecond) }
		c.t.Logf("%-50s daemon's processor %v, wall %v", fmt.Sprintf("tenth %d, by result", i+1),
			each(c.used.usedBy(ends[to-1])-c.used.usedBy(ends[from])), each(ends[to-1].Sub(ends[from])))
	}
	var beside []time.Duration
	for _, a := range all {
		beside = append(beside, a.beside)
	}
	report(c.t, "all, a stage beside its agent's run", beside...)
	size := int64(0)
	c.ok(filepath.Walk(c.path("millrace-agents"), func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
		return err
	}))
	c.t.Logf("%-50s %d MB", "the workspace folder", size>>20)
}
