package result

import (
	"encoding/json"
	"fmt"
	"slices"

	"millrace/schema"
	"millrace/workspace"
)

// Folders of what is kept of blueprints.
const (
	manifestDir   = "blueprints/manifests/"
	packetDir     = "blueprints/packets/"
	critiqueDir   = "blueprints/critiques/"
	evaluationDir = "blueprints/evaluations/"
	promotionDir  = "blueprints/promotions/"
)

// drafts decides that a manifest is kept and that its drafts become items. Both must agree with each other and
// with the work that they come from; what the runtime knows itself may be left out.
func (h *harvest) drafts() (string, *schema.Verdict) {
	var mf schema.BlueprintManifest
	of, there := h.written(schema.DefManifest, &mf)
	if !there {
		return "", h.without(schema.DefManifest)
	}
	var all struct {
		Drafts []json.RawMessage `json:"drafts"`
	}
	in, there := h.written(schema.DefDrafts, &all)
	if !there {
		return "", h.without(schema.DefDrafts)
	}
	if refused := h.source(of.File, &mf); refused != nil {
		return "", refused
	}
	docs := make([]*schema.Document, len(all.Drafts))
	for i, raw := range all.Drafts {
		doc, refused := h.document(in.File, schema.DefDraft, raw)
		if refused != nil {
			return "", refused
		}
		docs[i] = doc
	}
	if refused := listed(of.File, in.File, &mf, docs); refused != nil {
		return "", refused
	}
	trial := h.trial()
	for i, doc := range docs {
		if refused := h.sequence(in.File, &mf, doc, i); refused != nil {
			return "", refused
		}
		if refused := h.receive(in.File, doc, trial); refused != nil {
			return "", refused
		}
	}
	return "", h.keepRecord(manifestDir+mf.ID+".json", mf)
}

// source holds a manifest against the item that was cut.
func (h *harvest) source(file string, mf *schema.BlueprintManifest) *schema.Verdict {
	known := map[string]string{}
	for _, l := range h.lineage(h.family(schema.DefDraft), mf.ID) {
		known[l.field] = l.value
	}
	ties := []tie{
		{"source_kind", &mf.SourceKind, h.item.Family}, {"source_id", &mf.SourceID, h.item.ID},
		{"root_spec_id", &mf.RootSpecID, known["root_spec_id"]}, {"root_idea_id", &mf.RootIdeaID, known["root_idea_id"]},
	}
	if spec := known["spec_id"]; spec != "" {
		ties = append(ties, tie{"source_spec_id", &mf.SourceSpecID, spec})
	}
	return agreeAll(file, ties)
}

// listed holds the drafts against the list of the manifest.
func listed(of, in string, mf *schema.BlueprintManifest, docs []*schema.Document) *schema.Verdict {
	ids := make([]string, len(docs))
	for i, doc := range docs {
		ids[i] = doc.ID
	}
	if n := len(mf.DraftIDs); mf.DraftCount != n {
		return refuse(schema.FailInvalidArtifact, "%s: draft_count is %d, but draft_ids lists %d", of, mf.DraftCount, n)
	}
	if !slices.Equal(ids, mf.DraftIDs) {
		return refuse(schema.FailInvalidArtifact, "%s lists the drafts %v, and %s has %v: they must be the same, in the same order", of, mf.DraftIDs, in, ids)
	}
	for i, doc := range docs {
		var d schema.BlueprintDraft
		if err := doc.Decode(&d); err != nil {
			return refuse(schema.FailInvalidArtifact, "%s: %v", in, err)
		}
		switch {
		case slices.Index(ids, d.ID) < i:
			return refuse(schema.FailInvalidArtifact, "%s: %s is listed twice", in, d.ID)
		case d.Index != i:
			return refuse(schema.FailInvalidArtifact, "%s: draft_index of %s is %d, but its place in the list is %d (from 0)", in, d.ID, d.Index, i)
		case d.ManifestID != mf.ID:
			return refuse(schema.FailInvalidArtifact, "%s: manifest_id of %s is %s, but the manifest is %s", in, d.ID, d.ManifestID, mf.ID)
		}
	}
	return nil
}

// sequence sees what a draft depends on: others of the manifest, or drafts that are done. In a strict sequence each
// depends on the one before, whether it says so or not.
func (h *harvest) sequence(file string, mf *schema.BlueprintManifest, doc *schema.Document, i int) *schema.Verdict {
	field := h.Family(doc.Kind).Dependency
	if field == "" {
		return nil
	}
	needs := doc.IDs(field)
	for _, id := range needs {
		it := h.Items[schema.Key{Family: doc.Kind, ID: id}]
		if !slices.Contains(mf.DraftIDs, id) && (it == nil || it.State != schema.StateDone) {
			return refuse(schema.FailInvalidArtifact, "%s: %s depends on %s, which is neither a draft of this manifest nor one that is done", file, doc.ID, id)
		}
	}
	if mf.StrictSequence && i > 0 && !slices.Contains(needs, mf.DraftIDs[i-1]) {
		setIDs(doc, field, append(needs, mf.DraftIDs[i-1]))
	}
	return nil
}

func setIDs(doc *schema.Document, field string, ids []string) {
	list := make([]any, len(ids))
	for i, id := range ids {
		list[i] = id
	}
	doc.Fields[field] = list
}

// draft is what the document of the draft says that is being worked out; empty until it has been read.
func (h *harvest) draft() (d schema.BlueprintDraft, refused *schema.Verdict) {
	if h.item.Family != h.family(schema.DefDraft) {
		return d, refuse(schema.FailInvalidArtifact, "%s is no blueprint draft", h.item.Key())
	}
	for _, q := range []workspace.Query{workspace.AskFile(h.item.Path), workspace.AskContent(h.item.Document)} {
		a, read := h.Asked[q]
		switch {
		case !read:
			h.asks = append(h.asks, q)
			return d, nil
		case a.Digest != h.item.Document: // a hand was faster: the journal knows what it said
		case json.Unmarshal(a.Data, &d) == nil:
			return d, nil
		}
	}
	return d, refuse(schema.FailInvalidArtifact, "the document of %s cannot be read; millrace doctor says why", h.item.Key())
}

// ties are what the ids of a packet, or of what is said about one, must agree with.
func (h *harvest) ties(ids *schema.BlueprintIDs, d *schema.BlueprintDraft) []tie {
	l := h.item.Lineage
	return []tie{
		{"draft_id", &ids.DraftID, h.item.ID}, {"manifest_id", &ids.ManifestID, d.ManifestID},
		{"root_spec_id", &ids.RootSpecID, l.RootSpecID}, {"root_idea_id", &ids.RootIdeaID, l.RootIdeaID},
	}
}

func at(blueprint string, revision int) string { return fmt.Sprintf("%s@%d", blueprint, revision) }
