package monitor

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"millrace/cmd/millrace/term"
	"millrace/schema"
	"millrace/workspace"
)

// A stage that was lost and started again, and a run that was ended with its stage in flight, leave nothing
// running behind: the idle line comes, once, and after six hours again.
func TestIdleLineComesOnceAndEverySixHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		io, out, _ := term.Test()
		m := &Monitor{Printer: Basic{IO: io}, Idle: func() string { return "nothing is queued" }, Now: time.Now,
			Running: map[string]string{"req-0": "run-0"}}
		events := []workspace.Event{
			{Type: workspace.EvFinished, Run: "run-0", Request: "req-0", Class: schema.FailSupervisorLost},
			{Type: workspace.EvRestarted, Run: "run-0", Request: "req-0"},
			{Type: workspace.EvStarted, Run: "run-0", Request: "req-1"},
			{Type: workspace.EvFinished, Run: "run-0", Request: "req-1", Class: schema.ClassSuccess},
			{Type: workspace.EvStarted, Run: "run-1", Request: "req-2"},
			{Type: workspace.EvRunEnded, Run: "run-1"},
		}
		go func() {
			time.Sleep(13 * time.Hour)
			m.Until(2)
		}()
		err := m.Run(t.Context(), "project", 0, func(yield func(*workspace.Record, error) bool) {
			if !yield(&workspace.Record{Seq: 1, Events: events}, nil) {
				return
			}
			time.Sleep(14 * time.Hour)
			yield(&workspace.Record{Seq: 2}, nil)
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(out.String(), "idle: nothing is queued"); n != 3 {
			t.Errorf("%d idle lines in 13 hours:\n%s", n, out)
		}
	})
}
