package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"millrace/schema"
	"millrace/workspace/reqdir"
)

const smallDisk = "small-disk" // the test binary as the only user of a file system of 256 KiB

// The agent fills the disk and ends well: its work is paid, so the supervisor waits for room.
func TestFullDiskLosesNoPaidStage(t *testing.T) {
	b := newBench(t, `cat /dev/zero > $MILLRACE_REQUEST_DIR/filler; echo "### DONE"; true`)
	b.command() // writes the request
	cmd := exec.Command("/proc/self/exe", smallDisk, b.dir)
	cmd.Env = append(os.Environ(), GraceEnv+"=300ms")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSPC) {
		t.Skipf("this machine gives no user namespaces, which a small disk of our own needs: %v", err)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// onSmallDisk runs inside the namespace and tells what went wrong.
func onSmallDisk(dir string) error {
	request, err := reqdir.ReadRequest(dir)
	if err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	if err := writeJSON(filepath.Join(dir, schema.RequestFile), request); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, schema.PromptFile), []byte("fill"), 0o644); err != nil {
		return err
	}
	if _, err := Start("/proc/self/exe", dir, subcommand); err != nil {
		return err
	}
	time.Sleep(1500 * time.Millisecond)
	if alive, err := reqdir.Alive(dir); !alive || err != nil {
		return fmt.Errorf("the supervisor did not wait for room: alive %v, error %w", alive, errors.Join(err, errors.New("free or unknown")))
	}
	if _, err := reqdir.ReadCompletion(dir); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("completion on a full disk, error %w", errors.Join(err, errors.New("none was to be there")))
	}
	if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := reqdir.Await(ctx, dir); err != nil {
		return err
	}
	c, err := reqdir.ReadCompletion(dir)
	if err != nil {
		return err
	}
	if c.Exit != schema.ExitCompleted || c.Claim == nil || c.Claim.Outcome != "DONE" {
		return fmt.Errorf("completion %+v", c)
	}
	return nil
}
