package workspace

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"millrace/schema"
)

// manyPaths is beyond how many files git is asked about their folder instead.
const manyPaths = 100

// Committers says who committed the given files below the workspace folder as they are, or as they are
// in a revision: "Ann <ann@example.org> in 1a2b3c4". Files without a commit, or changed since, are left
// out, and so is everything where there is no git.
func (w *Workspace) Committers(ctx context.Context, rev string, paths []string) (map[string]string, error) {
	found := map[string]string{}
	repo, ok := findRepository(w.Project)
	if !ok || len(paths) == 0 {
		return found, nil
	}
	wanted := map[string]bool{}
	for _, p := range paths {
		wanted[p] = true
	}
	if rev == "" {
		head, _, err := repo.blobs(ctx, w.Dir, paths)
		if err != nil {
			return nil, err
		}
		for p := range wanted {
			if data, err := w.ReadFile(p, schema.MaxFile); err != nil || !isBlob(head[p], data) {
				delete(wanted, p) // gone, changed or never committed
			}
		}
		rev = "HEAD"
	}
	rel, err := filepath.Rel(repo.top, w.Dir)
	if err != nil {
		return nil, fmt.Errorf("find %s in %s: %w", w.Dir, repo.top, err)
	}
	return found, repo.committers(ctx, rev, filepath.ToSlash(rel), wanted, found)
}

// committers reads the log of the wanted paths below dir, newest first.
func (r repository) committers(ctx context.Context, rev, dir string, wanted map[string]bool, found map[string]string) error {
	if len(wanted) == 0 {
		return nil
	}
	args := []string{"-c", "core.quotepath=off", "log", "--format=%x01%an <%ae> in %h", "--name-only", "--no-renames", rev, "--"}
	if len(wanted) > manyPaths {
		args = append(args, path.Join(dir, IntakeDir))
	} else {
		for p := range wanted {
			args = append(args, path.Join(dir, p))
		}
	}
	out, err := r.run(ctx, args...)
	if err != nil {
		return err
	}
	who := ""
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSuffix(line, "\n")
		if by, commit := strings.CutPrefix(line, "\x01"); commit {
			who = by
			continue
		}
		name := line
		if dir != "." {
			name = strings.TrimPrefix(line, dir+"/")
		}
		if wanted[name] && found[name] == "" {
			found[name] = who
		}
	}
	return nil
}
