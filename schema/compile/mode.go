package compile

import (
	"encoding/json"
	"slices"

	"millrace/schema"
)

// A Mode is a choice of graphs and of who runs their stages.
type Mode struct {
	ID          string                         `json:"id"`
	Description string                         `json:"description,omitempty"`
	Aliases     []string                       `json:"aliases,omitempty"`
	Graphs      map[string]string              `json:"graphs"` // by plane
	Runner      string                         `json:"runner,omitempty"`
	Runners     map[string]schema.RunnerConfig `json:"runners,omitempty"`
	Stages      map[string]ModeStage           `json:"stages,omitempty"`
	Models      map[string]schema.ModelAlias   `json:"model_aliases,omitempty"`
	Assignment  schema.ModelAssignment         `json:"model_assignment,omitzero"`
	Lanes       map[string]int                 `json:"lanes,omitempty"`
	Exclusive   [][]string                     `json:"exclusive"`
	PlaneOrder  []string                       `json:"plane_order"`
	Closure     []string                       `json:"closure_order"`
	Triggers    []schema.Trigger               `json:"learning_triggers,omitempty"`
}

// A ModeStage overrides one stage kind within a mode.
type ModeStage struct {
	Entrypoint string   `json:"entrypoint,omitempty"`
	Skills     []string `json:"skills,omitempty"`
	Runner     string   `json:"runner,omitempty"`
	Model      Choice   `json:"model,omitzero"`
	Thinking   Choice   `json:"thinking_level,omitzero"`
	Permission string   `json:"permission,omitempty"`
}

// A Choice is text that may also be null: the adapter's default, whatever weaker sources say.
type Choice struct {
	Made bool
	Text string
}

// UnmarshalJSON reads text or null.
func (c *Choice) UnmarshalJSON(data []byte) error {
	c.Made = true
	return json.Unmarshal(data, &c.Text) // null leaves it empty
}

// MarshalJSON writes text or null.
func (c Choice) MarshalJSON() ([]byte, error) {
	if c.Text == "" {
		return []byte("null"), nil
	}
	return json.Marshal(c.Text)
}

// mode reads a mode.
func (w *workflow) mode(id string, r *report) *Mode {
	m := new(Mode)
	if !w.entry("modes", "mode", id, m, r) {
		return nil
	}
	m.ID = id
	return m
}

// modeID finds a mode by its id or an alias.
func (w *workflow) modeID(name string) string {
	if w.has("modes", name) {
		return name
	}
	for _, id := range w.ids("modes") {
		if slices.Contains(w.aliases(id), name) {
			return id
		}
	}
	return ""
}

func (w *workflow) aliases(mode string) []string {
	var aliases []string
	if err := w.lookup("modes", mode, "aliases").Decode(&aliases); err != nil {
		return nil // none, or reported with the mode
	}
	return aliases
}

func (w *workflow) modeNames() []string {
	names := w.ids("modes")
	for _, id := range w.ids("modes") {
		names = append(names, w.aliases(id)...)
	}
	slices.Sort(names)
	return names
}

// Modes reads every mode of a workspace, by id, for people to choose from.
func Modes(files map[string][]byte) ([]*Mode, schema.Diagnostics) {
	var r report
	assets := map[string][]byte{}
	for name, data := range files {
		if IsInput(name) && isAsset(name) {
			assets[name] = data
		}
	}
	w, ds := loadWorkflow(assets)
	r.add(ds...)
	if w == nil {
		return nil, r.sorted()
	}
	var modes []*Mode
	for _, id := range w.ids("modes") {
		if m := w.mode(id, &r); m != nil {
			modes = append(modes, m)
		}
	}
	return modes, r.sorted()
}
