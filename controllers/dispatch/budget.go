package dispatch

import "millrace/workspace"

// What a prompt holds, at most. The rest is named with the file that has it: an agent can open that, and a prompt that
// holds everything is read by none. docs/context.md shows this table.
const (
	showPrompt   = 192 << 10 // of all that is quoted: work item, contract, evidence, files and logs of stages before. What is granted first is in this order
	showDocument = 48 << 10  // of the work item, from its beginning
	showContract = 64 << 10  // of one file of the contract that a lineage is judged by
	showEvidence = 24 << 10  // of the evidence, as the prompt tells it
	showFile     = 16 << 10  // of one file that an earlier stage or verdict left, from its beginning
	showLog      = 4 << 10   // of the log of one check that failed, from its end
	showLogs     = 32 << 10  // of all such logs together
	showAll      = 64 << 10  // of all that earlier stages left, logs included
	showKin      = 8 << 10   // of what the lineage looks like from the work item
	showHistory  = 8 << 10   // of what happened in this run and lately in the lineage
	showChecks   = 8 << 10   // of the list of checks
	showGaps     = 8 << 10   // of the list of gaps that the verdict before named
	showSkills   = 4 << 10   // of the list of skill files
	showNames    = 4 << 10   // of the list of files that are only named
	showMessage  = 500       // of one message, reason or command
	showTitle    = 120       // of one title
	leaveMessage = 500       // of one result's message in evidence_window.json
)

// How many are looked at or named, whatever they hold.
const (
	maxHistory = 10        // entries of the lineage's history
	maxKin     = 12        // siblings
	maxNeeds   = 8         // dependencies whose results are told
	maxSteps   = 20        // stages of this run, the last ones
	maxLogs    = 8         // logs of checks
	maxFiles   = 64        // files that earlier stages left
	maxFence   = 80        // characters of a fence; what would need a longer one cannot be set apart
	readTraces = 500       // runs of a lineage, of the items that ended last
	readTrace  = 512 << 10 // bytes of their traces in all
)

// A pool is a budget that many share: who comes first is granted first.
type pool int

// take shows as much of a file as its own limit and all pools allow.
func take(m *material, a workspace.Answer, limit int, pools ...*pool) {
	for _, p := range pools {
		limit = min(limit, int(*p))
	}
	m.take(a, limit)
	for _, p := range pools {
		*p -= pool(m.Shown)
	}
}
