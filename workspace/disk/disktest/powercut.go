package disktest

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Crash is one folder that may be found after a power cut.
type Crash struct {
	At   int      // changes and syncs that had been made
	Last string   // the last of them
	Lost []string // unsynced changes that the file system did not keep, or not whole
	root *image
}

func (c *Crash) String() string {
	return fmt.Sprintf("after %d (%s), lost: %s", c.At, c.Last, strings.Join(c.Lost, "; "))
}

// How much of an unsynced change is there.
type fate int

const (
	kept fate = iota
	lost
	half  // of a write: its first half
	zeros // of a write: its size, with zeros where there was nothing before
)

var fates = map[fate]string{lost: "lost", half: "half", zeros: "zeros"}

// Crashes gives the folders that may be found after power cuts between all recorded changes: for
// each moment every combination of unsynced changes when there are at most limit of them, else
// all kept, all lost, and a seeded choice of the others: one lost, one kept, any. Folders that were
// given before are left out, unless a sync lies between.
func (r *Recorder) Crashes(limit int, seed uint64) iter.Seq[*Crash] {
	rng := rand.New(rand.NewPCG(seed, 0))
	return func(yield func(*Crash) bool) {
		seen := map[[32]byte]bool{}
		for at := 0; at <= len(r.events); at++ {
			if at > 0 && r.events[at-1].syncs {
				clear(seen)
			}
			pending := r.pending(at)
			for choice := range choices(r.events, pending, limit, rng) {
				c := r.crash(at, pending, choice)
				if sum := c.root.sum(); !seen[sum] {
					seen[sum] = true
					if !yield(c) {
						return
					}
				}
			}
		}
	}
}

// pending lists the changes before at that nothing has made durable.
func (r *Recorder) pending(at int) []int {
	var pending []int
	for i, e := range r.events[:at] {
		if !e.syncs {
			pending = append(pending, i)
			continue
		}
		pending = slices.DeleteFunc(pending, func(p int) bool {
			change := r.events[p]
			if e.all || e.file != nil && change.file == e.file {
				return true
			}
			return e.dir != nil && slices.ContainsFunc(change.names, func(n name) bool { return n.dir == e.dir })
		})
	}
	return pending
}

// choices gives a fate for each pending change.
func choices(events []event, pending []int, limit int, rng *rand.Rand) iter.Seq[[]fate] {
	options := make([][]fate, len(pending))
	total := 1
	for i, p := range pending {
		options[i] = []fate{kept, lost}
		if len(events[p].data) > 1 {
			options[i] = append(options[i], half, zeros)
		}
		total = min(total*len(options[i]), limit+1)
	}
	if total <= limit {
		return every(options)
	}
	return func(yield func([]fate) bool) {
		plain := [][]fate{make([]fate, len(pending)), slices.Repeat([]fate{lost}, len(pending))}
		for i := range pending {
			for _, f := range options[i][1:] {
				one := make([]fate, len(pending))
				one[i] = f
				plain = append(plain, one)
			}
			only := slices.Repeat([]fate{lost}, len(pending))
			only[i] = kept
			plain = append(plain, only)
		}
		rng.Shuffle(len(plain)-2, func(i, j int) { plain[i+2], plain[j+2] = plain[j+2], plain[i+2] })
		plain = plain[:max(2, min(limit, len(plain)))]
		for len(plain) < limit {
			random := make([]fate, len(pending))
			for i := range random {
				random[i] = options[i][rng.IntN(len(options[i]))]
			}
			plain = append(plain, random)
		}
		for _, c := range plain {
			if !yield(c) {
				return
			}
		}
	}
}

// every gives all combinations.
func every(options [][]fate) iter.Seq[[]fate] {
	return func(yield func([]fate) bool) {
		index := make([]int, len(options))
		for {
			choice := make([]fate, len(options))
			for i, o := range options {
				choice[i] = o[index[i]]
			}
			if !yield(choice) {
				return
			}
			i := 0
			for ; i < len(index); i++ {
				if index[i]++; index[i] < len(options[i]) {
					break
				}
				index[i] = 0
			}
			if i == len(index) {
				return
			}
		}
	}
}

// An image is a folder or file as found after a crash.
type image struct {
	entries map[string]*image
	data    []byte
}

// crash builds the folder: what is durable, and of the pending changes what their fates leave.
func (r *Recorder) crash(at int, pending []int, choice []fate) *Crash {
	c := &Crash{At: at, Last: "nothing"}
	if at > 0 {
		c.Last = r.events[at-1].op.String()
	}
	names := map[*node]map[string]*node{}
	files := map[*node][]byte{}
	initial(r.first, names, files)
	for i, e := range r.events[:at] {
		f := kept
		if j, found := slices.BinarySearch(pending, i); found {
			f = choice[j]
		}
		if f != kept {
			c.Lost = append(c.Lost, e.op.String()+" "+fates[f])
		}
		if f != lost {
			e.make(f, names, files)
		}
	}
	c.root = build(r.root, names, files)
	return c
}

func initial(tree map[*node]map[string]*node, names map[*node]map[string]*node, files map[*node][]byte) {
	for dir, entries := range tree {
		names[dir] = maps.Clone(entries)
		for _, n := range entries {
			if n.entries == nil {
				files[n] = n.data
			}
		}
	}
}

func (e *event) make(f fate, names map[*node]map[string]*node, files map[*node][]byte) {
	for _, n := range e.names {
		if names[n.dir] == nil {
			names[n.dir] = map[string]*node{}
		}
		if n.to == nil {
			delete(names[n.dir], n.base)
		} else {
			names[n.dir][n.base] = n.to
		}
	}
	if e.file == nil || e.syncs {
		return
	}
	if e.data == nil {
		files[e.file] = resized(files[e.file], e.size)
		return
	}
	before := files[e.file]
	whole := resized(before, max(int64(len(before)), e.off+int64(len(e.data))))
	switch f {
	case zeros: // blocks that were there keep what they held
	case half:
		n := len(e.data) / 2
		whole = resized(before, max(int64(len(before)), e.off+int64(n)))
		copy(whole[e.off:], e.data[:n])
	default:
		copy(whole[e.off:], e.data)
	}
	files[e.file] = whole
}

func resized(data []byte, size int64) []byte {
	out := make([]byte, size)
	copy(out, data)
	return out
}

func build(n *node, names map[*node]map[string]*node, files map[*node][]byte) *image {
	if n.entries == nil {
		return &image{data: files[n]}
	}
	img := &image{entries: map[string]*image{}}
	for base, child := range names[n] {
		img.entries[base] = build(child, names, files)
	}
	return img
}

func (i *image) sum() (sum [32]byte) {
	h := sha256.New()
	i.hash(h)
	copy(sum[:], h.Sum(nil))
	return sum
}

func (i *image) hash(h hash.Hash) {
	if i.entries == nil {
		fmt.Fprintf(h, "f%d:", len(i.data))
		h.Write(i.data)
		return
	}
	for _, base := range slices.Sorted(maps.Keys(i.entries)) {
		fmt.Fprintf(h, "d%q", base)
		i.entries[base].hash(h)
	}
	fmt.Fprint(h, "e")
}

// Write makes the folder on the real disk.
func (c *Crash) Write(dir string) error { return c.root.write(dir) }

func (i *image) write(p string) error {
	if i.entries == nil {
		return os.WriteFile(p, i.data, 0o644)
	}
	if err := os.MkdirAll(p, 0o755); err != nil {
		return err
	}
	for base, child := range i.entries {
		if err := child.write(filepath.Join(p, base)); err != nil {
			return err
		}
	}
	return nil
}
