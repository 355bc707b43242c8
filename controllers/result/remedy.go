package result

import (
	"fmt"
	"path"
	"strings"

	"millrace/schema"
	"millrace/workspace"
)

// What an incident tells of gaps; the verdict that was kept has the rest.
const (
	maxGaps    = 100
	maxGapText = 2 << 10
)

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
		h.state = schema.StateBlocked
		h.because(schema.StallRepeated, "it was judged to have gaps twice, and nothing was done in between: "+strings.Join(titles(gaps), "; "))
	case n >= h.plan.IncidentLimit:
		h.state = schema.StateBlocked
		h.because(schema.StallIncidentLimit, fmt.Sprintf("%s has raised %d incidents already (budget incident_limit)", root, n))
	default:
		if _, err := h.spawn(h.remedy(gaps), h.kind.ID); err != nil {
			h.state = schema.StateBlocked
			h.because(schema.FailInvalidArtifact, "no incident: "+err.Error())
		}
	}
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

// remedy is the incident that asks for what is left to do.
func (h *harvest) remedy(gaps []schema.Gap) *schema.Document {
	request := workspace.RequestDir(h.run.ID, h.run.Request)
	kept, symptoms := h.item.Closure.Kept, []any{}
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
		"related_stage_results": h.results(),
	}
	if idea := h.item.Lineage.RootIdeaID; idea != "" {
		fields["root_idea_id"] = idea
	}
	return &schema.Document{Kind: schema.FamilyIncident, ID: id, Fields: fields}
}
