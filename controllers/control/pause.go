package control

import (
	"fmt"

	"millrace/schema"
	"millrace/workspace"
)

// sourceDeclared is the pause that follows the declaration of kind control.
const sourceDeclared = "declared"

// declared brings the declared pause in line with the one declaration of kind control. Two of them
// contradict each other and change nothing; neither does a broken one, nor one that an agent may have
// written, or removed, until a person vouches for it.
func declared(v *workspace.View) *workspace.Mutation {
	if v.Intake == nil {
		return nil
	}
	was, paused := v.Control.Pauses[sourceDeclared]
	switch docs := v.Intake.Control; {
	case len(docs) > 1:
		return nil
	case len(docs) == 1:
		return follow(v, docs[0], was, paused)
	case !paused || !v.Intake.Complete:
		return nil
	}
	if f := v.Intake.Files[was.By]; f != nil && (f.Settling || f.Unparsed || f.Diags.HasErrors()) {
		return nil
	}
	if m, held := hold(v, was.By, ""); held {
		return m
	}
	return resume(v, was.By, "its declaration is gone")
}

func follow(v *workspace.View, d workspace.Declared, was schema.Pause, paused bool) *workspace.Mutation {
	var c schema.ControlDocument
	if f := v.Intake.Files[d.Path]; d.Doc == nil || f != nil && f.Settling || d.Doc.Decode(&c) != nil {
		return nil
	}
	if c.Paused == paused && (!paused || was.By == d.Path && was.Reason == c.Reason) {
		return nil
	}
	if m, held := hold(v, d.Path, d.File); held {
		return m
	}
	if !c.Paused {
		m := resume(v, d.Path, "it says so")
		m.Expect = []workspace.Input{{Path: d.Path, Digest: d.File}}
		return m
	}
	next := v.Control.Clone()
	if next.Pauses == nil {
		next.Pauses = map[string]schema.Pause{}
	}
	p := schema.Pause{By: d.Path, Reason: c.Reason, Since: v.Now}
	if paused {
		p.Since = was.Since
	}
	next.Pauses[sourceDeclared] = p
	release(next, d.Path)
	m := propose(next, "pause declared in "+d.Path, workspace.Event{Type: workspace.EvPaused, Path: d.Path, Message: c.Reason})
	m.Expect = []workspace.Input{{Path: d.Path, Digest: d.File}}
	return m
}

func resume(v *workspace.View, path, why string) *workspace.Mutation {
	next := v.Control.Clone()
	delete(next.Pauses, sourceDeclared)
	release(next, path)
	return propose(next, fmt.Sprintf("pause declared in %s ends: %s", path, why), workspace.Event{Type: workspace.EvResumed, Path: path, Message: why})
}

// hold says whether a control declaration must wait for a person, because a stage that may write the
// workspace ran when it changed. That is recorded once, so that it survives the run and a restart.
func hold(v *workspace.View, path string, is schema.Digest) (m *workspace.Mutation, held bool) {
	run, doubted := v.Doubted(path, is)
	if !doubted {
		return nil, false
	}
	if h, ok := v.Control.Held[path]; ok && h.Digest == is {
		return nil, true
	}
	next := v.Control.Clone()
	if next.Held == nil {
		next.Held = map[string]schema.HeldChange{}
	}
	next.Held[path] = schema.HeldChange{Digest: is, During: run, Since: v.Now}
	why := fmt.Sprintf("changed while a stage could write the workspace: commit it, or millrace intake accept %s", path)
	return propose(next, path+" is held: "+why, workspace.Event{Type: workspace.EvHeld, Path: path, Run: run, Message: why}), true
}

func release(c *schema.Control, path string) {
	delete(c.Held, path)
	delete(c.Accepted, path)
}
