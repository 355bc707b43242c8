package document

import (
	"maps"
	"strings"
	"time"
	"unicode"

	"millrace/schema"
)

// Admit fills on a copy what a document gets when it is admitted: defaults of its definition, when
// and by whom. An idea becomes its root spec, whose body is the idea's text.
func (r *Registry) Admit(d *schema.Document, by string, now time.Time) *schema.Document {
	r.defined()
	doc := &schema.Document{Kind: d.Kind, ID: d.ID, Fields: maps.Clone(d.Fields), Body: d.Body}
	if d.Kind == schema.KindIdea {
		doc = rootSpec(d)
	}
	k := r.kinds[doc.Kind]
	for _, f := range k.shape.fields {
		if _, there := doc.Fields[f.name]; there {
			continue
		}
		switch {
		case f.preset != nil:
			doc.Fields[f.name] = f.preset
		case f.admit == "now":
			doc.Fields[f.name] = now.UTC().Truncate(time.Second).Format(time.RFC3339)
		case f.admit == "by":
			doc.Fields[f.name] = by
		}
	}
	if doc.Kind == schema.FamilySpec && doc.Fields["root_spec_id"] == nil && doc.Fields["parent_spec_id"] == nil {
		doc.Fields["root_spec_id"] = doc.ID // a spec without ancestors is its own root
	}
	return doc
}

// rootSpec derives the spec of an idea: the headings Goals, Constraints, Acceptance and References
// are read when the text has them.
func rootSpec(idea *schema.Document) *schema.Document {
	id := "idea-" + idea.ID
	fields := map[string]any{
		"spec_id": id, "title": idea.Fields["title"], "source_type": "idea", "source_id": idea.ID,
		"root_idea_id": idea.ID, "root_spec_id": id,
		"goals":      []any{idea.Fields["title"]},
		"acceptance": []any{"the idea's text is satisfied"},
	}
	for _, name := range []string{"created_at", "created_by"} {
		if v, ok := idea.Fields[name]; ok {
			fields[name] = v
		}
	}
	for heading, list := range sections(idea.Body) {
		switch heading {
		case "goals", "constraints", "acceptance", "references":
			if len(list) > 0 {
				fields[heading] = list[:min(len(list), schema.MaxItems)]
			}
		}
	}
	return &schema.Document{Kind: schema.FamilySpec, ID: id, Fields: fields, Body: idea.Body}
}

// sections reads the lists and paragraphs below each heading of a text, by lower-case heading.
func sections(body string) map[string][]any {
	found := map[string][]any{}
	heading, entry, fence := "", "", ""
	flush := func() {
		if entry = tidy(clean(entry)); entry != "" && heading != "" && len(entry) <= schema.MaxText {
			found[heading] = append(found[heading], entry)
		}
		entry = ""
	}
	for l := range strings.Lines(body) {
		fence = inFence(fence, l)
		fenced := fence != ""
		text := strings.TrimSpace(l)
		item := itemLine.FindStringSubmatch(strings.TrimRight(l, " \t\n"))
		switch {
		case !fenced && headLine.MatchString(l):
			flush()
			heading = strings.ToLower(strings.TrimSpace(strings.Trim(text, "#:")))
			heading = strings.TrimSpace(strings.TrimSuffix(heading, ":"))
		case !fenced && item != nil && len(item[1]) < 2:
			flush()
			entry = item[2]
		case text == "" && !fenced:
			flush()
		case entry == "":
			entry = text
		default:
			entry += "\n" + text
		}
	}
	flush()
	return found
}

// inFence is the fence that a line stands in, after another that stood in open: "" outside of any. A fence ends at one of the
// same character that is at least as long and says nothing, so that a longer one may hold shorter ones.
func inFence(open, line string) string {
	text := strings.TrimSpace(line)
	mark := fenceLine.FindString(line)
	if mark != "" {
		mark = text[:len(text)-len(strings.TrimLeft(text, mark[len(mark)-1:]))]
	}
	switch {
	case open == "":
		return mark
	case strings.HasPrefix(mark, open) && mark == text:
		return ""
	}
	return open
}

// clean drops control characters, which a field may not hold.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, text)
}
