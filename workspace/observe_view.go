package workspace

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"time"

	"millrace/schema"
)

// storedFamilies are those of the current plan's projection, for a daemon that starts while its
// inputs do not compile; while nothing has ever compiled, the embedded ones (see View.Families).
func (o *Observers) storedFamilies() map[string]*schema.Family {
	data, err := o.w.ReadFile(PlanFile, 64<<20)
	if err != nil {
		return builtinFamilies()
	}
	var plan schema.Plan
	if json.Unmarshal(data, &plan) != nil {
		return builtinFamilies()
	}
	return plan.Families
}

func (o *Observers) read(name string) ([]byte, error) { return o.w.ReadFile(name, schema.MaxFile) }

// View shows what was seen beside the state. Call it under the lock, with the state just caught up.
func (o *Observers) View(s *State) *View {
	o.mu.Lock()
	defer o.mu.Unlock()
	touched := s.Touched()
	if o.state != s { // another fold: nothing is known of what changed
		o.state = s
		o.intake.recheck(s)
	}
	if len(o.hold) != len(s.Hold) { // keys are released, never exchanged
		for k := range o.hold {
			o.intake.dirty[k] = true
		}
		o.hold = s.Hold
	}
	now := o.opt.Now().UTC()
	if now.Before(s.Time) {
		now = s.Time
	}
	v := &View{
		State: s, Now: now, Daemon: o.opt.Daemon, Config: o.config(s), Registry: o.inputs.registry,
		NewID:    func(prefix string) string { return newID(prefix, now) },
		Intake:   o.intake.view(s, touched),
		Requests: o.requests.view(s, o.plan),
		Hands:    o.hands.view(s, touched),
		Notices:  o.notices,
		Asked:    o.asked,
		Plans:    o.plan,
	}
	v.Compiled = o.inputs.view(s, o.plan)
	unknown := false
	if v.Git, unknown = o.git.view(s, v); unknown || len(o.intake.need) > 0 {
		o.poke()
	}
	return v
}

// config is what is in force: the last configuration that parsed, but for what guards against agents. That
// is taken from the current plan, because a change of it may be held.
func (o *Observers) config(s *State) *schema.Config {
	p := o.plan(s.Control.Plan)
	if p == nil {
		return o.inputs.config
	}
	c := *o.inputs.config
	c.Checks, c.AutoRecovery = p.Checks, p.Recovery
	return &c
}

// plan finds an archived plan; what is read once is kept, because a run reads its plan at every turn.
func (o *Observers) plan(d schema.Digest) *schema.Plan {
	if d == "" {
		return nil
	}
	if o.inputs.compiled.Plan != nil && o.inputs.compiled.Digest == d {
		return o.inputs.compiled.Plan
	}
	if p := o.plans[d]; p != nil {
		return p
	}
	data, err := o.w.ReadFile(PlanPath(d), 64<<20)
	if err != nil || schema.DigestOf(data) != d {
		return nil
	}
	p := new(schema.Plan)
	if json.Unmarshal(data, p) != nil {
		return nil
	}
	o.plans[d] = p
	return p
}

// newID makes an id that sorts by time and is unique over hosts and restarts.
func newID(prefix string, now time.Time) string {
	var b [4]byte
	rand.Read(b[:]) //nolint:errcheck // never fails: it ends the program instead
	return prefix + "-" + now.UTC().Format("20060102T150405.000Z") + "-" + hex.EncodeToString(b[:])
}

// Ask notes queries; the next Refresh answers them, and every later one again until Forget.
func (o *Observers) Ask(qs []Query) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, q := range qs {
		if !o.queries[q] {
			o.queries[q] = true
			o.poke()
		}
	}
}

// Forget drops all queries.
func (o *Observers) Forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queries, o.asked = map[Query]bool{}, map[Query]Answer{}
}

// Answer looks at what a query asks for. It needs no lock: the answer is as old as a look is.
func (w *Workspace) Answer(ctx context.Context, q Query) Answer {
	var data []byte
	var err error
	switch q.Kind {
	case "file":
		data, err = w.ReadFile(q.Arg, schema.MaxFile)
	case "content":
		data, err = w.restore("", schema.Digest(q.Arg), math.MaxUint64)
	case "tree":
		var digest string
		digest, err = w.TreeDigest(ctx)
		data = []byte(digest)
	default:
		err = fmt.Errorf("nobody can observe a %q", q.Kind)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Answer{}
	case err != nil:
		return Answer{Err: err.Error()}
	}
	return Answer{Data: data, Digest: schema.DigestOf(data)}
}
