package dispatch

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"millrace/schema"
	"millrace/workspace"
)

// prompt renders what the agent reads: the stage's entrypoint as the plan froze it, then the request.
// The same stage and the same materials give the same bytes. No line of it is an outcome marker, so
// that an agent which repeats its prompt has not ended by accident.
func (s *stage) prompt(req *schema.Request, skills []string) *page {
	p := new(page)
	n := s.plan.Node(req.Plane, req.Node)
	p.begin("")
	p.WriteString(strings.TrimRight(s.plan.Assets[n.Entrypoint], "\n") + "\n")
	folder := path.Join(workspace.Folder, workspace.RequestDir(req.Run, req.ID)) + "/"

	p.begin("This request")
	p.line("\n# This request\n")
	p.line("- Work item: %s %s, generation %d", req.Item.Family, req.Item.ID, req.Generation)
	p.line("- Stage: %s%s, request %d of this run", req.Stage, nodeName(req), req.Attempt)
	p.line("- You were started in the project folder. Paths below are relative to it.")
	p.line("- Request folder: `%s`", folder)
	p.line("- Time limit: %s; without any output for %s you are ended", req.Timeout, req.Stall)
	s.resumed(p, req)
	s.ending(p, req, folder)
	writing(p, req, folder)
	s.task(p)
	if s.closing != nil {
		s.closing.contracts(p)
	}
	s.checking(p, req, folder)
	if s.closing != nil {
		s.closing.tell(p, folder)
	}
	s.origin(p)
	s.happened(p)
	s.reading(p)
	s.offering(p, req, folder, skills)
	p.end()
	return p
}

// task shows the work item. A long one is shown by its beginning: that an agent has to open the rest is said first.
func (s *stage) task(p *page) {
	p.head("Work item")
	m := s.work
	where := code(path.Join(workspace.Folder, m.Path))
	switch {
	case m.Why != "":
		p.line("It is not shown: %s. Read it before anything else: %s", inline(m.Why, showMessage), where)
		return
	case m.Shown < m.Size:
		p.line("This is its beginning, %d of %d bytes. Read the rest before you begin: %s\n", m.Shown, m.Size, where)
	}
	p.quote(m.text)
}

// resumed tells an agent that goes on with a session what has become of its request.
func (s *stage) resumed(p *page, req *schema.Request) {
	if req.Session == nil {
		return
	}
	last := &s.run.Steps[len(s.run.Steps)-1]
	p.head("You were interrupted")
	p.line("Your session goes on, and your request is a new one: the one before came to nothing (%s), which was not your doing.\n", last.Failure)
	p.line("- What you did to the working tree is still there and counts. Look at it before you go on: your last step may be half done.")
	p.line("- What you wrote into `%s/` does not count.", path.Join(workspace.Folder, workspace.RequestDir(req.Run, req.Session.Request)))
	p.line("  Write every file that is asked for below anew, into the request folder of this request.")
	p.line("- What you said before does not count either: end this request with an outcome, as below.")
}

func nodeName(req *schema.Request) string {
	if req.Node == req.Stage {
		return ""
	}
	return " (node " + req.Node + ")"
}

// ending is the outcome contract.
func (s *stage) ending(p *page, req *schema.Request, folder string) {
	kind := s.plan.Stages[req.Stage]
	shown := example(kind, req)
	p.head("How to end")
	p.line("End with exactly one of these outcomes:\n")
	for _, o := range req.Outcomes {
		p.line("- `### %s` (%s)", o, strings.Join(classes(kind, o), " or "))
	}
	p.line("\nWrite the line as it stands between the backticks as the last line of your final message, outside of")
	p.line("code fences. Or write `%s%s`:\n", folder, schema.TerminalFile)
	p.line("    {\"stage\": %q, \"terminal_result\": %q, \"summary_artifact_paths\": [%s]}\n",
		req.Stage, shown, strings.Join(quoted(summaries(req, shown)), ", "))
	p.line("If you do both they must agree. What follows is decided by Millrace; %s says why in your final message.", schema.OutcomeBlocked)
	for _, o := range req.Outcomes {
		if keys, nodes := s.resumable(o); len(nodes) > 0 {
			p.line("\nWith %s you may say where the run goes on, by \"metadata\": {%q: …} in that file: %s.",
				o, keys[0], strings.Join(nodes, ", "))
		}
	}
}

