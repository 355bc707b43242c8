package reconcile

import (
	"cmp"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"millrace/schema"
)

// A Condition is a trouble that the loop lives with: it is shown, tried again, and lifts by itself.
type Condition struct {
	Name    string // commit, decide, observe, checkpoint, or start <request>
	Message string
	Since   time.Time
	Tries   int
	Lifted  bool
}

const (
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = time.Minute
)

// conditions are those that hold. Loop and executor share them.
type conditions struct {
	log    *slog.Logger
	notice func(Condition)
	now    func() time.Time

	mu   sync.Mutex
	held map[string]Condition
}

// set records one more failure and returns how long to wait before the next try. Only the first is
// told: a message that changes with every try is still the same condition.
func (c *conditions) set(name string, err error) time.Duration {
	c.mu.Lock()
	cond, known := c.held[name]
	if !known {
		cond = Condition{Name: name, Since: c.now()}
	}
	cond.Message = err.Error()
	cond.Tries++
	if c.held == nil {
		c.held = map[string]Condition{}
	}
	c.held[name] = cond
	c.mu.Unlock()
	if !known {
		c.tell(cond)
	}
	return min(lastBackoff, firstBackoff<<min(cond.Tries-1, 16))
}

func (c *conditions) lift(name string) {
	c.mu.Lock()
	cond, known := c.held[name]
	delete(c.held, name)
	c.mu.Unlock()
	if known {
		cond.Lifted = true
		c.tell(cond)
	}
}

// blind keeps a condition for each thing that cannot be seen now.
func (c *conditions) blind(ds schema.Diagnostics) {
	const look = "look at "
	now := map[string]bool{}
	for _, d := range ds {
		name := look + d.Path
		if now[name] = true; !c.holds(name) {
			c.set(name, errors.New(strings.ReplaceAll(strings.TrimSpace(d.Message+"\n"+d.Hint), "\n", "; ")))
		}
	}
	for _, cond := range c.list() {
		if strings.HasPrefix(cond.Name, look) && !now[cond.Name] {
			c.lift(cond.Name)
		}
	}
}

func (c *conditions) holds(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, held := c.held[name]
	return held
}

// tell tells whoever wants to know, once; else the log.
func (c *conditions) tell(cond Condition) {
	switch {
	case c.notice != nil:
		c.notice(cond)
	case cond.Lifted:
		c.log.Info("condition lifted", "condition", cond.Name)
	default:
		c.log.Warn("condition appeared", "condition", cond.Name, "error", cond.Message)
	}
}

func (c *conditions) list() []Condition {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Condition
	for _, cond := range c.held {
		all = append(all, cond)
	}
	slices.SortFunc(all, func(a, b Condition) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
