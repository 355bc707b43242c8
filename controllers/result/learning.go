package result

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"millrace/schema"
	"millrace/workspace"
)

const (
	maxSkillFiles = 64         // of a skill
	skillHead     = "SKILL.md" // the one that each must have
)

// skillName is what a folder or file of a skill may be called.
var skillName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// decideLearn holds the decision against the files that the stage wrote for it.
func (h *harvest) decideLearn() (key string, refused *schema.Verdict) {
	no := func(format string, args ...any) (string, *schema.Verdict) {
		return "", refuse(schema.FailInvalidArtifact, format, args...)
	}
	var d schema.CuratorDecision
	a, there := h.written(schema.DefCurator, &d)
	if !there {
		return "", h.without(schema.DefCurator)
	}
	file := a.File
	switch {
	case d.Decision != "apply":
		return no("%s: decision %s contradicts %s, which changes a skill", file, d.Decision, h.c.Claim.Outcome)
	case !schema.ValidID(d.TargetSkillID):
		return no("%s: target_skill_id must name the skill that changes", file)
	}
	if asked := h.asked(); asked != "" && asked != d.TargetSkillID {
		return no("%s changes skill %s, and the request is about %s", file, d.TargetSkillID, asked)
	}
	files := h.update()
	if len(files) > maxSkillFiles {
		return no("the skill has %d files, at most %d are taken", len(files), maxSkillFiles)
	}
	named := map[string]bool{}
	for rel, f := range files {
		named[rel] = true
		for part := range strings.SplitSeq(rel, "/") {
			if !skillName.MatchString(part) {
				return no("%s: a skill's files and folders have names of letters, digits, '.', '_' and '-', and do not begin with '.'", f.Path)
			}
		}
		if len(rel) > 500 {
			return no("%s: its path is too long", f.Path)
		}
		if f.Digest == "" || f.Size > schema.MaxFile {
			return no("%s has %d bytes, at most %d are taken", f.Path, f.Size, schema.MaxFile)
		}
	}
	if !named[skillHead] {
		return no("the skill has no %s", skillHead)
	}
	for _, c := range d.Changes {
		if !named[c.Path] {
			return no("%s: changes %s, which is not among the skill's files", file, c.Path)
		}
	}
	return "", nil
}

// learn remembers what waits for its moment: the skill is written when no other plane works.
func (h *harvest) learn() {
	var d schema.CuratorDecision
	h.written(schema.DefCurator, &d)
	files := h.update()
	l := &schema.Learned{Skill: d.TargetSkillID, Run: h.run.ID, Request: h.step.Request}
	for _, rel := range slices.Sorted(maps.Keys(files)) {
		l.Files = append(l.Files, files[rel])
	}
	if old := h.item.Learned; old != nil {
		h.note(fmt.Sprintf("the change of skill %s that request %s decided on was overtaken before it was made", old.Skill, old.Request))
	}
	h.item.Learned = l
}

// asked is the skill that the item's document names; "" when it names none.
func (h *harvest) asked() string {
	q := workspace.AskFile(h.item.Path)
	a, read := h.Asked[q]
	if !read {
		h.asks = append(h.asks, q)
		return ""
	}
	doc, _ := h.Registry.ParseStored(h.item.Family, h.item.Path, a.Data)
	if doc == nil || a.Digest != h.item.Document { // what a hand made of it since, the agent has not seen
		return ""
	}
	asked, _ := doc.Fields["target_skill_id"].(string)
	return asked
}

// update lists the files of the skill as it shall be, by their paths in it, with the folder they lie in: the one
// folder that the stage's kind writes.
func (h *harvest) update() map[string]schema.File {
	folder := ""
	for _, a := range h.kind.Writes {
		if strings.HasSuffix(a.File, "/") {
			folder = a.File
		}
	}
	files := map[string]schema.File{}
	for _, f := range h.c.Artifacts {
		if rel, ok := strings.CutPrefix(f.Path, folder); ok && folder != "" {
			files[rel] = f
		}
	}
	return files
}
