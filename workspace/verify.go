package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"

	"millrace/schema"
	"millrace/workspace/disk"
)

// Verify proves the workspace: the hash chain is whole, the folders are what the journal says, every
// law holds, and what records name by digest is there. It reads without the lock and looks a second
// time, under the lock, only at what seemed wrong; so a busy daemon gives no false findings and
// hardly waits. An error means that it could not be proven either way.
func (w *Workspace) Verify(ctx context.Context) ([]Finding, error) {
	v := &verifier{disk: w.disk, state: NewState(), paths: map[string]*footprint{}, blobs: map[schema.Digest]int64{}, runs: map[string]*schema.Run{}}
	spent, err := v.spent() // before the journal is read: what was spent by now is on record by now
	if err != nil {
		return nil, err
	}
	if err := v.read(ctx); err != nil {
		return damage(err)
	}
	suspects, err := v.compare(ctx, v.all())
	if err != nil {
		return nil, err
	}
	var found []Finding
	_, err = w.underLock(ctx, func() (bool, error) {
		behind := v.state.Seq
		if err := v.read(ctx); err != nil {
			return false, err
		}
		found, err = v.compare(ctx, v.again(suspects, behind))
		return true, err
	})
	var unapplied *UnappliedError
	switch {
	case errors.As(err, &unapplied):
		found = append(suspects, Finding{LawApplied, unapplied.Path, unapplied.Error(), unapplied.Repair})
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		found = suspects // somebody who may only read
	case err != nil:
		return damage(err)
	}
	return slices.Concat(found, v.state.invariants(v.families()), v.lanes(), v.paid(spent)), nil
}

// damage turns a journal that cannot be read back into the finding it is.
func damage(err error) ([]Finding, error) {
	if d, ok := errors.AsType[*DamagedError](err); ok {
		return []Finding{{LawChain, d.Path, d.Error(), "restore the file from a backup"}}, nil
	}
	return nil, err
}

// families are those of the current plan, else the embedded ones.
func (v *verifier) families() map[string]*schema.Family {
	var p schema.Plan
	data, err := readAll(v.disk, PlanPath(v.state.Control.Plan), 64<<20)
	if err != nil || json.Unmarshal(data, &p) != nil || len(p.Families) == 0 {
		return builtinFamilies()
	}
	return p.Families
}

type verifier struct {
	disk  disk.FS
	state *State
	paths map[string]*footprint
	blobs map[schema.Digest]int64
	runs  map[string]*schema.Run // ended ones as well
}

// A footprint is what the journal says lies at a path.
type footprint struct {
	digest  schema.Digest // "" with no spans: nothing lies there
	spans   []span        // appended parts, since the digest
	written bool          // the journal gave it all its bytes
	seq     uint64        // last record that named it
}

type span struct {
	offset, size int64
	digest       schema.Digest
}

// read takes in the records that are new.
func (v *verifier) read(ctx context.Context) error {
	content := func(op *Op) ([]byte, error) { return contentOf(v.disk, op) }
	return eachRecord(v.disk, v.state.Seq+1, func(rec *Record) (bool, error) {
		for i := range rec.Ops {
			if err := v.add(&rec.Ops[i], rec.Seq); err != nil {
				return false, err
			}
		}
		return true, errors.Join(v.state.Fold(rec, content), ctx.Err())
	})
}

func (v *verifier) add(op *Op, seq uint64) error {
	if op.Blob > 0 {
		v.blobs[op.Digest] = op.Blob
	}
	switch op.Do {
	case Write:
		v.paths[op.Path] = &footprint{digest: op.Digest, written: true, seq: seq}
		if isRunFile(op.Path) {
			return v.addRun(op)
		}
	case Remove:
		v.paths[op.Path] = &footprint{written: true, seq: seq}
	case Move:
		to := &footprint{digest: op.Was, written: true, seq: seq}
		v.paths[op.To], v.paths[op.Path] = to, &footprint{written: true, seq: seq}
	case Append:
		data, err := contentOf(v.disk, op)
		if err != nil {
			return err
		}
		fp := v.paths[op.Path]
		if fp == nil || fp.digest == "" && len(fp.spans) == 0 {
			fp = &footprint{}
			v.paths[op.Path] = fp
		}
		fp.spans = append(fp.spans, span{op.Offset, int64(len(data)), schema.DigestOf(data)})
		fp.seq = seq
	}
	return nil
}

func (v *verifier) addRun(op *Op) error {
	data, err := contentOf(v.disk, op)
	if err != nil {
		return err
	}
	r := new(schema.Run)
	if err := json.Unmarshal(data, r); err != nil {
		return fmt.Errorf("read %s: %w", op.Path, err)
	}
	v.runs[r.ID] = r
	return nil
}

// all are the paths to compare: those that belong to the runtime alone.
func (v *verifier) all() []string {
	paths := slices.Collect(maps.Keys(v.paths))
	for _, r := range v.runs {
		paths = append(paths, v.evidence(r)...)
	}
	for d := range v.blobs {
		paths = append(paths, blobPath(d))
	}
	slices.Sort(paths)
	return slices.DeleteFunc(slices.Compact(paths), operators)
}

