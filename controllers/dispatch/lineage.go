package dispatch

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"millrace/schema"
	"millrace/workspace"
)

// A lineage is what the judge of a closure target is shown: the contract, the verdict before, and what came of all
// work.
type lineage struct {
	plan     *schema.Plan
	target   *schema.Item
	contract []*material
	before   []*material // what was kept of the latest verdict
	window   schema.Evidence
	evidence *material // the window as it lies in the request folder
	told     int       // bytes that the prompt may tell of it
}

// judge gathers the lineage of the stage's item.
func (s *stage) judge(r *reader, left *pool) {
	it := s.item
	c := it.Closure
	if c == nil {
		c = &schema.Closure{}
	}
	l := &lineage{plan: s.plan, target: it, window: schema.Evidence{
		SchemaVersion: schema.Version, Target: it.ID, RootSpecID: cmp.Or(it.Lineage.RootSpecID, it.ID), Generation: it.Generation,
		Seq: r.Seq + 1, Judged: c.Judged, Contract: c.Contract, Checks: checks(r.View, s.plan, it), Items: []schema.EvidenceItem{},
	}}
	for _, f := range c.Contract {
		m := &material{Name: "contract", Path: f.Path, Digest: f.Digest}
		if a, changed, found := r.written(f.Path, f.Digest); found {
			take(m, a, showContract, left)
			if changed && m.Why == "" {
				m.mend = a.Data
			}
		}
		l.contract = append(l.contract, m)
	}
	l.told = min(showEvidence, int(*left))
	*left -= pool(l.told)
	for _, file := range c.Kept {
		m := &material{Name: "earlier " + path.Base(path.Dir(file)), Path: file}
		if a, found := r.ask(workspace.AskFile(file)); found {
			take(m, a, showFile, left)
		}
		l.before = append(l.before, m)
	}
	l.gather(r)
	s.closing = l
}

// gather lists every item of the lineage, what ended last first, and what the runs of the newest came to.
func (l *lineage) gather(r *reader) {
	items := slices.SortedFunc(r.Lineage(l.window.RootSpecID), func(a, b *schema.Item) int {
		return cmp.Or(cmp.Compare(b.EndedSeq, a.EndedSeq), workspace.CompareKeys(a.Key(), b.Key()))
	})
	traces, left := 0, readTrace
	for _, it := range items {
		e := schema.EvidenceItem{
			Item: it.Key(), Title: it.Title, State: it.State, Path: it.Path, Generation: it.Generation, Run: it.Run,
			EndedSeq: it.EndedSeq, Newer: it.EndedSeq > l.window.Judged,
		}
		if it.Run != "" {
			e.Trace = workspace.TraceFile(it.Run)
			if traces++; traces > readTraces || left <= 0 {
				e.Withheld = "the window is full"
			} else if a, found := r.ask(workspace.AskFile(e.Trace)); found {
				left -= len(a.Data)
				e.End, e.Results, e.Withheld = results(a)
			}
		}
		l.window.Items = append(l.window.Items, e)
	}
}

// results reads the trace of a run; withheld says why it cannot.
func results(a workspace.Answer) (end string, all []schema.EvidenceResult, withheld string) {
	var t workspace.Trace
	switch err := json.Unmarshal(a.Data, &t); {
	case a.Err != "":
		return "", nil, a.Err
	case a.Digest == "":
		return "", nil, "the file is gone"
	case err != nil:
		return "", nil, err.Error()
	}
	for _, n := range t.Nodes {
		if n.Outcome == "" && n.Failure == "" {
			continue
		}
		all = append(all, schema.EvidenceResult{
			Request: n.Request, Node: n.Node, Stage: n.Stage, Outcome: n.Outcome, Failure: n.Failure,
			Message: brief(n.Message), Artifacts: n.Artifacts,
		})
	}
	return t.End, all, ""
}

// brief cuts a text and says so.
func brief(text string) string {
	if len(text) <= leaveMessage {
		return text
	}
	return strings.ToValidUTF8(text[:leaveMessage], "") + " … (the trace has the rest)"
}

