package reqdir

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Process as /proc shows it. PID and Start together name it: a pid alone may be reused.
type Process struct {
	PID, Parent int
	Start       uint64 // clock ticks since boot
	Dead        bool   // a zombie: it runs no more, its parent has not taken notice
	kernel      bool
}

const kernelThread = 0x00200000 // PF_KTHREAD

// readProcess parses /proc/<pid>/stat, whose second field may contain anything.
func readProcess(pid int) (Process, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Process{}, err
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 20 {
		return Process{}, fmt.Errorf("parse /proc/%d/stat: %d fields", pid, len(fields))
	}
	parent, err1 := strconv.Atoi(fields[1])
	flags, err2 := strconv.ParseUint(fields[6], 10, 64)
	start, err3 := strconv.ParseUint(fields[19], 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return Process{}, fmt.Errorf("parse /proc/%d/stat: %w", pid, err)
	}
	return Process{PID: pid, Parent: parent, Start: start,
		Dead: fields[0] == "Z" || fields[0] == "X", kernel: flags&kernelThread != 0}, nil
}

func pids() ([]int, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var found []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			found = append(found, pid)
		}
	}
	return found, nil
}

// Descendants lists what descends from the given processes, themselves left out. Processes come and
// go meanwhile: who must end them all asks again until there are none.
func Descendants(of ...int) ([]Process, error) {
	all, err := pids()
	if err != nil {
		return nil, err
	}
	children := map[int][]Process{}
	for _, pid := range all {
		if p, err := readProcess(pid); err == nil { // else it is gone
			children[p.Parent] = append(children[p.Parent], p)
		}
	}
	var found []Process
	seen := map[int]bool{}
	for _, pid := range of {
		seen[pid] = true
	}
	for len(of) > 0 {
		for _, p := range children[of[0]] {
			if !seen[p.PID] {
				seen[p.PID] = true
				found = append(found, p)
				of = append(of, p.PID)
			}
		}
		of = of[1:]
	}
	return found, nil
}

// Signal sends to exactly this process: never to another one that got its pid since. A process that
// is gone needs no signal, which is no error.
func (p Process) Signal(sig unix.Signal) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", p.PID, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if now, err := readProcess(p.PID); err != nil || now.Start != p.Start {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal process %d: %w", p.PID, err)
	}
	return nil
}

func self() Holder {
	p, _ := readProcess(os.Getpid()) // a message: without a start time it still tells something
	return Holder{Machine: machineID(), Boot: firstLine("/proc/sys/kernel/random/boot_id"),
		PID: os.Getpid(), Start: p.Start, At: time.Now().UTC()}
}

// machineID is "" where there is none (a container without one): then every request is this machine's.
var machineID = sync.OnceValue(func() string { return firstLine("/etc/machine-id") })

func firstLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(line)
}
