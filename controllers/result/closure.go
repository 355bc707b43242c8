package result

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"millrace/schema"
	"millrace/workspace"
)

const (
	rubricArtifact = "rubric"      // name of the artifact that it judges by
	keyRemediation = "remediation" // what the evidence decides when it does not bear the verdict out
	maxRechecks    = 2             // of a closure's checks, without paying its judge again
)

// A closing is what the effects of a closure find out before anything is changed.
type closing struct {
	said    *schema.ClosureVerdict // what the judge wrote, once it has been held against the target
	lacking []schema.Gap           // evidence that is missing although the judge lets the target close
	working []string               // work of the lineage that is not done: nothing can be judged yet
	recheck string                 // why the checks run again
	checked bool                   // the lineage has checks, and they prove it
}

// prove lets a target close whose judge says so, when the evidence is there: every check of the lineage has passed,
// before the judge, on one working tree, and that is still the tree.
func (h *harvest) prove() (key string, refused *schema.Verdict) {
	if refused := h.judgement(schema.VerdictPass); refused != nil {
		return "", refused
	}
	if h.working = h.unfinished(); len(h.working) > 0 {
		return keyRemediation, nil
	}
	checks := h.LineageChecks(h.item.ID)
	if len(checks) == 0 {
		if h.plan.Closure.RequireChecks {
			h.lack("no-check", "No check proves "+h.item.ID,
				"closure.require_checks asks for at least one check in the lineage that Millrace can run; no task and no spec has one.")
		}
		return h.lackingKey()
	}
	if h.c.Failure == schema.FailSupervisorLost && len(h.c.ChecksBefore) == 0 && h.run.Rechecks < maxRechecks {
		h.recheck = "what the checks said was lost with the supervisor"
		return "", nil
	}
	for _, c := range checks {
		h.weigh(c)
	}
	if len(h.lacking) > 0 {
		return keyRemediation, nil
	}
	moved, known := h.moved()
	switch {
	case !known:
		return "", nil // asked for; all is decided again
	case moved == "":
		h.checked = true
	case h.run.Rechecks < maxRechecks:
		h.recheck = moved
	default:
		h.lack("tree", "The working tree does not hold still",
			fmt.Sprintf("The checks pass, but %s. They were run %d times.", moved, maxRechecks+1))
	}
	return h.lackingKey()
}

// lackingKey is the key that what is missing decides on.
func (h *harvest) lackingKey() (string, *schema.Verdict) {
	if len(h.lacking) > 0 {
		return keyRemediation, nil
	}
	return "", nil
}

func (h *harvest) lack(id, title, summary string, evidence ...string) {
	h.lacking = append(h.lacking, schema.Gap{ID: id, Title: title, Summary: summary, Evidence: evidence})
}

// judgement holds the verdict against the target and against the outcome, and reads what is to be kept of it.
func (h *harvest) judgement(want string) *schema.Verdict {
	v := new(schema.ClosureVerdict)
	a, there := h.written(schema.DefVerdict, v)
	if !there {
		return h.without(schema.DefVerdict)
	}
	contradiction := ""
	switch {
	case v.RootSpecID != h.item.ID:
		contradiction = fmt.Sprintf("judges %s, and the target is %s", v.RootSpecID, h.item.ID)
	case v.Verdict != want:
		contradiction = fmt.Sprintf("says %q, which does not go with %s", v.Verdict, h.claim().Outcome)
	case want == schema.VerdictGaps && len(v.Gaps) == 0:
		contradiction = "says \"gaps\" and names none"
	case want == schema.VerdictPass && len(v.Gaps) > 0:
		contradiction = fmt.Sprintf("says \"pass\" and names %d gaps, the first %q", len(v.Gaps), v.Gaps[0].Title)
	case want == schema.VerdictPass:
		for _, c := range v.Criteria {
			if c.Provenance == "missing" || c.Result == "gap" {
				contradiction = fmt.Sprintf("says \"pass\", but criterion %s has the result %q with %s evidence", c.ID, c.Result, c.Provenance)
				break
			}
		}
	}
	if contradiction != "" {
		return refuse(schema.FailInvalidArtifact, "%s %s", a.File, contradiction)
	}
	h.said = v
	return h.keepJudgement()
}

