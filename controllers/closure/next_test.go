package closure_test

import (
	"os"
	"strings"
	"testing"

	"millrace/controllers/closure"
	"millrace/controllers/controllertest"
	"millrace/schema"
	"millrace/workspace"
)

// done has specs that a run has ended, one after the other, and that nobody judged.
func done(o *controllertest.World, ids ...string) {
	for _, id := range ids {
		o.Do(func(v *workspace.View) *workspace.Mutation {
			m := &workspace.Mutation{By: "test"}
			m.Complete(v, v.Items[schema.Key{Family: "spec", ID: id}].Clone())
			return m
		})
	}
}

func TestBackfillOpensTheNewestFirst(t *testing.T) {
	o := world(t)
	o.Admit(controllertest.Spec("first") + "---\n" + controllertest.Spec("second") + "---\n" + controllertest.Spec("elsewhere"))
	o.Do(func(v *workspace.View) *workspace.Mutation { // recorded as ended before this workspace was
		m := &workspace.Mutation{By: "test"}
		it := v.Items[schema.Key{Family: "spec", ID: "elsewhere"}].Clone()
		it.EndedBy = "admit --done"
		m.MoveItem(v, it, schema.StateDone)
		return m
	})
	done(o, "second", "first")
	o.Admit(controllertest.Spec("new"))
	o.Settle()
	target(t, o, "first", schema.StateActive)
	if data, err := os.ReadFile(o.Path("arbiter/contracts/first@1.md")); err != nil || schema.DigestOf(data) != o.Item("spec", "first").Document {
		t.Errorf("contract is %q, %v", data, err)
	}
	o.Play("ARBITER_COMPLETE")
	target(t, o, "second", schema.StateActive)
	o.Play("ARBITER_COMPLETE")
	target(t, o, "new", schema.StateOpen)
	if o.Seen.Target("elsewhere") != nil {
		t.Error("what was done elsewhere is judged")
	}
}

