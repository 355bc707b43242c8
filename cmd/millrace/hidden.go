package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"millrace/cmd/millrace/demoagent"
)

// newCmdDemoAgent is the agent of the demo workspace.
func newCmdDemoAgent(f *factory) *cobra.Command {
	return &cobra.Command{
		Use: "demo-agent", Short: "the agent of the demo: a deterministic program, no model", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := demoagent.Run(cmd.Context(), f.io.In, f.io.Out, os.Getenv)
			if errors.Is(err, demoagent.ErrAlone) {
				return usage("'millrace init --demo' makes a workspace that uses it", "%w", err)
			}
			return err
		},
	}
}
