package workspace

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"millrace/schema"
)

// Reasons why something waits. The list is a contract (docs/json-output.md).
const (
	WaitNoDaemon   = "no_daemon"                   // nobody runs the workspace
	WaitPaused     = "paused"                      // a pause source is set
	WaitStopping   = "stopping"                    // the daemon was asked to end
	WaitTrouble    = "trouble"                     // the daemon cannot go on for now: a full disk, a record that cannot be carried out
	WaitPlan       = "plan"                        // there is no plan, or what it is made of does not compile
	WaitNoGraph    = "no_graph"                    // the mode has no graph that takes the family
	WaitDependency = "dependency"                  // another item must be done first
	WaitRunner     = "runner"                      // the runner of the next stage is stalled or waits
	WaitAgent      = "agent"                       // its agent waits: for a login that another one uses, for its provider
	WaitApproval   = "approval"                    // somebody must approve before its next stage
	WaitLane       = "lane"                        // every lane of the plane is taken
	WaitExclusive  = "exclusive"                   // a plane that may not run beside this one is running
	WaitTurn       = "turn"                        // others are claimed first
	WaitClosure    = "closure_target_backpressure" // another root is open: it is judged first
	WaitUnjudged   = "root_unjudged"               // a root that was never judged cannot be opened: planning waits
	WaitLineage    = "lineage"                     // a closure target: work of its lineage is left
	WaitHands      = "hands"                       // a person's hand in the runtime's folders is in its way
	WaitCancel     = "cancel"                      // its end is wanted and comes with the end of its stage
	WaitBlocked    = "blocked"                     // a run ended without success
	WaitHeld       = "held"                        // declared, but older than the workspace
	WaitRejected   = "rejected"                    // declared, but not valid
	WaitSettling   = "settling"                    // dropped, not whole yet
	WaitUnknown    = "unknown"                     // nothing of that name is declared
	WaitNoWork     = "no_work"                     // nothing is queued
)

// Waiting says why an item is not running: the first of its obstacles, nil when there is none. Every
// reader shows exactly this.
func (v *View) Waiting(k schema.Key) *schema.Waiting {
	if it := v.Items[k]; it != nil && it.State == schema.StateQueue {
		if all := v.Standing(); len(all) > 0 && all[0].Stalled {
			return &all[0] // the same that Obstacles would find, without looking at the others
		}
	}
	if all := v.Obstacles(k); len(all) > 0 {
		return &all[0]
	}
	return nil
}

// Obstacles are all reasons why an item is not running. Those that need somebody to act come first:
// clearing any other changes nothing until they are gone.
func (v *View) Obstacles(k schema.Key) []schema.Waiting {
	it := v.Items[k]
	if it == nil {
		return v.undeclared(k)
	}
	var all []schema.Waiting
	switch it.State {
	case schema.StateQueue:
		all = append(v.Standing(), v.unclaimed(it)...)
	case schema.StateActive:
		all = v.active(it)
	case schema.StateBlocked:
		all = []schema.Waiting{v.blocked(it)}
	case schema.StateOpen:
		all = v.open(it)
	}
	if it.Learned != nil && schema.Ended(it.State) {
		if w := v.LearnedWaits(it); w != nil {
			all = append(all, *w)
		}
	}
	slices.SortStableFunc(all, func(a, b schema.Waiting) int { return cmp.Compare(rank(a), rank(b)) })
	return all
}

func rank(w schema.Waiting) int {
	if w.Stalled {
		return 0
	}
	return 1
}

// CurrentPlan is the frozen plan that new runs take, or nil.
func (v *View) CurrentPlan() *schema.Plan {
	if v.Control.Plan == "" || v.Plans == nil {
		return nil
	}
	return v.Plans(v.Control.Plan)
}

// Standing are the obstacles that concern all work alike: nobody runs it, it is paused, there is no
// plan.
func (v *View) Standing() []schema.Waiting {
	var all []schema.Waiting
	if v.NoDaemon {
		all = append(all, schema.Waiting{Reason: WaitNoDaemon, Message: "no daemon runs this workspace",
			ClearedBy: "millrace run daemon", Stalled: true})
	}
	for _, c := range v.Troubles {
		if c.Name != "checkpoint" && !strings.HasPrefix(c.Name, startCondition) {
			all = append(all, trouble(c))
		}
	}
	for _, source := range sorted(v.Control.Pauses) {
		all = append(all, paused(source, v.Control.Pauses[source]))
	}
	if s := v.Control.Stop; s != nil && !v.NoDaemon {
		all = append(all, schema.Waiting{Reason: WaitStopping, Message: because("the daemon was asked to stop", s.Reason),
			Since: s.At, ClearedBy: "millrace run daemon, when it has stopped", Stalled: true})
	}
	return append(all, v.planless()...)
}

// startCondition begins the name of the condition that a request's supervisor cannot be started.
const startCondition = "start "

func trouble(c Condition) schema.Waiting {
	return schema.Waiting{Reason: WaitTrouble, Message: because(c.Name, c.Message), Since: c.Since,
		ClearedBy: "what it names; it is tried again by itself", Stalled: true}
}

