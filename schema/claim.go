package schema

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// terminalResult is what an agent writes into terminal_result.json.
type terminalResult struct {
	Request   string         `json:"request"` // optional: which request it answers
	Stage     string         `json:"stage"`
	Outcome   string         `json:"terminal_result"`
	Class     string         `json:"result_class"`
	Summaries []string       `json:"summary_artifact_paths"`
	Metadata  map[string]any `json:"metadata"`
}

// DetectClaim finds the one outcome that an agent claims. Candidates are terminal, the bytes of this
// request's terminal_result.json (nil: there is none), and every line "### TOKEN" of the agent's final
// message outside code fences. A claim is usable when class is ""; otherwise claim is nil, class is the
// failure class and detail tells a person why. An agent that ends blocked without saying why in its file has said it
// in its message.
func DetectClaim(stage string, legal []string, requestID string, terminal []byte, final string) (claim *Claim, class, detail string) {
	var m Markers
	_, _ = m.Write([]byte(final)) // cannot fail
	tokens := m.Found()

	result, stale, err := readTerminal(stage, requestID, terminal)
	if err != nil {
		return nil, FailIllegalOutcome, fmt.Sprintf("%s: %v", TerminalFile, err)
	}
	if result != nil {
		claim, class, detail = claimFile(result, tokens, legal)
		return explained(claim, &m), class, detail
	}
	switch {
	case len(tokens) == 0:
		return nil, FailMissingOutcome, missing(legal, stale)
	case len(tokens) > 1:
		return nil, FailConflicting, "the final message names several outcomes: " + strings.Join(tokens, ", ")
	case !slices.Contains(legal, tokens[0]):
		return nil, FailIllegalOutcome, illegal(tokens[0], legal)
	}
	return explained(&Claim{Outcome: tokens[0], Source: FinalFile}, &m), "", ""
}

// explained adds the reason of a claim to be blocked.
func explained(c *Claim, m *Markers) *Claim {
	if c == nil || !strings.HasSuffix(c.Outcome, OutcomeBlocked) || c.Message() != "" {
		return c
	}
	if reason := m.Reason(); reason != "" {
		if c.Metadata == nil {
			c.Metadata = map[string]any{}
		}
		c.Metadata["message"] = reason
	}
	return c
}

// Message is the reason that an agent gave for its outcome; "": none.
func (c *Claim) Message() string {
	for _, key := range []string{"message", "reason"} {
		if text, ok := c.Metadata[key].(string); ok && text != "" {
			return text
		}
	}
	return ""
}

func claimFile(r *terminalResult, tokens, legal []string) (*Claim, string, string) {
	for _, token := range tokens {
		if token != r.Outcome {
			return nil, FailConflicting, fmt.Sprintf("%s says %s, the final message says %s", TerminalFile, r.Outcome, token)
		}
	}
	if !slices.Contains(legal, r.Outcome) {
		return nil, FailIllegalOutcome, illegal(r.Outcome, legal)
	}
	return &Claim{Outcome: r.Outcome, Class: r.Class, Summaries: r.Summaries, Metadata: r.Metadata, Source: TerminalFile}, "", ""
}

// readTerminal returns nil when there is no such file, or one that answers another request (stale).
func readTerminal(stage, requestID string, data []byte) (_ *terminalResult, stale string, _ error) {
	if data == nil {
		return nil, "", nil
	}
	var r terminalResult
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, "", fmt.Errorf("not the JSON that is asked for: %w", err)
	}
	switch {
	case r.Request != "" && r.Request != requestID:
		return nil, r.Request, nil
	case r.Stage != stage:
		return nil, "", fmt.Errorf("stage is %q, but this request is for %q", r.Stage, stage)
	case r.Outcome == "":
		return nil, "", fmt.Errorf("terminal_result is missing")
	}
	return &r, "", nil
}

func missing(legal []string, stale string) string {
	text := fmt.Sprintf("no %s and no line \"### OUTCOME\" in the final message; one of %s must be there",
		TerminalFile, strings.Join(legal, ", "))
	if stale != "" {
		text = fmt.Sprintf("%s answers another request (%s); %s", TerminalFile, stale, text)
	}
	return text
}

func illegal(token string, legal []string) string {
	return fmt.Sprintf("%s is no outcome of this stage; legal are %s", token, strings.Join(legal, ", "))
}