func TestRootsThatCannotBeOpened(t *testing.T) {
	idea := func(text string) func(o *controllertest.World) {
		return func(o *controllertest.World) {
			o.Do(func(*workspace.View) *workspace.Mutation {
				m := &workspace.Mutation{By: "test"}
				m.PutFile("ideas/x@1.md", "", []byte(text))
				return m
			})
		}
	}
	for name, c := range map[string]struct {
		class, spec string
		before      func(o *controllertest.World)
	}{
		"no root":                       {class: schema.FaultNoRoot, spec: "parent_spec_id: p"},
		"no source":                     {class: schema.FaultNoSource, spec: "source_type: idea"},
		"nothing is kept":               {class: schema.FaultUnresolved, spec: "root_idea_id: x"},
		"nothing is kept of the source": {class: schema.FaultUnresolved, spec: "source_type: idea\nsource_id: x"},
		"two ideas":                     {class: schema.FaultAmbiguous, spec: "source_type: idea\nsource_id: x\nroot_idea_id: y"},
		"derived":                       {class: schema.FaultUnsupported, spec: "source_type: derived_spec"},
		"another idea":                  {class: schema.FaultContract, spec: "root_idea_id: x", before: idea("# Y\n\nIdea-ID: y\nTitle: Y\n")},
		"no idea":                       {class: schema.FaultContract, spec: "root_idea_id: x", before: idea("---\nidea_id: [\n---\n")},
		"lineage that drifts": {class: schema.FaultDrift, spec: "root_idea_id: x", before: func(o *controllertest.World) {
			o.Admit(controllertest.Task("a", "root_spec_id: r\nroot_idea_id: y"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			o := world(t)
			o.Admit(controllertest.Spec("r", c.spec))
			done(o, "r")
			if c.before != nil {
				c.before(o)
			}
			o.Admit(controllertest.Spec("s") + "---\n" + task("alone", ""))
			if whys := o.Settle(); len(whys) != 2 { // the fault, and the task that does not wait
				t.Fatalf("it did %q", whys)
			}
			f := o.Seen.Control.RootFault
			if f == nil || f.Class != c.class || f.Spec != "r" || !strings.Contains(f.ClearedBy, "millrace closure abandon r") || !o.Saw(workspace.EvFault) {
				t.Fatalf("fault is %+v, want %s", f, c.class)
			}
			for range 3 {
				if whys := o.Settle(); len(whys) > 0 {
					t.Fatalf("it went on: %q", whys)
				}
			}
			if r := o.RunIn("planning"); r != nil {
				t.Fatalf("planning has %+v", r)
			}
			v := o.View(o.Seen)
			if w := v.Waiting(schema.Key{Family: "spec", ID: "s"}); w == nil || w.Reason != workspace.WaitUnjudged || !strings.HasPrefix(w.Message, c.class) || !w.Stalled {
				t.Errorf("the next spec waits for %+v", w)
			}
			if w := v.Idle("planning"); w == nil || w.Reason != workspace.WaitUnjudged {
				t.Errorf("planning waits for %+v", w)
			}
			if left := strings.Join(v.Unclosed(), "; "); !strings.Contains(left, "r was never judged: "+c.class) {
				t.Errorf("in the way is %s", left)
			}
			o.CompleteRun(o.RunIn("execution"), "BUILDER_COMPLETE")
			giveUp(t, o, "r")
			o.Settle()
			if it := target(t, o, "r", schema.StateCancelled); it.Closure.Verdict != schema.VerdictAbandoned || it.EndedBy != "command" {
				t.Errorf("target is %+v", it)
			}
			if r := o.RunIn("planning"); r == nil || r.Item.ID != "s" || o.Seen.Control.RootFault != nil {
				t.Errorf("then runs %+v, in the way is %+v", r, o.Seen.Control.RootFault)
			}
		})
	}
}

// What the folder holds of a root spec must be what the journal says, and a spec.
func TestContractIsWhatItWas(t *testing.T) {
	o := world(t)
	o.Admit(controllertest.Spec("r"))
	done(o, "r")
	root := o.Item("spec", "r")
	for name, a := range map[string]workspace.Answer{
		"edited": {Data: []byte("x"), Digest: schema.DigestOf([]byte("x"))}, "gone": {},
		"no spec": {Data: []byte("# T\n\nTask-ID: t\n"), Digest: root.Document},
	} {
		v := o.View(o.Seen)
		v.Asked = map[workspace.Query]workspace.Answer{workspace.AskFile(root.Path): a}
		if p := closure.New().Reconcile(v); p.Mutation == nil || !strings.Contains(p.Mutation.Why, schema.FaultContract) {
			t.Errorf("%s: it proposes %+v", name, p)
		}
	}
}

func giveUp(t *testing.T, o *controllertest.World, id string) {
	t.Helper()
	o.Do(func(v *workspace.View) *workspace.Mutation {
		m := &workspace.Mutation{By: "test"}
		if !m.AbandonRoot(v, v.Items[schema.Key{Family: "spec", ID: id}], "command", "it is too old") {
			t.Error("it is not abandoned")
		}
		return m
	})
}

// What a person puts right is seen, and nothing needs to be said besides.
func TestFaultLifts(t *testing.T) {
	o := world(t)
	o.Admit(controllertest.Spec("r", "root_idea_id: x"))
	done(o, "r")
	o.Settle()
	if o.Seen.Control.RootFault == nil {
		t.Fatal("nothing is in the way")
	}
	if err := os.MkdirAll(o.Path("ideas"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.Path("ideas/x@1.md"), []byte("# X\n\nIdea-ID: x\nTitle: X\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	o.Settle()
	if it := target(t, o, "r", schema.StateActive); o.Seen.Control.RootFault != nil || len(it.Closure.Contract) != 2 {
		t.Errorf("in the way is %+v", o.Seen.Control.RootFault)
	}
}
