package systemtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"millrace/schema"
)

// asNobody runs the calling test again as an unprivileged user when it runs as root, for whom no
// file is unreadable and no tree read-only. It reports whether the caller is that second run.
func asNobody(t *testing.T) bool {
	t.Helper()
	if os.Getuid() != 0 {
		return true
	}
	const nobody = 65534
	home, err := os.MkdirTemp("", "millrace-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	if err := os.Chown(home, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(millrace), 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := selfReadable()
	check(t, err)
	cmd := exec.Command(self, "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Dir = home
	cmd.Env = append(cleanEnv(), "TMPDIR="+home, "HOME="+home, builtEnv+"="+filepath.Dir(millrace))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("as an unprivileged user: %v\n%s", err, out)
	}
	return false
}

// selfReadable is a copy of this program where everybody may run it.
var selfReadable = sync.OnceValues(func() (string, error) {
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return "", err
	}
	self := filepath.Join(filepath.Dir(millrace), "systemtest.test")
	return self, os.WriteFile(self, exe, 0o755)
})

// intakeDiagnosis returns what intake ls says of a file.
func (p *project) intakeDiagnosis(name string) string {
	p.t.Helper()
	var files []struct {
		Path        string              `json:"path"`
		Diagnostics []schema.Diagnostic `json:"diagnostics"`
	}
	if err := json.Unmarshal([]byte(p.must("intake", "ls", "-o", "json")), &files); err != nil {
		p.t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f.Path, name) && len(f.Diagnostics) > 0 {
			return f.Diagnostics[0].Message + " " + f.Diagnostics[0].Hint
		}
	}
	return ""
}

func TestHostileFiles(t *testing.T) {
	t.Parallel()
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for i := 'b'; i < 'k'; i++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	bad := map[string]string{ // file → word of its diagnosis
		"empty.yaml":    "",
		"binary.yaml":   "\x00\x01\x02\x7fELF",
		"big.yaml":      "kind: task\nsummary: " + strings.Repeat("x", schema.MaxFile+1-20),
		"huge.yaml":     strings.Repeat("x", 50<<20),
		"latin1.yaml":   "kind: task\ntask_id: latin\ntitle: caf\xe9\nacceptance: [a]\n",
		"bomb.yaml":     "kind: task\n" + bomb,
		"deep.json":     strings.Repeat("[", 100_000),
		"deep.yaml":     "a: " + strings.Repeat("[", 5_000),
		"escape.json":   `{"kind": "task", "task_id": "../../etc/passwd", "title": "Escape", "acceptance": ["refused"]}`,
		"code.cue":      "import \"os\"\nkind: \"task\"\n",
		"nothing.md":    "just words",
		"unclosed.yaml": "kind: task\ntitle: \"never closed\nacceptance: [a]\n",
	}
	good := map[string]string{
		"bom.yaml":  "\xef\xbb\xbf" + task("bom"),
		"crlf.yaml": strings.ReplaceAll(task("crlf"), "\n", "\r\n"),
	}
	p := newProject(t)
	daemon := p.startDaemon()
	p.eventually("the daemon runs", p.daemonRuns)
	for name, content := range bad {
		p.drop("tasks/"+name, content)
	}
	for name, content := range good {
		p.drop("tasks/"+name, content)
	}
	for _, id := range []string{"bom", "crlf"} {
		p.eventually(id+" is done", func() bool { return p.stateIs("task", id, schema.StateDone) })
	}
	for name := range bad {
		p.eventually(name+" is diagnosed", func() bool { return p.intakeDiagnosis(name) != "" })
		t.Logf("%-14s %s", name, p.intakeDiagnosis(name))
	}
	if n := len(p.state().Items); n != len(good) {
		t.Errorf("%d items, want %d", n, len(good))
	}
	if err := daemon.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the daemon did not live: %v", err)
	}
}

