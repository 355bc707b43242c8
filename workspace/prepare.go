package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"unicode/utf8"

	"millrace/schema"
)

// A MalformedError says that a mutation must not be committed: its author has an error. Nothing
// happened.
type MalformedError struct {
	Path string
	What string
}

func (e *MalformedError) Error() string {
	if e.Path == "" {
		return "commit: " + e.What
	}
	return fmt.Sprintf("commit %s: %s", e.Path, e.What)
}

// ErrMoved says that a file a decision rests on has changed since: it must be decided anew.
var ErrMoved = errors.New("moved on")

// A MovedError names the file. It is ErrMoved.
type MovedError struct{ Path string }

func (e *MovedError) Error() string {
	return fmt.Sprintf("commit: %s changed after it was looked at", e.Path)
}

// Is makes it ErrMoved.
func (e *MovedError) Is(target error) bool { return target == ErrMoved }

// prepare turns a mutation into the record to append and what the state becomes by it. Everything
// that could make a record impossible to apply or to fold is refused here.
func (w *Workspace) prepare(m *Mutation) (*Record, []folded, error) {
	if m.By == "" {
		return nil, nil, &MalformedError{What: "it does not say by whom (By)"}
	}
	if len(m.Ops) == 0 && len(m.Events) == 0 {
		return nil, nil, &MalformedError{What: "it changes nothing and tells nothing"}
	}
	rec := &Record{
		Seq: w.last.Seq + 1, Prev: w.last.Hash, Time: later(w.now(), w.state.Time), Boot: w.boot,
		By: m.By, Why: m.Why, Expect: m.Expect, Ops: append([]Op{}, m.Ops...), Events: m.Events,
	}
	for i := range rec.Ops {
		op := &rec.Ops[i]
		if err := checkOp(op); err != nil {
			return nil, nil, &MalformedError{op.Path, err.Error()}
		}
		if err := w.within(op); err != nil {
			return nil, nil, err
		}
	}
	if err := checkTogether(rec.Ops); err != nil {
		return nil, nil, err
	}
	f, err := decodeOps(rec, func(op *Op) ([]byte, error) { return op.Content(), nil })
	if err != nil {
		return nil, nil, &MalformedError{What: err.Error()}
	}
	return rec, f, nil
}

// checkOp says what is wrong with an op by itself.
func checkOp(op *Op) error {
	if err := checkTarget(op.Path); err != nil {
		return err
	}
	if folds(op.Path) && op.Do != Write && (op.Do != Remove || !isRunFile(op.Path)) {
		return fmt.Errorf("%s of a state file: it can only be written", op.Do)
	}
	carried := 0
	for _, has := range []bool{op.JSON != nil, op.Text != "", len(op.Bytes) > 0} {
		if has {
			carried++
		}
	}
	if carried > 1 || op.Blob != 0 {
		return errors.New("content must be given once, as JSON, Text or Bytes")
	}
	if op.Do != Move && op.To != "" || op.Do != Append && op.Offset != 0 {
		return errors.New("it has fields of another operation")
	}
	switch op.Do {
	case Write:
		return checkWrite(op)
	case Append:
		if op.Offset < 0 || op.JSON != nil || !utf8.ValidString(op.Text) {
			return errors.New("an append needs an offset of at least 0 and Text or Bytes")
		}
	case Move:
		if err := checkTarget(op.To); err != nil {
			return fmt.Errorf("move to %s: %w", op.To, err)
		}
		if folds(op.To) || op.To == op.Path {
			return fmt.Errorf("it cannot be moved to %s", op.To)
		}
		if carried > 0 || !isDigest(op.Was) {
			return errors.New("a move needs the digest of what is moved, and nothing else")
		}
	case Remove:
		if carried > 0 || op.Was != Projection && !isDigest(op.Was) {
			return errors.New("a removal needs the digest of what is removed, and nothing else")
		}
	default:
		return fmt.Errorf("unknown operation %q", op.Do)
	}
	return nil
}

func checkWrite(op *Op) error {
	if op.Was != "" && op.Was != Projection && !isDigest(op.Was) {
		return errors.New("it does not name what it replaces by its digest")
	}
	if !utf8.ValidString(op.Text) {
		return errors.New("its text is not UTF-8: use Bytes")
	}
	if op.Digest != schema.DigestOf(op.Content()) {
		return errors.New("its digest is not that of its content")
	}
	return nil
}

