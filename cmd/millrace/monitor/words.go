// Package monitor owns how the stream of events is shown while a daemon runs: compact lines for
// people, JSON Lines for programs. It reads the journal's events and nothing else.
package monitor

import (
	"fmt"
	"strings"
	"time"

	"millrace/cmd/millrace/term"
	"millrace/schema"
	"millrace/workspace"
)

// said is what an event is called where its type alone would be cryptic.
var said = map[string]string{
	workspace.EvWorkspace:     "workspace created",
	workspace.EvPlan:          "plan is current",
	workspace.EvPlanRejected:  "workflow does not compile",
	workspace.EvAdmitted:      "admitted",
	workspace.EvReplaced:      "replaced",
	workspace.EvPending:       "edit waits",
	workspace.EvRelocated:     "declaration moved",
	workspace.EvRequeued:      "queued again",
	workspace.EvPruneSeen:     "its declaration is gone",
	workspace.EvCancelWanted:  "to be cancelled when its stage ends",
	workspace.EvCancelled:     "cancelled",
	workspace.EvSuperseded:    "superseded",
	workspace.EvDone:          "done",
	workspace.EvBlocked:       "blocked",
	workspace.EvAdopted:       "adopted what a person did by hand",
	workspace.EvRestored:      "restored",
	workspace.EvStarted:       "started",
	workspace.EvRestarted:     "starts again",
	workspace.EvEvidence:      "late result kept as evidence",
	workspace.EvRunEnded:      "run ended",
	workspace.EvPaused:        "paused",
	workspace.EvResumed:       "resumed",
	workspace.EvStop:          "asked to stop",
	workspace.EvStopped:       "stopped",
	workspace.EvDaemon:        "daemon started",
	workspace.EvRunnerWaits:   "runner waits",
	workspace.EvRunnerStalled: "runner stalled",
	workspace.EvRunnerResumed: "runner resumed",
	workspace.EvHeld:          "change held",
	workspace.EvAccepted:      "change accepted",
	workspace.EvAsked:         "waits for an approval",
	workspace.EvApproved:      "approved",
	workspace.EvDenied:        "denied",
	workspace.EvWithdrawn:     "asks for no approval any more",
	workspace.EvForeign:       "kept a stranger's file",
	workspace.EvDeclined:      "outbox document declined",
	workspace.EvOpened:        "closure target open",
	workspace.EvReady:         "ready to be judged",
	workspace.EvReturned:      "open again",
	workspace.EvFault:         "cannot be judged",
	workspace.EvLearned:       "skill learned",
	workspace.EvUnlearned:     "skill not changed",
}

// Untold is the type of the event that stands for a record without one.
const Untold = "record"

// Words says an event in words, without its item, stage and time.
func Words(e workspace.Event) string {
	if e.Type == workspace.EvFinished {
		return finished(e)
	}
	what, known := said[e.Type]
	if !known {
		what = strings.ReplaceAll(e.Type[strings.LastIndexByte(e.Type, '.')+1:], "_", " ")
	}
	switch e.Type {
	case workspace.EvPlan, Untold:
		return term.OneLine(e.Message)
	case workspace.EvAdmitted, workspace.EvReplaced, workspace.EvPending, workspace.EvRelocated, workspace.EvPruneSeen, workspace.EvCancelWanted,
		workspace.EvOpened, workspace.EvReady, workspace.EvReturned, workspace.EvFault:
		if e.Message != "" {
			e.Path = "" // where the document lies follows from its state
		}
	case workspace.EvSuperseded:
		if strings.HasPrefix(e.Message, what) {
			return term.OneLine(e.Message)
		}
	case workspace.EvRunEnded:
		what += " at " + e.To
	case workspace.EvBlocked, workspace.EvRunnerWaits, workspace.EvRunnerStalled, workspace.EvRestarted:
		if e.Class != "" && e.Class != schema.ClassBlocked && e.Class != schema.ClassEscalate { // a failure, and no outcome's class
			what += ": " + e.Class
		}
	}
	if e.Path != "" {
		what += " (" + e.Path + ")"
	}
	if e.Message != "" {
		what += ": " + e.Message
	}
	return term.OneLine(what)
}

// finished is the line that matters most: outcome, route, tokens, elapsed.
func finished(e workspace.Event) string {
	what := e.Outcome
	if e.Class == schema.ClassRecoverable || schema.Scope(e.Class) != "stage" {
		what += " (" + e.Class + ")"
	}
	if e.To != "" {
		what += " → " + e.To
	}
	if e.Tokens != nil {
		what += fmt.Sprintf("  %d tokens", e.Tokens.Total())
	}
	if e.Elapsed > 0 {
		what += "  " + term.Span(time.Duration(e.Elapsed))
	}
	if more := Reason(e.Message, e.Outcome, e.To); more != "" {
		what += "  " + more
	}
	return term.OneLine(what)
}

// Reason is what a routing decision says beyond naming the outcome and where it led.
func Reason(why, outcome, to string) string {
	return strings.TrimLeft(strings.TrimPrefix(why, outcome+" → "+to), ", ")
}
