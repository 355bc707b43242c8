package intake

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"millrace/reconcile"
	"millrace/schema"
	"millrace/workspace"
)

// MaxBatch bounds how many keys one mutation works off: a burst of files is neither a burst of fsyncs
// nor a wall for the commands that wait for the lock.
const MaxBatch = 32

const name = "intake"

type controller struct{}

// New returns the controller.
func New() reconcile.Controller { return controller{} }

func (controller) Name() string { return name }

// Reconcile works off the declaration table, then people's hands.
func (controller) Reconcile(v *workspace.View) reconcile.Proposal {
	if v.Intake == nil {
		return reconcile.Proposal{}
	}
	t := newTable(v)
	b := newBatch(t)
	var until time.Time
	t.walk(v.Intake.Unreconciled, func(a Action) bool {
		if a.Do.Changes() {
			if b.conflicts(a) {
				return false // decided anew on what this batch leaves
			}
			b.apply(a)
			return b.keys < MaxBatch
		}
		if !a.Until.IsZero() && (until.IsZero() || a.Until.Before(until)) {
			until = a.Until
		}
		return true
	})
	if b.keys == 0 {
		asks := b.hands()
		if b.keys == 0 {
			p := reconcile.Proposal{Observe: asks}
			if !until.IsZero() {
				p.After, p.Settles = max(until.Sub(v.Now), time.Millisecond), true
			}
			return p
		}
	}
	return reconcile.Proposal{Mutation: b.mutation()}
}

// A batch is a mutation in the making. Items that it has changed already are found changed, so that
// one batch leaves what several would have left.
type batch struct {
	*workspace.Draft
	t       *table
	v       *workspace.View
	m       workspace.Mutation
	keys    int            // worked off
	whys    map[string]int // what was done how often
	first   string
	expects map[string]schema.Digest
	control *schema.Control
}

func newBatch(t *table) *batch {
	b := &batch{t: t, v: t.v, m: workspace.Mutation{By: name}, whys: map[string]int{}, expects: map[string]schema.Digest{}}
	b.Draft = t.v.Draft(&b.m)
	return b
}

// conflicts reports whether an order was decided on an item that the batch has changed since.
func (b *batch) conflicts(a Action) bool {
	if b.Changed(a.Key) {
		return true
	}
	if a.Declared == nil || a.Declared.Doc == nil {
		return false
	}
	return slices.ContainsFunc(a.Declared.Doc.IDs("supersedes"), func(id string) bool {
		return b.Changed(schema.Key{Family: a.Key.Family, ID: id})
	})
}

func (b *batch) changeControl() *schema.Control {
	if b.control == nil {
		b.control = b.v.Control.Clone()
	}
	return b.control
}

// rest makes the batch depend on a file being as it was seen; no digest: on its absence.
func (b *batch) rest(path string, is schema.Digest) { b.expects[path] = is }

func (b *batch) did(verb string, k schema.Key) {
	b.keys++
	b.whys[verb]++
	if b.first == "" {
		b.first = fmt.Sprintf("%s %s", verb, k)
	}
}

func (b *batch) mutation() *workspace.Mutation {
	b.Write()
	if b.control != nil {
		b.m.PutControl(b.control)
	}
	paths := make([]string, 0, len(b.expects))
	for p := range b.expects {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for _, p := range paths {
		b.m.Expect = append(b.m.Expect, workspace.Input{Path: p, Digest: b.expects[p]})
	}
	b.m.Why = b.first
	if b.keys > 1 {
		var all []string
		for verb, n := range b.whys {
			all = append(all, fmt.Sprintf("%s %d", verb, n))
		}
		slices.Sort(all)
		b.m.Why = strings.Join(all, ", ")
	}
	return &b.m
}
