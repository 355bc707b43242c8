package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"millrace/schema"
	"millrace/workspace"
)

func TestExitCodesOfErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{
		{nil, 0},
		{syscall.EPIPE, 0},
		{silent(exitDiffers), 1},
		{usage("x", "y"), 2},
		{schema.Diagnostics{{Severity: schema.Error, Message: "x"}}, 3},
		{&workspace.NoWorkspaceError{}, 4},
		{refused("x", "y"), 5},
		{workspace.ErrMoved, 5},
		{&workspace.SharedDiskError{}, 5},
		{&workspace.DaemonRunningError{}, 6},
		{&workspace.LockedError{Err: context.DeadlineExceeded}, 6},
		{&workspace.LockedError{Err: context.Canceled}, 130},
		{fs.ErrPermission, 7},
		{syscall.ENOSPC, 7},
		{errors.New("x"), 7},
		{context.Canceled, 130},
	} {
		if c.err != nil {
			c.err = fmt.Errorf("do it: %w", c.err)
		}
		if code, hint := exitCode(c.err); code != c.code || code > 1 && code < 130 && hint == "" {
			t.Errorf("%v: %d %q, want %d", c.err, code, hint, c.code)
		}
	}
}
