package document

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/scanner"
	"cuelang.org/go/cue/token"
)

const dataOnly = "a CUE document is data only: fields with values, no imports, references, calls or comprehensions"

// readCUE reads CUE that is data. Tokens are looked at first: they tell what is no data by its place,
// and how deep it nests, before the parser recurses into it.
func readCUE(src []byte) (*node, *fault) {
	if f := dataTokens(src); f != nil {
		return nil, f
	}
	file, err := parser.ParseFile("", src)
	if err != nil {
		return nil, cueFault(err)
	}
	decls := file.Decls
	if len(decls) > 0 {
		if _, ok := decls[0].(*ast.Package); ok {
			decls = decls[1:]
		}
	}
	if len(decls) == 1 {
		if e, ok := decls[0].(*ast.EmbedDecl); ok {
			return syntaxNode(e.Expr, place{1, 1}, 0)
		}
	}
	return structNode(decls, place{1, 1}, 0)
}

func dataTokens(src []byte) *fault {
	var s scanner.Scanner
	file := token.NewFile("", 0, len(src))
	file.SetLinesForContent(src)
	s.Init(file, src, nil, 0)
	depth, chain := 0, 0
	var last token.Token
	var lastLit string
	var lastAt place
	for {
		pos, tok, lit := s.Scan()
		at := place{pos.Line(), pos.Column()}
		if tok != token.COLON && tok != token.OPTION && tok != token.NOT {
			if f := loose(last, lastLit, lastAt); f != nil {
				return f
			}
		}
		if tok == token.EOF {
			return nil
		}
		switch tok {
		case token.LBRACE, token.LBRACK:
			depth++
		case token.RBRACE, token.RBRACK:
			depth--
		case token.COLON:
			chain++
		case token.COMMA:
			chain = 0
		}
		if depth > maxDepth || chain > maxDepth+depth {
			return tooDeep(at)
		}
		if what := notData(last, tok); what != "" {
			return &fault{at, what, dataOnly}
		}
		if tok == token.IDENT && last == token.IDENT { // package name
			tok = token.STRING
		}
		last, lastLit, lastAt = tok, lit, at
	}
}

// loose says why a name that is no label cannot stand in data.
func loose(tok token.Token, lit string, at place) *fault {
	switch {
	case tok == token.IDENT && lit == "import":
		return &fault{at, "imports are not data", dataOnly}
	case tok == token.IDENT && lit != "package":
		return reference(lit, at)
	case tok == token.FOR || tok == token.IF || tok == token.LET || tok == token.IN:
		return &fault{at, "a comprehension is not data: " + tok.String(), dataOnly}
	}
	return nil
}

func reference(name string, at place) *fault {
	return &fault{at, strconv.Quote(name) + " is a reference, not data", "quote it to make it text; " + dataOnly}
}

// notData says why a token cannot stand in data; the parser finds what is merely misplaced.
func notData(last, tok token.Token) string {
	switch tok {
	case token.LPAREN:
		return "a call or an expression is not data"
	case token.INTERPOLATION:
		return "an interpolation is not data"
	case token.ELLIPSIS, token.OPTION, token.NOT:
		return "a constraint is not data"
	case token.ATTRIBUTE:
		return "an attribute is not data"
	case token.PERIOD:
		return "a reference is not data"
	}
	if tok.IsOperator() {
		switch tok {
		case token.LBRACE, token.RBRACE, token.LBRACK, token.RBRACK, token.COLON, token.COMMA, token.SUB:
			if tok == token.SUB && last == token.SUB {
				return "an expression is not data"
			}
			return ""
		}
		return "an expression is not data: " + tok.String()
	}
	return ""
}

func cueFault(err error) *fault {
	at := place{}
	for _, p := range positions(err) {
		at = p
		break
	}
	list := errors.Errors(err)
	text := err.Error()
	if len(list) > 0 {
		format, args := list[0].Msg()
		text = fmt.Sprintf(format, args...)
	}
	return &fault{at, "cannot read the CUE: " + text, "check commas, quotes and brackets near this place"}
}

// positions of a CUE error that lie in the file itself.
func positions(err error) []place {
	var at []place
	for _, p := range errors.Positions(err) {
		if p.IsValid() {
			at = append(at, place{p.Line(), p.Column()})
		}
	}
	return at
}

