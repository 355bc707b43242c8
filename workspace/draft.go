package workspace

import (
	"slices"

	"millrace/schema"
)

// A Draft is items as a mutation in the making leaves them: what it has changed is found changed. What
// an admitted document says about other items is carried out here, whichever door it came through.
type Draft struct {
	v     *View
	m     *Mutation
	items map[schema.Key]*schema.Item
	order []schema.Key
}

// Draft begins one for a mutation.
func (v *View) Draft(m *Mutation) *Draft {
	return &Draft{v: v, m: m, items: map[schema.Key]*schema.Item{}}
}

// Changed reports whether the draft has changed an item.
func (d *Draft) Changed(k schema.Key) bool { return d.items[k] != nil }

// Item finds an item as the draft has left it; nil when there is none.
func (d *Draft) Item(k schema.Key) *schema.Item {
	if it := d.items[k]; it != nil {
		return it
	}
	return d.v.Items[k]
}

// Change takes an item that there is for changing.
func (d *Draft) Change(k schema.Key) *schema.Item {
	if it := d.items[k]; it != nil {
		return it
	}
	it := d.v.Items[k].Clone()
	d.Put(it)
	return it
}

// Put adds an item.
func (d *Draft) Put(it *schema.Item) {
	if d.items[it.Key()] == nil {
		d.order = append(d.order, it.Key())
	}
	it.Updated = d.v.Now
	d.items[it.Key()] = it
}

// Write puts every changed item into the mutation, once.
func (d *Draft) Write() {
	for _, k := range d.order {
		d.m.PutItem(d.items[k])
	}
}

// End moves an item that is not active to an ended state.
func (d *Draft) End(it *schema.Item, state, by string) {
	to := d.v.DocumentPath(it, state)
	d.m.MoveFile(it.Path, to, it.Document)
	it.Path, it.State, it.EndedBy, it.EndedSeq, it.Blocked, it.Raised = to, state, by, d.v.Seq+1, nil, ""
}

// Needs is what an item of the document depends on: what the document names, and the items that say
// they block it.
func (d *Draft) Needs(doc *schema.Document) []string {
	k := doc.Key()
	var ids []string
	if fam := d.v.Family(k.Family); fam != nil && fam.Dependency != "" {
		ids = doc.IDs(fam.Dependency)
	}
	var blockers []string
	for _, b := range d.v.Blockers(k) {
		blockers = append(blockers, b.ID)
	}
	for _, b := range d.order {
		if b.Family == k.Family && slices.Contains(d.items[b].Blocks, k.ID) {
			blockers = append(blockers, b.ID)
		}
	}
	slices.Sort(blockers)
	for _, id := range blockers {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Cycle finds the way on which a new item, with what its document says of others, would depend on
// itself; nil when there is none. Of more items it is known that the new one takes their place.
func (d *Draft) Cycle(it *schema.Item, doc *schema.Document, more ...string) []schema.Key {
	k, blocks := it.Key(), doc.IDs("blocks")
	gone := slices.DeleteFunc(append(doc.IDs("supersedes"), more...), func(id string) bool {
		old := d.Item(schema.Key{Family: k.Family, ID: id})
		return old == nil || !movable(old)
	})
	needs := func(at schema.Key) []string {
		if at == k {
			return it.DependsOn
		}
		var ids []string
		if other := d.Item(at); other != nil && !schema.Ended(other.State) {
			ids = other.DependsOn
		}
		if slices.Contains(blocks, at.ID) {
			ids = append(slices.Clone(ids), k.ID)
		}
		return ids
	}
	seen := map[schema.Key]bool{}
	var walk func(at schema.Key) []schema.Key
	walk = func(at schema.Key) []schema.Key {
		for _, id := range needs(at) {
			next := schema.Key{Family: k.Family, ID: id}
			if next == k || at != k && slices.Contains(gone, id) { // it takes their place
				return []schema.Key{at, k}
			}
			if seen[next] {
				continue
			}
			seen[next] = true
			if way := walk(next); way != nil {
				return append([]schema.Key{at}, way...)
			}
		}
		return nil
	}
	return walk(k)
}

// Arrange does what the item's document says about others: those that it blocks wait for it, those
// that it supersedes are ended and it takes their place. by is who says so.
func (d *Draft) Arrange(it *schema.Item, doc *schema.Document, by string) {
	it.Blocks = doc.IDs("blocks")
	for _, id := range it.Blocks {
		k := schema.Key{Family: it.Family, ID: id}
		if other := d.Item(k); other != nil && movable(other) && !slices.Contains(other.DependsOn, it.ID) {
			other = d.Change(k)
			other.DependsOn = append(other.DependsOn, it.ID)
		}
	}
	for _, id := range doc.IDs("supersedes") {
		d.Supersede(schema.Key{Family: it.Family, ID: id}, []string{it.ID}, it.ID, by, "superseded by "+it.ID)
	}
}

// Supersede ends an item that others of its family take the place of: what waits for it waits for all of them. ended
// is what Item.EndedBy says, by is who says so.
func (d *Draft) Supersede(old schema.Key, ids []string, ended, by, why string) {
	if was := d.Item(old); was == nil || slices.Contains(ids, old.ID) || !movable(was) {
		return
	}
	it := d.Change(old)
	d.End(it, schema.StateSuperseded, ended)
	it.Note(schema.Note{At: d.v.Now, By: by, What: why})
	e := Event{Type: EvSuperseded, Item: old, To: it.State, Path: it.Path, Message: why}
	if fam := d.v.Family(old.Family); fam != nil {
		e.Plane = fam.Plane
	}
	d.m.Tell(e)
	for _, k := range d.v.Dependants(old) {
		if dep := d.Item(k); movable(dep) && !slices.Contains(ids, k.ID) {
			dep = d.Change(k)
			dep.DependsOn = replaced(dep.DependsOn, old.ID, ids)
		}
	}
}

// replaced is a list with others in one id's place, naming each once.
func replaced(ids []string, old string, by []string) []string {
	var out []string
	for _, id := range ids {
		in := []string{id}
		if id == old {
			in = by
		}
		for _, id := range in {
			if !slices.Contains(out, id) {
				out = append(out, id)
			}
		}
	}
	return out
}

// movable reports whether an item may still be rearranged: it neither runs nor has ended.
func movable(it *schema.Item) bool {
	return it.State == schema.StateQueue || it.State == schema.StateBlocked
}
