package document

import (
	"testing"
	"time"
)

// The fuzz targets hold one property for each encoding: whatever comes, the reader neither panics nor
// dawdles, and what it calls valid survives the round trip, before and after admission.

func FuzzParseMarkdown(f *testing.F)    { fuzz(f, "intake/tasks/fuzz.md") }
func FuzzParseFrontMatter(f *testing.F) { fuzz(f, "intake/ideas/fuzz.md") }
func FuzzParseYAML(f *testing.F)        { fuzz(f, "intake/tasks/fuzz.yaml") }
func FuzzParseJSON(f *testing.F)        { fuzz(f, "intake/learning/fuzz.json") }
func FuzzParseCUE(f *testing.F)         { fuzz(f, "intake/specs/fuzz.cue") }

func fuzz(f *testing.F, file string) {
	r := registry(f)
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, data []byte) {
		start := time.Now()
		p := r.Parse(file, data)
		if took := time.Since(start); took > 10*time.Second {
			t.Fatalf("took %v", took)
		}
		if len(p.Docs) == 0 && !p.Diags.HasErrors() {
			t.Fatal("neither documents nor an error")
		}
		for _, l := range p.Docs {
			roundTrip(t, r, l.Doc)
			roundTrip(t, r, r.Admit(l.Doc, "operator", now))
		}
	})
}
