package result

import (
	"encoding/json"
	"slices"

	"millrace/schema"
)

// promote decides that the draft becomes a task: the one that the stage generated, borne out by an evaluation that
// approves the newest packet.
func (h *harvest) promote() (string, *schema.Verdict) {
	d, refused := h.draft()
	if refused != nil {
		return "", refused
	}
	of, e, refused := h.approval()
	if e == nil || refused != nil {
		return "", refused
	}
	if refused := h.judges(of, e, schema.EvaluationApproved, &d); refused != nil {
		return "", refused
	}
	file, task, refused := h.generated()
	if refused != nil {
		return "", refused
	}
	b := h.worked()
	if refused := h.only(file, b, task); refused != nil {
		return "", refused
	}
	h.after(task)
	if refused := h.receive(file, task, h.trial()); refused != nil {
		return "", refused
	}
	if refused := h.keepRecord(evaluationDir+e.ID+".json", e); refused != nil {
		return "", refused
	}
	b.Task = task.ID
	p := schema.Promotion{
		ArtifactHead: schema.ArtifactHead{SchemaVersion: schema.Version, Kind: "promotion", CreatedAt: h.Now, CreatedBy: h.kind.ID},
		ID:           h.item.ID, BlueprintID: b.ID, DraftID: h.item.ID, ManifestID: d.ManifestID, EvaluationID: e.ID,
		RootSpecID: e.RootSpecID, RootIdeaID: e.RootIdeaID, GeneratedTaskID: task.ID, PromotedAt: h.Now, PromotedBy: h.kind.ID,
		Paths: []string{packetDir + at(b.ID, b.Revision) + ".json", evaluationDir + e.ID + ".json"},
	}
	return "", h.keepRecord(promotionDir+h.item.ID+".json", p)
}

// promoted keeps what promote decided: the task is admitted like anything that a stage proposes.
func (h *harvest) promoted() {
	h.further()
	h.state = schema.StateDone
}

// ofForm are the failures of a stage that had said all it had to say, in a wrong form.
var ofForm = []string{schema.FailInvalidArtifact, schema.FailMissingArtifact, schema.FailOutboxConflict}

// approval is the evaluation that a promotion rests on: the stage's own, else, for a stage that repairs what an
// evaluation led to, the newest of the run. It is nil while it has not been read.
func (h *harvest) approval() (file string, e *schema.BlueprintEvaluation, refused *schema.Verdict) {
	e = new(schema.BlueprintEvaluation)
	if a, there := h.written(schema.DefEvaluation, e); there {
		return a.File, e, nil
	}
	for _, s := range slices.Backward(h.run.Steps) {
		kind := h.plan.Stages[s.Stage]
		if kind == nil || kind.Artifact(schema.DefEvaluation) == nil {
			continue
		}
		a := kind.Artifact(schema.DefEvaluation)
		if _, left := s.Artifacts[a.File]; !left || !slices.Contains(ofForm, s.Failure) {
			return "", nil, refuse(schema.FailInvalidArtifact,
				"%s came last to %s and left nothing approved: only a task that was refused for its form can be repaired", s.Node, firstOf(s.Failure, s.Outcome))
		}
		data, answered, why := h.left(s.Request, a.File, s.Artifacts[a.File])
		if !answered {
			return "", nil, nil // to be read yet
		}
		if why != "" {
			return "", nil, refuse(schema.FailInvalidArtifact, "%s of %s: %s", a.File, s.Node, why)
		}
		record, _ := h.Registry.Artifact(a.Schema, a.File, data)
		if record == nil || json.Unmarshal(record, e) != nil {
			return "", nil, refuse(schema.FailInvalidArtifact, "%s of %s is not valid: it approves nothing", a.File, s.Node)
		}
		return a.File, e, nil
	}
	return "", nil, h.without(schema.DefEvaluation)
}

// generated is the one task that the stage wrote.
func (h *harvest) generated() (file string, task *schema.Document, refused *schema.Verdict) {
	for _, a := range h.kind.Writes {
		record, there := h.seen.Records[a.File]
		switch {
		case a.Schema != schema.DefTask || !there:
			continue
		case task != nil:
			return "", nil, refuse(schema.FailInvalidArtifact, "%s and %s: a draft becomes exactly one task", file, a.File)
		}
		file = a.File
		if task, refused = h.document(a.File, schema.DefTask, record); refused != nil {
			return "", nil, refused
		}
	}
	if task == nil {
		return "", nil, h.without(schema.DefTask)
	}
	return file, task, nil
}

// only sees that a draft becomes one task, and a task comes from one draft.
func (h *harvest) only(file string, b *schema.Blueprint, task *schema.Document) *schema.Verdict {
	if b.Task != "" && b.Task != task.ID {
		return refuse(schema.FailOutboxConflict, "%s: %s became task %s already, and cannot become %s as well", file, h.item.Key(), b.Task, task.ID)
	}
	if h.Items[task.Key()] == nil {
		return nil
	}
	for k, it := range h.Items {
		if k.Family == h.item.Family && k != h.item.Key() && it.Blueprint != nil && it.Blueprint.Task == task.ID {
			return refuse(schema.FailOutboxConflict, "%s: %s came from another draft, so it needs another id", file, task.Key())
		}
	}
	return nil
}

// after has the task wait for the tasks that the drafts became which its own draft waited for. Where it names such
// a draft itself, it means that task.
func (h *harvest) after(task *schema.Document) {
	field := h.Family(task.Kind).Dependency
	if field == "" {
		return
	}
	became := func(draft string) string {
		if it := h.Items[schema.Key{Family: h.item.Family, ID: draft}]; it != nil && it.Blueprint != nil {
			return it.Blueprint.Task
		}
		return ""
	}
	var ids []string
	add := func(id string) {
		if id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, id := range task.IDs(field) {
		if h.Items[schema.Key{Family: task.Kind, ID: id}] == nil {
			id = firstOf(became(id), id)
		}
		add(id)
	}
	for _, draft := range h.item.DependsOn {
		add(became(draft))
	}
	if len(ids) > 0 {
		setIDs(task, field, ids)
	}
}
