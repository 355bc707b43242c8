package document

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/schema"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden shows for every file of testdata/intake what a person is told and what is stored.
func TestGolden(t *testing.T) {
	r := registry(t)
	err := filepath.WalkDir("testdata/intake", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(filepath.ToSlash(path), "testdata/")
		t.Run(name, func(t *testing.T) {
			golden(t, name, report(t, r, name, data))
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// report is everything that Parse says of a file; valid documents also make the round trip.
func report(t *testing.T, r *Registry, name string, data []byte) string {
	t.Helper()
	p := r.Parse(name, data)
	var b strings.Builder
	for _, d := range p.Diags {
		fmt.Fprintln(&b, d)
	}
	if p.Unparsed {
		fmt.Fprintln(&b, "(unparsed)")
	}
	for _, l := range p.Docs {
		fmt.Fprintf(&b, "== line %d column %d: %s\n%s", l.Line, l.Column, l.Doc.Key(), r.Render(l.Doc))
		roundTrip(t, r, l.Doc)
		admitted := r.Admit(l.Doc, "operator", time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC))
		roundTrip(t, r, admitted)
		if admitted.Kind != l.Doc.Kind {
			fmt.Fprintf(&b, "== becomes %s\n%s", admitted.Key(), r.Render(admitted))
		}
	}
	return b.String()
}

// roundTrip fails unless the canonical form reads as the same document and renders as itself.
func roundTrip(t testing.TB, r *Registry, d *schema.Document) {
	t.Helper()
	text := r.Render(d)
	file := "stored" + r.kinds[d.Kind].extension
	back, diags := r.ParseStored(d.Kind, file, text)
	if back == nil || len(diags) > 0 {
		t.Fatalf("canonical form is refused: %v\n%s", diags, text)
	}
	if back.Digest() != d.Digest() {
		t.Fatalf("round trip differs:\n%#v\n%#v\n%s", d, back, text)
	}
	if again := r.Render(back); string(again) != string(text) {
		t.Fatalf("rendering is not stable:\n%s\n%s", text, again)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata/golden", name+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (run with -update)", err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
