package result

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"millrace/schema"
	"millrace/workspace"
)

// What a disposition may say.
const (
	readyForManager = "active_source_ready_for_manager"
	childSpecs      = "emitted_child_specs"
	needsPerson     = "blocked"
)

// disposition lets the artifact of that name decide what becomes of the item. Nothing of it is guessed.
func (h *harvest) disposition() (key string, refused *schema.Verdict) {
	var d schema.PlannerDisposition
	a, there := h.written(schema.DefDisposition, &d)
	if !there {
		return "", h.without(schema.DefDisposition)
	}
	file := a.File
	specs := h.offered("spec_id")
	switch about := (schema.Key{Family: d.SourceFamily, ID: d.SourceID}); {
	case about != h.item.Key():
		return "", refuse(schema.FailInvalidArtifact, "%s is about %s, and the work item is %s", file, about, h.item.Key())
	case d.Disposition == childSpecs && len(d.EmittedSpecIDs) == 0:
		return "", refuse(schema.FailInvalidArtifact, "%s says %s, and its emitted_spec_ids lists none", file, childSpecs)
	case d.Disposition != childSpecs && len(d.EmittedSpecIDs) > 0:
		return "", refuse(schema.FailInvalidArtifact, "%s says %s, and its emitted_spec_ids lists %s", file, d.Disposition, strings.Join(d.EmittedSpecIDs, ", "))
	case d.Disposition != childSpecs && len(specs) > 0:
		return "", refuse(schema.FailInvalidArtifact, "%s says %s, and the outbox proposes %s", file, d.Disposition, strings.Join(specs, ", "))
	case d.Disposition == readyForManager:
		return "", nil
	case d.Disposition == needsPerson:
		h.because("", firstOf(d.RecommendedNextAction, fmt.Sprintf("%s says %s", file, needsPerson)))
		return needsPerson, nil
	}
	for _, id := range d.EmittedSpecIDs {
		if !slices.Contains(specs, id) {
			return "", refuse(schema.FailInvalidArtifact, "%s lists the spec %s, which the outbox does not bring%s", file, id, h.unadmitted())
		}
	}
	for _, id := range specs {
		if !slices.Contains(d.EmittedSpecIDs, id) {
			return "", refuse(schema.FailInvalidArtifact, "the outbox brings the spec %s, which emitted_spec_ids of %s does not list", id, file)
		}
	}
	return childSpecs, nil
}

// handoff holds a recon packet against the item, the outcome and what is proposed: the three say the same.
func (h *harvest) handoff() (key string, refused *schema.Verdict) {
	var p schema.ReconPacket
	a, there := h.written(schema.DefRecon, &p)
	if !there {
		return "", refuse(schema.FailHandoff, "%s", h.without(schema.DefRecon).Message)
	}
	file := a.File
	switch {
	case p.ProbeID != h.item.ID:
		return "", refuse(schema.FailHandoff, "%s is about %s, and the work item is %s", file, p.ProbeID, h.item.ID)
	case h.edge.Routes[p.Decision] == "":
		return "", refuse(schema.FailHandoff, "%s decides %s, which does not go with %s", file, p.Decision, h.c.Claim.Outcome)
	}
	want := map[string][]string{}
	switch p.Decision {
	case "to_execution":
		want["task_id"] = []string{p.EmittedTaskID}
	case "to_planning":
		want["spec_id"] = []string{p.EmittedSpecID}
	default:
		h.because("", fmt.Sprintf("%s decides %s: %s", path.Join(workspace.RequestDir(h.run.ID, h.run.Request), file), p.Decision,
			firstOf(p.InterpretedGoal, firstOf(p.RequestSummary, "it says why"))))
	}
	for _, kind := range []struct{ field, emitted, id string }{{"task_id", "emitted_task_id", p.EmittedTaskID}, {"spec_id", "emitted_spec_id", p.EmittedSpecID}} {
		ids, due := h.offered(kind.field), want[kind.field]
		word := strings.TrimSuffix(kind.field, "_id")
		switch {
		case due != nil && kind.id == "":
			return "", refuse(schema.FailHandoff, "%s decides %s, and has no %s", file, p.Decision, kind.emitted)
		case due == nil && kind.id != "":
			return "", refuse(schema.FailHandoff, "%s decides %s, and %s names %s", file, p.Decision, kind.emitted, kind.id)
		case due != nil && len(ids) == 0:
			return "", refuse(schema.FailHandoff, "%s hands over the %s %s, which the outbox does not bring%s", file, word, kind.id, h.unadmitted())
		case !slices.Equal(ids, due):
			return "", refuse(schema.FailHandoff, "%s decides %s, and the outbox brings the %s %s%s", file, p.Decision, word, strings.Join(ids, ", "), insteadOf(kind.id))
		}
	}
	return p.Decision, nil
}

func insteadOf(id string) string {
	if id == "" {
		return ""
	}
	return ", not just " + id
}

// decompose refuses a result that leaves nothing to build.
func (h *harvest) decompose() (string, *schema.Verdict) {
	if len(h.offered("task_id")) > 0 {
		return "", nil
	}
	return "", refuse(schema.FailMissingArtifact, "%s proposes no task that can be admitted%s: write each task into %s/, or end with %s",
		h.c.Claim.Outcome, h.unadmitted(), schema.OutboxFolder, schema.OutcomeBlocked)
}

// offered lists the ids that the outbox brings of the families with an id field, sorted: admitted by this result, or
// there already with the same content.
func (h *harvest) offered(field string) []string {
	var ids []string
	for _, k := range h.brought {
		if f := h.Family(k.Family); f != nil && f.IDField == field && !slices.Contains(ids, k.ID) {
			ids = append(ids, k.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// unadmitted tells what was declined of the outbox, for the message of a result that lacks it.
func (h *harvest) unadmitted() string {
	const most = 3
	var all []string
	for _, d := range h.declined {
		all = append(all, d.Path+": "+strings.Join(strings.Fields(d.Why), " "))
	}
	if strings.Contains(h.c.Detail, schema.OutboxFolder+"/") { // something that cannot be read lies there
		all = append(all, h.c.Detail)
	}
	if len(all) == 0 {
		return ""
	}
	if rest := len(all) - most; rest > 0 {
		all = append(all[:most], fmt.Sprintf("and %d more", rest))
	}
	return " (" + strings.Join(all, "; ") + ")"
}
