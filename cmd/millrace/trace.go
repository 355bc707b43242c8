package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"millrace/cmd/millrace/monitor"
	"millrace/cmd/millrace/term"
	"millrace/schema"
	"millrace/workspace"
	"millrace/workspace/reqdir"
)

// allRuns lists the ids of all runs, oldest first: they sort by time.
func allRuns(w *workspace.Workspace) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(w.Dir, workspace.RunsDir))
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), "run-") {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

func readRun(w *workspace.Workspace, id string) (*schema.Run, error) {
	data, err := w.ReadFile(workspace.RunFile(id), schema.MaxFile*64)
	if err != nil {
		return nil, fmt.Errorf("read run: %w", err)
	}
	r := new(schema.Run)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("read %s: %w", workspace.RunFile(id), err)
	}
	return r, nil
}

func newCmdRunsTrace(f *factory, runF func(*cobra.Command, *runsOptions) error) *cobra.Command {
	o := &runsOptions{f: f}
	cmd := &cobra.Command{Use: "trace RUN", Short: "the way a run took: results and the routing decisions between them", Args: cobra.ExactArgs(1),
		Example: "  millrace runs trace latest\n  millrace runs trace latest -o mermaid", ValidArgsFunction: f.runs}
	o.out.flag(cmd, "mermaid", "dot")
	return leaf(cmd, o, runF, runRunsTrace, func(args []string) { o.run = args[0] })
}

func runRunsTrace(_ *cobra.Command, o *runsOptions) error {
	w, err := o.f.open()
	if err != nil {
		return err
	}
	r, err := findRun(w, o.run)
	if err != nil {
		return err
	}
	t := workspace.TraceOf(r)
	if r.Request != "" {
		t.Nodes[len(t.Nodes)-1].Waiting = seenOf(w, r).Waits
	}
	switch o.out.Value {
	case "mermaid":
		_, err = io.WriteString(o.f.io.Out, traceMermaid(t))
		return err
	case "dot":
		_, err = io.WriteString(o.f.io.Out, traceDot(t))
		return err
	}
	return o.f.io.Print(o.out.Value, term.Report{Data: t, Names: []string{r.ID}, Text: func(bool) { traceText(o.f.io, r, t) }})
}

func traceText(io *term.IO, r *schema.Run, t workspace.Trace) {
	_, _ = fmt.Fprintf(io.Out, "%s  %s  %s\n", io.Paint(term.Bold, r.Item.String()), r.Graph, io.Paint(term.Dim, r.ID))
	width := 0
	for _, n := range t.Nodes {
		width = max(width, len(n.Node))
	}
	said, to := 0, 0
	for _, st := range r.Steps {
		said, to = max(said, len(outcomeCell(st).Text)), max(to, len(st.To))
	}
	for i, st := range r.Steps {
		c := outcomeCell(st)
		_, _ = fmt.Fprintf(io.Out, "  %-*s  %s%s  → %-*s  %s\n", width, st.Node, io.Paint(c.Style, c.Text), strings.Repeat(" ", said-len(c.Text)),
			to, st.To, io.Paint(term.Dim, strings.TrimSpace(elapsed(st)+"  "+spent(r, st)+monitor.Reason(term.OneLine(st.Why), st.Outcome, st.To))))
		if st.Message != "" {
			_, _ = fmt.Fprintf(io.Out, "  %-*s  %s\n", width, "", term.OneLine(st.Message))
		}
		for _, k := range t.Edges[i].Spawned {
			_, _ = fmt.Fprintf(io.Out, "  %-*s  + %s\n", width, "", k)
		}
	}
	if r.State == schema.RunEnded {
		_, _ = fmt.Fprintf(io.Out, "  %s\n", io.Paint(term.Bold, r.End))
		return
	}
	_, _ = fmt.Fprintf(io.Out, "  %-*s  %s\n", width, r.Node, io.Paint(term.Cyan, r.State))
	if what := t.Nodes[len(t.Nodes)-1].Waiting; what != "" {
		_, _ = fmt.Fprintf(io.Out, "  %-*s  %s\n", width, "", io.Paint(term.Yellow, "its agent waits: "+what))
	}
}

// spent tells the tokens of a stage, in a run where anybody counted them.
func spent(r *schema.Run, st schema.Step) string {
	if sum, _ := tokens(r); sum == nil || st.Started.IsZero() {
		return ""
	}
	if st.Tokens == nil {
		return "tokens unknown  "
	}
	return usedBy(st) + " tokens  "
}

