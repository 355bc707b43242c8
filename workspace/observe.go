package workspace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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

// journalPatience is how often the journal is looked at where its changes are not told: what a command
// commits must not wait for the rescan.
const journalPatience = time.Second

// passTime is how long one Refresh validates declarations before it lets what it has be acted on.
const passTime = 100 * time.Millisecond

// ObserveOptions say how to observe.
type ObserveOptions struct {
	Watch  bool             // hints by file system events, and rescans; a command looks when it is told to
	Mode   string           // override of the configured mode
	Config string           // name in the workspace folder of a configuration in place of the usual one
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

	mu         sync.Mutex
	watch      *watcher
	inputs     *inputs
	intake     *intake
	hands      *hands
	requests   *requests
	git        *gitWatch
	trees      struct{ config, assets, intake, life *tree }
	deaf       schema.Diagnostics // why there is no watch at all
	notices    schema.Diagnostics
	queries    map[Query]bool
	asked      map[Query]Answer // of the queries looked at
	plans      map[schema.Digest]*schema.Plan
	state      *State // that the last view was made of
	hold       map[schema.Key]bool
	rescans    int
	scanned    time.Time // when everything was last compared
	again      bool      // a view left questions
	remembered uint32    // checksum of the memory last written
	resort     bool      // the lifecycle folders are others than before
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
		inputs: newInputs(opt.Mode, opt.Config, recall(w.disk)), intake: newIntake(opt.Now), queries: map[Query]bool{}, asked: map[Query]Answer{},
		requests: newRequests(w.Dir, w.ReadFile), plans: map[schema.Digest]*schema.Plan{},
		git: &gitWatch{project: w.Project, dir: w.Dir, asked: map[string]schema.Digest{}, known: map[string]gitPath{}},
	}
	o.inputs.archived = o.readArchive
	o.hands = newHands(o.poke)
	o.plant()
	if opt.Watch {
		if o.watch, err = newWatcher(w.Dir, o.cares, w.others, o.hint); err != nil {
			o.deaf = schema.Diagnostics{unwatched(".", err)}
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
	t.config.skip, t.assets.skip = o.inputs.skip, o.inputs.skip
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
		return o.inputs.isConfig(base) || base == IntakeDir || slices.Contains(inputFolders, base)
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
	sooner(o.inputs.due(o.unfinished()))
	if o.again {
		sooner(now)
	}
	if o.opt.Watch {
		sooner(o.rescan())
		if o.watch == nil || !o.watch.watched(JournalDir) {
			sooner(now.Add(journalPatience))
		}
		if o.git.waited(len(o.intake.seen.Unreconciled) > 0) {
			sooner(now.Add(gitPatience))
		}
	}
	if first.IsZero() {
		return first
	}
	return o.opt.Now().Add(first.Sub(now))
}

// Settling reports whether something that was seen is not known yet: a file that is still being written
// or was taken away just now, a hand that is looked at again, inputs that have not been compiled.
func (o *Observers) Settling() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := &o.trees
	return o.again || o.inputs.stale || len(t.config.pending)+len(t.assets.pending)+len(t.intake.pending)+len(t.life.pending) > 0
}

// Refresh looks at the world: at what was hinted at, what is due, and everything when a rescan is.
// Files that vanish meanwhile are no error; an error means that the workspace cannot be read.
func (o *Observers) Refresh(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.again = false
	l := pass{now: time.Now(), settle: cmp.Or(time.Duration(o.inputs.config.Runtime.Settle), restLeased)}
	var names []string
	whole := !o.opt.Watch || !l.now.Before(o.rescan())
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
	o.git.compare(ctx, o.read)
	if err := o.requests.refresh(ctx); err != nil {
		return err
	}
	o.notice()
	for q := range o.queries {
		o.asked[q] = o.w.Answer(ctx, q)
	}
	if whole {
		o.scanned = time.Now()
	}
	return nil
}

// rescan is when everything is due to be compared again.
func (o *Observers) rescan() time.Time {
	return o.scanned.Add(max(time.Duration(o.inputs.config.Runtime.Rescan), time.Second))
}

// refreshInputs looks at configuration and assets, and compiles.
func (o *Observers) refreshInputs(ctx context.Context, l pass, whole bool, names []string) error {
	for _, t := range []*tree{o.trees.config, o.trees.assets} {
		if err := t.refresh(ctx, l, whole, names); err != nil {
			return err
		}
	}
	renewed, err := o.inputs.refresh(o.unfinished(), o.storedFamilies)
	if err != nil {
		return err
	}
	if renewed {
		o.intake.registry, o.hands.registry, o.requests.registry = o.inputs.registry, o.inputs.registry, o.inputs.registry
		o.intake.reparse()
		o.intake.known = o.inputs.memory.files()
		o.inputs.memory = new(memory) // its plan and files are taken over; from here on they are compared as they change
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
	return nil
}

// unfinished reports whether an input of the plan has not settled yet.
func (o *Observers) unfinished() bool {
	return len(o.trees.config.pending)+len(o.trees.assets.pending) > 0
}

// notice gathers what cannot be seen, or only late.
func (o *Observers) notice() {
	o.notices = slices.Clone(o.deaf)
	for _, t := range []*tree{o.trees.config, o.trees.assets, o.trees.intake, o.trees.life} {
		for _, d := range t.missing {
			d.Severity = schema.Warning
			o.notices = append(o.notices, d)
		}
	}
	if o.watch != nil {
		for _, d := range o.watch.trouble {
			o.notices = append(o.notices, d)
		}
	}
	o.notices = append(o.notices, o.requests.trouble...)
	if o.git.trouble != nil {
		o.notices = append(o.notices, schema.Diagnostic{Severity: schema.Warning, Path: ".git", Message: o.git.trouble.Error()})
	}
	slices.SortFunc(o.notices, func(a, b schema.Diagnostic) int { return strings.Compare(a.Path, b.Path) })
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
