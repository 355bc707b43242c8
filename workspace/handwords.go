package workspace

import (
	"fmt"
	"path"

	"millrace/schema"
)

// Words say what a hand did, and what to do about it where the runtime does not see to it by itself.
func (v *View) Words(h Hand) (what, repair string) {
	it := v.Items[h.Key]
	active := it != nil && it.State == schema.StateActive
	flaw := ""
	for _, d := range h.Diags {
		if d.Severity != schema.Warning {
			flaw = join(d.Field, d.Message)
			break
		}
	}
	if f := v.Family(h.Key.Family); f != nil && !f.Dropped() && (h.What == HandForeign || !active) {
		return v.runtimesOwn(h, f)
	}
	switch h.What {
	case HandCopied:
		state := "known"
		if it != nil {
			state = inWords(it.State)
		}
		return fmt.Sprintf("a copy of %s, which is %s (%s); it is not run", h.Key, state, h.Was),
			fmt.Sprintf("remove the copy %s; what is to be done besides is declared in %s/ under another id", h.Path, IntakeDir)
	case HandMoved:
		if active {
			return fmt.Sprintf("%s is active, and its document was moved here by hand", h.Key), fmt.Sprintf("move it back to %s", h.Was)
		}
		return fmt.Sprintf("%s was moved here from %s by hand", h.Key, path.Dir(h.Was)), "the daemon takes it over"
	case HandEdited:
		switch {
		case active:
			return fmt.Sprintf("the document of %s was edited by hand while it is active; its agent does not see that", h.Key),
				"put it back as it was, and edit the declaration: that waits until the run has ended"
		case h.Doc == nil:
			return because(fmt.Sprintf("the document of %s was edited by hand and is not valid", h.Key), flaw), "correct it"
		}
		return fmt.Sprintf("the document of %s was edited by hand", h.Key), "the daemon takes it over, or puts it back when a declaration says otherwise"
	case HandDeleted:
		return fmt.Sprintf("the document of %s was deleted by hand", h.Key),
			fmt.Sprintf("the daemon restores it; to end the item: millrace queue cancel %s --reason …", h.Key.ID)
	}
	switch {
	case h.Doc == nil:
		return because("not a valid document, so it is not run", flaw), "correct it, or move it away; declarations belong in " + IntakeDir + "/"
	case h.State != schema.StateQueue:
		return fmt.Sprintf("no item of Millrace's; %s is not known", h.Key), "declare it in " + IntakeDir + "/, or move it away"
	}
	if root, _ := h.Doc.Fields["root_spec_id"].(string); root != "" {
		if t := v.ClosedFor(h.Key.Family, h.Key.ID, schema.Lineage{RootSpecID: root}); t != nil {
			return fmt.Sprintf("%s was put here by hand; %s", h.Key, TooLate(t)), "move it away, or open its root again"
		}
	}
	return fmt.Sprintf("%s was put here by hand", h.Key), "the daemon adopts it, unless its id is held or declared"
}

// runtimesOwn says what a hand did to a document that only the runtime makes and moves.
func (v *View) runtimesOwn(h Hand, f *schema.Family) (what, repair string) {
	switch h.What {
	case HandForeign, HandCopied:
		return "it is run by nobody: " + MadeByRuntime(f), "move it away"
	case HandMoved:
		return fmt.Sprintf("%s was moved here from %s by hand", h.Key, path.Dir(h.Was)), "the daemon moves it back"
	case HandEdited:
		return fmt.Sprintf("the document of %s was edited by hand", h.Key), "the daemon puts it back"
	}
	return fmt.Sprintf("the document of %s was deleted by hand", h.Key), "the daemon restores it"
}
