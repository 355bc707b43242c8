package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"millrace/schema"
)

// Caps of what is kept of an output. The last tailSize bytes of it are always among them: agents
// say what matters at the end.
const (
	transcriptCap = 8 << 20
	checkLogCap   = 1 << 20
	tailSize      = 64 << 10
)

// A transcript keeps the head and the tail of an output in a file. Writing to it never fails: what
// cannot be kept is counted.
type transcript struct {
	path    string
	file    *os.File
	room    int64
	tail    []byte
	over    int64 // bytes beyond the head
	dropped int64
	err     error // first failure of the disk
}

func openTranscript(path string, limit int64) (*transcript, error) {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open transcript %s: something else is in its place", path)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open transcript: %w", err)
	}
	return &transcript{path: path, file: f, room: limit - tailSize}, nil
}

// Write keeps what there is room for.
func (t *transcript) Write(p []byte) (int, error) {
	n := len(p)
	head := p[:min(int64(n), t.room)]
	t.room -= int64(len(head))
	t.put(head)
	if rest := p[len(head):]; len(rest) > 0 {
		t.over += int64(len(rest))
		t.tail = append(t.tail, rest...)
		if len(t.tail) > 4*tailSize {
			t.tail = append(t.tail[:0], t.tail[len(t.tail)-tailSize:]...)
		}
	}
	return n, nil
}

func (t *transcript) put(p []byte) {
	if len(p) == 0 {
		return
	}
	n, err := t.file.Write(p)
	if err != nil {
		t.dropped += int64(len(p) - n)
		if t.err == nil {
			t.err = err
		}
	}
}

// close writes the tail and tells how many bytes are missing.
func (t *transcript) close() (dropped int64, err error) {
	tail := t.tail[max(0, len(t.tail)-tailSize):]
	if left := t.over - int64(len(tail)); left > 0 {
		t.dropped += left
		t.put(fmt.Appendf(nil, "\n[millrace: %d bytes left out]\n", left))
	}
	t.put(tail)
	err = errors.Join(t.err, t.file.Close())
	if err != nil {
		err = fmt.Errorf("write %s: %w", filepath.Base(t.path), err)
	}
	return t.dropped, err
}

// lastLine is the end of the text in a file, for a message: at most 200 bytes of its last line that
// is not empty.
func lastLine(path string) string {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	buf := make([]byte, 2048)
	n, _ := f.ReadAt(buf, max(0, info.Size()-int64(len(buf)))) // short at the end of the file
	text := strings.TrimSpace(strings.ToValidUTF8(string(buf[:n]), "?"))
	line := strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
	return strings.ToValidUTF8(line[:min(len(line), 200)], "")
}

// invocation is invocation.json: how the agent was run, without any value of its environment.
type invocation struct {
	SchemaVersion int      `json:"schema_version"`
	Request       string   `json:"request"`
	Runner        string   `json:"runner"`
	Adapter       string   `json:"adapter"`
	Argv          []string `json:"argv"` // a prompt given as an argument is named, not repeated
	Dir           string   `json:"dir"`
	Environment   []string `json:"environment"` // names
}

func newInvocation(r *schema.Request, dir string, argv, env []string, prompt string) invocation {
	i := invocation{SchemaVersion: schema.Version, Request: r.ID, Runner: r.Runner.Name, Adapter: r.Runner.Adapter, Dir: dir}
	for _, arg := range argv {
		if prompt != "" && arg == prompt {
			arg = "<" + schema.PromptFile + ">"
		}
		i.Argv = append(i.Argv, arg)
	}
	for _, entry := range env {
		name, _, _ := strings.Cut(entry, "=")
		i.Environment = append(i.Environment, name)
	}
	return i
}
