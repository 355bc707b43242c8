// Command millrace is the command line of Millrace: every command, the daemon among them, is a thin
// door to the rooms below. A command that only reads takes no lock; one that changes something
// writes a declaration or commits one audited mutation.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"millrace/cmd/millrace/term"
	"millrace/controllers/dispatch/runner"
)

func main() {
	// "millrace stage FOLDER" is millrace-stage where that is not installed beside. It minds signals
	// itself and shares nothing with the commands.
	if len(os.Args) > 1 && os.Args[1] == "stage" {
		os.Exit(runner.Serve(os.Args[2:], os.Stderr))
	}
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	// A reader that goes away is an error of write, and ends quietly. (Ignoring the signal would do the
	// same, but agents would inherit that.)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		stop() // the second signal ends the process at once
	}()
	f := &factory{io: term.System(), getenv: os.Getenv}
	root := newCmdRoot(f)
	root.SetArgs(args)
	root.SetIn(f.io.In)
	root.SetOut(f.io.Out)
	root.SetErr(f.io.Err)
	err := root.ExecuteContext(ctx)
	if err != nil && ctx.Err() != nil {
		err = context.Canceled
	}
	return report(f, err)
}
