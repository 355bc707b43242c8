package workspace

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // git's own name of a blob, not a safeguard
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"millrace/schema"
)

// gitTimeout bounds every call of the git program.
const gitTimeout = 20 * time.Second

// A repository is where git keeps what belongs to the project's working tree. Its facts are read from
// its files; the program is asked only what they do not say.
type repository struct {
	top    string // working tree
	dir    string // of this working tree: HEAD, index.lock, MERGE_HEAD
	common string // refs; differs from dir in a linked worktree
}

// findRepository looks for git's folder in the project and the folders above it.
func findRepository(project string) (repository, bool) {
	for top := project; ; top = filepath.Dir(top) {
		dot := filepath.Join(top, ".git")
		if info, err := os.Stat(dot); err == nil {
			dir := dot
			if !info.IsDir() {
				data, err := os.ReadFile(dot)
				link, ok := strings.CutPrefix(strings.TrimSpace(string(data)), "gitdir: ")
				if err != nil || !ok {
					return repository{}, false
				}
				dir = resolve(top, link)
			}
			common := dir
			if data, err := os.ReadFile(filepath.Join(dir, "commondir")); err == nil {
				common = resolve(dir, strings.TrimSpace(string(data)))
			}
			return repository{top, dir, common}, true
		}
		if filepath.Dir(top) == top {
			return repository{}, false
		}
	}
}

func resolve(base, link string) string {
	if filepath.IsAbs(link) {
		return link
	}
	return filepath.Join(base, link)
}

// operations are the files that say what git is in the middle of.
var operations = []struct{ file, name string }{
	{"rebase-merge", "rebase"},
	{"rebase-apply", "rebase"},
	{"MERGE_HEAD", "merge"},
	{"CHERRY_PICK_HEAD", "cherry-pick"},
	{"REVERT_HEAD", "revert"},
	{"BISECT_LOG", "bisect"},
	{"index.lock", "index.lock (a checkout, commit or the like)"},
}

// busy names the operation under way, or "".
func (r repository) busy() string {
	for _, op := range operations {
		if _, err := os.Lstat(filepath.Join(r.dir, op.file)); err == nil {
			return op.name
		}
	}
	return ""
}

// facts reads branch, commit and operation.
func (r repository) facts() GitFacts {
	f := GitFacts{Repository: true, Busy: r.busy()}
	data, err := os.ReadFile(filepath.Join(r.dir, "HEAD"))
	if err != nil {
		f.Busy = "HEAD cannot be read"
		return f
	}
	head := strings.TrimSpace(string(data))
	ref, symbolic := strings.CutPrefix(head, "ref: ")
	if !symbolic {
		f.Branch, f.Head = head, head
		return f
	}
	f.Branch = strings.TrimPrefix(ref, "refs/heads/")
	if f.Head = r.ref(ref); f.Head == "" && f.Branch == ".invalid" { // reftable: only git can read it
		f.Branch, f.Head = r.ask("symbolic-ref", "--short", "HEAD"), r.ask("rev-parse", "HEAD")
	}
	return f
}

