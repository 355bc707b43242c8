package runner

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/schema"
)

// probed asks a fake Claude Code, found in PATH, whose body is a shell script.
func probed(t *testing.T, ctx context.Context, body string, change func(*schema.Runner)) Probe {
	t.Helper()
	dir := t.TempDir()
	if body != "" {
		if err := os.WriteFile(filepath.Join(dir, "claude"), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HOME", dir)
	t.Setenv("CLAUDE_CONFIG_DIR", "")
	for _, key := range schema.AdapterOf("claude_code").Keys {
		t.Setenv(key, "")
	}
	r := &schema.Runner{Name: "claude_code", Adapter: "claude_code", Env: map[string]string{"PATH": dir + ":" + os.Getenv("PATH")}}
	if change != nil {
		change(r)
	}
	return Ask(ctx, r, dir)
}

func TestProbeReadsTheVersion(t *testing.T) {
	a := schema.AdapterOf("claude_code")
	for body, want := range map[string]Probe{
		"echo '" + a.Newest + " (Claude Code)'":            {Version: a.Newest, Tested: TestedYes},
		"echo " + a.Oldest + " >&2":                        {Version: a.Oldest, Tested: TestedYes},
		"echo 'warning: 1.2 of 3'; echo claude v99.0.0-rc": {Version: "99.0.0-rc", Tested: TestedNewer},
		"echo 0.9.12":                        {Version: "0.9.12", Tested: TestedOlder},
		"echo " + a.Newest + "; sleep 600 &": {Version: a.Newest, Tested: TestedYes},
		"echo hello; echo you":               {Trouble: "--version names no version: hello"},
		"true":                               {Trouble: "--version names no version"},
		"echo 'no node here' >&2; exit 127":  {Trouble: "--version ended with exit status 127: no node here"},
		"echo " + a.Newest + "; exit 1":      {Trouble: "--version ended with exit status 1"},
		"yes":                                {Trouble: "--version ended with "},
		`[ "$*" = --version ] && cat && echo 2.1.330`: {Version: "2.1.330", Tested: TestedYes}, // nothing to read, and it ends
	} {
		got := probed(t, t.Context(), body, nil)
		if got.Version != want.Version || got.Tested != want.Tested || !strings.HasSuffix(got.Path, "/claude") {
			t.Errorf("%s: %+v", body, got)
		}
		if (want.Trouble == "") != (got.Trouble == "") || !strings.Contains(got.Trouble, want.Trouble) {
			t.Errorf("%s: trouble %q, want %q", body, got.Trouble, want.Trouble)
		}
	}
}

func TestProbeOfWhatIsNoProgram(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "claude"), []byte("\x7fELF"), 0o755); err != nil {
		t.Fatal(err)
	}
	got := Ask(t.Context(), &schema.Runner{Name: "claude_code", Adapter: "claude_code", Env: map[string]string{"PATH": dir}}, dir)
	if !got.Broken || !strings.Contains(got.Trouble, "cannot be run") {
		t.Errorf("%+v", got)
	}
}

// TestProbeEndsWhatHangs: neither the program nor what it started is left behind.
func TestProbeEndsWhatHangs(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	pids := filepath.Join(t.TempDir(), "pids")
	start := time.Now()
	got := probed(t, ctx, "echo $$ > "+pids+"; sleep 600 & echo $! >> "+pids+"; wait", nil)
	if !strings.Contains(got.Trouble, "gave no answer") || got.Version != "" || time.Since(start) > 4*time.Second {
		t.Errorf("%+v after %v", got, time.Since(start))
	}
	data, err := os.ReadFile(pids)
	if err != nil || len(strings.Fields(string(data))) != 2 {
		t.Fatalf("it did not start: %q %v", data, err)
	}
	for text := range strings.FieldsSeq(string(data)) {
		pid, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(5 * time.Second); syscall.Kill(pid, 0) == nil && !zombie(pid); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("process %d is left", pid)
			}
		}
	}
}

// zombie reports whether a process has ended and only its parent has not taken notice.
func zombie(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, rest, _ := strings.Cut(string(data), ") ")
	return err != nil || strings.HasPrefix(rest, "Z")
}

func TestProbeFindsTheProgramAndTheLogin(t *testing.T) {
	const says = "echo 2.1.330"
	if got := probed(t, t.Context(), "", nil); got.Path != "" || !strings.Contains(got.Trouble, `"claude" is not in PATH`) || got.Login != LoginNone {
		t.Errorf("missing: %+v", got)
	}
	if got := probed(t, t.Context(), says, func(r *schema.Runner) { r.Command = "./claude" }); got.Program != "./claude" || got.Version != "2.1.330" {
		t.Errorf("by path: %+v", got)
	}
	if got := probed(t, t.Context(), says, func(r *schema.Runner) { r.Command = "nosuch" }); got.Path != "" || !strings.Contains(got.Trouble, "nosuch") {
		t.Errorf("another name: %+v", got)
	}
	if got := probed(t, t.Context(), says, func(r *schema.Runner) { r.KeyEnv, r.Env["MINE"] = "MINE", "secret" }); got.Login != LoginKey || got.Key != "MINE" {
		t.Errorf("a key: %+v", got)
	}
	login := func(content string) func(*schema.Runner) {
		return func(r *schema.Runner) {
			folder := t.TempDir()
			r.Env["CLAUDE_CONFIG_DIR"] = folder
			if err := os.WriteFile(filepath.Join(folder, ".credentials.json"), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := probed(t, t.Context(), says, login(`{"claudeAiOauth": {}}`)); got.Login != LoginStored || got.Folder == "" {
		t.Errorf("a stored login: %+v", got)
	}
	own := schema.Runner{Name: "mine", Adapter: "command", Run: []string{"sh", "-c", "touch asked"}}
	dir := t.TempDir()
	if got := Ask(t.Context(), &own, dir); got.Path == "" || got.Login != "" || got.Version != "" {
		t.Errorf("a program of one's own: %+v", got)
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Error("a program of one's own was run to ask it")
	}
	if got := Ask(t.Context(), &schema.Runner{Adapter: "nosuch"}, dir); !strings.Contains(got.Trouble, "no adapter nosuch") {
		t.Errorf("an adapter that there is not: %+v", got)
	}
}

func TestVersionsAreOrdered(t *testing.T) {
	ordered := []string{"0.9.12", "0.10.0-alpha", "0.10.0", "1.0.0-rc.1", "1.0.0", "1.0.9", "1.0.10", "2.1.330"}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := before(a, b); got != (i < j) {
				t.Errorf("before(%s, %s) = %v", a, b, got)
			}
		}
	}
}

// TestEveryAdapterIsBuilt: what is compiled, shown and documented can be run.
func TestEveryAdapterIsBuilt(t *testing.T) {
	for _, name := range schema.AdapterNames() {
		if adapters[name] == nil {
			t.Errorf("nothing runs the adapter %s", name)
		}
	}
}