// syntaxNode converts CUE syntax that is data: the common form of the YAML and CUE readers.
func syntaxNode(expr ast.Expr, parent place, depth int) (*node, *fault) {
	at := parent
	if p := expr.Pos(); p.IsValid() {
		at = place{p.Line(), p.Column()}
	}
	if depth > maxDepth {
		return nil, tooDeep(at)
	}
	switch x := expr.(type) {
	case *ast.BasicLit:
		return literalNode(x, at)
	case *ast.UnaryExpr:
		lit, ok := x.X.(*ast.BasicLit)
		if !ok || x.Op != token.SUB && x.Op != token.ADD {
			break
		}
		n, f := literalNode(lit, at)
		if f != nil || n.kind != isNumber {
			break
		}
		if x.Op == token.SUB {
			n.text = "-" + n.text
		}
		return n, nil
	case *ast.ListLit:
		n := &node{at: at, kind: isList}
		for _, e := range x.Elts {
			entry, f := syntaxNode(e, at, depth+1)
			if f != nil {
				return nil, f
			}
			n.entries = append(n.entries, entry)
		}
		return n, nil
	case *ast.StructLit:
		return structNode(x.Elts, at, depth)
	case *ast.Interpolation:
		return nil, &fault{at, "an interpolation is not data", dataOnly}
	case *ast.Ident:
		return nil, reference(x.Name, at)
	}
	return nil, &fault{at, "this is not data", dataOnly}
}

func structNode(decls []ast.Decl, at place, depth int) (*node, *fault) {
	n := &node{at: at, kind: isObject}
	if depth > maxDepth {
		return nil, tooDeep(at)
	}
	for _, d := range decls {
		f, ok := d.(*ast.Field)
		if !ok {
			if _, comment := d.(*ast.CommentGroup); comment {
				continue
			}
			where := at
			if p := d.Pos(); p.IsValid() {
				where = place{p.Line(), p.Column()}
			}
			return nil, &fault{where, "this is no field", dataOnly}
		}
		where := place{f.Label.Pos().Line(), f.Label.Pos().Column()}
		name, _, err := ast.LabelName(f.Label)
		if err != nil || f.Constraint != token.ILLEGAL || f.Alias != nil || internalName(f.Label, name) {
			return nil, &fault{where, "a constraint, definition or hidden field is not data", dataOnly}
		}
		v, fl := syntaxNode(f.Value, where, depth+1)
		if fl != nil {
			return nil, fl
		}
		n.fields = append(n.fields, member{where, name, v})
	}
	if depth == 0 && len(n.fields) > 0 {
		n.at = n.fields[0].at
	}
	return n, nil
}

// internalName: identifiers that CUE would not export; quoted they are ordinary names.
func internalName(l ast.Label, name string) bool {
	_, ident := l.(*ast.Ident)
	return ident && (strings.HasPrefix(name, "_") || strings.HasPrefix(name, "#"))
}

func literalNode(x *ast.BasicLit, at place) (*node, *fault) {
	switch x.Kind {
	case token.NULL:
		return &node{at: at}, nil
	case token.TRUE, token.FALSE:
		return &node{at: at, kind: isBool, text: x.Value}, nil
	case token.STRING:
		if strings.HasPrefix(strings.TrimLeft(x.Value, "#"), "'") {
			return nil, &fault{at, "binary data has no place in a document", "write text"}
		}
		text, err := literal.Unquote(x.Value)
		if err != nil {
			return nil, &fault{at, "cannot read the text: " + err.Error(), "check its quotes and escapes"}
		}
		return &node{at: at, kind: isText, text: strings.ToValidUTF8(text, "\uFFFD")}, nil
	case token.INT, token.FLOAT:
		return numberNode(x, at)
	}
	return nil, &fault{at, "this is not data", dataOnly}
}

// numberNode writes a number as JSON would: 0x1F and 1_000 are plain decimals.
func numberNode(x *ast.BasicLit, at place) (*node, *fault) {
	if json.Valid([]byte(x.Value)) {
		return &node{at: at, kind: isNumber, text: x.Value}, nil
	}
	var info literal.NumInfo
	if err := literal.ParseNum(x.Value, &info); err != nil {
		return nil, &fault{at, "cannot read the number " + x.Value, "write it in decimals, or quote it to make it text"}
	}
	text := info.String()
	if i, ok := new(big.Int).SetString(text, 10); ok {
		text = i.String()
	}
	if !json.Valid([]byte(text)) {
		return nil, &fault{at, x.Value + " is not a number that JSON can carry", "write it in decimals, or quote it to make it text"}
	}
	return &node{at: at, kind: isNumber, text: text}, nil
}