// write puts the window into the request folder, and a contract that somebody changed back to what it was.
func (l *lineage) write(m *workspace.Mutation, file string) {
	l.evidence = &material{Name: "evidence window", Path: file}
	m.PutJSON(file, l.window)
	op := &m.Ops[len(m.Ops)-1]
	l.evidence.Digest, l.evidence.Size = op.Digest, len(op.Content())
	for _, c := range l.contract {
		if c.mend != nil {
			m.PutFile(c.Path, workspace.Projection, c.mend)
		}
	}
}

// contracts shows what is judged against, where the judgement is kept, and the one before.
func (l *lineage) contracts(p *page) {
	p.head("The contract")
	p.line("Root spec and idea as they were when this target opened. Judge against these, whatever is written elsewhere.\n")
	p.materials(l.contract)
	c := l.target.Closure
	if c == nil {
		return
	}
	rubric, verdict, report := workspace.VerdictPaths(l.target.ID, l.target.Generation, c.Verdicts+1)
	p.head("Where the judgement is kept")
	p.line("You write into your request folder. From there Millrace keeps rubric, verdict and report, below `%s/`, as", workspace.Folder)
	p.line("`%s`, `%s`, `%s`.", rubric, verdict, report)
	if c.Verdicts == 0 {
		return
	}
	p.head("The judgement before")
	p.line("Verdict %d of this generation: %s, in journal record %d. What was still to do:\n", c.Verdicts, c.Verdict, c.Judged)
	var gaps []string
	for _, gap := range c.Gaps {
		gaps = append(gaps, "- "+inline(gap, showMessage))
	}
	p.list(showGaps, gaps, "which the verdict lists")
	p.line("")
	p.materials(l.before)
}

// unproven says what it means that nothing of the lineage can be run.
func (s *stage) unproven(p *page) {
	p.head("Checks")
	p.line("No work of this lineage has a check that Millrace could run.")
	if s.plan.Closure.RequireChecks {
		p.line("Without one this target does not close (closure.require_checks): say which checks would show that the contract holds.")
	} else {
		p.line("What you see yourself is all the evidence there is; when you let the target close, it closes as unproven.")
	}
}

// tell tells the window in a form to be read.
func (l *lineage) tell(p *page, folder string) {
	p.head("What came of the work")
	p.line("Every item of the lineage, what ended last first. `%s%s` says the same for programs, with digests;", folder, schema.EvidenceWindow)
	p.line("%q means: ended since the judgement before, by the journal's records.\n", "new")
	var all []string
	for _, e := range l.window.Items {
		all = append(all, telling(e))
	}
	from := p.Len()
	p.list(l.told, all, "which are listed in `"+folder+schema.EvidenceWindow+"`")
	l.evidence.Shown = p.Len() - from
	if len(all) == 0 {
		p.line("There is none.")
	}
}

// telling is one item with its results.
func telling(e schema.EvidenceItem) string {
	p := new(page)
	text := fmt.Sprintf("- %s %s%s: %s", e.Item.Family, e.Item.ID, titled(e.Title), e.State)
	if e.EndedSeq > 0 {
		text += fmt.Sprintf(", record %d", e.EndedSeq)
	}
	if e.Newer {
		text += ", new"
	}
	if e.End != "" {
		text += ", ended at " + e.End
	}
	p.line("%s; %s", text, code(path.Join(workspace.Folder, e.Path)))
	if e.Withheld != "" {
		p.line("  - its results are not listed: %s; see %s", inline(e.Withheld, showMessage), code(path.Join(workspace.Folder, e.Trace)))
	}
	for _, r := range e.Results {
		line := "  - " + r.Node + ": " + r.Outcome
		if r.Failure != "" {
			line += " (" + r.Failure + ")"
		}
		p.line("%s%s%s", line, colon(r.Message), left(e.Run, r))
	}
	return strings.TrimSuffix(p.String(), "\n")
}

// left names the files that a stage left.
func left(run string, r schema.EvidenceResult) string {
	if len(r.Artifacts) == 0 {
		return ""
	}
	return "; " + inline(strings.Join(sortedKeys(r.Artifacts), ", "), showMessage) + " in `" + path.Join(workspace.Folder, workspace.RequestDir(run, r.Request)) + "/`"
}
