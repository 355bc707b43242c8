package systemtest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"millrace/schema"
	"millrace/workspace"
)

// TestConcurrentCommands lets eight processes commit at once beside a daemon that works, each adding
// tasks, pausing, resuming and cancelling. What a command has said must be so, no commit may be lost,
// and under -race nobody may report one.
func TestConcurrentCommands(t *testing.T) {
	t.Parallel()
	const workers = 8
	rounds := size("MILLRACE_CONCURRENT_ROUNDS", 2)
	p := newProject(t)
	p.write("agent/delay", "5")
	daemon := p.command("run", "daemon")
	var said bytes.Buffer
	daemon.Stderr = &said
	check(t, daemon.Start())

	c := &crowd{project: p, cancelled: map[string]bool{}}
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() {
			for round := range rounds {
				c.round(fmt.Sprintf("w%d-r%d", worker, round))
			}
		})
	}
	all.Wait()
	c.resume("the end")
	p.must("control", "stop")
	if err := daemon.Wait(); err != nil {
		t.Errorf("daemon: %v\n%s", err, said.String())
	}
	p.must("run", "daemon", "--until", "idle")
	p.must("verify")
	c.races("daemon", said.String())
	c.assert(workers * rounds)
}

// refused is the exit code of a command that the state of things forbids.
const refused = 5

// A crowd is what several processes did and were told.
type crowd struct {
	*project
	mu              sync.Mutex
	pauses, resumes int
	cancelled       map[string]bool // by id; false: its stage was to be ended, which may have come too late
}

// round is one process after the other: add, pause, resume, cancel.
func (c *crowd) round(id string) {
	c.command("queue", "add-task", "--id", id, "--title", "Task "+id, "--acceptance", "it is done")
	c.pause(id)
	c.resume(id)
	ended := ""
	if strings.HasSuffix(id, "1") {
		ended = c.command("queue", "cancel", id, "--now", "--reason", "the test")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case strings.Contains(ended, "is cancelled as soon as"):
		c.cancelled[id] = false
	case strings.Contains(ended, "is cancelled"):
		c.cancelled[id] = true
	}
}

func (c *crowd) pause(why string) {
	if said := c.command("control", "pause", "--reason", why); strings.Contains(said, "no stage starts") {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.pauses++
	}
}

func (c *crowd) resume(why string) {
	if said := c.command("control", "resume", "--reason", why); strings.Contains(said, "resumed") {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.resumes++
	}
}

// command runs one and returns what it says; to be refused is an answer.
func (c *crowd) command(args ...string) string {
	cmd := c.project.command(args...)
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); err != nil && code != refused {
		c.t.Errorf("millrace %v: %v\n%s", args, err, out)
	}
	c.races(strings.Join(args, " "), string(out))
	return string(out)
}

func (c *crowd) races(who, said string) {
	if strings.Contains(said, "DATA RACE") {
		c.t.Errorf("%s: %s", who, said)
	}
}

// assert holds what the commands have said against what became of it.
func (c *crowd) assert(tasks int) {
	c.t.Helper()
	s := c.state()
	if len(s.Items) != tasks {
		c.t.Errorf("%d items, want %d", len(s.Items), tasks)
	}
	for k, it := range s.Items {
		atOnce, asked := c.cancelled[k.ID]
		switch {
		case it.State == schema.StateCancelled && asked:
		case it.State == schema.StateDone && !atOnce:
		default:
			c.t.Errorf("%s is %s; cancelled: %v, at once: %v", k, it.State, asked, atOnce)
		}
	}
	pauses, resumes := 0, 0
	for _, rec := range c.records() {
		for _, e := range rec.Events {
			switch e.Type {
			case workspace.EvPaused:
				pauses++
			case workspace.EvResumed:
				resumes++
			}
		}
	}
	if pauses != c.pauses || resumes != c.resumes {
		c.t.Errorf("the journal has %d pauses and %d resumes, the commands say %d and %d", pauses, resumes, c.pauses, c.resumes)
	}
	for request, n := range c.starts() {
		if n != 1 {
			c.t.Errorf("request %s was spent by %d agent starts", request, n)
		}
	}
}
