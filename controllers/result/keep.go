package result

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"millrace/schema"
	"millrace/workspace"
)

// A paper is a file that is kept for good under its id: of a manifest, a packet, a judgement, a promotion.
type paper struct {
	path string
	data []byte
}

// keepRecord decides that a record is kept. Who wrote it, and when, is not what it says: a record that differs
// in nothing else is the same one, and what was kept first stays.
func (h *harvest) keepRecord(file string, record any) *schema.Verdict {
	data, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return refuse(schema.FailInvalidArtifact, "%s cannot be kept: %v", file, err)
	}
	return h.keep(file, append(data, '\n'), differing)
}

// keepBytes decides the same of any other file.
func (h *harvest) keepBytes(file string, data []byte) *schema.Verdict {
	return h.keep(file, data, func(was, now []byte) string {
		if bytes.Equal(was, now) {
			return ""
		}
		return "other bytes"
	})
}

// keep takes a file down to be written with the rest of the result; what lies there already must be the same.
func (h *harvest) keep(file string, data []byte, differs func(was, now []byte) string) *schema.Verdict {
	q := workspace.AskFile(file)
	a, read := h.Asked[q]
	if !read {
		h.asks = append(h.asks, q)
		return nil
	}
	h.m.Expect = append(h.m.Expect, workspace.Input{Path: file, Digest: a.Digest})
	switch {
	case a.Err != "":
		return refuse(schema.FailOutboxConflict, "%s is there and cannot be read: %s", file, a.Err)
	case a.Digest == "":
		h.kept = append(h.kept, paper{file, data})
	default:
		if what := differs(a.Data, data); what != "" {
			return refuse(schema.FailOutboxConflict, "%s is kept already and says otherwise (%s): what is kept never changes, so another content needs another id", file, what)
		}
	}
	return nil
}

// unsaid are the fields in which equal records may differ.
var unsaid = []string{"created_at", "created_by", "promoted_at", "promoted_by"}

// differing names the fields in which two records differ; "" when they say the same.
func differing(was, now []byte) string {
	var a, b map[string]any
	if json.Unmarshal(was, &a) != nil || json.Unmarshal(now, &b) != nil {
		return "it is no record"
	}
	for _, field := range unsaid {
		delete(a, field)
		delete(b, field)
	}
	both := maps.Clone(a)
	maps.Copy(both, b)
	var names []string
	for _, field := range slices.Sorted(maps.Keys(both)) {
		if !reflect.DeepEqual(a[field], b[field]) {
			names = append(names, field)
		}
	}
	return strings.Join(names, ", ")
}

// shelve writes what is kept.
func (h *harvest) shelve() {
	for _, p := range h.kept {
		h.m.PutFile(p.path, "", p.data)
	}
	h.kept = nil
}
