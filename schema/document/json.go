package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// jsonReader turns JSON into nodes by tokens, which know where they stand.
type jsonReader struct {
	data []byte
	dec  *json.Decoder
	base place // where the JSON begins in its file

	seen, line, start int // how far places have been counted: offset, lines before it, its line's start
}

func readJSON(data []byte) (*node, *fault) { return readJSONAt(data, place{1, 1}) }

// readJSONAt reads JSON that begins somewhere in a file.
func readJSONAt(data []byte, base place) (*node, *fault) {
	r := &jsonReader{data: data, dec: json.NewDecoder(bytes.NewReader(data)), base: base}
	r.dec.UseNumber()
	n, f := r.value(0)
	if f != nil {
		return nil, f
	}
	at := r.next()
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, &fault{at, "more text follows after the end of the JSON value", "a JSON file holds one document; use YAML for several"}
	}
	return n, nil
}

// next is the place of the token to come.
func (r *jsonReader) next() place {
	i := int(r.dec.InputOffset())
	for i < len(r.data) && strings.IndexByte(" \t\n,:", r.data[i]) >= 0 {
		i++
	}
	for ; r.seen < i; r.seen++ {
		if r.data[r.seen] == '\n' {
			r.line, r.start = r.line+1, r.seen+1
		}
	}
	p := place{r.base.line + r.line, i - r.start + 1}
	if r.line == 0 {
		p.column += r.base.column - 1
	}
	return p
}

func (r *jsonReader) value(depth int) (*node, *fault) {
	at := r.next()
	if depth > maxDepth {
		return nil, tooDeep(at)
	}
	t, err := r.dec.Token()
	if err != nil {
		return nil, r.broken(at, err)
	}
	switch t := t.(type) {
	case string:
		return &node{at: at, kind: isText, text: t}, nil
	case json.Number:
		return &node{at: at, kind: isNumber, text: t.String()}, nil
	case bool:
		return &node{at: at, kind: isBool, text: fmt.Sprint(t)}, nil
	case json.Delim:
		if t == '[' {
			return r.list(at, depth)
		}
		return r.object(at, depth)
	}
	return &node{at: at}, nil
}

func (r *jsonReader) list(at place, depth int) (*node, *fault) {
	n := &node{at: at, kind: isList}
	for r.dec.More() {
		e, f := r.value(depth + 1)
		if f != nil {
			return nil, f
		}
		n.entries = append(n.entries, e)
	}
	return n, r.end()
}

func (r *jsonReader) object(at place, depth int) (*node, *fault) {
	n := &node{at: at, kind: isObject}
	for r.dec.More() {
		at := r.next()
		name, err := r.dec.Token()
		if err != nil {
			return nil, r.broken(at, err)
		}
		v, f := r.value(depth + 1)
		if f != nil {
			return nil, f
		}
		n.fields = append(n.fields, member{at, name.(string), v})
	}
	return n, r.end()
}

func (r *jsonReader) end() *fault {
	at := r.next()
	if _, err := r.dec.Token(); err != nil {
		return r.broken(at, err)
	}
	return nil
}

func (r *jsonReader) broken(at place, err error) *fault {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &fault{at, "the JSON ends too early", "close every bracket, brace and quote"}
	}
	return &fault{at, "cannot read the JSON: " + err.Error(), "check commas, quotes and brackets near this place"}
}

func tooDeep(at place) *fault {
	return &fault{at, fmt.Sprintf("nests deeper than %d levels", maxDepth), "flatten it; documents need only a few levels"}
}
