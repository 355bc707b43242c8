package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"millrace/cmd/millrace/term"
	"millrace/schema"
	"millrace/workspace"
	"millrace/workspace/reqdir"
)

// A factory gives commands what they share: streams, the environment, the workspace.
type factory struct {
	io     *term.IO
	getenv func(string) string
	dir    string // -C
	ran    bool   // a command has begun: what fails now is no mistake of usage
}

// project is the folder that holds the workspace: the one named, else the nearest parent with one.
func (f *factory) project() (string, error) {
	dir, err := filepath.Abs(f.dir)
	if err != nil {
		return "", err
	}
	if filepath.Base(dir) == workspace.Folder {
		return filepath.Dir(dir), nil // -C given the folder itself
	}
	if f.dir != "" {
		return dir, nil
	}
	for at := dir; ; at = filepath.Dir(at) {
		if info, err := os.Stat(filepath.Join(at, workspace.Folder)); err == nil && info.IsDir() {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return dir, nil
		}
	}
}

func (f *factory) open() (*workspace.Workspace, error) {
	dir, err := f.project()
	if err != nil {
		return nil, err
	}
	return workspace.Open(dir)
}

// operator refuses what agents may not do: a stage's processes carry MILLRACE_RUN.
func (f *factory) operator(cmd *cobra.Command) error {
	run := f.getenv(schema.RunEnv)
	if run == "" {
		return nil
	}
	return refused("put what you need into your result or your outbox; the runtime or a person decides",
		"'%s' is for operators, and this is the agent of run %s", cmd.CommandPath(), run)
}

// state reads the workspace without a lock and without looking at declarations: what is queued, what
// runs and why things wait, in milliseconds.
func (f *factory) state() (*workspace.Workspace, *workspace.View, error) {
	w, err := f.open()
	if err != nil {
		return nil, nil, err
	}
	s, err := w.Load()
	if err != nil {
		return w, nil, err
	}
	_, held := w.Daemon()
	v := &workspace.View{State: s, Now: f.io.Now().UTC(), NoDaemon: !held, Troubles: w.Conditions(), Plans: plans(w), Requests: requests(w, s)}
	return w, v, nil
}

// requests says of every request in flight whether it is alive and what its agent waits for. What it came to only
// the daemon reads.
func requests(w *workspace.Workspace, s *workspace.State) map[string]*workspace.RequestSeen {
	all := map[string]*workspace.RequestSeen{}
	for _, r := range s.Runs {
		if r.Request != "" {
			all[r.Request] = seenOf(w, r)
		}
	}
	return all
}

// seenOf looks at a run's request.
func seenOf(w *workspace.Workspace, r *schema.Run) *workspace.RequestSeen {
	dir := filepath.Join(w.Dir, filepath.FromSlash(workspace.RequestDir(r.ID, r.Request)))
	seen := &workspace.RequestSeen{}
	if alive, err := reqdir.Alive(dir); err == nil && alive {
		seen.Alive = true
		seen.Waits, seen.Since = reqdir.Waiting(dir, r.Request)
	}
	return seen
}

// look reads the workspace and everything declared in it, still without a lock.
func (f *factory) look(ctx context.Context) (*workspace.Workspace, *workspace.View, error) {
	w, err := f.open()
	if err != nil {
		return nil, nil, err
	}
	s, err := w.Load()
	if err != nil {
		return w, nil, err
	}
	obs, err := f.observe(ctx, w, s)
	if err != nil {
		return w, nil, err
	}
	v := obs.View(s)
	_, held := w.Daemon()
	v.NoDaemon, v.Troubles, v.Requests = !held, w.Conditions(), requests(w, s)
	v.Declined = declined(v)
	return w, v, obs.Close()
}

// observe looks at the world, and again while a look leaves something open: a file that was just
// dropped settles, a hand in the runtime's folders is made sure of. It sees the mode and the configuration
// that the daemon runs, if one does.
func (f *factory) observe(ctx context.Context, w *workspace.Workspace, s *workspace.State) (*workspace.Observers, error) {
	opt := workspace.ObserveOptions{Now: f.io.Now}
	if info, held := w.Daemon(); held {
		opt.Mode, opt.Config = info.Mode, info.Config
	}
	obs, err := w.Observe(opt)
	if err != nil {
		return nil, err
	}
	for end := f.io.Now().Add(2 * time.Second); ; {
		if err := obs.Refresh(ctx); err != nil {
			return nil, errors.Join(err, obs.Close())
		}
		obs.View(s)
		next := obs.Next()
		if next.IsZero() || next.After(end) {
			return obs, nil
		}
		if err := sleep(ctx, max(0, next.Sub(f.io.Now()))); err != nil {
			return nil, errors.Join(err, obs.Close())
		}
	}
}

// plans reads archived plans, each once.
func plans(w *workspace.Workspace) func(schema.Digest) *schema.Plan {
	read := map[schema.Digest]*schema.Plan{}
	return func(d schema.Digest) *schema.Plan {
		if p, ok := read[d]; ok {
			return p
		}
		var p *schema.Plan
		if data, err := os.ReadFile(filepath.Join(w.Dir, filepath.FromSlash(workspace.PlanPath(d)))); err == nil {
			p = new(schema.Plan)
			if json.Unmarshal(data, p) != nil {
				p = nil // verify names the file; nothing here can use it
			}
		}
		read[d] = p
		return p
	}
}

// find is the item that a person means by an id, or by family/id; kind settles which of several.
func find(s *workspace.State, arg, kind string) (*schema.Item, error) {
	if family, id, ok := strings.Cut(arg, "/"); ok {
		arg, kind = id, family
	}
	found := s.Find(arg)
	if kind == "" && len(found) > 1 { // a closure target has the id of its root spec, which is meant
		found = slices.DeleteFunc(found, func(it *schema.Item) bool { return it.Family == schema.FamilyTarget })
	}
	if kind != "" {
		found = slices.DeleteFunc(found, func(it *schema.Item) bool { return it.Family != kind })
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, refused("'millrace queue ls --all' lists all items; 'millrace why "+arg+"' looks at declarations as well",
			"there is no item %s", strings.TrimPrefix(kind+"/"+arg, "/"))
	}
	families := make([]string, len(found))
	for i, it := range found {
		families[i] = it.Key().String()
	}
	return nil, usage("name one of them by its whole key", "%s may mean %s", arg, strings.Join(families, " or "))
}

// items completes ids of items in the given states, or in any.
func (f *factory) items(states ...string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(_ *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		w, err := f.open()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		s, err := w.Load()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var ids []string
		for k, it := range s.Items {
			if strings.HasPrefix(k.ID, prefix) && (len(states) == 0 || slices.Contains(states, it.State)) {
				ids = append(ids, cobra.CompletionWithDesc(k.ID, it.Family+", "+it.State))
			}
		}
		slices.Sort(ids)
		return ids, cobra.ShellCompDirectiveNoFileComp
	}
}
