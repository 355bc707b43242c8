package schema

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
	AutoRecovery    RecoveryPolicy         `json:"auto_recovery"`
}

// RuntimeConfig is the section "runtime".
type RuntimeConfig struct {
	DefaultMode string         `json:"default_mode"`    // recompile
	Lanes       map[string]int `json:"lanes,omitempty"` // recompile; by plane
	Rescan      Duration       `json:"rescan"`          // next tick
	Settle      Duration       `json:"settle"`
	Prune       bool           `json:"prune"`
	PruneSettle Duration       `json:"prune_settle"`
	PruneLimit  float64        `json:"prune_limit"` // share of the live declarations, 0 to 1
	LogLevel    string         `json:"log_level"`
}

// RunnersConfig is the section "runners": one name is the default, the others are runners.
type RunnersConfig struct {
	Default string
	Named   map[string]Runner
}

// StageConfig overrides what runs one stage.
type StageConfig struct {
	Runner   string   `json:"runner,omitempty"`
	Model    string   `json:"model,omitempty"`
	Thinking string   `json:"thinking_level,omitempty"`
	Timeout  Duration `json:"timeout,omitempty"`
	Stall    Duration `json:"stall_timeout,omitempty"`
	MaxTurns int      `json:"max_turns,omitempty"`
}

// A ModelAlias names a model and thinking level, for every adapter or for each its own.
type ModelAlias struct {
	Model    string                `json:"model,omitempty"`
	Thinking string                `json:"thinking_level,omitempty"`
	By       map[string]ModelAlias `json:"by_adapter,omitempty"`
}

// ModelAssignment says which alias a stage takes; by_loop is by plane.
type ModelAssignment struct {
	Default string            `json:"default,omitempty"`
	ByLoop  map[string]string `json:"by_loop,omitempty"`
	ByStage map[string]string `json:"by_stage,omitempty"`
}
