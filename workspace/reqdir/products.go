package reqdir

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"millrace/schema"
)

// Limits of what a completion lists. A file above its limit is listed with its size and no digest.
const (
	maxArtifact = 64 << 20
	maxProblems = 20      // named in the detail
	maxDetail   = 8 << 10 // bytes: an agent's complaint may be of any length
)

// List fills in what the request's folder holds: transcripts, the declared artifacts (one whose name
// ends in "/" is a folder) with the claim's summaries, and the outbox. Only regular files inside the
// folder are listed; what else is found is named in c.Detail.
func List(dir string, r *schema.Request, c *schema.Completion) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("list products: %w", err)
	}
	defer func() { _ = root.Close() }() // only read
	l := lister{root: root, dir: dir}
	dropped := map[string]int64{}
	for _, t := range c.Transcripts {
		dropped[t.Path] = t.Dropped
	}
	c.Transcripts = nil
	for _, name := range []string{schema.StdoutFile, schema.EventsFile, schema.StderrFile, schema.FinalFile} {
		l.add(&c.Transcripts, name, maxArtifact)
	}
	for i := range c.Transcripts {
		c.Transcripts[i].Dropped = dropped[c.Transcripts[i].Path]
	}
	l.artifacts(r, c)
	l.folder(&c.Outbox, schema.OutboxFolder, schema.MaxFile)
	if l.err != nil {
		return fmt.Errorf("list products: %w", l.err)
	}
	if len(l.problems) > maxProblems {
		l.problems = append(l.problems[:maxProblems], fmt.Sprintf("and %d more", len(l.problems)-maxProblems))
	}
	Note(c, l.problems...)
	return nil
}

// Note adds remarks to a completion's detail.
func Note(c *schema.Completion, remarks ...string) {
	for _, remark := range remarks {
		if c.Detail != "" && remark != "" {
			c.Detail += "; "
		}
		c.Detail += remark
	}
	if len(c.Detail) > maxDetail {
		c.Detail = strings.ToValidUTF8(c.Detail[:maxDetail], "") + "…"
	}
}

type lister struct {
	root     *os.Root
	dir      string
	problems []string
	err      error // of reading a file that is there: the disk's fault, not the agent's
}

func (l *lister) problem(name, format string, args ...any) {
	l.problems = append(l.problems, fmt.Sprintf("%q ", name)+fmt.Sprintf(format, args...))
}

func (l *lister) artifacts(r *schema.Request, c *schema.Completion) {
	var names []string
	for _, a := range r.Artifacts {
		names = append(names, a.File)
	}
	if c.Claim != nil {
		for _, s := range c.Claim.Summaries {
			if name, ok := l.inside(s); ok {
				names = append(names, name)
			} else {
				l.problem(s, "is not inside the request folder and was not read")
			}
		}
	}
	seen := map[string]bool{}
	for _, name := range names {
		if clean := path.Clean(name); !seen[clean] {
			seen[clean] = true
			if strings.HasSuffix(name, "/") {
				l.folder(&c.Artifacts, clean, maxArtifact)
			} else {
				l.add(&c.Artifacts, clean, maxArtifact)
			}
		}
	}
}

// inside maps what an agent calls a file (relative to its request folder or to the project, or
// absolute) to a path in the request folder.
func (l *lister) inside(name string) (string, bool) {
	if !filepath.IsAbs(name) {
		project := filepath.Join(l.dir, "..", "..", "..", "..")
		if rel, err := filepath.Rel(l.dir, filepath.Join(project, name)); err == nil && filepath.IsLocal(rel) {
			return filepath.ToSlash(rel), true
		}
		return name, filepath.IsLocal(name)
	}
	rel, err := filepath.Rel(l.dir, name)
	return filepath.ToSlash(rel), err == nil && filepath.IsLocal(rel)
}

func (l *lister) folder(into *[]schema.File, name string, limit int64) {
	info, err := l.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil || !info.IsDir():
		l.problem(name, "is not a folder and was not read")
		return
	}
	n := 0
	err = fs.WalkDir(l.root.FS(), name, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			l.problem(p, "cannot be read: %v", err)
			return nil
		case d.IsDir():
			return nil
		case n > schema.MaxItems: // one more is listed, so that everybody sees that there are too many
			l.problem(name, "holds more than %d files; the rest was not read", schema.MaxItems)
			return fs.SkipAll
		}
		n++
		l.add(into, p, limit)
		return nil
	})
	if err != nil {
		l.problem(name, "cannot be read: %v", err)
	}
}

// add lists a file if it is there. A link is refused wherever it leads: what it shows may change.
func (l *lister) add(into *[]schema.File, name string, limit int64) {
	info, err := l.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		l.problem(name, "is not inside the request folder and was not read (%v)", err)
		return
	case !info.Mode().IsRegular():
		l.problem(name, "is not a regular file and was not read")
		return
	}
	f, err := l.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		l.problem(name, "cannot be read: %v", err)
		return
	}
	defer f.Close()
	if opened, err := f.Stat(); err != nil || !os.SameFile(info, opened) {
		l.problem(name, "changed while it was read")
		return
	}
	if info.Size() > limit {
		l.problem(name, "has %d bytes, more than the %d that are read", info.Size(), limit)
		*into = append(*into, schema.File{Path: name, Size: info.Size()})
		return
	}
	hash := sha256.New()
	size, err := io.Copy(hash, io.LimitReader(f, limit+1))
	if err != nil {
		l.err = errors.Join(l.err, err)
		return
	}
	*into = append(*into, schema.File{Path: name, Size: size, Digest: schema.Digest("sha256:" + hex.EncodeToString(hash.Sum(nil)))})
}

// ReadTerminal reads terminal_result.json: nil when there is none. What cannot be read as a file of
// at most 1 MiB comes as an empty one, which is no claim.
func ReadTerminal(dir string) ([]byte, error) {
	data, err := readRegular(filepath.Join(dir, schema.TerminalFile), schema.MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return []byte{}, err
	}
	if data == nil {
		data = []byte{}
	}
	return data, nil
}

// FileOf lists one regular file of a request folder.
func FileOf(dir, name string) (schema.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return schema.File{}, fmt.Errorf("list %s: %w", name, err)
	}
	defer func() { _ = root.Close() }() // only read
	l := lister{root: root, dir: dir}
	var found []schema.File
	l.add(&found, name, maxArtifact)
	if len(found) != 1 {
		return schema.File{Path: name}, fmt.Errorf("list %s: %s%w", name, strings.Join(l.problems, "; "), errors.Join(l.err, fs.ErrInvalid))
	}
	return found[0], nil
}
