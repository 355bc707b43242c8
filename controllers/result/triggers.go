package result

import (
	"fmt"
	"maps"
	"path"
	"slices"

	"millrace/schema"
	"millrace/workspace"
)

// raise opens the learning requests that the plan wants when a stage ends like this one, in the commit of its
// result. A failure raises none: nobody said how the stage ended, and what a broken connection teaches is no skill.
func (h *harvest) raise(v schema.Verdict) {
	if v.Failure != "" {
		return
	}
	n := 0
	for _, t := range h.plan.Triggers {
		if t.Stage != h.kind.ID || !slices.Contains(t.Outcomes, v.Outcome) {
			continue
		}
		n++
		h.request(t, n)
	}
}

// request admits one of them. Its id is that of the step, so that the same step raises it once.
func (h *harvest) request(t schema.Trigger, n int) {
	id := fmt.Sprintf("learn-%s-%d", h.run.ID, len(h.run.Steps)+1)
	if n > 1 {
		id = fmt.Sprintf("%s-%d", id, n)
	}
	if h.Items[schema.Key{Family: schema.FamilyLearning, ID: id}] != nil {
		return
	}
	doc := &schema.Document{Kind: schema.FamilyLearning, ID: id, Fields: h.lesson(t, id)}
	if _, err := h.spawn(doc, "runtime"); err != nil {
		h.note("no learning request: " + err.Error())
	}
}

// lesson says what is to be learned from, and where the evidence lies.
func (h *harvest) lesson(t schema.Trigger, id string) map[string]any {
	fields := map[string]any{
		"learning_request_id": id,
		"title":               fmt.Sprintf("Learn from %s of %s", h.kind.ID, h.item.ID),
		"summary":             fmt.Sprintf("%s of %s ended with %s.", h.kind.ID, h.item.Key(), h.step.Outcome),
		"requested_action":    t.Action,
		"target_stage":        t.Target,
		"originating_run_ids": []any{h.run.ID},
		"trigger_metadata": map[string]any{
			"stage": h.kind.ID, "outcome": h.step.Outcome, "item": h.item.Key().String(),
			"trigger": t.Target + ": " + t.Action,
		},
	}
	paths := []any{}
	for _, s := range append(slices.Clone(h.run.Steps), h.step) {
		for _, file := range slices.Sorted(maps.Keys(s.Artifacts)) {
			paths = append(paths, path.Join(workspace.RequestDir(h.run.ID, s.Request), file))
		}
	}
	if n := len(paths) - schema.MaxItems; n > 0 {
		paths = paths[n:] // the latest say most
	}
	if len(paths) > 0 {
		fields["artifact_paths"] = paths
	}
	if len(t.OutputPaths) > 0 {
		outputs := []any{}
		for _, p := range t.OutputPaths {
			outputs = append(outputs, p)
		}
		fields["preferred_output_paths"] = outputs
	}
	for name, value := range map[string]string{
		"target_skill_id": t.TargetSkill, "root_spec_id": h.root(), "root_idea_id": h.item.Lineage.RootIdeaID,
	} {
		if value != "" {
			fields[name] = value
		}
	}
	return fields
}
