package main

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"millrace/controllers/approval"
	"millrace/controllers/control"
	"millrace/controllers/intake"
	"millrace/controllers/plan"
	"millrace/reconcile"
	"millrace/workspace"
)

// patience is how long a command waits for a daemon to take up what it declared.
const patience = 15 * time.Second

// change commits one audited mutation under the command's name. decide may be called more than once.
func (f *factory) change(cmd *cobra.Command, w *workspace.Workspace, why string, decide func(*workspace.View, *workspace.Mutation) error) (*workspace.Record, error) {
	ctx, cancel := context.WithTimeout(cmd.Context(), patience)
	defer cancel()
	return w.Transact(ctx, func(s *workspace.State) (*workspace.Mutation, error) {
		m := &workspace.Mutation{By: actor(cmd), Why: why}
		v := &workspace.View{State: s, Now: f.io.Now().UTC(), Plans: plans(w)}
		if v.Now.Before(s.Time) {
			v.Now = s.Time
		}
		if err := decide(v, m); err != nil || len(m.Ops) == 0 {
			return nil, err
		}
		return m, nil
	})
}

// actor is how the journal names a command: "queue cancel".
func actor(cmd *cobra.Command) string {
	_, name, _ := strings.Cut(cmd.CommandPath(), " ")
	return name
}

// settle lets what was declared take effect: a running daemon does it, and is waited for until done
// says so; without one the controllers that begin no work are run here.
func (f *factory) settle(ctx context.Context, w *workspace.Workspace, done func(*workspace.State) bool) (settled bool, err error) {
	if _, held := w.Daemon(); !held {
		obs, err := w.Observe(workspace.ObserveOptions{Now: f.io.Now})
		if err != nil {
			return false, err
		}
		defer func() { _ = obs.Close() }()
		_, err = reconcile.Settle(ctx, reconcile.Options{
			Workspace: w, Observers: obs, Now: f.io.Now,
			Controllers: []reconcile.Controller{control.New(), plan.New(), intake.New(), approval.New()},
		})
		if err != nil {
			return false, err
		}
		s, err := w.Load()
		return err == nil && done(s), err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, err := w.Load()
	if err != nil || done(s) {
		return err == nil, err
	}
	for rec, err := range w.Tail(ctx, s.Seq+1) {
		if ctx.Err() != nil {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if err := s.Fold(rec, w.Content); err != nil {
			return false, err
		}
		if done(s) {
			return true, nil
		}
	}
	return false, nil
}

func within(w *workspace.Workspace, rel string) string {
	return filepath.Join(w.Dir, filepath.FromSlash(rel))
}
