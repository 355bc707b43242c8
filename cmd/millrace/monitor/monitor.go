package monitor

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"strings"
	"sync"
	"time"

	"millrace/cmd/millrace/term"
	"millrace/schema"
	"millrace/workspace"
)

// Version of the JSON Lines stream.
const Version = 1

const (
	quiet  = time.Second   // without an event and without a running stage: idle
	repeat = 6 * time.Hour // then the idle line comes again this seldom
)

// A Printer shows one event, or that nothing goes on.
type Printer interface {
	Begin(workspace string, now time.Time) error
	Event(rec *workspace.Record, e workspace.Event) error
	Rejected(now time.Time, d schema.Diagnostic) error
	Idle(now time.Time, why string) error
}

// A Monitor follows the journal and prints what it reads.
type Monitor struct {
	Printer Printer
	Idle    func() string     // why nothing goes on, in a line
	Running map[string]string // requests in flight when it begins, with their runs; kept up to date
	Now     func() time.Time

	Rejections <-chan schema.Diagnostic // declarations that turn out to be invalid; they are in no record

	until chan uint64
	once  sync.Once
}

func (m *Monitor) end() chan uint64 {
	m.once.Do(func() { m.until = make(chan uint64, 1) })
	return m.until
}

// Until makes Run return as soon as it has shown the record with this sequence. It is called once.
func (m *Monitor) Until(seq uint64) { m.end() <- seq }

// Run follows the records after `seen` until they end or a line cannot be written.
func (m *Monitor) Run(ctx context.Context, name string, seen uint64, records iter.Seq2[*workspace.Record, error]) error {
	if err := m.Printer.Begin(name, m.Now()); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type read struct {
		rec *workspace.Record
		err error
	}
	feed := make(chan read)
	go func() {
		defer close(feed)
		for rec, err := range records {
			select {
			case feed <- read{rec, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	idle := time.NewTimer(quiet)
	defer idle.Stop()
	var last uint64
	ending := false
	for !ending || seen < last {
		select {
		case last = <-m.end():
			ending = true
		case r, ok := <-feed:
			if !ok || r.err != nil {
				return r.err
			}
			if err := m.record(r.rec); err != nil {
				return err
			}
			seen = r.rec.Seq
			idle.Reset(quiet)
		case d := <-m.Rejections:
			if err := m.Printer.Rejected(m.Now(), d); err != nil {
				return err
			}
		case <-idle.C:
			idle.Reset(repeat)
			if len(m.Running) > 0 {
				continue
			}
			if err := m.Printer.Idle(m.Now(), m.Idle()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *Monitor) record(rec *workspace.Record) error {
	for _, e := range rec.Events {
		m.follow(e)
		if err := m.Printer.Event(rec, e); err != nil {
			return err
		}
	}
	return nil
}

// follow keeps the requests in flight.
func (m *Monitor) follow(e workspace.Event) {
	switch e.Type {
	case workspace.EvStarted:
		if m.Running == nil {
			m.Running = map[string]string{}
		}
		m.Running[e.Request] = e.Run
	case workspace.EvFinished:
		delete(m.Running, e.Request)
	case workspace.EvRunEnded:
		maps.DeleteFunc(m.Running, func(_, run string) bool { return run == e.Run })
	}
}

// Basic prints compact lines: time, plane, stage, item and what happened.
type Basic struct{ IO *term.IO }

// Begin prints nothing: the daemon has said where it runs.
func (b Basic) Begin(string, time.Time) error { return nil }

// Event prints one line.
func (b Basic) Event(rec *workspace.Record, e workspace.Event) error {
	stage := e.Stage
	if stage == "" {
		stage = e.Node
	}
	words := b.IO.Paint(style(e), Words(e))
	_, err := fmt.Fprintf(b.IO.Out, "%s  %-9s  %-14s  %-20s  %s\n", b.IO.Paint(term.Dim, rec.Time.Local().Format("15:04:05")),
		dash(e.Plane), dash(stage), dash(e.Item.ID), words)
	return err
}

// Rejected prints one line: where, what.
func (b Basic) Rejected(now time.Time, d schema.Diagnostic) error {
	d.Hint = ""
	_, err := fmt.Fprintf(b.IO.Out, "%s  %-9s  %-14s  %-20s  %s\n", b.IO.Paint(term.Dim, now.Local().Format("15:04:05")),
		"-", "-", "-", b.IO.Paint(term.Red, "rejected "+term.OneLine(d.String())))
	return err
}

// Idle prints the line that says what is being waited for.
func (b Basic) Idle(now time.Time, why string) error {
	_, err := fmt.Fprintf(b.IO.Out, "%s  %s\n", b.IO.Paint(term.Dim, now.Local().Format("15:04:05")), b.IO.Paint(term.Dim, "idle: "+term.OneLine(why)))
	return err
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return term.OneLine(s)
}

func style(e workspace.Event) term.Style {
	switch e.Type {
	case workspace.EvDone:
		return term.Green
	case workspace.EvBlocked, workspace.EvPlanRejected, workspace.EvRunnerStalled, workspace.EvDeclined, workspace.EvFault,
		workspace.EvUnlearned:
		return term.Red
	case workspace.EvPaused, workspace.EvHeld, workspace.EvRunnerWaits, workspace.EvRestarted:
		return term.Yellow
	case workspace.EvFinished:
		switch e.Class {
		case schema.ClassSuccess, schema.ClassNoOp:
			return term.Plain
		}
		return term.Yellow
	}
	return term.Dim
}

// JSON prints JSON Lines, the first of which carries the version.
type JSON struct{ IO *term.IO }

type line struct {
	Type string    `json:"type"`
	Seq  uint64    `json:"seq,omitempty"`
	Time time.Time `json:"time"`
	By   string    `json:"by,omitempty"`
	Why  string    `json:"why,omitempty"`
	// Event repeats Type, which the outer field wins.
	workspace.Event
	Version   int    `json:"version,omitempty"`
	Workspace string `json:"workspace,omitempty"`

	Diagnostic *schema.Diagnostic `json:"diagnostic,omitempty"`
}

// Begin prints the versioned first line.
func (j JSON) Begin(name string, now time.Time) error {
	return j.print(line{Type: "monitor", Time: now.UTC(), Version: Version, Workspace: name})
}

// Event prints one line.
func (j JSON) Event(rec *workspace.Record, e workspace.Event) error {
	return j.print(line{Type: e.Type, Seq: rec.Seq, Time: rec.Time, By: rec.By, Why: rec.Why, Event: e})
}

// Rejected prints one line of type "intake.rejected", for workflow files and configuration "plan.rejected".
func (j JSON) Rejected(now time.Time, d schema.Diagnostic) error {
	l := line{Type: "intake.rejected", Time: now.UTC(), Diagnostic: &d}
	if !strings.HasPrefix(d.Path, workspace.IntakeDir+"/") {
		l.Type = workspace.EvPlanRejected
	}
	return j.print(l)
}

// Idle prints one line of type "idle".
func (j JSON) Idle(now time.Time, why string) error {
	return j.print(line{Type: "idle", Time: now.UTC(), Why: why})
}

func (j JSON) print(l line) error {
	data, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	_, err = j.IO.Out.Write(append(data, '\n'))
	return err
}