func paused(source string, p schema.Pause) schema.Waiting {
	w := schema.Waiting{Reason: WaitPaused, Message: because("paused by "+source, p.Reason), Since: p.Since,
		ClearedBy: "millrace resume --reason …", Stalled: true}
	if source == PauseDeclared {
		w.ClearedBy = "paused: false in the control declaration, or its removal"
	}
	return w
}

// Pause sources.
const (
	PauseOperator = "operator" // set and cleared by commands
	PauseDeclared = "declared" // follows the declaration of kind control
)

func (v *View) planless() []schema.Waiting {
	c := v.Compiled
	if c.Ready && c.Plan == nil {
		w := schema.Waiting{Reason: WaitPlan, Message: "the workflow files do not compile: nothing new is claimed",
			ClearedBy: "fix them; millrace compile validate shows all", Stalled: true}
		for _, d := range c.Diags {
			if d.Severity != schema.Warning {
				w.ClearedBy = fmt.Sprintf("fix %s: %s", d.Place(), d.Message)
				break
			}
		}
		return []schema.Waiting{w}
	}
	if v.Control.Plan == "" {
		return []schema.Waiting{{Reason: WaitPlan, Message: "no plan has been frozen yet",
			ClearedBy: "millrace run daemon freezes it", Stalled: v.NoDaemon}}
	}
	return nil
}

// unclaimed are the obstacles between a queued item and its claim.
func (v *View) unclaimed(it *schema.Item) []schema.Waiting {
	all := v.dependencies(it)
	p := v.CurrentPlan()
	if p == nil {
		return all
	}
	plane, node := entry(p, it)
	if plane != "" && node == "" {
		return append(all, schema.Waiting{Reason: WaitNoGraph, Stalled: true,
			Message:   fmt.Sprintf("target_stage %s is no node where a %s may begin", it.Target, it.Family),
			ClearedBy: "a document with another target_stage, or none"})
	}
	if node == "" {
		return append(all, schema.Waiting{Reason: WaitNoGraph, Stalled: true,
			Message:   fmt.Sprintf("mode %s has no graph that takes %s items", p.Mode, it.Family),
			ClearedBy: "a mode that has one: millrace modes list, then runtime.default_mode in the configuration"})
	}
	if lacks := p.Lacks(plane, it.Target, it.Fills); len(lacks) > 0 {
		return append(all, schema.Waiting{Reason: WaitNoGraph, Stalled: true, Message: Untold(it.Target, lacks),
			ClearedBy: "a document that says it, or without target_stage"})
	}
	all = append(all, v.handled(it)...)
	all = append(all, v.deferred(p, plane, it)...)
	all = append(all, v.runner(p, v.Control.Plan, p.Node(plane, node))...)
	if len(all) > 0 {
		return all // an item that cannot go is skipped, not queued up
	}
	return v.turn(p, plane, it)
}

// handled is what people did in the runtime's folders to an item that is to be claimed.
func (v *View) handled(it *schema.Item) []schema.Waiting {
	for _, h := range v.Hands {
		if h.Key == it.Key() {
			what, repair := v.Words(h)
			return []schema.Waiting{{Reason: WaitHands, Stalled: true, Message: h.Path + ": " + what, ClearedBy: repair}}
		}
	}
	return nil
}

// entry finds the plane whose graph takes an item, and the node it begins at; "" when its document asks for one
// where it may not.
func entry(p *schema.Plan, it *schema.Item) (plane, node string) {
	for _, plane := range p.PlaneOrder {
		if g := p.Graphs[plane]; g != nil && slices.Contains(g.Claim, it.Family) {
			return plane, g.Begin(it.Family, it.Target)
		}
	}
	return "", ""
}

func (v *View) dependencies(it *schema.Item) []schema.Waiting {
	var all []schema.Waiting
	for _, k := range v.Unmet(it) {
		w := schema.Waiting{Reason: WaitDependency}
		dep := v.Items[k]
		switch {
		case dep == nil && v.Hold[k]:
			w.Message, w.ClearedBy, w.Stalled = "needs "+k.ID+", which is held", "millrace queue admit "+k.ID, true
		case dep == nil:
			w.Message, w.ClearedBy, w.Stalled = "needs "+k.ID+", which does not exist",
				fmt.Sprintf("declare %s, or take it out of the dependencies of %s", k.ID, it.ID), true
		case dep.State == schema.StateBlocked:
			w.Message, w.ClearedBy, w.Stalled = "needs "+k.ID+", which is blocked", retry(dep), true
			w.Since = dep.Updated
		case schema.Ended(dep.State):
			w.Message, w.ClearedBy, w.Stalled = fmt.Sprintf("needs %s, which is %s", k.ID, dep.State),
				fmt.Sprintf("declare %s anew, or take it out of the dependencies of %s", k.ID, it.ID), true
			w.Since = dep.Updated
		default:
			w.Message, w.ClearedBy = fmt.Sprintf("needs %s, which is %s", k.ID, inWords(dep.State)), k.ID+" being done"
			if t := v.eachOther(it, dep); t != nil {
				w.Message = fmt.Sprintf("needs %s, which is not begun before the closure target of %s has ended, and that waits for %s", k.ID, t.ID, it.ID)
				w.ClearedBy = fmt.Sprintf("%s taken out of the dependencies of %s, or millrace closure abandon %s --reason …", k.ID, it.ID, t.ID)
				w.Stalled = true
			}
		}
		all = append(all, w)
	}
	return all
}

