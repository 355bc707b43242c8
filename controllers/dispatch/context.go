package dispatch

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"time"

	"millrace/schema"
	"millrace/schema/compile"
	"millrace/workspace"
)

// history tells what has happened in this run so far.
func (s *stage) history(p *page) {
	if len(s.run.Steps) == 0 && len(s.item.Notes) == 0 {
		return
	}
	p.head("What has happened so far")
	for _, n := range lastNotes(s.item) {
		p.line("- %s: %s by %s%s", n.At.Format(time.RFC3339), n.What, n.By, colon(n.Why))
	}
	for i, st := range s.run.Steps {
		p.line("%d. %s: %s%s", i+1, st.Node, st.Why, colon(st.Message))
	}
}

func colon(text string) string {
	if text == "" {
		return ""
	}
	return ": " + strings.Join(strings.Fields(text), " ")
}

// reading shows what earlier stages left.
func (s *stage) reading(p *page) {
	if len(s.shown) == 0 {
		return
	}
	p.head("What earlier stages left")
	p.materials(s.shown)
}

// materials shows files, or names them where they are not shown.
func (p *page) materials(all []*material) {
	for i, m := range all {
		if i > 0 {
			p.line("")
		}
		where := "`" + path.Join(workspace.Folder, m.Path) + "`"
		switch {
		case m.Why != "":
			p.line("%s: %s, not shown: %s", m.title(), where, m.Why)
			continue
		case m.log:
			p.line("The check %s failed after %s. The end of its log, %s:\n", m.Name, m.From, where)
		case m.Shown < m.Size:
			p.line("%s, its first %d of %d bytes, %s:\n", m.title(), m.Shown, m.Size, where)
		default:
			p.line("%s, %s:\n", m.title(), where)
		}
		p.quote(m.text)
	}
}

func (m *material) title() string {
	if m.From == "" {
		return m.Name
	}
	return m.Name + " of " + m.From
}

// offering names the skills that are laid out, and what may be proposed.
func (s *stage) offering(p *page, req *schema.Request, folder string, skills []string) {
	if len(skills) > 0 {
		p.head("Skills")
		p.line("Read the first before you begin, and another when what it says fits:\n")
		for _, file := range skills {
			head, _ := compile.ReadSkillHead(s.plan.Assets[file])
			p.line("- `%s%s`%s", folder, file, colon(head.Description))
		}
		if s.plan.Inputs[schema.SkillsIndex] != "" {
			p.line("\n`%s` says which others there are.", path.Join(workspace.Folder, schema.SkillsIndex))
		}
	}
	if emits := s.plan.Stages[req.Stage].Emits; len(emits) > 0 {
		p.head("Proposing work")
		p.line("Write one document per file into `%s%s/`, of kind %s, in the form of the work item above.", folder,
			schema.OutboxFolder, strings.Join(emits, " or "))
		p.line("Leave out lineage fields: Millrace fills them in. It admits or declines each document when you end.")
	}
}

// A manifest is context.json: what the agent was shown, what was withheld and why.
type manifest struct {
	SchemaVersion int           `json:"schema_version"`
	Request       string        `json:"request"`
	Plan          schema.Digest `json:"plan"`
	Item          schema.Key    `json:"item"`
	Generation    int           `json:"generation"`
	Document      schema.Digest `json:"document"`
	Entrypoint    file          `json:"entrypoint"`
	Skills        []file        `json:"skills,omitempty"`
	Shown         []*material   `json:"shown,omitempty"`
	Withheld      []*material   `json:"withheld,omitempty"`
	History       []entry       `json:"history,omitempty"`
}

type file struct {
	Path   string        `json:"path"`
	Digest schema.Digest `json:"digest"`
}

// An entry is one line of the history of the item, of its lineage or of work that it rests on.
type entry struct {
	At   time.Time  `json:"at"`
	Item schema.Key `json:"item"`
	What string     `json:"what"`
	Why  string     `json:"why,omitempty"`

	place int // among those of its item
}

// maxHistory is how many entries of the lineage's history a stage is shown.
const maxHistory = 10

func (s *stage) context(v *workspace.View, req *schema.Request, skills []string) manifest {
	n := s.plan.Node(req.Plane, req.Node)
	c := manifest{
		SchemaVersion: schema.Version, Request: req.ID, Plan: req.Plan, Item: req.Item, Generation: req.Generation,
		Document: s.item.Document, Entrypoint: s.asset(n.Entrypoint), History: s.lineage(v),
	}
	for _, path := range skills {
		c.Skills = append(c.Skills, s.asset(path))
	}
	all := s.shown
	if s.closing != nil {
		all = slices.Concat(s.closing.contract, s.closing.before, s.shown)
	}
	for _, m := range all {
		if m.Why == "" {
			c.Shown = append(c.Shown, m)
		} else {
			c.Withheld = append(c.Withheld, m)
		}
	}
	return c
}

func (s *stage) asset(path string) file {
	return file{path, schema.DigestOf([]byte(s.plan.Assets[path]))}
}

// lineage gathers the newest history of the item, of what it depends on and descends from, and of all that descends
// from the same root, oldest first.
func (s *stage) lineage(v *workspace.View) []entry {
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
	return all
}

// newest are the last entries of all that is added, in whatever order.
type newest []entry

func (all *newest) add(it *schema.Item) {
	for i, n := range it.Notes {
		all.put(entry{At: n.At, Item: it.Key(), What: n.What + " by " + n.By, Why: n.Why, place: i})
	}
	if o := it.Last; o != nil {
		all.put(entry{At: o.At, Item: it.Key(), What: o.Node + ": " + o.Outcome, Why: o.Failure, place: len(it.Notes)})
	}
}

func (all *newest) put(e entry) {
	i, _ := slices.BinarySearchFunc(*all, e, func(a, b entry) int {
		return cmp.Or(a.At.Compare(b.At), workspace.CompareKeys(a.Item, b.Item), cmp.Compare(a.place, b.place))
	})
	if i == 0 && len(*all) == maxHistory {
		return
	}
	*all = slices.Insert(*all, i, e)
	*all = (*all)[max(0, len(*all)-maxHistory):]
}

func relatives(it *schema.Item) []schema.Key {
	keys := []schema.Key{it.Key()}
	for _, d := range it.DependsOn {
		keys = append(keys, schema.Key{Family: it.Family, ID: d})
	}
	l := it.Lineage
	for _, k := range []schema.Key{{Family: it.Family, ID: l.ParentTaskID}, {Family: schema.FamilySpec, ID: l.SpecID},
		{Family: schema.FamilySpec, ID: l.RootSpecID}, {Family: schema.FamilyIncident, ID: l.IncidentID}} {
		if k.ID != "" && k != it.Key() {
			keys = append(keys, k)
		}
	}
	return compact(keys)
}

func lastNotes(it *schema.Item) []schema.Note {
	return it.Notes[max(0, len(it.Notes)-3):]
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
