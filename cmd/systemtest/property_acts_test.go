package systemtest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"millrace/schema"
	"millrace/workspace"
	"millrace/workspace/reqdir"
)

// What the hands of the random game can do, and how its agents fare.

// An act does one random thing and says what; "" when there was nothing to do it to.
type act struct {
	weight int
	do     func(*game) string
}

// acts of an operator between the ticks of the loop.
var acts = []act{
	{6, (*game).declare}, {3, (*game).edit}, {2, (*game).undeclare}, {2, (*game).spoil}, {2, (*game).shift}, {1, (*game).double},
	{2, (*game).moveDocument}, {2, (*game).editDocument}, {1, (*game).deleteDocument}, {2, (*game).copyDocument}, {3, (*game).stranger},
	{2, (*game).cancel}, {2, (*game).retry}, {1, (*game).accept},
	{1, (*game).pause}, {2, (*game).resume}, {1, (*game).pauseByCommand}, {2, (*game).resumeByCommand}, {1, (*game).resumeRunners},
	{2, (*game).configure}, {1, (*game).breakConfig}, {2, (*game).restart},
}

// meddling is what an agent may do beside its work, or somebody else while it works.
var meddling = []act{
	{3, (*game).declare}, {2, (*game).edit}, {1, (*game).undeclare}, {1, (*game).spoil}, {1, (*game).pause}, {1, (*game).configure},
	{2, (*game).editDocument}, {1, (*game).copyDocument}, {1, (*game).stranger},
}

func (g *game) act() string { return g.one(acts) }

// one does an act by chance, of those that can be done.
func (g *game) one(of []act) string {
	sum := 0
	for _, a := range of {
		sum += a.weight
	}
	for range 20 {
		n := g.rng.Intn(sum)
		for _, a := range of {
			if n -= a.weight; n < 0 {
				if name := a.do(g); name != "" {
					return name
				}
				break
			}
		}
	}
	return "nothing"
}

func (g *game) declarations() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(g.files)), func(f string) bool {
		return !strings.HasPrefix(f, "intake/") || strings.HasSuffix(f, "pause.yaml")
	})
}

func pick[T any](rng *rand.Rand, from []T) (T, bool) {
	if len(from) == 0 {
		var none T
		return none, false
	}
	return from[rng.Intn(len(from))], true
}

func (g *game) declare() string {
	id := fmt.Sprintf("t%02d", g.rng.Intn(12))
	more := []string{fmt.Sprintf("priority: %d", g.rng.Intn(3))}
	if g.rng.Intn(3) == 0 {
		more = append(more, fmt.Sprintf("depends_on: [t%02d]", g.rng.Intn(12)))
	}
	if g.rng.Intn(8) == 0 {
		more = append(more, fmt.Sprintf("supersedes: [t%02d]", g.rng.Intn(12)))
	}
	g.put("intake/"+id+".yaml", task(id, more...))
	return "declare " + id
}

func (g *game) edit() string {
	f, ok := pick(g.rng, g.declarations())
	if !ok {
		return ""
	}
	g.put(f, strings.Replace(g.files[f], "title: ", fmt.Sprintf("title: edit %d of ", g.rng.Intn(1000)), 1))
	return "edit " + f
}

func (g *game) undeclare() string {
	f, ok := pick(g.rng, g.declarations())
	if !ok {
		return ""
	}
	g.remove(f)
	return "delete " + f
}

func (g *game) spoil() string {
	f, ok := pick(g.rng, g.declarations())
	if !ok {
		return ""
	}
	g.put(f, []string{"kind: task\ntitle: [broken\n", "", "kind: task\n", "\x00\xff"}[g.rng.Intn(4)])
	return "break " + f
}

// shift moves a declaration to another name.
func (g *game) shift() string {
	f, ok := pick(g.rng, g.declarations())
	if !ok {
		return ""
	}
	moved := fmt.Sprintf("intake/moved-%d-%s", g.rng.Intn(1000), filepath.Base(f))
	g.files[moved] = g.files[f]
	delete(g.files, f)
	check(g.t, os.Rename(g.path("millrace-agents", f), g.path("millrace-agents", moved)))
	return "move " + f
}

