package workspace

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"millrace/schema"
)

// remembering is a workspace with a frozen plan and one admitted task, whose daemon has written down
// what it found out.
func remembering(t *testing.T) *watched {
	t.Helper()
	x := observe(t, ObserveOptions{Watch: true, Daemon: "first"})
	x.settle()
	x.drop("intake/a.md", taskDoc("a"))
	x.until("the declaration", isDeclared("a"))
	x.round(func(v *View) *Mutation {
		m := admitDoc(v, v.Intake.ByKey[taskKey("a")][0])
		m.PutFile(PlanPath(v.Compiled.Digest), "", v.Compiled.Bytes)
		m.PutControl(&schema.Control{SchemaVersion: schema.Version, Plan: v.Compiled.Digest, Mode: v.Compiled.Plan.Mode})
		return m
	})
	x.settle()
	if err := x.o.Remember(context.Background()); err != nil {
		t.Fatal(err)
	}
	return x
}

// next is what another process sees and does for it.
func next(t *testing.T, project string) (v View, compiles, parses int) {
	t.Helper()
	x := observeAt(t, project, ObserveOptions{})
	x.settle()
	x.until("the declaration", isDeclared("a"))
	x.round(func(seen *View) *Mutation { v = *seen; return nil })
	compiles, parses = x.o.inputs.compiles, x.o.intake.parses
	x.close()
	return v, compiles, parses
}

func TestWhatWasFoundOutIsNotFoundOutAgain(t *testing.T) {
	x := remembering(t)
	var first View
	x.round(func(v *View) *Mutation { first = *v; return nil })
	x.close()
	second, compiles, parses := next(t, x.w.Project)
	if compiles != 0 || parses != 0 {
		t.Errorf("the next process compiled %d times and validated %d files", compiles, parses)
	}
	if !bytes.Equal(first.Compiled.Bytes, second.Compiled.Bytes) || first.Compiled.Digest != second.Compiled.Digest ||
		!reflect.DeepEqual(first.Compiled.Files, second.Compiled.Files) || !reflect.DeepEqual(first.Compiled.Read, second.Compiled.Read) ||
		!reflect.DeepEqual(first.Compiled.Diags, second.Compiled.Diags) {
		t.Errorf("another plan:\n%+v\n%+v", first.Compiled, second.Compiled)
	}
	one, _ := json.Marshal(first.Config)
	two, _ := json.Marshal(second.Config)
	if !bytes.Equal(one, two) {
		t.Errorf("another configuration:\n%s\n%s", one, two)
	}
	if !reflect.DeepEqual(first.Intake.ByKey, second.Intake.ByKey) || len(second.Intake.Unreconciled) > 0 {
		t.Errorf("other declarations:\n%+v\n%+v", first.Intake.ByKey, second.Intake)
	}
	if got, diags := second.Registry.ParseStored("task", "tasks/queue/a.md", []byte(taskDoc("a"))); got == nil || got.ID != "a" {
		t.Errorf("the definitions are not there when they are wanted: %v", diags)
	}
}

func TestRememberingWritesOnceAndOnlyADaemon(t *testing.T) {
	x := remembering(t)
	name := filepath.Join(x.dir, Seen)
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := x.o.Remember(context.Background()); err != nil {
		t.Fatal(err)
	}
	x.close()
	command := observeAt(t, x.w.Project, ObserveOptions{})
	command.settle()
	if err := command.o.Remember(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(name); !os.IsNotExist(err) {
		t.Error("written again, with nothing new in it, or by a command")
	}
}

func TestOnlyTheSameBytesAreRemembered(t *testing.T) {
	config := func(x *watched) { x.write("millrace.cue", "runtime: rescan: \"40s\"\n") }
	for name, tc := range map[string]struct {
		change           func(x *watched)
		compiles, parses int
	}{
		"a declaration": {func(x *watched) { x.drop("intake/a.md", taskDoc("a")+"\nMore.\n") }, 0, 1},
		"configuration": {config, 1, 0},
		"the program": {func(x *watched) {
			was := program
			program = func() string { return "another" }
			x.t.Cleanup(func() { program = was })
		}, 1, 1},
		"a damaged memory": {func(x *watched) {
			data, err := os.ReadFile(filepath.Join(x.dir, Seen))
			if err != nil {
				x.t.Fatal(err)
			}
			data[len(data)/2] ^= 1
			x.write(Seen, string(data))
		}, 1, 1},
		"no archived plan": {func(x *watched) {
			if err := os.RemoveAll(filepath.Join(x.dir, PlansDir)); err != nil {
				x.t.Fatal(err)
			}
		}, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			x := remembering(t)
			x.t = t
			x.close()
			tc.change(x)
			v, compiles, parses := next(t, x.w.Project)
			if compiles != tc.compiles || parses != tc.parses {
				t.Errorf("compiled %d times, validated %d files; want %d and %d", compiles, parses, tc.compiles, tc.parses)
			}
			if v.Compiled.Plan == nil || len(v.Intake.ByKey[taskKey("a")]) != 1 {
				t.Errorf("not seen: %+v", v.Intake)
			}
		})
	}
}
