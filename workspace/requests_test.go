package workspace

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/schema"
	"millrace/schema/compile"
	"millrace/workspace/reqdir"
)

// requested is a workspace with one active request.
func requested(t *testing.T) (*watched, string) {
	t.Helper()
	x := observe(t, ObserveOptions{Watch: true})
	x.settle()
	x.view(func(v *View) *Mutation {
		m := &Mutation{By: "dispatch", Why: "start"}
		req := &schema.Request{SchemaVersion: schema.Version, ID: "req-1", Run: "run-1", Item: taskKey("a"), Outcomes: []string{"DONE", "BLOCKED"}}
		m.PutJSON(RequestDir("run-1", "req-1")+"/"+schema.RequestFile, req)
		plan := compile.Marshal(&schema.Plan{
			SchemaVersion: schema.Version, Graphs: map[string]*schema.Graph{"p": {Nodes: map[string]*schema.Node{"n": {Stage: "s"}}}},
			Stages: map[string]*schema.StageKind{"s": {Writes: []schema.Artifact{{Name: "verdict", File: "disposition.json", Schema: "#PlannerDisposition"}}}},
		})
		m.PutFile(PlanPath(schema.DigestOf(plan)), "", plan)
		m.PutRun(&schema.Run{SchemaVersion: schema.Version, ID: "run-1", Item: taskKey("a"), State: schema.RunRunning, Request: "req-1",
			Plan: schema.DigestOf(plan), Plane: "p", Node: "n"})
		return m
	})
	return x, filepath.Join(x.dir, RequestDir("run-1", "req-1"))
}

func (x *watched) request() *RequestSeen {
	x.t.Helper()
	var r *RequestSeen
	x.view(func(*View) *Mutation { return nil })
	x.round(func(v *View) *Mutation { r = v.Requests["req-1"]; return nil })
	if r == nil {
		x.t.Fatal("the request is not seen")
	}
	return r
}

