package reqdir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// A Cgroup holds the processes of one request, whatever they make of their environment and their parents: who finds a
// request lost knows them by it. It limits nothing. It is a folder of cgroup v2 below the supervisor's own.
type Cgroup struct{ dir *os.File }

// cgroupName is the last part of the path of a request's cgroup.
func cgroupName(dir string) string { return "millrace-" + filepath.Base(dir) }

// NewCgroup makes the cgroup of the request in dir; whoever spends the request notes where it is. It fails where there
// is no cgroup v2, or none that this process may write: then the marks in the environment are all there is to know
// processes by.
func NewCgroup(dir string) (*Cgroup, error) {
	path, err := cgroupOf(dir)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open cgroup: %w", err)
	}
	return &Cgroup{f}, nil
}

// cgroupOf is where the cgroup of a request is that this process supervises.
func cgroupOf(dir string) (string, error) {
	own, err := ownCgroup()
	return filepath.Join(own, cgroupName(dir)), err
}

// FD is the folder, open: a process can be started in it.
func (c *Cgroup) FD() int { return int(c.dir.Fd()) }

// Remove removes the cgroup; one that is not empty stays.
func (c *Cgroup) Remove() {
	path := c.dir.Name()
	c.dir.Close()
	_ = unix.Rmdir(path) // who ends what is in it removes it
}

// noted is the cgroup that the spender of a request noted, "" for none. An agent can write that note: only a folder that
// is named after the request is believed to be its cgroup.
func noted(dir string) string {
	path := StartedBy(dir).Cgroup
	if filepath.Base(path) != cgroupName(dir) {
		return ""
	}
	var fs unix.Statfs_t
	if unix.Statfs(path, &fs) != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return ""
	}
	return path
}

// members are the processes in the cgroup of a request.
func members(dir string) []Process {
	path := noted(dir)
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
	if err != nil {
		return nil // gone meanwhile, with all that was in it
	}
	var found []Process
	for text := range strings.FieldsSeq(string(data)) {
		if pid, err := strconv.Atoi(text); err == nil && pid > 0 {
			if p, err := readProcess(pid); err == nil {
				found = append(found, p)
			}
		}
	}
	return found
}

// removeCgroup removes what a supervisor that was killed left.
func removeCgroup(dir string) {
	if path := noted(dir); path != "" {
		_ = unix.Rmdir(path) // not there any more, or not empty after all
	}
}

// ownCgroup is the folder of this process's own cgroup of version 2.
var ownCgroup = sync.OnceValues(func() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("find cgroup: %w", err)
	}
	mine, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("find cgroup: %w", err)
	}
	return cgroupFolder(string(mounts), string(mine))
})

// cgroupFolder finds the folder in what the kernel says of mounts and of a process's cgroups (proc(5), cgroups(7)).
func cgroupFolder(mounts, mine string) (string, error) {
	at := ""
	for line := range strings.Lines(mine) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			at = path
		}
	}
	for line := range strings.Lines(mounts) {
		before, after, _ := strings.Cut(line, " - ")
		place := strings.Fields(before)
		if at == "" || len(place) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		if rel, err := filepath.Rel(place[3], at); err == nil && filepath.IsLocal(rel) {
			return filepath.Join(place[4], rel), nil
		}
	}
	return "", errors.New("find cgroup: this process is in none of version 2 that is mounted")
}
