package result

import (
	"fmt"
	"maps"
	"path"
	"slices"

	"millrace/schema"
	"millrace/workspace"
)

// Effects are what a plan may have done on an edge or at an end, in the commit of the result. The set is
// closed: workflow.cue names the same ones.
var effects = map[string]func(*harvest){
	schema.EffectComplete: func(h *harvest) { h.state = schema.StateDone },
	schema.EffectBlock:    func(h *harvest) { h.state = schema.StateBlocked },
	schema.EffectEscalate: (*harvest).escalate,
}

// effect does one of them. One that this program does not know came with a plan of another version: the
// item is blocked rather than taken further without it.
func (h *harvest) effect(name string) {
	do := effects[name]
	if do == nil {
		h.state = schema.StateBlocked
		h.note("the plan asks for the effect " + name + ", which this version of Millrace does not know")
		return
	}
	do(h)
}

// escalate blocks the item and opens an incident about it in the incident family's queue.
func (h *harvest) escalate() {
	h.state = schema.StateBlocked
	root := h.root()
	if n := h.incidents(root); n >= h.plan.IncidentLimit {
		h.note(fmt.Sprintf("no incident: %s has raised %d already (budget incident_limit)", root, n))
		return
	}
	doc := h.Registry.Admit(h.incident(root), h.kind.ID, h.Now)
	it, data, err := h.NewItem(doc, "runtime")
	if err != nil {
		h.note("no incident: " + err.Error())
		return
	}
	h.m.AdmitItem(it, data)
	h.step.Spawned = append(h.step.Spawned, it.Key())
}

// note leaves word on the item about what the runtime did not do.
func (h *harvest) note(what string) {
	h.item.Note(schema.Note{At: h.Now, By: name, What: what})
}

func (h *harvest) root() string {
	return firstOf(h.item.Lineage.RootSpecID, h.item.Lineage.SpecID)
}

// incidents counts those of a root; work without a root has no such budget.
func (h *harvest) incidents(root string) int {
	n := 0
	for k, it := range h.Items {
		if root != "" && k.Family == schema.FamilyIncident && it.Lineage.RootSpecID == root {
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
	symptoms, results := []any{}, []any{}
	for _, s := range h.run.Steps {
		results = append(results, path.Join(workspace.RequestDir(h.run.ID, s.Request), schema.ResultFile))
		if s.Failure != "" || s.Outcome == schema.OutcomeBlocked {
			symptoms = append(symptoms, fmt.Sprintf("%s: %s", s.Node, firstOf(s.Message, firstOf(s.Failure, s.Outcome))))
		}
	}
	results = append(results, path.Join(request, schema.ResultFile))
	fields := map[string]any{
		"title":                 "Plan again: " + firstOf(h.item.Title, h.item.ID),
		"summary":               fmt.Sprintf("%s could not be finished as it is; %s asked for planning.", h.item.Key(), h.kind.ID),
		"source_stage":          h.kind.ID,
		"source_plane":          h.kind.Plane,
		"needs_planning":        true,
		"trigger_reason":        fmt.Sprintf("%s ended with %s", h.run.Node, h.step.Outcome),
		"consultant_decision":   h.step.Outcome,
		"related_run_ids":       []any{h.run.ID},
		"related_stage_results": results,
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
