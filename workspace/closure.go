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

// ClosedFor is the closure target that has closed the root of work that is to be admitted, or nil. Work that never
// holds a target open is never too late, and neither is the root spec itself.
func (v *View) ClosedFor(family, id string, l schema.Lineage) *schema.Item {
	if l.RootSpecID == "" || family == schema.FamilySpec && id == l.RootSpecID {
		return nil
	}
	if f := v.Family(family); f == nil || len(f.HoldsOpen) == 0 {
		return nil
	}
	return v.RootClosed(l.RootSpecID)
}

// TooLate says in words why work of a closed root is not admitted.
func TooLate(t *schema.Item) string {
	return fmt.Sprintf("root_closed: its root %s was %s; work that continues it is admitted when the root is opened again (--reopen)",
		t.ID, pick(t.State == schema.StateDone, "judged and closed", "abandoned"))
}

// ReopenRoot wishes for another generation of an ended closure target, so that work of its root is admitted again.
// The target opens as soon as no other one is open. It changes nothing, and says false, when the root has no target that
// ended.
func (m *Mutation) ReopenRoot(v *View, root, by, why string) bool {
	t := v.RootClosed(root)
	if t == nil {
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

// Abandoned reports whether a closure target is being abandoned: it ends when the work of its lineage has.
func Abandoned(t *schema.Item) bool {
	return !schema.Ended(t.State) && t.Closure != nil && t.Closure.Verdict == schema.VerdictAbandoned
}

// OpenTarget opens the closure target of a root spec: its first generation, or one more than it had. contract holds
// what it is judged against, by ContractSpec and ContractIdea. It returns nil, and does nothing, while another
// target is open.
func (m *Mutation) OpenTarget(v *View, root *schema.Item, contract map[string][]byte) *schema.Item {
	if v.OpenTarget() != nil {
		return nil
	}
	was := v.Target(root.ID)
	t := &schema.Item{ID: root.ID, Title: cmp.Or(root.Title, root.ID), Generation: 1, Closure: &schema.Closure{}}
	t.Lineage = schema.Lineage{RootIdeaID: root.Lineage.RootIdeaID, RootSpecID: root.ID}
	if was != nil {
		t.Generation = was.Generation + 1
		if was.Closure != nil {
			t.Closure.Reopened = was.Closure.Reopen
		}
	}
	for _, ending := range slices.Sorted(maps.Keys(contract)) {
		name := contractPath(root.ID, t.Generation, ending)
		m.PutFile(name, "", contract[ending])
		t.Closure.Contract = append(t.Closure.Contract, schema.File{Path: name, Size: int64(len(contract[ending])), Digest: schema.DigestOf(contract[ending])})
	}
	doc := v.TargetDocument(t)
	it, data, err := v.NewItem(doc, "runtime")
	if err != nil {
		panic(err.Error()) // the plan takes closure targets, so it has their family; the head is our own
	}
	it.Generation, it.Closure, it.State = t.Generation, t.Closure, schema.StateOpen
	it.Path = v.DocumentPath(it, schema.StateOpen)
	if was != nil {
		it.Notes, it.Attempts, it.Run, it.Last = slices.Clone(was.Notes), was.Attempts, was.Run, was.Last
		m.RemoveFile(was.Path, was.Document)
	}
	m.PutFile(it.Path, "", data)
	m.PutItem(it)
	m.Tell(Event{Type: EvOpened, Item: it.Key(), Plane: v.plane(it), To: it.State, Path: it.Path,
		Message: fmt.Sprintf("generation %d", it.Generation)})
	return it
}

func contractPath(root string, generation int, ending string) string {
	return path.Join(ArbiterDir, "contracts", fmt.Sprintf("%s@%d%s", root, generation, ending))
}

// VerdictPaths are where rubric, verdict and report of a root's generation are kept; n counts its verdicts.
func VerdictPaths(root string, generation, n int) (rubric, verdict, report string) {
	at := func(dir, extension string) string {
		return path.Join(ArbiterDir, dir, fmt.Sprintf("%s@%d-%d%s", root, generation, n, extension))
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
	doc := &schema.Document{Kind: schema.FamilyTarget, ID: t.ID, Fields: fields}
	created, by := t.CreatedAt, t.CreatedBy
	if created.IsZero() {
		created, by = v.Now, "runtime"
	}
	return v.Registry.Admit(doc, by, created)
}
