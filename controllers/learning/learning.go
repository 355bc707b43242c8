// Package learning owns the moment at which a skill changes: what a stage has decided on is written below
// skills/learned/ when no other plane works, so that nobody's tools change under their hands.
package learning

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"millrace/reconcile"
	"millrace/schema"
	"millrace/workspace"
)

const name = "learning"

type controller struct{}

// New makes the controller.
func New() reconcile.Controller { return controller{} }

func (controller) Name() string { return name }

// Reconcile makes one decided change, the oldest decision first. A change is made whole or not at all: one whose
// files are no longer those that were judged, or that would overwrite what a person wrote, is not made, and the
// item says so.
func (controller) Reconcile(v *workspace.View) reconcile.Proposal {
	it := next(v)
	if it == nil || v.LearnedWaits(it) != nil {
		return reconcile.Proposal{}
	}
	c := &change{View: v, item: it.Clone(), decided: it.Learned, files: map[string][]byte{}, lies: map[string]schema.Digest{}}
	problem := c.look()
	if len(c.asks) > 0 {
		return reconcile.Proposal{Observe: c.asks}
	}
	if problem != "" {
		return reconcile.Proposal{Mutation: c.decline(problem)}
	}
	return reconcile.Proposal{Mutation: c.make()}
}

// next is the item whose decision is the oldest: requests are numbered by time.
func next(v *workspace.View) *schema.Item {
	var first *schema.Item
	for _, k := range v.Learned() {
		if it := v.Items[k]; first == nil || it.Learned.Request < first.Learned.Request {
			first = it
		}
	}
	return first
}

// A change is one skill as it shall be, held against what lies there.
type change struct {
	*workspace.View
	item    *schema.Item
	decided *schema.Learned
	files   map[string][]byte        // the skill's files, by path below the workspace folder
	lies    map[string]schema.Digest // what lies at each path in question; "": nothing
	asks    []workspace.Query
	rests   []workspace.Input // what a refusal rests on: it may have been read before the last change
}

// folder is where the skill lies.
func (c *change) folder() string { return path.Join(workspace.LearnedDir, c.decided.Skill) }

// proposed is where the stage wrote a file of the update.
func (c *change) proposed(file string) string {
	return path.Join(workspace.RequestDir(c.decided.Run, c.decided.Request), file)
}

// ask finds an answer, or notes that it is wanted.
func (c *change) ask(file string) (workspace.Answer, bool) {
	q := workspace.AskFile(file)
	a, read := c.Asked[q]
	if !read {
		c.asks = append(c.asks, q)
	}
	return a, read
}

// look reads what was decided and what lies there; it says why the change must not be made.
func (c *change) look() (problem string) {
	top := c.top()
	for _, f := range c.decided.Files {
		if a, read := c.ask(c.proposed(f.Path)); !read {
			continue
		} else if a.Err != "" || a.Digest != f.Digest {
			problem = c.proposed(f.Path) + " is not what was decided on"
		} else {
			c.files[path.Join(c.folder(), strings.TrimPrefix(f.Path, top))] = a.Data
		}
	}
	for _, p := range slices.Sorted(maps.Keys(c.places())) {
		a, read := c.ask(p)
		if !read {
			continue
		}
		c.lies[p] = a.Digest
		was, ours := c.Control.Learned[p]
		_, wanted := c.files[p]
		switch {
		case a.Err != "":
			problem = fmt.Sprintf("%s cannot be replaced: %s", p, a.Err)
		case a.Digest == "", ours && was == a.Digest, wanted && schema.DigestOf(c.files[p]) == a.Digest:
		case wanted:
			problem = p + " was changed by hand"
			c.rests = append(c.rests, workspace.Input{Path: p, Digest: a.Digest})
		}
	}
	return problem
}

// top is the folder in the request that the skill's files lie in: the one of its SKILL.md.
func (c *change) top() string {
	top := ""
	for _, f := range c.decided.Files {
		if dir, file := path.Split(f.Path); file == "SKILL.md" && (top == "" || len(dir) < len(top)) {
			top = dir
		}
	}
	return top
}

// places are the files that the change concerns: those of the skill, and those that the runtime wrote for it
// before.
func (c *change) places() map[string]bool {
	places := map[string]bool{}
	top := c.top()
	for _, f := range c.decided.Files {
		places[path.Join(c.folder(), strings.TrimPrefix(f.Path, top))] = true
	}
	for p := range c.Control.Learned {
		if strings.HasPrefix(p, c.folder()+"/") {
			places[p] = true
		}
	}
	return places
}

// make writes the skill. That the runtime wrote it is on record with it: nobody takes it for an agent's edit.
func (c *change) make() *workspace.Mutation {
	l := c.decided
	m := &workspace.Mutation{By: name, Why: fmt.Sprintf("skill %s is as %s decided", l.Skill, c.item.Key())}
	control := c.Control.Clone()
	control.SchemaVersion = schema.Version
	if control.Learned == nil {
		control.Learned = map[string]schema.Digest{}
	}
	changed := 0
	for _, p := range slices.Sorted(maps.Keys(c.lies)) {
		data, wanted := c.files[p]
		was := c.lies[p]
		m.Expect = append(m.Expect, workspace.Input{Path: p, Digest: was})
		switch {
		case !wanted && was != "" && was == control.Learned[p]:
			m.RemoveFile(p, was)
			control.Learned[p] = ""
			changed++
		case !wanted: // a person's, or gone
		case was != schema.DigestOf(data):
			m.PutFile(p, was, data)
			changed++
			fallthrough
		default:
			control.Learned[p] = schema.DigestOf(data)
		}
	}
	m.PutControl(control)
	c.settle(m, "skill "+l.Skill+" changed", fmt.Sprintf("%d files of %s", changed, c.folder()))
	m.Tell(workspace.Event{Type: workspace.EvLearned, Item: c.item.Key(), Run: l.Run, Request: l.Request, Path: c.folder(),
		Message: fmt.Sprintf("%d files changed", changed)})
	return m
}

// decline leaves everything as it is. The update stays where the stage wrote it.
func (c *change) decline(problem string) *workspace.Mutation {
	l := c.decided
	m := &workspace.Mutation{By: name, Why: fmt.Sprintf("skill %s does not change: %s", l.Skill, problem), Expect: c.rests}
	kept := c.proposed(c.top())
	c.settle(m, "skill "+l.Skill+" not changed", fmt.Sprintf("%s; the update is kept in %s", problem, kept))
	m.Tell(workspace.Event{Type: workspace.EvUnlearned, Item: c.item.Key(), Run: l.Run, Request: l.Request, Path: kept, Message: problem})
	return m
}

// settle takes the change off the item, with a word on what became of it.
func (c *change) settle(m *workspace.Mutation, what, why string) {
	c.item.Learned = nil
	c.item.Updated = c.Now
	c.item.Note(schema.Note{At: c.Now, By: name, What: what, Why: why})
	m.PutItem(c.item)
}
