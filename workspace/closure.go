package workspace

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"path"
	"slices"
	"strconv"

	"millrace/schema"
)

// A closure target is the item that stands for a root spec while its lineage is at work: docs/closure.md. This
// file holds what several doors ask about it; controllers/closure takes it from one state to the next.

// What a contract is made of: the root spec, and the idea that it comes from. Each is named by root and generation,
// arbiter/contracts/<root>@<n> and this ending.
const (
	ContractSpec = ".md"
	ContractIdea = ".idea.md"
)

// TargetKey is the closure target of a root spec.
func TargetKey(root string) schema.Key { return schema.Key{Family: schema.FamilyTarget, ID: root} }

// Closes reports whether the plan has somebody who judges: a graph that takes closure targets. Without one, none is
// opened and none holds anything.
func Closes(p *schema.Plan) bool { return ClosurePlane(p) != "" }

// ClosurePlane is the plane whose graph takes closure targets, or "".
func ClosurePlane(p *schema.Plan) string {
	if p == nil || p.Families[schema.FamilyTarget] == nil {
		return ""
	}
	for _, plane := range p.PlaneOrder {
		if g := p.Graphs[plane]; g != nil && g.Entry[schema.FamilyTarget] != "" && slices.Contains(g.Claim, schema.FamilyTarget) {
			return plane
		}
	}
	return ""
}

// IsRoot reports whether an item is a spec that a closure target is opened for.
func IsRoot(it *schema.Item) bool {
	return it.Family == schema.FamilySpec && it.Lineage.RootSpecID == it.ID
}

// Holding is the closure target that decides what is claimed under the plan, or nil.
func (v *View) Holding(p *schema.Plan) *schema.Item {
	if !Closes(p) {
		return nil
	}
	return v.OpenTarget()
}

// Deferred is the open closure target that keeps an item from being claimed, or nil: work of other roots waits, and
// so does work without any.
func (v *View) Deferred(p *schema.Plan, it *schema.Item) *schema.Item {
	t := v.Holding(p)
	if t == nil || it.Lineage.RootSpecID == t.ID || !holds(p, it.Family) {
		return nil
	}
	return t
}

// holds reports whether items of a family can hold a closure target open.
func holds(p *schema.Plan, family string) bool {
	f := p.Families[family]
	return f != nil && len(f.HoldsOpen) > 0
}

// Claims are the items of a family that may be claimed next, in claim order, under whatever closure target holds.
func (v *View) Claims(p *schema.Plan, family string) []*schema.Item {
	if t := v.Holding(p); t != nil && holds(p, family) {
		return v.ReadyOf(family, t.ID)
	}
	return v.Ready(family)
}

// PlaneOrder is the order in which planes claim.
func (v *View) PlaneOrder(p *schema.Plan) []string {
	if v.Holding(p) != nil {
		return p.ClosureOrder
	}
	return p.PlaneOrder
}

// Overdue reports whether a root is to be opened before the plane begins anything else: one that is wanted again, or was
// never judged.
func (v *View) Overdue(p *schema.Plan, plane string) bool {
	return (v.ToReopen() != nil || v.Unjudged() != nil) && v.OpenTarget() == nil && plane != "" && plane == ClosurePlane(p)
}

// Fault is what keeps a plane from claiming until somebody has said what becomes of a root that was never judged; nil
// when nothing does.
func (v *View) Fault(p *schema.Plan, plane string) *schema.RootFault {
	if !v.Overdue(p, plane) {
		return nil
	}
	return v.Control.RootFault
}

// OpenWork goes over what of a lineage keeps its closure target open, in no order. While there is any, the target is
// neither ready nor may it be closed.
func (v *View) OpenWork(root string) iter.Seq[*schema.Item] {
	families := v.Families()
	return func(yield func(*schema.Item) bool) {
		for at, items := range v.lineage.by[root] {
			if f := families[at.family]; f == nil || !slices.Contains(f.HoldsOpen, at.state) {
				continue
			}
			for _, it := range items {
				if !yield(it) {
					return
				}
			}
		}
	}
}

// LineageChecks are the different checks of a lineage, but of work that was given up: what is run once for all of it
// before it is judged. Two are one when they run the same in the same place. The root spec's come first; of two that
// share a name the later one gets a number.
func (v *View) LineageChecks(root string) []schema.Check {
	items := slices.SortedFunc(v.Lineage(root), func(a, b *schema.Item) int {
		if a.ID == root != (b.ID == root) {
			return pick(a.ID == root, -1, 1)
		}
		return CompareKeys(a.Key(), b.Key())
	})
	type command struct{ run, in string }
	at := map[command]int{}
	names := map[string]bool{}
	var all []schema.Check
	for _, it := range items {
		if it.State == schema.StateCancelled || it.State == schema.StateSuperseded {
			continue
		}
		for _, c := range it.Checks {
			does := command{c.Run, path.Clean(c.In)}
			if i, known := at[does]; known {
				all[i].Timeout = v.longer(all[i].Timeout, c.Timeout)
				continue
			}
			c.Name = unique(names, c.Name)
			names[c.Name], at[does] = true, len(all)
			all = append(all, c)
		}
	}
	return all
}

