package result

import (
	"fmt"
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
	trial := h.trial()
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
	h.sketch(trial, it, admitted)
	return "", ""
}

// replaced lists the items whose place a new one takes: those of its family that are blocked by the incident whose
// work it is.
func (h *harvest) replaced(it *schema.Item) []string {
	var ids []string
	for _, k := range h.RaisedBy(it.Lineage.IncidentID) {
		if k.Family == it.Family && k.ID != it.ID {
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

// tellNew tells of an item that the result brings, and where it comes from.
func (h *harvest) tellNew(it *schema.Item, how string) {
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

// admit commits what outbox decided.
func (h *harvest) admit() {
	draft := h.Draft(h.m)
	for _, a := range h.admitted {
		draft.Put(a.item)
		h.m.PutFile(a.item.Path, "", a.data)
		h.tellNew(a.item, "proposed")
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
