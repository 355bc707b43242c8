package compile

import (
	"fmt"
	"slices"

	"millrace/schema"
)

// asks holds an edge to what an approval needs: a node to wait at, and a way out that a denial can take by itself,
// without a stage's result.
func (l lawyer) asks(e *schema.Edge, targets []string, field ...string) {
	a := e.Approval
	if a == nil {
		return
	}
	if l.graph.Ends[e.To] != nil {
		l.say(fmt.Sprintf("asks for an approval on the way to the end %s, where nothing is left to wait for", e.To),
			"ask on an edge that leads to a node", field...)
	}
	if e.Resume != nil || len(e.Effects)+len(e.Routes) > 0 {
		l.say("asks for an approval, and effects, routes or resume would not wait for it",
			"keep them on this edge, and ask on the next one", field...)
	}
	end := l.graph.Ends[a.Denied]
	switch {
	case !slices.Contains(targets, a.Denied):
		l.say(fmt.Sprintf("approval.denied leads to %q, which is no node and no end", a.Denied), choice(a.Denied, targets), field...)
	case a.Denied == e.To:
		l.say(fmt.Sprintf("approval.denied leads to %s, as an approval does", a.Denied), "lead it elsewhere", field...)
	case end == nil:
	case end.Gate != nil:
		l.say(fmt.Sprintf("approval.denied leads to %s, whose gate asks for checks", a.Denied), "lead it to an end without a gate", field...)
	default:
		for _, effect := range end.Effects {
			if effect != schema.EffectComplete && effect != schema.EffectBlock {
				l.say(fmt.Sprintf("approval.denied leads to %s, whose effect %s needs a stage's result", a.Denied, effect),
					"lead it to an end that only completes or blocks", field...)
			}
		}
	}
}
