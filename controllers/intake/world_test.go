package intake

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"millrace/schema"
	"millrace/schema/document"
	"millrace/workspace"
)

// A world is a workspace in memory: declarations, the runtime's files, and the fold of what was
// committed. It applies mutations as strictly as the real one: an operation that does not find what it
// says is a failure.
type world struct {
	t        fataler
	registry *document.Registry
	plan     *schema.Plan
	state    *workspace.State
	now      time.Time
	config   schema.Config
	git      workspace.GitFacts
	declared map[string]string    // intake files
	seen     map[string]time.Time // when their bytes were first seen
	disk     map[string][]byte    // the runtime's half
	hands    []workspace.Hand
	once     map[schema.Digest][]byte // bytes that were ever written
	asked    map[workspace.Query]workspace.Answer
	settling map[string]bool
	events   []workspace.Event
	commits  int
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func testPlan() *schema.Plan {
	states := []string{schema.StateQueue, schema.StateActive, schema.StateDone, schema.StateBlocked, schema.StateCancelled, schema.StateSuperseded, schema.StateOpen}
	folders := func(root string) map[string]string {
		m := map[string]string{}
		for _, s := range states {
			m[s] = root + "/" + s
		}
		return m
	}
	holding := []string{schema.StateQueue, schema.StateActive, schema.StateBlocked}
	return &schema.Plan{
		SchemaVersion: 1, Mode: "test",
		Families: map[string]*schema.Family{
			"task": {ID: "task", Plane: "execution", Intake: []string{"tasks"}, IDField: "task_id", Definition: "#Task",
				Extension: ".md", Folders: folders("tasks"), Dependency: "depends_on", HoldsOpen: holding},
			"spec": {ID: "spec", Plane: "planning", Intake: []string{"specs"}, IDField: "spec_id", Definition: "#Spec",
				Extension: ".md", Folders: folders("specs"), HoldsOpen: holding},
			schema.FamilyTarget: {ID: schema.FamilyTarget, Plane: "planning", IDField: "closure_target_id", Definition: "#ClosureTarget",
				Extension: ".json", Folders: folders("arbiter/targets"), MadeBy: "runtime"},
		},
		Stages: map[string]*schema.StageKind{
			"hammer": {ID: "hammer", Plane: "execution", WritesTree: true},
			"look":   {ID: "look", Plane: "execution"},
		},
		Graphs: map[string]*schema.Graph{"execution": {Plane: "execution", Nodes: map[string]*schema.Node{
			"hammer": {Stage: "hammer"}, "look": {Stage: "look"},
		}}},
	}
}

const planID = schema.Digest("sha256:plan")

// registry is compiled once, and what it parsed is kept: views are made by the thousand.
var registry = sync.OnceValues(func() (*document.Registry, error) { return document.NewRegistry(testPlan().Families) })

var parsed sync.Map

func (w *world) parse(path, text string) document.Parsed {
	if p, ok := parsed.Load(path + "\x00" + text); ok {
		return p.(document.Parsed)
	}
	p := w.registry.Parse(path, []byte(text))
	parsed.Store(path+"\x00"+text, p)
	return p
}

func newWorld(t fataler) *world {
	t.Helper()
	p := testPlan()
	r, err := registry()
	if err != nil {
		t.Fatalf("new registry: %v", err)
	}
	w := &world{
		t: t, registry: r, plan: p, state: workspace.NewState(), now: start,
		declared: map[string]string{}, seen: map[string]time.Time{}, disk: map[string][]byte{},
		once: map[schema.Digest][]byte{}, asked: map[workspace.Query]workspace.Answer{}, settling: map[string]bool{},
	}
	w.config.Runtime.Prune, w.config.Runtime.PruneLimit = true, 0.5
	w.config.Runtime.PruneSettle = schema.Duration(5 * time.Second)
	m := &workspace.Mutation{By: "test"}
	m.PutControl(&schema.Control{SchemaVersion: 1, Plan: planID, Mode: "test"})
	w.apply(m)
	return w
}

func task(id, title string, more ...string) string {
	s := fmt.Sprintf("# %s\n\nTask-ID: %s\n", title, id)
	for _, m := range more {
		s += m + "\n"
	}
	return s + "\nAcceptance:\n- it works\n"
}

// drop writes a declaration; an empty text removes it.
func (w *world) drop(path, text string) {
	path = "intake/" + path
	if text == "" {
		delete(w.declared, path)
		return
	}
	if w.declared[path] != text {
		w.seen[path] = w.now
	}
	w.declared[path] = text
}

func (w *world) view() *workspace.View {
	in := &workspace.Intake{Complete: true, Files: map[string]*workspace.IntakeFile{}, ByKey: map[schema.Key][]workspace.Declared{}}
	keys := map[schema.Key]bool{}
	for _, p := range slices.Sorted(maps.Keys(w.declared)) {
		data := []byte(w.declared[p])
		parsed := w.parse(p, w.declared[p])
		f := &workspace.IntakeFile{Path: p, Digest: schema.DigestOf(data), Diags: parsed.Diags, Unparsed: parsed.Unparsed,
			Changed: w.seen[p], Settling: w.settling[p]}
		in.Files[p] = f
		for _, l := range parsed.Docs {
			k := l.Doc.Key()
			if l.Doc.Kind == schema.KindIdea {
				k = schema.Key{Family: schema.FamilySpec, ID: "idea-" + l.Doc.ID}
			}
			in.ByKey[k] = append(in.ByKey[k], workspace.Declared{Key: k, Path: p, Line: l.Line, File: f.Digest, Digest: l.Digest, Doc: l.Doc})
			keys[k] = true
		}
	}
	for k, it := range w.state.Items {
		if it.Declared != nil {
			keys[k] = true
		}
	}
	in.Unreconciled = slices.SortedFunc(maps.Keys(keys), workspace.CompareKeys)
	cfg := w.config
	return &workspace.View{
		State: w.state, Now: w.now, Config: &cfg, Intake: in, Registry: w.registry, Git: w.git, Hands: w.hands, Asked: w.asked,
		Plans: func(d schema.Digest) *schema.Plan {
			if d == planID {
				return w.plan
			}
			return nil
		},
	}
}

// reconcile runs the controller alone to its fixpoint and returns the last proposal's timer. It proves
// on the way that the controller is pure, and that every law holds after every commit.
func (w *world) reconcile() time.Duration {
	w.t.Helper()
	clear(w.asked)
	for n := 0; ; n++ {
		if n > 1000 {
			w.t.Fatalf("no fixpoint after %d commits", n)
		}
		v := w.view()
		p, again := New().Reconcile(v), New().Reconcile(v)
		if !reflect.DeepEqual(p, again) {
			w.t.Fatalf("the same view gave two proposals:\n%+v\n%+v", p, again)
		}
		if p.Mutation == nil {
			asked := false
			for _, q := range p.Observe {
				if _, ok := w.asked[q]; !ok {
					w.asked[q], asked = w.answer(q), true
				}
			}
			if asked {
				continue
			}
			return p.After
		}
		if len(p.Mutation.Ops) == 0 {
			w.t.Fatalf("a mutation without operations: %s", p.Mutation.Why)
		}
		w.apply(p.Mutation)
		w.check()
	}
}

func (w *world) answer(q workspace.Query) workspace.Answer {
	data := w.once[schema.Digest(q.Arg)]
	if q.Kind == "file" {
		data = w.disk[q.Arg]
	}
	if data == nil {
		return workspace.Answer{Err: "there is no such thing"}
	}
	return workspace.Answer{Data: data, Digest: schema.DigestOf(data)}
}

func (w *world) apply(m *workspace.Mutation) {
	w.t.Helper()
	for _, in := range m.Expect {
		if is := w.digest(in.Path); is != in.Digest {
			w.t.Fatalf("%s: expects %s to be %q, it is %q", m.Why, in.Path, in.Digest, is)
		}
	}
	for i := range m.Ops {
		w.do(m, &m.Ops[i])
	}
	rec := &workspace.Record{Seq: w.state.Seq + 1, Time: w.now, By: m.By, Why: m.Why, Ops: m.Ops, Events: m.Events}
	if err := w.state.Fold(rec, func(op *workspace.Op) ([]byte, error) { return op.Content(), nil }); err != nil {
		w.t.Fatalf("fold: %v", err)
	}
	w.events = append(w.events, m.Events...)
	w.commits++
}

func (w *world) digest(p string) schema.Digest {
	if s, ok := w.declared[p]; ok {
		return schema.DigestOf([]byte(s))
	}
	if data, ok := w.disk[p]; ok {
		return schema.DigestOf(data)
	}
	return ""
}

func (w *world) do(m *workspace.Mutation, op *workspace.Op) {
	w.t.Helper()
	if op.Do == workspace.Move && w.digest(op.Path) == "" && w.digest(op.To) == op.Was {
		return // a person moved it
	}
	if is := w.digest(op.Path); op.Do == workspace.Write && op.Was != workspace.Projection && is != "" && is != op.Was {
		w.disk[workspace.ForeignDir+"/"+is.Hex()] = w.disk[op.Path] // a stranger's bytes are kept
	} else if op.Was != workspace.Projection && is != op.Was {
		w.t.Fatalf("%s: %s %s: expects %q there, finds %q", m.Why, op.Do, op.Path, op.Was, w.digest(op.Path))
	}
	switch op.Do {
	case workspace.Write:
		w.disk[op.Path] = op.Content()
		w.once[op.Digest] = op.Content()
	case workspace.Move:
		if _, there := w.disk[op.To]; there {
			w.t.Fatalf("%s: move %s over %s", m.Why, op.Path, op.To)
		}
		w.disk[op.To] = w.disk[op.Path]
		delete(w.disk, op.Path)
	case workspace.Remove:
		delete(w.disk, op.Path)
	default:
		w.t.Fatalf("%s: %s is not expected here", m.Why, op.Do)
	}
}

// check holds the state against the laws and the files: every item's document lies, with the recorded
// bytes, in its folder, and nothing else does.
func (w *world) check() {
	w.t.Helper()
	for _, f := range w.state.Invariants() {
		w.t.Errorf("invariant: %+v", f)
	}
	documents := 0
	for k, it := range w.state.Items {
		if is := w.digest(it.Path); is != it.Document {
			w.t.Errorf("%s: document %s is %q, want %q", k, it.Path, is, it.Document)
		}
		documents++
	}
	for p := range w.disk {
		if strings.HasPrefix(p, "tasks/") || strings.HasPrefix(p, "specs/") || strings.HasPrefix(p, "arbiter/targets/") {
			documents--
		}
	}
	if documents != 0 {
		w.t.Errorf("%d more items than documents", documents)
	}
}

func (w *world) item(id string) *schema.Item {
	w.t.Helper()
	it := w.state.Items[key(id)]
	if it == nil {
		w.t.Fatalf("there is no task %s", id)
	}
	return it
}

func key(id string) schema.Key { return schema.Key{Family: "task", ID: id} }

// put takes an item to a state as other controllers would, with a run when it is active.
func (w *world) put(id, state string) {
	w.t.Helper()
	it := w.item(id).Clone()
	m := &workspace.Mutation{By: "test", Why: "put " + id}
	if it.State == schema.StateActive {
		r := w.state.Runs[it.Run].Clone()
		it.Last = &schema.Outcome{Run: r.ID, Node: r.Node, At: w.now}
		m.EndRun(w.view(), r, state)
	}
	switch state {
	case schema.StateActive:
		it.Run = fmt.Sprintf("run-%d", w.state.Seq)
		m.PutRun(&schema.Run{ID: it.Run, Item: it.Key(), State: schema.RunRunning, Plane: "execution", Node: "hammer", Request: "req-" + it.Run, Plan: planID})
		m.MoveItem(w.view(), it, state)
	case schema.StateBlocked:
		it.Counters = map[string]int{"fix": 2}
		m.Block(w.view(), it, schema.Blocked{Class: "runner_exit", Message: "exit 1"})
	case schema.StateCancelled:
		m.CancelItem(w.view(), it, "command", "no longer wanted")
	case schema.StateDone:
		m.Complete(w.view(), it)
	case schema.StateQueue:
		m.Requeue(w.view(), it, schema.Note{By: "test"}, false)
	}
	w.apply(m)
	w.check()
}

func (w *world) told(event string) bool {
	return slices.ContainsFunc(w.events, func(e workspace.Event) bool { return e.Type == event })
}
