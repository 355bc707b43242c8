package systemtest

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write what the commands print into README.md")

const (
	readme  = "../../README.md"
	tourEnd = "@@end of command "
)

// TestReadmeTour does what the tour of README.md tells its reader to do: it writes the files that the
// tour shows, types its commands into one shell, and compares what they print. What differs from run to
// run (times, ids, digests, durations) is compared by its form; "…" alone on a line stands for any lines.
func TestReadmeTour(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	p := &project{t: t, dir: t.TempDir()}
	t.Cleanup(p.endStrays)
	sh := startShell(t, p.dir)
	var out strings.Builder
	for _, b := range blocks(string(source)) {
		lang, args, _ := strings.Cut(b.info, " ")
		name, isFile := strings.CutPrefix(args, "file=")
		switch {
		case isFile:
			sh.write(name, b.body)
		case lang == "console" && b.tour:
			b.body = play(t, sh, b.body)
		}
		out.WriteString(b.before + b.fence + b.body + b.close)
	}
	if *update {
		if err := os.WriteFile(readme, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A block is a fenced block of a Markdown text with the text before it; the last one has no fence.
type block struct {
	before, fence, info, body, close string
	tour                             bool // it stands in the section of the tour
}

func blocks(text string) []block {
	var all []block
	var b block
	inside, tour := false, false
	for line := range strings.Lines(text) {
		fenced := strings.HasPrefix(line, "```")
		switch {
		case fenced && inside:
			b.close = line
			all = append(all, b)
			b, inside = block{}, false
		case fenced:
			b.fence, b.info, b.tour, inside = line, strings.TrimSpace(strings.TrimPrefix(line, "```")), tour, true
		case inside:
			b.body += line
		default:
			if strings.HasPrefix(line, "## ") {
				tour = strings.Contains(line, "tour")
			}
			b.before += line
		}
	}
	return append(all, b)
}

// play types the commands of a block and returns it with what they printed; a mismatch is an error.
func play(t *testing.T, sh *shell, body string) string {
	t.Helper()
	var out strings.Builder
	var command, want string
	finish := func() {
		if command == "" {
			return
		}
		got := sh.run(command)
		if *update {
			want = elide(want, sh.elsewhere(got))
		} else if !sameForm(want, got) {
			t.Errorf("$ %s\nthe page says:\n%s\nit prints:\n%s", command, want, got)
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

// gap is the line that stands for any lines.
const gap = "\n…\n"

// elide keeps the reader's "…": what was printed there stays left out.
func elide(old, got string) string {
	head, tail, cut := strings.Cut("\n"+old, gap)
	if !cut {
		return got
	}
	head = strings.TrimPrefix(head+"\n", "\n")
	lines := strings.SplitAfter(got, "\n")
	first, last := strings.Count(head, "\n"), strings.Count(tail, "\n")
	if first+last > len(lines)-1 {
		return got
	}
	return strings.Join(lines[:first], "") + "…\n" + strings.Join(lines[len(lines)-1-last:], "")
}

// variable is what differs from run to run, and what stands for it.
var variable = []struct {
	form *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`/\S*/(tour|desk|millrace-stage)\b`), "PATH"},
	{regexp.MustCompile(`git version \S+`), "GIT"},
	{regexp.MustCompile(`\d+ watches`), "WATCHES"},
	{regexp.MustCompile(`(run|req|daemon)-\d{8}T\d{6}\.\d{3}Z-[0-9a-f]+`), "ID"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d\b`), "TIME"},
	{regexp.MustCompile(`\b[0-9a-f]{12}\b`), "DIGEST"},
	{regexp.MustCompile(`\b(\d+m)?\d+(\.\d+)?(ms|s)\b`), "DURATION"},
	{regexp.MustCompile(`\b(process|daemon) \d+`), "PROCESS"},
	{regexp.MustCompile(`[ \t]+`), " "},
}

func form(text string) string {
	for _, v := range variable {
		text = v.form.ReplaceAllString(text, v.name)
	}
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.Join(lines, "\n")
}

func sameForm(want, got string) bool {
	want, got = "\n"+form(want)+"\n", "\n"+form(got)+"\n"
	head, tail, cut := strings.Cut(want, gap)
	if !cut {
		return want == got
	}
	head, tail = head+"\n", "\n"+tail
	return strings.HasPrefix(got, head) && strings.HasSuffix(got, tail) && len(got) >= len(head)+len(tail)-1
}

func TestReadmeForms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want, got string
		same      bool
	}{
		{"done 12ms\n", "done    1.4s\n", true},
		{"a\n…\nz\n", "a\nb\nc\nz\n", true},
		{"a\n…\nz\n", "a\nb\nc\n", false},
		{"…\nz\n", "a\nz\n", true},
		{"a\n…\n", "a\nb\n", true},
		{"a\n…\n", "b\na\n", false},
		{"a\n…\nz\n", "a\nz\n", true},
		{"say --reason …\n", "say --reason …\nmore\n", false},
		{"run-20261122T145921.342Z-d03c74af", "run-20271122T145921.342Z-00aa", true},
		{"done", "blocked", false},
	} {
		if sameForm(c.want, c.got) != c.same {
			t.Errorf("sameForm(%q, %q) = %v", c.want, c.got, !c.same)
		}
	}
}

// A shell is one bash that commands are typed into, as a reader would.
type shell struct {
	t    *testing.T
	in   io.Writer
	out  *bufio.Reader
	home string // where the reader began
	n    int
}

func startShell(t *testing.T, home string) *shell {
	t.Helper()
	cmd := exec.Command("bash", "--norc")
	cmd.Dir = home
	cmd.Env = append(cleanEnv(), "PATH="+filepath.Dir(millrace)+":"+os.Getenv("PATH"), "HOME="+home,
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
	return &shell{t: t, in: in, out: bufio.NewReader(out), home: home}
}

// run types a command and returns what it printed.
func (s *shell) run(command string) string {
	s.t.Helper()
	s.n++
	end := fmt.Sprintf("%s%d", tourEnd, s.n)
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
func (s *shell) elsewhere(text string) string {
	return strings.NewReplacer(s.home, "/home/you", filepath.Dir(millrace), "/home/you/millrace/bin").Replace(text)
}

// write saves a file that the tour shows, where the shell is.
func (s *shell) write(name, body string) {
	s.t.Helper()
	path := filepath.Join(strings.TrimSpace(s.run("pwd")), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
		s.t.Fatal(err)
	}
}
