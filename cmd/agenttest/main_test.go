//go:build agents

// Package agenttest runs the real agents under the real binaries, against a model that the test scripts, and then
// looks at the state of the world. It has no network but the loopback interface.
package agenttest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	builtEnv  = "AGENTTEST_BUILT"  // folder of the binaries, in the process that runs the tests
	agentsEnv = "MILLRACE_AGENTS"  // folder that the agents are installed in
	aloneEnv  = "AGENTTEST_ALONE"  // set when that process has a network of its own, with nothing in it but loopback
	upgraded  = "upgraded-version" // what the second build of the binaries says that it is
)

// noLoopback is the exit code of a process that got a network of its own and may not use it.
const noLoopback = 75

var built, agents string

func TestMain(m *testing.M) {
	if built = os.Getenv(builtEnv); built != "" {
		agents = os.Getenv(agentsEnv)
		if os.Getenv(aloneEnv) != "" {
			if err := raiseLoopback(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(noLoopback)
			}
		}
		os.Exit(m.Run())
	}
	code, err := prepare()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// prepare builds what is tested and runs the tests in a process without a network where the system lets us make one.
func prepare() (int, error) {
	dir, err := os.MkdirTemp("", "millrace-agenttest-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	for into, version := range map[string]string{"bin": "", "fresh": upgraded} {
		args := []string{"build", "-o", filepath.Join(dir, into) + "/"}
		if version != "" {
			args = append(args, "-ldflags", "-X main.version="+version)
		}
		out, err := exec.Command("go", append(args, "millrace/cmd/millrace", "millrace/cmd/millrace-stage")...).CombinedOutput()
		if err != nil {
			return 0, fmt.Errorf("build: %w\n%s", err, out)
		}
	}
	installed := os.Getenv(agentsEnv)
	if installed == "" {
		installed = "../../bin/agents"
	}
	if installed, err = filepath.Abs(installed); err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	run := func(alone bool) (int, error) {
		cmd := exec.Command(self, os.Args[1:]...)
		cmd.Env = append(os.Environ(), builtEnv+"="+dir, agentsEnv+"="+installed)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		if alone {
			cmd.Env = append(cmd.Env, aloneEnv+"=1")
			cmd.SysProcAttr = lonely()
		}
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		err := cmd.Wait()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return max(exit.ExitCode(), 1), nil
		}
		return 0, err
	}
	code, err := run(true)
	if err != nil || code == noLoopback { // containers and distributions forbid it, each in its own way
		fmt.Fprintln(os.Stderr, "no network of our own here, so that agents are only told to stay on loopback:", err)
		return run(false)
	}
	return code, nil
}

// lonely is a process in a network of its own: who is root makes one at once, others become somebody in a user
// namespace of their own first.
func lonely() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if uid, gid := os.Getuid(), os.Getgid(); uid != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		attr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN}
	}
	return attr
}

// raiseLoopback brings up the one interface that a new network has.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	return nil
}

// agentBin is the path of an agent's pinned program.
func agentBin(t testing.TB, program string) string {
	t.Helper()
	path := filepath.Join(agents, "node_modules", ".bin", program)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v; the agents are installed by: make test-agents", err)
	}
	return path
}

// searchPath is the PATH of every process: the agents, the Node that they need, the system.
func searchPath() string {
	return strings.Join([]string{filepath.Join(agents, "node_modules", ".bin"), filepath.Join(agents, "node", "bin"), os.Getenv("PATH")}, ":")
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