// ref finds a commit by its ref; "" when the branch is unborn.
func (r repository) ref(name string) string {
	if data, err := os.ReadFile(filepath.Join(r.common, filepath.FromSlash(name))); err == nil {
		return strings.TrimSpace(string(data))
	}
	data, err := os.ReadFile(filepath.Join(r.common, "packed-refs"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if id, rest, ok := strings.Cut(strings.TrimSpace(line), " "); ok && rest == name {
			return id
		}
	}
	return ""
}

func (r repository) ask(args ...string) string {
	out, err := r.run(context.Background(), args...)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// run asks the git program, which takes no lock for it and asks nobody anything.
func (r repository) run(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", append([]string{"--literal-pathspecs", "-c", "core.fsmonitor=false"}, args...)...)
	cmd.Dir = r.top
	cmd.Env = append(os.Environ(), "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C",
		"GIT_DIR="+r.dir, "GIT_WORK_TREE="+r.top)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		if detail := strings.TrimSpace(stderr.String()); detail != "" {
			return nil, fmt.Errorf("run git %s: %w: %s", args[0], err, detail)
		}
		return nil, fmt.Errorf("run git %s: %w", args[0], err)
	}
	return out, nil
}

// tracked lists the files below a folder (absolute) that the index holds, relative to that folder.
func (r repository) tracked(ctx context.Context, dir string) ([]string, error) {
	rel, err := filepath.Rel(r.top, dir)
	if err != nil {
		return nil, fmt.Errorf("find %s in %s: %w", dir, r.top, err)
	}
	out, err := r.run(ctx, "ls-files", "-z", "--", filepath.ToSlash(rel))
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range strings.SplitSeq(string(out), "\x00") {
		if inner, ok := strings.CutPrefix(name, filepath.ToSlash(rel)+"/"); ok {
			names = append(names, inner)
		}
	}
	return names, nil
}

// blobs names the bytes that HEAD and the index have at the given paths below dir.
func (r repository) blobs(ctx context.Context, dir string, paths []string) (head map[string]string, index map[string]bool, err error) {
	rel, err := filepath.Rel(r.top, dir)
	if err != nil {
		return nil, nil, fmt.Errorf("find %s in %s: %w", dir, r.top, err)
	}
	prefix := filepath.ToSlash(rel) + "/"
	if rel == "." {
		prefix = ""
	}
	args := []string{}
	for _, p := range paths {
		args = append(args, prefix+p)
	}
	head, index = map[string]string{}, map[string]bool{}
	out, err := r.run(ctx, append([]string{"ls-files", "-z", "--"}, args...)...)
	if err != nil {
		return nil, nil, err
	}
	for name := range strings.SplitSeq(string(out), "\x00") {
		index[strings.TrimPrefix(name, prefix)] = true
	}
	out, err = r.run(ctx, append([]string{"ls-tree", "-z", "HEAD", "--"}, args...)...)
	if err != nil { // no commit yet
		return head, index, nil //nolint:nilerr // nothing is committed then
	}
	for entry := range strings.SplitSeq(string(out), "\x00") {
		meta, name, ok := strings.Cut(entry, "\t")
		if fields := strings.Fields(meta); ok && len(fields) == 3 && fields[1] == "blob" {
			head[strings.TrimPrefix(name, prefix)] = fields[2]
		}
	}
	return head, index, nil
}

// removed reports whether a commit took the path below dir away: that HEAD does not have it may also
// mean that git never knew it.
func (r repository) removed(ctx context.Context, dir, path string) bool {
	rel, err := filepath.Rel(r.top, filepath.Join(dir, filepath.FromSlash(path)))
	if err != nil {
		return false
	}
	out, err := r.run(ctx, "log", "-1", "--format=%H", "--diff-filter=D", "--", filepath.ToSlash(rel))
	return err == nil && len(bytes.TrimSpace(out)) > 0
}

// isBlob reports whether git's name of the bytes is id.
func isBlob(id string, data []byte) bool {
	content := append(fmt.Appendf(nil, "blob %d\x00", len(data)), data...)
	if len(id) == sha256.Size*2 {
		sum := sha256.Sum256(content)
		return hex.EncodeToString(sum[:]) == id
	}
	sum := sha1.Sum(content) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:]) == id
}

// gitWatch keeps the facts about git, and which of the paths in question are committed as they are.
type gitWatch struct {
	project string // absolute
	dir     string // absolute, of the workspace folder
	facts   GitFacts
	asked   map[string]schema.Digest // paths in question with the bytes seen there
	known   map[string]gitPath
	trouble error // why git did not answer
}

type gitPath struct {
	head      string // HEAD when it was asked
	digest    schema.Digest
	tracked   bool
	committed bool
}

