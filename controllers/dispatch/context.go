package dispatch

import (
	"fmt"
	"path"
	"strings"

	"millrace/schema"
	"millrace/schema/compile"
	"millrace/workspace"
)

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
	var named []string
	for i, m := range all {
		where := code(path.Join(workspace.Folder, m.Path))
		if m.Why != "" {
			named = append(named, fmt.Sprintf("- %s: %s, not shown: %s", m.title(), where, inline(m.Why, showMessage)))
			continue
		}
		if i > 0 {
			p.line("")
		}
		switch {
		case m.log:
			p.line("The check %s failed after %s. The end of its log, %s:\n", inline(m.Name, showTitle), m.From, where)
		case m.Shown < m.Size:
			p.line("%s, its first %d of %d bytes, %s:\n", m.title(), m.Shown, m.Size, where)
		default:
			p.line("%s, %s:\n", m.title(), where)
		}
		p.quote(m.text)
	}
	if len(named) > 0 && len(named) < len(all) {
		p.line("")
	}
	p.list(showNames, named, "which `"+schema.ContextFile+"` in the request folder lists")
}

func (m *material) title() string {
	name := inline(m.Name, showTitle)
	if m.From == "" {
		return name
	}
	return name + " of " + m.From
}

// offering names the skills that are laid out, and what may be proposed.
func (s *stage) offering(p *page, req *schema.Request, folder string, skills []string) {
	if len(skills) > 0 {
		p.head("Skills")
		p.line("Read the first before you begin, and another when what it says fits:\n")
		all := make([]string, len(skills))
		for i, file := range skills {
			head, _ := compile.ReadSkillHead(s.plan.Assets[file])
			all[i] = "- " + code(folder+file) + colon(head.Description)
		}
		p.list(showSkills, all, "beside them")
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
