package result

import (
	"fmt"
	"maps"
	"path"
	"slices"

	"millrace/schema"
	"millrace/workspace"
)

// An effect is what a plan may have done on an edge or at an end, in the commit of the result. The set is closed:
// workflow.cue names the same ones, and says what each does.
type effect struct {
	// decide looks whether the stage's result bears the effect out, before anything is changed: it returns the
	// key that the edge routes by, or the failure that the stage gets instead. It asks for files with h.bytes,
	// and changes only what the harvest knows of itself. Nil: nothing can be wrong.
	decide func(*harvest) (key string, refused *schema.Verdict)
	// apply adds what follows to the mutation. Nil: nothing but the key.
	apply func(*harvest)
	// rests is the definition of the artifact that decides, and broken the failure class of a result that lacks a valid
	// one; "": that of any other artifact.
	rests, broken string
	// wanted: it is done even when the end of the item's work is wanted. Work that nobody wants any more is
	// neither blocked nor escalated.
	wanted bool
}

var effects = map[string]effect{
	schema.EffectComplete: {apply: func(h *harvest) { h.state = schema.StateDone }, wanted: true},
	schema.EffectBlock:    {apply: func(h *harvest) { h.state = schema.StateBlocked }},
	schema.EffectEscalate: {apply: (*harvest).escalate},

	schema.EffectDisposition: {decide: (*harvest).disposition},
	schema.EffectHandoff:     {decide: (*harvest).handoff, rests: schema.DefRecon, broken: schema.FailHandoff},
	schema.EffectDecompose:   {decide: (*harvest).decompose},
	schema.EffectDraft:       {decide: (*harvest).drafts, apply: (*harvest).shelve, wanted: true},
	schema.EffectPacket:      {decide: (*harvest).packet, apply: (*harvest).further, wanted: true},
	schema.EffectCritique:    {decide: (*harvest).critique, apply: (*harvest).further, wanted: true},
	schema.EffectPromote:     {decide: (*harvest).promote, apply: (*harvest).promoted, wanted: true},
	schema.EffectRepair:      {decide: (*harvest).repair, apply: (*harvest).repaired},
	schema.EffectProve:       {decide: (*harvest).prove},
	schema.EffectClose:       {decide: (*harvest).closable, apply: (*harvest).close, wanted: true},
	schema.EffectRemediate:   {decide: (*harvest).remediable, apply: (*harvest).remediate},
	schema.EffectLearn:       {decide: (*harvest).decideLearn, apply: (*harvest).learn, wanted: true},
}

// foresee lets effects decide. The first key counts, and the first refusal.
func (h *harvest) foresee(names []string) (key string, refused *schema.Verdict) {
	for _, name := range names {
		e := effects[name]
		if e.decide == nil {
			continue
		}
		k, refused := e.decide(h)
		if refused != nil {
			return "", refused
		}
		key = firstOf(key, k)
	}
	return key, nil
}

// effect does one of them. One that this program does not know came with a plan of another version: the
// item is blocked rather than taken further without it.
func (h *harvest) effect(name string) {
	e, known := effects[name]
	switch {
	case !known:
		h.state = schema.StateBlocked
		h.note("the plan asks for the effect " + name + ", which this version of Millrace does not know")
	case e.apply != nil && (h.item.Cancel == nil || e.wanted):
		e.apply(h)
	}
}

// broken is the failure class of a result whose artifact in a file is missing or malformed.
func (h *harvest) broken(outcome, file, class string) string {
	e := h.plan.EdgeOf(h.run, schema.Verdict{Outcome: outcome})
	for _, a := range h.kind.Writes {
		for i := 0; a.File == file && e != nil && i < len(e.Effects); i++ {
			if f := effects[e.Effects[i]]; f.rests != "" && f.rests == a.Schema {
				return firstOf(f.broken, class)
			}
		}
	}
	return class
}

// refuse is the verdict on a result that does not bear out what would follow.
func refuse(class, format string, args ...any) *schema.Verdict {
	return &schema.Verdict{Failure: class, Message: fmt.Sprintf(format, args...)}
}

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
	doc := h.Registry.Admit(h.incident(root), h.kind.ID, h.Now)
	it, data, err := h.NewItem(doc, "runtime")
	if err != nil {
		h.note("no incident: " + err.Error())
		return
	}
	h.item.Raised = it.ID
	h.m.AdmitItem(it, data)
	h.step.Spawned = append(h.step.Spawned, it.Key())
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

// note leaves word on the item about what the runtime did not do.
func (h *harvest) note(what string) {
	h.item.Note(schema.Note{At: h.Now, By: name, What: what})
}

// root is the spec that the item's lineage begins with; "" when it has none.
func (h *harvest) root() string {
	l := h.item.Lineage
	if spec := h.Items[schema.Key{Family: schema.FamilySpec, ID: l.SpecID}]; l.RootSpecID == "" && spec != nil {
		return firstOf(spec.Lineage.RootSpecID, spec.ID)
	}
	return firstOf(l.RootSpecID, l.SpecID)
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
