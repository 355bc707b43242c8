package closure

import (
	"fmt"

	"millrace/reconcile"
	"millrace/schema"
	"millrace/workspace"
)

// next opens a root that is to be judged and has no open target: one that is wanted again, else the one done last of
// those that never had a target. Which of them cannot be opened is recorded once, and planning waits for a person.
func next(v *workspace.View) reconcile.Proposal {
	p := v.CurrentPlan()
	root, again := (*schema.Item)(nil), false
	if p != nil && workspace.Closes(p) && v.Registry != nil {
		if v.Compiled.Plan == nil {
			return reconcile.Proposal{} // nobody knows under what it would be judged
		}
		if root, again = wanted(v); root == nil {
			root = v.Unjudged()
		}
	}
	if root == nil {
		return reconcile.Proposal{Mutation: fault(v, nil)}
	}
	root = root.Clone()
	contract, f, missing := examine(v, root, again)
	switch {
	case len(missing) > 0:
		return reconcile.Proposal{Observe: missing}
	case f != nil:
		return reconcile.Proposal{Mutation: fault(v, f)}
	}
	m := &workspace.Mutation{By: name, Why: fmt.Sprintf("open the closure target of %s, which was never judged", root.ID)}
	if again {
		m.Why = "open the closure target of " + root.ID + " again"
	}
	m.OpenTarget(v, root, contract)
	return reconcile.Proposal{Mutation: m}
}

// wanted is the root spec whose ended target is to be opened again.
func wanted(v *workspace.View) (*schema.Item, bool) {
	t := v.ToReopen()
	if t == nil {
		return nil, false
	}
	root := v.Items[schema.Key{Family: schema.FamilySpec, ID: t.ID}]
	return root, root != nil
}

// fault records what stands in the way, or that nothing does any more; nil when that is on record.
func fault(v *workspace.View, f *schema.RootFault) *workspace.Mutation {
	was := v.Control.RootFault
	switch {
	case f == nil && was == nil:
		return nil
	case f != nil && was != nil && f.Spec == was.Spec && f.Class == was.Class && f.Message == was.Message:
		return nil
	}
	m := &workspace.Mutation{By: name, Why: "no root stands in the way of planning any more"}
	c := v.Control.Clone()
	if c.SchemaVersion, c.RootFault = schema.Version, f; f != nil {
		f.Since = v.Now
		m.Why = fmt.Sprintf("%s cannot be judged: %s: %s", f.Spec, f.Class, f.Message)
		m.Tell(workspace.Event{Type: workspace.EvFault, Plane: plane(v), Item: schema.Key{Family: schema.FamilySpec, ID: f.Spec}, Class: f.Class, Message: f.Message})
	}
	m.PutControl(c)
	return m
}

// examine reads what a root, a clone, is to be judged against. At its claim that is simply the spec as it is; afterwards it must
// be certain what was asked for, or a person says so.
func examine(v *workspace.View, root *schema.Item, again bool) (contract map[string][]byte, f *schema.RootFault, missing []workspace.Query) {
	bad := func(class, clear, format string, args ...any) (map[string][]byte, *schema.RootFault, []workspace.Query) {
		give := fmt.Sprintf("millrace closure abandon %s --reason …", root.ID)
		if clear != "" {
			give = clear + ", or " + give
		}
		return nil, &schema.RootFault{Spec: root.ID, Class: class, Message: fmt.Sprintf(format, args...), ClearedBy: give}, nil
	}
	switch {
	case root.Lineage.RootSpecID == "":
		return bad(schema.FaultNoRoot, "", "spec %s has a parent and does not say from which root it descends", root.ID)
	case !again && v.IdeasOf(root.ID) > 1:
		return bad(schema.FaultDrift, "", "work of %s says that it comes from %d different ideas", root.ID, v.IdeasOf(root.ID))
	}
	a, asked := v.Asked[workspace.AskFile(root.Path)]
	if !asked {
		return nil, nil, []workspace.Query{workspace.AskFile(root.Path)}
	}
	if a.Digest != root.Document {
		return bad(schema.FaultContract, "the file as it was", "%s is not what it was when it ended", root.Path)
	}
	doc, diags := v.Registry.ParseStored(root.Family, root.Path, a.Data)
	if doc == nil || diags.HasErrors() {
		return bad(schema.FaultContract, "a definition that it passes", "%s does not pass the definition of a spec any more: %s", root.Path, first(diags))
	}
	if !again {
		class, why := source(doc, root)
		if class != "" {
			return bad(class, "", "%s", why)
		}
	}
	contract, missing = v.Contract(root, a.Data)
	if len(missing) > 0 || again || root.Lineage.RootIdeaID == "" {
		return contract, nil, missing
	}
	idea, kept := contract[workspace.ContractIdea]
	name := workspace.IdeaPath(root.Lineage.RootIdeaID, root.Generation)
	if !kept {
		return bad(schema.FaultUnresolved, "the idea at "+name, "%s comes from the idea %s, and ideas/ holds nothing of it", root.ID, root.Lineage.RootIdeaID)
	}
	if d, diags := v.Registry.ParseStored(schema.KindIdea, name, idea); d == nil || diags.HasErrors() || d.ID != root.Lineage.RootIdeaID {
		return bad(schema.FaultContract, "the idea as it was", "what ideas/ holds of %s is not that idea: %s", root.Lineage.RootIdeaID, first(diags))
	}
	return contract, nil, nil
}

// source holds what a spec says of its origin against itself, and completes the item's lineage from it.
func source(doc *schema.Document, root *schema.Item) (class, why string) {
	text := func(field string) string {
		s, _ := doc.Fields[field].(string)
		return s
	}
	typ, id, idea := text("source_type"), text("source_id"), root.Lineage.RootIdeaID
	switch {
	case typ == "derived_spec":
		return schema.FaultUnsupported, fmt.Sprintf("spec %s says that it is derived from another (source_type), and yet it is its own root", root.ID)
	case typ != "idea":
		return "", ""
	case id == "" && idea == "":
		return schema.FaultNoSource, fmt.Sprintf("spec %s comes from an idea (source_type) and does not say from which", root.ID)
	case id != "" && idea != "" && id != idea:
		return schema.FaultAmbiguous, fmt.Sprintf("spec %s names two ideas: source_id %s, root_idea_id %s", root.ID, id, idea)
	case idea == "":
		root.Lineage.RootIdeaID = id
	}
	return "", ""
}

func first(diags schema.Diagnostics) string {
	for _, d := range diags {
		if d.Severity != schema.Warning {
			return d.Message
		}
	}
	return "it is another's"
}