func inWords(state string) string {
	if state == schema.StateQueue {
		return "queued"
	}
	return state
}

func (v *View) runner(p *schema.Plan, plan schema.Digest, n *schema.Node) []schema.Waiting {
	if n == nil {
		return nil
	}
	rw, waits := v.RunnerWait(p, plan, n.Runner)
	if !waits {
		return nil
	}
	w := schema.Waiting{Reason: WaitRunner, Since: rw.First, Stalled: rw.Stalled,
		Message: because(fmt.Sprintf("runner %s: %s", n.Runner, rw.Class), rw.Message)}
	if rw.Stalled {
		w.ClearedBy = fmt.Sprintf("a change of its configuration, or millrace control resume --runner %s", n.Runner)
		return []schema.Waiting{w}
	}
	until := rw.Until
	w.Until, w.ClearedBy = &until, "time; or millrace control resume --runner "+n.Runner
	return []schema.Waiting{w}
}

// active are the obstacles of an item that has been claimed.
func (v *View) active(it *schema.Item) []schema.Waiting {
	r := v.RunOf(it)
	var all []schema.Waiting
	if c := it.Cancel; c != nil {
		all = append(all, schema.Waiting{Reason: WaitCancel, Since: c.At, ClearedBy: "the end of its stage",
			Message: because("to be "+inWords(c.To)+" by "+c.By, c.Why)})
	}
	if r == nil {
		return all
	}
	if r.Approval != nil {
		return append(append([]schema.Waiting{v.asked(r.Approval)}, v.Standing()...), all...)
	}
	if r.Request == "" {
		all = append(v.Standing(), all...)
		if p := v.planOf(r); p != nil {
			all = append(all, v.runner(p, r.Plan, p.Node(r.Plane, r.Node))...)
		}
		return all
	}
	for _, c := range v.Troubles {
		if c.Name == startCondition+r.Request {
			all = append(all, trouble(c))
		}
	}
	seen := v.Requests[r.Request]
	if seen != nil && seen.Waits != "" {
		all = append(all, schema.Waiting{Reason: WaitAgent, Message: fmt.Sprintf("its stage %s waits: %s", r.Node, seen.Waits), Since: seen.Since,
			ClearedBy: fmt.Sprintf("time; or millrace queue cancel %s --now --reason …", it.ID)})
	}
	if v.NoDaemon && seen != nil && !seen.Alive {
		return append(all, schema.Waiting{Reason: WaitNoDaemon, Stalled: true, ClearedBy: "millrace run daemon",
			Message: "its stage " + r.Node + " is not running, and no daemon is there to take it further"})
	}
	return all
}

func (v *View) planOf(r *schema.Run) *schema.Plan {
	if v.Plans == nil {
		return nil
	}
	return v.Plans(r.Plan)
}

func (v *View) blocked(it *schema.Item) schema.Waiting {
	w := schema.Waiting{Reason: WaitBlocked, Message: "blocked", Since: it.Updated, ClearedBy: retry(it), Stalled: true}
	if b := it.Blocked; b != nil {
		w.Message, w.Since = b.Message, b.Since
		if b.Class != schema.ClassBlocked || b.Message == "" { // else the message says more
			w.Message = because(b.Class, b.Message)
		}
		if b.Class == schema.FailApprovalDenied {
			w.ClearedBy = fmt.Sprintf("decision: approve in %s, then %s", denier(it), w.ClearedBy)
		}
	}
	if k := (schema.Key{Family: schema.FamilyIncident, ID: it.Raised}); v.planned(it) {
		w.Message, w.Stalled = fmt.Sprintf("%s; %s takes it up", w.Message, k), false
		w.ClearedBy = fmt.Sprintf("the first work planned for %s, which takes its place; or %s", k, w.ClearedBy)
	}
	return w
}

// planned reports whether an incident that blocks an item, or what was planned for it, may still bring work.
func (v *View) planned(it *schema.Item) bool {
	return it.Raised != "" && slices.ContainsFunc(v.WorkOf(it.Raised), func(k schema.Key) bool {
		return k.Family != it.Family && !schema.Ended(v.Items[k].State)
	})
}

func retry(it *schema.Item) string {
	if it.Family == schema.FamilyTarget {
		return fmt.Sprintf("millrace closure retry %s --reason …, or the end of work of its lineage", it.ID)
	}
	return fmt.Sprintf("millrace queue retry-blocked %s --reason …", it.ID)
}

func because(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + why
}

func join(field, message string) string {
	if field == "" {
		return message
	}
	return field + ": " + message
}

func sorted[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
