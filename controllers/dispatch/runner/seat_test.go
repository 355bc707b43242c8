package runner

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/schema"
)

var pretended = &schema.Adapter{Name: "pretended", Keys: []string{"A_KEY", "B_KEY", "OTHERS_KEY"}, Folder: "PRETENDED_HOME", Home: ".pretended",
	Login: "auth.json", OverLogin: 2}

func TestSeat(t *testing.T) {
	user := t.TempDir()
	login := filepath.Join(user, ".pretended", "auth.json")
	if err := os.MkdirAll(filepath.Dir(login), 0o755); err != nil {
		t.Fatal(err)
	}
	env := func(more ...string) []string { return append([]string{"HOME=" + user, "A_KEY="}, more...) }
	see := func(what string, r schema.Runner, env []string, want seat) {
		t.Helper()
		if got := seatOf(pretended, &r, env); got != want {
			t.Errorf("%s: %+v, not %+v", what, got, want)
		}
	}
	home := filepath.Dir(login)
	see("neither key nor login", schema.Runner{}, env(), seat{dir: home})
	see("a key that others read, too", schema.Runner{}, env("OTHERS_KEY=x"), seat{dir: home, key: "OTHERS_KEY"})
	if err := os.WriteFile(login, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	see("a login", schema.Runner{}, env(), seat{dir: home, stored: true})
	see("a login elsewhere", schema.Runner{}, env("PRETENDED_HOME="+user), seat{dir: user})
	see("a key that others read, too, beside a login", schema.Runner{}, env("OTHERS_KEY=x"), seat{dir: home, stored: true})
	see("a key beside a login", schema.Runner{}, env("B_KEY=x"), seat{dir: home, key: "B_KEY"})
	see("a key of the runner's own", schema.Runner{KeyEnv: "MINE"}, env("B_KEY=x", "MINE=y"), seat{dir: home, key: "MINE"})

	j := &job{request: &schema.Request{Runner: schema.Runner{Name: "r"}}, dir: filepath.Join(user, "runs", "run-1", "req-1")}
	if got := j.sit(pretended, env("B_KEY=x")).dir; got != filepath.Join(user, "runs", "run-1", "agents", "r") {
		t.Errorf("with a key the run has no folder of its own: %s", got)
	}
	if got := j.sit(pretended, env()).dir; got != home {
		t.Errorf("with a login it is not the user's folder: %s", got)
	}
}

func TestARunsOwnFolderHoldsNoCopyOfSettings(t *testing.T) {
	user, own := t.TempDir(), seat{dir: filepath.Join(t.TempDir(), "runs", "agents", "r")}
	if err := os.WriteFile(filepath.Join(user, "settings.json"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the next request of the run finds it made
		if err := own.make(user, "settings.json", "none.json"); err != nil {
			t.Fatal(err)
		}
	}
	names, err := os.ReadDir(own.dir)
	if err != nil || len(names) != 1 || names[0].Type() != os.ModeSymlink {
		t.Fatalf("%v %v", names, err)
	}
	for _, name := range []string{"settings.json", "none.json"} { // an agent leaves others for the next one
		if err := os.RemoveAll(filepath.Join(own.dir, name)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(own.dir, name), []byte("planted"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := own.make(user, "settings.json", "none.json"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(own.dir, "none.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("settings that are not the user's are left: %v", err)
	}
	if data, err := os.ReadFile(filepath.Join(own.dir, "settings.json")); string(data) != "secret" {
		t.Errorf("the link leads to %q (%v)", data, err)
	}
	if info, err := os.Stat(own.dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("its mode is %v (%v)", info.Mode(), err)
	}
}

// Two supervisors may make the folder at the same time.
func TestARunsOwnFolderIsMadeTwiceAtOnce(t *testing.T) {
	user := t.TempDir()
	if err := os.WriteFile(filepath.Join(user, "settings.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		own, done := seat{dir: filepath.Join(t.TempDir(), "agents", "r")}, make(chan error)
		for range 2 {
			go func() { done <- own.make(user, "settings.json") }()
		}
		if err := errors.Join(<-done, <-done); err != nil {
			t.Fatal(err)
		}
		if target, err := os.Readlink(filepath.Join(own.dir, "settings.json")); target != filepath.Join(user, "settings.json") {
			t.Fatalf("the link leads to %q (%v)", target, err)
		}
	}
}

func TestLookup(t *testing.T) {
	env := strings.Fields("A=1 AB=2 A=3 B=")
	for name, want := range map[string]string{"A": "3", "AB": "2", "B": "", "C": ""} {
		if got := lookup(env, name); got != want {
			t.Errorf("%s is %q, not %q", name, got, want)
		}
	}
}