func TestHostileUnreadable(t *testing.T) {
	t.Parallel()
	if !asNobody(t) {
		return
	}
	p := newProject(t)
	p.write("millrace-agents/millrace.cue", strings.Replace(fmt.Sprintf(testConfig, agentBin), "runtime: {", `runtime: {rescan: "1s", `, 1))
	p.drop("tasks/secret.yaml", task("secret"))
	if err := os.Chmod(p.path("millrace-agents/intake/tasks/secret.yaml"), 0); err != nil {
		t.Fatal(err)
	}
	p.drop("tasks/good.yaml", task("good"))
	p.untilIdle()
	if !p.stateIs("task", "good", schema.StateDone) {
		t.Error("an unreadable neighbour stopped the good one")
	}
	if d := p.intakeDiagnosis("secret.yaml"); !strings.Contains(d, "permission") {
		t.Errorf("diagnosis %q does not speak of permission", d)
	}

	daemon := p.command("run", "daemon")
	said, err := os.Create(p.path("said"))
	check(t, err)
	daemon.Stderr = said
	check(t, daemon.Start())
	t.Cleanup(func() { _ = daemon.Process.Kill(); _ = daemon.Wait() })
	p.eventually("the daemon runs", p.daemonRuns)
	p.drop("closed/a.yaml", task("a"))
	p.eventually("a is done", func() bool { return p.stateIs("task", "a", schema.StateDone) })
	check(t, os.Chmod(p.path("millrace-agents/intake/closed"), 0))
	p.drop("tasks/b.yaml", task("b"))
	p.eventually("b is done", func() bool { return p.stateIs("task", "b", schema.StateDone) })
	p.eventually("the daemon names the folder", func() bool {
		data, err := os.ReadFile(said.Name())
		check(t, err)
		return strings.Contains(string(data), "intake/closed") && strings.Contains(string(data), "permission")
	})
	if out := p.must("status"); !strings.Contains(out, "intake/closed") {
		t.Errorf("status does not name the folder that cannot be read:\n%s", out)
	}
	check(t, os.Chmod(p.path("millrace-agents/intake/closed"), 0o755))
}

func TestHostileReadOnlyTree(t *testing.T) {
	t.Parallel()
	if !asNobody(t) {
		return
	}
	p := newProject(t)
	state := p.path("millrace-agents", "state")
	var dirs []string
	err := filepath.Walk(state, func(path string, info os.FileInfo, err error) error {
		dirs = append(dirs, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		info, err := os.Stat(d)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(d, info.Mode()) })
		if err := os.Chmod(d, info.Mode()&^0o222); err != nil {
			t.Fatal(err)
		}
	}
	p.must("status")
	code, _, stderr := p.run("run", "daemon", "--until", "idle")
	if code == 0 || strings.Contains(stderr, "panic") || !strings.Contains(stderr, "permission") {
		t.Errorf("a daemon in a read-only tree: exit %d\n%s", code, stderr)
	}
}

