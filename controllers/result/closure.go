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
	verdictSchema  = "#Verdict"    // the artifact by which a kind judges
	rubricArtifact = "rubric"      // name of the artifact that it judges by
	keyRemediation = "remediation" // what the evidence decides when it does not bear the verdict out
	maxRechecks    = 2             // of a closure's checks, without paying its judge again

	stallIncidents = "incident_limit" // the root may raise no more incidents
)

// A closing is what the effects of a closure find out before anything is changed.
type closing struct {
	said    *schema.ClosureVerdict // what the judge wrote, once it has been held against the target
	kept    []kept                 // files of the judgement, to be copied
	lacking []schema.Gap           // evidence that is missing although the judge lets the target close
	working []string               // work of the lineage that is not done: nothing can be judged yet
	recheck string                 // why the checks run again
	checked bool                   // the lineage has checks, and they prove it
}

// A kept file is one that the judge wrote, and where it stays.
type kept struct {
	path string
	data []byte
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
	i := slices.IndexFunc(h.kind.Writes, func(a schema.Artifact) bool { return a.Schema == verdictSchema })
	if i < 0 {
		return refuse(schema.FailMissingArtifact, "%s judges nothing: its kind writes no artifact of schema %s", h.kind.ID, verdictSchema)
	}
	file, v := h.kind.Writes[i].File, new(schema.ClosureVerdict)
	if !h.record(file, v) {
		return refuse(schema.FailMissingArtifact, "%s was not written", file)
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
		return refuse(schema.FailInvalidArtifact, "%s %s", file, contradiction)
	}
	h.said = v
	return h.keep()
}

// keep reads what the judge wrote, each file for its place below arbiter/.
func (h *harvest) keep() *schema.Verdict {
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
		case a.Schema == verdictSchema:
			to = verdict
		case a.Name == rubricArtifact:
			to = rubric
		}
		if taken[to] {
			to = strings.TrimSuffix(report, path.Ext(report)) + "-" + path.Base(a.File)
		}
		taken[to] = true
		h.kept = append(h.kept, kept{to, data})
	}
	return nil
}

// listed reads a file that the completion lists; why says that it is not as it was listed.
func (h *harvest) listed(f schema.File) (data []byte, answered bool, why string) {
	q := workspace.AskFile(path.Join(workspace.RequestDir(h.run.ID, h.run.Request), f.Path))
	a, answered := h.Asked[q]
	switch {
	case !answered:
		h.asks = append(h.asks, q)
	case a.Err != "":
		why = a.Err
	case a.Digest != f.Digest:
		why = "it is no longer what the supervisor listed"
	}
	return a.Data, answered, why
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

// closable: the evidence must hold, also where the plan does not prove it on the way.
func (h *harvest) closable() (key string, refused *schema.Verdict) {
	if h.said != nil {
		return "", nil
	}
	if key, refused = h.prove(); refused == nil && key != "" {
		refused = refuse(schema.FailInvalidArtifact, "the target cannot close: %s", h.missing())
	}
	return "", refused
}

// missing is what is missing, in one line.
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
	for _, k := range h.kept {
		h.m.PutFile(k.path, "", k.data)
		c.Kept = append(c.Kept, k.path)
	}
	slices.Sort(c.Kept)
	h.item.Closure = &c
}

// readdress lets the target's document say where the next judgement will be kept.
func (h *harvest) readdress() {
	data := h.Registry.Render(h.TargetDocument(h.item))
	h.m.PutFile(h.item.Path, h.item.Document, data)
	h.item.Document = schema.DigestOf(data)
}

// remediable: a judge who says that something is left to do must say what.
func (h *harvest) remediable() (key string, refused *schema.Verdict) {
	if h.said != nil {
		return "", nil // the evidence led here
	}
	return "", h.judgement(schema.VerdictGaps)
}

// remediate keeps the judgement and asks planning for what is left to do. The target stays open, unless that would
// lead nowhere.
func (h *harvest) remediate() {
	if len(h.working) > 0 {
		h.note("not judged: " + h.missing())
		return
	}
	gaps := h.said.Gaps
	if len(h.lacking) > 0 {
		gaps = h.lacking
		h.note("not closed: " + h.missing())
	}
	idle := h.repeated()
	h.judged(schema.VerdictGaps, gaps)
	h.readdress()
	root := h.item.ID
	n := h.incidents(root)
	switch {
	case idle:
		h.stallHere(schema.StallRepeated, "it was judged to have gaps twice, and nothing was done in between: "+strings.Join(titles(gaps), "; "))
	case n >= h.plan.IncidentLimit:
		h.stallHere(stallIncidents, fmt.Sprintf("%s has raised %d incidents already (budget incident_limit)", root, n))
	default:
		doc := h.Registry.Admit(h.remedy(gaps), h.kind.ID, h.Now)
		it, data, err := h.NewItem(doc, "runtime")
		if err != nil {
			h.stallHere(schema.FailInvalidArtifact, "no incident: "+err.Error())
			return
		}
		h.m.AdmitItem(it, data)
		h.step.Spawned = append(h.step.Spawned, it.Key())
	}
}

