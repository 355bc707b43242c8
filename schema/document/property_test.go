package document

import (
	"encoding/json"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"cuelang.org/go/cue"
	"pgregory.net/rapid"

	"millrace/schema"
)

// TestRoundTrip: parse(render(d)) == d for documents drawn from the definitions, with texts that try
// to be labels, lists, separators and headings; the record reads the same from JSON.
func TestRoundTrip(t *testing.T) {
	r := registry(t)
	rapid.Check(t, func(t *rapid.T) {
		k := r.kinds[rapid.SampledFrom(r.order).Draw(t, "kind")]
		d := drawDocument(t, r, k)
		back := readBack(t, r, d, "stored"+k.extension, r.Render(d))
		if string(r.Render(back)) != string(r.Render(d)) {
			t.Fatalf("rendering is not stable:\n%s", r.Render(d))
		}
		var asJSON strings.Builder
		fields := map[string]any{"kind": d.Kind, "body": d.Body}
		maps.Copy(fields, d.Fields)
		asJSON.Write(encode(fields))
		readBack(t, r, d, "x.json", []byte(asJSON.String()))
	})
}

func readBack(t *rapid.T, r *Registry, d *schema.Document, file string, text []byte) *schema.Document {
	back, diags := r.ParseStored(d.Kind, file, text)
	if back == nil || len(diags) > 0 {
		t.Fatalf("refused: %v\n%s", diags, text)
	}
	if back.Digest() != d.Digest() {
		t.Fatalf("differs:\n%#v\n%#v\n%s", d, back, text)
	}
	return back
}

// drawDocument draws a document of a kind: all required fields and some of the others.
func drawDocument(t *rapid.T, r *Registry, k *kind) *schema.Document {
	d := &schema.Document{Kind: k.name, ID: k.name, Fields: map[string]any{}}
	for _, f := range k.shape.fields {
		if f.required || rapid.Bool().Draw(t, f.name) {
			d.Fields[f.name] = drawValue(t, f.shape, f.name, false)
		}
	}
	if k.id != "" {
		d.ID = d.Fields[k.id].(string)
	}
	for _, name := range []string{"depends_on", "blocks"} { // no document waits for itself
		delete(d.Fields, name)
		if k.shape.field(name) != nil && rapid.Bool().Draw(t, name) {
			d.Fields[name] = []any{d.ID + "x", "none-of-us"}
		}
	}
	d.Body = tidyBody(drawText(t, "body", true))
	return d
}

func drawValue(t *rapid.T, s *shape, name string, exact bool) any {
	switch {
	case len(s.choices) > 0:
		return rapid.SampledFrom(s.choices).Draw(t, name)
	case s.format == "time":
		at := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, name), rapid.SampledFrom([]int64{0, 5e8, 1}).Draw(t, "ns"))
		return at.UTC().Format(time.RFC3339Nano)
	}
	switch s.kind {
	case cue.BoolKind:
		return rapid.Bool().Draw(t, name)
	case cue.IntKind:
		first := 0
		if name == "generation" {
			first = 1
		}
		return json.Number(strconv.Itoa(rapid.IntRange(first, 1<<40).Draw(t, name)))
	case cue.ListKind:
		return drawList(t, s, name, exact)
	case cue.StructKind:
		object := map[string]any{}
		for _, f := range s.fields {
			if f.required || rapid.Bool().Draw(t, f.name) {
				object[f.name] = drawValue(t, f.shape, f.name, true)
			}
		}
		if s.open != nil {
			object[drawText(t, "name", false)] = drawFree(t, 3)
		}
		return object
	}
	return drawString(t, s, name)
}

func drawList(t *rapid.T, s *shape, name string, exact bool) any {
	list := []any{}
	for range rapid.IntRange(max(1, s.least), 4).Draw(t, name) {
		list = append(list, drawValue(t, s.entry, name, exact))
	}
	return list
}

// drawString draws text that fits a type.
func drawString(t *rapid.T, s *shape, name string) any {
	switch s.name {
	case "#ID", "": // every id, also where more is asked of it; a pattern of its own has only the approval
		if name == "approval" {
			return "item/node/capability.name/" + rapid.StringMatching(`[0-9a-f]{8}`).Draw(t, name)
		}
		return rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9_-]{0,10}(\.[a-z]{1,3})?`).
			Filter(func(id string) bool { return !strings.EqualFold(id, "none") }).Draw(t, name)
	case "#Duration":
		return rapid.SampledFrom([]string{"5m", "1h30m", "90s", "1.5h"}).Draw(t, name)
	case "#Line":
		return strings.Join(strings.Fields(drawText(t, name, false)), " ")
	case "#Text":
		return drawText(t, name, false)
	}
	t.Fatalf("%s is a %s, which nothing draws", name, s.name)
	return nil
}

// pieces are what text may look like to a reader of headed Markdown.
var pieces = []string{"word", "two words", "Title: x", "Task-ID: y", "Acceptance:", "- item", "* star", "---", "# Heading", "## Goals",
	"  indented", "\tTab", "```", "~~~", "none", "n/a", "-", "{\"a\": 1}", "[1]", "true", "3", "null", "# ", "ünï—코드", "\u2028", "\u00a0x",
	"a: b", "...", "<b>&amp;", "`code`", "\\", "\"", "Kind: spec", "1. one", "> quote", "%", "@", "!", "'"}

// drawText draws tidy text that is not blank; a body may be empty.
func drawText(t *rapid.T, name string, body bool) string {
	n := rapid.IntRange(1, 5).Draw(t, name)
	var b strings.Builder
	for range n {
		b.WriteString(rapid.SampledFrom(pieces).Draw(t, name))
		b.WriteString(rapid.SampledFrom([]string{"\n", "\n\n", " ", "\n\n\n", "\n   "}).Draw(t, "between"))
	}
	if rapid.Bool().Draw(t, "wild") {
		b.WriteString(strings.Map(func(r rune) rune {
			if r < ' ' || r >= 0x7f && r < 0xa0 {
				return -1
			}
			return r
		}, rapid.String().Draw(t, "wild text")))
	}
	if body {
		return b.String()
	}
	if text := tidy(b.String()); text != "" {
		return text
	}
	return "text"
}

// drawFree draws any JSON value.
func drawFree(t *rapid.T, depth int) any {
	switch rapid.IntRange(0, 6).Draw(t, "free") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return json.Number(rapid.SampledFrom([]string{"0", "-1", "1.50", "1e3", "12345678901234567890", "1e999"}).Draw(t, "number"))
	case 3:
		if depth > 0 {
			return []any{drawFree(t, depth-1), drawFree(t, depth-1)}
		}
	case 4:
		if depth > 0 {
			return map[string]any{rapid.String().Draw(t, "name"): drawFree(t, depth-1)}
		}
	}
	return strings.ToValidUTF8(rapid.String().Draw(t, "text"), "?")
}
