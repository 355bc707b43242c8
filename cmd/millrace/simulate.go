package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"millrace/cmd/millrace/term"
	"millrace/schema"
	"millrace/schema/simulate"
)

type simulateOptions struct {
	compileOptions
	script string
}

func newCmdSimulate(f *factory, runF func(*cobra.Command, *simulateOptions) error) *cobra.Command {
	o := &simulateOptions{compileOptions: compileOptions{f: f}}
	cmd := &cobra.Command{Use: "simulate --script FILE", Short: "where made-up outcomes lead in a plan; no agents", Args: cobra.NoArgs,
		Long: "Route a script of outcomes through the plan that configuration and workflow files make, and print the path, the\n" +
			"budgets spent and the end. Nothing runs and nothing is written; outside of a workspace the shipped files count.\n\n" +
			"A line that names a family and an id begins an item, each other line is how the stage ended where it stands:\n" +
			"an outcome, or a failure class like runner_timeout. What may follow an outcome:\n\n" +
			"  checks=fail          the item's checks do not pass (else they do)\n" +
			"  key=WORD             what an effect of the edge decided, where the edge has routes\n" +
			"  resume_stage=STAGE   where a stage that may choose wishes to go on (or what else the edge calls it)\n" +
			"  class=CLASS          a result class other than the outcome's first\n\n" +
			"An item's line may say target_stage=STAGE. \"#\" begins a comment. FILE may be \"-\" for standard input.\n" +
			"Exit code 1 when an item has not come to an end.",
		Example: "  millrace simulate --mode standard --script - <<'END'\n" +
			"  task add-api\n  BUILDER_COMPLETE\n  CHECKER_PASS checks=fail\n  FIXER_COMPLETE\n  DOUBLECHECK_PASS\n  UPDATE_COMPLETE\n  END"}
	o.out.flag(cmd)
	o.flags(cmd)
	cmd.Flags().StringVar(&o.script, "script", "", "file with the outcomes (required; - is standard input)")
	return leaf(cmd, o, runF, runSimulate)
}

// simulationShape is what made-up outcomes came to.
type simulationShape struct {
	SchemaVersion int                 `json:"schema_version"`
	Plan          schema.Digest       `json:"plan"`
	Mode          string              `json:"mode"`
	Ended         bool                `json:"ended"` // every item has come to an end
	Items         []*simulate.Passage `json:"items"`
}

func runSimulate(_ *cobra.Command, o *simulateOptions) error {
	if o.script == "" {
		return usage("'millrace simulate --help' shows how to write one", "name the script with --script FILE")
	}
	name, text, err := o.read()
	if err != nil {
		return err
	}
	res, err := o.compile()
	if err != nil {
		return err
	}
	if res.Plan == nil {
		return res.Diags
	}
	items, err := simulate.Script(res.Plan, name, text)
	if err != nil {
		return err
	}
	open := func(s *simulate.Passage) bool { return !s.Ended() }
	shown := simulationShape{schema.Version, res.Digest, res.Plan.Mode, !slices.ContainsFunc(items, open), items}
	ends := names(items, func(s *simulate.Passage) string { return s.Item.String() })
	if err := o.f.io.Print(o.out.Value, term.Report{Data: shown, Names: ends, Text: func(wide bool) { o.tell(items, wide) }}); err != nil {
		return err
	}
	if !shown.Ended {
		return silent(exitDiffers)
	}
	return nil
}

// read is the script, and what its diagnostics call it.
func (o *simulateOptions) read() (name string, text []byte, err error) {
	name = o.script
	if name == "-" {
		name = "stdin"
		text, err = io.ReadAll(io.LimitReader(o.f.io.In, schema.MaxFile+1))
	} else {
		text, err = readCapped(name)
	}
	switch {
	case missing(err):
		return "", nil, usage("--script names the file with the outcomes", "there is no file %s", name)
	case err != nil:
		return "", nil, fmt.Errorf("read script: %w", err)
	case len(text) > schema.MaxFile:
		return "", nil, fail(exitInvalid, "split it", "%s is longer than %d bytes", name, schema.MaxFile)
	}
	return name, text, nil
}

func (o *simulateOptions) tell(items []*simulate.Passage, wide bool) {
	for i, s := range items {
		if i > 0 {
			_, _ = fmt.Fprintln(o.f.io.Out)
		}
		_, _ = fmt.Fprintf(o.f.io.Out, "%s in %s\n", o.f.io.Paint(term.Bold, s.Item.String()), s.Graph)
		t := term.NewTable("LINE", "NODE", "SAID", "TO", "+EFFECTS", "WHY")
		for _, m := range s.Moves {
			t.Row(m.Line, term.Cell{Text: m.Node, Style: term.Bold}, m.Said, m.To, strings.Join(m.Effects, " "), m.Why)
		}
		if t.Len() > 0 {
			t.Print(o.f.io, wide)
		}
		_, _ = fmt.Fprintf(o.f.io.Out, "budgets spent: %s\n", orElse(s.Budgets(), "none"))
		if s.Ended() {
			_, _ = fmt.Fprintf(o.f.io.Out, "end: %s, the item is %s\n", s.End, s.State)
		} else {
			_, _ = fmt.Fprintf(o.f.io.Out, "no end: it stands at %s, which ends with %s\n", s.Node, strings.Join(s.Legal, ", "))
		}
	}
}
