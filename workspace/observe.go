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
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"millrace/schema"
)

// thoroughEvery is how many rescans pass before the files of watched folders are compared one by
// one as well: their folders' mtimes and the events tell of all but the rarest change.
const thoroughEvery = 10

// passTime is how long one Refresh validates declarations before it lets what it has be acted on.
const passTime = 100 * time.Millisecond

// ObserveOptions say how to observe.
type ObserveOptions struct {
	Watch  bool             // hints by file system events, and rescans; a command looks when it is told to
	Mode   string           // override of the configured mode
	Now    func() time.Time // clock of the views; nil: the wall's
	Daemon string           // instance id of the daemon, "" for a command
}

// Observers are the only readers of the world. Refresh looks, outside the lock and however long it
// takes; View shows what it saw beside the state, under the lock and at the cost of what changed.
// A view is valid until the next Refresh or View.
type Observers struct {
	w     *Workspace
	opt   ObserveOptions
	root  *os.Root
	hints chan struct{}

	mu       sync.Mutex
	watch    *watcher
	inputs   *inputs
	intake   *intake
	hands    *hands
	requests *requests
	git      *gitWatch
	trees    struct{ config, assets, intake, life *tree }
	notices  schema.Diagnostics
	queries  map[Query]bool
	asked    map[Query]Answer // of the queries looked at
	plans    map[schema.Digest]*schema.Plan
	state    *State // that the last view was made of
	hold     map[schema.Key]bool
	rescans  int
	rescan   time.Time // when the next is due
	again    bool      // a view left questions
	resort   bool      // the lifecycle folders are others than before
}

// Observe prepares to look at the workspace; the first Refresh looks at everything.
func (w *Workspace) Observe(opt ObserveOptions) (*Observers, error) {
	root, err := os.OpenRoot(w.Dir)
	if err != nil {
		return nil, fmt.Errorf("open workspace: %w", err)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	o := &Observers{
		w: w, opt: opt, root: root, hints: make(chan struct{}, 1),
		inputs: newInputs(opt.Mode), intake: newIntake(opt.Now), queries: map[Query]bool{}, asked: map[Query]Answer{},
		requests: newRequests(w.Dir, w.ReadFile), plans: map[schema.Digest]*schema.Plan{},
		git: &gitWatch{project: w.Project, dir: w.Dir, asked: map[string]schema.Digest{}, known: map[string]gitPath{}},
	}
	o.hands = newHands(o.poke)
	o.plant()
	if opt.Watch {
		if o.watch, err = newWatcher(w.Dir, o.cares, o.hint); err != nil {
			o.notices = schema.Diagnostics{unwatched(".", err)}
		}
	}
	return o, nil
}

// plant makes the trees, each with what it leaves out and whether its folders are watched.
func (o *Observers) plant() {
	t := &o.trees
	t.config = newTree(o.root, o.inputs, ".")
	t.assets = newTree(o.root, o.inputs, inputFolders...)
	t.intake = newTree(o.root, o.intake, IntakeDir)
	t.life = newTree(o.root, o.hands)
	t.config.skip, t.assets.skip = skipInput, skipInput
	t.assets.deep, t.intake.deep, t.intake.must = true, true, true
	t.intake.skip = func(_, name string) bool { return ignored(name) }
	t.life.skip = t.intake.skip
	t.life.lazy = o.hands.settled
	o.hands.tree = t.life
	for _, tree := range []*tree{t.config, t.assets, t.intake, t.life} {
		tree.watch = func(dir string, id uint64) {
			if o.watch != nil && !tree.lazy(dir) {
				o.watch.folder(dir, id)
			}
		}
		tree.watched = func(dir string) bool { return o.watch != nil && o.watch.watched(dir) }
	}
}

// cares reports whether an event on a name may matter: in the workspace folder itself only the
// configuration and the watched folders do.
func (o *Observers) cares(dir, base string) bool {
	if dir == "." {
		return slices.Contains(ConfigNames, base) || base == IntakeDir || slices.Contains(inputFolders, base)
	}
	return !ignored(base) || base[0] == '_' || strings.HasPrefix(base, "README")
}

// Hints says that something may have changed; several changes are one hint.
func (o *Observers) Hints() <-chan struct{} { return o.hints }

func (o *Observers) hint() {
	select {
	case o.hints <- struct{}{}:
	default:
	}
}

// poke asks for another Refresh because a view left questions that only looking again answers.
func (o *Observers) poke() {
	o.again = true
	o.hint()
}

// Next is when something that settles, or a rescan, is due; zero when nothing is.
func (o *Observers) Next() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	var first time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	for _, t := range []*tree{o.trees.config, o.trees.assets, o.trees.intake, o.trees.life} {
		sooner(t.next())
	}
	if o.again || !o.inputs.compiled.Ready {
		sooner(now)
	}
	if o.opt.Watch {
		sooner(o.rescan)
		if o.git.waited(len(o.intake.seen.Unreconciled) > 0) {
			sooner(now.Add(gitPatience))
		}
	}
	if first.IsZero() {
		return first
	}
	return o.opt.Now().Add(first.Sub(now))
}