// double declares a second time what is declared already.
func (g *game) double() string {
	f, ok := pick(g.rng, g.declarations())
	if !ok {
		return ""
	}
	g.put(fmt.Sprintf("intake/again-%d.yaml", g.rng.Intn(3)), g.files[f])
	return "double " + f
}

func (g *game) pause() string {
	g.put("intake/pause.yaml", fmt.Sprintf("kind: control\npaused: true\nreason: game %d\n", g.rng.Intn(3)))
	return "pause"
}

func (g *game) resume() string {
	if _, paused := g.files["intake/pause.yaml"]; !paused {
		return ""
	}
	g.remove("intake/pause.yaml")
	return "resume"
}

func (g *game) configure() string {
	g.put("millrace.cue", config(g.rng.Intn(3)))
	return "configure"
}

func (g *game) breakConfig() string {
	g.put("millrace.cue", []string{"runtime: {", "runtime: default_mode: \"no_such_mode\"\n", "what: is this\n", ""}[g.rng.Intn(4)])
	return "break configuration"
}

func (g *game) restart() string {
	g.close()
	g.open()
	return "restart"
}

// some picks an item in one of the states whose document lies where it should.
func (g *game) some(states ...string) *schema.Item {
	s := g.state()
	var all []*schema.Item
	for _, k := range slices.SortedFunc(maps.Keys(s.Items), workspace.CompareKeys) {
		it := s.Items[k]
		if _, err := os.Stat(g.path("millrace-agents", it.Path)); err == nil && k.Family == "task" && slices.Contains(states, it.State) {
			all = append(all, it)
		}
	}
	it, _ := pick(g.rng, all)
	return it
}

var everyState = []string{schema.StateQueue, schema.StateQueue, schema.StateBlocked, schema.StateActive, schema.StateDone, schema.StateCancelled}

// moveDocument moves some item's document by hand into another lifecycle folder.
func (g *game) moveDocument() string {
	it := g.some(everyState...)
	if it == nil {
		return ""
	}
	to := path.Join("tasks", []string{"queue", "blocked", "cancelled", "done", "active"}[g.rng.Intn(5)], path.Base(it.Path))
	if _, err := os.Stat(g.path("millrace-agents", to)); err == nil {
		return ""
	}
	if d, ours := g.strange[it.Path]; ours {
		g.strange[to] = d
		delete(g.strange, it.Path)
	}
	check(g.t, os.Rename(g.path("millrace-agents", it.Path), g.path("millrace-agents", to)))
	return fmt.Sprintf("move document of %s from %s to %s", it.ID, it.State, to)
}

func (g *game) editDocument() string {
	it := g.some(everyState...)
	if it == nil {
		return ""
	}
	data, err := os.ReadFile(g.path("millrace-agents", it.Path))
	if errors.Is(err, os.ErrNotExist) {
		return "" // it has just moved on
	}
	check(g.t, err)
	text := strings.Replace(string(data), it.Title, fmt.Sprintf("%s, by hand %d", it.Title, g.rng.Intn(1000)), 1)
	if g.rng.Intn(4) == 0 {
		text = "broken by hand\n"
	}
	g.strangers(it.Path, text)
	return fmt.Sprintf("edit document of %s (%s)", it.ID, it.State)
}

func (g *game) deleteDocument() string {
	it := g.some(everyState...)
	if it == nil {
		return ""
	}
	delete(g.strange, it.Path)
	check(g.t, os.Remove(g.path("millrace-agents", it.Path)))
	return fmt.Sprintf("delete document of %s (%s)", it.ID, it.State)
}

func (g *game) copyDocument() string {
	it := g.some(everyState...)
	if it == nil {
		return ""
	}
	data, err := os.ReadFile(g.path("millrace-agents", it.Path))
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	check(g.t, err)
	to := path.Join("tasks", []string{"queue", "blocked", "done"}[g.rng.Intn(3)], []string{path.Base(it.Path), "copy.md"}[g.rng.Intn(2)])
	if _, err := os.Stat(g.path("millrace-agents", to)); err == nil {
		return ""
	}
	g.strangers(to, string(data))
	return fmt.Sprintf("copy document of %s to %s", it.ID, to)
}

