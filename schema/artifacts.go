package schema

import "time"

// The artifacts that stages write, field by field as in artifacts.cue. All carry an ArtifactHead.

// Definitions of the artifacts that effects take: by what a stage kind declares of these, and by no name of a file or a
// stage, an effect finds its file. DefTask and DefDraft are of documents that a stage writes as artifacts.
const (
	DefDisposition = "#PlannerDisposition"
	DefRecon       = "#ReconPacket"
	DefManifest    = "#BlueprintManifest"
	DefDrafts      = "#BlueprintDrafts"
	DefDraft       = "#BlueprintDraft"
	DefPacket      = "#BlueprintPacket"
	DefCritique    = "#BlueprintCritique"
	DefEvaluation  = "#BlueprintEvaluation"
	DefRepair      = "#BlueprintRepairDecision"
	DefTask        = "#Task"
	DefVerdict     = "#Verdict"
	DefCurator     = "#CuratorDecision"
)

// ArtifactHead says what a file is and who wrote it.
type ArtifactHead struct {
	SchemaVersion int       `json:"schema_version"`
	Kind          string    `json:"kind"`
	CreatedAt     time.Time `json:"created_at"`
	CreatedBy     string    `json:"created_by"`
}

// A PlannerDisposition says what a planner did with the work it was given.
type PlannerDisposition struct {
	ArtifactHead
	SourceFamily          string   `json:"source_work_item_family_id"`
	SourceID              string   `json:"source_work_item_id"`
	Disposition           string   `json:"disposition"`
	EmittedSpecIDs        []string `json:"emitted_spec_ids,omitempty"`
	RecommendedNextAction string   `json:"recommended_next_action,omitempty"`
}

// A ReconPacket is what recon found out about a probe: headed Markdown.
type ReconPacket struct {
	SchemaVersion      int              `json:"schema_version,omitempty"`
	Kind               string           `json:"kind,omitempty"`
	ID                 string           `json:"recon_packet_id"`
	Title              string           `json:"title,omitempty"`
	ProbeID            string           `json:"probe_id"`
	Decision           string           `json:"decision"`
	Confidence         string           `json:"confidence,omitempty"`
	RiskLevel          string           `json:"risk_level,omitempty"`
	RequestSummary     string           `json:"request_summary,omitempty"`
	InterpretedGoal    string           `json:"interpreted_goal,omitempty"`
	HandoffTarget      string           `json:"handoff_target,omitempty"`
	EmittedTaskID      string           `json:"emitted_task_id,omitempty"`
	EmittedSpecID      string           `json:"emitted_spec_id,omitempty"`
	CreatedAt          time.Time        `json:"created_at,omitzero"`
	CreatedBy          string           `json:"created_by,omitempty"`
	VerificationPlan   VerificationPlan `json:"verification_plan,omitzero"`
	RelevantPaths      []string         `json:"relevant_paths,omitempty"`
	SemanticInvariants []string         `json:"semantic_invariants,omitempty"`
}

// A VerificationPlan says how a handed-off piece of work can be checked.
type VerificationPlan struct {
	RequiredCommands []string `json:"required_commands,omitempty"`
	FocusedChecks    []string `json:"focused_checks,omitempty"`
	FallbackChecks   []string `json:"fallback_checks,omitempty"`
}

// A ClosureVerdict is an arbiter's judgement of a whole lineage.
type ClosureVerdict struct {
	ArtifactHead
	RootSpecID string      `json:"root_spec_id"`
	Verdict    string      `json:"verdict"` // pass, gaps
	Criteria   []Criterion `json:"criteria"`
	Gaps       []Gap       `json:"gaps,omitempty"`
}

// A Criterion is one line of the rubric, with what shows that it holds.
type Criterion struct {
	ID         string   `json:"id"`
	Text       string   `json:"text"`
	Result     string   `json:"result"`
	Provenance string   `json:"provenance"`
	Evidence   []string `json:"evidence,omitempty"`
}

// A Gap is what is still to do.
type Gap struct {
	ID       string   `json:"id"`
	Title    string   `json:"title"`
	Summary  string   `json:"summary,omitempty"`
	Evidence []string `json:"evidence,omitempty"`
}

// A CuratorDecision says what becomes of a skill candidate.
type CuratorDecision struct {
	ArtifactHead
	Decision      string        `json:"decision"` // apply, noop
	TargetSkillID string        `json:"target_skill_id,omitempty"`
	Changes       []SkillChange `json:"changes,omitempty"`
	Evidence      []string      `json:"evidence,omitempty"`
}

// A SkillChange is one file of a skill that changes.
type SkillChange struct {
	Path    string `json:"path"`
	Summary string `json:"summary,omitempty"`
}

