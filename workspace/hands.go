package workspace

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"millrace/schema"
	"millrace/schema/document"
)

// What a person can do in the lifecycle folders.
const (
	HandMoved   = "moved"
	HandEdited  = "edited"
	HandCopied  = "copied"
	HandDeleted = "deleted"
	HandForeign = "foreign"
)

// hands compares the lifecycle folders with the state. What does not agree is at first only a
// suspicion, because the state may be newer than the look at the folder: the runtime's own writes
// arrive that way. It is looked at again, then read, and shown when it still does not agree.
type hands struct {
	registry *document.Registry
	tree     *tree
	poke     func() // asks for another Refresh soon

	places     map[string]place // by folder
	candidates map[string]bool  // paths to compare in the next view; true: because of what was seen
	suspects   map[string]*suspect
	found      map[string]Hand
	seq        uint64 // of the view that showed found
	list       []Hand
}

type place struct{ family, state string }

// Stages of a suspicion.
const (
	suspectRaised = iota // to be looked at again
	suspectLooked
	suspectUnread // to be read and parsed, or searched for in the other folders
	suspectSure
)

type suspect struct {
	stage int
	doc   *schema.Document
	diags schema.Diagnostics
}

func newHands(poke func()) *hands {
	return &hands{
		poke: poke, places: map[string]place{}, candidates: map[string]bool{},
		suspects: map[string]*suspect{}, found: map[string]Hand{},
	}
}

// follow sets the lifecycle folders to those of the given families.
func (h *hands) follow(families map[string]*schema.Family) (changed bool) {
	places := map[string]place{}
	for id, fam := range families {
		for state, folder := range fam.Folders {
			places[folder] = place{id, state}
		}
	}
	if len(places) == len(h.places) {
		same := true
		for dir, p := range places {
			same = same && h.places[dir] == p
		}
		if same {
			return false
		}
	}
	h.places = places
	h.tree.tops = h.tree.tops[:0]
	for dir := range places {
		h.tree.tops = append(h.tree.tops, dir)
	}
	slices.Sort(h.tree.tops)
	return true
}

// settled reports whether only the names of a folder matter: nothing is read from where items ended.
func (h *hands) settled(dir string) bool { return schema.Ended(h.places[dir].state) }

func (h *hands) whole(name string, f *file, data []byte) {
	h.candidates[name] = true
	if s := h.suspects[name]; s != nil && s.stage >= suspectUnread && data != nil {
		s.doc, s.diags = h.registry.ParseStored(h.places[path.Dir(name)].family, name, data)
		s.stage = suspectSure
	}
}

func (h *hands) refuse(name string, d schema.Diagnostic) {
	h.candidates[name] = true
	h.suspects[name] = &suspect{stage: suspectSure, diags: schema.Diagnostics{d}}
}

func (h *hands) open(string) {}

func (h *hands) gone(name string) {
	h.candidates[name] = true
	delete(h.suspects, name)
}

// questions are the names to look at again, with those to be read anew forgotten by the tree. search
// asks for a look at every folder, because something is missing.
func (h *hands) questions() (names []string, search bool) {
	for name, s := range h.suspects {
		f := h.file(name)
		switch {
		case s.stage == suspectUnread && f == nil:
			search = true
		case s.stage == suspectUnread:
			f.done = false
		case s.stage != suspectRaised:
			continue
		}
		names = append(names, name)
	}
	return names, search
}

// answer notes that the names asked about were looked at.
func (h *hands) answer(names []string) {
	for _, name := range names {
		s, f := h.suspects[name], h.file(name)
		if s == nil || f != nil && !f.done {
			continue
		}
		switch {
		case s.stage == suspectRaised:
			s.stage = suspectLooked
		case f == nil:
			s.stage = suspectSure
		}
		h.candidates[name] = true
	}
}

func (h *hands) file(name string) *file {
	if fo := h.tree.folders[path.Dir(name)]; fo != nil {
		return fo.files[path.Base(name)]
	}
	return nil
}

// view compares what changed, on either side, and lists what people did.
func (h *hands) view(s *State, touched []schema.Key) []Hand {
	moved := map[schema.Key]bool{}
	for _, k := range touched {
		moved[k] = true
		if name := s.Items[k].Path; !h.candidates[name] {
			h.candidates[name] = false
		}
	}
	changed := false
	if s.Seq != h.seq { // a commit may have dealt with what was shown: look again before showing it again
		for name, hand := range h.found {
			h.suspects[name] = &suspect{}
			h.candidates[name] = true
			if hand.Was != "" && !h.candidates[hand.Was] {
				h.candidates[hand.Was] = false // it was told with this one, which may be gone by now
			}
			changed = true
		}
		clear(h.found)
		h.seq = s.Seq
	}
	later := map[string]bool{}
	for _, there := range []bool{true, false} { // what is missing may be what was found elsewhere
		for name, seen := range h.candidates {
			if (h.file(name) != nil) != there {
				continue
			}
			hand, verdict := h.judge(s, moved, name)
			told, was := h.found[name]
			switch verdict {
			case agrees:
				delete(h.suspects, name)
				delete(h.found, name)
				changed = changed || was
				h.doubt(name)
				if was && told.Was != "" && told.Was != name {
					later[told.Was] = true // that it is missing was told with this one
					h.poke()
				}
			case unclear:
				if seen && h.asks(name) {
					h.poke()
				}
			case waits:
				later[name] = true
			case differs:
				h.found[name] = hand
				changed = true
			}
		}
	}
	h.candidates = later
	if changed {
		h.list = h.list[:0:0]
		for _, hand := range h.found {
			h.list = append(h.list, hand)
		}
		slices.SortFunc(h.list, func(a, b Hand) int { return strings.Compare(a.Path, b.Path) })
	}
	return h.list
}