func (h *harvest) stallHere(class, message string) {
	h.state = schema.StateBlocked
	h.why = &schema.Blocked{Class: class, Message: message, Run: h.run.ID, Node: h.run.Node}
}

// repeated reports whether the verdict before had gaps as well, and no work of another plane was done since. Planning
// alone closes no gap.
func (h *harvest) repeated() bool {
	c := h.item.Closure
	if c == nil || c.Verdicts == 0 || c.Verdict != schema.VerdictGaps {
		return false
	}
	for it := range h.Lineage(h.item.ID, schema.StateDone) {
		f := h.Family(it.Family)
		if it.EndedSeq > c.Judged && f != nil && f.Plane != h.kind.Plane && len(f.HoldsOpen) > 0 {
			return false
		}
	}
	return true
}

// What an incident tells of gaps; the verdict that was kept has the rest.
const (
	maxGaps    = 100
	maxGapText = 2 << 10
)

// remedy is the incident that asks for what is left to do.
func (h *harvest) remedy(gaps []schema.Gap) *schema.Document {
	request := workspace.RequestDir(h.run.ID, h.run.Request)
	kept, symptoms, results := h.item.Closure.Kept, []any{}, []any{}
	evidence := []any{}
	for _, file := range kept {
		evidence = append(evidence, file)
	}
	for i, g := range gaps {
		if i == maxGaps {
			symptoms = append(symptoms, fmt.Sprintf("… and %d more gaps, in %s", len(gaps)-i, strings.Join(kept, ", ")))
			break
		}
		text := g.Title
		if g.Summary != "" {
			text += ": " + g.Summary
		}
		if len(g.Evidence) > 0 {
			text += " (" + strings.Join(g.Evidence, ", ") + ")"
		}
		if len(text) > maxGapText {
			text = strings.ToValidUTF8(text[:maxGapText], "") + " … (the verdict has the rest)"
		}
		symptoms = append(symptoms, text)
	}
	for _, r := range h.c.ChecksBefore {
		if !r.Passed && r.Log.Path != "" && len(evidence) < schema.MaxItems {
			evidence = append(evidence, path.Join(request, r.Log.Path))
		}
	}
	for _, s := range h.run.Steps {
		results = append(results, path.Join(workspace.RequestDir(h.run.ID, s.Request), schema.ResultFile))
	}
	reason := fmt.Sprintf("%s ended with %s", h.run.Node, h.step.Outcome)
	if len(h.lacking) > 0 {
		reason += ", which the evidence does not bear out"
	}
	id := h.incidentID()
	fields := map[string]any{
		"incident_id":           id,
		"title":                 "Close the gaps of " + firstOf(h.item.Title, h.item.ID),
		"summary":               fmt.Sprintf("The work of %s was judged as a whole, and %d gaps are left. They are listed as symptoms.", h.item.ID, len(gaps)),
		"root_spec_id":          h.item.ID,
		"source_spec_id":        h.item.ID,
		"source_stage":          h.kind.ID,
		"source_plane":          h.kind.Plane,
		"needs_planning":        true,
		"trigger_reason":        reason,
		"observed_symptoms":     symptoms,
		"evidence_paths":        evidence,
		"related_run_ids":       []any{h.run.ID},
		"related_stage_results": append(results, path.Join(request, schema.ResultFile)),
	}
	if idea := h.item.Lineage.RootIdeaID; idea != "" {
		fields["root_idea_id"] = idea
	}
	return &schema.Document{Kind: schema.FamilyIncident, ID: id, Fields: fields}
}

// claim is what the agent said; of a held claim, what it said then.
func (h *harvest) claim() *schema.Claim {
	if h.c.Claim != nil && h.run.Held != nil {
		return &h.run.Held.Claim
	}
	return h.c.Claim
}

// tampered names a file of a held claim that is not what it was when the claim was made.
func (h *harvest) tampered() string {
	if h.run.Held == nil {
		return ""
	}
	for _, f := range h.run.Held.Files {
		if !slices.ContainsFunc(slices.Concat(h.c.Artifacts, h.c.Outbox), func(g schema.File) bool { return g.Path == f.Path && g.Digest == f.Digest }) {
			return f.Path
		}
	}
	return ""
}

// checkAgain runs the checks of a good judgement once more. The judge is not paid again: what it said is held until
// the checks have been run on the tree as it is.
func (h *harvest) checkAgain(v schema.Verdict) {
	held := &schema.Held{Request: h.run.Request, Claim: *h.claim()}
	if h.run.Held != nil {
		held.Request = h.run.Held.Request
	}
	for _, f := range slices.Concat(h.c.Artifacts, h.c.Outbox) {
		if data, answered, why := h.listed(f); answered && why == "" {
			h.m.PutFile(path.Join(workspace.RunDir(h.run.ID), schema.HeldFolder, f.Path), workspace.Projection, data)
			held.Files = append(held.Files, f)
		}
	}
	h.run.Held, h.run.Restarts = held, 0
	h.run.Rechecks++
	h.admitted, h.declined = nil, nil // proposed again with the claim
	h.decide(v, h.run.Node, fmt.Sprintf("%s: the checks run again, %d of %d", h.recheck, h.run.Rechecks, maxRechecks))
	h.stay(schema.RunRunning)
}
