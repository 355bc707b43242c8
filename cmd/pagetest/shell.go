package pagetest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// endOf marks the end of what a command printed.
const endOf = "@@end of command "

// A Shell is one bash that commands are typed into, as a reader would.
type Shell struct {
	t   testing.TB
	in  io.Writer
	out *bufio.Reader
	n   int

	// Elsewhere are folders of this machine and what stands for them on the page, in turn.
	Elsewhere []string
}

// Open starts a shell in the folder where a reader begins, with the programs in bin before those of PATH in env.
func Open(t testing.TB, dir, bin string, env []string) *Shell {
	t.Helper()
	search := os.Getenv("PATH")
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, "PATH="); ok {
			search = value
		}
	}
	cmd := exec.Command("bash", "--norc")
	cmd.Dir = dir
	cmd.Env = append(slices.Clip(env), "PATH="+bin+":"+search,
		"GIT_AUTHOR_NAME=you", "GIT_AUTHOR_EMAIL=you@example.invalid", "GIT_COMMITTER_NAME=you", "GIT_COMMITTER_EMAIL=you@example.invalid")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
	})
	return &Shell{t: t, in: in, out: bufio.NewReader(out), Elsewhere: []string{bin, "/home/you/millrace/bin", dir, "/home/you"}}
}

// Run types a command and returns what it printed.
func (s *Shell) Run(command string) string {
	s.t.Helper()
	s.n++
	end := fmt.Sprintf("%s%d", endOf, s.n)
	if _, err := fmt.Fprintf(s.in, "%s\necho '%s'\n", command, end); err != nil {
		s.t.Fatal(err)
	}
	type answer struct {
		text string
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		var b bytes.Buffer
		for {
			line, err := s.out.ReadString('\n')
			if before, found := strings.CutSuffix(strings.TrimSuffix(line, "\n"), end); found {
				b.WriteString(before)
				done <- answer{jobControl.ReplaceAllString(b.String(), ""), nil}
				return
			}
			b.WriteString(line)
			if err != nil {
				done <- answer{b.String(), err}
				return
			}
		}
	}()
	select {
	case a := <-done:
		if a.err != nil {
			s.t.Fatalf("$ %s: %v\n%s", command, a.err, a.text)
		}
		return a.text
	case <-time.After(2 * time.Minute):
		s.t.Fatalf("$ %s: no end of it", command)
		return ""
	}
}

// jobControl is what bash itself says of a job that ended.
var jobControl = regexp.MustCompile(`(?m)^bash: line \d+: +\d+ .*\n`)

// elsewhere puts the folders of a reader's machine in the place of this one's.
func (s *Shell) elsewhere(text string) string {
	return strings.NewReplacer(s.Elsewhere...).Replace(text)
}

// Write saves a file that the page shows, where the shell is.
func (s *Shell) Write(name, body string) {
	s.t.Helper()
	path := filepath.Join(strings.TrimSpace(s.Run("pwd")), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// Play types the commands of a block and returns it with what they printed; else than the page says is an error, unless
// the page is to be written anew.
func (s *Shell) Play(body string, anew bool) string {
	s.t.Helper()
	var out strings.Builder
	var command, want string
	finish := func() {
		if command == "" {
			return
		}
		got := s.Run(command)
		if anew {
			want = elide(want, s.elsewhere(got))
		} else if !sameForm(want, got) {
			s.t.Errorf("$ %s\nthe page says:\n%s\nit prints:\n%s", command, want, got)
		}
		out.WriteString("$ " + command + "\n" + want)
	}
	for line := range strings.Lines(body) {
		if c, ok := strings.CutPrefix(line, "$ "); ok {
			finish()
			command, want = strings.TrimSuffix(c, "\n"), ""
			continue
		}
		want += line
	}
	finish()
	return out.String()
}
