package result

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"millrace/schema"
	"millrace/schema/document"
	"millrace/workspace"
)

// An admission is an outbox document that becomes an item in the commit of the result.
type admission struct {
	path string // relative to the outbox
	item *schema.Item
	doc  *schema.Document
	data []byte
}

// outbox decides every document that the stage proposes: to be admitted, or declined with a reason. It
// returns what makes the whole result invalid: a document whose id stands for other content already.
func (h *harvest) outbox(outcome string) (conflict string) {
	trial := h.Draft(&workspace.Mutation{By: name}) // what is admitted is carried out with the rest of the result
	for _, f := range h.seen.Outbox {
		for _, d := range f.Diags {
			if d.Severity != schema.Warning {
				h.decline(f.Path, schema.Key{}, d.String())
			}
		}
		for _, doc := range f.Docs {
			why := h.unwelcome(doc, outcome)
			if why == "" {
				why, conflict = h.propose(f.Path, doc, trial)
			}
			if conflict != "" {
				h.decline(f.Path, doc.Key(), conflict)
				return f.Path + ": " + conflict
			}
			if why != "" {
				h.decline(f.Path, doc.Key(), why)
			}
		}
	}
	return ""
}

func (h *harvest) decline(path string, k schema.Key, why string) {
	h.declined = append(h.declined, schema.Declined{Path: path, Item: k, Why: why})
}

// withdraw declines what would have been admitted, had the result not failed.
func (h *harvest) withdraw(failure string) {
	for _, a := range h.admitted {
		h.decline(a.path, a.item.Key(), "the whole result is not accepted: "+failure)
	}
	h.admitted, h.brought = nil, nil
}

// unwelcome says why a document is not looked at any further.
func (h *harvest) unwelcome(doc *schema.Document, outcome string) string {
	k := doc.Key()
	switch {
	case outcome == schema.OutcomeBlocked:
		return "a stage that ends with " + outcome + " proposes nothing"
	case !slices.Contains(h.kind.Emits, doc.Kind):
		return h.kind.ID + " may not propose a " + doc.Kind
	case !h.dropped(doc.Kind):
		return workspace.MadeByRuntime(h.Family(doc.Kind))
	case h.declared(k):
		return "an operator declares " + k.String() + " and it is not admitted"
	}
	return document.Inadmissible(doc)
}

// declared reports whether an operator declares an item that is not admitted.
func (h *harvest) declared(k schema.Key) bool {
	return h.Hold[k] || h.Items[k] == nil && h.Intake != nil && len(h.Intake.ByKey[k]) > 0
}

// dropped reports whether agents may propose documents of a family at all.
func (h *harvest) dropped(family string) bool {
	f := h.Family(family)
	return f == nil || f.Dropped()
}

// propose stamps and admits one document, or says why not, or what it is in conflict with.
func (h *harvest) propose(path string, doc *schema.Document, trial *workspace.Draft) (why, conflict string) {
	doc, why = h.stamp(doc)
	if why != "" {
		return why, ""
	}
	admitted := h.Registry.Admit(doc, h.kind.ID, h.Now)
	it, data, err := h.NewItem(admitted, "outbox")
	if err != nil {
		return err.Error(), ""
	}
	h.inherit(it)
	if t := h.ClosedFor(it.Family, it.ID, it.Lineage); t != nil {
		return workspace.TooLate(t), ""
	}
	k := it.Key()
	if old := h.Items[k]; old != nil {
		same := h.Registry.Render(h.Registry.Admit(doc, old.CreatedBy, old.CreatedAt))
		if schema.DigestOf(same) != old.Document {
			return "", fmt.Sprintf("%s exists with other content (%s): propose it under an id of its own", k, old.Path)
		}
		h.brought = append(h.brought, k)
		return "", ""
	}
	for _, a := range h.admitted {
		switch {
		case a.item.Key() != k:
		case a.item.Document != it.Document:
			return "", fmt.Sprintf("%s is proposed twice with different content, in %s as well: give one of them another id", k, a.path)
		default:
			return "", ""
		}
	}
	gone := h.replaced(it)
	it.DependsOn = slices.DeleteFunc(trial.Needs(admitted), func(id string) bool { return slices.Contains(gone, id) })
	if way := trial.Cycle(it, admitted, gone...); way != nil {
		return fmt.Sprintf("it would depend on itself: %v", way), ""
	}
	if len(it.Checks) > 0 && !h.trusted() {
		it.Checks = nil
		it.Note(schema.Note{At: h.Now, By: name, What: "its checks are not run", Why: "they came from an agent (checks.from_agents)"})
	}
	h.admitted, h.brought = append(h.admitted, admission{path, it, admitted, data}), append(h.brought, k)
	sketch := it.Clone()
	trial.Put(sketch)
	trial.Arrange(sketch, admitted, h.kind.ID)
	return "", ""
}

