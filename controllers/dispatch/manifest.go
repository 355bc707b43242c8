package dispatch

import (
	"fmt"
	"path"
	"slices"

	"millrace/schema"
	"millrace/workspace"
)

// A manifest is context.json: what the agent was shown, what was withheld and why.
type manifest struct {
	SchemaVersion int             `json:"schema_version"`
	Request       string          `json:"request"`
	Plan          schema.Digest   `json:"plan"`
	Item          schema.Key      `json:"item"`
	Generation    int             `json:"generation"`
	Document      schema.Digest   `json:"document"`
	Prompt        asset           `json:"prompt"`
	Sections      []section       `json:"sections"` // of the prompt, in order: together they are all of it
	Entrypoint    asset           `json:"entrypoint"`
	Skills        []asset         `json:"skills,omitempty"` // laid out in the request folder; the prompt names them
	Resumed       *schema.Session `json:"resumed,omitempty"`
	Shown         []*material     `json:"shown,omitempty"`
	Withheld      []*material     `json:"withheld,omitempty"`
	Contract      []schema.File   `json:"contract,omitempty"`      // that the whole lineage is judged by, where the prompt names it
	Lineage       []*relative     `json:"lineage,omitempty"`       // whom the prompt names, and what the work item rests on
	Interventions []entry         `json:"interventions,omitempty"` // the item's own latest that the history does not have
	History       []entry         `json:"history,omitempty"`       // the last of the item, its lineage and what it rests on
}

// An asset is a text of the frozen plan, or the prompt itself.
type asset struct {
	Path   string        `json:"path"`
	Digest schema.Digest `json:"digest"`
	Size   int           `json:"bytes"`
}

func (s *stage) manifest(req *schema.Request, p *page, skills []string) manifest {
	n := s.plan.Node(req.Plane, req.Node)
	text := p.String()
	c := manifest{
		SchemaVersion: schema.Version, Request: req.ID, Plan: req.Plan, Item: req.Item, Generation: req.Generation,
		Document: s.item.Document, Prompt: asset{schema.PromptFile, schema.DigestOf([]byte(text)), len(text)}, Sections: p.sections,
		Entrypoint: s.asset(n.Entrypoint), Resumed: req.Session, Interventions: s.own, History: s.past,
	}
	for _, path := range skills {
		c.Skills = append(c.Skills, s.asset(path))
	}
	all := []*material{s.work}
	if l := s.closing; l != nil {
		all = slices.Concat(all, l.contract, l.before, []*material{l.evidence})
	}
	all = slices.Concat(all, s.shown, s.aside, checked(req))
	if k := s.kin; k != nil {
		c.Lineage, c.Contract = k.all, k.contract
		if k.unnamed > 0 {
			all = append(all, &material{Name: "lineage", Why: fmt.Sprintf("%d more siblings are counted and not named", k.unnamed)})
		}
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

// checked are the logs of the checks that are run before the agent: there are none when its prompt is made.
func checked(req *schema.Request) []*material {
	if !req.ChecksBefore {
		return nil
	}
	dir := workspace.RequestDir(req.Run, req.ID)
	return []*material{{Name: "checks before", Path: path.Join(dir, schema.ChecksFile), Why: later},
		{Name: "their logs", Path: path.Join(dir, schema.ChecksFolder) + "/", Why: later}}
}

func (s *stage) asset(path string) asset {
	data := []byte(s.plan.Assets[path])
	return asset{path, schema.DigestOf(data), len(data)}
}