// A request that was given up as lost is looked at for as long as its run goes on.
func TestALateReportIsSeen(t *testing.T) {
	x, dir := requested(t)
	if _, err := reqdir.Spend(dir); err != nil {
		t.Fatal(err)
	}
	step := schema.Step{Request: "req-1", Failure: schema.FailSupervisorLost}
	given := func(s schema.Step) {
		x.view(func(*View) *Mutation {
			m := &Mutation{By: "result", Why: "restart"}
			m.PutRun(&schema.Run{SchemaVersion: schema.Version, ID: "run-1", Item: taskKey("a"), State: schema.RunRunning, Steps: []schema.Step{s}})
			return m
		})
	}
	seen := func() (r *RequestSeen) {
		x.view(func(*View) *Mutation { return nil })
		x.round(func(v *View) *Mutation { r = v.Requests["req-1"]; return nil })
		return r
	}
	given(step)
	if r := seen(); r != nil {
		t.Errorf("seen: %+v", r)
	}
	if err := reqdir.WriteCompletion(dir, &schema.Completion{Request: "req-1", Run: "run-1", Exit: schema.ExitCompleted, Ended: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if r := seen(); r == nil || r.Completion == nil {
		t.Errorf("its report is not seen: %+v", r)
	}
	step.Late = true
	given(step)
	if r := seen(); r != nil {
		t.Errorf("seen again: %+v", r)
	}
}

func TestRequestFromUntouchedToComplete(t *testing.T) {
	x, dir := requested(t)
	if r := x.request(); r.Alive || r.Started || r.Completion != nil || r.Lost() {
		t.Errorf("untouched: %+v", r)
	}
	release, err := reqdir.Take(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reqdir.Spend(dir); err != nil {
		t.Fatal(err)
	}
	if r := x.request(); !r.Alive || r.Lost() {
		t.Errorf("held: %+v", r)
	}
	x.write("runs/run-1/req-1/disposition.json", `{"kind": 1}`)
	x.write("runs/run-1/req-1/outbox/tasks/next.md", taskDoc("next"))
	x.write("runs/run-1/req-1/outbox/tasks/bad.md", "# No acceptance\n")
	x.write("runs/run-1/req-1/outbox/tasks/forged.md", taskDoc("forged"))
	file := func(name string) schema.File {
		f, err := reqdir.FileOf(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	done := &schema.Completion{
		SchemaVersion: schema.Version, Request: "req-1", Run: "run-1", Exit: schema.ExitCompleted, Ended: time.Now().UTC(),
		Artifacts: []schema.File{file("disposition.json")},
		Outbox:    []schema.File{file("outbox/tasks/next.md"), file("outbox/tasks/bad.md"), file("outbox/tasks/forged.md")},
	}
	x.write("runs/run-1/req-1/outbox/tasks/forged.md", taskDoc("forged")+"\nLater.\n")
	if err := reqdir.WriteCompletion(dir, done); err != nil {
		t.Fatal(err)
	}
	if r := x.request(); r.Completion != nil {
		t.Error("a completion counts only when the lock is free")
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	r := x.request()
	if r.Completion == nil || r.Alive || !r.Invalid.HasErrors() || len(r.Outbox) != 3 {
		t.Fatalf("complete: %+v", r)
	}
	if o := r.Outbox[0]; o.Path != "tasks/next.md" || len(o.Docs) != 1 || o.Docs[0].ID != "next" || len(o.Diags) > 0 {
		t.Errorf("outbox: %+v", o)
	}
	if o := r.Outbox[1]; len(o.Docs) != 0 || !o.Diags.HasErrors() {
		t.Errorf("outbox: %+v", o)
	}
	if o := r.Outbox[2]; len(o.Docs) != 0 || !strings.Contains(o.Diags.Error(), "no longer what") {
		t.Errorf("outbox: %+v", o)
	}
	x.view(func(v *View) *Mutation {
		m := &Mutation{By: "result", Why: "done"}
		m.PutRun(&schema.Run{SchemaVersion: schema.Version, ID: "run-1", Item: taskKey("a"), State: schema.RunEnded})
		return m
	})
	x.round(func(v *View) *Mutation {
		if len(v.Requests) > 0 {
			t.Errorf("seen after its end: %v", v.Requests)
		}
		return nil
	})
}

func TestSpentRequestIsLostOnceNothingOfItLives(t *testing.T) {
	x, dir := requested(t)
	if _, err := reqdir.Spend(dir); err != nil {
		t.Fatal(err)
	}
	stray := exec.CommandContext(t.Context(), "sleep", "60")
	stray.Env = append(os.Environ(), schema.RequestEnv+"=req-1")
	if err := stray.Start(); err != nil {
		t.Fatal(err)
	}
	if r := x.request(); r.Strays != 1 || r.Lost() || r.Salvage != nil {
		t.Errorf("with a stray: %+v", r)
	}
	if err := stray.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	stray.Wait() //nolint:errcheck // it was killed
	r := x.request()
	if !r.Lost() || r.Salvage == nil || r.Salvage.Failure != "supervisor_lost" {
		data, _ := json.Marshal(r)
		t.Errorf("lost: %s", data)
	}
}

func TestCompletionOfAnotherRequestIsBroken(t *testing.T) {
	x, dir := requested(t)
	done := &schema.Completion{SchemaVersion: schema.Version, Request: "req-2", Run: "run-1", Exit: schema.ExitCompleted}
	if err := reqdir.WriteCompletion(dir, done); err != nil {
		t.Fatal(err)
	}
	if r := x.request(); r.Completion != nil || !strings.Contains(r.Broken, "req-2") {
		t.Errorf("%+v", r)
	}
}

func TestAskedFilesAreAnswered(t *testing.T) {
	x := observe(t, ObserveOptions{})
	x.write("outline.md", "map")
	here, none, out := AskFile("outline.md"), AskFile("ideas/none.md"), AskFile("../outside")
	x.o.Ask([]Query{here, none, out})
	x.view(func(v *View) *Mutation {
		if len(v.Asked) > 0 {
			t.Error("answered before it was looked at")
		}
		return nil
	})
	x.round(func(v *View) *Mutation {
		if a := v.Asked[here]; string(a.Data) != "map" || a.Digest != schema.DigestOf([]byte("map")) || a.Err != "" {
			t.Errorf("%+v", a)
		}
		if a, ok := v.Asked[none]; !ok || a.Digest != "" || a.Err != "" {
			t.Errorf("%+v", a)
		}
		if a := v.Asked[out]; a.Err == "" || a.Data != nil {
			t.Errorf("%+v", a)
		}
		return nil
	})
	x.o.Forget()
	x.round(func(v *View) *Mutation {
		if len(v.Asked) > 0 {
			t.Error("not forgotten")
		}
		return nil
	})
}
