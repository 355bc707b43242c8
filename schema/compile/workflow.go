package compile

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"regexp"
	"slices"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/parser"

	"millrace/schema"
)

const (
	definitionsFolder = "schema/" // where CUE's errors place our definitions
	packageName       = "millrace"
)

// The maps that workflow files add to, and the definition of an entry of each.
var sections = map[string]string{"stages": "#StageKind", "graphs": "#Graph", "modes": "#Mode", "families": "#Family"}

// workflow is the unified package of all workflow files.
type workflow struct {
	value  cue.Value
	at     *places
	syntax []*ast.File // operator's and shipped files, by name
}

// loadWorkflow unifies the files with the definitions. Nil when CUE cannot read them as one package.
func loadWorkflow(files map[string][]byte) (*workflow, schema.Diagnostics) {
	w := &workflow{at: newPlaces("modes/")}
	var ds schema.Diagnostics
	inst := build.NewContext().NewInstance("", nil)
	addDefinitions(inst)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f, err := parser.ParseFile(name, files[name], parser.ParseComments)
		if err != nil {
			ds = append(ds, syntaxErrors(name, err)...)
			continue
		}
		if got := f.PackageName(); got != packageName {
			ds = append(ds, schema.Diagnostic{Severity: schema.Error, Path: name, Line: 1, Column: 1,
				Message: "the file does not belong to package " + packageName,
				Hint:    "begin it with the line: package " + packageName})
			continue
		}
		ds = append(ds, topLevel(f)...)
		if err := inst.AddSyntax(f); err != nil {
			ds = append(ds, syntaxErrors(name, err)...)
			continue
		}
		w.at.addFile(f)
		w.syntax = append(w.syntax, f)
	}
	if err := inst.Complete(); err != nil {
		return nil, append(ds, syntaxErrors("", err)...)
	}
	w.value = cuecontext.New().BuildInstance(inst)
	if inst.Err != nil {
		return nil, append(ds, syntaxErrors("", inst.Err)...)
	}
	if ds.HasErrors() {
		return nil, ds
	}
	return w, ds
}

// addDefinitions puts the embedded definitions into a package: those of workflow and configuration, and those of
// documents, which a family of an operator's may use.
func addDefinitions(inst *build.Instance) {
	names, err := fs.Glob(schema.CUE, "*.cue")
	for _, name := range names {
		data, readErr := fs.ReadFile(schema.CUE, name)
		f, parseErr := parser.ParseFile(definitionsFolder+name, data, parser.ParseComments) // comments are hints
		err = errors.Join(err, readErr, parseErr)
		if err == nil {
			err = inst.AddSyntax(f)
		}
	}
	if err != nil {
		panic("load definitions: " + err.Error()) // they are part of the program
	}
}

// topLevel refuses fields that would be read by nobody.
func topLevel(f *ast.File) schema.Diagnostics {
	var ds schema.Diagnostics
	known := slices.Sorted(maps.Keys(sections))
	for _, decl := range f.Decls {
		field, ok := decl.(*ast.Field)
		if !ok {
			continue
		}
		name, _, err := ast.LabelName(field.Label)
		if err != nil || name[0] == '#' || name[0] == '_' || sections[name] != "" {
			continue
		}
		at := placeOf(field.Label.Pos())
		ds = append(ds, schema.Diagnostic{Severity: schema.Error, Path: at.path, Line: at.line, Column: at.column, Field: name,
			Message: "nothing reads this field", Hint: choice(name, known) + " (or begin its name with _ or #)"})
	}
	return ds
}

// ids lists the entries of a section, sorted.
func (w *workflow) ids(section string) []string {
	var ids []string
	fields, err := w.value.LookupPath(cue.ParsePath(section)).Fields()
	if err != nil {
		return nil
	}
	for fields.Next() {
		ids = append(ids, fields.Selector().Unquoted())
	}
	slices.Sort(ids)
	return ids
}

func (w *workflow) has(section, id string) bool { return w.lookup(section, id).Exists() }

func (w *workflow) lookup(path ...string) cue.Value {
	sels := make([]cue.Selector, len(path))
	for i, name := range path {
		sels[i] = cue.Str(name)
	}
	return w.value.LookupPath(cue.MakePath(sels...))
}

