package dispatch

import (
	"fmt"
	"path"

	"millrace/schema"
	"millrace/workspace"
)

// hold reads the files of a held claim as they were when it was made: whatever became of them since, they are what
// the agent was paid for.
func (s *stage) hold(r *reader) {
	s.data = map[string][]byte{}
	for _, f := range s.run.Held.Files {
		a, _, found := r.written(path.Join(workspace.RunDir(s.run.ID), schema.HeldFolder, f.Path), f.Digest)
		if found && a.Err == "" && a.Digest == f.Digest {
			s.held = append(s.held, f)
			s.data[f.Path] = a.Data
		}
	}
}

// layOut gives the request of a held claim the files that belong to the claim, and says to people what it is.
func (s *stage) layOut(m *workspace.Mutation, dir string) {
	for _, f := range s.held {
		m.PutFile(path.Join(dir, f.Path), "", s.data[f.Path])
	}
	m.PutFile(path.Join(dir, schema.PromptFile), "", fmt.Appendf(nil,
		"# No agent is started\n\nRequest %s has ended with %s. Only the checks that this rests on are run, on the working tree as it is now.\n",
		s.run.Held.Request, s.run.Held.Claim.Outcome))
}
