package document

import (
	"bytes"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"millrace/schema"
)

// maxDepth is how deep values may nest; real documents need four.
const maxDepth = 32

// A fault is a diagnostic that a reader found before it was known what the file is about.
type fault struct {
	at            place
	message, hint string
}

func (f *fault) Error() string { return f.message }

// A record is one document of a file, before its kind is known.
type record struct {
	at      place
	fields  *node // nil for headed Markdown: labels become fields when the kind is known
	body    string
	bodyAt  place
	heading *node   // H1 of Markdown
	headed  *headed // headed Markdown
	alone   bool    // the file's only document: it may be called after the file
}

// names are the fields of a record by their names, before the kind is known.
func (rec *record) names() map[string]*node {
	if rec.headed != nil {
		return rec.headed.names()
	}
	names := map[string]*node{}
	for _, f := range rec.fields.fields {
		names[f.name] = f.value
	}
	return names
}

// twice finds the second field of a name.
func (rec *record) twice(name string) (at place, found bool) {
	count := 0
	if rec.headed != nil {
		for _, p := range rec.headed.parts {
			if unlabel(p.label) == name && !p.behind {
				if count++; count == 2 {
					return place{p.line, 1}, true
				}
			}
		}
		return at, false
	}
	for _, f := range rec.fields.fields {
		if f.name == name {
			if count++; count == 2 {
				return f.at, true
			}
		}
	}
	return at, false
}

// source makes bytes fit for a reader: sizes, encoding, line ends.
func source(data []byte, limit int) ([]byte, *fault) {
	if len(data) > limit {
		return nil, &fault{message: fmt.Sprintf("has %d bytes, more than the %d (1 MiB) a document may have", len(data), schema.MaxFile),
			hint: "split it, or keep the material in a file of the project and name that here"}
	}
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return nil, &fault{message: "is UTF-16 text", hint: "save it as UTF-8"}
	}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return nil, &fault{message: fmt.Sprintf("is binary: a zero byte at offset %d", i),
			hint: "documents are Markdown, YAML, JSON or CUE in UTF-8"}
	}
	if !utf8.Valid(data) {
		i := invalid(data)
		return nil, &fault{at: position(data, i), message: fmt.Sprintf("is not UTF-8: byte 0x%02x at offset %d", data[i], i),
			hint: "save it as UTF-8"}
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if bytes.IndexByte(data, '\r') >= 0 {
		data = bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, &fault{message: "is empty", hint: "write a document, or remove the file"}
	}
	return data, nil
}

// invalid finds the first byte that is not UTF-8.
func invalid(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
	return len(data)
}

// position is where an offset lies.
func position(data []byte, offset int) place {
	offset = max(0, min(offset, len(data)))
	before := data[:offset]
	return place{1 + bytes.Count(before, []byte("\n")), offset - bytes.LastIndexByte(before, '\n')}
}

// encodingOf is the name of the reader for a file: by its extension, else by how it begins.
func encodingOf(file string, data []byte) string {
	switch strings.ToLower(path.Ext(file)) {
	case ".md", ".markdown":
		return "markdown"
	case ".yaml", ".yml":
		return "yaml"
	case ".json":
		return "json"
	case ".cue":
		return "cue"
	}
	text := strings.TrimLeft(string(data[:min(len(data), 4096)]), " \t\n")
	first, _, _ := strings.Cut(text, "\n")
	name, _, isField := strings.Cut(first, ":")
	switch {
	case strings.HasPrefix(text, "{"):
		return "json"
	case strings.HasPrefix(text, "package "), strings.HasPrefix(text, "//"):
		return "cue"
	case isField && name == strings.ToLower(name) && !strings.ContainsAny(name, " -#"):
		return "yaml"
	}
	return "markdown"
}

// read splits a file into its records.
func read(file string, data []byte) ([]*record, *fault) {
	switch encodingOf(file, data) {
	case "yaml":
		return readYAML(data)
	case "json":
		return one(readJSON(data))
	case "cue":
		return one(readCUE(data))
	}
	return readMarkdown(data)
}

// one wraps the only value of a file.
func one(n *node, f *fault) ([]*record, *fault) {
	if f != nil {
		return nil, f
	}
	rec, f := data(n)
	if f != nil {
		return nil, f
	}
	rec.alone = true
	return []*record{rec}, nil
}

// data makes the record of a value that came as data; its free text is the field "body".
func data(n *node) (*record, *fault) {
	if n.kind != isObject {
		return nil, &fault{n.at, "the document is " + n.kind.String() + ", not an object", "write fields and their values, like title: Add tests"}
	}
	rec := &record{at: n.at, fields: n, bodyAt: n.at}
	if at, twice := rec.twice("body"); twice {
		return nil, &fault{at, "body is there twice", "keep one of them"}
	}
	rec.fields = n.without("body")
	if body := n.field("body"); body != nil && body.kind != isNull {
		if body.kind != isText {
			return nil, &fault{body.at, "body is " + body.kind.String() + ", not text", "write the free text as one text"}
		}
		rec.body, rec.bodyAt = body.text, body.at
	}
	return rec, nil
}
