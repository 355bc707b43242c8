package term

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// A Choice is a flag that takes one of a list of words.
type Choice struct {
	Value   string
	Allowed []string
}

// Set checks and takes a value.
func (c *Choice) Set(v string) error {
	if !slices.Contains(c.Allowed, v) {
		return fmt.Errorf("choose one of %s", strings.Join(c.Allowed, ", "))
	}
	c.Value = v
	return nil
}

func (c *Choice) String() string { return c.Value }

// Type names the choices in the help text.
func (c *Choice) Type() string { return strings.Join(c.Allowed, "|") }

// Formats are what -o takes where something is listed or shown.
var Formats = []string{"text", "wide", "json", "yaml", "name"}

// A Report is one answer in every format that a command can print.
type Report struct {
	Data  any             // json and yaml: the documented contract
	Names []string        // name: one a line, fit for another command's arguments
	Text  func(wide bool) // text and wide
}

// Print writes the report to Out in the format.
func (s *IO) Print(format string, r Report) error {
	switch format {
	case "json":
		data, err := Marshal(r.Data)
		if err != nil {
			return err
		}
		_, err = s.Out.Write(data)
		return err
	case "yaml":
		data, err := YAML(r.Data)
		if err != nil {
			return err
		}
		_, err = s.Out.Write(data)
		return err
	case "name":
		for _, n := range r.Names {
			if _, err := fmt.Fprintln(s.Out, n); err != nil {
				return err
			}
		}
		return nil
	}
	r.Text(format == "wide")
	return nil
}

// Marshal writes indented JSON with a final newline; <, > and & stay readable.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode json: %w", err)
	}
	return b.Bytes(), nil
}

// YAML writes the same record as Marshal, in the same order: JSON is YAML, so it is read as such and
// written in block style.
func YAML(v any) ([]byte, error) {
	data, err := Marshal(v)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("encode yaml: %w", err)
	}
	unstyle(&doc)
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return nil, fmt.Errorf("encode yaml: %w", err)
	}
	return b.Bytes(), nil
}

func unstyle(n *yaml.Node) {
	n.Style = 0
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" && strings.Contains(n.Value, "\n") {
		n.Style = yaml.LiteralStyle
	}
	for _, c := range n.Content {
		unstyle(c)
	}
}
