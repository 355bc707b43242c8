package result

import (
	"path"

	"millrace/schema"
)

// worked is how far the item has been worked out, for changing; nil when it has no packet yet.
func (h *harvest) worked() *schema.Blueprint {
	if h.blueprint == nil {
		h.blueprint = h.item.Clone().Blueprint
		if h.blueprint != nil && h.blueprint.Kept == nil {
			h.blueprint.Kept = map[string]string{}
		}
	}
	return h.blueprint
}

// packet decides that a packet is kept, with the text beside it: the first revision of the draft's blueprint, or
// the one after the newest.
func (h *harvest) packet() (string, *schema.Verdict) {
	var p schema.BlueprintPacket
	a, there := h.written(schema.DefPacket, &p)
	if !there {
		return "", h.without(schema.DefPacket)
	}
	d, refused := h.draft()
	if refused == nil {
		refused = agreeAll(a.File, h.ties(&p.BlueprintIDs, &d))
	}
	if refused == nil {
		refused = h.next(a.File, &p)
	}
	if refused != nil {
		return "", refused
	}
	file := packetDir + at(p.BlueprintID, p.Revision)
	if refused := h.keepRecord(file+".json", p); refused != nil {
		return "", refused
	}
	b := &schema.Blueprint{Kept: map[string]string{}}
	if was := h.worked(); was != nil {
		b = was
	}
	b.ID, b.Revision, b.Rejected = p.BlueprintID, p.Revision, false
	b.Kept[a.Name] = file + ".json"
	h.blueprint = b
	return "", h.text(b, file+".md")
}

// next holds a packet's place in the row of revisions. The newest one may be written again, equal, until it is judged.
func (h *harvest) next(file string, p *schema.BlueprintPacket) *schema.Verdict {
	b := h.worked()
	switch {
	case b == nil && p.Revision != 0:
		return refuse(schema.FailInvalidArtifact, "%s: revision is %d, but %s has no packet yet: it must be 0", file, p.Revision, h.item.Key())
	case b == nil:
		return nil
	case p.BlueprintID != b.ID:
		return refuse(schema.FailInvalidArtifact, "%s: blueprint_id is %s, but the blueprint of %s is %s", file, p.BlueprintID, h.item.Key(), b.ID)
	case p.Revision == b.Revision+1, p.Revision == b.Revision && !b.Rejected:
		return nil
	}
	return refuse(schema.FailInvalidArtifact, "%s: revision is %d, but the newest that is kept is %d: it must be %d", file, p.Revision, b.Revision, b.Revision+1)
}

// text keeps what the stage wrote for readers: its first Markdown file that no definition describes.
func (h *harvest) text(b *schema.Blueprint, name string) *schema.Verdict {
	for _, a := range h.kind.Writes {
		f := h.artifact(a.File)
		if a.Schema != "" || path.Ext(a.File) != ".md" || f == nil {
			continue
		}
		data, answered, why := h.listed(*f)
		if !answered {
			return nil // to be read yet
		}
		if why != "" {
			return refuse(schema.FailInvalidArtifact, "%s cannot be kept: %s", a.File, why)
		}
		b.Kept[a.Name] = name
		return h.keepBytes(name, data)
	}
	return nil
}

// further keeps what was decided, and how far the draft has come with it.
func (h *harvest) further() {
	h.shelve()
	if h.blueprint != nil {
		h.item.Blueprint = h.blueprint
	}
}

// critique decides that an evaluation which rejects the newest packet is kept, with the critique that says why.
func (h *harvest) critique() (string, *schema.Verdict) {
	var e schema.BlueprintEvaluation
	of, there := h.written(schema.DefEvaluation, &e)
	if !there {
		return "", h.without(schema.DefEvaluation)
	}
	var c schema.BlueprintCritique
	in, there := h.written(schema.DefCritique, &c)
	if !there {
		return "", h.without(schema.DefCritique)
	}
	d, refused := h.draft()
	for _, step := range []func() *schema.Verdict{
		func() *schema.Verdict { return h.judges(of.File, &e, schema.EvaluationRejected, &d) },
		func() *schema.Verdict { return h.newest(in.File, &c.BlueprintIDs, &d) },
		func() *schema.Verdict { return agree(of.File, "critique_id", &e.CritiqueID, c.ID) },
		func() *schema.Verdict { return agree(in.File, "evaluation_id", &c.EvaluationID, e.ID) },
		func() *schema.Verdict { return h.keepRecord(evaluationDir+e.ID+".json", e) },
		func() *schema.Verdict { return h.keepRecord(critiqueDir+c.ID+".json", c) },
	} {
		if refused != nil {
			return "", refused
		}
		refused = step()
	}
	if refused == nil {
		b := h.worked()
		b.Rejected = true
		b.Kept[of.Name], b.Kept[in.Name] = evaluationDir+e.ID+".json", critiqueDir+c.ID+".json"
	}
	return "", refused
}

// judges holds an evaluation against what follows from it.
func (h *harvest) judges(file string, e *schema.BlueprintEvaluation, decision string, d *schema.BlueprintDraft) *schema.Verdict {
	if e.Decision != decision {
		return refuse(schema.FailInvalidArtifact, "%s: decision is %s, but what follows rests on %s", file, e.Decision, decision)
	}
	return h.newest(file, &e.BlueprintIDs, d)
}

// newest holds what is said of a packet against the newest one.
func (h *harvest) newest(file string, ids *schema.BlueprintIDs, d *schema.BlueprintDraft) *schema.Verdict {
	b := h.worked()
	if b == nil {
		return refuse(schema.FailInvalidArtifact, "%s: %s has no packet yet that could be judged", file, h.item.Key())
	}
	if ids.Revision != b.Revision {
		return refuse(schema.FailInvalidArtifact, "%s: revision is %d, but the newest packet is %s", file, ids.Revision, at(b.ID, b.Revision))
	}
	return agreeAll(file, append(h.ties(ids, d), tie{"blueprint_id", &ids.BlueprintID, b.ID}))
}
