package workspace

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"millrace/assets"
	"millrace/schema"
	"millrace/schema/compile"
	"millrace/schema/document"
)

// inputFolders hold what a plan is compiled from, beside the configuration.
var inputFolders = []string{"modes", "graphs", "stages", "families", "entrypoints", "skills"}

// compilePatience is how long an unfinished input may keep the others from being compiled.
const compilePatience = time.Second

// inputs keeps the bytes of everything a plan is compiled from, and what they compile to. They are
// compiled again only when bytes have changed.
type inputs struct {
	mode  string // override of the configured mode, or ""
	name  string // of the configuration in place of those of ConfigNames, or ""
	files map[string][]byte
	bad   map[string]schema.Diagnostic
	stale bool
	since time.Time // when it became stale

	compiled Compiled
	config   *schema.Config // the last that parsed
	compiles int

	families map[string]*schema.Family
	registry *document.Registry

	against schema.Digest // plan that Changed was made against

	memory   *memory // what an earlier process found out
	archived func(schema.Digest) []byte
}

func newInputs(mode, name string, m *memory) *inputs {
	return &inputs{mode: mode, name: name, files: map[string][]byte{}, bad: map[string]schema.Diagnostic{}, stale: true, since: time.Now(), config: m.config(), memory: m}
}

// choice is what was asked for beside the files.
func (in *inputs) choice() string { return in.mode + "\x00" + in.name }

// isConfig reports whether a name in the workspace folder is that of the configuration.
func (in *inputs) isConfig(name string) bool {
	if in.name != "" {
		return name == in.name
	}
	return slices.Contains(ConfigNames, name)
}

func (in *inputs) isInput(name string) bool { return in.isConfig(name) || compile.IsInput(name) }

// skip leaves out what editors leave about; a README or a name with "_" may be an asset.
func (in *inputs) skip(dir, name string) bool {
	if dir == "." {
		return !in.isConfig(name)
	}
	return ignored(name) && name[0] != '_' && !strings.HasPrefix(name, "README")
}

func (in *inputs) whole(name string, _ *file, data []byte) {
	if !in.isInput(name) {
		return
	}
	if old, ok := in.files[name]; ok && string(old) == string(data) {
		return
	}
	in.files[name] = data
	delete(in.bad, name)
	in.spoil()
}

func (in *inputs) refuse(name string, d schema.Diagnostic) {
	if !in.isInput(name) {
		return
	}
	delete(in.files, name)
	in.bad[name] = d
	in.spoil()
}

func (in *inputs) open(string) {}

func (in *inputs) gone(name string) {
	if _, ok := in.files[name]; ok || in.bad[name].Path != "" {
		delete(in.files, name)
		delete(in.bad, name)
		in.spoil()
	}
}

func (in *inputs) spoil() {
	if !in.stale {
		in.stale, in.since = true, time.Now()
	}
}

// due is when to compile; zero when nothing changed.
func (in *inputs) due(pending bool) time.Time {
	switch {
	case !in.stale:
		return time.Time{}
	case pending:
		return in.since.Add(compilePatience)
	}
	return in.since
}

// refresh compiles when something changed and nothing is half written. stored finds the families of
// the current plan, for the time before anything compiles.
func (in *inputs) refresh(pending bool, stored func() map[string]*schema.Family) (registry bool, err error) {
	if !in.stale || time.Now().Before(in.due(pending)) {
		return false, nil
	}
	in.compile()
	families := in.families
	if in.compiled.Plan != nil {
		families = in.compiled.Plan.Families
	} else if in.registry == nil {
		families = stored()
	}
	if in.registry != nil && sameFamilies(families, in.families) {
		return false, nil
	}
	next, err := in.memory.registry(families)
	if err != nil {
		return false, fmt.Errorf("define document kinds: %w", err)
	}
	in.registry, in.families = next, families
	return true, nil
}

func sameFamilies(a, b map[string]*schema.Family) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// compile freezes what is there. An input that cannot be read is no reason to refuse the others,
// unless it is the configuration: nobody knows what it says.
func (in *inputs) compile() {
	in.stale = false
	res, known := compile.Result{}, false
	if len(in.bad) == 0 {
		res, known = in.memory.compiled(in.choice(), in.files, in.archived)
	}
	if !known {
		in.compiles++
		res = compile.Compile(compile.Source{Mode: in.mode, Config: in.name, Files: in.files})
	}
	next := Compiled{Ready: true, Plan: res.Plan, Bytes: res.Bytes, Digest: res.Digest, Diags: res.Diags, Files: res.Inputs,
		Read: make(map[string]schema.Digest, len(in.files))}
	for name, data := range in.files {
		next.Read[name] = schema.DigestOf(data)
	}
	for name, d := range in.bad {
		if in.isConfig(name) {
			next.Plan, next.Bytes, next.Digest = nil, nil, ""
		} else {
			d.Severity = schema.Warning
		}
		next.Diags = append(next.Diags, d)
	}
	if next.Plan == nil { // nobody can say which of them a plan would use
		next.Files = maps.Clone(next.Read)
		maps.Copy(next.Files, res.Inputs)
	}
	in.compiled, in.against = next, "-"
	if res.Config != nil && !in.badConfig() {
		in.config = res.Config
	}
}

func (in *inputs) badConfig() bool {
	for name := range in.bad {
		if in.isConfig(name) {
			return true
		}
	}
	return false
}

// view shows what compiled, with the paths that differ from what the current plan was made of.
func (in *inputs) view(s *State, plans func(schema.Digest) *schema.Plan) Compiled {
	if in.against != s.Control.Plan {
		in.against = s.Control.Plan
		in.compiled.Changed = changed(plans(s.Control.Plan), in.compiled)
	}
	return in.compiled
}

// baseline digests the assets that this program deploys.
var baseline = sync.OnceValue(func() map[string]schema.Digest {
	digests := map[string]schema.Digest{}
	for name, data := range assets.Files() {
		digests[name] = schema.DigestOf(data)
	}
	return digests
})

func changed(current *schema.Plan, seen Compiled) []string {
	if current == nil || !seen.Ready {
		return nil
	}
	var paths []string
	for name, d := range current.Inputs {
		if seen.Files[name] != d && seen.Read[name] != d { // the same, and not used any more, is no change
			paths = append(paths, name)
		}
	}
	if seen.Plan != nil { // else Files also holds what no plan would use
		for name, d := range seen.Files {
			if _, ok := current.Inputs[name]; !ok && baseline()[name] != d { // what Millrace brought is nobody's change
				paths = append(paths, name)
			}
		}
	}
	slices.Sort(paths)
	return paths
}