// longer is the longer of two timeouts; 0 is the configured one.
func (v *View) longer(a, b schema.Duration) schema.Duration {
	configured := schema.Duration(0)
	if v.Config != nil {
		configured = v.Config.Checks.Timeout
	}
	if cmp.Or(a, configured) >= cmp.Or(b, configured) {
		return a
	}
	return b
}

func unique(taken map[string]bool, name string) string {
	for n := 2; ; n++ {
		if !taken[name] {
			return name
		}
		if next := fmt.Sprintf("%s-%d", name, n); !taken[next] {
			return next
		}
	}
}

func pick[T any](is bool, yes, no T) T {
	if is {
		return yes
	}
	return no
}

// RootClosed is the closure target that work of a root comes too late for: it has ended and is not to be opened
// again. Nil when such work may be admitted; a root spec that is itself at work again opens its next generation when
// it is claimed.
func (s *State) RootClosed(root string) *schema.Item {
	t := s.Target(root)
	if t == nil || !schema.Ended(t.State) || t.Closure != nil && t.Closure.Reopen != "" {
		return nil
	}
	if spec := s.Items[schema.Key{Family: schema.FamilySpec, ID: root}]; spec != nil && !schema.Ended(spec.State) {
		return nil
	}
	return t
}

// LastEnded is the journal record that ended work of a lineage last, of work that holds a closure target open; 0 when
// none has.
func (v *View) LastEnded(root string) uint64 {
	var last uint64
	for id, f := range v.Families() {
		if len(f.HoldsOpen) > 0 {
			last = max(last, v.lineage.ended[rootFamily{root, id}])
		}
	}
	return last
}

// ClosedFor is the closure target that has closed the root of work that is to be admitted, or nil. Work that never
// holds a target open is never too late, and neither is the root spec itself.
func (v *View) ClosedFor(family, id string, l schema.Lineage) *schema.Item {
	if l.RootSpecID == "" || family == schema.FamilySpec && id == l.RootSpecID {
		return nil
	}
	if f := v.Family(family); f == nil || len(f.HoldsOpen) == 0 {
		return nil
	}
	if t := v.Target(l.RootSpecID); t != nil && Abandoned(t) {
		return t
	}
	return v.RootClosed(l.RootSpecID)
}

// TooLate says in words why work of a closed root is not admitted.
func TooLate(t *schema.Item) string {
	return fmt.Sprintf("root_closed: its root %s was %s; work that continues it is admitted when the root is opened again (millrace add-task --reopen, or millrace queue reopen %s)",
		t.ID, pick(t.State == schema.StateDone, "judged and closed", pick(schema.Ended(t.State), "abandoned", "being abandoned")), t.ID)
}

// MadeByRuntime says in words why nobody but the runtime makes items of a family.
func MadeByRuntime(f *schema.Family) string {
	if f.ID == schema.FamilyTarget {
		return "closure targets are opened by Millrace itself, when it claims a root spec: declare a spec, and it is judged in the end"
	}
	return fmt.Sprintf("only Millrace itself makes items of the family %s (made_by)", f.ID)
}

// Fixed reports whether an item is the root spec of an open closure target: what it is judged against does not change
// any more.
func (s *State) Fixed(it *schema.Item) bool {
	if it.Family != schema.FamilySpec {
		return false
	}
	t := s.Target(it.ID)
	return t != nil && !schema.Ended(t.State)
}

// ReopenRoot wishes for another generation of an ended closure target, so that work of its root is admitted again.
// The target opens as soon as no other one is open. It changes nothing, and says false, when the root has no target that
// ended.
func (m *Mutation) ReopenRoot(v *View, root, by, why string) bool {
	t := v.RootClosed(root)
	if t == nil || v.Items[schema.Key{Family: schema.FamilySpec, ID: root}] == nil {
		return false
	}
	t = t.Clone()
	if t.Closure == nil {
		t.Closure = &schema.Closure{}
	}
	t.Closure.Reopen, t.Updated = cmp.Or(why, "opened again by "+by), v.Now
	t.Note(schema.Note{At: v.Now, By: by, What: "to be opened again", Why: why})
	m.PutItem(t)
	return true
}

// OpenTarget opens the closure target of a root spec: its first generation, or one more than it had. contract holds
// what it is judged against, by ContractSpec and ContractIdea. It returns nil, and does nothing, while another
// target is open.
func (m *Mutation) OpenTarget(v *View, root *schema.Item, contract map[string][]byte) *schema.Item {
	if v.OpenTarget() != nil {
		return nil
	}
	t := v.freshTarget(root)
	for _, ending := range slices.Sorted(maps.Keys(contract)) {
		name := contractPath(root.ID, t.Generation, ending)
		m.PutFile(name, "", contract[ending])
		t.Closure.Contract = append(t.Closure.Contract, schema.File{Path: name, Size: int64(len(contract[ending])), Digest: schema.DigestOf(contract[ending])})
	}
	if idea := root.Lineage.RootIdeaID; idea != "" && contract[ContractIdea] == nil {
		t.Note(schema.Note{At: v.Now, By: "runtime", What: "is judged by its spec alone", Why: "nothing is kept of the idea " + idea})
	}
	return m.admitTarget(v, t)
}

