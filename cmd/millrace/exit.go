package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"millrace/cmd/millrace/term"
	"millrace/schema"
	"millrace/workspace"
)

// Exit codes. Scripts rely on them; exitCodes says what they mean.
const (
	exitOK          = 0
	exitDiffers     = 1
	exitUsage       = 2
	exitInvalid     = 3
	exitNoWorkspace = 4
	exitRefused     = 5
	exitLocked      = 6
	exitInternal    = 7
	exitInterrupted = 130
)

// exitCodes is the one table: the help topic prints it.
var exitCodes = []struct {
	code    int
	meaning string
}{
	{exitOK, "it worked"},
	{exitDiffers, "the answer is no: differs (diff, fmt --check), not done (wait, simulate), unhealthy (doctor, verify)"},
	{exitUsage, "the command line is wrong"},
	{exitInvalid, "an input is invalid: a declaration, a document, the configuration, a workflow file"},
	{exitNoWorkspace, "there is no workspace here"},
	{exitRefused, "the state of things forbids it: active, not blocked, not an operator, changed meanwhile"},
	{exitLocked, "another daemon runs this workspace, or another process holds its lock"},
	{exitInternal, "reading or writing failed, or Millrace is at fault"},
	{exitInterrupted, "interrupted"},
}

// A failure is an error that knows its exit code and what to do next.
type failure struct {
	code int
	err  error // nil: the output has said it all
	hint string
}

func (e *failure) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *failure) Unwrap() error { return e.err }

func fail(code int, hint, format string, args ...any) error {
	return &failure{code, fmt.Errorf(format, args...), hint}
}

func usage(hint, format string, args ...any) error   { return fail(exitUsage, hint, format, args...) }
func refused(hint, format string, args ...any) error { return fail(exitRefused, hint, format, args...) }

// silent ends with a code when what was printed is the answer already.
func silent(code int) error { return &failure{code: code} }

// exitCode is the one switch from errors to exit codes; hint is what to do next.
func exitCode(err error) (code int, hint string) {
	var known *failure
	var diags schema.Diagnostics
	var none *workspace.NoWorkspaceError
	var running *workspace.DaemonRunningError
	switch {
	case err == nil, errors.Is(err, syscall.EPIPE):
		return exitOK, ""
	case errors.As(err, &known):
		return known.code, known.hint
	case errors.Is(err, context.Canceled):
		return exitInterrupted, ""
	case errors.As(err, &diags):
		return exitInvalid, "correct it and try again"
	case errors.As(err, &none):
		return exitNoWorkspace, "'millrace init' makes a workspace there; -C PATH names a project elsewhere"
	case errors.As(err, &running):
		return exitLocked, "'millrace stop' ends it; 'millrace lock status' says who it is"
	case errors.As(err, new(*workspace.LockedError)):
		return exitLocked, "try again; 'millrace lock status' says who it is"
	case errors.As(err, new(*workspace.SharedDiskError)):
		return exitRefused, "--single-host is your word that only this host uses it"
	case errors.Is(err, workspace.ErrMoved):
		return exitRefused, "something else changed it meanwhile; try again"
	case errors.Is(err, fs.ErrPermission):
		return exitInternal, "check who owns the file; Millrace must run as the user that owns the workspace"
	case errors.Is(err, syscall.ENOSPC):
		return exitInternal, "make room on the disk; nothing was lost, and what was held goes on"
	}
	return exitInternal, "'millrace doctor' checks the workspace and says what to repair"
}

// report prints an error as people read it and returns the exit code.
func report(f *factory, err error) int {
	if err != nil && !f.ran {
		if _, known := errors.AsType[*failure](err); !known {
			err = usage("'millrace help' lists the commands, 'millrace COMMAND --help' what one takes", "%w", err)
		}
	}
	code, hint := exitCode(err)
	if code == exitOK || err.Error() == "" {
		return code
	}
	if code == exitInterrupted {
		_, _ = fmt.Fprintln(f.io.Err, "interrupted")
		return code
	}
	lines := strings.Split(err.Error(), "\n")
	_, _ = fmt.Fprintf(f.io.Err, "%s %s\n", f.io.PaintErr(term.Red, "error:"), strings.Join(lines, "\n  "))
	if hint != "" {
		_, _ = fmt.Fprintf(f.io.Err, "  %s\n", hint)
	}
	return code
}

func newCmdExitCodes() *cobra.Command {
	var b strings.Builder
	b.WriteString("Exit codes of every command:\n\n")
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "  %3d  %s\n", c.code, c.meaning)
	}
	return &cobra.Command{
		Use: "exit-codes", Short: "what the exit codes mean", Long: strings.TrimSuffix(b.String(), "\n"),
		Annotations: map[string]string{"topic": "yes"},
	}
}

// missing reports whether an error says that there is no such file.
func missing(err error) bool { return errors.Is(err, os.ErrNotExist) }
