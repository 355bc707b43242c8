package assets

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed all:demo
var demoFS embed.FS

// Demo is the demo project: project-relative path → bytes. Its tests need nothing but a POSIX shell, and
// most of them fail at first. Declarations and a configuration that selects the mode for it lie under
// millrace-agents/. A declaration that git tracks before the workspace exists is held, so commit the
// project first and write millrace-agents/ after the workspace was made (or leave it untracked).
//
// # What the demo agent is held to
//
// The demo agent is a deterministic program that follows its documents to the letter. It is started like any
// agent of the command adapter, as "millrace demo-agent": the prompt on stdin, the project folder as working
// directory, MILLRACE_RUN and MILLRACE_REQUEST in the environment. Its request folder is
// millrace-agents/runs/$MILLRACE_RUN/$MILLRACE_REQUEST; request.json there says stage, attempt, artifacts,
// legal outcomes and checks. The work item with its body stands in the prompt, under "## Work item".
//
// The body holds fenced code blocks of three or more backquotes; the words after the backquotes say what to do.
// Blocks that begin otherwise are no business of the agent, and neither is what stands inside of another block:
//
//	write PATH                   the block's lines become the whole file; folders are made
//	replace PATH                 the lines above a line "====" must occur exactly once in the file, as
//	                             whole lines; the lines below take their place
//	write PATH first-attempt     } what builder does in place of the plain block of the same
//	replace PATH first-attempt   } kind and path, while request.attempt is 1
//	question                     what a task leaves open: nobody can build it
//	task FILE                    a whole task, which manager puts into the outbox as FILE
//	task FILE after TASK         the same, in the place of TASK, when that came back as an incident
//
// PATH is relative to the project and stays inside it, outside of millrace-agents/; FILE is a name that ends in
// ".md". Blocks are followed in order. A replace whose upper text is gone and whose lower text is there has been
// done already: nothing to do. Anything else that cannot be followed is a reason for BLOCKED.
//
// What each stage does, and the outcome it ends with when nothing stands in the way:
//
//	builder                  follows the blocks (first attempts first)          BUILDER_COMPLETE
//	integrator               checks that every written path is there            INTEGRATION_COMPLETE
//	checker, doublechecker   run request.checks with "sh -c", judge by exit     CHECKER_PASS, DOUBLECHECK_PASS
//	                         code, change nothing; one fails: fix_contract.md   or FIX_NEEDED
//	fixer                    follows the plain blocks                           FIXER_COMPLETE
//	updater                  writes millrace-agents/outline.md: the project's   UPDATE_COMPLETE
//	                         files, sorted, each with its first comment line
//	troubleshooter           reports, and leaves the tree to builder            TROUBLESHOOT_COMPLETE
//	consultant               reports, with the question when there is one       NEEDS_PLANNING
//	auditor                  reads the incident's task, reports its question    AUDITOR_COMPLETE
//	planner                  decides that tasks can be cut. Of a spec: those    PLANNER_COMPLETE
//	                         that it spells out. Of an incident: those that the
//	                         root spec has for after its task; the summary
//	                         quotes them, so that manager sees them
//	manager                  proposes the tasks that its prompt spells out      MANAGER_COMPLETE
//	arbiter                  makes a criterion of every goal, non-goal,         ARBITER_COMPLETE
//	                         constraint and acceptance point of the contract,   or REMEDIATION_NEEDED
//	                         and holds it when the request's checks pass that
//	                         it names (all of them when it names none)
//
// A question ends builder, fixer and troubleshooter as BLOCKED. Every stage writes each artifact that its outcome
// needs into the request folder: JSON where a definition asks for it, else a few lines on what it did (paths
// written, commands run with exit codes). It ends its output with "### OUTCOME" on a line of its own. Stages it has
// never heard of end BLOCKED.
func Demo() map[string][]byte { return tree(demoFS, "demo") }

// tree reads a folder of an embedded file system: path below it → bytes.
func tree(fsys fs.FS, root string) map[string][]byte {
	files := map[string][]byte{}
	err := fs.WalkDir(fsys, root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(fsys, path)
		files[strings.TrimPrefix(path, root+"/")] = data
		return err
	})
	if err != nil {
		panic("read embedded " + root + ": " + err.Error()) // the binary itself is broken
	}
	return files
}
