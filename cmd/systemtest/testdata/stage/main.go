// A supervisor for the soak: it becomes the real millrace-stage, or meets with a fate before that. So
// the gap between the fork of a supervisor and its lock, which is a millisecond wide by nature, is hit
// as often as a test wants.
//
// In the project folder, agent/doom is taken by the next supervisor, which kills itself at once;
// agent/slow holds the milliseconds that every supervisor waits before it becomes the real one.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	fates := filepath.Join(os.Args[len(os.Args)-1], "../../../..", "agent") // millrace-agents/runs/<run>/<request>
	if err := os.Rename(filepath.Join(fates, "doom"), filepath.Join(fates, fmt.Sprintf("doomed-%d", os.Getpid()))); err == nil {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	if text, err := os.ReadFile(filepath.Join(fates, "slow")); err == nil {
		if ms, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			time.Sleep(time.Duration(ms) * time.Millisecond)
		}
	}
	self, err := os.Executable()
	if err == nil {
		err = syscall.Exec(self+".real", os.Args, os.Environ())
	}
	fmt.Fprintln(os.Stderr, "become the supervisor:", err)
	os.Exit(1)
}
