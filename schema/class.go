package schema

// The classes by which the runtime says what went wrong: of a stage, by what has to be done about it (Scope); of a closure
// target; of a root spec.

// Failure classes of a stage, by scope.
const (
	FailRunnerNotFound = "runner_not_found" // runner scope
	FailAuth           = "auth_failed"
	FailProvider       = "provider_unavailable"
	FailRateLimited    = "provider_rate_limited"
	FailNetwork        = "network_unavailable"

	FailSupervisorLost = "supervisor_lost" // run scope
	FailNotStarted     = "not_started"
	FailCancelled      = "cancelled"

	FailTimeout         = "runner_timeout" // stage scope
	FailStalled         = "runner_stalled"
	FailExit            = "runner_exit"
	FailMissingOutcome  = "missing_outcome"
	FailIllegalOutcome  = "illegal_outcome"
	FailConflicting     = "conflicting_outcomes"
	FailMissingArtifact = "missing_artifact"
	FailInvalidArtifact = "invalid_artifact"
	FailOutboxConflict  = "outbox_conflict"
	FailNoProgress      = "no_progress"
	FailHandoff         = "recon_handoff_invalid" // a packet that is missing, or at odds with its outcome or with what is proposed

	FailApprovalDenied = "approval_denied" // of a blocked item; no stage has it
)

// Why a closure target is stalled, beside the failures of a stage.
const (
	StallIncidentLimit = "incident_limit"               // its root may raise no more incidents
	StallRepeated      = "closure_repeated_remediation" // judged to have gaps twice, with no work done in between
)

// Classes of a RootFault.
const (
	FaultNoRoot      = "missing_root_spec_id"         // the spec descends from others and does not say from which root
	FaultNoSource    = "missing_root_source"          // it comes from an idea and does not say from which
	FaultUnresolved  = "root_source_unresolved"       // the idea that it names is not kept
	FaultAmbiguous   = "root_source_ambiguous"        // it names two ideas
	FaultUnsupported = "root_source_kind_unsupported" // it is derived from another spec and yet its own root
	FaultContract    = "root_source_contract_invalid" // its document, or the idea's, does not pass its definition any more
	FaultDrift       = "closure_lineage_drift"        // its lineage names more than one idea
)

// Scope of a failure class: "runner", "run" or "stage".
func Scope(class string) string {
	switch class {
	case FailRunnerNotFound, FailAuth, FailProvider, FailRateLimited, FailNetwork:
		return "runner"
	case FailSupervisorLost, FailNotStarted, FailCancelled:
		return "run"
	}
	return "stage"
}
