package workspace

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"hash/crc32"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"

	"millrace/schema"
	"millrace/schema/compile"
	"millrace/schema/document"
	"millrace/workspace/disk"
)

// state/seen keeps, from one process to the next, what compiling and validating found out. Both are
// pure functions of bytes and of this program, so it counts only for the same program, and each finding
// only beside the digests of all that it rests on; it says nothing about whether a file is there.
// The daemon writes it at a checkpoint, everybody reads it. Losing it loses time, nothing else.

const maxMemory = 1 << 28 // bytes

type memory struct {
	Program string        // that found it out
	Inputs  schema.Digest // of mode and every input file
	Plan    schema.Digest // what they compile to; the bytes are archived under state/plans
	Diags   []byte        // JSON
	Config  []byte        // JSON
	Kinds   schema.Digest // of families: their definitions hold, and judged the files
	Files   []seenFile
}

// A seenFile is a declaration file without faults whose items carry what it says.
type seenFile struct {
	Path   string
	Digest schema.Digest
	Docs   []seenDoc
}

type seenDoc struct {
	Key    schema.Key
	Line   int
	Digest schema.Digest
}

// program tells one build of Millrace from every other; "" when that cannot be known.
var program = sync.OnceValue(func() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	info, err := os.Stat(self)
	if err != nil {
		return ""
	}
	st := stampOf(info)
	return strconv.FormatInt(st.Size, 10) + " " + strconv.FormatInt(st.Mtime, 10) + " " + strconv.FormatUint(st.Inode, 10)
})

// inputsDigest names a mode and the bytes of all files.
func inputsDigest(mode string, files map[string][]byte) schema.Digest {
	var b bytes.Buffer
	b.WriteString(strconv.Quote(mode))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		b.WriteString(strconv.Quote(name))
		b.WriteString(string(schema.DigestOf(files[name])))
	}
	return schema.DigestOf(b.Bytes())
}

// kindsDigest names families.
func kindsDigest(families map[string]*schema.Family) schema.Digest {
	data, err := json.Marshal(families)
	if err != nil {
		return ""
	}
	return schema.DigestOf(data)
}

// recall reads the memory; an empty one when there is none that can be used.
func recall(d disk.FS) *memory {
	m := new(memory)
	data, err := readAll(d, Seen, maxMemory)
	if err != nil || program() == "" {
		return m
	}
	sum, body, found := bytes.Cut(data, []byte{'\n'})
	if !found || string(sum) != checksum(body) || gob.NewDecoder(bytes.NewReader(body)).Decode(m) != nil || m.Program != program() {
		return new(memory)
	}
	return m
}

// config is the last configuration that parsed, or all defaults.
func (m *memory) config() *schema.Config {
	c := new(schema.Config)
	if json.Unmarshal(m.Config, c) != nil {
		c, _ = compile.LoadConfig("", nil)
	}
	return c
}

// compiled is what the files compile to, if that is remembered and the plan is archived.
func (m *memory) compiled(mode string, files map[string][]byte, archived func(schema.Digest) []byte) (compile.Result, bool) {
	var res compile.Result
	if m.Inputs == "" || m.Inputs != inputsDigest(mode, files) {
		return res, false
	}
	res.Bytes, res.Digest = archived(m.Plan), m.Plan
	res.Plan, res.Config = new(schema.Plan), new(schema.Config)
	if schema.DigestOf(res.Bytes) != m.Plan || json.Unmarshal(res.Bytes, res.Plan) != nil ||
		json.Unmarshal(m.Diags, &res.Diags) != nil || json.Unmarshal(m.Config, res.Config) != nil {
		return compile.Result{}, false
	}
	res.Inputs = res.Plan.Inputs
	return res, true
}

// registry defines document kinds, later if they are known to hold.
func (m *memory) registry(families map[string]*schema.Family) (*document.Registry, error) {
	if m.Kinds != "" && m.Kinds == kindsDigest(families) {
		return document.Deferred(families), nil
	}
	m.Files = nil // judged by other definitions
	return document.NewRegistry(families)
}

// files indexes what is remembered of declarations.
func (m *memory) files() map[string]seenFile {
	byPath := make(map[string]seenFile, len(m.Files))
	for _, f := range m.Files {
		byPath[f.Path] = f
	}
	return byPath
}

// Remember writes down what was found out, when it is not what was written last. Only a daemon does.
func (o *Observers) Remember(ctx context.Context) error {
	o.mu.Lock()
	m := o.memorize()
	o.mu.Unlock()
	if m == nil || program() == "" || o.opt.Daemon == "" {
		return nil
	}
	var body bytes.Buffer
	if err := gob.NewEncoder(&body).Encode(m); err != nil {
		return err
	}
	sum := crc32.Checksum(body.Bytes(), castagnoli)
	if o.remembered == sum {
		return nil
	}
	data := append([]byte(checksum(body.Bytes())+"\n"), body.Bytes()...)
	_, err := o.w.underLock(ctx, func() (bool, error) {
		if err := o.w.clearWay(Seen); err != nil {
			return false, err
		}
		a := &applier{disk: o.w.disk, seq: o.w.last.Seq}
		return true, a.put(Seen, data, true) // need not be synced: a torn one is not used
	})
	if err == nil {
		o.remembered = sum
	}
	return err
}

// memorize collects what holds now; nil while that is in flux.
func (o *Observers) memorize() *memory {
	in := o.inputs
	if in.stale || len(in.bad) > 0 || in.compiled.Plan == nil || in.registry == nil {
		return nil
	}
	diags, errD := json.Marshal(in.compiled.Diags)
	config, errC := json.Marshal(in.config)
	if errD != nil || errC != nil {
		return nil
	}
	m := &memory{
		Program: program(), Inputs: inputsDigest(in.choice(), in.files), Plan: in.compiled.Digest, Diags: diags, Config: config,
		Kinds: kindsDigest(in.families),
	}
	for _, name := range slices.Sorted(maps.Keys(o.intake.seen.Files)) {
		if f := o.intake.seen.Files[name]; f.released() {
			known := seenFile{Path: name, Digest: f.Digest}
			for _, d := range f.Docs {
				known.Docs = append(known.Docs, seenDoc{d.Key, d.Line, d.Digest})
			}
			m.Files = append(m.Files, known)
		}
	}
	return m
}

// released reports whether nothing of a file is wanted but what its items carry.
func (f *IntakeFile) released() bool {
	return !f.Settling && !f.Unparsed && len(f.Diags) == 0 && len(f.Docs) > 0 &&
		!slices.ContainsFunc(f.Docs, func(d Declared) bool { return d.Doc != nil })
}

// readArchive reads an archived plan.
func (o *Observers) readArchive(d schema.Digest) []byte {
	data, err := o.w.ReadFile(PlanPath(d), 64<<20)
	if err != nil {
		return nil
	}
	return data
}
