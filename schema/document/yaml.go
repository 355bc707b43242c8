package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"cuelang.org/go/encoding/yaml"
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
		recs = append(recs, rec)
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
			} else if b == '-' || b == '?' || b == '\t' {
				marks++
			} else {
				break
			}
		}
		if marks > 2*maxDepth && blanks >= marks-1 || blanks > 2000 {
			return tooDeep(place{number + 1, 1})
		}
	}
	return nil
}

var yamlLine = regexp.MustCompile(`(?:yaml: )?(?:line (\d+): )?(.*)`)

// yamlFault translates an error of the YAML parser, which knows its line only as text.
func yamlFault(src []byte, err error) *fault {
	text, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	if at := strings.Index(text, "yaml: "); at > 0 {
		text = text[at:]
	}
	m := yamlLine.FindStringSubmatch(text)
	at := place{}
	if line, err := strconv.Atoi(m[1]); err == nil {
		at = place{min(line, 1+bytes.Count(src, []byte("\n"))), 1}
	}
	for _, p := range positions(err) {
		at = p
		break
	}
	return &fault{at, fmt.Sprintf("cannot read the YAML: %s", m[2]), "check indentation, quotes and colons near this place"}
}
