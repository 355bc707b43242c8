package document

import (
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/errors"

	"millrace/schema"
)

// A Registry knows the definitions of all document kinds. It is safe for concurrent use.
type Registry struct {
	*contents
	once  sync.Once
	later map[string]*schema.Family // of a deferred one: what to define
}

type contents struct {
	root      cue.Value
	kinds     map[string]*kind
	order     []string          // kinds in the order in which their id fields are looked for
	folders   map[string]string // first folder below intake/ → kind
	artifacts map[string]bool   // kinds that stages write
	written   map[string]bool   // definitions of what people and agents write
	own       []cue.Value       // what operators' families bring

	mu    sync.Mutex // CUE values are shared; evaluating them one at a time costs nothing
	asked map[string]*definition
}

// A definition with the shape that explains it.
type definition struct {
	value cue.Value
	shape *shape
}

// A kind of document: its definition and how it is found and written.
type kind struct {
	name       string
	id         string // field
	intake     []string
	extension  string
	definition string
	value      cue.Value
	shape      *shape
}

// files of the embedded definitions that documents, artifacts and state need.
var files = []string{"documents.cue", "artifacts.cue", "state.cue"}

// NewRegistry makes a registry of the built-in kinds and the families; a family with a Source brings
// its own definition, which may use the built-in ones (#ID, #Text, #Check, …). Its fields are those
// that it lists; a condition (if) may ask for one of them, but not bring another.
func NewRegistry(families map[string]*schema.Family) (*Registry, error) {
	ctx := cuecontext.New()
	text, err := definitions()
	if err != nil {
		return nil, err
	}
	r := &Registry{contents: &contents{root: ctx.CompileString(text, cue.Filename("schema")), kinds: map[string]*kind{},
		folders: map[string]string{}, artifacts: map[string]bool{}, written: map[string]bool{}, asked: map[string]*definition{}}}
	if err := r.root.Validate(); err != nil {
		return nil, fmt.Errorf("compile definitions: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if f := families[name]; f.Source != "" {
			own := ctx.CompileString(f.Source, cue.Filename("families/"+f.ID+".cue"), cue.Scope(r.root))
			if err := r.bring(own, f); err != nil {
				return nil, err
			}
			r.own = append(r.own, own)
		}
	}
	if err := r.builtin(); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if f := families[name]; r.kinds[f.ID] == nil { // a family of its own with a built-in definition
			if err := r.bring(r.root, f); err != nil {
				return nil, err
			}
		}
	}
	for _, f := range families {
		if k := r.kinds[f.ID]; k != nil && len(f.Intake) > 0 {
			k.intake = f.Intake
		}
	}
	for _, name := range r.order {
		for _, folder := range r.kinds[name].intake {
			r.folders[folder] = name
		}
	}
	return r, nil
}

// Deferred is NewRegistry for families that this very build is known to have defined before. It cannot
// fail then, and so waits until something is asked of it: most commands never do.
func Deferred(families map[string]*schema.Family) *Registry { return &Registry{later: families} }

// defined returns the registry with its definitions made.
func (r *Registry) defined() *Registry {
	r.once.Do(func() {
		if r.contents != nil {
			return
		}
		next, err := NewRegistry(r.later)
		if err != nil {
			panic(fmt.Sprintf("define document kinds again: %v", err)) // they were defined before
		}
		r.contents = next.contents
	})
	return r
}

// definitions joins the embedded files into one: CUE compiles a single file without a loader.
func definitions() (string, error) {
	var imports, text strings.Builder
	for _, name := range files {
		data, err := fs.ReadFile(schema.CUE, name)
		if err != nil {
			return "", fmt.Errorf("read definitions: %w", err)
		}
		for line := range strings.Lines(string(data)) {
			switch {
			case strings.HasPrefix(line, "package "):
			case strings.HasPrefix(line, "import "):
				imports.WriteString(line)
			default:
				text.WriteString(line)
			}
		}
	}
	return imports.String() + text.String(), nil
}

// builtin adds the kinds of documents.cue behind those that operators brought.
func (r *Registry) builtin() error {
	var table []struct {
		Kind, Definition, ID, Extension string
		Intake                          []string
	}
	if err := r.root.LookupPath(cue.ParsePath("kinds")).Decode(&table); err != nil {
		return fmt.Errorf("read kinds: %w", err)
	}
	for _, row := range table {
		if r.kinds[row.Kind] != nil {
			continue
		}
		k := &kind{name: row.Kind, id: row.ID, intake: row.Intake, extension: row.Extension, definition: row.Definition}
		if err := r.add(k, r.root); err != nil {
			return err
		}
	}
	var artifacts []struct{ Kind, Definition string }
	if err := r.root.LookupPath(cue.ParsePath("artifacts")).Decode(&artifacts); err != nil {
		return fmt.Errorf("read artifacts: %w", err)
	}
	for _, a := range artifacts {
		r.artifacts[a.Kind] = r.kinds[a.Kind] == nil
		r.written[a.Definition] = true
	}
	return nil
}

