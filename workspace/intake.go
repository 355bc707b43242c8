package workspace

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/schema"
	"millrace/schema/document"
)

// intake keeps what the declarations folder holds: every file's documents, an index by the item they
// declare, and which keys may disagree with their item. It is changed by Refresh (files) and by View
// (items) only, and costs what changed.
type intake struct {
	registry *document.Registry
	now      func() time.Time
	seq      uint64 // last record seen by a view
	fresh    bool   // nothing has been seen yet: files are as old as their stamps say

	seen   Intake
	all    map[schema.Key][]Declared // every document of every file, also of files in doubt
	dirty  map[schema.Key]bool       // to be compared with their item by the next view
	moved  map[string]bool           // files that say something else now: the items they declared are compared too
	need   map[string]bool           // files whose documents are wanted again
	undec  map[schema.Key]bool       // Unreconciled as a set
	parses int                       // files validated so far
	known  map[string]seenFile       // what an earlier process found out, until it has been asked
}

func newIntake(now func() time.Time) *intake {
	return &intake{
		now: now, fresh: true,
		seen:  Intake{Files: map[string]*IntakeFile{}, ByKey: map[schema.Key][]Declared{}},
		all:   map[schema.Key][]Declared{},
		dirty: map[schema.Key]bool{}, moved: map[string]bool{}, need: map[string]bool{}, undec: map[schema.Key]bool{},
	}
}

// DeclaredKey is the key of the item that a document declares: an idea declares its root spec.
func DeclaredKey(d *schema.Document) schema.Key {
	if d.Kind == schema.KindIdea {
		return schema.Key{Family: schema.FamilySpec, ID: "idea-" + d.ID}
	}
	return d.Key()
}

// Keeps reports whether nothing may be concluded from the absence of k in the file: its bytes are
// not read yet, do not parse, or a document in it that may be k's is invalid.
func (f *IntakeFile) Keeps(k schema.Key) bool {
	if f == nil {
		return false
	}
	if f.Settling || f.Unparsed {
		return true
	}
	for _, d := range f.Diags {
		if d.Severity == schema.Warning {
			continue
		}
		switch d.Subject {
		case "", k.Family + " " + strconv.Quote(k.ID),
			schema.KindIdea + " " + strconv.Quote(strings.TrimPrefix(k.ID, "idea-")):
			return true
		}
	}
	return false
}

// current reports whether a file's documents are what the file says now.
func (f *IntakeFile) current() bool { return f != nil && !f.Settling }

// whole takes in a file's bytes. Bytes that were validated before are not validated again.
func (in *intake) whole(name string, f *file, data []byte) {
	old := in.seen.Files[name]
	if old != nil && old.Digest == f.digest && !in.need[name] {
		if old.Settling {
			next := *old
			next.Settling = false
			in.seen.Files[name] = &next
			in.moved[name] = true
			in.mark(next.Docs)
		}
		return
	}
	known, ok := in.known[name]
	if delete(in.known, name); ok && known.Digest == f.digest && !in.need[name] {
		in.replace(name, known.file(in.changed(f), in.seq))
		return
	}
	delete(in.need, name)
	in.parses++
	parsed := in.registry.Parse(name, data)
	next := &IntakeFile{
		Path: name, Digest: f.digest, Diags: parsed.Diags, Unparsed: parsed.Unparsed,
		Changed: in.changed(f), Since: in.seq,
	}
	if old != nil && old.Digest == f.digest {
		next.Changed, next.Since = old.Changed, old.Since
	}
	for _, doc := range parsed.Docs {
		next.Docs = append(next.Docs, Declared{
			Key: DeclaredKey(doc.Doc), Path: name, Line: doc.Line, File: f.digest, Digest: doc.Digest, Doc: doc.Doc,
		})
	}
	in.replace(name, next)
}

// file is what a remembered file says; its documents are found again where they are wanted.
func (s *seenFile) file(changed time.Time, seq uint64) *IntakeFile {
	f := &IntakeFile{Path: s.Path, Digest: s.Digest, Changed: changed, Since: seq}
	for _, d := range s.Docs {
		f.Docs = append(f.Docs, Declared{Key: d.Key, Path: s.Path, Line: d.Line, File: s.Digest, Digest: d.Digest})
	}
	return f
}

