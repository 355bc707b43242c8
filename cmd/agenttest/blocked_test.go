//go:build agents

package agenttest

import (
	"testing"

	"millrace/cmd/agenttest/modelserver"
	"millrace/schema"
)

// Whichever agent gives up, its reason is taken from its last words.
func TestABlockedAgentSaysWhy(t *testing.T) {
	eachAgent(t, func(t *testing.T, adapter string) {
		m := modelserver.Start(t, modelserver.Steps(modelserver.Reply{Run: "echo looked"},
			modelserver.Reply{Say: "I looked.\n\nThe database\nis not there.\n\n### BLOCKED"}))
		w := newWorld(t, m.URL(), adapter)
		c := w.supervise(schema.Request{Runner: schema.Runner{Adapter: adapter}})
		if c.Claim == nil || c.Claim.Outcome != schema.OutcomeBlocked || c.Claim.Message() != "The database is not there." {
			t.Errorf("it claims %+v: %s", c.Claim, c.Detail)
		}
	})
}