// bring adds a family whose definition stands in v.
func (r *Registry) bring(v cue.Value, f *schema.Family) error {
	if err := v.Validate(); err != nil {
		if at := errors.Positions(err); len(at) > 0 {
			return fmt.Errorf("compile definition of family %s: %s: %w", f.ID, at[0], err)
		}
		return fmt.Errorf("compile definition of family %s: %w", f.ID, err)
	}
	k := &kind{name: f.ID, id: f.IDField, intake: f.Intake, extension: f.Extension, definition: f.Definition}
	if k.extension == "" {
		k.extension = ".md"
	}
	if err := r.add(k, v); err != nil {
		return err
	}
	if why := k.unfit(); why != "" {
		return fmt.Errorf("compile definition of family %s: %s %s", f.ID, f.Definition, why)
	}
	return nil
}

var fieldName = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

// unfit says why a definition cannot be that of a document, or "".
func (k *kind) unfit() string {
	if k.shape.open != nil {
		return "is open (...): list the fields that a document may have"
	}
	if k.shape.field(k.id) == nil {
		return "has no field " + k.id + ", which is the family's id_field"
	}
	for _, f := range k.shape.fields {
		switch {
		case f.name == "kind" || f.name == "body":
			return "has a field " + f.name + ", which every document has anyway: leave it out"
		case !fieldName.MatchString(f.name):
			return "has a field " + f.name + ": names have lower-case letters, digits and '_'"
		}
	}
	return ""
}

func (r *Registry) add(k *kind, root cue.Value) error {
	d, err := lookup(root, k.definition)
	if err != nil {
		return err
	}
	if d.shape.kind != cue.StructKind {
		return fmt.Errorf("compile definitions: %s of kind %s is no struct", k.definition, k.name)
	}
	k.value, k.shape = d.value, d.shape
	r.kinds[k.name] = k
	r.order = append(r.order, k.name)
	r.written[k.definition] = true
	return nil
}

// lookup finds a definition and derives its shape.
func lookup(root cue.Value, name string) (*definition, error) {
	path := cue.ParsePath(name)
	v := root.LookupPath(path)
	if path.Err() != nil || !v.Exists() {
		return nil, fmt.Errorf("find definition: there is no %s", name)
	}
	b := &shaper{known: map[string]*shape{}}
	s, err := b.shape(v)
	return &definition{v, s}, err
}

// find looks a definition up, the built-in ones first.
func (r *Registry) find(name string) (*definition, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := r.asked[name]; d != nil {
		return d, nil
	}
	d, err := lookup(r.root, name)
	for i := 0; err != nil && i < len(r.own); i++ {
		if own, e := lookup(r.own[i], name); e == nil {
			d, err = own, nil
		}
	}
	if err == nil {
		r.asked[name] = d
	}
	return d, err
}

// A Kind is what others may need to know of a kind of document.
type Kind struct {
	Name       string
	Definition string   // #Task
	IDField    string   // task_id; "" when there is one per workspace
	Label      string   // Task-ID
	Extension  string   // of the canonical form: .md or .json
	Intake     []string // first folders below intake/ that imply it
}

// KindOf describes a kind by its name.
func (r *Registry) KindOf(name string) (Kind, bool) {
	r.defined()
	k := r.kinds[name]
	if k == nil {
		return Kind{}, false
	}
	return Kind{k.name, k.definition, k.id, label(k.id), k.extension, slices.Clone(k.intake)}, true
}

// dropped are the kinds that people declare; one without a folder is the runtime's own.
func (r *Registry) dropped() []string {
	return slices.DeleteFunc(slices.Clone(r.order), func(name string) bool { return len(r.kinds[name].intake) == 0 })
}

// Kinds lists all kinds, in the order in which their id fields decide.
func (r *Registry) Kinds() []string { return slices.Clone(r.defined().order) }

// HasField reports whether documents of a kind may have the field.
func (r *Registry) HasField(kind, field string) bool {
	k := r.defined().kinds[kind]
	return k != nil && k.shape.field(field) != nil
}

// IntakeFolder is the kind that the first folder below intake/ implies.
func (r *Registry) IntakeFolder(first string) (string, bool) {
	r.defined()
	name, ok := r.folders[first]
	return name, ok
}
