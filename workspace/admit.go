package workspace

import (
	"fmt"

	"millrace/schema"
)

// NewItem makes the item of a document that is admitted for the first time: queued, generation 1, its
// canonical document not written yet. The document must have passed its definition and carries the
// defaults of admission. data is what has to be written to Item.Path.
func (v *View) NewItem(doc *schema.Document, source string) (it *schema.Item, data []byte, err error) {
	f := v.Family(doc.Kind)
	if f == nil {
		return nil, nil, fmt.Errorf("admit %s: no family of that name in the plan; families are defined below families/", doc.Key())
	}
	head, err := doc.Head()
	if err != nil {
		return nil, nil, fmt.Errorf("admit %s: %w", doc.Key(), err)
	}
	data = v.Registry.Render(doc)
	it = &schema.Item{
		SchemaVersion: schema.Version, Family: doc.Kind, ID: doc.ID, State: schema.StateQueue,
		Title: head.Title, Priority: head.Priority, Lineage: head.Lineage, Checks: head.Checks,
		CreatedAt: head.CreatedAt, CreatedBy: head.CreatedBy, Generation: 1, Document: schema.DigestOf(data),
		Source: source, Target: head.Target, Updated: v.Now,
	}
	if it.CreatedAt.IsZero() {
		it.CreatedAt = v.Now // a kind that calls it otherwise: the order of claiming needs one
	}
	if it.Target != "" {
		it.Fills = doc.Fills()
	}
	if f.Dependency != "" {
		it.DependsOn = doc.IDs(f.Dependency)
	}
	it.Path = v.DocumentPath(it, schema.StateQueue)
	return it, data, nil
}

// AdmitItem adds a new item with its document.
func (m *Mutation) AdmitItem(it *schema.Item, data []byte) {
	m.PutFile(it.Path, "", data)
	m.PutItem(it)
	m.Tell(Event{Type: EvAdmitted, Item: it.Key(), To: it.State, Path: it.Path})
}
