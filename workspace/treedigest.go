package workspace

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"millrace/workspace/worktree"
)

// treeTimeout bounds one program that a digest of the working tree needs: the first of a large tree reads all of it.
const treeTimeout = 2 * time.Minute

// TreeDigest is git's digest of the project's working tree without the workspace folder, "" where there is no
// repository.
func (w *Workspace) TreeDigest(ctx context.Context) (string, error) {
	t := worktree.New(w.Project, filepath.Base(w.Dir), func(ctx context.Context, env []string, argv ...string) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, treeTimeout)
		defer cancel()
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Dir, cmd.Env = w.Project, env
		var complaint bytes.Buffer
		cmd.Stderr = &complaint
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("run %s: %w: %s", argv[0], err, strings.TrimSpace(complaint.String()))
		}
		return string(out), nil
	})
	defer t.Close()
	return t.Digest(ctx)
}