func classes(kind *schema.StageKind, outcome string) []string {
	if all := kind.Outcomes[outcome]; len(all) > 0 {
		return all
	}
	return []string{schema.ClassBlocked, schema.ClassRecoverable}
}

// example is an outcome to show the form with: any that does not block.
func example(kind *schema.StageKind, req *schema.Request) string {
	for _, o := range req.Outcomes {
		if classes(kind, o)[0] != schema.ClassBlocked {
			return o
		}
	}
	return schema.OutcomeBlocked
}

func summaries(req *schema.Request, outcome string) []string {
	var files []string
	for _, a := range req.Artifacts {
		if a.NeededFor(outcome) {
			files = append(files, a.File)
		}
	}
	return files
}

func quoted(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = fmt.Sprintf("%q", w)
	}
	return out
}

// resumable lists the nodes that an outcome may name: entered by this run, not ruled out, and of a kind
// that owns the item's family.
func (s *stage) resumable(outcome string) (keys, nodes []string) {
	e := s.plan.Node(s.run.Plane, s.run.Node).On[outcome]
	if e == nil || e.Resume == nil || len(e.Resume.Keys) == 0 {
		return nil, nil
	}
	for _, n := range s.run.Entered() {
		kind := s.plan.Kind(s.run.Plane, n)
		if kind != nil && !slices.Contains(e.Resume.Not, n) && slices.Contains(kind.Owns, s.item.Family) {
			nodes = append(nodes, n)
		}
	}
	return e.Resume.Keys, nodes
}

// writing is the table of artifacts.
func writing(p *page, req *schema.Request, folder string) {
	if len(req.Artifacts) == 0 {
		return
	}
	p.head("What to write")
	p.line("| file | needed for | content |\n|---|---|---|")
	for _, a := range req.Artifacts {
		p.line("| `%s%s` | %s | %s |", folder, a.File, neededFor(a, req.Outcomes), content(a))
	}
	p.line("\nAn outcome without the files it needs is not accepted.")
}

func neededFor(a schema.Artifact, outcomes []string) string {
	var needs []string
	for _, o := range outcomes {
		if a.NeededFor(o) {
			needs = append(needs, o)
		}
	}
	if len(needs) == 0 {
		return "nothing; welcome"
	}
	return strings.Join(needs, ", ")
}

func content(a schema.Artifact) string {
	switch {
	case a.Schema == "":
		return strings.ReplaceAll(a.Name, "_", " ")
	case path.Ext(a.File) == ".md":
		return "headed Markdown that satisfies " + a.Schema
	}
	return "JSON that satisfies " + a.Schema
}

// checking names the checks that Millrace runs, so that an agent knows what it is measured by.
func (s *stage) checking(p *page, req *schema.Request, folder string) {
	if len(req.Checks) == 0 {
		if s.closing != nil {
			s.unproven(p)
		}
		return
	}
	p.head("Checks")
	if s.closing != nil {
		p.line("These are all checks of the lineage, each once, on one working tree.")
	}
	p.line("Millrace runs these itself and believes their exit codes, not what is said about them:\n")
	var all []string
	for _, c := range req.Checks {
		text := fmt.Sprintf("- %s: %s", inline(c.Name, showTitle), code(c.Run))
		if c.In != "" {
			text += " in " + code(c.In)
		}
		all = append(all, text)
	}
	p.list(showChecks, all, "which `"+folder+schema.RequestFile+"` lists")
	if req.ChecksBefore {
		p.line("\nThey have been run before you were started. What came of them is in `%s%s`,", folder, schema.ChecksFile)
		p.line("their logs are `%s%s/before-1.log` and so on, in this order.", folder, schema.ChecksFolder)
	}
	if len(req.ChecksAfter) > 0 {
		p.line("\nThey are run after %s.", strings.Join(req.ChecksAfter, ", "))
	}
	if !req.ChecksBefore && len(req.ChecksAfter) == 0 {
		p.line("\nThey are run later, when the work is judged.")
	}
}
