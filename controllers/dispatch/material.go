package dispatch

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"millrace/schema"
	"millrace/workspace"
)

// A material is a file that the prompt may show. Fields are exported for the manifest.
type material struct {
	Name   string        `json:"name"`           // artifact, or check
	Path   string        `json:"path"`           // below the workspace folder
	From   string        `json:"from,omitempty"` // stage that left it
	Digest schema.Digest `json:"digest,omitempty"`
	Shown  int           `json:"shown_bytes,omitempty"`
	Size   int           `json:"bytes,omitempty"`
	Why    string        `json:"withheld,omitempty"` // "": shown, as far as Shown says

	needed bool // the stage kind says that it reads it
	place  int  // among what it reads
	log    bool // the end matters, not the beginning
	text   string
	mend   []byte // what the journal once wrote there: the file is not that any more
}

// Reasons to withhold what is there.
const (
	full     = "the prompt is full"
	foreign  = "not this stage's business: what a stage leaves for others are its artifacts"
	replaced = "a later stage wrote it anew"
	nothing  = "its request came to nothing, and what it wrote does not count"
	binary   = "it is no text"
	unquoted = "it cannot be set apart from the rest of a prompt: it holds too long a fence"
	later    = "made after this prompt, which names it"
)

// materials lists what the run has left so far: what the kind reads first, in its order, then the newest. An artifact
// that a later stage wrote anew is set aside, and so is what a lost or refused request left half done. What the kind reads
// and the run has not left is taken from what earlier runs of the item left for good.
func materials(p *schema.Plan, r *schema.Run, it *schema.Item, kind *schema.StageKind) (all, aside []*material) {
	seen := map[string]bool{}
	for _, s := range slices.Backward(r.Steps) {
		writer := p.Stages[s.Stage]
		for _, file := range sortedKeys(s.Artifacts) {
			name, of := artifactName(writer, file)
			place := slices.Index(kind.Reads, of)
			m := &material{
				Name: name, Path: path.Join(workspace.RequestDir(r.ID, s.Request), file), From: s.Stage,
				Digest: s.Artifacts[file], needed: place >= 0, place: place,
			}
			switch {
			case s.Failure != "" && schema.Scope(s.Failure) != "stage":
				m.Why = nothing
			case seen[name]:
				m.Why = replaced
			}
			if m.Why != "" {
				aside = append(aside, m)
				continue
			}
			seen[name] = true
			all = append(all, m)
		}
	}
	for i, name := range kind.Reads {
		if file := keptOf(it)[name]; file != "" && !seen[name] {
			all = append(all, &material{Name: name, Path: file, From: "an earlier run", needed: true, place: i})
		}
	}
	slices.SortStableFunc(all, func(a, b *material) int {
		return cmp.Or(boolOrder(a.needed, b.needed), cmp.Compare(a.place, b.place))
	})
	logs, old := failedLogs(r)
	return append(logs, all...), append(old, aside...)
}

// keptOf are the files that are kept of an item's artifacts, by name.
func keptOf(it *schema.Item) map[string]string {
	if it.Blueprint == nil {
		return nil
	}
	return it.Blueprint.Kept
}

// failedLogs are the logs of the checks that failed at the last stage that had any run; those of stages before are old.
func failedLogs(r *schema.Run) (logs, old []*material) {
	for _, s := range slices.Backward(r.Steps) {
		var all []*material
		for _, c := range s.Failed {
			all = append(all, &material{
				Name: c.Name, Path: path.Join(workspace.RequestDir(r.ID, s.Request), c.Log.Path), From: s.Stage,
				Digest: c.Log.Digest, needed: true, log: true,
			})
		}
		if len(logs) == 0 {
			logs = all
			continue
		}
		for _, m := range all {
			m.Why = "the checks have been run again since"
		}
		old = append(old, all...)
	}
	return logs, old
}

// artifactName is what the stage kind calls a file, else the file's own name; of is the artifact that it belongs to: of
// a file in a folder, the folder's.
func artifactName(kind *schema.StageKind, file string) (name, of string) {
	if kind != nil {
		for _, a := range kind.Writes {
			switch {
			case a.File == file:
				return a.Name, a.Name
			case strings.HasSuffix(a.File, "/") && strings.HasPrefix(file, a.File):
				return file, a.Name
			}
		}
	}
	return file, file
}

