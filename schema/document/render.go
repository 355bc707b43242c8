package document

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"cuelang.org/go/cue"

	"millrace/schema"
)

// Render writes the canonical form: headed Markdown, or indented JSON for families that are stored so.
// Fields come in the order of the definition, scalars before lists. parse(render(d)) == d.
func (r *Registry) Render(d *schema.Document) []byte {
	r.defined()
	k := r.kinds[d.Kind]
	if k == nil {
		panic(fmt.Sprintf("render %s: unknown kind", d.Key())) // documents come from this registry
	}
	var b bytes.Buffer
	if k.extension == ".json" {
		renderJSON(&b, d, k)
	} else {
		renderMarkdown(&b, d, k)
	}
	return b.Bytes()
}

func renderMarkdown(b *bytes.Buffer, d *schema.Document, k *kind) {
	if title, ok := d.Fields["title"].(string); ok {
		fmt.Fprintf(b, "# %s\n\n", title)
	} else {
		fmt.Fprintf(b, "# %s\n\n", label(k.name))
	}
	if k.id == "" {
		fmt.Fprintf(b, "Kind: %s\n", k.name)
	}
	var lists []*fieldShape
	for _, f := range k.shape.fields {
		v, ok := d.Fields[f.name]
		switch {
		case !ok:
		case f.kind == cue.ListKind:
			lists = append(lists, f)
		default:
			fmt.Fprintf(b, "%s: %s\n", f.label, line(v))
		}
	}
	for _, f := range lists {
		fmt.Fprintf(b, "\n%s:\n", f.label)
		for _, e := range d.Fields[f.name].([]any) {
			fmt.Fprintf(b, "- %s\n", line(e))
		}
	}
	if d.Body != "" {
		fmt.Fprintf(b, "\n---\n\n%s\n", d.Body)
	}
}

// line is a value on a line of its own, further lines of text indented.
func line(v any) string {
	if text, ok := v.(string); ok {
		lines := strings.Split(text, "\n")
		for i := range lines[1:] {
			if lines[i+1] != "" {
				lines[i+1] = "  " + lines[i+1]
			}
		}
		return strings.Join(lines, "\n")
	}
	return string(encode(v))
}

// encode is one-line JSON, names sorted.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("encode value: %v", err)) // fields hold JSON values only
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

func renderJSON(b *bytes.Buffer, d *schema.Document, k *kind) {
	names := []string{"kind"}
	values := map[string]any{"kind": d.Kind, "body": d.Body}
	for _, f := range k.shape.fields {
		if v, ok := d.Fields[f.name]; ok {
			names, values[f.name] = append(names, f.name), v
		}
	}
	if d.Body != "" {
		names = append(names, "body")
	}
	var flat bytes.Buffer
	flat.WriteByte('{')
	for i, name := range names {
		if i > 0 {
			flat.WriteByte(',')
		}
		fmt.Fprintf(&flat, "%s:%s", encode(name), encode(values[name]))
	}
	flat.WriteByte('}')
	if err := json.Indent(b, flat.Bytes(), "", "  "); err != nil {
		panic(fmt.Sprintf("indent JSON: %v", err)) // just encoded
	}
	b.WriteByte('\n')
}
