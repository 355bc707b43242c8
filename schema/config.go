package schema

import (
	"encoding/json"
	"fmt"
	"maps"
)

// Config is the operator's configuration: millrace-agents/millrace.cue (or .yaml, .json, .toml), after
// defaults. config.cue beside it is the contract: every field, its default, unit and boundary.
type Config struct {
	Runtime         RuntimeConfig          `json:"runtime"`
	Runners         RunnersConfig          `json:"runners"`
	Stages          map[string]StageConfig `json:"stages,omitempty"`
	Budgets         map[string]int         `json:"budgets,omitempty"`
	ModelAliases    map[string]ModelAlias  `json:"model_aliases,omitempty"`
	ModelAssignment ModelAssignment        `json:"model_assignment,omitzero"`
	Checks          CheckPolicy            `json:"checks"`
	Closure         ClosurePolicy          `json:"closure"`
	AutoRecovery    RecoveryPolicy         `json:"auto_recovery"`
}

// RuntimeConfig is the section "runtime".
type RuntimeConfig struct {
	DefaultMode string         `json:"default_mode"`     // recompile
	Lanes       map[string]int `json:"lanes,omitempty"`  // recompile; by plane
	Rescan      Duration       `json:"rescan"`           // next tick
	Settle      Duration       `json:"settle,omitempty"` // zero: what the system allows
	Prune       bool           `json:"prune"`
	PruneSettle Duration       `json:"prune_settle"`
	PruneLimit  float64        `json:"prune_limit"` // share of the live declarations, 0 to 1
	LogLevel    string         `json:"log_level"`
}

// RunnersConfig is the section "runners": one name is the default, the others are runners.
type RunnersConfig struct {
	Default string                  // written default_runner
	Named   map[string]RunnerConfig // written under their names
}

// RunnerConfig is a runner as an operator declares it: what it may do can depend on stage and model.
type RunnerConfig struct {
	Runner
	ByStage map[string]string `json:"permission_by_stage,omitempty"`
	ByModel map[string]string `json:"permission_by_model,omitempty"`
}

// MarshalJSON leaves out the name: the key that the runner is written under says it.
func (r RunnerConfig) MarshalJSON() ([]byte, error) {
	type plain RunnerConfig
	data, err := json.Marshal(plain(r))
	if err != nil {
		return nil, fmt.Errorf("write runner: %w", err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, fmt.Errorf("write runner: %w", err)
	}
	delete(fields, "name")
	return json.Marshal(fields)
}

// StageConfig overrides what runs one stage.
type StageConfig struct {
	Runner     string   `json:"runner,omitempty"`
	Model      string   `json:"model,omitempty"`
	Thinking   string   `json:"thinking_level,omitempty"`
	Permission string   `json:"permission,omitempty"`
	Timeout    Duration `json:"timeout,omitempty"`
	Stall      Duration `json:"stall_timeout,omitempty"`
	MaxTurns   int      `json:"max_turns,omitempty"`
}

// A ModelAlias names a model and thinking level, for every adapter or for each its own.
type ModelAlias struct {
	Model    string                `json:"model,omitempty"`
	Thinking string                `json:"thinking_level,omitempty"`
	By       map[string]ModelAlias `json:"-"` // by adapter; written beside the two above
}

// ModelAssignment says which alias a stage takes; by_loop is by plane.
type ModelAssignment struct {
	Default string            `json:"default,omitempty"`
	ByLoop  map[string]string `json:"by_loop,omitempty"`
	ByStage map[string]string `json:"by_stage,omitempty"`
}

// MarshalJSON writes the runners beside default_runner, as the configuration does.
func (r RunnersConfig) MarshalJSON() ([]byte, error) {
	all := map[string]any{"default_runner": r.Default}
	for name, runner := range r.Named {
		all[name] = runner
	}
	return json.Marshal(all)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *RunnersConfig) UnmarshalJSON(data []byte) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return fmt.Errorf("read runners: %w", err)
	}
	*r = RunnersConfig{Named: map[string]RunnerConfig{}}
	for name, value := range all {
		if name == "default_runner" {
			if err := json.Unmarshal(value, &r.Default); err != nil {
				return fmt.Errorf("read default_runner: %w", err)
			}
			continue
		}
		var runner RunnerConfig
		if err := json.Unmarshal(value, &runner); err != nil {
			return fmt.Errorf("read runner %s: %w", name, err)
		}
		runner.Name = name
		r.Named[name] = runner
	}
	return nil
}

// plainAlias is a ModelAlias without its entries by adapter.
type plainAlias struct {
	Model    string `json:"model,omitempty"`
	Thinking string `json:"thinking_level,omitempty"`
}

// MarshalJSON writes the adapters' entries beside model and thinking_level, as the configuration does.
func (a ModelAlias) MarshalJSON() ([]byte, error) {
	all := map[string]any{}
	for adapter, entry := range a.By {
		all[adapter] = plainAlias{entry.Model, entry.Thinking}
	}
	if a.Model != "" {
		all["model"] = a.Model
	}
	if a.Thinking != "" {
		all["thinking_level"] = a.Thinking
	}
	return json.Marshal(all)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (a *ModelAlias) UnmarshalJSON(data []byte) error {
	var plain plainAlias
	if err := json.Unmarshal(data, &plain); err != nil {
		return fmt.Errorf("read model alias: %w", err)
	}
	var rest map[string]json.RawMessage
	if err := json.Unmarshal(data, &rest); err != nil {
		return fmt.Errorf("read model alias: %w", err)
	}
	*a = ModelAlias{Model: plain.Model, Thinking: plain.Thinking}
	maps.DeleteFunc(rest, func(name string, _ json.RawMessage) bool { return name == "model" || name == "thinking_level" })
	for adapter, value := range rest {
		var entry plainAlias
		if err := json.Unmarshal(value, &entry); err != nil {
			return fmt.Errorf("read model alias for %s: %w", adapter, err)
		}
		if a.By == nil {
			a.By = map[string]ModelAlias{}
		}
		a.By[adapter] = ModelAlias{Model: entry.Model, Thinking: entry.Thinking}
	}
	return nil
}