// look reads the facts. before is the operation seen before the folders were read: a checkout that
// ended in between still counts, because the folders were read while it worked.
func (g *gitWatch) look(before string) {
	repo, ok := findRepository(g.project)
	if !ok {
		g.facts = GitFacts{}
		return
	}
	committed := g.facts.Committed
	g.facts = repo.facts()
	g.facts.Committed = committed
	if g.facts.Busy == "" {
		g.facts.Busy = before
	}
}

func (g *gitWatch) busy() string {
	if repo, ok := findRepository(g.project); ok {
		return repo.busy()
	}
	return ""
}

// compare finds out which of the paths in question HEAD has with the same bytes. It asks git only
// about what is new since the last time: another HEAD or other bytes. Where git does not answer,
// nothing is known to be committed, and what is held stays held.
func (g *gitWatch) compare(ctx context.Context, read func(string) ([]byte, error)) {
	g.facts.Committed = nil
	repo, ok := findRepository(g.project)
	if !ok || len(g.asked) == 0 {
		g.trouble = nil
		return
	}
	var ask []string
	for p, d := range g.asked {
		if k, ok := g.known[p]; !ok || k.head != g.facts.Head || k.digest != d {
			ask = append(ask, p)
		}
	}
	if len(ask) > 0 {
		g.ask(ctx, repo, ask, read)
	}
	g.facts.Committed = map[string]schema.Digest{}
	for p, d := range g.asked {
		if g.known[p].committed {
			g.facts.Committed[p] = d
		}
	}
}

func (g *gitWatch) ask(ctx context.Context, repo repository, paths []string, read func(string) ([]byte, error)) {
	var head map[string]string
	var index map[string]bool
	head, index, g.trouble = repo.blobs(ctx, g.dir, paths)
	for _, p := range paths {
		k := gitPath{head: g.facts.Head, digest: g.asked[p], tracked: index[p]}
		switch data, err := read(p); {
		case g.trouble != nil:
		case err == nil:
			k.committed = schema.DigestOf(data) == k.digest && isBlob(head[p], data)
		case errors.Is(err, fs.ErrNotExist):
			k.committed = k.digest == "" && head[p] == "" && repo.removed(ctx, g.dir, p)
		}
		g.known[p] = k
	}
}

// gitPatience is how often git is looked at while something waits for it.
const gitPatience = time.Second

// waited reports whether something waits for git: an operation to end before absence means
// something, or a commit that would release what is held.
func (g *gitWatch) waited(unreconciled bool) bool {
	return g.facts.Busy != "" && unreconciled || len(g.asked) > len(g.facts.Committed)
}

// view shows the facts, and notes which paths are in question now: what is held, what an agent at
// work may have changed, and declarations of an operator's decisions. It reports whether git must be
// asked about any of them.
func (g *gitWatch) view(s *State, v *View) (GitFacts, bool) {
	asked := map[string]schema.Digest{}
	if g.facts.Repository {
		note := func(p string) {
			if f := v.Intake.Files[p]; f != nil {
				asked[p] = f.Digest
			} else {
				asked[p] = v.Compiled.Read[p] // also of a file that no plan would use now
			}
		}
		for p := range s.Control.Held {
			note(p)
		}
		if len(s.Runs) > 0 {
			for _, p := range v.Compiled.Changed {
				note(p)
			}
		}
		for _, list := range [][]Declared{v.Intake.Control, v.Intake.Approval} {
			for _, d := range list {
				note(d.Path)
			}
		}
	}
	g.asked = asked
	unknown := false
	for p, d := range asked {
		k, known := g.known[p]
		known = known && k.digest == d && k.head == g.facts.Head
		unknown = unknown || !known
		if f := v.Intake.Files[p]; f != nil {
			f.Tracked, f.Committed = known && k.tracked, known && k.committed
		}
	}
	return g.facts, unknown
}
