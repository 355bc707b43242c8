package document

import (
	"encoding/json"
	"slices"
)

// A place in a file; line and column count from 1, columns in bytes.
type place struct{ line, column int }

// valueKind is what a value is before its definition has been asked.
type valueKind uint8

const (
	isNull valueKind = iota
	isText
	isNumber
	isBool
	isList
	isObject
)

func (k valueKind) String() string {
	return [...]string{"nothing", "text", "a number", "true or false", "a list", "an object"}[k]
}

// A node is one value of a file with the place where it stands: every encoding becomes a tree of
// nodes, and everything after that knows only nodes.
type node struct {
	at      place
	kind    valueKind
	text    string  // text, or the literal of a number or bool, as in JSON
	entries []*node // of a list
	fields  []member
}

type member struct {
	at    place // of the name
	name  string
	value *node
}

func (n *node) field(name string) *node {
	for _, f := range n.fields {
		if f.name == name {
			return f.value
		}
	}
	return nil
}

// without copies an object, leaving out the named fields.
func (n *node) without(names ...string) *node {
	c := *n
	c.fields = slices.DeleteFunc(slices.Clone(n.fields), func(f member) bool { return slices.Contains(names, f.name) })
	return &c
}

// value is the node as JSON value: string, bool, json.Number, []any, map[string]any or nil.
func (n *node) value() any {
	switch n.kind {
	case isText:
		return n.text
	case isNumber:
		return json.Number(n.text)
	case isBool:
		return n.text == "true"
	case isList:
		list := make([]any, len(n.entries))
		for i, e := range n.entries {
			list[i] = e.value()
		}
		return list
	case isObject:
		object := make(map[string]any, len(n.fields))
		for _, f := range n.fields {
			object[f.name] = f.value.value()
		}
		return object
	}
	return nil
}