// transcripts are what earlier requests of the run hold beside artifacts.
func transcripts(r *schema.Run) []*material {
	var all []*material
	for _, s := range r.Steps {
		all = append(all, &material{Name: "request folder", Path: workspace.RequestDir(r.ID, s.Request) + "/", From: s.Stage, Why: foreign})
	}
	return all
}

// read finds the item's document and the materials in what has been observed. missing is what has to
// be asked for first; ok is false when the document is not what the journal says.
func (s *stage) read(v *workspace.View) (missing []workspace.Query, ok bool) {
	r := &reader{View: v}
	if a, found := r.ask(workspace.AskFile(s.item.Path)); found {
		if a.Digest != s.item.Document {
			return nil, false
		}
		s.document = a
	}
	if s.run.Held != nil {
		s.hold(r)
		return r.missing, true
	}
	left := pool(showPrompt)
	s.work = &material{Name: "work item", Digest: s.item.Document}
	take(s.work, s.document, showDocument, &left)
	if s.item.Family == schema.FamilyTarget {
		s.judge(r, &left)
	} else {
		s.kin = kinOf(r, s.item)
	}
	s.reads(r, &left)
	return r.missing, true
}

// reads finds what earlier stages left.
func (s *stage) reads(r *reader, left *pool) {
	s.shown, s.aside = materials(s.plan, s.run, s.item, s.plan.Kind(s.run.Plane, s.run.Node))
	s.aside = append(s.aside, transcripts(s.run)...)
	logs, all := pool(showLogs), pool(showAll)
	n := map[bool]int{} // by whether it is a log
	for _, m := range s.shown {
		if n[m.log]++; n[true] > maxLogs && m.log || n[false] > maxFiles && !m.log || all <= 0 && !m.needed {
			m.Why = full
			continue
		}
		a, found := r.ask(workspace.AskFile(m.Path))
		switch {
		case !found:
		case m.log:
			take(m, a, showLog, left, &all, &logs)
		case m.needed: // shown a little of, however much there is
			take(m, a, max(showLog, min(showFile, int(all))), left)
			all -= pool(m.Shown)
		default:
			take(m, a, showFile, left, &all)
		}
	}
}

// A reader looks for files in what has been observed, and notes what nobody has looked at yet.
type reader struct {
	*workspace.View
	missing []workspace.Query
}

func (r *reader) ask(q workspace.Query) (workspace.Answer, bool) {
	a, found := r.Asked[q]
	if !found {
		r.missing = append(r.missing, q)
	}
	return a, found
}

// written reads a file that the runtime wrote, whatever lies there now: the journal has its bytes.
func (r *reader) written(path string, is schema.Digest) (a workspace.Answer, changed, found bool) {
	a, found = r.ask(workspace.AskFile(path))
	if !found || a.Digest == is {
		return a, false, found
	}
	a, found = r.ask(workspace.AskContent(is))
	return a, true, found
}

// take shows as much of an answer as the limit allows, and says why when it shows nothing.
func (m *material) take(a workspace.Answer, limit int) {
	switch {
	case a.Err != "":
		m.Why = a.Err
		return
	case a.Digest == "":
		m.Why = "the file is gone"
		return
	case m.Digest != "" && a.Digest != m.Digest:
		m.Why = "the file is not what the stage left"
		return
	}
	m.Digest, m.Size = a.Digest, len(a.Data)
	if limit <= 0 && m.Size > 0 {
		m.Why = full
		return
	}
	data := head(a.Data, limit)
	if m.log {
		data = tail(a.Data, limit)
	}
	text := strings.ToValidUTF8(string(data), "?")
	switch {
	case strings.ContainsRune(text, 0):
		m.Why = binary
	case fence(text) == "":
		m.Why = unquoted
	default:
		m.text, m.Shown = text, len(data)
	}
}

// head is the beginning of a text, without half a character at its end.
func head(data []byte, limit int) []byte {
	if len(data) <= limit {
		return data
	}
	for n := limit; n > limit-utf8.UTFMax && n > 0; n-- {
		if utf8.RuneStart(data[n]) {
			return data[:n]
		}
	}
	return data[:limit]
}

// tail is the end of a text, without half a character at its beginning.
func tail(data []byte, limit int) []byte {
	if len(data) <= limit {
		return data
	}
	data = data[len(data)-limit:]
	for n := range min(utf8.UTFMax, len(data)) {
		if utf8.RuneStart(data[n]) {
			return data[n:]
		}
	}
	return data
}
