package dispatch

import (
	"path"
	"slices"
	"strings"

	"millrace/schema"
	"millrace/workspace"
)

// How much of what earlier stages left a prompt shows. The rest is named with its path: an agent can
// open it, and a prompt that holds everything is read by none.
const (
	showFile = 16 << 10 // bytes of one artifact
	showLog  = 4 << 10  // bytes of one check's log, from its end
	showAll  = 64 << 10 // bytes of all of them together
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
	log    bool // the end matters, not the beginning
	text   string
	mend   []byte // what the journal once wrote there: the file is not that any more
}

// materials lists what the run has left so far: what the kind reads first, then the newest. An artifact
// that a later stage wrote anew is not listed again. What the kind reads and the run has not left is taken from what
// earlier runs of the item left for good.
func materials(p *schema.Plan, r *schema.Run, it *schema.Item, kind *schema.StageKind) []*material {
	var all []*material
	seen := map[string]bool{}
	for _, s := range slices.Backward(r.Steps) {
		writer := p.Stages[s.Stage]
		for _, file := range sortedKeys(s.Artifacts) {
			name := artifactName(writer, file)
			if seen[name] {
				continue
			}
			seen[name] = true
			all = append(all, &material{
				Name: name, Path: path.Join(workspace.RequestDir(r.ID, s.Request), file), From: s.Stage,
				Digest: s.Artifacts[file], needed: slices.Contains(kind.Reads, name),
			})
		}
	}
	for _, name := range kind.Reads {
		if file := keptOf(it)[name]; file != "" && !seen[name] {
			all = append(all, &material{Name: name, Path: file, From: "an earlier run", needed: true})
		}
	}
	slices.SortStableFunc(all, func(a, b *material) int { return boolOrder(a.needed, b.needed) })
	return append(failedLogs(r), all...)
}

// keptOf are the files that are kept of an item's artifacts, by name.
func keptOf(it *schema.Item) map[string]string {
	if it.Blueprint == nil {
		return nil
	}
	return it.Blueprint.Kept
}

// failedLogs are the logs of the checks that failed at the last stage that had any run.
func failedLogs(r *schema.Run) []*material {
	var all []*material
	for _, s := range slices.Backward(r.Steps) {
		for _, c := range s.Failed {
			all = append(all, &material{
				Name: c.Name, Path: path.Join(workspace.RequestDir(r.ID, s.Request), c.Log.Path), From: s.Stage,
				Digest: c.Log.Digest, needed: true, log: true,
			})
		}
		if len(all) > 0 {
			break
		}
	}
	return all
}

// artifactName is what the stage kind calls a file, else the file's own name.
func artifactName(kind *schema.StageKind, file string) string {
	if kind != nil {
		for _, a := range kind.Writes {
			if a.File == file {
				return a.Name
			}
		}
	}
	return file
}

// read finds the item's document and the materials in what has been observed. missing is what has to
// be asked for first; ok is false when the document is not what the journal says.
func (s *stage) read(v *workspace.View) (missing []workspace.Query, ok bool) {
	r := &reader{View: v}
	if a, found := r.ask(workspace.AskFile(s.item.Path)); found {
		if a.Digest != s.item.Document {
			return nil, false
		}
		s.document = a.Data
	}
	if s.run.Held != nil {
		s.hold(r)
		return r.missing, true
	}
	if s.item.Family == schema.FamilyTarget {
		s.judge(r)
	}
	s.shown = materials(s.plan, s.run, s.item, s.plan.Kind(s.run.Plane, s.run.Node))
	left := showAll
	for _, m := range s.shown {
		if left <= 0 && !m.needed {
			m.Why = "the prompt is full"
			continue
		}
		if a, found := r.ask(workspace.AskFile(m.Path)); found {
			left -= m.take(a, min(showFile, max(left, showLog)))
		}
	}
	return r.missing, true
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

// take shows as much of an answer as the limit allows, and says why when it shows less than the whole.
func (m *material) take(a workspace.Answer, limit int) int {
	switch {
	case a.Err != "":
		m.Why = a.Err
		return 0
	case a.Digest == "":
		m.Why = "the file is gone"
		return 0
	case m.Digest != "" && a.Digest != m.Digest:
		m.Why = "the file is not what the stage left"
		return 0
	}
	m.Size = len(a.Data)
	data := a.Data
	if m.log {
		limit = showLog
		if len(data) > limit {
			data = data[len(data)-limit:]
		}
	}
	m.text = strings.ToValidUTF8(string(data[:min(len(data), limit)]), "\uFFFD")
	m.Shown = min(len(data), limit)
	return m.Shown
}
