// Command millrace-stage is the supervisor of one stage: Millrace starts it with a request folder.
package main

import (
	"os"

	"millrace/controllers/dispatch/runner"
)

func main() { os.Exit(runner.Serve(os.Args[1:], os.Stderr)) }
