package schema

// Terms are what an operator has to know of an adapter's agent: how it gets its login, which settings it reads, what it
// is allowed.
type Terms struct {
	SignIn   string   // how a person logs in
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

var terms = map[string]Terms{
	"claude_code": {"claude auth login", []string{"command", "key_env", "event_log_policy"}, []Permit{
		{"basic", "reads files, and edits those of the project; no shell, no web", true, ""},
		{"elevated", "all its tools; nothing holds its shell", false, ""},
		{"maximum", "all its tools, without its own rules", false, "elevated, the most that it allows to root"}}},
	"codex_cli": {"codex login", []string{"command", "key_env", "profile", "config", "event_log_policy"}, []Permit{
		{"basic", "its sandbox: writes the project and the folders for temporary files, no network", true, ""},
		{"elevated", "no sandbox; asks for nothing", false, ""},
		{"maximum", "no sandbox, no rules", false, ""}}},
	"command": {"", []string{"run", "prompt"}, nil},
	"pi_rpc": {"pi, and in it /login", []string{"command", "key_env", "provider", "event_log_policy"}, []Permit{
		{"basic", "reads and edits files, anywhere; no shell", true, ""},
		{"elevated", "all its tools; it has no sandbox", false, ""},
		{"maximum", "all its tools; it has no sandbox", false, ""}}},
}

// Terms are those of the adapter's agent.
func (a *Adapter) Terms() Terms { return terms[a.Name] }

// Permit is what a permission becomes. An adapter that says nothing of it only passes it on.
func (t Terms) Permit(permission string) Permit {
	for _, p := range t.Permits {
		if p.Permission == permission {
			return p
		}
	}
	return Permit{Permission: permission, Means: "stands in the request, for the agent to read"}
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
