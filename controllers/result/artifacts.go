package result

import (
	"encoding/json"
	"maps"
	"path"
	"slices"

	"millrace/schema"
	"millrace/workspace"
)

// written reads the artifact of a definition that the stage has written.
func (h *harvest) written(definition string, into any) (a schema.Artifact, there bool) {
	for _, a := range h.kind.Writes {
		if a.Schema == definition && h.record(a.File, into) {
			return a, true
		}
	}
	return schema.Artifact{}, false
}

// record reads what a valid artifact with a definition says; false when the stage did not write it.
func (h *harvest) record(file string, into any) bool {
	data, there := h.seen.Records[file]
	return there && json.Unmarshal(data, into) == nil
}

// without refuses a result that lacks what an effect rests on.
func (h *harvest) without(definition string) *schema.Verdict {
	if a := h.kind.Artifact(definition); a != nil {
		return refuse(schema.FailMissingArtifact, "%s is needed, which was not written", a.File)
	}
	return refuse(schema.FailMissingArtifact, "%s writes no artifact of %s, which the plan needs here", h.kind.ID, definition)
}

// artifact is what the completion lists of a file; nil when the stage did not write it.
func (h *harvest) artifact(file string) *schema.File {
	for i := range h.c.Artifacts {
		if h.c.Artifacts[i].Path == file {
			return &h.c.Artifacts[i]
		}
	}
	return nil
}

// listed reads a file of this request that the completion lists.
func (h *harvest) listed(f schema.File) (data []byte, answered bool, why string) {
	return h.left(h.run.Request, f.Path, f.Digest)
}

// left reads a file that a request of the run left, as it left it. The first time nobody has read it: it is asked for,
// and the whole result is looked at again. why says that it cannot be had, or is not what was left.
func (h *harvest) left(request, file string, digest schema.Digest) (data []byte, answered bool, why string) {
	q := workspace.AskFile(path.Join(workspace.RequestDir(h.run.ID, request), file))
	a, answered := h.Asked[q]
	switch {
	case !answered:
		h.asks = append(h.asks, q)
	case a.Err != "":
		why = a.Err
	case a.Digest != digest:
		why = "it is no longer what the supervisor listed"
	}
	return a.Data, answered, why
}

// family is the one whose documents satisfy a definition; "" when the plan has none.
func (h *harvest) family(definition string) string {
	all := h.Families()
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if all[id].Definition == definition {
			return id
		}
	}
	return ""
}
