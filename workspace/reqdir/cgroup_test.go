package reqdir

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCgroupFolder(t *testing.T) {
	const unified = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
	for name, c := range map[string]struct{ mounts, mine, want string }{
		"one hierarchy":    {unified, "0::/user.slice/a.scope\n", "/sys/fs/cgroup/user.slice/a.scope"},
		"beside version 1": {"31 24 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n30 24 0:26 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 none rw\n", "4:cpu:/x\n0::/\n", "/sys/fs/cgroup/unified"},
		"in a container":   {"30 24 0:26 /docker/7 /sys/fs/cgroup ro - cgroup2 cgroup ro\n", "0::/docker/7/init\n", "/sys/fs/cgroup/init"},
		"out of reach":     {"30 24 0:26 /docker/7 /sys/fs/cgroup ro - cgroup2 cgroup ro\n", "0::/../other\n", ""},
		"only version 1":   {"31 24 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", "4:cpu:/x\n", ""},
		"not mounted":      {"31 24 0:27 / /tmp rw - tmpfs tmpfs rw\n", "0::/a\n", ""},
		"garbage":          {"a - cgroup2\n\n", "0::\n", ""},
	} {
		got, err := cgroupFolder(c.mounts, c.mine)
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// A process with neither mark nor parent is known by its cgroup, and ended.
func TestStraysInACgroup(t *testing.T) {
	request := filepath.Join(t.TempDir(), "req-cgroup-test")
	if err := os.Mkdir(request, 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := NewCgroup(request)
	if err != nil {
		t.Skip("cgroups of version 2 cannot be made here: ", err)
	}
	pidFile := filepath.Join(t.TempDir(), "pid")
	cmd := exec.Command("sh", "-c", `trap "" TERM; (echo $$ > `+pidFile+`.tmp; mv `+pidFile+`.tmp `+pidFile+`; sleep 60; :) & wait`)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: c.FD()}
	if err := cmd.Start(); err != nil {
		t.Skip("a process cannot be started in a cgroup here: ", err)
	}
	go func() { _ = cmd.Wait() }() // only reaps it
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(pidFile); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it never started")
		}
	}
	if first, err := Spend(request); !first || err != nil {
		t.Fatal(first, err)
	}
	found, err := Strays(request)
	if err != nil || len(found) < 2 {
		t.Errorf("strays are %v (%v)", found, err)
	}
	if others, err := Strays(request + "-2"); err != nil || len(others) > 0 {
		t.Errorf("another request has strays %v (%v)", others, err)
	}
	if err := endStrays(t.Context(), request, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if left, err := Strays(request); err != nil || len(left) > 0 {
		t.Errorf("left are %v (%v)", left, err)
	}
	path := c.dir.Name()
	c.Remove()
	if _, err := os.Stat(path); !os.IsNotExist(err) || !strings.HasSuffix(path, cgroupName(request)) {
		t.Errorf("%s is still there (%v)", path, err)
	}
}
