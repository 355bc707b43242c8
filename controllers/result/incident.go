package result

import (
	"fmt"
	"maps"
	"path"
	"slices"

	"millrace/schema"
	"millrace/workspace"
)

// escalate blocks the item and opens an incident about it in the incident family's queue. The item waits for the work
// that is planned for the incident.
func (h *harvest) escalate() {
	h.state = schema.StateBlocked
	root := h.root()
	if n := h.incidents(root); n >= h.plan.IncidentLimit {
		what := fmt.Sprintf("%s has raised %d incidents already (budget incident_limit)", root, n)
		h.note("no incident: " + what)
		h.stall(root, what)
		return
	}
	it, err := h.spawn(h.incident(root), h.kind.ID)
	if err != nil {
		h.note("no incident: " + err.Error())
		return
	}
	h.item.Raised = it.ID
}

// stall takes the open closure target of a root out of the way: its work goes round in circles, and somebody has to look.
func (h *harvest) stall(root, why string) {
	t := h.OpenTarget()
	if t == nil || t.ID != root || t.State != schema.StateOpen && t.State != schema.StateQueue {
		return
	}
	h.m.Block(h.View, t.Clone(), schema.Blocked{
		Class: schema.StallIncidentLimit, Run: h.run.ID, Node: h.step.Node,
		Message: fmt.Sprintf("%s, and %s asks for another; raise budgets.incident_limit, or settle it and retry", why, h.item.Key()),
	})
}

// incidents counts those of a root; work without a root has no such budget.
func (h *harvest) incidents(root string) int {
	n := 0
	for it := range h.Lineage(root) {
		if it.Family == schema.FamilyIncident {
			n++
		}
	}
	return n
}

// incident tells what happened, with where to find the evidence.
func (h *harvest) incident(root string) *schema.Document {
	request := workspace.RequestDir(h.run.ID, h.run.Request)
	evidence := []any{}
	for _, file := range slices.Sorted(maps.Keys(h.step.Artifacts)) {
		evidence = append(evidence, path.Join(request, file))
	}
	symptoms := []any{}
	for _, s := range h.run.Steps {
		if s.Failure != "" || s.Outcome == schema.OutcomeBlocked {
			symptoms = append(symptoms, fmt.Sprintf("%s: %s", s.Node, firstOf(s.Message, firstOf(s.Failure, s.Outcome))))
		}
	}
	fields := map[string]any{
		"title":                 "Plan again: " + firstOf(h.item.Title, h.item.ID),
		"summary":               fmt.Sprintf("%s could not be finished as it is; %s asked for planning.", h.item.Key(), h.kind.ID),
		"source_stage":          h.kind.ID,
		"source_plane":          h.kind.Plane,
		"needs_planning":        true,
		"trigger_reason":        fmt.Sprintf("%s ended with %s", h.run.Node, h.step.Outcome),
		"consultant_decision":   h.step.Outcome,
		"related_run_ids":       []any{h.run.ID},
		"related_stage_results": h.results(),
	}
	if len(evidence) > 0 {
		fields["evidence_paths"] = evidence
	}
	if len(symptoms) > 0 {
		fields["observed_symptoms"] = symptoms
	}
	set := func(name, value string) {
		if value != "" {
			fields[name] = value
		}
	}
	set("failure_class", h.run.FirstFailure)
	set("root_spec_id", root)
	set("root_idea_id", h.item.Lineage.RootIdeaID)
	set("source_spec_id", h.item.Lineage.SpecID)
	if f := h.Family(h.item.Family); f != nil && slices.Contains([]string{"task_id", "spec_id"}, f.IDField) {
		set("source_"+f.IDField, h.item.ID)
	}
	id := h.incidentID()
	set("incident_id", id)
	return &schema.Document{Kind: schema.FamilyIncident, ID: id, Fields: fields}
}

// results lists the results of the run, that of the stage that has just ended included.
func (h *harvest) results() []any {
	all := []any{}
	for _, s := range h.run.Steps {
		all = append(all, path.Join(workspace.RequestDir(h.run.ID, s.Request), schema.ResultFile))
	}
	return append(all, path.Join(workspace.RequestDir(h.run.ID, h.run.Request), schema.ResultFile))
}

// incidentID is that of the item and of how often it has raised one.
func (h *harvest) incidentID() string {
	base := h.item.ID[:min(len(h.item.ID), 100)]
	for n := 1; ; n++ {
		k := schema.Key{Family: schema.FamilyIncident, ID: fmt.Sprintf("%s-incident-%d", base, n)}
		if h.Items[k] == nil {
			return k.ID
		}
	}
}
