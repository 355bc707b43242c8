package result

import (
	"fmt"

	"millrace/schema"
)

// An effect is what a plan may have done on an edge or at an end, in the commit of the result. The set is closed:
// workflow.cue names the same ones, and says what each does.
type effect struct {
	// decide looks whether the stage's result bears the effect out, before anything is changed: it returns the
	// key that the edge routes by, or the failure that the stage gets instead. It asks for files with
	// h.listed, and changes only what the harvest knows of itself. Nil: nothing can be wrong.
	decide func(*harvest) (key string, refused *schema.Verdict)
	// apply adds what follows to the mutation. Nil: nothing but the key.
	apply func(*harvest)
	// rests is the definition of the artifact that decides, and broken the failure class of a result that lacks a valid
	// one; "": that of any other artifact.
	rests, broken string
	// wanted: it is done even when the end of the item's work is wanted. Work that nobody wants any more is
	// neither blocked nor escalated.
	wanted bool
}

var effects = map[string]effect{
	schema.EffectComplete: {apply: func(h *harvest) { h.state = schema.StateDone }, wanted: true},
	schema.EffectBlock:    {apply: func(h *harvest) { h.state = schema.StateBlocked }},
	schema.EffectEscalate: {apply: (*harvest).escalate},

	schema.EffectDisposition: {decide: (*harvest).disposition},
	schema.EffectHandoff:     {decide: (*harvest).handoff, rests: schema.DefRecon, broken: schema.FailHandoff},
	schema.EffectDecompose:   {decide: (*harvest).decompose},
	schema.EffectDraft:       {decide: (*harvest).drafts, apply: (*harvest).shelve, wanted: true},
	schema.EffectPacket:      {decide: (*harvest).packet, apply: (*harvest).further, wanted: true},
	schema.EffectCritique:    {decide: (*harvest).critique, apply: (*harvest).further, wanted: true},
	schema.EffectPromote:     {decide: (*harvest).promote, apply: (*harvest).promoted, wanted: true},
	schema.EffectRepair:      {decide: (*harvest).repair, apply: (*harvest).repaired},
	schema.EffectProve:       {decide: (*harvest).prove},
	schema.EffectClose:       {decide: (*harvest).closable, apply: (*harvest).close, wanted: true},
	schema.EffectRemediate:   {decide: (*harvest).remediable, apply: (*harvest).remediate},
	schema.EffectLearn:       {decide: (*harvest).decideLearn, apply: (*harvest).learn, wanted: true},
}

// foresee lets effects decide. The first key counts, and the first refusal.
func (h *harvest) foresee(names []string) (key string, refused *schema.Verdict) {
	for _, name := range names {
		e := effects[name]
		if e.decide == nil {
			continue
		}
		k, refused := e.decide(h)
		if refused != nil {
			return "", refused
		}
		key = firstOf(key, k)
	}
	return key, nil
}

// effect does one of them. One that this program does not know came with a plan of another version: the
// item is blocked rather than taken further without it.
func (h *harvest) effect(name string) {
	e, known := effects[name]
	switch {
	case !known:
		h.state = schema.StateBlocked
		h.note("the plan asks for the effect " + name + ", which this version of Millrace does not know")
	case e.apply != nil && (h.item.Cancel == nil || e.wanted):
		e.apply(h)
	}
}

// broken is the failure class of a result whose artifact in a file is missing or malformed.
func (h *harvest) broken(outcome, file, class string) string {
	e := h.plan.EdgeOf(h.run, schema.Verdict{Outcome: outcome})
	for _, a := range h.kind.Writes {
		for i := 0; a.File == file && e != nil && i < len(e.Effects); i++ {
			if f := effects[e.Effects[i]]; f.rests != "" && f.rests == a.Schema {
				return firstOf(f.broken, class)
			}
		}
	}
	return class
}

// refuse is the verdict on a result that does not bear out what would follow.
func refuse(class, format string, args ...any) *schema.Verdict {
	return &schema.Verdict{Failure: class, Message: fmt.Sprintf(format, args...)}
}

// note leaves word on the item about what the runtime did not do.
func (h *harvest) note(what string) {
	h.item.Note(schema.Note{At: h.Now, By: name, What: what})
}

// because is what the item says, when this result blocks it without having failed. Without a class of its own that is
// the first failure of the run.
func (h *harvest) because(class, message string) {
	class = firstOf(class, firstOf(h.run.FirstFailure, schema.ClassBlocked))
	h.why = &schema.Blocked{Class: class, Message: message, Run: h.run.ID, Node: h.run.Node}
}

// spawn admits a document that the runtime makes of what it knows, with the rest of the result.
func (h *harvest) spawn(doc *schema.Document, by string) (*schema.Item, error) {
	it, data, err := h.NewItem(h.Registry.Admit(doc, by, h.Now), "runtime")
	if err != nil {
		return nil, err
	}
	h.m.PutFile(it.Path, "", data)
	h.m.PutItem(it)
	h.tellNew(it, "raised")
	return it, nil
}
