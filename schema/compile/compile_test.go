package compile_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"

	"millrace/assets"
	"millrace/schema"
	"millrace/schema/compile"
)

// shippedModes are the modes of the baseline, which people know by name.
var shippedModes = []string{
	"blueprint_codex", "blueprint_learning_codex", "default_claude", "default_codex", "default_codex_integrated", "default_pi", "demo",
	"efficient_learning_codex", "learning_claude", "learning_codex", "learning_codex_integrated", "learning_pi", "standard",
}

// with is the baseline with some files on top; a nil file is left out.
func with(files map[string]string) map[string][]byte {
	all := assets.Files()
	for name, text := range files {
		all[name] = []byte(text)
	}
	return all
}

func mustCompile(t testing.TB, src compile.Source) compile.Result {
	t.Helper()
	r := compile.Compile(src)
	if r.Plan == nil {
		t.Fatalf("does not compile:\n%v", r.Diags)
	}
	return r
}

func TestShippedModesCompile(t *testing.T) {
	modes, diags := compile.Modes(assets.Files())
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	var ids []string
	for _, m := range modes {
		ids = append(ids, m.ID)
	}
	if !slices.Equal(ids, shippedModes) {
		t.Fatalf("modes are %v", ids)
	}
	for _, id := range append(ids, "standard_plain") {
		t.Run(id, func(t *testing.T) {
			r := mustCompile(t, compile.Source{Mode: id, Files: assets.Files()})
			if len(r.Diags) > 0 {
				t.Errorf("says something about a shipped mode:\n%v", r.Diags)
			}
			if r.Digest != schema.DigestOf(r.Bytes) || !bytes.Equal(r.Bytes, compile.Marshal(r.Plan)) {
				t.Error("digest, bytes and plan are not of one piece")
			}
			var back schema.Plan
			if err := json.Unmarshal(r.Bytes, &back); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(compile.Marshal(&back), r.Bytes) {
				t.Error("a plan that was read is not the plan that was written")
			}
			if !maps.Equal(r.Inputs, back.Inputs) {
				t.Error("Result.Inputs differs from Plan.Inputs")
			}
		})
	}
}

func TestCompileIsDeterministic(t *testing.T) {
	src := compile.Source{Mode: "default_codex_integrated", Files: assets.Files()}
	first := mustCompile(t, src)
	for range 5 {
		again := mustCompile(t, compile.Source{Mode: src.Mode, Files: maps.Clone(src.Files)})
		if !bytes.Equal(first.Bytes, again.Bytes) || !reflect.DeepEqual(first.Diags, again.Diags) {
			t.Fatal("the same files gave another plan")
		}
	}
}
