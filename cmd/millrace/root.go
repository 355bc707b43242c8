package main

import (
	"github.com/spf13/cobra"
)

// newCmdRoot assembles the command line.
func newCmdRoot(f *factory) *cobra.Command {
	root := &cobra.Command{
		Use:   "millrace",
		Short: "declare work in files, see it done",
		Long: "Millrace runs governed, long-lived AI coding work in a project folder: drop a file into\n" +
			"millrace-agents/intake/, and it is validated, admitted, built, checked, updated and done,\n" +
			"under one frozen plan, one audited change at a time.\n\n" +
			"Start with 'millrace init', then 'millrace run daemon'; 'millrace why' says what it waits for.",
		Version: version,
		Example: "  millrace init --mode standard\n" +
			"  millrace add-task --title 'Add a --json flag' --acceptance '`status --json` prints one object'\n" +
			"  millrace run daemon --monitor basic\n" +
			"  millrace why add-a-json-flag",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		PersistentPreRun: func(*cobra.Command, []string) {
			f.ran = true
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(suggest(cmd, args[0]), "there is no command %q", args[0])
			}
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("'"+cmd.CommandPath()+" --help' shows what it takes", "%w", err)
	})
	root.PersistentFlags().StringVarP(&f.dir, "workspace", "C", "", "project folder (default: the nearest parent with millrace-agents)")
	root.PersistentFlags().BoolP("help", "h", false, "show help")
	if err := root.MarkPersistentFlagDirname("workspace"); err != nil {
		panic(err) // the flag was added a line before
	}
	for _, g := range []struct {
		id, title string
		cmds      []*cobra.Command
	}{
		{"do", "Do:", []*cobra.Command{newCmdInit(f, nil), newCmdRun(f), newCmdAddTask(f, nil), newCmdQueue(f), newCmdClosure(f), newCmdApprovals(f),
			newCmdPause(f, nil), newCmdResume(f, nil), newCmdStop(f, nil), newCmdReload(f, nil), newCmdControl(f)}},
		{"look", "Look:", []*cobra.Command{newCmdStatus(f), newCmdWhy(f, nil), newCmdGet(f, nil), newCmdDescribe(f, nil),
			newCmdRuns(f), newCmdHistory(f, nil), newCmdWait(f, nil)}},
		{"declare", "Declare:", []*cobra.Command{newCmdValidate(f, nil), newCmdFmt(f, nil), newCmdDiff(f, nil), newCmdIntake(f)}},
		{"plan", "Plan and configuration:", []*cobra.Command{newCmdCompile(f), newCmdSimulate(f, nil), newCmdPlan(f), newCmdModes(f), newCmdConfig(f)}},
		{"care", "Care:", []*cobra.Command{newCmdDoctor(f, nil), newCmdVerify(f, nil), newCmdLock(f), newCmdVersion(f, nil)}},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, c := range g.cmds {
			c.GroupID = g.id
			root.AddCommand(c)
		}
	}
	root.AddCommand(newCmdExitCodes(), newCmdDemoAgent(f))
	root.SetHelpCommandGroupID("care")
	root.SetCompletionCommandGroupID("care")
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() { // cobra's own, in the words of the others
		case "help":
			c.Short = "what a command does and takes"
		case "completion":
			c.Short = "completion for bash, zsh, fish and powershell: commands, ids, modes"
		}
	}
	return root
}

func suggest(cmd *cobra.Command, word string) string {
	if near := cmd.SuggestionsFor(word); len(near) > 0 {
		return "did you mean 'millrace " + near[0] + "'?"
	}
	return "'millrace help' lists the commands"
}