func traceMermaid(t workspace.Trace) string {
	var b strings.Builder
	b.WriteString("flowchart TD\n")
	for i, n := range t.Nodes {
		fmt.Fprintf(&b, "  n%d[\"%s\"]\n", i, quoteless(n.Node))
	}
	for _, e := range t.Edges {
		to := fmt.Sprintf("n%d", e.Next)
		if e.Next < 0 {
			to = fmt.Sprintf("end%d([\"%s\"])", e.From, quoteless(e.To))
		}
		fmt.Fprintf(&b, "  n%d -->|\"%s\"| %s\n", e.From, quoteless(cameTo(t.Nodes[e.From])), to)
	}
	return b.String()
}

// cameTo is the outcome of a stage, or the failure that took no outcome's route.
func cameTo(n workspace.TraceNode) string { return orElse(n.Outcome, n.Failure) }

func quoteless(s string) string { return strings.ReplaceAll(term.OneLine(s), `"`, "'") }

func traceDot(t workspace.Trace) string {
	var b strings.Builder
	b.WriteString("digraph trace {\n  rankdir=TB;\n  node [shape=box];\n")
	for i, n := range t.Nodes {
		fmt.Fprintf(&b, "  n%d [label=%q];\n", i, n.Node)
	}
	for _, e := range t.Edges {
		to := fmt.Sprintf("n%d", e.Next)
		if e.Next < 0 {
			to = fmt.Sprintf("end%d", e.From)
			fmt.Fprintf(&b, "  %s [label=%q, shape=oval];\n", to, e.To)
		}
		fmt.Fprintf(&b, "  n%d -> %s [label=%q];\n", e.From, to, cameTo(t.Nodes[e.From]))
	}
	b.WriteString("}\n")
	return b.String()
}

func newCmdRunsTail(f *factory, runF func(*cobra.Command, *runsOptions) error) *cobra.Command {
	o := &runsOptions{f: f}
	cmd := &cobra.Command{Use: "tail [RUN]", Short: "follow what the agents of a run print, until it ends", Args: cobra.MaximumNArgs(1),
		Long: "Follow what the agents of a run print, stage after stage, until the run ends. Without RUN: the run\nthat is under way.", ValidArgsFunction: f.runs}
	return leaf(cmd, o, runF, runRunsTail, func(args []string) {
		if len(args) > 0 {
			o.run = args[0]
		}
	})
}

func runRunsTail(cmd *cobra.Command, o *runsOptions) error {
	w, v, err := o.f.state()
	if err != nil {
		return err
	}
	if o.run == "" {
		active := v.ActiveRuns()
		if len(active) == 0 {
			return refused("'millrace runs tail latest' shows the last one", "nothing is running")
		}
		o.run = active[len(active)-1].ID
	}
	r, err := findRun(w, o.run)
	if err != nil {
		return err
	}
	shown := map[string]bool{}
	for {
		var requests []string
		for _, s := range r.Steps {
			requests = append(requests, s.Request)
		}
		if r.Request != "" && !slices.Contains(requests, r.Request) {
			requests = append(requests, r.Request)
		}
		for _, id := range requests {
			if shown[id] {
				continue
			}
			shown[id] = true
			if err := o.follow(cmd.Context(), w, r.ID, id); err != nil {
				return err
			}
		}
		if r.State == schema.RunEnded {
			o.f.say("run %s ended at %s", r.ID, r.End)
			return nil
		}
		if err := sleep(cmd.Context(), 200*time.Millisecond); err != nil {
			return err
		}
		if r, err = readRun(w, r.ID); err != nil {
			return err
		}
	}
}

// follow copies a request's transcript as it grows, until nobody writes it any more.
func (o *runsOptions) follow(ctx context.Context, w *workspace.Workspace, run, request string) error {
	dir := filepath.Join(w.Dir, filepath.FromSlash(workspace.RequestDir(run, request)))
	if req, err := reqdir.ReadRequest(dir); err == nil {
		o.f.say("%s", o.f.io.PaintErr(term.Bold, fmt.Sprintf("== %s, attempt %d, runner %s", req.Node, req.Attempt, req.Runner.Name)))
	}
	var in *bufio.Reader
	for {
		over := finished(dir) // asked before the last copy, so that nothing is missed
		if in == nil {
			f, err := os.Open(filepath.Join(dir, schema.StdoutFile))
			switch {
			case err == nil:
				defer func() { _ = f.Close() }()
				in = bufio.NewReader(f)
			case !missing(err):
				return fmt.Errorf("open transcript: %w", err)
			}
		}
		if in != nil {
			if _, err := io.Copy(o.f.io.Out, in); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
		}
		if over {
			return nil
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// finished reports whether nobody writes into a request folder any more.
func finished(dir string) bool {
	if _, err := reqdir.ReadCompletion(dir); err == nil {
		return true
	}
	started, err := reqdir.Started(dir)
	if err != nil || !started {
		return err != nil
	}
	alive, err := reqdir.Alive(dir)
	return err != nil || !alive
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