// changed is when the bytes were first seen; what was there before the observers looked is as old as
// its stamp.
func (in *intake) changed(f *file) time.Time {
	if in.fresh {
		return time.Unix(0, max(f.stamp.Mtime, f.stamp.Ctime)).UTC()
	}
	return in.now()
}

func (in *intake) refuse(name string, d schema.Diagnostic) {
	in.replace(name, &IntakeFile{
		Path: name, Diags: schema.Diagnostics{d}, Unparsed: true, Changed: in.now(), Since: in.seq,
	})
}

// open marks a file whose bytes cannot be read yet; what it said last stands meanwhile, in doubt.
func (in *intake) open(name string) {
	old := in.seen.Files[name]
	if old != nil && old.Settling {
		return
	}
	next := &IntakeFile{Path: name, Changed: in.now(), Since: in.seq}
	if old != nil {
		*next = *old
	}
	next.Settling = true
	in.seen.Files[name] = next
	in.moved[name] = true
	in.mark(next.Docs)
}

func (in *intake) gone(name string) { in.replace(name, nil) }

// replace puts a file's new content in place of its old one and notes every key concerned.
func (in *intake) replace(name string, next *IntakeFile) {
	in.moved[name] = true
	if old := in.seen.Files[name]; old != nil {
		in.mark(old.Docs)
		for _, d := range old.Docs {
			in.remove(d)
		}
	}
	if next == nil {
		delete(in.seen.Files, name)
		return
	}
	in.seen.Files[name] = next
	for _, d := range next.Docs {
		if d.Key.Family == schema.KindControl || d.Key.Family == schema.KindApproval {
			continue
		}
		in.all[d.Key] = append(in.all[d.Key], d)
	}
	in.mark(next.Docs)
}

func (in *intake) remove(d Declared) {
	left := slices.DeleteFunc(in.all[d.Key], func(o Declared) bool { return o.Path == d.Path })
	if in.all[d.Key] = left; len(left) == 0 {
		delete(in.all, d.Key)
	}
}

// mark notes the keys of documents whose index entries must be made anew.
func (in *intake) mark(docs []Declared) {
	for _, d := range docs {
		switch d.Key.Family {
		case schema.KindControl, schema.KindApproval:
			in.dirty[schema.Key{Family: d.Key.Family}] = true
		default:
			in.dirty[d.Key] = true
		}
	}
}

// reparse forgets what was validated: the definitions have changed. The tree hands the bytes over
// again.
func (in *intake) reparse() {
	for name := range in.seen.Files {
		in.need[name] = true
	}
}

// index makes a key's entry in ByKey. A file in doubt counts only when no other declares the key: a
// declaration that moves from file to file is never seen twice.
func (in *intake) index(k schema.Key) []Declared {
	decls := in.all[k]
	if len(decls) > 1 {
		sure := slices.DeleteFunc(slices.Clone(decls), func(d Declared) bool { return !in.seen.Files[d.Path].current() })
		if len(sure) > 0 {
			decls = sure
		}
		slices.SortFunc(decls, func(a, b Declared) int {
			if c := strings.Compare(a.Path, b.Path); c != 0 {
				return c
			}
			return a.Line - b.Line
		})
	}
	if len(decls) == 0 {
		delete(in.seen.ByKey, k)
	} else {
		in.seen.ByKey[k] = decls
	}
	return decls
}

