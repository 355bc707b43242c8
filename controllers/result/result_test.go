package result_test

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"millrace/controllers/controllertest"
	"millrace/controllers/dispatch"
	"millrace/controllers/recovery"
	"millrace/controllers/result"
	"millrace/schema"
	"millrace/workspace"
)

// world has the three controllers that take work through its stages, in the loop's order.
func world(t *testing.T, files map[string]string) *controllertest.World {
	t.Helper()
	return controllertest.T(t, files, result.New(), recovery.New(), dispatch.New())
}

func read(t *testing.T, o *controllertest.World, file string, into any) {
	t.Helper()
	data, err := os.ReadFile(o.Path(file))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

func TestStraightWay(t *testing.T) {
	o := world(t, nil)
	o.Admit(controllertest.Task("a"))
	nodes := o.Play("BUILDER_COMPLETE", "CHECKER_PASS", "UPDATE_COMPLETE")
	if !slices.Equal(nodes, []string{"builder", "checker", "updater"}) {
		t.Fatalf("went %v", nodes)
	}
	it := o.Want("a", schema.StateDone, "")
	if it.Path != "tasks/done/a.md" || it.EndedBy != "run" || it.Attempts != 1 || it.Observed != 1 || it.Last.Outcome != "UPDATE_COMPLETE" {
		t.Errorf("item is %+v", it)
	}
	var r schema.Run
	read(t, o, workspace.RunFile(it.Run), &r)
	if r.State != schema.RunEnded || r.End != "update_complete" || len(r.Steps) != 3 || r.Plan != o.Digest() {
		t.Errorf("run is %+v", r)
	}
	var trace workspace.Trace
	read(t, o, workspace.TraceFile(it.Run), &trace)
	if len(trace.Nodes) != 3 || len(trace.Edges) != 3 || trace.Edges[2].Next != -1 || trace.Edges[2].To != "update_complete" || trace.Edges[0].Why == "" {
		t.Errorf("trace is %+v", trace)
	}
	var res schema.Result
	read(t, o, workspace.RequestDir(r.ID, r.Steps[0].Request)+"/"+schema.ResultFile, &res)
	if res.Outcome != "BUILDER_COMPLETE" || res.Class != schema.ClassSuccess || res.To != "checker" || len(res.Artifacts) != 1 || res.Plan != o.Digest() {
		t.Errorf("result is %+v", res)
	}
}
