package schema

// An Adapter is what is known of a kind of agent without running it: who compiles, dispatches or looks after a
// machine asks here. How the agent is run is the business of the adapter of the same name beside the supervisor.
type Adapter struct {
	Name     string
	Program  string   // found in PATH unless a runner names another; "": the runner says what to run
	Package  string   // npm package that brings it
	Oldest   string   // versions it was tested with, from …
	Newest   string   // … to
	Keys     []string // environment variables that it reads a key from
	Folder   string   // environment variable that names the folder where it keeps its login and what it remembers
	Home     string   // that folder when the variable is not set, below the user's home
	Login    string   // file in it that a stored login leaves; "": none
	SignIn   string   // how a person logs in
	Thinking []string // levels it has, weakest first
	Turns    bool     // max_turns is kept
	Cost     bool     // it reports what it cost
	Settings []string // fields of a runner that it reads and not every adapter does
	Permits  []Permit // what each permission becomes, the narrowest first
}

// A Permit is what a permission becomes in an agent's hands.
type Permit struct {
	Permission string // basic, elevated, maximum
	Means      string // for people
	Kept       bool   // the agent itself holds its tools to it; else it is advice
	AsRoot     string // what root gets in its place; "": the same
}

// Permit is what a permission becomes. An adapter that says nothing of it only passes it on.
func (a *Adapter) Permit(permission string) Permit {
	for _, p := range a.Permits {
		if p.Permission == permission {
			return p
		}
	}
	return Permit{Permission: permission, Means: "stands in the request, for the agent to read"}
}

// adapters are the known ones. The versions are those that the tests against the real programs pin.
var adapters = []Adapter{
	{Name: "claude_code", Program: "claude", Package: "@anthropic-ai/claude-code", Oldest: "2.1.197", Newest: "2.1.330",
		Keys:   []string{"ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"},
		Folder: "CLAUDE_CONFIG_DIR", Home: ".claude", Login: ".credentials.json", SignIn: "claude auth login",
		Thinking: []string{"low", "medium", "high", "xhigh", "max"}, Turns: true, Cost: true,
		Settings: []string{"command", "key_env", "event_log_policy"},
		Permits: []Permit{{"basic", "reads and edits files of the project", true, ""}, {"elevated", "that, and its shell, which nothing holds", false, ""},
			{"maximum", "asks for nothing", false, "all tools that it can be allowed by name: it refuses the rest to root"}}},
	{Name: "codex_cli", Program: "codex", Package: "@openai/codex", Oldest: "0.169.0", Newest: "0.169.0",
		Keys: []string{"CODEX_API_KEY", "OPENAI_API_KEY"}, Folder: "CODEX_HOME", Home: ".codex", Login: "auth.json", SignIn: "codex login",
		Thinking: []string{"minimal", "low", "medium", "high", "xhigh"},
		Settings: []string{"command", "key_env", "profile", "config", "event_log_policy"},
		Permits: []Permit{{"basic", "its sandbox: writes the project only, no network", true, ""}, {"elevated", "no sandbox, asks for nothing", false, ""},
			{"maximum", "no sandbox, no approvals", false, ""}}},
	{Name: "command", Settings: []string{"run", "prompt"}},
	{Name: "pi_rpc", Program: "pi", Package: "@mariozechner/pi-coding-agent", Oldest: "0.73.1", Newest: "0.73.1",
		Keys: []string{"ANTHROPIC_API_KEY", "ANTHROPIC_OAUTH_TOKEN", "OPENAI_API_KEY", "GEMINI_API_KEY"}, Folder: "PI_CODING_AGENT_DIR", Home: ".pi/agent", Login: "auth.json", SignIn: "pi, and in it /login",
		Thinking: []string{"off", "minimal", "low", "medium", "high", "xhigh"}, Cost: true,
		Settings: []string{"command", "key_env", "provider", "event_log_policy"},
		Permits: []Permit{{"basic", "reads and edits files, and has no shell", true, ""}, {"elevated", "all its tools; it has no sandbox", false, ""},
			{"maximum", "all its tools; it has no sandbox", false, ""}}},
}

// Advisory reports whether it narrows what an agent is told, and nothing holds the agent to it.
func (p Permit) Advisory() bool { return !p.Kept && p.Permission != "maximum" }

// String says it, and who keeps the agent to it.
func (p Permit) String() string {
	words := p.Permission + ": " + p.Means
	switch {
	case p.Kept:
		return words + "; kept by the agent"
	case p.Advisory():
		return words + "; advisory"
	}
	return words
}

// AdapterOf is the adapter of a name; nil when there is none.
func AdapterOf(name string) *Adapter {
	for i := range adapters {
		if adapters[i].Name == name {
			return &adapters[i]
		}
	}
	return nil
}

// AdapterNames are the names of the adapters that there are, sorted.
func AdapterNames() []string {
	names := make([]string, len(adapters))
	for i, a := range adapters {
		names[i] = a.Name
	}
	return names
}
