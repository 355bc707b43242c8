package document

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"

	"millrace/schema"
)

// A Registry knows the definitions of all document kinds. It is safe for concurrent use.
type Registry struct {
	root      cue.Value
	kinds     map[string]*kind
	order     []string          // kinds in the order in which their id fields are looked for
	folders   map[string]string // first folder below intake/ → kind
	artifacts map[string]bool   // kinds that stages write
	written   map[string]bool   // definitions of what people and agents write
	own       []cue.Value       // what operators' families bring

	mu     sync.Mutex // CUE values are shared; evaluating them one at a time costs nothing
	shapes shaper
}

// A kind of document: its definition and how it is found and written.
type kind struct {
	name       string
	id         string // field
	intake     []string
	extension  string
	definition cue.Value
	shape      *shape
}

// files of the embedded definitions that documents, artifacts and state need.
var files = []string{"documents.cue", "artifacts.cue", "state.cue"}

// quiet keeps the CUE library from reading its debugging switches: a person's environment must not
// change what is valid.
var quiet = sync.OnceFunc(func() {
	for _, name := range []string{"CUE_EXPERIMENT", "CUE_DEBUG"} {
		_ = os.Unsetenv(name) // fails for invalid names only
	}
})

// NewRegistry makes a registry of the built-in kinds and the families; a family with a Source brings
// its own definition, which may use the built-in ones (#ID, #Text, #Check, …).
func NewRegistry(families map[string]*schema.Family) (*Registry, error) {
	quiet()
	ctx := cuecontext.New()
	text, err := definitions()
	if err != nil {
		return nil, err
	}
	r := &Registry{root: ctx.CompileString(text, cue.Filename("schema")), kinds: map[string]*kind{},
		folders: map[string]string{}, artifacts: map[string]bool{}, written: map[string]bool{}, shapes: shaper{known: map[string]*shape{}}}
	if err := r.root.Validate(); err != nil {
		return nil, fmt.Errorf("compile definitions: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if f := families[name]; f.Source != "" {
			if err := r.bring(ctx, f); err != nil {
				return nil, err
			}
		}
	}
	if err := r.builtin(); err != nil {
		return nil, err
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
		k := &kind{name: row.Kind, id: row.ID, intake: row.Intake, extension: row.Extension}
		if err := r.add(k, r.root, row.Definition); err != nil {
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

// bring adds a family that an operator defines.
func (r *Registry) bring(ctx *cue.Context, f *schema.Family) error {
	v := ctx.CompileString(f.Source, cue.Filename("families/"+f.ID+".cue"), cue.Scope(r.root))
	if err := v.Validate(); err != nil {
		return fmt.Errorf("compile definition of family %s: %w", f.ID, err)
	}
	k := &kind{name: f.ID, id: f.IDField, intake: f.Intake, extension: f.Extension}
	if k.extension == "" {
		k.extension = ".md"
	}
	if err := r.add(k, v, f.Definition); err != nil {
		return err
	}
	if k.shape.field(k.id) == nil {
		return fmt.Errorf("compile definition of family %s: %s has no field %s, which is its id", f.ID, f.Definition, k.id)
	}
	r.own = append(r.own, v)
	return nil
}

func (r *Registry) add(k *kind, root cue.Value, definition string) (err error) {
	if k.definition, k.shape, err = r.lookup(root, definition); err != nil {
		return err
	}
	if k.shape.kind != cue.StructKind {
		return fmt.Errorf("compile definitions: %s of kind %s is no struct", definition, k.name)
	}
	r.kinds[k.name] = k
	r.written[definition] = true
	r.order = append(r.order, k.name)
	return nil
}

// lookup finds a definition and its shape.
func (r *Registry) lookup(root cue.Value, definition string) (cue.Value, *shape, error) {
	v := root.LookupPath(cue.ParsePath(definition))
	if !v.Exists() {
		return v, nil, fmt.Errorf("compile definitions: there is no %s", definition)
	}
	s, err := r.shapes.shape(v)
	return v, s, err
}

// Kinds lists all kinds, in the order in which their id fields decide.
func (r *Registry) Kinds() []string { return slices.Clone(r.order) }

// IntakeFolder is the kind that the first folder below intake/ implies.
func (r *Registry) IntakeFolder(first string) (string, bool) {
	name, ok := r.folders[first]
	return name, ok
}
