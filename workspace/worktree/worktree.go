// Package worktree owns the digest of the project's working tree: what tells whether the files that a check
// or a judgement was about are still the same. Supervisor and observers share it, so it links neither CUE nor
// the journal.
package worktree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A Run starts a program in the project and returns what it printed; an error holds what it complained of.
type Run func(ctx context.Context, env []string, argv ...string) (string, error)

// A Tree digests the project's working tree as git would commit it, ignored files and the workspace
// folder left out. It works on a copy of the index and writes objects to a folder of its own, so
// that the user's repository is only read.
type Tree struct {
	project  string
	leaveOut string // the workspace folder's name
	run      Run

	temp   string // made at the first digest, kept for the next: git then only looks at what changed
	none   bool   // no repository, or no git
	env    []string
	prefix string // of the project inside its repository
}

// New prepares to digest; leaveOut is the name of the workspace folder in the project.
func New(project, leaveOut string, run Run) *Tree {
	return &Tree{project: project, leaveOut: leaveOut, run: run}
}

// Digest returns git's tree hash, "" where there is no repository.
func (t *Tree) Digest(ctx context.Context) (string, error) {
	if t.temp == "" && !t.none {
		if err := t.open(ctx); err != nil {
			t.Close()
			return "", fmt.Errorf("digest working tree: %w", err)
		}
	}
	if t.none {
		return "", nil
	}
	if _, err := t.git(ctx, "add", "--all", "--", ".", ":(exclude)"+t.leaveOut); err != nil {
		return "", fmt.Errorf("digest working tree: %w", err)
	}
	args := []string{"write-tree", "--missing-ok"}
	if t.prefix != "" {
		args = append(args, "--prefix="+t.prefix)
	}
	hash, err := t.git(ctx, args...)
	if err != nil {
		return "", fmt.Errorf("digest working tree: %w", err)
	}
	return strings.TrimSpace(hash), nil
}

func (t *Tree) open(ctx context.Context) error {
	t.env = gitEnvironment()
	if _, err := exec.LookPath("git"); err != nil {
		t.none = true
		return nil
	}
	repo, err := t.locate(ctx)
	if err != nil || t.none {
		return err
	}
	t.prefix = repo.prefix
	if t.temp, err = os.MkdirTemp("", "millrace-tree-"); err != nil {
		return err
	}
	objects, index := filepath.Join(t.temp, "objects"), filepath.Join(t.temp, "index")
	if err := os.MkdirAll(filepath.Join(objects, "info"), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(objects, "info", "alternates"), []byte(repo.objects+"\n"), 0o600); err != nil {
		return err
	}
	t.env = append(t.env, "GIT_INDEX_FILE="+index, "GIT_OBJECT_DIRECTORY="+objects)
	entries, err := copyIndex(repo.index, index)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was ever added: git starts an empty one
	}
	if err != nil || !mayHold(entries, t.prefix+t.leaveOut+"/") {
		return err
	}
	_, err = t.git(ctx, "rm", "-r", "--cached", "--quiet", "--ignore-unmatch", "--", t.leaveOut)
	return err
}

// A repository is where git keeps what a digest needs, and where the project lies in it.
type repository struct{ index, objects, prefix string }

// locate finds the project's repository. The common one, a plain .git in the project itself, is known
// by what git knows it by; git is asked about any other.
func (t *Tree) locate(ctx context.Context) (repository, error) {
	dir := filepath.Join(t.project, ".git")
	if plain(dir) {
		return repository{filepath.Join(dir, "index"), filepath.Join(dir, "objects"), ""}, nil
	}
	where, err := t.git(ctx, "rev-parse", "--path-format=absolute", "--git-path", "index", "--git-path", "objects", "--show-prefix")
	if err != nil {
		if ctx.Err() == nil && strings.Contains(err.Error(), "not a git repository") {
			t.none = true
			return repository{}, nil
		}
		return repository{}, err
	}
	lines := strings.SplitN(where, "\n", 3)
	if len(lines) < 3 {
		return repository{}, fmt.Errorf("find repository: git says %q", where)
	}
	return repository{lines[0], lines[1], strings.TrimSuffix(lines[2], "\n")}, nil
}

// plain reports whether dir is a repository with a working tree around it and nothing of it elsewhere.
func plain(dir string) bool {
	for name, folder := range map[string]bool{"HEAD": false, "objects": true, "refs": true} {
		if info, err := os.Lstat(filepath.Join(dir, name)); err != nil || info.IsDir() != folder {
			return false
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "commondir")); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	config, err := os.ReadFile(filepath.Join(dir, "config"))
	return err == nil && !bytes.Contains(bytes.ToLower(config), []byte("worktree")) && !bytes.Contains(bytes.ToLower(config), []byte("include"))
}

// mayHold reports whether an index may have an entry below a folder. Versions 2 and 3 write names in
// full; others abbreviate them, or refer to another file.
func mayHold(index []byte, folder string) bool {
	abbreviated := len(index) < 8 || index[7] != 2 && index[7] != 3 || bytes.Contains(index, []byte("link"))
	return abbreviated || bytes.Contains(index, []byte(folder))
}

// Close removes what the digests needed.
func (t *Tree) Close() {
	if t.temp != "" {
		_ = os.RemoveAll(t.temp) // in the system's folder for such files
		t.temp = ""
	}
}

// git runs with what could write to the repository, or run for long, switched off.
func (t *Tree) git(ctx context.Context, args ...string) (string, error) {
	settings := []string{"git", "-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false", "-c", "core.splitIndex=false",
		"-c", "core.hooksPath=/dev/null", "-c", "core.fsync=none", "-c", "core.compression=0", "-c", "core.safecrlf=false",
		"-c", "gc.auto=0", "-c", "advice.addEmbeddedRepo=false"}
	return t.run(ctx, t.env, append(settings, args...)...)
}

// gitEnvironment is ours without what points git at another repository.
func gitEnvironment() []string {
	var env []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "GIT_") {
			env = append(env, entry)
		}
	}
	return append(env, "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
}

// copyIndex keeps the time of the original: by it git tells entries that it must not trust.
func copyIndex(from, to string) ([]byte, error) {
	in, err := os.Open(from)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	return data, errors.Join(os.WriteFile(to, data, 0o600), os.Chtimes(to, info.ModTime(), info.ModTime()))
}
