package schema

import "slices"

// OutcomeBlocked is the one outcome that every stage kind has.
const OutcomeBlocked = "BLOCKED"

// Result classes that an outcome may carry.
const (
	ClassSuccess     = "success"
	ClassNoOp        = "no_op"
	ClassFollowup    = "followup_needed"
	ClassEscalate    = "escalate_planning"
	ClassBlocked     = "blocked"
	ClassRecoverable = "recoverable_failure"
)

// A Plan is the frozen plan: the only authority on behaviour. Its canonical JSON is its identity; it
// embeds everything it was compiled from that a run needs, so a run can end under it whatever
// happens to the files since.
type Plan struct {
	SchemaVersion int                   `json:"schema_version"`
	Mode          string                `json:"mode"`
	Graphs        map[string]*Graph     `json:"graphs"`              // by plane
	Stages        map[string]*StageKind `json:"stages"`              // kinds that the graphs use
	Families      map[string]*Family    `json:"families"`            // every family, used or not: intake needs them
	Runners       map[string]*Runner    `json:"runners"`             // runners that the nodes use
	Lanes         map[string]int        `json:"lanes"`               // running runs at most, by plane
	Exclusive     [][]string            `json:"exclusive,omitempty"` // planes of which only one may run at a time
	PlaneOrder    []string              `json:"plane_order"`         // which plane claims first
	ClosureOrder  []string              `json:"closure_order"`       // the same while a closure target is open
	Triggers      []Trigger             `json:"learning_triggers,omitempty"`
	Assets        map[string]string     `json:"assets"`         // bytes of entrypoints and skills, by path
	Inputs        map[string]Digest     `json:"inputs"`         // every file it was compiled from: currency
	IncidentLimit int                   `json:"incident_limit"` // incidents that one root may raise
	Checks        CheckPolicy           `json:"checks"`
	Closure       ClosurePolicy         `json:"closure"`
	Recovery      RecoveryPolicy        `json:"auto_recovery"`
	Warnings      Diagnostics           `json:"warnings,omitempty"`
}

// A Graph is the topology of one plane.
type Graph struct {
	ID       string            `json:"id"`
	Plane    string            `json:"plane"`
	Entry    map[string]string `json:"entry"` // family → node
	Claim    []string          `json:"claim"` // families in the order they are claimed
	Nodes    map[string]*Node  `json:"nodes"`
	Ends     map[string]*End   `json:"ends"`
	Failures map[string]string `json:"failures,omitempty"` // failure class → outcome; default BLOCKED

	Targets map[string][]string `json:"target_stages,omitempty"` // family → nodes that a document may name to begin at
}

// Begin is the node where an item of a family begins: the one its document names as target_stage, else the
// family's entry. It is "" when the graph does not take it so.
func (g *Graph) Begin(family, target string) string {
	switch {
	case target == "" || target == g.Entry[family]:
		return g.Entry[family]
	case slices.Contains(g.Targets[family], target):
		return target
	}
	return ""
}

// A Node is a stage kind in its place: routes, and who runs it. From says where each bound value
// came from ("runner" → "stages.checker in millrace.cue").
type Node struct {
	Stage      string            `json:"stage"`
	On         map[string]*Edge  `json:"on"` // by outcome; every legal one has an edge
	Entrypoint string            `json:"entrypoint"`
	Skills     []string          `json:"skills,omitempty"`
	Runner     string            `json:"runner"`
	Model      string            `json:"model,omitempty"`
	Thinking   string            `json:"thinking_level,omitempty"`
	Permission string            `json:"permission,omitempty"`
	Timeout    Duration          `json:"timeout"`
	Stall      Duration          `json:"stall_timeout"`
	MaxTurns   int               `json:"max_turns,omitempty"`
	From       map[string]string `json:"from,omitempty"`
}

