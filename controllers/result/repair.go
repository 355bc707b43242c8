package result

import (
	"maps"
	"millrace/schema"
	"slices"
)

// repair decides where a stuck blueprint goes on. The action is the key of the edge's routes. A stage that the decision
// or the metadata names must be the one that the action leads to; for what no action leads to it is a wish, granted
// where the edge lets the run resume.
func (h *harvest) repair() (string, *schema.Verdict) {
	var d schema.BlueprintRepairDecision
	a, there := h.written(schema.DefRepair, &d)
	if !there {
		return "", h.without(schema.DefRepair)
	}
	action := d.RepairAction
	to := h.edge.Routes[action]
	if to == "" {
		return "", refuse(schema.FailInvalidArtifact, "%s: the plan leads %s nowhere", a.File, action)
	}
	if refused := h.repairable(a.File, action); refused != nil {
		return "", refused
	}
	named, refused := h.named(a.File, d.NextResumeStage)
	switch {
	case refused != nil:
		return "", refused
	case named == "" || named == to:
		return action, nil
	case h.plan.Node(h.run.Plane, to) == nil:
		return "", refuse(schema.FailInvalidArtifact, "%s: repair_action %s ends the run, so no stage can be named to go on at (%s)", a.File, action, named)
	}
	for _, other := range slices.Sorted(maps.Keys(h.edge.Routes)) {
		if h.edge.Routes[other] == named {
			return "", refuse(schema.FailInvalidArtifact, "%s: %s is named to go on at, but that is what %s does, and repair_action is %s", a.File, named, other, action)
		}
	}
	if h.edge.Resume == nil || len(h.edge.Resume.Keys) == 0 {
		return "", refuse(schema.FailInvalidArtifact, "%s: %s is named to go on at, but %s leads to %s", a.File, named, action, to)
	}
	h.resume = named
	return "", nil
}

// repairable holds an action against what there is to repair.
func (h *harvest) repairable(file, action string) *schema.Verdict {
	switch action {
	case schema.RepairTask:
		if h.item.Family != h.family(schema.DefDraft) {
			return refuse(schema.FailInvalidArtifact, "%s: %s is only for a blueprint draft, and this is %s", file, action, h.item.Key())
		}
		if a := h.kind.Artifact(schema.DefTask); a == nil || h.seen.Records[a.File] == nil {
			return h.without(schema.DefTask)
		}
	case schema.RepairEvaluator:
		if h.item.Family == h.family(schema.DefDraft) && h.item.Blueprint == nil {
			return refuse(schema.FailInvalidArtifact, "%s: %s, but %s has no packet yet that could be judged", file, action, h.item.Key())
		}
	}
	return nil
}

// named is the stage to go on at that the decision names, or the metadata; they must not differ.
func (h *harvest) named(file, next string) (string, *schema.Verdict) {
	if h.edge.Resume == nil {
		return next, nil
	}
	for _, key := range h.edge.Resume.Keys {
		to, _ := h.c.Claim.Metadata[key].(string)
		switch {
		case to == "":
			continue
		case next != "" && next != to:
			return "", refuse(schema.FailInvalidArtifact, "%s: next_resume_stage is %s, but the metadata names %s as %s", file, next, to, key)
		}
		return to, nil
	}
	return next, nil
}

// repaired has the reason of a decision to block stand on the item.
func (h *harvest) repaired() {
	var d schema.BlueprintRepairDecision
	if _, there := h.written(schema.DefRepair, &d); !there || d.RepairAction != schema.RepairBlock {
		return
	}
	h.because("", d.Reason)
}
