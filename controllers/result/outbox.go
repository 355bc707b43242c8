package result

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"millrace/schema"
	"millrace/schema/document"
	"millrace/workspace"
)

// An admission is an outbox document that becomes an item in the commit of the result.
type admission struct {
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
				why, conflict = h.propose(doc, trial)
			}
			if conflict != "" {
				h.admitted, h.declined = nil, nil
				return conflict
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
	case h.Hold[k] || h.Items[k] == nil && h.Intake != nil && len(h.Intake.ByKey[k]) > 0:
		return "an operator declares " + k.String() + " and it is not admitted"
	}
	return document.Inadmissible(doc)
}

// dropped reports whether agents may propose documents of a family at all.
func (h *harvest) dropped(family string) bool {
	f := h.Family(family)
	return f == nil || f.Dropped()
}

// propose stamps and admits one document, or says why not, or what it is in conflict with.
func (h *harvest) propose(doc *schema.Document, trial *workspace.Draft) (why, conflict string) {
	doc, why = h.stamp(doc)
	if why != "" {
		return why, ""
	}
	admitted := h.Registry.Admit(doc, h.kind.ID, h.Now)
	it, data, err := h.NewItem(admitted, "outbox")
	if err != nil {
		return err.Error(), ""
	}
	if t := h.ClosedFor(it.Family, it.ID, it.Lineage); t != nil {
		return workspace.TooLate(t), ""
	}
	it.DependsOn = trial.Needs(admitted)
	k := it.Key()
	if old := h.Items[k]; old != nil {
		same := h.Registry.Render(h.Registry.Admit(doc, old.CreatedBy, old.CreatedAt))
		if schema.DigestOf(same) != old.Document {
			return "", k.String() + " exists with other content"
		}
		return "", ""
	}
	for _, a := range h.admitted {
		switch {
		case a.item.Key() != k:
		case a.item.Document != it.Document:
			return "", k.String() + " is proposed twice with different content"
		default:
			return "", ""
		}
	}
	if way := trial.Cycle(it, admitted); way != nil {
		return fmt.Sprintf("it would depend on itself: %v", way), ""
	}
	if len(it.Checks) > 0 && !h.trusted() {
		it.Checks = nil
		it.Note(schema.Note{At: h.Now, By: name, What: "its checks are not run", Why: "they came from an agent (checks.from_agents)"})
	}
	h.admitted = append(h.admitted, admission{it, admitted, data})
	sketch := it.Clone()
	trial.Put(sketch)
	trial.Arrange(sketch, admitted, h.kind.ID)
	return "", ""
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
	for _, l := range h.lineage(doc.Kind) {
		if l.value == "" {
			continue
		}
		if have, ok := c.Fields[l.field]; ok {
			if have != l.value {
				return nil, fmt.Sprintf("%s is %v, but the work it comes from says %s", l.field, have, l.value)
			}
			continue
		}
		c.Fields[l.field] = l.value
		if !h.valid(&c) {
			delete(c.Fields, l.field)
		}
	}
	return &c, ""
}

type lineage struct{ field, value string }

func (h *harvest) lineage(kind string) []lineage {
	l, root := h.item.Lineage, h.item.Lineage.RootSpecID
	spec, parent, incident := l.SpecID, "", l.IncidentID
	family := h.Family(h.item.Family)
	switch {
	case h.item.Family == schema.FamilySpec:
		spec, root = h.item.ID, firstOf(root, h.item.ID)
	case h.item.Family == schema.FamilyIncident:
		incident = h.item.ID
	case family != nil && family.IDField == "task_id":
		parent = h.item.ID
	}
	all := []lineage{{"root_idea_id", l.RootIdeaID}, {"root_spec_id", root}, {"parent_task_id", parent}, {"incident_id", incident}}
	if kind == schema.FamilySpec {
		return append(all[:2], lineage{"parent_spec_id", spec})
	}
	if kind == schema.FamilyIncident {
		return append(all[:2], lineage{"source_spec_id", spec}, lineage{"source_task_id", parent})
	}
	return append(all, lineage{"spec_id", spec})
}

// valid asks the document's definition.
func (h *harvest) valid(doc *schema.Document) bool {
	record := maps.Clone(doc.Fields)
	record["kind"] = doc.Kind
	data, err := json.Marshal(record)
	return err == nil && !h.Registry.Parse("outbox/"+doc.ID+".json", data).Diags.HasErrors()
}

// admit commits what outbox decided.
func (h *harvest) admit() {
	draft := h.Draft(h.m)
	for _, a := range h.admitted {
		draft.Put(a.item)
		draft.Arrange(a.item, a.doc, h.kind.ID)
		h.m.PutFile(a.item.Path, "", a.data)
		h.m.Tell(workspace.Event{Type: workspace.EvAdmitted, Item: a.item.Key(), To: a.item.State, Path: a.item.Path})
		h.step.Spawned = append(h.step.Spawned, a.item.Key())
	}
	draft.Write()
	for _, d := range h.declined {
		h.m.Tell(workspace.Event{Type: workspace.EvDeclined, Item: d.Item, Run: h.run.ID, Request: h.run.Request, Path: d.Path, Message: d.Why})
	}
}
