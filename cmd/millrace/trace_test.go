package main

import (
	"strings"
	"testing"

	"millrace/schema"
	"millrace/workspace"
)

// A stage that failed without taking an outcome's route has a name on its edge too.
func TestTraceNamesWhatTookNoRoute(t *testing.T) {
	trace := workspace.TraceOf(&schema.Run{ID: "run-1", State: schema.RunEnded, End: "cancelled", Steps: []schema.Step{
		{Request: "req-1", Node: "builder", Failure: schema.FailSupervisorLost, To: "builder"},
		{Request: "req-2", Node: "builder", Failure: schema.FailCancelled, To: "cancelled"},
	}})
	for name, drawn := range map[string]string{"mermaid": traceMermaid(trace), "dot": traceDot(trace)} {
		if strings.Contains(drawn, `""`) || !strings.Contains(drawn, "supervisor_lost") || !strings.Contains(drawn, "cancelled") {
			t.Errorf("%s:\n%s", name, drawn)
		}
	}
}