// An Edge says where an outcome leads. With a Counter the first Limit passages take To, the next
// takes Then, whatever else would be chosen. With Resume the stage may name another node in its result metadata.
type Edge struct {
	To      string   `json:"to"` // node or end
	Effects []string `json:"effects,omitempty"`
	Counter string   `json:"counter,omitempty"`
	Limit   int      `json:"limit,omitempty"`
	Then    string   `json:"then,omitempty"`
	Resume  *Resume  `json:"resume,omitempty"`

	Routes map[string]string `json:"routes,omitempty"` // key that an effect decides on → node or end in place of To

	Approval *EdgeApproval `json:"approval,omitempty"` // asked before To is entered
}

// An EdgeApproval is what an operator must approve before a run goes on.
type EdgeApproval struct {
	Capability string `json:"capability"`
	Reason     string `json:"reason"` // for whoever decides
	Denied     string `json:"denied"` // node or end
}

// Resume lets a repair stage choose where the run goes on.
type Resume struct {
	Keys    []string          `json:"keys"`              // metadata names, first found wins
	Not     []string          `json:"not,omitempty"`     // nodes it may not name
	Default map[string]string `json:"default,omitempty"` // by family; else the edge's To
}

// An End is a terminal. With Gate the item's checks must have passed after the run's last stage;
// else the gate's edge is taken.
type End struct {
	Class   string   `json:"class"`
	State   string   `json:"state"` // item state that follows: done, blocked, …
	Effects []string `json:"effects,omitempty"`
	Gate    *Edge    `json:"gate,omitempty"`
}

// A StageKind says what a stage is, wherever it stands.
type StageKind struct {
	ID          string              `json:"id"`
	Plane       string              `json:"plane"`
	Role        string              `json:"role,omitempty"` // repair, escalation, closure
	Marker      string              `json:"marker"`         // BUILDER_RUNNING
	Entrypoint  string              `json:"entrypoint"`
	Skill       string              `json:"skill"`
	Skills      []string            `json:"skills,omitempty"` // others that it is given wherever it stands
	Owns        []string            `json:"owns"`             // families
	Outcomes    map[string][]string `json:"outcomes"`         // legal outcome → classes it may carry, first is the default
	Reads       []string            `json:"reads,omitempty"`  // artifact names of earlier stages
	Writes      []Artifact          `json:"writes,omitempty"`
	Emits       []string            `json:"emits,omitempty"` // families its outbox may hold
	Idempotence string              `json:"idempotence"`     // retry_safe | single_attempt
	WritesTree  bool                `json:"writes_workspace"`
	Checks      string              `json:"checks,omitempty"` // "before": run the item's checks before it
	Gate        map[string]string   `json:"gate,omitempty"`   // outcome → outcome it falls to when checks fail
	NeedsOneOf  []string            `json:"needs_one_of,omitempty"`
}

// SkillsIndex says which skills there are and when to open which. Where a workspace has it, every prompt names it.
const SkillsIndex = "skills/INDEX.md"

// RetrySafe reports whether a lost attempt may be started again.
func (k *StageKind) RetrySafe() bool { return k.Idempotence == "retry_safe" }

// Artifact is the first that the kind writes of a definition; nil when it writes none.
func (k *StageKind) Artifact(definition string) *Artifact {
	for i := range k.Writes {
		if k.Writes[i].Schema == definition {
			return &k.Writes[i]
		}
	}
	return nil
}

// An Artifact is a file a stage writes into its request folder.
type Artifact struct {
	Name     string   `json:"name"`
	File     string   `json:"file"`
	Schema   string   `json:"schema,omitempty"` // CUE definition of a JSON artifact
	On       []string `json:"on,omitempty"`     // outcomes that need it; none: all but BLOCKED
	Optional bool     `json:"optional,omitempty"`
}

// NeededFor reports whether the outcome is invalid without the artifact.
func (a Artifact) NeededFor(outcome string) bool {
	if a.Optional {
		return false
	}
	if len(a.On) > 0 {
		return slices.Contains(a.On, outcome)
	}
	return outcome != OutcomeBlocked
}

