package schema

import "time"

// The typed documents: what Document.Decode reads when code needs more than the Head. Field by field
// they say the same as documents.cue.

// Times are when and by whom a document was written.
type Times struct {
	CreatedAt time.Time `json:"created_at,omitzero"`
	CreatedBy string    `json:"created_by,omitempty"`
	UpdatedAt time.Time `json:"updated_at,omitzero"`
}

// A Task is one piece of work for the execution plane.
type Task struct {
	ID         string `json:"task_id"`
	Title      string `json:"title"`
	Summary    string `json:"summary,omitempty"`
	StatusHint string `json:"status_hint,omitempty"`
	Priority   int    `json:"priority,omitempty"` // higher first
	Lineage
	Times
	DependsOn      []string `json:"depends_on,omitempty"`
	Blocks         []string `json:"blocks,omitempty"`
	Supersedes     []string `json:"supersedes,omitempty"`
	TargetPaths    []string `json:"target_paths,omitempty"`
	Acceptance     []string `json:"acceptance"`
	RequiredChecks []string `json:"required_checks,omitempty"` // text for agents, never run
	Checks         []Check  `json:"checks,omitempty"`
	References     []string `json:"references,omitempty"`
	Risk           []string `json:"risk,omitempty"`
	Tags           []string `json:"tags,omitempty"`
}

// A Spec is what planning turns into tasks.
type Spec struct {
	ID           string `json:"spec_id"`
	Title        string `json:"title"`
	Summary      string `json:"summary,omitempty"`
	SourceType   string `json:"source_type,omitempty"`
	SourceID     string `json:"source_id,omitempty"`
	ParentSpecID string `json:"parent_spec_id,omitempty"`
	RootIdeaID   string `json:"root_idea_id,omitempty"`
	RootSpecID   string `json:"root_spec_id,omitempty"`
	IncidentID   string `json:"incident_id,omitempty"` // incident whose planning it belongs to
	Times
	Goals              []string `json:"goals"`
	NonGoals           []string `json:"non_goals,omitempty"`
	Scope              []string `json:"scope,omitempty"`
	Constraints        []string `json:"constraints,omitempty"`
	Assumptions        []string `json:"assumptions,omitempty"`
	Risks              []string `json:"risks,omitempty"`
	TargetPaths        []string `json:"target_paths,omitempty"`
	Entrypoints        []string `json:"entrypoints,omitempty"`
	RequiredSkills     []string `json:"required_skills,omitempty"`
	DecompositionHints []string `json:"decomposition_hints,omitempty"`
	Acceptance         []string `json:"acceptance"`
	Checks             []Check  `json:"checks,omitempty"`
	References         []string `json:"references,omitempty"`
}

// A ClosureTarget is what an arbiter judges. The paths are below the workspace folder.
type ClosureTarget struct {
	ID          string    `json:"closure_target_id"`
	Title       string    `json:"title"`
	RootSpecID  string    `json:"root_spec_id"`
	RootIdeaID  string    `json:"root_idea_id,omitempty"`
	Generation  int       `json:"generation"`
	RubricPath  string    `json:"rubric_path"`  // where the runtime keeps what the arbiter writes
	VerdictPath string    `json:"verdict_path"` //
	ReportPath  string    `json:"report_path"`  //
	CreatedAt   time.Time `json:"created_at,omitzero"`
	CreatedBy   string    `json:"created_by,omitempty"`
	Contract    []string  `json:"contract_paths"`
}

// A Probe asks whether something is a task, needs a spec, or is nothing.
type Probe struct {
	ID         string `json:"probe_id"`
	Title      string `json:"title"`
	Summary    string `json:"summary,omitempty"`
	Request    string `json:"request"`
	RootSpecID string `json:"root_spec_id,omitempty"`
	RootIdeaID string `json:"root_idea_id,omitempty"`
	StatusHint string `json:"status_hint,omitempty"`
	Times
	TargetPaths []string `json:"target_paths,omitempty"`
	Constraints []string `json:"constraints,omitempty"`
	Acceptance  []string `json:"acceptance,omitempty"`
	RiskNotes   []string `json:"risk_notes,omitempty"`
	References  []string `json:"references,omitempty"`
	Tags        []string `json:"tags,omitempty"`
}