// again are the paths of findings, and those that records after a sequence named.
func (v *verifier) again(found []Finding, after uint64) []string {
	var paths []string
	for _, f := range found {
		paths = append(paths, f.Path)
	}
	for p, fp := range v.paths {
		if fp.seq > after {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	return slices.DeleteFunc(slices.Compact(paths), operators)
}

// operators reports whether a path is the operator's, who may change it as they like.
func operators(p string) bool {
	first, _, _ := strings.Cut(p, "/")
	switch first {
	case IntakeDir, "modes", "graphs", "stages", "families", "entrypoints", "skills", "outline.md", ".gitignore":
		return true
	}
	return slices.Contains(ConfigNames, p)
}

// runtimes reports whether nobody but the runtime puts files where the path is.
func runtimes(p string) bool {
	return strings.HasPrefix(p, StateDir+"/") || strings.HasPrefix(p, RunsDir+"/")
}

// evidence lists the artifacts that a run's results name.
func (v *verifier) evidence(r *schema.Run) []string {
	var paths []string
	for _, s := range r.Steps {
		for name := range s.Artifacts {
			if p := path.Join(RequestDir(r.ID, s.Request), name); validPath(p) == nil {
				paths = append(paths, p)
			}
		}
	}
	return paths
}

// compare looks at what lies at the paths, and for copies of documents.
func (v *verifier) compare(ctx context.Context, paths []string) ([]Finding, error) {
	artifacts := map[string]schema.Digest{}
	for _, r := range v.runs {
		for _, s := range r.Steps {
			for name, d := range s.Artifacts {
				artifacts[path.Join(RequestDir(r.ID, s.Request), name)] = d
			}
		}
	}
	var found []Finding
	for _, p := range paths {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f, err := v.at(p, artifacts)
		if err != nil {
			return nil, err
		}
		found = append(found, f...)
	}
	copies, err := v.copies()
	return append(found, copies...), err
}

func (v *verifier) at(p string, artifacts map[string]schema.Digest) ([]Finding, error) {
	lies, err := look(v.disk, p)
	if err != nil { // a link out, or a file that nobody may read
		return []Finding{{LawProjected, p, fmt.Sprintf("it cannot be read: %v", err), v.repairOf(p)}}, nil
	}
	fp := v.paths[p]
	switch {
	case fp != nil && len(fp.spans) > 0:
		return v.spans(p, fp)
	case fp != nil && fp.digest == "" && !runtimes(p):
		return nil, nil // whatever lies where a document lay before is somebody's; copies are told below
	case fp != nil && lies.kind == other, fp != nil && lies.digest != fp.digest:
		return []Finding{{LawProjected, p, fmt.Sprintf("record %d says that %s lies there, but it is %s", fp.seq, said(fp.digest), found(lies)), v.repairOf(p)}}, nil
	case fp != nil:
		return nil, nil
	}
	if want, ok := artifacts[p]; ok {
		if lies.digest != want {
			return []Finding{{LawEvidence, p, fmt.Sprintf("a result names %s as its artifact, but it is %s", said(want), found(lies)), "restore the file from a backup; the result itself stands in the journal"}}, nil
		}
		return nil, nil
	}
	if strings.HasPrefix(p, BlobsDir+"/") && strings.TrimPrefix(string(lies.digest), "sha256:") != path.Base(p) {
		return []Finding{{LawEvidence, p, "the content that a record keeps there is missing or damaged", "restore the file from a backup"}}, nil
	}
	return nil, nil
}

func said(d schema.Digest) string {
	if d == "" {
		return "nothing"
	}
	return d.Short()
}

func found(l lying) string {
	switch l.kind {
	case absent:
		return "not there"
	case other:
		return "no regular file"
	}
	return l.digest.Short()
}

// repairOf says what mends a projection.
func (v *verifier) repairOf(p string) string {
	if it := v.state.ByPath(p); it != nil && schema.Ended(it.State) {
		return "the document of an ended item is changed or gone, from which nothing follows; where nothing lies, `millrace doctor --repair` writes it anew"
	} else if it != nil {
		return fmt.Sprintf("somebody changed the document by hand: `millrace why %s` says what follows", it.ID)
	}
	if projected(p) {
		return "`millrace doctor --repair` writes it anew: the journal has the bytes"
	}
	return "restore the file from a backup; nothing is decided from it"
}

// spans compares appended parts.
func (v *verifier) spans(p string, fp *footprint) ([]Finding, error) {
	f, err := v.disk.Open(p)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, disk.ErrNotRegular) {
		return []Finding{{LawProjected, p, "the journal appended to a file that is not there", v.repairOf(p)}}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for _, s := range fp.spans {
		data := make([]byte, s.size)
		n, err := f.ReadAt(data, s.offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read %s: %w", p, err)
		}
		if int64(n) < s.size || schema.DigestOf(data) != s.digest {
			return []Finding{{LawProjected, p, fmt.Sprintf("the %d bytes appended at %d are not there any more", s.size, s.offset), v.repairOf(p)}}, nil
		}
	}
	return nil, nil
}

// copies finds documents of an item in a lifecycle folder that the item is not in.
func (v *verifier) copies() ([]Finding, error) {
	families := map[string]map[string]string{} // folder of lifecycle folders → file name → the document
	for _, it := range v.state.Items {
		root := path.Dir(path.Dir(it.Path))
		if families[root] == nil {
			families[root] = map[string]string{}
		}
		families[root][path.Base(it.Path)] = it.Path
	}
	var found []Finding
	for _, root := range slices.Sorted(maps.Keys(families)) {
		err := walk(v.disk, root, func(p string) {
			home := families[root][path.Base(p)]
			if home != "" && home != p && path.Dir(path.Dir(p)) == root && v.state.ByPath(p) == nil {
				found = append(found, Finding{LawOneFolder, p, fmt.Sprintf("it is a copy: the item's document is %s", home), "remove the copy, or move it out of the workspace"})
			}
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return nil, fmt.Errorf("list %s: %w", root, err)
		}
	}
	return found, nil
}
