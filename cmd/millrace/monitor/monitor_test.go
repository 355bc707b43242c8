package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/cmd/millrace/term"
	"millrace/schema"
	"millrace/workspace"
)

var at = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

// feed gives the records and then waits for the end, like a tail.
func feed(ctx context.Context, recs ...*workspace.Record) iter.Seq2[*workspace.Record, error] {
	return func(yield func(*workspace.Record, error) bool) {
		for _, r := range recs {
			if !yield(r, nil) {
				return
			}
		}
		<-ctx.Done()
	}
}

func record(seq uint64, events ...workspace.Event) *workspace.Record {
	return &workspace.Record{Seq: seq, Time: at, By: "result", Events: events}
}

var (
	n         = int64(1200)
	stageDone = workspace.Event{
		Type: workspace.EvFinished, Item: schema.Key{Family: "task", ID: "t"}, Plane: "work", Node: "build", Outcome: "OK", Class: schema.ClassSuccess,
		To: "check", Message: "OK → check (1 of 2)", Tokens: &schema.Tokens{Input: &n}, Elapsed: schema.Duration(2500 * time.Millisecond),
	}
)

func TestBasicIsOneCompactLine(t *testing.T) {
	s, out, _ := term.Test()
	m := &Monitor{Printer: Basic{s}, Now: func() time.Time { return at }, Idle: func() string { return "" }}
	m.Until(2)
	if err := m.Run(t.Context(), "w", 0, feed(t.Context(), record(1, stageDone), record(2))); err != nil {
		t.Fatal(err)
	}
	if line := out.String(); strings.Count(line, "\n") != 1 || !strings.Contains(line, "work       build           t                     OK → check  1200 tokens  2.5s  (1 of 2)\n") {
		t.Errorf("got %q", line)
	}
}

func TestWordsSayAThingOnce(t *testing.T) {
	for want, e := range map[string]workspace.Event{
		"BLOCKED → blocked  as tries is spent (2)": {Type: workspace.EvFinished, Outcome: "BLOCKED", Class: schema.ClassBlocked, To: "blocked",
			Message: "BLOCKED → blocked, as tries is spent (2)"},
		"superseded by b, planned for incident i":       {Type: workspace.EvSuperseded, Path: "tasks/superseded/a.md", Message: "superseded by b, planned for incident i"},
		"closure target open: generation 1":             {Type: workspace.EvOpened, Path: "arbiter/targets/open/a.json", Message: "generation 1"},
		"blocked: consultant ended with NEEDS_PLANNING": {Type: workspace.EvBlocked, Class: schema.ClassEscalate, Message: "consultant ended with NEEDS_PLANNING"},
		"superseded: it was abandoned":                  {Type: workspace.EvSuperseded, Message: "it was abandoned"},
	} {
		if got := Words(e); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestJSONLinesBeginWithTheVersion(t *testing.T) {
	s, out, _ := term.Test()
	m := &Monitor{Printer: JSON{s}, Now: func() time.Time { return at }, Idle: func() string { return "" }}
	m.Until(1)
	if err := m.Run(t.Context(), "w", 0, feed(t.Context(), record(1, stageDone))); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("got %d lines: %s", len(lines), out)
	}
	var first, second map[string]any
	if err := errors.Join(json.Unmarshal([]byte(lines[0]), &first), json.Unmarshal([]byte(lines[1]), &second)); err != nil {
		t.Fatal(err)
	}
	if first["type"] != "monitor" || first["version"] != float64(Version) {
		t.Errorf("first line %s", lines[0])
	}
	if second["type"] != workspace.EvFinished || second["item"] != "task/t" || second["seq"] != float64(1) || second["outcome"] != "OK" {
		t.Errorf("second line %s", lines[1])
	}
}

func TestIdleIsSaidOnceAndRejectionsAtOnce(t *testing.T) {
	s, out, _ := term.Test()
	rejections := make(chan schema.Diagnostic, 1)
	rejections <- schema.Diagnostic{Path: "intake/a.md", Line: 3, Message: "no", Hint: "yes"}
	asked := make(chan struct{}, 10)
	m := &Monitor{Printer: Basic{s}, Now: func() time.Time { return at }, Rejections: rejections,
		Idle: func() string { asked <- struct{}{}; return "nothing is queued" }}
	done := make(chan error, 1)
	go func() { done <- m.Run(t.Context(), "w", 0, feed(t.Context())) }()
	<-asked
	m.Until(0)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, "rejected intake/a.md:3: no\n") || strings.Count(got, "idle: nothing is queued\n") != 1 {
		t.Errorf("got %q", got)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestAReaderThatGoesAwayEndsTheMonitor(t *testing.T) {
	s, _, _ := term.Test()
	s.Out = broken{}
	m := &Monitor{Printer: Basic{s}, Now: func() time.Time { return at }, Idle: func() string { return "" }}
	if err := m.Run(t.Context(), "w", 0, feed(t.Context(), record(1, stageDone))); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("got %v", err)
	}
}