// view brings the index up to date with the state; touched are the items that changed.
func (in *intake) view(s *State, touched []schema.Key) *Intake {
	in.seq = s.Seq
	for _, k := range touched {
		in.dirty[k] = true
	}
	for name := range in.moved {
		for _, k := range s.DeclaredIn(name) {
			in.dirty[k] = true
		}
	}
	clear(in.moved)
	if len(in.dirty) == 0 {
		return &in.seen
	}
	var added []schema.Key
	removed := false
	for k := range in.dirty {
		if k.ID == "" && (k.Family == schema.KindControl || k.Family == schema.KindApproval) {
			in.special()
			continue
		}
		decls := in.index(k)
		switch differs := in.differs(s, k, decls); {
		case differs && in.missingDoc(s, k, decls):
			delete(in.undec, k) // told once its document is there to be decided on
			removed = true
		case differs && !in.undec[k]:
			in.undec[k] = true
			added = append(added, k)
		case !differs && in.undec[k]:
			delete(in.undec, k)
			removed = true
			fallthrough
		case !differs && !s.Hold[k]: // what is held has no item yet that carries it
			in.release(k)
		}
	}
	clear(in.dirty)
	list := in.seen.Unreconciled
	if removed {
		list = slices.DeleteFunc(list, func(k schema.Key) bool { return !in.undec[k] })
	}
	if len(added) > 0 {
		list = append(list, added...)
		slices.SortFunc(list, CompareKeys)
		list = slices.Compact(list)
	}
	in.seen.Unreconciled = list
	return &in.seen
}

// special lists the declarations that are no items.
func (in *intake) special() {
	in.seen.Control, in.seen.Approval = nil, nil
	for _, f := range in.seen.Files {
		for _, d := range f.Docs {
			switch d.Key.Family {
			case schema.KindControl:
				in.seen.Control = append(in.seen.Control, d)
			case schema.KindApproval:
				in.seen.Approval = append(in.seen.Approval, d)
			}
		}
	}
	byPlace := func(a, b Declared) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return a.Line - b.Line
	}
	slices.SortFunc(in.seen.Control, byPlace)
	slices.SortFunc(in.seen.Approval, byPlace)
}

// differs reports whether a key's declaration and item may disagree.
func (in *intake) differs(s *State, k schema.Key, decls []Declared) bool {
	it := s.Items[k]
	switch {
	case len(decls) > 1:
		return true
	case len(decls) == 0:
		if it == nil || it.Declared == nil || schema.Ended(it.State) {
			return false
		}
		if it.Declared.Absent != nil || it.Cancel != nil {
			return true
		}
		return in.seen.Complete && !in.seen.Files[it.Declared.Path].Keeps(k)
	case it == nil:
		return !s.Hold[k]
	case it.Declared == nil:
		return true
	}
	d, dec := decls[0], it.Declared
	if dec.Digest != d.Digest {
		return it.State != schema.StateActive || dec.Pending != d.Digest || dec.Absent != nil
	}
	pruned := it.State == schema.StateCancelled && it.EndedBy == "prune" || it.Cancel != nil && it.Cancel.By == "prune"
	return pruned || dec.Path != d.Path || dec.Absent != nil || dec.Pending != ""
}

// missingDoc asks for the documents of a key that needs deciding but whose documents were let go.
func (in *intake) missingDoc(s *State, k schema.Key, decls []Declared) bool {
	missing := false
	for _, d := range decls {
		if it := s.Items[k]; d.Doc == nil && (it == nil || it.Declared == nil || it.Declared.Digest != d.Digest) {
			in.need[d.Path] = true
			missing = true
		}
	}
	return missing
}

// release lets go of documents that their item already carries: ten thousand of them would be kept
// for nothing.
func (in *intake) release(k schema.Key) {
	for i := range in.all[k] {
		d := &in.all[k][i]
		if d.Doc == nil {
			continue
		}
		d.Doc = nil
		if f := in.seen.Files[d.Path]; f != nil {
			at, _ := slices.BinarySearchFunc(f.Docs, d.Line, func(o Declared, line int) int { return o.Line - line })
			for ; at < len(f.Docs) && f.Docs[at].Line == d.Line; at++ {
				if f.Docs[at].Key == k {
					f.Docs[at].Doc = nil
				}
			}
		}
	}
	if decls := in.seen.ByKey[k]; len(decls) == 1 {
		decls[0].Doc = nil
	}
}

// recheck compares every key again.
func (in *intake) recheck(s *State) {
	for k := range in.all {
		in.dirty[k] = true
	}
	if s != nil {
		for k := range s.Items {
			in.dirty[k] = true
		}
	}
}