// replaced lists the items whose place a new one takes: those of its family that are blocked by the incident whose
// work it is.
func (h *harvest) replaced(it *schema.Item) []string {
	var ids []string
	for _, k := range h.RaisedBy(it.Lineage.IncidentID) {
		if k.Family == it.Family && k.ID != it.ID && h.Items[k].State == schema.StateBlocked {
			ids = append(ids, k.ID)
		}
	}
	return ids
}

// trusted reports whether checks that come from this stage may be run: commands of an agent run with
// the daemon's rights.
func (h *harvest) trusted() bool {
	policy := h.plan.Checks.FromAgents
	if h.Config != nil && h.Config.Checks.FromAgents != "" {
		policy = h.Config.Checks.FromAgents
	}
	n := h.plan.Node(h.run.Plane, h.run.Node)
	permission := n.Permission
	if r := h.plan.Runners[n.Runner]; r != nil {
		permission = firstOf(permission, r.Permission)
	}
	return policy == "allow" || policy != "deny" && permission == "maximum"
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

// spawn tells of an item that the result brings, and where it comes from.
func (h *harvest) spawn(it *schema.Item, how string) {
	e := workspace.Event{
		Type: workspace.EvAdmitted, Item: it.Key(), To: it.State, Path: it.Path,
		Message: fmt.Sprintf("%s by %s of %s", how, h.kind.ID, h.item.ID),
	}
	if f := h.Family(it.Family); f != nil {
		e.Plane = f.Plane
	}
	h.m.Tell(e)
	h.step.Spawned = append(h.step.Spawned, it.Key())
}

// born adds an item that the runtime makes of the result.
func (h *harvest) born(it *schema.Item, data []byte) {
	h.m.PutFile(it.Path, "", data)
	h.m.PutItem(it)
	h.spawn(it, "raised")
}

// admit commits what outbox decided.
func (h *harvest) admit() {
	draft := h.Draft(h.m)
	for _, a := range h.admitted {
		draft.Put(a.item)
		h.m.PutFile(a.item.Path, "", a.data)
		h.spawn(a.item, "proposed")
	}
	h.supersede(draft)
	for _, a := range h.admitted {
		draft.Arrange(a.item, a.doc, h.kind.ID)
	}
	draft.Write()
}

// supersede ends the items that were blocked by an incident when the first work that was planned for it is admitted:
// all of that takes their place.
func (h *harvest) supersede(draft *workspace.Draft) {
	type work struct{ family, incident string }
	admitted, order := map[work][]string{}, []work(nil)
	for _, a := range h.admitted {
		w := work{a.item.Family, a.item.Lineage.IncidentID}
		if admitted[w] == nil {
			order = append(order, w)
		}
		admitted[w] = append(admitted[w], a.item.ID)
	}
	for _, w := range order {
		for _, k := range h.RaisedBy(w.incident) {
			if k.Family == w.family {
				ids := admitted[w]
				draft.Supersede(k, ids, w.incident, name, fmt.Sprintf("superseded by %s, planned for incident %s", strings.Join(ids, ", "), w.incident))
			}
		}
	}
}
