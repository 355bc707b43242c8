package pagetest

import "testing"

func TestForms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want, got string
		same      bool
	}{
		{"done 12ms\n", "done    1.4s\n", true},
		{"a\n…\nz\n", "a\nb\nc\nz\n", true},
		{"a\n…\nz\n", "a\nb\nc\n", false},
		{"…\nz\n", "a\nz\n", true},
		{"a\n…\n", "a\nb\n", true},
		{"a\n…\n", "b\na\n", false},
		{"a\n…\nz\n", "a\nz\n", true},
		{"say --reason …\n", "say --reason …\nmore\n", false},
		{"run-20261122T145921.342Z-d03c74af", "run-20271122T145921.342Z-00aa", true},
		{"done  4220 tokens  2s", "done  17 tokens  3m1s", true},
		{"done", "blocked", false},
	} {
		if sameForm(c.want, c.got) != c.same {
			t.Errorf("sameForm(%q, %q) = %v", c.want, c.got, !c.same)
		}
	}
}
