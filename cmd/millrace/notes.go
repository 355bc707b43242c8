package main

import (
	"fmt"
	"time"

	"millrace/controllers/intake"
	"millrace/schema"
	"millrace/workspace"
)

// keptShape is what the declaration table says of a key that it leaves as it is.
type keptShape struct {
	Action      string             `json:"action"` // hold, outdated, keep, stay, reject
	Item        schema.Key         `json:"item"`
	Path        string             `json:"path,omitempty"` // of the declaration, also of one that is gone
	Why         string             `json:"why"`
	Until       *time.Time         `json:"until,omitempty"`       // a hold ends by itself then
	Diagnostics schema.Diagnostics `json:"diagnostics,omitempty"` // what is wrong with the declaration
}

// notes are what the table says without changing anything, of every key or of some.
func notes(v *workspace.View, want func(intake.Action) bool) []keptShape {
	all := []keptShape{}
	for a := range intake.Walk(v) {
		if !a.Do.Changes() && want(a) {
			all = append(all, noteOf(v, a))
		}
	}
	return all
}

func noteOf(v *workspace.View, a intake.Action) keptShape {
	n := keptShape{Action: string(a.Do), Item: a.Key, Why: a.Why}
	if !a.Until.IsZero() {
		n.Until = &a.Until
	}
	if a.Declared != nil {
		n.Path = a.Declared.Path
	} else if it := v.Items[a.Key]; it != nil && it.Declared != nil {
		n.Path = it.Declared.Path
	}
	if f := v.Intake.Files[n.Path]; a.Do == intake.Keep && f != nil {
		for _, d := range f.Diags {
			if d.Subject == "" || d.Subject == fmt.Sprintf("%s %q", a.Key.Family, a.Key.ID) {
				n.Diagnostics = append(n.Diagnostics, d)
			}
		}
	}
	return n
}

// note is what the table says of one item, nil when it agrees with its declaration.
func note(v *workspace.View, k schema.Key) *keptShape {
	a := intake.Decide(v, k)
	if a.Do == intake.Nothing {
		return nil
	}
	n := noteOf(v, a)
	return &n
}

// standing are the notes of items that wait for something to happen to their declarations: prunes that
// are held, edits that wait, declarations that broke.
func standing(v *workspace.View) []keptShape {
	return notes(v, func(a intake.Action) bool {
		return (a.Do == intake.Hold || a.Do == intake.Keep) && v.Items[a.Key] != nil
	})
}
