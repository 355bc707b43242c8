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
// The demo agent is a deterministic program that follows the task to the letter. It is started like any
// agent of the command adapter, as "millrace demo-agent": the prompt on stdin, the project folder as working
// directory, MILLRACE_RUN and MILLRACE_REQUEST in the environment. Its request folder is
// millrace-agents/runs/$MILLRACE_RUN/$MILLRACE_REQUEST; request.json there says stage, attempt, artifacts,
// legal outcomes and checks. The task with its body stands in the prompt.
//
// The body holds fenced code blocks of three backquotes; the words after the backquotes say what to do, and
// blocks that begin otherwise are no business of the agent:
//
//	write PATH                   the block's lines become the whole file; folders are made
//	replace PATH                 the lines above a line "====" must occur exactly once in the file, as
//	                             whole lines; the lines below take their place
//	write PATH first-attempt     } what builder does in place of the plain block of the same
//	replace PATH first-attempt   } kind and path, while request.attempt is 1
//
// PATH is relative to the project and stays inside it, outside of millrace-agents/. Blocks are followed in
// order. A replace whose upper text is gone and whose lower text is there has been done already: nothing
// to do. Anything else that cannot be followed is a reason for BLOCKED.
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
//	consultant               reports                                            NEEDS_PLANNING
//
// Every stage writes each artifact that its outcome needs into the request folder, saying in a few lines
// what it did (paths written, commands run with exit codes), and ends its output with "### OUTCOME" on a
// line of its own. Stages it has never heard of end BLOCKED.
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
