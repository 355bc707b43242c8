package document

import (
	"os"
	"runtime"
	"strings"
	"testing"
)

// benchmarked are one file of each encoding; what they cost is the price of a dropped document.
var benchmarked = map[string]string{
	"headed": "tasks/json-flag.md", "frontmatter": "probes/slow.md", "yaml": "misc/draft.yaml",
	"json": "misc/learning.json", "cue": "specs/page.cue", "idea": "ideas/page.md", "rejected": "tasks/many-wrongs.md",
}

func load(t testing.TB, name string) []byte {
	t.Helper()
	if strings.HasSuffix(name, "learning.json") {
		return []byte(`{"learning_request_id": "learn", "title": "Learn", "trigger_metadata": {"stage": "builder", "count": 3}, "references": ["a", "b"]}`)
	}
	data, err := os.ReadFile("testdata/intake/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func BenchmarkParse(b *testing.B) {
	r := registry(b)
	for name, file := range benchmarked {
		data := load(b, file)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Parse("intake/"+file, data)
			}
		})
	}
}

func BenchmarkRender(b *testing.B) {
	r := registry(b)
	d := r.Parse("intake/tasks/json-flag.md", load(b, "tasks/json-flag.md")).Docs[0].Doc
	b.ReportAllocs()
	for b.Loop() {
		r.Render(d)
	}
}

func BenchmarkNewRegistry(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NewRegistry(nil); err != nil {
			b.Fatal(err)
		}
	}
}

// TestKeepsNoMemory: documents leave nothing behind in the registry, valid or not.
func TestKeepsNoMemory(t *testing.T) {
	r := registry(t)
	parse := func(n int) {
		for range n {
			for _, file := range []string{"tasks/json-flag.md", "tasks/many-wrongs.md", "specs/page.cue"} {
				r.Parse("intake/"+file, load(t, file))
			}
		}
	}
	parse(100) // what is made once
	before := heap()
	parse(5000 / 3)
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("5,000 documents left %d bytes behind", grown)
	}
	runtime.KeepAlive(r)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestCostOfADocument counts what a document allocates, a measure that a busy machine does not change.
func TestCostOfADocument(t *testing.T) {
	r := registry(t)
	data := load(t, "tasks/json-flag.md")
	var p Parsed
	allocs := testing.AllocsPerRun(50, func() { p = r.Parse("intake/tasks/json-flag.md", data) })
	if len(p.Docs) != 1 {
		t.Fatal(p.Diags)
	}
	if allocs > 3000 {
		t.Errorf("a small task costs %.0f allocations; the definitions are being evaluated again for every document", allocs)
	}
}
