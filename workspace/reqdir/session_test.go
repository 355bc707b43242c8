package reqdir

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"millrace/schema"
)

// requested is a spent request, which may go on with a session of an earlier one.
func requested(t *testing.T, given *schema.Session) string {
	t.Helper()
	dir := t.TempDir()
	data, err := json.Marshal(schema.Request{SchemaVersion: 1, ID: "req-2", Run: "run-1", Stage: "build", Outcomes: []string{"BLOCKED", "DONE"}, Session: given})
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, schema.RequestFile, string(data))
	if _, err := Spend(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func tokens(input, output int64) *schema.Tokens {
	return &schema.Tokens{Input: &input, Output: &output}
}

// What a lost supervisor had written down of its agent's session is not lost with it, and what the request itself used is
// what the session had used beyond what it was begun with.
func TestSalvageOfASession(t *testing.T) {
	given := &schema.Session{Request: "req-1", ID: "s-1", Tokens: tokens(100, 10)}
	for name, tt := range map[string]struct {
		given    *schema.Session
		file, id string
		own      *schema.Tokens
	}{
		"none":                         {nil, "", "", nil},
		"named":                        {nil, `{"request":"req-2","session":"s-1"}`, "s-1", nil},
		"counted":                      {nil, `{"request":"req-2","session":"s-1","tokens":{"input":70,"output":7}}`, "s-1", tokens(70, 7)},
		"gone on with":                 {given, `{"request":"req-2","session":"s-1","tokens":{"input":170,"output":17},"waiting":"x"}`, "s-1", tokens(70, 7)},
		"gone on with, not counted":    {given, `{"request":"req-2","session":"s-1"}`, "s-1", nil},
		"another session":              {given, `{"request":"req-2","session":"s-9","tokens":{"input":70,"output":7}}`, "s-9", tokens(70, 7)},
		"counted from less than given": {given, `{"request":"req-2","session":"s-1","tokens":{"input":1,"output":1}}`, "s-1", tokens(0, 0)},
		"only waiting":                 {nil, `{"request":"req-2","waiting":"x"}`, "", nil},
		"of another request":           {nil, `{"request":"req-1","session":"s-1"}`, "", nil},
		"an option":                    {nil, `{"request":"req-2","session":"--dangerously"}`, "", nil},
		"two lines":                    {nil, `{"request":"req-2","session":"a\nb"}`, "", nil},
		"half a file":                  {nil, `{"request":"req-2","ses`, "", nil},
		"endless":                      {nil, `{"request":"req-2","session":"` + strings.Repeat("x", maxSession) + `"}`, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := requested(t, tt.given)
			if tt.file != "" {
				write(t, dir, schema.SessionFile, tt.file)
			}
			c, err := Salvage(dir)
			if err != nil || c.Failure != schema.FailSupervisorLost {
				t.Fatalf("salvaged %+v, %v", c, err)
			}
			var id string
			if c.Session != nil {
				id = c.Session.ID
				if c.Session.Request != "req-2" || c.Session.Waiting != "" {
					t.Errorf("session is %+v", c.Session)
				}
			}
			if id != tt.id || c.Tokens.Known() != tt.own.Known() || c.Tokens.Total() != tt.own.Total() {
				t.Errorf("session %q, tokens %+v (%d)", id, c.Tokens, c.Tokens.Total())
			}
		})
	}
	for _, put := range []func(string) error{
		func(p string) error { return os.Symlink("/etc/passwd", p) },
		func(p string) error { return unix.Mkfifo(p, 0o644) },
		func(p string) error { return os.Mkdir(p, 0o755) },
	} {
		dir := requested(t, nil)
		if err := put(filepath.Join(dir, schema.SessionFile)); err != nil {
			t.Fatal(err)
		}
		if c, err := Salvage(dir); err != nil || c.Session != nil {
			t.Errorf("salvaged %+v, %v", c, err)
		}
		if what, _ := Waiting(dir, "req-2"); what != "" {
			t.Errorf("waits for %q", what)
		}
	}
}

func TestWaiting(t *testing.T) {
	dir := requested(t, nil)
	if what, since := Waiting(dir, "req-2"); what != "" || !since.IsZero() {
		t.Errorf("waits for %q since %v", what, since)
	}
	write(t, dir, schema.SessionFile, `{"request":"req-2","session":"s","waiting":"the provider\u001b[2J\nsays 429 `+strings.Repeat("and so on ", 100)+`"}`)
	what, since := Waiting(dir, "req-2")
	if !strings.HasPrefix(what, "the provider[2J says 429 and so on") || len(what) > maxWaiting || time.Since(since) > time.Minute || since.IsZero() {
		t.Errorf("waits for %q since %v", what, since)
	}
	if what, _ := Waiting(dir, "req-1"); what != "" {
		t.Errorf("another request waits for %q", what)
	}
}