// stranger puts a document nobody knows into a lifecycle folder.
func (g *game) stranger() string {
	id := fmt.Sprintf("%c%02d", "ft"[g.rng.Intn(2)], g.rng.Intn(12))
	to := path.Join("tasks", []string{"queue", "queue", "blocked", "done"}[g.rng.Intn(4)], id+".md")
	if _, err := os.Stat(g.path("millrace-agents", to)); err == nil {
		return ""
	}
	text := "nothing that could be read\n"
	if g.rng.Intn(4) > 0 {
		docs := g.registry.Parse("intake/x.yaml", []byte(task(id))).Docs
		text = string(g.registry.Render(docs[0].Doc))
	}
	g.strangers(to, text)
	return "put a stranger at " + to
}

func (g *game) strangers(name, text string) {
	g.strange[name] = schema.DigestOf([]byte(text))
	g.place(name, text)
}

// command commits what an operator's command would.
func (g *game) command(change func(v *workspace.View, m *workspace.Mutation) string) string {
	did := ""
	g.seen(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "command", Why: "the game"}
		if did = change(v, m); did == "" {
			return nil
		}
		return m
	})
	return did
}

// find picks an item under the lock.
func (g *game) find(v *workspace.View, states ...string) *schema.Item {
	var all []*schema.Item
	for _, k := range slices.SortedFunc(maps.Keys(v.Items), workspace.CompareKeys) {
		if it := v.Items[k]; slices.Contains(states, it.State) {
			all = append(all, it)
		}
	}
	if it, ok := pick(g.rng, all); ok {
		return it.Clone()
	}
	return nil
}

// cancel ends an item, or wants its end, as the command does.
func (g *game) cancel() string {
	return g.command(func(v *workspace.View, m *workspace.Mutation) string {
		it := g.find(v, schema.StateQueue, schema.StateBlocked, schema.StateActive, schema.StateActive)
		switch {
		case it == nil:
			return ""
		case it.State == schema.StateActive:
			it.Cancel = &schema.Cancel{By: "command", Why: "the game", At: v.Now, Now: true, To: schema.StateCancelled}
			m.PutItem(it)
		default:
			m.CancelItem(v, it, "command", "the game")
		}
		return fmt.Sprintf("cancel %s (%s)", it.ID, it.State)
	})
}

func (g *game) retry() string {
	return g.command(func(v *workspace.View, m *workspace.Mutation) string {
		it := g.find(v, schema.StateBlocked)
		if it == nil {
			return ""
		}
		m.Requeue(v, it, schema.Note{By: "command", What: "retried", Why: "the game"}, true)
		return "retry " + it.ID
	})
}

// changeControl commits a changed control state when there is something to change.
func (g *game) changeControl(name string, change func(v *workspace.View, c *schema.Control) bool) string {
	return g.command(func(v *workspace.View, m *workspace.Mutation) string {
		c := v.Control.Clone()
		if !change(v, c) {
			return ""
		}
		m.PutControl(c)
		return name
	})
}

func (g *game) accept() string {
	return g.changeControl("accept what is held", func(_ *workspace.View, c *schema.Control) bool {
		for p, h := range c.Held {
			if c.Accepted == nil {
				c.Accepted = map[string]schema.Digest{}
			}
			c.Accepted[p] = h.Digest
			delete(c.Held, p)
			return true
		}
		return false
	})
}

func (g *game) pauseByCommand() string {
	return g.changeControl("pause by command", func(v *workspace.View, c *schema.Control) bool {
		if c.Pauses == nil {
			c.Pauses = map[string]schema.Pause{}
		}
		c.Pauses[workspace.PauseOperator] = schema.Pause{By: "command", Since: v.Now}
		return true
	})
}

func (g *game) resumeByCommand() string {
	return g.changeControl("resume by command", func(_ *workspace.View, c *schema.Control) bool {
		_, paused := c.Pauses[workspace.PauseOperator]
		delete(c.Pauses, workspace.PauseOperator)
		return paused
	})
}

