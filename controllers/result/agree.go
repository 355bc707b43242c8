package result

import (
	"encoding/json"
	"path"

	"millrace/schema"
	"millrace/schema/document"
	"millrace/workspace"
)

// agree fills in an id that was left out, and refuses one that says otherwise.
func agree(file, field string, have *string, want string) *schema.Verdict {
	switch {
	case *have == "" || *have == want:
		*have = want
		return nil
	case want == "":
		return refuse(schema.FailInvalidArtifact, "%s: %s is %s, but the work it belongs to has none: leave it out", file, field, *have)
	}
	return refuse(schema.FailInvalidArtifact, "%s: %s is %s, but must be %s", file, field, *have, want)
}

// A tie is a field that must agree with what the runtime knows.
type tie struct {
	field string
	have  *string
	want  string
}

func agreeAll(file string, ties []tie) *schema.Verdict {
	for _, t := range ties {
		if refused := agree(file, t.field, t.have, t.want); refused != nil {
			return refused
		}
	}
	return nil
}

// document makes a document of what an artifact says, by the same door as any other: a file. Who made it and
// when is for the runtime to say.
func (h *harvest) document(file, definition string, record json.RawMessage) (*schema.Document, *schema.Verdict) {
	family := h.family(definition)
	if family == "" {
		return nil, refuse(schema.FailInvalidArtifact, "%s: no family of the plan has documents of %s", file, definition)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(record, &fields); err != nil {
		return nil, refuse(schema.FailInvalidArtifact, "%s: %v", file, err)
	}
	for _, field := range []string{"created_at", "created_by", "updated_at"} {
		delete(fields, field)
	}
	fields["kind"], _ = json.Marshal(family)
	data, err := json.Marshal(fields)
	if err != nil {
		return nil, refuse(schema.FailInvalidArtifact, "%s: %v", file, err)
	}
	p := h.Registry.Parse(path.Join(schema.OutboxFolder, path.Base(file)), data)
	for _, d := range p.Diags {
		if d.Severity != schema.Warning {
			d.Path, d.Line, d.Column = file, 0, 0
			return nil, refuse(schema.FailInvalidArtifact, "%s", d)
		}
	}
	if len(p.Docs) != 1 {
		return nil, refuse(schema.FailInvalidArtifact, "%s: holds %d documents, not one", file, len(p.Docs))
	}
	return p.Docs[0].Doc, nil
}

// receive has a document that an artifact holds admitted with the rest of the result, or says why it cannot be.
func (h *harvest) receive(file string, doc *schema.Document, trial *workspace.Draft) *schema.Verdict {
	k := doc.Key()
	if h.declared(k) {
		return refuse(schema.FailOutboxConflict, "%s: an operator declares %s and it is not admitted", file, k)
	}
	why := document.Inadmissible(doc)
	conflict := ""
	if why == "" {
		why, conflict = h.propose(file, doc, trial)
	}
	switch {
	case conflict != "":
		return refuse(schema.FailOutboxConflict, "%s: %s", file, conflict)
	case why != "":
		return refuse(schema.FailInvalidArtifact, "%s: %s: %s", file, k, why)
	}
	return nil
}

// trial is what is going to be admitted so far, to hold more against.
func (h *harvest) trial() *workspace.Draft {
	trial := h.Draft(&workspace.Mutation{By: name})
	for _, a := range h.admitted {
		h.sketch(trial, a.item, a.doc)
	}
	return trial
}

// sketch adds an item to a trial; the item itself is carried out with the rest of the result.
func (h *harvest) sketch(trial *workspace.Draft, it *schema.Item, doc *schema.Document) {
	it = it.Clone()
	trial.Put(it)
	trial.Arrange(it, doc, h.kind.ID)
}
