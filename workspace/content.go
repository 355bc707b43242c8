package workspace

import (
	"fmt"
	"path"
	"slices"

	"millrace/schema"
	"millrace/workspace/disk"
)

func blobPath(d schema.Digest) string { return path.Join(BlobsDir, d.Hex()) }

// contentOf gives the bytes of a write or an append, from the record or from its blob.
func contentOf(d disk.FS, op *Op) ([]byte, error) {
	if op.Blob == 0 {
		return op.Content(), nil
	}
	data, err := readAll(d, blobPath(op.Digest), op.Blob)
	if err != nil {
		return nil, fmt.Errorf("read content of %s: %w", op.Path, err)
	}
	if schema.DigestOf(data) != op.Digest {
		return nil, &DamagedError{blobPath(op.Digest), 0, "its bytes are not those of its name"}
	}
	return data, nil
}

// Content gives the bytes that a write or an append of a committed record carries.
func (w *Workspace) Content(op *Op) ([]byte, error) { return contentOf(w.disk, op) }

// pieces are what a path was made of: a write, then appends; or only appends.
type pieces struct{ ops []*Op }

// restoreContent finds, in the whole journal, the bytes that a path had once record `through` was
// applied. It is the slow way, taken only when a file of ours was lost and its record does not carry
// it. want appendedOnly takes whatever the journal gives.
func restoreContent(d disk.FS, name string, want schema.Digest, through uint64) ([]byte, error) {
	files := map[string]pieces{}
	var named *Op // any write of the wanted bytes, for files that came from elsewhere
	err := eachRecord(d, 1, func(rec *Record) (bool, error) {
		for i := range rec.Ops {
			op := &rec.Ops[i]
			switch op.Do {
			case Write:
				files[op.Path] = pieces{[]*Op{op}}
				if op.Digest == want {
					named = op
				}
			case Append:
				p := files[op.Path]
				files[op.Path] = pieces{append(slices.Clip(p.ops), op)}
			case Move:
				files[op.To] = files[op.Path]
				delete(files, op.Path)
			case Remove:
				delete(files, op.Path)
			}
		}
		return rec.Seq < through, nil
	})
	if err != nil {
		return nil, err
	}
	data, err := files[name].join(d)
	if err == nil && (want == appendedOnly || schema.DigestOf(data) == want) {
		return data, nil
	}
	if named != nil {
		return contentOf(d, named)
	}
	if err != nil {
		return nil, err
	}
	return nil, &LostError{name, want}
}

func (p pieces) join(d disk.FS) ([]byte, error) {
	var whole []byte
	for _, op := range p.ops {
		data, err := contentOf(d, op)
		if err != nil {
			return nil, err
		}
		if op.Do == Write {
			whole = data
			continue
		}
		if missing := op.Offset - int64(len(whole)); missing > 0 {
			return nil, &LostError{op.Path, ""}
		}
		whole = append(whole[:op.Offset:op.Offset], data...)
	}
	return whole, nil
}

// A LostError says that a file's bytes are gone and the journal never held them: the file was taken
// in from elsewhere without being written.
type LostError struct {
	Path   string
	Digest schema.Digest
}

func (e *LostError) Error() string {
	return fmt.Sprintf("restore %s: the journal does not hold its bytes (%s): put the file back", e.Path, e.Digest.Short())
}