// entryName is what any entry may be called; definitions ask for less where it becomes part of a path.
var entryName = regexp.MustCompile(`^[a-z][a-z0-9_.-]*$`)

// entry checks one entry of a section and reads it into a Go value; it reports whether it could.
func (w *workflow) entry(section, kind, id string, into any, r *report) bool {
	v := w.lookup(section, id)
	sub := subtree{v, w.value.LookupPath(cue.ParsePath(sections[section])), []string{section, id}, w.at, subject(kind, id)}
	if !entryName.MatchString(id) {
		r.errorAt(w.at.name(section, id), sub.subject, "", "cannot be called so", wants[entryName.String()])
		return false
	}
	if ds := sub.explain(); len(ds) > 0 {
		r.add(ds...)
		return false
	}
	return w.decode(v, into, sub, r)
}

func (w *workflow) decode(v cue.Value, into any, sub subtree, r *report) bool {
	data, err := v.MarshalJSON()
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		r.errorAt(w.at.name(sub.root...), sub.subject, "", "cannot be read: "+err.Error(), "")
	}
	return err == nil
}

// kind reads a stage kind.
func (w *workflow) kind(id string, r *report) *schema.StageKind {
	var raw struct {
		schema.StageKind
		Writes map[string]schema.Artifact `json:"writes"`
	}
	if !w.entry("stages", "stage kind", id, &raw, r) {
		return nil
	}
	kind := raw.StageKind
	if fields, err := w.lookup("stages", id, "writes").Fields(); err == nil {
		for fields.Next() { // in the order in which they were written
			a := raw.Writes[fields.Selector().Unquoted()]
			a.Name = fields.Selector().Unquoted()
			kind.Writes = append(kind.Writes, a)
		}
	}
	return &kind
}

// graph reads a graph. Edges may be written as the name they lead to.
func (w *workflow) graph(id string, r *report) *schema.Graph {
	var raw struct {
		schema.Graph
		Nodes map[string]*rawNode `json:"nodes"`
		Ends  map[string]*rawEnd  `json:"ends"`
	}
	if !w.entry("graphs", "graph", id, &raw, r) {
		return nil
	}
	graph, whole := raw.Graph, true
	graph.ID = id
	edge := func(path ...string) *schema.Edge {
		e := w.edge(id, append([]string{"graphs", id}, path...), r)
		whole = whole && e != nil
		return e
	}
	graph.Nodes, graph.Ends = map[string]*schema.Node{}, map[string]*schema.End{}
	for _, name := range slices.Sorted(maps.Keys(raw.Nodes)) {
		node := raw.Nodes[name].Node
		node.On = map[string]*schema.Edge{}
		for _, outcome := range slices.Sorted(maps.Keys(raw.Nodes[name].On)) {
			node.On[outcome] = edge("nodes", name, "on", outcome)
		}
		graph.Nodes[name] = &node
	}
	for _, name := range slices.Sorted(maps.Keys(raw.Ends)) {
		end := raw.Ends[name].End
		if raw.Ends[name].Gate != nil {
			end.Gate = edge("ends", name, "gate")
		}
		graph.Ends[name] = &end
	}
	if !whole {
		return nil
	}
	return &graph
}

type rawNode struct {
	schema.Node
	On map[string]json.RawMessage `json:"on"`
}

type rawEnd struct {
	schema.End
	Gate json.RawMessage `json:"gate"`
}

// edge reads one edge: the name it leads to, or an #Edge.
func (w *workflow) edge(graph string, path []string, r *report) *schema.Edge {
	v, e := w.lookup(path...), new(schema.Edge)
	if v.IncompleteKind() == cue.StringKind {
		e.To, _ = v.String()
		return e
	}
	def := w.value.LookupPath(cue.ParsePath("#Edge"))
	sub := subtree{v.Unify(def), def, path, w.at, subject("graph", graph)}
	ds := sub.explain()
	for i := range ds { // an edge is named by its place in the graph
		ds[i].Field = path[2] + "." + joined(fieldName(path[3:]), ds[i].Field)
	}
	if r.add(ds...); len(ds) > 0 || !w.decode(sub.value, e, sub, r) {
		return nil
	}
	return e
}
