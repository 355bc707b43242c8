package workspace

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// A daemon that is killed while it starts a process leaves a fork behind that has its lock open for a moment. The
// next one waits for that instead of naming a dead process as the holder.
func TestForkOfADeadDaemonIsWaitedFor(t *testing.T) {
	w := newWorkspace(t)
	release, err := w.LockDaemon(DaemonInfo{PID: dead(t), Host: hostname(t)})
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(300*time.Millisecond, release) // the fork becomes another program
	next, err := w.LockDaemon(DaemonInfo{PID: os.Getpid(), Host: hostname(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer next()

	begun := time.Now()
	if _, err := w.LockDaemon(DaemonInfo{PID: os.Getpid(), Host: hostname(t)}); err == nil {
		t.Error("a second daemon beside one that lives")
	}
	if waited := time.Since(begun); waited > deathGrace/2 {
		t.Errorf("a living daemon was doubted for %v", waited)
	}
}

// dead is a pid that nobody has any more.
func dead(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func hostname(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return name
}