// freshTarget is the next generation of a root's closure target, open, without contract and document.
func (v *View) freshTarget(root *schema.Item) *schema.Item {
	t := &schema.Item{SchemaVersion: schema.Version, Family: schema.FamilyTarget, ID: root.ID, State: schema.StateOpen, Generation: 1,
		Title: cmp.Or(root.Title, root.ID), Lineage: schema.Lineage{RootIdeaID: root.Lineage.RootIdeaID, RootSpecID: root.ID},
		CreatedAt: v.Now, CreatedBy: "runtime", Source: "runtime", Updated: v.Now, Closure: &schema.Closure{}}
	if was := v.Target(root.ID); was != nil {
		t.Generation, t.Notes, t.Attempts, t.Run, t.Last = was.Generation+1, slices.Clone(was.Notes), was.Attempts, was.Run, was.Last
		if was.Closure != nil {
			t.Closure.Reopened = was.Closure.Reopen
			t.Closure.Judged = was.Closure.Judged // what is new since is told by it, whatever the generation
		}
	}
	t.Path = v.DocumentPath(t, schema.StateOpen)
	return t
}

func (m *Mutation) admitTarget(v *View, t *schema.Item) *schema.Item {
	data := v.Registry.Render(v.TargetDocument(t))
	t.Document = schema.DigestOf(data)
	if was := v.Target(t.ID); was != nil {
		m.RemoveFile(was.Path, was.Document)
	}
	m.PutFile(t.Path, "", data)
	m.PutItem(t)
	m.Tell(Event{Type: EvOpened, Item: t.Key(), Plane: v.plane(t), To: t.State, Path: t.Path, Message: fmt.Sprintf("generation %d", t.Generation)})
	return t
}

// keptIdeas bounds how many generations of an idea are looked at for the newest that is there.
const keptIdeas = 16

// IdeaPath is where an idea is kept as it was admitted, each generation of its root spec once.
func IdeaPath(idea string, generation int) string {
	return fmt.Sprintf("ideas/%s@%d.md", idea, generation)
}

// Contract is what a root spec will be judged against: its document, which the caller has read, and the newest that
// is kept of the idea that it names. missing is what has to be asked for first.
func (v *View) Contract(root *schema.Item, spec []byte) (contract map[string][]byte, missing []Query) {
	contract = map[string][]byte{ContractSpec: spec}
	idea, generation := root.Lineage.RootIdeaID, root.Generation
	if idea == "" {
		return contract, nil
	}
	if own := v.Items[schema.Key{Family: schema.FamilySpec, ID: "idea-" + idea}]; own != nil {
		generation = own.Generation
	}
	for n := generation; n > max(0, generation-keptIdeas); n-- {
		q := AskFile(IdeaPath(idea, n))
		a, asked := v.Asked[q]
		if !asked {
			missing = append(missing, q)
		} else if a.Err == "" && a.Digest != "" && contract[ContractIdea] == nil {
			contract[ContractIdea] = a.Data
		}
	}
	return contract, missing
}

func contractPath(root string, generation int, ending string) string {
	return path.Join(JudgedDir, "contracts", fmt.Sprintf("%s@%d%s", root, generation, ending))
}

// VerdictPaths are where rubric, verdict and report of a root's generation are kept; n counts its verdicts.
func VerdictPaths(root string, generation, n int) (rubric, verdict, report string) {
	at := func(dir, extension string) string {
		return path.Join(JudgedDir, dir, fmt.Sprintf("%s@%d-%d%s", root, generation, n, extension))
	}
	return at("rubrics", ".md"), at("verdicts", ".json"), at("reports", ".md")
}

// TargetDocument is what the document of a closure target says before its next verdict.
func (v *View) TargetDocument(t *schema.Item) *schema.Document {
	rubric, verdict, report := VerdictPaths(t.ID, t.Generation, t.Closure.Verdicts+1)
	contract := []any{}
	for _, f := range t.Closure.Contract {
		contract = append(contract, f.Path)
	}
	fields := map[string]any{
		"closure_target_id": t.ID, "title": t.Title, "root_spec_id": t.ID, "generation": json.Number(strconv.Itoa(t.Generation)),
		"rubric_path": rubric, "verdict_path": verdict, "report_path": report, "contract_paths": contract,
	}
	if idea := t.Lineage.RootIdeaID; idea != "" {
		fields["root_idea_id"] = idea
	}
	return v.Registry.Admit(&schema.Document{Kind: schema.FamilyTarget, ID: t.ID, Fields: fields}, t.CreatedBy, t.CreatedAt)
}