// An Incident is a failure that execution could not repair.
type Incident struct {
	ID                  string    `json:"incident_id"`
	Title               string    `json:"title"`
	Summary             string    `json:"summary,omitempty"`
	RootIdeaID          string    `json:"root_idea_id,omitempty"`
	RootSpecID          string    `json:"root_spec_id,omitempty"`
	SourceTaskID        string    `json:"source_task_id,omitempty"`
	SourceSpecID        string    `json:"source_spec_id,omitempty"`
	SourceStage         string    `json:"source_stage,omitempty"`
	SourcePlane         string    `json:"source_plane,omitempty"` // of that stage
	FailureClass        string    `json:"failure_class,omitempty"`
	Severity            string    `json:"severity,omitempty"`
	NeedsPlanning       *bool     `json:"needs_planning,omitempty"` // nil before admission: true
	TriggerReason       string    `json:"trigger_reason,omitempty"`
	ConsultantDecision  string    `json:"consultant_decision,omitempty"`
	StatusHint          string    `json:"status_hint,omitempty"`
	OpenedAt            time.Time `json:"opened_at,omitzero"`
	OpenedBy            string    `json:"opened_by,omitempty"`
	UpdatedAt           time.Time `json:"updated_at,omitzero"`
	ObservedSymptoms    []string  `json:"observed_symptoms,omitempty"`
	FailedAttempts      []string  `json:"failed_attempts,omitempty"`
	EvidencePaths       []string  `json:"evidence_paths,omitempty"`
	RelatedRunIDs       []string  `json:"related_run_ids,omitempty"`
	RelatedStageResults []string  `json:"related_stage_results,omitempty"`
	References          []string  `json:"references,omitempty"`
}

// A LearningRequest asks the learning plane for a skill.
type LearningRequest struct {
	ID              string `json:"learning_request_id"`
	Title           string `json:"title"`
	Summary         string `json:"summary,omitempty"`
	RequestedAction string `json:"requested_action,omitempty"`
	TargetSkillID   string `json:"target_skill_id,omitempty"`
	TargetStage     string `json:"target_stage,omitempty"`
	RootSpecID      string `json:"root_spec_id,omitempty"`
	RootIdeaID      string `json:"root_idea_id,omitempty"`
	Times
	TriggerMetadata      map[string]any `json:"trigger_metadata,omitempty"`
	SourceRefs           []string       `json:"source_refs,omitempty"`
	PreferredOutputPaths []string       `json:"preferred_output_paths,omitempty"`
	OriginatingRunIDs    []string       `json:"originating_run_ids,omitempty"`
	ArtifactPaths        []string       `json:"artifact_paths,omitempty"`
	References           []string       `json:"references,omitempty"`
}

// An Idea is any Markdown; its text is the document's body.
type Idea struct {
	ID        string    `json:"idea_id"`
	Title     string    `json:"title"`
	CreatedAt time.Time `json:"created_at,omitzero"`
	CreatedBy string    `json:"created_by,omitempty"`
}

// An Approval decides a pending approval.
type Approval struct {
	ID       string `json:"approval"` // item/node/capability/fingerprint
	Decision string `json:"decision"` // approve, deny
	Reason   string `json:"reason"`
	By       string `json:"by,omitempty"`
}

// A BlueprintDraft is one step of a blueprint: an item that is stored as JSON.
type BlueprintDraft struct {
	ID         string `json:"draft_id"`
	Title      string `json:"title"`
	Summary    string `json:"summary,omitempty"`
	ManifestID string `json:"manifest_id"`
	RootSpecID string `json:"root_spec_id,omitempty"`
	RootIdeaID string `json:"root_idea_id,omitempty"`
	SpecID     string `json:"spec_id,omitempty"`
	IncidentID string `json:"incident_id,omitempty"` // incident whose planning it belongs to
	Index      int    `json:"draft_index"`           // from 0
	Priority   int    `json:"priority,omitempty"`
	Times
	DependsOn          []string `json:"depends_on_draft_ids,omitempty"`
	Scope              []string `json:"scope,omitempty"`
	NonGoals           []string `json:"non_goals,omitempty"`
	TargetPaths        []string `json:"target_paths,omitempty"`
	AcceptanceIntent   []string `json:"acceptance_intent"`
	VerificationIntent []string `json:"verification_intent,omitempty"`
	RiskNotes          []string `json:"risk_notes,omitempty"`
	References         []string `json:"references,omitempty"`
}
