package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"millrace/schema"
	"millrace/workspace/reqdir"
)

const checkTimeout = 10 * time.Minute // where neither check nor configuration says

// checks runs the item's checks one after the other and records what each said, on which tree, and whether it
// left that tree as it was. It stops at the end of ctx; a check that was not run has no record.
func (s *supervisor) checks(ctx context.Context, when string) ([]schema.CheckRecord, error) {
	if err := os.MkdirAll(filepath.Join(s.dir, schema.ChecksFolder), 0o755); err != nil {
		return nil, fmt.Errorf("run checks: %w", err)
	}
	var records []schema.CheckRecord
	digest, treeErr := s.tree.Digest(ctx)
	for i, check := range s.request.Checks {
		if ctx.Err() != nil {
			break
		}
		record := schema.CheckRecord{Name: check.Name, Run: check.Run, ExitCode: -1, Tree: digest}
		if err := s.check(ctx, check, fmt.Sprintf("%s/%s-%d.log", schema.ChecksFolder, when, i+1), &record); err != nil {
			record.Passed, record.Detail = false, err.Error()
		}
		remark := func(text string) { record.Detail = strings.TrimPrefix(record.Detail+"; "+text, "; ") }
		known := treeErr == nil
		if !known {
			remark(treeErr.Error())
		}
		if ctx.Err() == nil {
			digest, treeErr = s.tree.Digest(ctx)
		}
		if known && treeErr == nil && digest != record.Tree {
			record.TreeAfter = digest
			remark("it changed the working tree")
		}
		records = append(records, record)
	}
	return records, nil
}

// check runs one check and fills its record; an error means that it could not be run.
func (s *supervisor) check(ctx context.Context, check schema.Check, log string, record *schema.CheckRecord) error {
	folder, err := s.inProject(check.In)
	if err != nil {
		return err
	}
	t, err := openTranscript(filepath.Join(s.dir, log), checkLogCap)
	if err != nil {
		return err
	}
	timeout := time.Duration(check.Timeout)
	if timeout <= 0 {
		timeout = checkTimeout
	}
	env := s.environment()
	shell, err := find("sh", s.project, env)
	if err != nil {
		_, _ = t.close()
		return fmt.Errorf("start check: %w", err)
	}
	said := s.keys.over(t)
	began := time.Now()
	e, err := s.group.run(ctx, &program{path: shell, argv: []string{"sh", "-c", check.Run}, env: env,
		dir: folder, stdout: said, stderr: said, timeout: timeout})
	record.Duration = schema.Duration(time.Since(began).Round(time.Millisecond))
	_ = said.Close() // a transcript takes everything
	dropped, closeErr := t.close()
	file, fileErr := reqdir.FileOf(s.dir, log)
	record.Log = file
	record.Log.Dropped = dropped
	if err := errors.Join(err, closeErr, fileErr); err != nil {
		return err
	}
	switch {
	case e.stopped == schema.ExitTimeout:
		record.Detail = fmt.Sprintf("ended after its timeout of %v", schema.Duration(timeout))
	case e.stopped != "":
		record.Detail = "ended because its request was cancelled"
	case e.status.Signaled():
		record.ExitCode = 128 + int(e.status.Signal())
		record.Detail = fmt.Sprintf("ended by signal %v", e.status.Signal())
	default:
		record.ExitCode = e.status.ExitStatus()
		record.Passed = record.ExitCode == 0
	}
	return nil
}

// inProject is the folder a check runs in; it must be inside the project, links followed.
func (s *supervisor) inProject(in string) (string, error) {
	if in == "" {
		return s.project, nil
	}
	root, err := os.OpenRoot(s.project)
	if err != nil {
		return "", fmt.Errorf("open project: %w", err)
	}
	defer func() { _ = root.Close() }() // only read
	info, err := root.Stat(in)
	if err != nil {
		return "", fmt.Errorf("find the check's folder in the project: %w", err)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("find the check's folder in the project: %s is not a folder", in)
	}
	return filepath.Join(s.project, in), nil
}

// captureLimit bounds what is read of a helper program's output.
const captureLimit = 64 << 10

// capture runs a helper program in the project and returns what it printed.
func (s *supervisor) capture(ctx context.Context, env []string, argv ...string) (string, error) {
	path, err := find(argv[0], s.project, env)
	if err != nil {
		return "", err
	}
	env = append(slices.Clone(env), schema.RequestEnv+"="+s.request.ID, schema.RunEnv+"="+s.request.Run)
	var out, errs buffer
	e, err := s.group.run(ctx, &program{path: path, argv: argv, env: env, dir: s.project,
		stdout: &out, stderr: &errs, timeout: 2 * time.Minute})
	if err != nil {
		return "", err
	}
	if e.stopped != "" || !e.status.Exited() || e.status.ExitStatus() != 0 {
		return "", fmt.Errorf("run %s: %s (exit code %d)", argv[0], bytes.TrimSpace(errs.data), e.status.ExitStatus())
	}
	return string(out.data), nil
}

// A buffer keeps the first captureLimit bytes.
type buffer struct{ data []byte }

func (b *buffer) Write(p []byte) (int, error) {
	b.data = append(b.data, p[:min(len(p), captureLimit-len(b.data))]...)
	return len(p), nil
}