// A BlueprintManifest orders the drafts of one blueprint.
type BlueprintManifest struct {
	ArtifactHead
	ID                     string   `json:"manifest_id"`
	RootSpecID             string   `json:"root_spec_id,omitempty"`
	RootIdeaID             string   `json:"root_idea_id,omitempty"`
	SourceKind             string   `json:"source_kind"` // spec, incident
	SourceID               string   `json:"source_id"`
	SourceSpecID           string   `json:"source_spec_id,omitempty"`
	DraftCount             int      `json:"draft_count"`
	StrictSequence         bool     `json:"strict_sequence,omitempty"`
	SpecSummary            string   `json:"spec_summary,omitempty"`
	DecompositionStrategy  string   `json:"decomposition_strategy,omitempty"`
	DraftIDs               []string `json:"draft_ids"`
	GlobalAcceptanceIntent []string `json:"global_acceptance_intent,omitempty"`
	Notes                  []string `json:"notes,omitempty"`
}

// BlueprintDrafts are the drafts of a manifest, in order.
type BlueprintDrafts struct {
	ArtifactHead
	Drafts []BlueprintDraft `json:"drafts"`
}

// BlueprintIDs name one revision of a draft's blueprint.
type BlueprintIDs struct {
	BlueprintID string `json:"blueprint_id"`
	DraftID     string `json:"draft_id"`
	ManifestID  string `json:"manifest_id,omitempty"`
	RootSpecID  string `json:"root_spec_id,omitempty"`
	RootIdeaID  string `json:"root_idea_id,omitempty"`
	Revision    int    `json:"revision"` // from 0
}

// A BlueprintPacket is a contractor's worked-out draft.
type BlueprintPacket struct {
	ArtifactHead
	BlueprintIDs
	Title               string   `json:"title,omitempty"`
	Summary             string   `json:"summary,omitempty"`
	ImplementationScope []string `json:"implementation_scope"`
	IntendedFiles       []string `json:"intended_files,omitempty"`
	DesignDecisions     []string `json:"design_decisions,omitempty"`
	VerificationPlan    []string `json:"verification_plan,omitempty"`
	TaskAcceptance      []string `json:"task_acceptance"`
	RequiredChecks      []string `json:"required_checks,omitempty"`
	RiskNotes           []string `json:"risk_notes,omitempty"`
	References          []string `json:"references,omitempty"`
}

// A BlueprintCritique says what a rejected packet must change.
type BlueprintCritique struct {
	ArtifactHead
	BlueprintIDs
	ID                 string   `json:"critique_id"`
	EvaluationID       string   `json:"evaluation_id"`
	BlockingReason     string   `json:"blocking_reason,omitempty"`
	RequiredChanges    []string `json:"required_changes"`
	ScopeIssues        []string `json:"scope_issues,omitempty"`
	DependencyIssues   []string `json:"dependency_issues,omitempty"`
	VerificationIssues []string `json:"verification_issues,omitempty"`
	AcceptanceIssues   []string `json:"acceptance_issues,omitempty"`
	RiskIssues         []string `json:"risk_issues,omitempty"`
}

// A BlueprintEvaluation is an evaluator's decision on a packet.
type BlueprintEvaluation struct {
	ArtifactHead
	BlueprintIDs
	ID                         string   `json:"evaluation_id"`
	Decision                   string   `json:"decision"` // approved, rejected
	CritiqueID                 string   `json:"critique_id,omitempty"`
	RubricFindings             []string `json:"rubric_findings,omitempty"`
	LineageConsistencyFindings []string `json:"lineage_consistency_findings,omitempty"`
	DependencyFindings         []string `json:"dependency_findings,omitempty"`
	VerificationFindings       []string `json:"verification_findings,omitempty"`
	OverlapFindings            []string `json:"overlap_findings,omitempty"`
	RequiredTaskFields         []string `json:"required_task_fields,omitempty"`
}

// Decisions of an evaluation, and the repair actions that rest on something beyond the node they lead to.
const (
	EvaluationApproved = "approved"
	EvaluationRejected = "rejected"

	RepairTask      = "apply_repaired_generated_task"
	RepairEvaluator = "rerun_evaluator"
	RepairBlock     = "block"
)

// A BlueprintRepairDecision says how a stuck blueprint goes on.
type BlueprintRepairDecision struct {
	ArtifactHead
	RepairAction    string `json:"repair_action"`
	NextResumeStage string `json:"next_resume_stage,omitempty"`
	FailedRun       string `json:"failed_run,omitempty"`
	FailedRequest   string `json:"failed_request,omitempty"`
	Reason          string `json:"reason"`
}

// A Promotion records the one task that an approved draft became.
type Promotion struct {
	ArtifactHead
	ID              string    `json:"promotion_id"`
	BlueprintID     string    `json:"blueprint_id"`
	DraftID         string    `json:"draft_id"`
	ManifestID      string    `json:"manifest_id"`
	EvaluationID    string    `json:"evaluation_id,omitempty"`
	RootSpecID      string    `json:"root_spec_id,omitempty"`
	RootIdeaID      string    `json:"root_idea_id,omitempty"`
	GeneratedTaskID string    `json:"generated_task_id"`
	PromotedAt      time.Time `json:"promoted_at"`
	PromotedBy      string    `json:"promoted_by"`
	Paths           []string  `json:"paths,omitempty"`
}
