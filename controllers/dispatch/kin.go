package dispatch

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"millrace/schema"
	"millrace/workspace"
)

// A kin is what the lineage looks like from one work item, for the stage that works on it.
type kin struct {
	idea     string
	contract []schema.File // root spec and idea as they are judged in the end
	all      []*relative
	siblings map[string]int // of the lineage beside these, by state
	unnamed  int            // of them
}

// A relative is an item of the lineage that a prompt names, or that the work item depends on.
type relative struct {
	Relation string        `json:"relation"` // root, parent, dependency, sibling
	Item     schema.Key    `json:"item"`
	State    string        `json:"state"`              // "": there is none of that name
	Path     string        `json:"path,omitempty"`     // of its document
	Document schema.Digest `json:"document,omitempty"` // as it is now; the prompt only names it
	Trace    string        `json:"trace,omitempty"`    // that was read for what it left
	Digest   schema.Digest `json:"trace_digest,omitempty"`

	title  string
	result schema.EvidenceItem
}

// ancestors are what an item says it comes from, the nearest first.
func ancestors(it *schema.Item) []schema.Key {
	l := it.Lineage
	all := []schema.Key{{Family: it.Family, ID: l.ParentTaskID}, {Family: schema.FamilySpec, ID: l.SpecID},
		{Family: schema.FamilySpec, ID: l.RootSpecID}, {Family: schema.FamilyIncident, ID: l.IncidentID}}
	return slices.DeleteFunc(compact(all), func(k schema.Key) bool { return k.ID == "" })
}

// kinOf gathers the lineage around an item, and asks for the traces of what it depends on.
func kinOf(r *reader, it *schema.Item) *kin {
	l := it.Lineage
	k := &kin{idea: l.RootIdeaID, siblings: map[string]int{}}
	root := schema.Key{Family: schema.FamilySpec, ID: l.RootSpecID}
	if top := r.Items[root]; k.idea == "" && top != nil {
		k.idea = top.Lineage.RootIdeaID
	}
	if t := r.Target(l.RootSpecID); t != nil && t.Closure != nil && t.Key() != it.Key() {
		k.contract = t.Closure.Contract
	}
	named := map[schema.Key]bool{it.Key(): true}
	name := func(relation string, key schema.Key) *relative {
		rel := relativeOf(r.State, relation, key)
		named[key] = true
		k.all = append(k.all, rel)
		return rel
	}
	if l.RootSpecID != "" && root != it.Key() {
		name("root", root)
	}
	for _, key := range ancestors(it) {
		if !named[key] {
			name("parent", key)
		}
	}
	for i, id := range it.DependsOn {
		key := schema.Key{Family: it.Family, ID: id}
		if named[key] {
			continue
		}
		if rel := name("dependency", key); i < maxNeeds {
			rel.tell(r)
		}
	}
	if l.RootSpecID != "" {
		k.beside(r.State, it, named)
	}
	return k
}

func relativeOf(s *workspace.State, relation string, key schema.Key) *relative {
	rel := &relative{Relation: relation, Item: key}
	if it := s.Items[key]; it != nil {
		rel.State, rel.Path, rel.Document, rel.title = it.State, it.Path, it.Document, it.Title
		rel.result = schema.EvidenceItem{Item: key, Title: it.Title, State: it.State, Path: it.Path, Run: it.Run}
	}
	return rel
}

// tell reads what the last run of a dependency left.
func (rel *relative) tell(r *reader) {
	if rel.result.Run == "" {
		return
	}
	rel.Trace = workspace.TraceFile(rel.result.Run)
	rel.result.Trace = rel.Trace
	if a, found := r.ask(workspace.AskFile(rel.Trace)); found {
		rel.Digest = a.Digest
		rel.result.End, rel.result.Results, rel.result.Withheld = results(a)
	}
}

// beside names the siblings that matter most: of the same parent before others, what is under way before what has
// ended, what ended last first.
func (k *kin) beside(s *workspace.State, it *schema.Item, named map[schema.Key]bool) {
	var near []*schema.Item
	order := func(a, b *schema.Item) int {
		return cmp.Or(boolOrder(sameParent(a, it), sameParent(b, it)), boolOrder(!schema.Ended(a.State), !schema.Ended(b.State)),
			cmp.Compare(b.EndedSeq, a.EndedSeq), workspace.CompareKeys(a.Key(), b.Key()))
	}
	for other := range s.Lineage(it.Lineage.RootSpecID) {
		if named[other.Key()] {
			continue
		}
		k.siblings[other.State]++
		if len(near) == maxKin && order(other, near[maxKin-1]) > 0 {
			continue
		}
		i, _ := slices.BinarySearchFunc(near, other, order)
		near = slices.Insert(near, i, other)
		near = near[:min(len(near), maxKin)]
	}
	for _, other := range near {
		k.all = append(k.all, relativeOf(s, "sibling", other.Key()))
	}
	for _, n := range k.siblings {
		k.unnamed += n
	}
	k.unnamed -= len(near)
}

func sameParent(a, b *schema.Item) bool {
	x, y := a.Lineage, b.Lineage
	return x.SpecID == y.SpecID && x.ParentTaskID == y.ParentTaskID && x.IncidentID == y.IncidentID
}

// origin tells where the work item comes from and what there is beside it.
func (s *stage) origin(p *page) {
	k := s.kin
	if k == nil || k.idea == "" && len(k.all) == 0 {
		return
	}
	p.head("Where it comes from, and what is beside it")
	p.line("For orientation. Other work items are not yours to do.\n")
	var all []string
	if k.idea != "" {
		all = append(all, "- Idea: "+inline(k.idea, showTitle))
	}
	for _, f := range k.contract {
		all = append(all, "- The whole is judged in the end by "+code(path.Join(workspace.Folder, f.Path)))
	}
	for _, rel := range k.all {
		if rel.Relation != "sibling" {
			all = append(all, rel.line())
		}
	}
	if n := len(k.siblings); n > 0 {
		all = append(all, "- Beside it, of the same root: "+k.counts())
	}
	for _, rel := range k.all {
		if rel.Relation == "sibling" {
			all = append(all, "  "+rel.line())
		}
	}
	p.list(showKin, all, "which `"+schema.ContextFile+"` in the request folder lists")
}

// counts says how many siblings there are in each state.
func (k *kin) counts() string {
	var all []string
	for _, state := range sortedKeys(k.siblings) {
		all = append(all, fmt.Sprintf("%d %s", k.siblings[state], state))
	}
	text := strings.Join(all, ", ")
	if k.unnamed > 0 {
		text += fmt.Sprintf("; the %d nearest are:", maxKin)
	}
	return text
}

var relations = map[string]string{"root": "Root: ", "parent": "Comes from: ", "dependency": "Rests on: ", "sibling": ""}

func (rel *relative) line() string {
	text := strings.TrimPrefix(telling(rel.result), "- ")
	if rel.State == "" {
		text = rel.Item.Family + " " + rel.Item.ID + ", which is not here"
	}
	return "- " + relations[rel.Relation] + text
}
