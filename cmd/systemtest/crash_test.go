package systemtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"millrace/schema"
)

// TestCrashInMidCommit kills real commands and a real daemon right after each file operation that a
// commit makes, as the kernel reports it. Then `status`, `verify` and the next command must see the
// workspace exactly as it was before or exactly as it is after. (workspace/crash_test.go proves the same
// of every single operation, and of power cuts; here it is proven of the programs.)
func TestCrashInMidCommit(t *testing.T) {
	t.Parallel()
	every := size("MILLRACE_CRASH_EVERY", 12) // 1: after each operation
	base := newProject(t)
	base.must("control", "pause", "--reason", "nothing shall start by itself")
	base.drop("tasks/a.yaml", task("a"))
	base.drop("tasks/b.yaml", task("b"))
	base.must("run", "daemon", "--until", "idle")

	for name, c := range map[string]struct {
		args, next    []string
		state         func(*project) string
		before, after string
	}{
		"cancel": {[]string{"queue", "cancel", "a", "b", "--reason", "test"}, []string{"control", "resume"},
			(*project).aAndB, "queue queue", "cancelled cancelled"},
		"add": {[]string{"queue", "add-task", "--id", "c", "--title", "C", "--acceptance", "it is done"}, []string{"control", "resume"},
			func(p *project) string { return fmt.Sprint(p.state().Count("task", schema.StateQueue)) }, "2", "3"},
		"resume": {[]string{"control", "resume"}, []string{"queue", "cancel", "a", "b", "--reason", "test"},
			func(p *project) string { return fmt.Sprint(len(p.state().Control.Pauses)) }, "1", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kills, tries, seen := 0, 0, map[string]int{}
			for n, reached := 1, true; reached; n += every {
				p := base.clone(t)
				var killed bool
				if reached, killed = p.killAfter(n, p.command(c.args...)); killed {
					kills++
				} else if kills == 0 && reached && tries < 20 {
					n, tries = 1-every, tries+1 // it was over before the kill came
				}
				s := c.state(p) // folded from the journal, without a lock
				seen[s]++
				if s != c.before && s != c.after {
					t.Errorf("killed after operation %d: the state is %q, want %q or %q", n, s, c.before, c.after)
				}
				for _, args := range [][]string{{"status"}, {"verify"}, c.next, {"verify"}} {
					if code, out, errs := p.run(args...); code != 0 {
						t.Errorf("killed after operation %d: millrace %v: exit %d\n%s%s", n, args, code, out, errs)
					}
				}
				if now := c.state(p); now != s {
					t.Errorf("killed after operation %d: the state was %q and is %q", n, s, now)
				}
			}
			t.Logf("%d kills; states seen: %v", kills, seen)
			if kills == 0 {
				t.Error("nothing was killed in mid-commit")
			}
		})
	}
	t.Run("daemon", func(t *testing.T) {
		t.Parallel()
		for n := 1; ; n += 5 * every {
			p := base.clone(t)
			p.must("control", "resume")
			reached, _ := p.killAfter(n, p.command("run", "daemon", "--until", "idle"))
			p.must("status")
			p.must("verify")
			p.must("run", "daemon", "--until", "idle")
			p.must("verify")
			p.assertExactlyOnce(2)
			if !reached {
				break
			}
		}
	})
}

func (p *project) aAndB() string { return p.item("task", "a").State + " " + p.item("task", "b").State }

// clone copies the project to a folder of its own.
func (p *project) clone(t testing.TB) *project {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "clone")
	if out, err := exec.Command("cp", "-a", p.dir, dir).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v\n%s", err, out)
	}
	c := &project{t: t, dir: dir}
	t.Cleanup(c.endStrays)
	return c
}

// killAfter runs a command and kills it as soon as the n-th file operation in the runtime's folders is
// seen. A command may reach that operation and end before the kill comes.
func (p *project) killAfter(n int, cmd *exec.Cmd) (reached, killed bool) {
	t := p.t
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	check(t, err)
	events := os.NewFile(uintptr(fd), "inotify")
	for _, dir := range []string{"state", "state/journal", "state/status/task", "tasks/queue", "tasks/active", "tasks/cancelled", "tasks/done"} {
		dir = p.path("millrace-agents", dir)
		check(t, os.MkdirAll(dir, 0o755))
		_, err := unix.InotifyAddWatch(fd, dir, unix.IN_OPEN|unix.IN_MODIFY|unix.IN_CREATE|unix.IN_DELETE|unix.IN_MOVED_TO)
		check(t, err)
	}
	check(t, cmd.Start())
	over := make(chan error, 1)
	go func() { over <- killAfter(events, n, cmd.Process) }()
	err = cmd.Wait()
	check(t, events.SetReadDeadline(time.Now().Add(50*time.Millisecond))) // what it did is read to the end
	e := <-over
	check(t, events.Close())
	reached = e == nil || errors.Is(e, os.ErrProcessDone)
	if !reached && !errors.Is(e, os.ErrDeadlineExceeded) {
		t.Fatal(e)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && !exit.Exited() {
		return true, true
	}
	check(t, err)
	return reached, false
}

func killAfter(events *os.File, n int, of *os.Process) error {
	buf := make([]byte, unix.SizeofInotifyEvent+unix.NAME_MAX+1) // one event, or a few that came together
	for n > 0 {
		size, err := events.Read(buf)
		if err != nil {
			return err
		}
		for at := 0; at < size; n-- {
			length := int(buf[at+12]) | int(buf[at+13])<<8 // of the name; the machines of the tests are little-endian
			at += unix.SizeofInotifyEvent + length
		}
	}
	return of.Kill()
}