func TestHostileEditorSaves(t *testing.T) {
	t.Parallel()
	saves := map[string]func(p *project, file, content string){
		"vim": func(p *project, file, content string) { // rename away, create, write, remove the backup
			check(t, os.WriteFile(filepath.Join(filepath.Dir(file), "4913"), nil, 0o644))
			check(t, os.Remove(filepath.Join(filepath.Dir(file), "4913")))
			check(t, os.Rename(file, file+"~"))
			check(t, os.WriteFile(file, []byte(content), 0o644))
			check(t, os.Remove(file+"~"))
		},
		"code": func(p *project, file, content string) { // truncate, then write
			f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
			check(t, err)
			time.Sleep(40 * time.Millisecond)
			_, err = f.WriteString(content)
			check(t, err)
			check(t, f.Close())
		},
		"rename": func(p *project, file, content string) {
			check(t, os.WriteFile(file+".tmp", []byte(content), 0o644))
			check(t, os.Rename(file+".tmp", file))
		},
	}
	for name, save := range saves {
		t.Run(name, func(t *testing.T) {
			p := newProject(t)
			p.must("control", "pause", "--reason", "test")
			p.drop("tasks/a.yaml", task("a"))
			p.startDaemon()
			p.eventually("a is queued", func() bool { return p.stateIs("task", "a", schema.StateQueue) })
			for i := range 3 {
				want := fmt.Sprintf("edited %d times by %s", i+1, name)
				save(p, p.path("millrace-agents/intake/tasks/a.yaml"), strings.Replace(task("a"), "Task a", want, 1))
				p.eventually(want, func() bool { return p.item("task", "a").Title == want })
			}
			if it := p.item("task", "a"); it.Generation != 4 || it.State != schema.StateQueue {
				t.Errorf("generation %d in %s after three saves, want 4 in queue", it.Generation, it.State)
			}
		})
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestHostileBurst drops very many files at once: more than the kernel queues events for.
func TestHostileBurst(t *testing.T) {
	t.Parallel()
	n := size("MILLRACE_BURST", 2_000)
	p := newProject(t)
	p.must("control", "pause", "--reason", "test")
	daemon := p.startDaemon()
	p.eventually("the daemon runs", p.daemonRuns)
	p.mkdir("millrace-agents/intake/tasks")
	for i := range n {
		check(t, os.WriteFile(p.path("millrace-agents/intake/tasks", fmt.Sprintf("t%05d.yaml", i)), []byte(task(fmt.Sprintf("t%05d", i))), 0o644))
	}
	p.eventually("all are queued", func() bool { return p.state().Count("task", schema.StateQueue) == n })
	if err := daemon.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the daemon did not live: %v", err)
	}
	p.must("verify")
}

// A small file system is filled under the daemon and emptied again.
func TestFaultFullDiskEndsTheDaemon(t *testing.T) {
	t.Parallel()
	mount := t.TempDir()
	if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size=24m"); err != nil {
		if os.Getenv("MILLRACE_INNER") != "" {
			t.Fatalf("mount a tmpfs in a user namespace: %v", err)
		}
		cmd := exec.Command("unshare", "-Urm", os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), builtEnv+"="+filepath.Dir(millrace), "MILLRACE_INNER=1")
		switch out, err := cmd.CombinedOutput(); {
		case bytes.Contains(out, []byte("--- FAIL")):
			t.Errorf("in a user namespace:\n%s", out)
		case err != nil:
			t.Logf("no small file system to be had here (%v): the injected faults of the workspace tests stand alone\n%s", err, out)
		}
		return
	}
	t.Cleanup(func() { check(t, syscall.Unmount(mount, 0)) })
	p := newProjectIn(t, filepath.Join(mount, "project"))
	daemon := p.command("run", "daemon")
	said, err := os.CreateTemp(t.TempDir(), "said")
	check(t, err)
	daemon.Stderr = said
	check(t, daemon.Start())
	t.Cleanup(func() { _ = daemon.Process.Kill(); _ = daemon.Wait() })
	p.eventually("the daemon runs", p.daemonRuns)
	saying := func() string {
		data, err := os.ReadFile(said.Name())
		check(t, err)
		return string(data)
	}

	ballast, err := os.Create(filepath.Join(mount, "ballast"))
	check(t, err)
	block := bytes.Repeat([]byte{'x'}, 4096)
	for {
		if _, err = ballast.Write(block); err != nil {
			break
		}
	}
	check(t, ballast.Close())
	check(t, os.Truncate(ballast.Name(), mustSize(t, ballast.Name())-3*4096)) // room to drop one file
	p.drop("tasks/a.yaml", task("a"))
	p.eventually("the daemon says so", func() bool {
		return strings.Contains(saying(), "disk is full") || strings.Contains(saying(), "disk full")
	})
	time.Sleep(time.Second)
	if n := len(p.processes("millrace")); n != 1 {
		t.Fatalf("a full disk ended the daemon:\n%s", saying())
	}
	p.must("status")
	code, _, stderr := p.run("control", "pause", "--reason", "full")
	t.Logf("a command said:\n%s", stderr)
	if code != 7 || !strings.Contains(stderr, "room") {
		t.Errorf("a command on a full disk: exit %d, want 7 and what to do\n%s", code, stderr)
	}
	check(t, os.Remove(ballast.Name()))
	p.must("control", "resume") // whether the pause came to be depends on where there was no room
	p.eventually("a is done once there is room", func() bool { return p.stateIs("task", "a", schema.StateDone) })
	check(t, daemon.Process.Signal(syscall.SIGTERM))
	_ = daemon.Wait()
	p.must("verify")
	t.Logf("the daemon said:\n%s", saying())
}

func mustSize(t *testing.T, path string) int64 {
	info, err := os.Stat(path)
	check(t, err)
	return info.Size()
}

// What init says next can be done: a file can be copied to where tasks are dropped.
func TestInitMakesTheFolderItNames(t *testing.T) {
	p := newProject(t)
	if info, err := os.Stat(p.path("millrace-agents", "intake", "tasks")); err != nil || !info.IsDir() {
		t.Errorf("there is no folder for tasks: %v", err)
	}
}