// A Family is a kind of work item.
type Family struct {
	ID         string            `json:"id"`
	Plane      string            `json:"plane"`
	Intake     []string          `json:"intake"`               // first folder below intake/ that implies it
	IDField    string            `json:"id_field"`             // task_id
	Definition string            `json:"definition"`           // #Task
	Source     string            `json:"source,omitempty"`     // CUE of the definition, for families an operator brings
	Extension  string            `json:"extension"`            // .md or .json
	Folders    map[string]string `json:"folders"`              // state → lifecycle folder
	Dependency string            `json:"dependency,omitempty"` // field with ids that must be done first
	HoldsOpen  []string          `json:"holds_open,omitempty"` // states that keep a closure target open
	MadeBy     string            `json:"made_by,omitempty"`    // anyone, runtime
}

// Dropped reports whether people and agents may make documents of the family.
func (f *Family) Dropped() bool { return f.MadeBy != "runtime" }

// A Runner is a named way to run a stage: an adapter and its settings. Env holds names and values
// that the operator wrote; secrets belong into the environment of the daemon, never here.
type Runner struct {
	Name       string            `json:"name"`
	Adapter    string            `json:"adapter"`
	Run        []string          `json:"run,omitempty"`    // argv of the command adapter
	Prompt     string            `json:"prompt,omitempty"` // stdin, file, arg
	Args       []string          `json:"args,omitempty"`
	Env        map[string]string `json:"env,omitempty"`
	Model      string            `json:"model,omitempty"`
	Permission string            `json:"permission,omitempty"`       // basic, elevated, maximum
	EventLog   string            `json:"event_log_policy,omitempty"` // full, failures, none
	Command    string            `json:"command,omitempty"`          // the agent's program; "": the adapter's
	KeyEnv     string            `json:"key_env,omitempty"`          // variable that holds the key, beside the adapter's own
	Profile    string            `json:"profile,omitempty"`          // of codex_cli
	Config     map[string]string `json:"config,omitempty"`           // of codex_cli: key → value as in its config.toml
	Provider   string            `json:"provider,omitempty"`         // of pi_rpc
}

// CheckPolicy is the configuration's "checks".
type CheckPolicy struct {
	FromAgents string   `json:"from_agents"` // allow, approval, deny
	Timeout    Duration `json:"timeout"`
}

// ClosurePolicy is the configuration's "closure".
type ClosurePolicy struct {
	RequireChecks bool `json:"require_checks"` // a lineage without any check does not close
}

// A Trigger raises a learning request when a stage ends with one of the outcomes.
type Trigger struct {
	Stage       string   `json:"stage"`
	Outcomes    []string `json:"outcomes"`
	Target      string   `json:"target"` // node that the request begins at
	Action      string   `json:"action"`
	TargetSkill string   `json:"target_skill_id,omitempty"`
	OutputPaths []string `json:"preferred_output_paths,omitempty"`
}

// RecoveryPolicy is the configuration's "auto_recovery".
type RecoveryPolicy struct {
	Enabled         bool       `json:"enabled"`
	DependencyRetry bool       `json:"blocked_dependency_retry"`
	MaxRequeues     int        `json:"max_requeues"`
	Cooldowns       []Duration `json:"cooldowns"`
}

// Node finds a node of a graph by the graph's plane.
func (p *Plan) Node(plane, node string) *Node {
	if g := p.Graphs[plane]; g != nil {
		return g.Nodes[node]
	}
	return nil
}

// Lacks lists the fields of which a document that asks to begin at a node must fill one, when it fills none of them.
func (p *Plan) Lacks(plane, target string, fills []string) []string {
	kind := p.Kind(plane, target)
	if kind == nil || slices.ContainsFunc(kind.NeedsOneOf, func(field string) bool { return slices.Contains(fills, field) }) {
		return nil
	}
	return kind.NeedsOneOf
}

// Kind finds the stage kind of a node.
func (p *Plan) Kind(plane, node string) *StageKind {
	if n := p.Node(plane, node); n != nil {
		return p.Stages[n.Stage]
	}
	return nil
}
