package dispatch_test

import (
	"fmt"
	"testing"
	"time"

	"millrace/controllers/controllertest"
	"millrace/controllers/dispatch"
	"millrace/schema"
	"millrace/workspace"
)

// BenchmarkStartInALineage is what the decision to start a stage costs in a lineage of so many items, each with a history.
func BenchmarkStartInALineage(b *testing.B) {
	for _, n := range []int{2, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			o := controllertest.New(b, b.TempDir(), short, dispatch.New())
			defer func() { _ = o.W.Close() }()
			o.Admit(controllertest.Task("a", "root_spec_id: root"))
			o.Do(func(v *workspace.View) *workspace.Mutation {
				m := &workspace.Mutation{By: "test", Why: "fill"}
				for i := range n - 1 {
					it := v.Items[schema.Key{Family: "task", ID: "a"}].Clone()
					it.ID = fmt.Sprintf("t%05d", i)
					it.State, it.Path = schema.StateDone, "tasks/done/"+it.ID+".md"
					it.EndedSeq = uint64(i)
					for k := range schema.MaxNotes {
						it.Note(schema.Note{At: v.Now.Add(time.Duration((i*7919+k)%100_000) * time.Second), By: "command", What: "requeued", Why: "again"})
					}
					it.Last = &schema.Outcome{Node: "updater", Outcome: "UPDATE_COMPLETE", At: v.Now.Add(time.Duration(i) * time.Second)}
					m.AdmitItem(it, []byte(fmt.Sprintf("# %s\n", it.ID)))
				}
				return m
			})
			v := o.View(o.Seen)
			v.Asked = map[workspace.Query]workspace.Answer{}
			for _, q := range dispatch.New().Reconcile(v).Observe {
				v.Asked[q] = o.W.Answer(b.Context(), q)
			}
			b.ReportAllocs()
			for b.Loop() {
				if p := dispatch.New().Reconcile(v); p.Mutation == nil {
					b.Fatalf("it starts nothing: %+v", p)
				}
			}
		})
	}
}
