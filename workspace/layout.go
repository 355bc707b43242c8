// Package workspace owns the folder millrace-agents: its layout, the journal that is its truth, the
// view that controllers decide on, the observers that fill the view, and the one way to change state,
// a committed Mutation. Nothing else in Millrace reads or writes the workspace's runtime half.
package workspace

import (
	"path"

	"millrace/schema"
	"millrace/schema/compile"
)

// Folder is the name of the workspace folder inside a project.
const Folder = "millrace-agents"

// Paths below the workspace folder, slash-separated. Every path in the journal is of this form.
const (
	IntakeDir      = "intake"
	JudgedDir      = "arbiter/" // below it: contracts, targets, rubrics, verdicts, reports
	StateDir       = "state"
	RunsDir        = "runs"
	LockFile       = "state/lock"
	DaemonLock     = "state/daemon.lock"
	DaemonFile     = "state/daemon.json"     // who holds it: a message, never evidence
	ConditionsFile = "state/conditions.json" // what the daemon lives with: a message as well
	JournalDir     = "state/journal"
	BlobsDir       = "state/blobs"
	PlansDir       = "state/plans"
	StatusDir      = "state/status"
	ForeignDir     = "state/foreign"
	AppliedFile    = "state/applied"
	Checkpoint     = "state/checkpoint"
	Snapshot       = "state/snapshot"
	Seen           = "state/seen" // what the daemon need not find out again: a cache
	ControlFile    = "state/control.json"
	HoldFile       = "state/hold.json"
	PlanFile       = "state/compiled_plan.json"
	Manifest       = "state/baseline.json" // digests of the embedded assets as deployed
	LearnedDir     = "skills/learned"      // the one folder of the operator's that the daemon writes
)

// ConfigNames are the configuration files, of which at most one may exist.
var ConfigNames = compile.ConfigFiles

// StatusPath is where an item's status lies.
func StatusPath(k schema.Key) string { return path.Join(StatusDir, k.Family, k.ID+".json") }

// RunDir is the folder of a run.
func RunDir(run string) string { return path.Join(RunsDir, run) }

// RunFile is the projection of a run's state.
func RunFile(run string) string { return path.Join(RunsDir, run, "run.json") }

// TraceFile is the run's trace.
func TraceFile(run string) string { return path.Join(RunsDir, run, "trace.json") }

// RequestDir is the folder of one request.
func RequestDir(run, request string) string { return path.Join(RunsDir, run, request) }

// PlanPath is where a frozen plan is archived.
func PlanPath(d schema.Digest) string { return path.Join(PlansDir, d.Hex()+".json") }
