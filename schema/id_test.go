package schema

import (
	"regexp"
	"strings"
	"testing"
)

// FuzzValidID holds the rule against the pattern that documents and definitions give for it.
func FuzzValidID(f *testing.F) {
	pattern := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	for _, id := range []string{"", "a", "-a", ".a", "_a", "a-b_c.d", "a..b", "a/b", "ä", "a b", "a\n", "0", "A\x00",
		strings.Repeat("a", 128), strings.Repeat("a", 129)} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		if want := pattern.MatchString(id) && !strings.Contains(id, ".."); ValidID(id) != want {
			t.Errorf("%q: %v, want %v", id, ValidID(id), want)
		}
	})
}
