package workspace

import (
	"slices"

	"millrace/schema"
)

// A change is what one or many records do, in the end, to one path. Applying the end instead of the
// steps is what makes it idempotent: redoing a record, or all records since a checkpoint, asks only
// whether the path has the bytes it must end with.
type change struct {
	path       string
	want       schema.Digest   // bytes at the end; "" for none. Unknown ("*") when only appended to
	content    *Op             // carries them; nil: moved from, or only appended to
	from       string          // where the wanted bytes lay before the first record
	known      []schema.Digest // ours: may be replaced without a trace
	projection bool            // whatever lies there may be replaced
	adopted    bool            // the record took over what lay there: whoever edits it now edits what is ours
	held       []*Op           // contents it had meanwhile: parts of them may be left by a power cut
	appends    []*Op           // after the content
	through    uint64          // last record that touched it
}

// changes are the net effect of records, in the order in which they must be made.
type changes struct {
	order  []*change
	byPath map[string]*change
}

// appendedOnly as a change's want says that only its appended ranges are known.
const appendedOnly schema.Digest = "*"

func (cs *changes) at(path string, first schema.Digest) *change {
	if c := cs.byPath[path]; c != nil {
		return c
	}
	if cs.byPath == nil {
		cs.byPath = map[string]*change{}
	}
	c := &change{path: path, want: first, from: path}
	cs.byPath[path] = c
	cs.order = append(cs.order, c)
	return c
}

func (c *change) knows(d schema.Digest) {
	if d == Projection {
		c.projection = true
	} else if d != "" && !slices.Contains(c.known, d) {
		c.known = append(c.known, d)
	}
}

// add takes in one record.
func (cs *changes) add(rec *Record) {
	for i := range rec.Ops {
		op := &rec.Ops[i]
		switch op.Do {
		case Write:
			c := cs.at(op.Path, op.Was)
			c.knows(op.Was)
			c.knows(op.Digest)
			c.want, c.content, c.from, c.appends = op.Digest, op, "", nil
			c.adopted = op.Was == op.Digest
			if op.Was != Projection {
				c.held = append(c.held, op)
			}
			c.through = rec.Seq
		case Append:
			c := cs.at(op.Path, appendedOnly)
			c.appends = append(c.appends, op)
			c.through = rec.Seq
		case Remove:
			c := cs.at(op.Path, op.Was)
			c.knows(op.Was)
			c.want, c.content, c.from, c.appends = "", nil, "", nil
			c.through = rec.Seq
		case Move:
			cs.move(op, rec.Seq)
		}
	}
}

func (cs *changes) move(op *Op, seq uint64) {
	// The target comes first in order: its bytes must be taken before the source is emptied.
	src, seen := cs.byPath[op.Path]
	to := cs.at(op.To, "")
	if !seen {
		src = cs.at(op.Path, op.Was)
	}
	to.knows(op.Was)
	src.knows(op.Was)
	to.want, to.content, to.from, to.appends = op.Was, src.content, src.from, src.appends
	src.want, src.content, src.from, src.appends = "", nil, "", nil
	to.through, src.through = seq, seq
	to.held = append(to.held, src.held...)
	if seen { // the source was touched before the target: keep target first
		cs.reorder(to, src)
	}
}

// reorder puts a before b.
func (cs *changes) reorder(a, b *change) {
	i, j := slices.Index(cs.order, a), slices.Index(cs.order, b)
	if i > j {
		cs.order = slices.Insert(slices.Delete(cs.order, i, i+1), j, a)
	}
}
