package schema

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
