package compile

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"millrace/schema"
)

// embed takes the bytes of entrypoints and skills into the plan, and holds them to what agents need of them.
func (c *compiler) embed() {
	lint := linter{c.src.Files, &c.report, &c.advice}
	for _, plane := range slices.Sorted(maps.Keys(c.plan.Graphs)) {
		graph := c.plan.Graphs[plane]
		for _, name := range slices.Sorted(maps.Keys(graph.Nodes)) {
			node := graph.Nodes[name]
			at, subj := c.assets.at.name("graphs", graph.ID, "nodes", name), subject("graph", graph.ID)
			if c.entrypoint(node.Entrypoint, at, subj, "nodes."+name) {
				c.checkArtifacts(node)
				for _, file := range lint.entrypoint(node.Entrypoint, c.plan.Stages[node.Stage]) {
					c.inputs[file] = schema.DigestOf(c.src.Files[file])
				}
			}
			for _, skill := range node.Skills {
				if c.skill(skill, at, subj, "nodes."+name) {
					lint.skill(skill)
				}
			}
		}
	}
	if data, there := c.src.Files[schema.SkillsIndex]; there {
		c.inputs[schema.SkillsIndex] = schema.DigestOf(data) // prompts name it, and agents read it where it lies
		lint.paths(schema.SkillsIndex, "the index")
	}
}

func (c *compiler) entrypoint(name string, at place, subject, field string) bool {
	if !strings.HasPrefix(name, "entrypoints/") || path.Ext(name) != ".md" || path.Clean(name) != name {
		c.report.errorAt(at, subject, field, fmt.Sprintf("%q is no entrypoint", name), "an entrypoint is a .md file below entrypoints/")
		return false
	}
	data, there := c.src.Files[name]
	switch {
	case !there:
		c.report.errorAt(at, subject, field, fmt.Sprintf("its entrypoint %s does not exist", name), "write it, or name another one: entrypoint: \"entrypoints/…\"")
		return false
	case !utf8.Valid(data):
		c.report.errorAt(place{path: name}, "", "", "the file is not UTF-8 text", "")
		return false
	}
	c.plan.Assets[name], c.inputs[name] = string(data), schema.DigestOf(data)
	return true
}

// skill takes a skill with every text file beside it.
func (c *compiler) skill(name string, at place, subject, field string) bool {
	if !strings.HasPrefix(name, "skills/") || path.Base(name) != "SKILL.md" || path.Clean(name) != name {
		c.report.errorAt(at, subject, field, fmt.Sprintf("%q is no skill", name), "a skill is a file SKILL.md in a folder of its own below skills/")
		return false
	}
	if _, there := c.src.Files[name]; !there {
		c.report.errorAt(at, subject, field, fmt.Sprintf("its skill %s does not exist", name), "write it, or name another one: skill: \"skills/…/SKILL.md\"")
		return false
	}
	folder := path.Dir(name) + "/"
	for _, file := range slices.Sorted(maps.Keys(c.src.Files)) {
		if !strings.HasPrefix(file, folder) || !IsInput(file) {
			continue
		}
		data := c.src.Files[file]
		if !utf8.Valid(data) {
			c.report.warnAt(place{path: file}, "", "", "the file is not UTF-8 text, so stages do not get it", "")
			continue
		}
		c.plan.Assets[file], c.inputs[file] = string(data), schema.DigestOf(data)
	}
	return true
}

// checkArtifacts: a stage cannot write what its prompt never names.
func (c *compiler) checkArtifacts(node *schema.Node) {
	kind := c.plan.Stages[node.Stage]
	for _, a := range kind.Writes {
		if !a.Optional && !strings.Contains(c.plan.Assets[node.Entrypoint], a.File) {
			c.report.errorAt(place{path: node.Entrypoint}, subject("stage kind", kind.ID), "",
				fmt.Sprintf("the entrypoint never names %s, which the stage must write", a.File),
				"say in it what belongs into "+a.File+", or make the artifact optional")
		}
	}
}
