package result

import (
	"fmt"
	"maps"

	"millrace/schema"
)

// root is the spec that the item's lineage begins with; "" when it has none.
func (h *harvest) root() string {
	l := h.item.Lineage
	if spec := h.Items[schema.Key{Family: schema.FamilySpec, ID: l.SpecID}]; l.RootSpecID == "" && spec != nil {
		return firstOf(spec.Lineage.RootSpecID, spec.ID)
	}
	return firstOf(l.RootSpecID, l.SpecID)
}

// stamp fills in the lineage on a copy: where work comes from is known here, not asked of an agent. A
// value that disagrees is an error; a field that the document's kind does not have is left out.
func (h *harvest) stamp(doc *schema.Document) (*schema.Document, string) {
	c := *doc
	c.Fields = maps.Clone(doc.Fields)
	if c.Fields == nil {
		c.Fields = map[string]any{}
	}
	family := h.Family(doc.Kind)
	for _, l := range h.lineage(doc.Kind, doc.ID) {
		have, there := c.Fields[l.field]
		switch {
		case family != nil && l.field == family.IDField || !h.Registry.HasField(doc.Kind, l.field):
		case !there && l.value != "":
			c.Fields[l.field] = l.value
		case !there || l.loose || have == l.value:
		case l.value == "":
			return nil, fmt.Sprintf("%s is %v, but %s, which it comes from, has none: leave it out, Millrace fills it in", l.field, have, h.item.Key())
		default:
			return nil, fmt.Sprintf("%s is %v, but %s, which it comes from, says %s: leave it out, Millrace fills it in", l.field, have, h.item.Key(), l.value)
		}
	}
	return &c, ""
}

// inherit gives an item what its document has no field for: what comes of it descends from that as well.
func (h *harvest) inherit(it *schema.Item) {
	if f := h.Family(it.Family); f == nil || len(f.HoldsOpen) == 0 {
		return // nothing waits for it
	}
	for _, l := range h.lineage(it.Family, it.ID) {
		switch {
		case h.Registry.HasField(it.Family, l.field):
		case l.field == "spec_id":
			it.Lineage.SpecID = l.value
		case l.field == "incident_id":
			it.Lineage.IncidentID = l.value
		}
	}
}

// A lineage is one field of where work comes from. A loose one may say something else: no other work hangs on it.
type lineage struct {
	field, value string
	loose        bool
}

// lineage is what a document of a kind gets from the item that it comes from.
func (h *harvest) lineage(kind, id string) []lineage {
	l, root, family := h.item.Lineage, h.root(), h.Family(h.item.Family)
	spec, task, incident, source := l.SpecID, "", l.IncidentID, "derived_spec"
	switch {
	case family == nil:
	case h.item.Family == schema.FamilySpec:
		spec, root = h.item.ID, firstOf(root, h.item.ID)
	case h.item.Family == schema.FamilyIncident:
		incident, source = h.item.ID, "incident"
	case family.IDField == "probe_id":
		spec, source = firstOf(spec, root), "probe"
	case family.IDField == "task_id":
		task = h.item.ID
	}
	origin := root
	if origin == "" && kind == schema.FamilySpec { // it has no ancestors: a root of its own
		origin = id
	}
	all := []lineage{{field: "root_idea_id", value: l.RootIdeaID}, {field: "root_spec_id", value: origin}}
	switch kind {
	case schema.FamilySpec:
		own := origin == id // what a root rests on is judged in the end
		return append(all, lineage{field: "parent_spec_id", value: spec}, lineage{field: "incident_id", value: incident},
			lineage{"source_type", source, !own}, lineage{"source_id", h.item.ID, !own})
	case schema.FamilyIncident:
		return append(all, lineage{"source_spec_id", spec, true}, lineage{"source_task_id", task, true})
	}
	return append(all, lineage{"parent_task_id", task, task == ""}, lineage{field: "incident_id", value: incident}, lineage{field: "spec_id", value: spec})
}