func (g *game) resumeRunners() string {
	return g.changeControl("resume runners", func(_ *workspace.View, c *schema.Control) bool {
		wait := len(c.Runners) > 0
		clear(c.Runners)
		return wait
	})
}

// finishStage plays supervisor and agent: it leaves behind what a stage of any luck leaves.
func (g *game) finishStage(dir string) error {
	req, err := reqdir.ReadRequest(dir)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	release, err := reqdir.Take(dir)
	if err != nil {
		return err
	}
	defer release()
	if spent, err := reqdir.Spend(dir); err != nil || !spent {
		return err
	}
	if !g.calm && g.rng.Intn(5) == 0 {
		g.played = append(g.played, g.one(meddling))
	}
	c := &schema.Completion{SchemaVersion: schema.Version, Request: req.ID, Run: req.Run, Exit: schema.ExitCompleted, Started: time.Now().UTC()}
	if !g.calm && g.rng.Intn(8) == 0 && g.endWanted(req) {
		c.Exit, c.Failure = schema.ExitCancelled, schema.FailCancelled
	} else if outcome := g.luck(req, c); c.Exit == "" {
		return nil // the supervisor was killed
	} else if outcome != "" {
		if err := claim(dir, req, c, outcome); err != nil {
			return err
		}
	}
	c.Ended = time.Now().UTC()
	if err := reqdir.List(dir, req, c); err != nil {
		return err
	}
	return reqdir.WriteCompletion(dir, c)
}

// endWanted cancels the item of a running stage, or wants it back in the queue, and reports whether the
// agent ends because of it.
func (g *game) endWanted(req *schema.Request) bool {
	w, err := workspace.Open(g.dir) // as another process would
	check(g.t, err)
	defer w.Close()
	to := []string{schema.StateCancelled, schema.StateQueue}[g.rng.Intn(2)]
	_, err = w.Transact(g.t.Context(), func(s *workspace.State) (*workspace.Mutation, error) {
		it := s.Items[req.Item]
		if it == nil || it.State != schema.StateActive || it.Run != req.Run {
			return nil, nil
		}
		it = it.Clone()
		it.Cancel = &schema.Cancel{By: "command", Why: "the game", At: time.Now().UTC(), Now: true, To: to}
		m := &workspace.Mutation{By: "command", Why: "end " + it.ID}
		m.PutItem(it)
		return m, nil
	})
	check(g.t, err)
	g.played = append(g.played, fmt.Sprintf("want %s to be %s", req.Item.ID, to))
	return g.rng.Intn(3) > 0
}

// luck decides how an agent fares: its outcome, or how it failed; Exit "" for a lost supervisor.
func (g *game) luck(req *schema.Request, c *schema.Completion) (outcome string) {
	luck := g.rng.Intn(16)
	if g.calm {
		luck = 15
	}
	fail := func(exit, class string) { c.Exit, c.Failure = exit, class }
	switch luck {
	case 0:
		c.Exit = ""
	case 1:
		fail(schema.ExitFailed, schema.FailExit)
	case 2:
		fail(schema.ExitTimeout, schema.FailTimeout)
	case 3:
		fail(schema.ExitFailed, schema.FailRateLimited)
		c.RetryAfter = schema.Duration(time.Duration(5+g.rng.Intn(30)) * time.Millisecond)
	case 4:
		fail(schema.ExitFailed, []string{schema.FailAuth, schema.FailNetwork}[g.rng.Intn(2)]) // an operator resumes it
	case 5:
		fail(schema.ExitNotStarted, schema.FailNotStarted)
	case 6:
		return schema.OutcomeBlocked
	case 7, 8:
		return req.Outcomes[g.rng.Intn(len(req.Outcomes))]
	default:
		for _, o := range req.Outcomes {
			if o != schema.OutcomeBlocked && !strings.Contains(o, "NEED") {
				outcome = o
			}
		}
	}
	return outcome
}

func claim(dir string, req *schema.Request, c *schema.Completion, outcome string) error {
	c.Claim = &schema.Claim{Outcome: outcome, Source: schema.StdoutFile}
	for _, a := range req.Artifacts {
		if a.NeededFor(outcome) {
			if err := os.WriteFile(filepath.Join(dir, a.File), []byte("of "+req.ID), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}