// keepJudgement reads what the judge wrote, each file for its place below arbiter/.
func (h *harvest) keepJudgement() *schema.Verdict {
	n := 0
	if c := h.item.Closure; c != nil {
		n = c.Verdicts
	}
	rubric, verdict, report := workspace.VerdictPaths(h.item.ID, h.item.Generation, n+1)
	taken := map[string]bool{}
	for _, a := range h.kind.Writes {
		f := h.artifact(a.File)
		if f == nil {
			continue
		}
		data, answered, why := h.listed(*f)
		if !answered {
			continue
		}
		if why != "" {
			return refuse(schema.FailInvalidArtifact, "%s cannot be kept: %s", a.File, why)
		}
		to := report
		switch {
		case a.Schema == schema.DefVerdict:
			to = verdict
		case a.Name == rubricArtifact:
			to = rubric
		}
		if taken[to] {
			to = strings.TrimSuffix(report, path.Ext(report)) + "-" + path.Base(a.File)
		}
		taken[to] = true
		h.kept = append(h.kept, paper{to, data})
	}
	return nil
}

// unfinished names what of the lineage is not done: somebody brought it while the judge was at work.
func (h *harvest) unfinished() []string {
	var keys []schema.Key
	for it := range h.OpenWork(h.item.ID) {
		keys = append(keys, it.Key())
	}
	slices.SortFunc(keys, workspace.CompareKeys)
	var names []string
	for i, k := range keys {
		if i == 5 {
			return append(names, fmt.Sprintf("and %d more", len(keys)-i))
		}
		names = append(names, k.String())
	}
	return names
}

// weigh notes what a check of the lineage lacks to be evidence.
func (h *harvest) weigh(c schema.Check) {
	i := slices.IndexFunc(h.c.ChecksBefore, func(r schema.CheckRecord) bool { return r.Name == c.Name && r.Run == c.Run })
	if i < 0 {
		h.lack("check-"+c.Name, fmt.Sprintf("The check %s has no record", c.Name),
			fmt.Sprintf("Millrace should have run `%s` before the judgement and did not.", c.Run))
		return
	}
	if r := h.c.ChecksBefore[i]; !r.Passed {
		summary := fmt.Sprintf("`%s` ended with exit code %d", c.Run, r.ExitCode)
		if r.Detail != "" {
			summary += ": " + r.Detail
		}
		h.lack("check-"+c.Name, fmt.Sprintf("The check %s does not pass", c.Name), summary+".",
			path.Join(workspace.RequestDir(h.run.ID, h.run.Request), r.Log.Path))
	}
}

// moved says how the working tree is another than the one that all checks ran on; "" when it is that one. Not known
// means that nobody has looked yet.
func (h *harvest) moved() (how string, known bool) {
	a, known := h.Asked[workspace.AskTree()]
	if !known {
		h.asks = append(h.asks, workspace.AskTree())
		return "", false
	}
	if a.Err != "" {
		return "the working tree cannot be read: " + a.Err, true
	}
	for _, r := range h.c.ChecksBefore {
		switch {
		case r.TreeAfter != "":
			return fmt.Sprintf("the check %s changes the working tree", r.Name), true
		case r.Tree != string(a.Data):
			return "the working tree has moved since the checks ran", true
		}
	}
	return "", true
}

// closable: the evidence must hold, also where the plan does not prove it on the way or has no way for what is missing.
func (h *harvest) closable() (key string, refused *schema.Verdict) {
	if h.said == nil {
		if _, refused = h.prove(); refused != nil {
			return "", refused
		}
	}
	if why := h.missing(); why != "" {
		return "", refuse(schema.FailInvalidArtifact, "the target cannot close: %s", why)
	}
	return "", nil
}

// missing says in one line what stands in the way of closing; "" when nothing does.
func (h *harvest) missing() string {
	if len(h.working) > 0 {
		return "there is work left to do: " + strings.Join(h.working, ", ")
	}
	return strings.Join(titles(h.lacking), "; ")
}

func titles(gaps []schema.Gap) []string {
	all := []string{}
	for _, g := range gaps[:min(len(gaps), maxGaps)] {
		all = append(all, g.Title)
	}
	return all
}

// close ends a target whose contract is fulfilled.
func (h *harvest) close() {
	h.state = schema.StateDone
	if h.checked {
		h.judged(schema.VerdictPass, nil)
		return
	}
	h.note("closed as unproven: no work of its lineage has a check that could be run")
	h.judged(schema.VerdictUnproven, nil)
}

// judged files the judgement: its files below arbiter/, and what it rests on with the target.
func (h *harvest) judged(verdict string, gaps []schema.Gap) {
	c := schema.Closure{}
	if h.item.Closure != nil {
		c = *h.item.Closure
	}
	c.Verdict, c.Judged, c.At, c.Gaps = verdict, h.Seq+1, h.Now, titles(gaps)
	c.Verdicts++
	c.Checks, c.Tree, c.Kept = h.c.ChecksBefore, "", nil
	if len(c.Checks) > 0 {
		c.Tree = c.Checks[0].Tree
	}
	for _, p := range h.kept {
		c.Kept = append(c.Kept, p.path)
	}
	h.shelve()
	slices.Sort(c.Kept)
	h.item.Closure = &c
}
