package compile_test

import (
	"testing"

	"millrace/assets"
	"millrace/schema/compile"
)

// BenchmarkCompile freezes a shipped mode from bytes to canonical JSON.
func BenchmarkCompile(b *testing.B) {
	files := assets.Files()
	b.ReportAllocs()
	for b.Loop() {
		if r := compile.Compile(compile.Source{Mode: "default_codex_integrated", Files: files}); r.Plan == nil {
			b.Fatal(r.Diags)
		}
	}
}

// BenchmarkLoadConfig reads a configuration alone.
func BenchmarkLoadConfig(b *testing.B) {
	data := []byte("runtime: {default_mode: \"demo\", rescan: \"10s\"}\nstages: checker: timeout: \"20m\"\n")
	b.ReportAllocs()
	for b.Loop() {
		if c, diags := compile.LoadConfig("millrace.cue", data); c == nil {
			b.Fatal(diags)
		}
	}
}
