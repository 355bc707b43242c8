package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"millrace/schema"
	"millrace/schema/document"
	"millrace/workspace/reqdir"
)

// requests looks at the folders of the active requests. A completion is read once: its supervisor
// writes it once, and it counts when nobody holds the lock.
type requests struct {
	dir      string // absolute, of the workspace folder
	registry *document.Registry
	read     func(name string, max int64) ([]byte, error)

	active map[string]flight // by request
	lost   map[string]string // given up, of runs that go on: only what it reports after all is of interest
	seen   map[string]*RequestSeen

	trouble schema.Diagnostics // requests that could not be looked at, and are presumed alive
}

// A flight is where an active request lies, and what its stage kind writes by its run's plan: what the request folder
// says of it the agent could have rewritten.
type flight struct {
	run    string
	writes []schema.Artifact
}

func newRequests(dir string, read func(string, int64) ([]byte, error)) *requests {
	return &requests{dir: dir, read: read, active: map[string]flight{}, seen: map[string]*RequestSeen{}}
}

// refresh asks every active request, in the order in which the answers count.
func (r *requests) refresh(ctx context.Context) error {
	next := make(map[string]*RequestSeen, len(r.active)+len(r.lost))
	r.trouble = nil
	for id, f := range r.active {
		if err := ctx.Err(); err != nil {
			return err
		}
		if old := r.seen[id]; old != nil && (old.Completion != nil || old.Salvage != nil) {
			next[id] = old
			continue
		}
		seen, err := r.look(f, id)
		if err != nil { // nothing is done to what cannot be looked at, and the others go on
			d := unreadable(RequestDir(f.run, id), err)
			d.Severity = schema.Warning
			r.trouble = append(r.trouble, d)
			seen = &RequestSeen{Alive: true, Started: true}
		}
		next[id] = seen
	}
	for id, run := range r.lost {
		if seen, err := r.late(run, id); err != nil {
			return fmt.Errorf("look at lost request %s: %w", id, err)
		} else if seen != nil {
			next[id] = seen
		}
	}
	r.seen = next
	return nil
}

// late looks whether a request that was given up has reported after all; nil when it has not.
func (r *requests) late(run, id string) (*RequestSeen, error) {
	if old := r.seen[id]; old != nil && old.Completion != nil {
		return old, nil
	}
	dir := filepath.Join(r.dir, filepath.FromSlash(RequestDir(run, id)))
	done, err := reqdir.ReadCompletion(dir)
	if err != nil || done.Request != id {
		return nil, nil //nolint:nilerr // nothing, or nothing to be read: it was given up
	}
	if alive, err := reqdir.Alive(dir); err != nil || alive {
		return nil, err // it counts when the lock is free
	}
	return &RequestSeen{Started: true, Completion: done}, nil
}

func (r *requests) look(f flight, id string) (*RequestSeen, error) {
	name := RequestDir(f.run, id)
	dir := filepath.Join(r.dir, filepath.FromSlash(name))
	alive, err := reqdir.Alive(dir)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case err == nil && alive:
		return &RequestSeen{Alive: true, Started: true}, nil
	}
	seen := &RequestSeen{}
	if seen.Started, err = reqdir.Started(dir); err != nil {
		return nil, err
	}
	done, err := reqdir.ReadCompletion(dir)
	switch {
	case err == nil && done.Request != id:
		seen.Broken = fmt.Sprintf("completion.json is that of request %q", done.Request)
	case err == nil:
		seen.Completion = done
		r.inspect(seen, name, f.writes, done)
		return seen, nil
	case !errors.Is(err, fs.ErrNotExist):
		seen.Broken = err.Error()
	}
	if !seen.Started {
		return seen, nil
	}
	strays, err := reqdir.Strays(dir)
	if err != nil {
		return nil, err
	}
	if seen.Strays = len(strays); seen.Strays > 0 {
		return seen, nil
	}
	// It may have lived and ended while it was looked at: only what is lost twice is lost.
	if alive, err = reqdir.Alive(dir); err != nil {
		return nil, err
	} else if alive {
		return &RequestSeen{Alive: true, Started: true}, nil
	}
	if _, err := reqdir.ReadCompletion(dir); err == nil {
		return r.look(f, id)
	}
	if seen.Salvage, err = reqdir.Salvage(dir); err != nil {
		return nil, err
	}
	if seen.Salvage != nil {
		r.inspect(seen, name, f.writes, seen.Salvage)
	}
	return seen, nil
}

// inspect checks what the completion lists: artifacts against their definitions, and the outbox.
func (r *requests) inspect(seen *RequestSeen, name string, writes []schema.Artifact, done *schema.Completion) {
	definitions := map[string]string{}
	for _, a := range writes {
		definitions[a.File] = a.Schema
	}
	for _, f := range done.Artifacts {
		definition := definitions[f.Path]
		if definition == "" {
			continue
		}
		data, diag := r.listed(name, f)
		if diag != nil {
			seen.Invalid = append(seen.Invalid, *diag)
			continue
		}
		record, diags := r.registry.Artifact(definition, f.Path, data)
		seen.Invalid = append(seen.Invalid, diags...)
		if record != nil {
			if seen.Records == nil {
				seen.Records = map[string]json.RawMessage{}
			}
			seen.Records[f.Path] = record
		}
	}
	for _, f := range done.Outbox {
		if ignored(path.Base(f.Path)) {
			continue
		}
		out := OutboxFile{Path: strings.TrimPrefix(f.Path, schema.OutboxFolder+"/")}
		data, diag := r.listed(name, f)
		if diag != nil {
			out.Diags = schema.Diagnostics{*diag}
		} else {
			parsed := r.registry.Parse(path.Join(IntakeDir, out.Path), data)
			out.Diags = parsed.Diags
			for _, d := range parsed.Docs {
				out.Docs = append(out.Docs, d.Doc)
			}
		}
		seen.Outbox = append(seen.Outbox, out)
	}
}

// listed reads a file of the request folder, which must still be what the completion says it is.
func (r *requests) listed(name string, f schema.File) ([]byte, *schema.Diagnostic) {
	data, err := r.read(path.Join(name, f.Path), schema.MaxFile)
	if err != nil {
		d := unreadable(f.Path, err)
		return nil, &d
	}
	if f.Digest != "" && schema.DigestOf(data) != f.Digest {
		d := refused(f.Path, "is no longer what the supervisor listed", "nobody may write a request folder but its supervisor")
		return nil, &d
	}
	return data, nil
}

// view notes which requests are active now, and which were given up, and shows what was seen of them.
func (r *requests) view(s *State, plans func(schema.Digest) *schema.Plan) map[string]*RequestSeen {
	r.active, r.lost = make(map[string]flight, len(s.Runs)), map[string]string{}
	shown := make(map[string]*RequestSeen, len(s.Runs))
	show := func(request string) {
		if seen := r.seen[request]; seen != nil {
			shown[request] = seen
		}
	}
	for _, run := range s.Runs {
		if run.Request != "" {
			f := flight{run: run.ID}
			if p := plans(run.Plan); p != nil {
				if kind := p.Kind(run.Plane, run.Node); kind != nil {
					f.writes = kind.Writes
				}
			}
			r.active[run.Request] = f
			show(run.Request)
		}
		for i := range run.Steps {
			if step := &run.Steps[i]; step.Lost() {
				r.lost[step.Request] = run.ID
				show(step.Request)
			}
		}
	}
	return shown
}