// doubt looks again at what was shown as the stray of a document that is in its place now.
func (h *hands) doubt(name string) {
	for other, hand := range h.found {
		if hand.Was == name && hand.What == HandMoved {
			h.suspects[other] = &suspect{}
			h.poke()
		}
	}
}

type verdict int

const (
	agrees  verdict = iota
	unclear         // until it is looked at again, or has settled
	waits           // for another path to become clear
	differs
)

// asks reports whether a suspicion needs another look, which no settling file will bring about.
func (h *hands) asks(name string) bool {
	s, f := h.suspects[name], h.file(name)
	return s != nil && (s.stage == suspectRaised || s.stage == suspectUnread) && (f == nil || f.done)
}

// judge compares one path with the state.
func (h *hands) judge(s *State, moved map[schema.Key]bool, name string) (Hand, verdict) {
	pl, ok := h.places[path.Dir(name)]
	if !ok {
		return Hand{}, agrees
	}
	f, it, sus := h.file(name), s.ByPath(name), h.suspects[name]
	refused := sus != nil && f != nil && f.done && f.digest == "" && len(sus.diags) > 0
	switch {
	case f != nil && (!f.done || !f.gone.IsZero()) && (sus == nil || sus.stage != suspectUnread):
		return Hand{}, unclear
	case f == nil && it == nil:
		return Hand{}, agrees
	case f != nil && it != nil && !refused && (f.digest == "" || f.digest == it.Document):
		return Hand{}, agrees
	case sus == nil:
		h.suspects[name] = &suspect{}
		return Hand{}, unclear
	case it != nil && moved[it.Key()] && !refused:
		sus.stage = suspectRaised
		return Hand{}, unclear
	}
	switch {
	case sus.stage == suspectLooked:
		sus.stage = suspectUnread
		return Hand{}, unclear
	case sus.stage != suspectSure:
		return Hand{}, unclear
	case f == nil:
		return h.deleted(it, pl, name)
	case it != nil:
		return Hand{
			What: HandEdited, Key: it.Key(), Path: name, State: pl.state, Digest: f.digest,
			Doc: sus.same(it.Key(), name), Diags: sus.diags,
		}, differs
	}
	return h.stray(s, pl, name, f, sus)
}

// same is the document if it is the item's; a document that took another name is no valid edit.
func (s *suspect) same(k schema.Key, name string) *schema.Document {
	if s.doc == nil || s.doc.Key() == k {
		return s.doc
	}
	s.diags = append(s.diags, schema.Diagnostic{
		Severity: schema.Error, Path: name,
		Message: fmt.Sprintf("says it is %s, but it stands where %s lies", s.doc.Key(), k),
		Hint:    "declare another item in intake/ instead of renaming this one",
	})
	return nil
}

// deleted judges a document that is no longer where it belongs: it may have been moved.
func (h *hands) deleted(it *schema.Item, pl place, name string) (Hand, verdict) {
	for other, sus := range h.suspects {
		if other == name || h.places[path.Dir(other)].family != pl.family || h.file(other) == nil {
			continue
		}
		if hand, shown := h.found[other]; shown && hand.Key != it.Key() {
			continue
		} else if shown {
			return Hand{}, agrees // told there, as moved
		}
		if sus.stage != suspectSure {
			return Hand{}, waits
		}
	}
	return Hand{What: HandDeleted, Key: it.Key(), Path: name, Was: name, State: pl.state}, differs
}

// stray judges a file that no item owns.
func (h *hands) stray(s *State, pl place, name string, f *file, sus *suspect) (Hand, verdict) {
	key := schema.Key{Family: pl.family, ID: strings.TrimSuffix(path.Base(name), path.Ext(name))}
	if sus.doc != nil {
		key = sus.doc.Key()
	}
	hand := Hand{
		What: HandForeign, Key: key, Path: name, State: pl.state, Digest: f.digest, Doc: sus.doc, Diags: sus.diags,
	}
	if own := s.Items[key]; own != nil {
		hand.Was = own.Path
		switch at := h.file(own.Path); {
		case at == nil:
			hand.What = HandMoved
		case !at.gone.IsZero() || !at.done:
			return Hand{}, waits
		default:
			hand.What = HandCopied
		}
		if h.found[own.Path].What == HandDeleted {
			h.candidates[own.Path] = true // judged after this one: it was moved
		}
	}
	return hand, differs
}
