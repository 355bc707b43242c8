package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/encoding/yaml"

	"millrace/schema"
)

// readYAML reads the documents of a YAML file; empty ones are skipped.
func readYAML(src []byte) ([]*record, *fault) {
	nodes, f := yamlNodes(src)
	if f != nil {
		return nil, f
	}
	var recs []*record
	for _, n := range nodes {
		if n.kind == isNull {
			continue
		}
		rec, f := data(n)
		if f != nil {
			return nil, f
		}
		if recs = append(recs, rec); len(recs) > schema.MaxItems {
			return nil, &fault{rec.at, fmt.Sprintf("holds more than %d documents", schema.MaxItems), "split the file"}
		}
	}
	if len(recs) == 0 {
		return nil, &fault{message: "holds no document, only comments or separators", hint: "write a document, or remove the file"}
	}
	recs[0].alone = len(recs) == 1
	return recs, nil
}

func yamlNodes(src []byte) ([]*node, *fault) {
	if f := yamlDepth(src); f != nil {
		return nil, f
	}
	dec := yaml.NewDecoder("", bytes.NewReader(src))
	var nodes []*node
	for {
		expr, err := dec.Extract()
		if errors.Is(err, io.EOF) {
			return nodes, nil
		}
		if err != nil {
			return nil, yamlFault(src, err)
		}
		if _, nothing := expr.(*ast.BinaryExpr); nothing { // how the decoder says that there is no document
			return nodes, nil
		}
		n, f := syntaxNode(expr, place{1, 1}, 0)
		if f != nil {
			return nil, f
		}
		nodes = append(nodes, n)
	}
}

// yamlDepth refuses deep nesting before a parser recurses into it. It counts without understanding
// quotes, so its bounds are far beyond what a document needs.
func yamlDepth(src []byte) *fault {
	depth := 0
	for i, b := range src {
		switch b {
		case '[', '{':
			if depth++; depth > 512 {
				return tooDeep(position(src, i))
			}
		case ']', '}':
			depth = max(0, depth-1)
		}
	}
	for number, line := range bytes.Split(src, []byte("\n")) {
		blanks, marks := 0, 0
		for _, b := range line {
			if b == ' ' {
				blanks++
				continue
			}
			if b != '-' && b != '?' && b != '\t' {
				break
			}
			marks++
		}
		if marks > 2*maxDepth && blanks >= marks-1 || blanks > 2000 {
			return tooDeep(place{number + 1, 1})
		}
	}
	return nil
}

var yamlLine = regexp.MustCompile(`^:(?:(\d+):)? *`)

// yamlFault translates an error of the YAML parser, which tells its line as the beginning of a text;
// none is the first.
func yamlFault(src []byte, err error) *fault {
	text, _, _ := strings.Cut(err.Error(), "\n")
	at := place{1, 1}
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		text = text[len(m[0]):]
		if line, err := strconv.Atoi(m[1]); err == nil {
			at.line = max(1, min(line, bytes.Count(bytes.TrimRight(src, "\n"), []byte("\n"))+1))
		}
	}
	return &fault{at, "cannot read the YAML: " + text, "check indentation, quotes and colons near this place"}
}
