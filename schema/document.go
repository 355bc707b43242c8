package schema

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Kinds of document that are not work items.
const (
	KindApproval = "approval"
	KindControl  = "control"
	KindIdea     = "idea"
)

// Families that the runtime itself creates documents of (an idea becomes a spec, an escalation an
// incident, a trigger a learning request, a claimed root spec a closure target). Everything else about a family is data in the plan.
const (
	FamilySpec     = "spec"
	FamilyIncident = "incident"
	FamilyLearning = "learning_request"
	FamilyTarget   = "closure_target"
)

// A Document is one record, whatever encoding it came in. Fields holds JSON values (string, bool,
// json.Number, []any, map[string]any) under their snake_case names, without "kind" and without the
// body; lists of text are []any of string. A Document that the document package returned without an
// error has passed its definition.
type Document struct {
	Kind   string
	ID     string
	Fields map[string]any
	Body   string
}

// Key of the item that the document describes.
func (d *Document) Key() Key { return Key{d.Kind, d.ID} }

// Digest of the record: equal however the document was encoded. The body counts, the file name not.
func (d *Document) Digest() Digest {
	data, err := json.Marshal(d.record()) // encoding/json sorts map keys: canonical
	if err != nil {
		panic(fmt.Sprintf("marshal document: %v", err)) // Fields hold JSON values only
	}
	return DigestOf(data)
}

func (d *Document) record() map[string]any {
	return map[string]any{"kind": d.Kind, "id": d.ID, "fields": d.Fields, "body": d.Body}
}

// Decode reads the fields into one of the typed documents (Task, Spec, …) or any struct with the
// same JSON names; names the struct lacks are left out.
func (d *Document) Decode(into any) error {
	data, err := json.Marshal(d.Fields)
	if err != nil {
		return fmt.Errorf("encode %s: %w", d.Key(), err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("decode %s: %w", d.Key(), err)
	}
	return nil
}

// IDs reads a list of ids, such as depends_on or blocks; none when the document has no such field.
func (d *Document) IDs(field string) []string {
	list, _ := d.Fields[field].([]any)
	ids := make([]string, 0, len(list))
	for _, e := range list {
		if s, ok := e.(string); ok {
			ids = append(ids, s)
		}
	}
	return ids
}

// Fills lists the fields that say something, sorted.
func (d *Document) Fills() []string {
	var fields []string
	for name, value := range d.Fields {
		list, isList := value.([]any)
		if value != nil && value != "" && (!isList || len(list) > 0) {
			fields = append(fields, name)
		}
	}
	slices.Sort(fields)
	return fields
}

// Lineage says what a piece of work descends from.
type Lineage struct {
	RootIdeaID   string `json:"root_idea_id,omitempty"`
	RootSpecID   string `json:"root_spec_id,omitempty"`
	SpecID       string `json:"spec_id,omitempty"`
	ParentTaskID string `json:"parent_task_id,omitempty"`
	IncidentID   string `json:"incident_id,omitempty"`
}

// Head is what the runtime reads of any work document, whatever its family.
type Head struct {
	Lineage
	Title      string    `json:"title,omitempty"`
	Summary    string    `json:"summary,omitempty"`
	Priority   int       `json:"priority,omitempty"`
	DependsOn  []string  `json:"depends_on,omitempty"`
	Blocks     []string  `json:"blocks,omitempty"`
	Supersedes []string  `json:"supersedes,omitempty"`
	StatusHint string    `json:"status_hint,omitempty"`
	Target     string    `json:"target_stage,omitempty"`
	Checks     []Check   `json:"checks,omitempty"`
	CreatedAt  time.Time `json:"created_at,omitzero"`
	CreatedBy  string    `json:"created_by,omitempty"`

	SourceSpec string `json:"source_spec_id,omitempty"` // of an incident: the spec that it descends from
}

// Head reads the common fields; an error means the document never passed its definition.
func (d *Document) Head() (Head, error) {
	var h Head
	err := d.Decode(&h)
	if h.SpecID == "" {
		h.SpecID = h.SourceSpec
	}
	return h, err
}

// A Check is a command that the runtime runs as evidence. Run is given to "sh -c" in the folder In
// (relative to the project folder); Timeout 0 takes the configured one.
type Check struct {
	Name    string   `json:"name"`
	Run     string   `json:"run"`
	Timeout Duration `json:"timeout,omitempty"`
	In      string   `json:"in,omitempty"`
}

// ControlDocument is the declared pause: one per workspace.
type ControlDocument struct {
	Paused bool   `json:"paused"`
	Reason string `json:"reason,omitempty"`
}