// Refresh looks at the world: at what was hinted at, what is due, and everything when a rescan is.
// Files that vanish meanwhile are no error; an error means that the workspace cannot be read.
func (o *Observers) Refresh(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.again = false
	l := pass{now: time.Now(), settle: time.Duration(o.inputs.config.Runtime.Settle)}
	var names []string
	whole := o.watch == nil || !l.now.Before(o.rescan)
	if o.watch != nil {
		var lost bool
		names, lost, l.arrivals = o.watch.take()
		whole, l.thorough = whole || lost, lost
	}
	if whole {
		l.thorough = l.thorough || o.rescans%thoroughEvery == 0
		o.rescans++
	}
	busy := o.git.busy()
	if err := o.refreshInputs(ctx, l, whole, names); err != nil {
		return err
	}
	if err := o.refreshDeclarations(ctx, l, whole, names); err != nil {
		return err
	}
	o.git.look(busy)
	if err := o.git.compare(ctx, o.read); err != nil {
		o.notices = append(o.notices, schema.Diagnostic{Severity: schema.Warning, Path: ".git", Message: err.Error()})
	}
	if err := o.requests.refresh(ctx); err != nil {
		return err
	}
	for q := range o.queries {
		o.asked[q] = o.answer(q)
	}
	if whole {
		o.rescan = time.Now().Add(max(time.Duration(o.inputs.config.Runtime.Rescan), time.Second))
	}
	return nil
}

// refreshInputs looks at configuration and assets, and compiles.
func (o *Observers) refreshInputs(ctx context.Context, l pass, whole bool, names []string) error {
	for _, t := range []*tree{o.trees.config, o.trees.assets} {
		if err := t.refresh(ctx, l, whole, names); err != nil {
			return err
		}
	}
	pending := len(o.trees.config.pending)+len(o.trees.assets.pending) > 0
	renewed, err := o.inputs.refresh(pending, o.storedFamilies)
	if err != nil {
		return err
	}
	if renewed {
		o.intake.registry, o.hands.registry, o.requests.registry = o.inputs.registry, o.inputs.registry, o.inputs.registry
		o.intake.reparse()
		o.resort = o.hands.follow(o.inputs.families)
	}
	return nil
}

// refreshDeclarations looks at intake/ and the lifecycle folders, once document kinds are known.
func (o *Observers) refreshDeclarations(ctx context.Context, l pass, whole bool, names []string) error {
	if o.inputs.registry == nil {
		return nil
	}
	in, life := o.trees.intake, o.trees.life
	for name := range o.intake.need {
		if f := in.file(name); f != nil {
			f.done = false
			names = append(names, name)
		} else {
			delete(o.intake.need, name)
		}
	}
	bounded, first := l, len(in.folders)+len(in.missing) == 0
	bounded.until, in.backlog = time.Now().Add(passTime), false
	if err := in.refresh(ctx, bounded, whole || first, names); err != nil {
		return err
	}
	o.intake.fresh = o.intake.fresh && in.backlog
	if complete := in.complete() && !in.backlog; complete != o.intake.seen.Complete {
		o.intake.seen.Complete = complete
		o.intake.recheck(o.state)
	}
	questions, search := o.hands.questions()
	if err := life.refresh(ctx, l, whole || first || search || o.resort, append(names, questions...)); err != nil {
		return err
	}
	o.resort = false
	o.hands.answer(questions)
	o.notices = o.notices[:0:0]
	for _, t := range []*tree{o.trees.config, o.trees.assets, in, life} {
		for _, d := range t.missing {
			o.notices = append(o.notices, trouble(d))
		}
	}
	if o.watch != nil {
		for _, d := range o.watch.trouble {
			o.notices = append(o.notices, d)
		}
	}
	slices.SortFunc(o.notices, func(a, b schema.Diagnostic) int { return strings.Compare(a.Path, b.Path) })
	return nil
}

// refresh scans everything, or looks at the names below the tree's folders.
func (t *tree) refresh(ctx context.Context, l pass, whole bool, names []string) error {
	if whole {
		if err := t.scan(ctx, l); err != nil {
			return err
		}
	}
	return t.touch(ctx, l, names)
}

// file finds what is known of a name.
func (t *tree) file(name string) *file {
	if fo := t.folders[path.Dir(name)]; fo != nil {
		return fo.files[path.Base(name)]
	}
	return nil
}

// storedFamilies are those of the current plan's projection, for a daemon that starts while its
// inputs do not compile.
func (o *Observers) storedFamilies() map[string]*schema.Family {
	data, err := o.w.ReadFile(PlanFile, 64<<20)
	if err != nil {
		return nil
	}
	var plan schema.Plan
	if json.Unmarshal(data, &plan) != nil {
		return nil
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
		State: s, Now: now, Daemon: o.opt.Daemon, Config: o.inputs.config, Registry: o.inputs.registry,
		NewID:    func(prefix string) string { return newID(prefix, now) },
		Intake:   o.intake.view(s, touched),
		Requests: o.requests.view(s),
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

func (o *Observers) answer(q Query) Answer {
	var data []byte
	var err error
	switch q.Kind {
	case "file":
		data, err = o.read(q.Arg)
	case "content":
		data, err = o.w.restore("", schema.Digest(q.Arg), math.MaxUint64)
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

// Close ends the watch.
func (o *Observers) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var err error
	if o.watch != nil {
		err = o.watch.close()
		o.watch = nil
	}
	return errors.Join(err, o.root.Close())
}
