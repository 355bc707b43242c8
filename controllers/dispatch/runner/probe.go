package runner

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"millrace/schema"
)

// A Probe is what can be told of a runner's agent without giving it work.
type Probe struct {
	Adapter string `json:"adapter"`
	Program string `json:"program"`           // what is looked for
	Path    string `json:"path,omitempty"`    // where it was found
	Version string `json:"version,omitempty"` // as it says itself; the command adapter's program is not asked
	Tested  string `json:"tested,omitempty"`  // yes, older or newer than the versions that Millrace was tested with
	Trouble string `json:"trouble,omitempty"` // why it was not found, or did not say its version
	Broken  bool   `json:"broken,omitempty"`  // it ended with an error when it was asked
	Login   string `json:"login,omitempty"`   // key: in the environment; stored: in the folder; none: neither is seen
	Key     string `json:"key,omitempty"`     // variable that holds the key
	Folder  string `json:"folder,omitempty"`  // where the agent keeps its login and settings
}

// What a Probe says of the version.
const (
	TestedYes   = "yes"
	TestedOlder = "older"
	TestedNewer = "newer"
)

// What a Probe says of the login.
const (
	LoginKey    = "key"
	LoginStored = "stored"
	LoginNone   = "none"
)

// Bounds of asking a program for its version.
const (
	probeTimeout = 5 * time.Second
	probeOutput  = 64 << 10
)

// Ask looks for the program of a runner as its supervisor would in this environment, and asks an agent that is
// known for its version. The trouble it meets is part of the answer.
func Ask(ctx context.Context, r *schema.Runner, project string) Probe {
	p := Probe{Adapter: r.Adapter}
	a := schema.AdapterOf(r.Adapter)
	switch {
	case a == nil:
		p.Trouble = fmt.Sprintf("this Millrace has no adapter %s; it has: %s", r.Adapter, strings.Join(schema.AdapterNames(), ", "))
		return p
	case a.Program != "":
		p.Program = cmp.Or(r.Command, a.Program)
	case len(r.Run) > 0:
		p.Program = r.Run[0]
	}
	env := environment(r, nil)
	if a.Program == "" && strings.Contains(p.Program, "{{") {
		return p // known when there is a request
	}
	path, err := find(p.Program, project, env)
	if err != nil {
		p.Trouble = err.Error()
	} else {
		p.Path = path
	}
	if a.Program == "" {
		return p
	}
	s := seatOf(a, r, env)
	p.Folder, p.Key, p.Login = s.dir, s.key, LoginNone
	switch {
	case s.key != "":
		p.Login = LoginKey
	case s.stored:
		p.Login = LoginStored
	}
	if p.Path == "" {
		return p
	}
	if p.Version, err = version(ctx, p.Path, project, env); err != nil {
		_, ended := errors.AsType[*exec.ExitError](err)
		_, unstarted := errors.AsType[*fs.PathError](err)
		p.Broken = ended || unstarted
		p.Trouble = err.Error()
		return p
	}
	p.Tested = tested(p.Version, a.Oldest, a.Newest)
	return p
}

// number is a version in what a program says of itself.
var number = regexp.MustCompile(`\d+\.\d+\.\d+(-[0-9A-Za-z][0-9A-Za-z.-]*)?`)

// version asks a program for its version. One that hangs, or has no end of things to say, is ended with what it
// started.
func version(ctx context.Context, path, project string, env []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Dir, cmd.Env = project, env
	var stdout, stderr capped
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if cmd.Process == nil {
		return "", fmt.Errorf("%s cannot be run: %w", path, err)
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it left behind; most leave nothing
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && ctx.Err() == nil {
		return "", fmt.Errorf("%s --version ended with %w%s", path, exit, because(stderr.first()))
	}
	for _, out := range []*capped{&stdout, &stderr} { // Pi says it on stderr
		if v := number.FindString(out.text.String()); v != "" {
			return v, nil
		}
	}
	if ctx.Err() != nil {
		return "", fmt.Errorf("%s --version gave no answer in %v", path, probeTimeout)
	}
	return "", fmt.Errorf("%s --version names no version%s", path, because(stdout.first()))
}

// capped takes what a program says, up to a bound; then its pipe is closed.
type capped struct{ text bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	n, _ := c.text.Write(p[:min(len(p), probeOutput-c.text.Len())]) // cannot fail
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// first is the first line that says something.
func (c *capped) first() string {
	for line := range strings.Lines(c.text.String()) {
		if line = strings.TrimSpace(line); line != "" {
			return line[:min(len(line), 200)]
		}
	}
	return ""
}

func because(line string) string {
	if line == "" {
		return ""
	}
	return ": " + strings.ToValidUTF8(line, "?")
}

// tested compares a version with the range that was tested.
func tested(version, oldest, newest string) string {
	switch {
	case before(version, oldest):
		return TestedOlder
	case before(newest, version):
		return TestedNewer
	}
	return TestedYes
}

// before orders versions: by their numbers, and a release behind what led to it.
func before(a, b string) bool {
	na, prea := numbers(a)
	nb, preb := numbers(b)
	if c := slices.Compare(na[:], nb[:]); c != 0 {
		return c < 0
	}
	return prea && !preb
}

// numbers are the three numbers of a version, and whether it only leads to them.
func numbers(version string) (n [3]int, pre bool) {
	plain, _, pre := strings.Cut(version, "-")
	for i, part := range strings.SplitN(plain, ".", 3) {
		n[i], _ = strconv.Atoi(part) // digits; a number too large is the largest
	}
	return n, pre
}