func isDigest(d schema.Digest) bool {
	return len(d) == len("sha256:")+64 && strings.HasPrefix(string(d), "sha256:")
}

// own are the files and folders of the commit itself.
var own = []string{
	LockFile, DaemonLock, DaemonFile, ConditionsFile, JournalDir, BlobsDir, ForeignDir, AppliedFile, Checkpoint, Snapshot, Seen,
}

func checkTarget(p string) error {
	if err := validPath(p); err != nil {
		return err
	}
	for _, o := range own {
		if p == o || strings.HasPrefix(p, o+"/") || strings.HasPrefix(o, p+"/") {
			return errors.New("the path belongs to the journal")
		}
	}
	if len(path.Base(p)) > 240 {
		return errors.New("the file name is longer than 240 bytes")
	}
	return nil
}

// checkTogether refuses what has no single end: a file that is both appended to and moved, or that is
// the folder of another.
func checkTogether(ops []Op) error {
	appended, named := map[string]bool{}, map[string]bool{}
	for i := range ops {
		op := &ops[i]
		named[op.Path] = true
		if op.Do == Append {
			appended[op.Path] = true
		}
		if op.Do == Move {
			named[op.To] = true
		}
	}
	for i := range ops {
		if op := &ops[i]; op.Do == Move && (appended[op.Path] || appended[op.To]) {
			return &MalformedError{op.Path, "it is appended to and moved in one mutation"}
		}
	}
	for p := range named {
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			if named[dir] {
				return &MalformedError{p, fmt.Sprintf("%s is a file of the same mutation", dir)}
			}
		}
	}
	return nil
}

// within refuses a path that leads out through a link, or through something that is no folder.
func (w *Workspace) within(op *Op) error {
	for _, p := range []string{op.Path, op.To} {
		if p == "" {
			continue
		}
		if _, err := w.disk.Lstat(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			what, repair := condition(err)
			return fmt.Errorf("commit %s: %s: %s: %w", p, what, repair, err)
		}
	}
	return nil
}

// expect compares the files that a decision rests on with what they were then.
func (w *Workspace) expect(inputs []Input) error {
	for _, in := range inputs {
		if err := validPath(in.Path); err != nil {
			return &MalformedError{in.Path, err.Error()}
		}
		found, err := look(w.disk, in.Path)
		if err != nil {
			return fmt.Errorf("look at %s: %w", in.Path, err)
		}
		if found.digest != in.Digest || found.kind == other {
			return &MovedError{in.Path}
		}
	}
	return nil
}

// sources makes sure that what is moved can be carried out after any crash: its bytes are there now,
// or the journal has them.
func (w *Workspace) sources(rec *Record) error {
	var cs changes
	cs.add(rec)
	for _, c := range cs.order {
		if c.content != nil || c.from == "" || c.from == c.path || c.want == "" || len(c.appends) > 0 {
			continue
		}
		found, err := look(w.disk, c.from)
		if err != nil {
			return fmt.Errorf("look at %s: %w", c.from, err)
		}
		if found.digest == c.want {
			continue
		}
		if _, err := w.restore(c.from, c.want, w.last.Seq); errors.As(err, new(*LostError)) {
			return &MovedError{c.from}
		} else if err != nil {
			return err
		}
	}
	return nil
}

// blobs moves large contents out of the record into files of their own, durable before the record is.
func (w *Workspace) blobs(rec *Record) error {
	for i := range rec.Ops {
		op := &rec.Ops[i]
		data := op.Content()
		if len(data) <= maxInline {
			continue
		}
		op.Digest = schema.DigestOf(data)
		if err := w.blob(op.Digest, data); err != nil {
			return fmt.Errorf("write content of %s: %w", op.Path, full(err))
		}
		op.Blob, op.JSON, op.Text, op.Bytes = int64(len(data)), nil, "", nil
	}
	return nil
}

func (w *Workspace) blob(d schema.Digest, data []byte) error {
	name := blobPath(d)
	if found, err := look(w.disk, name); err != nil {
		return err
	} else if found.digest != d {
		return writeDurable(w.disk, name, data)
	}
	// An earlier try may have ended before it was durable.
	f, err := w.disk.OpenFile(name, os.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return &syncError{fmt.Errorf("sync %s: %w", name, err)}
	}
	if err := w.disk.SyncDir(BlobsDir); err != nil {
		return &syncError{fmt.Errorf("sync %s: %w", BlobsDir, err)}
	}
	return nil
}
