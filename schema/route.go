package schema

// A Verdict is what the runtime holds a finished stage to have said: the normalised result that
// routing starts from.
type Verdict struct {
	Outcome      string         // legal outcome of the stage's kind
	Class        string         // result class
	Failure      string         // failure class when Outcome is the route of a failure
	Message      string         // for people
	Metadata     map[string]any // of terminal_result.json
	ChecksRun    bool           // the item's checks were run after the stage
	ChecksPassed bool
}

// A Decision is where a run goes next.
type Decision struct {
	Outcome string   // after gates: a gated outcome may have fallen
	Class   string   // of that outcome
	Node    string   // next node, or ""
	End     string   // terminal reached, or ""
	Effects []string // to apply in the same commit, in order
	Counter string   // budget spent by this decision, or ""
	Why     string   // in words, for the trace
}
