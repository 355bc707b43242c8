package dispatch

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"time"

	"millrace/schema"
	"millrace/workspace"
)

// An entry is one line of the history of the item, of its lineage or of work that it rests on.
type entry struct {
	At   time.Time  `json:"at"`
	Item schema.Key `json:"item"`
	What string     `json:"what"`
	Why  string     `json:"why,omitempty"`

	place int  // among those of its item
	step  bool // the outcome of a stage
}

// happened tells what has happened in this run so far, and lately in the lineage.
func (s *stage) happened(p *page) {
	if len(s.run.Steps) == 0 && len(s.past) == 0 && len(s.own) == 0 {
		return
	}
	p.head("What has happened so far")
	const limit = showHistory / 2
	if n := len(s.run.Steps) - maxSteps; n > 0 {
		p.line("The last %d of %d stages of this run; %s lists all.\n", maxSteps, len(s.run.Steps), code(path.Join(workspace.Folder, workspace.TraceFile(s.run.ID))))
	}
	var steps []string
	for i, st := range s.run.Steps {
		if i >= len(s.run.Steps)-maxSteps {
			steps = append(steps, fmt.Sprintf("%d. %s: %s%s", i+1, st.Node, inline(st.Why, showMessage), colon(st.Message)))
		}
	}
	slices.Reverse(steps) // where they do not fit, the last ones are told
	steps = within(limit, steps)
	slices.Reverse(steps)
	for _, text := range steps {
		p.line("%s", text)
	}
	var lately []string
	for _, e := range slices.Concat(s.own, s.past) {
		if e.step && e.Item == s.item.Key() && len(s.run.Steps) > 0 {
			continue // the steps have told it
		}
		lately = append(lately, fmt.Sprintf("- %s %s: %s%s", e.At.Format(time.RFC3339), e.Item, inline(e.What, showTitle), colon(e.Why)))
	}
	if len(lately) == 0 {
		return
	}
	if len(steps) > 0 {
		p.line("")
	}
	p.line("Lately, with this work item and around it, the newest first:\n")
	slices.Reverse(lately)
	p.list(limit, lately, "which `"+schema.ContextFile+"` in the request folder lists")
}

// within are the first lines that fit into a limit.
func within(limit int, lines []string) []string {
	for i, text := range lines {
		if limit -= len(text) + 1; limit < 0 {
			return lines[:i]
		}
	}
	return lines
}

// recall gathers the newest history of the item, of what it depends on and descends from, and of all that descends
// from the same root; and the latest interventions of the item itself that are not among it. Both oldest first.
func (s *stage) recall(v *workspace.View) (past, own []entry) {
	var all newest
	kin := relatives(s.item)
	for _, k := range kin {
		if it := v.Items[k]; it != nil {
			all.add(it)
		}
	}
	if root := s.item.Lineage.RootSpecID; root != "" {
		for it := range v.Lineage(root) {
			if !slices.Contains(kin, it.Key()) {
				all.add(it)
			}
		}
	}
	for i := max(0, len(s.item.Notes)-3); i < len(s.item.Notes); i++ {
		if e := noted(s.item, i); !slices.Contains(all, e) {
			own = append(own, e)
		}
	}
	return all, own
}

// newest are the last entries of all that is added, in whatever order.
type newest []entry

func (all *newest) add(it *schema.Item) {
	for i := range slices.Backward(it.Notes) {
		if all.beyond(it.Notes[i].At) || !all.put(noted(it, i)) {
			break // they are in order of time
		}
	}
	if o := it.Last; o != nil && !all.beyond(o.At) {
		all.put(entry{At: o.At.UTC(), Item: it.Key(), What: o.Node + ": " + o.Outcome, Why: o.Failure, place: len(it.Notes), step: true})
	}
}

func noted(it *schema.Item, i int) entry {
	n := it.Notes[i]
	return entry{At: n.At.UTC(), Item: it.Key(), What: n.What + " by " + n.By, Why: n.Why, place: i}
}

// beyond reports whether a time is before that of all that are kept already. Most of a large lineage is.
func (all *newest) beyond(at time.Time) bool {
	return len(*all) == maxHistory && at.Before((*all)[0].At)
}

// put reports whether the entry is among the newest so far.
func (all *newest) put(e entry) bool {
	i, _ := slices.BinarySearchFunc(*all, e, func(a, b entry) int {
		return cmp.Or(a.At.Compare(b.At), workspace.CompareKeys(a.Item, b.Item), cmp.Compare(a.place, b.place))
	})
	if i == 0 && len(*all) == maxHistory {
		return false
	}
	*all = slices.Insert(*all, i, e)
	*all = (*all)[max(0, len(*all)-maxHistory):]
	return true
}

func relatives(it *schema.Item) []schema.Key {
	keys := []schema.Key{it.Key()}
	for _, d := range it.DependsOn {
		keys = append(keys, schema.Key{Family: it.Family, ID: d})
	}
	for _, k := range ancestors(it) {
		if k != it.Key() {
			keys = append(keys, k)
		}
	}
	return compact(keys)
}

// compact drops repetitions and keeps the order.
func compact(keys []schema.Key) []schema.Key {
	var out []schema.Key
	for _, k := range keys {
		if !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}
