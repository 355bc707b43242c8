package runner

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"millrace/schema"
)

// FuzzRedactor holds a stream that is cut anywhere to the text as a whole.
func FuzzRedactor(f *testing.F) {
	f.Add("Bearer sk-12345678sk-12345678, sk-1234567", 3)
	f.Add("aabaabaaabaabaaa", 1)
	f.Fuzz(func(t *testing.T, text string, size int) {
		keys := secrets{{"sk-12345678", "A_KEY"}, {"aabaabaaa", "B_KEY"}}
		var got bytes.Buffer
		r := keys.over(&got)
		for piece := range slices.Chunk([]byte(text), max(1, size%9)) {
			if n, err := r.Write(piece); n != len(piece) || err != nil {
				t.Fatal(n, err)
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			if strings.Contains(got.String(), key.value) {
				t.Errorf("%q became %q", text, got.String())
			}
			text = strings.ReplaceAll(text, "<"+key.name+">", "")
			text = strings.ReplaceAll(text, key.value, "")
		}
		if !strings.Contains(text, "aab") && len(text) > got.Len() {
			t.Errorf("something is missing of %q: %q", text, got.String())
		}
	})
}

// A key that an agent, its tools or its checks print is in nothing that the supervisor writes.
func TestNoKeyIsWrittenDown(t *testing.T) {
	const key = "sk-very-secret-key"
	t.Setenv("MY_KEY", key)
	const say = `printf '{"say":"the key is %s\\n### DONE"}\n' "$MY_KEY"; `
	for name, script := range map[string]string{
		"events":  `echo my $MY_KEY >&2; printf '%s\n' '{"session":"s-1"}'; ` + say,
		"failing": `printf '{"fail":"429 for %s"}\n' "$MY_KEY"`,
		"command": `echo my $MY_KEY; echo my $MY_KEY >&2; echo '### DONE'`,
	} {
		b := newEvents(t, script)
		if name == "command" {
			b.request.Runner.Adapter = "command"
		}
		b.request.Runner.KeyEnv, b.request.Runner.EventLog = "MY_KEY", "full"
		b.request.Checks = []schema.Check{{Name: "env", Run: "env"}}
		b.request.ChecksBefore = true
		c := b.run()
		if name != "failing" {
			b.want(c, schema.ExitCompleted, "", "DONE")
		}
		seen := 0
		err := filepath.WalkDir(b.dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			if strings.Contains(string(text), key) {
				t.Errorf("%s: %s has the key", name, d.Name())
			}
			seen += strings.Count(string(text), "<MY_KEY>")
			return err
		})
		if err != nil || seen < 2 {
			t.Errorf("%s: the key's name stands in %d places (%v)", name, seen, err)
		}
	}
}
