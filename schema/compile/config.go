package compile

import (
	"bytes"
	"encoding/json"
	"path"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/parser"
	cuejson "cuelang.org/go/encoding/json"
	"cuelang.org/go/encoding/toml"
	"cuelang.org/go/encoding/yaml"

	"millrace/schema"
)

// configuration is the configuration with the places of what was written.
type configuration struct {
	path  string
	value *schema.Config
	at    *places
}

// LoadConfig reads a configuration, its encoding told by the extension of path, and fills in the defaults.
// With data nil everything has its default. The configuration is nil when there is an error.
func LoadConfig(path string, data []byte) (*schema.Config, schema.Diagnostics) {
	c, ds := loadConfig(path, data)
	if c == nil {
		return nil, ds
	}
	return c.value, ds
}

func loadConfig(name string, data []byte) (*configuration, schema.Diagnostics) {
	if len(data) > schema.MaxFile {
		return nil, schema.Diagnostics{{Severity: schema.Error, Path: name, Message: "the file is larger than 1 MiB"}}
	}
	file, err := parseConfig(name, data)
	if err != nil {
		return nil, syntaxErrors(name, err)
	}
	c := &configuration{path: name, value: new(schema.Config), at: newPlaces(name)}
	c.at.addFile(file)
	inst := build.NewContext().NewInstance("", nil)
	addDefinitions(inst)
	if err := inst.Complete(); err != nil {
		panic("load definitions: " + err.Error())
	}
	ctx := cuecontext.New()
	def := ctx.BuildInstance(inst).LookupPath(cue.ParsePath("#Config"))
	written := ctx.BuildFile(file)
	if err := written.Err(); err != nil && !written.Exists() {
		return nil, syntaxErrors(name, err)
	}
	sub := subtree{def.Unify(written), def, nil, c.at, ""}
	if ds := sub.explain(); len(ds) > 0 {
		return nil, sorted(ds)
	}
	record, err := sub.value.MarshalJSON()
	if err == nil {
		err = json.Unmarshal(record, c.value)
	}
	if err != nil {
		return nil, syntaxErrors(name, err)
	}
	return c, nil
}

// parseConfig reads any of the encodings as CUE syntax, which keeps the places.
func parseConfig(name string, data []byte) (*ast.File, error) {
	switch path.Ext(name) {
	case ".yaml", ".yml":
		return yaml.Extract(name, data)
	case ".json":
		if len(bytes.TrimSpace(data)) == 0 {
			return &ast.File{Filename: name}, nil
		}
		expr, err := cuejson.Extract(name, data)
		return exprFile(name, expr), err
	case ".toml":
		expr, err := toml.NewDecoder(name, bytes.NewReader(data)).Decode()
		if err != nil {
			return nil, err
		}
		return exprFile(name, expr), nil
	}
	return parser.ParseFile(name, data)
}

func exprFile(name string, expr ast.Expr) *ast.File {
	if s, ok := expr.(*ast.StructLit); ok {
		return &ast.File{Filename: name, Decls: s.Elts}
	}
	return &ast.File{Filename: name, Decls: []ast.Decl{&ast.EmbedDecl{Expr: expr}}}
}

// from names a setting for people: where it was written, or that it is a default.
func (c *configuration) from(field ...string) string {
	name := fieldName(field)
	if c.at.written(field...) {
		return name + " in " + c.path
	}
	return name + " (default)"
}
