package workspace

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"millrace/schema"
)

const longSettle = "runtime: settle: \"20s\"\n"

// declared reports whether a view holds the declaration of a task, read from what the file says now.
func isDeclared(id string) func(v *View) bool {
	return func(v *View) bool {
		d := v.Intake.ByKey[taskKey(id)]
		return len(d) == 1 && !v.Intake.Files[d[0].Path].Settling
	}
}

func rejected(name string) func(v *View) bool {
	return func(v *View) bool { f := v.Intake.Files[name]; return f != nil && !f.Settling && f.Diags.HasErrors() }
}

// slowly observes a workspace whose files rest for twenty seconds, so that what is seen at once was
// not waited for.
func slowly(t *testing.T) *watched {
	t.Helper()
	x := observe(t, ObserveOptions{Watch: true})
	x.write("millrace.cue", longSettle)
	x.until("the configuration", func(v *View) bool {
		return v.Compiled.Ready && time.Duration(v.Config.Runtime.Settle) == 20*time.Second
	})
	return x
}

func TestFileRenamedInIsReadAtOnce(t *testing.T) {
	x := slowly(t)
	x.drop("intake/a.md", taskDoc("a"))
	start := time.Now()
	x.until("the file renamed in", isDeclared("a"))
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("settled %v", took)
	}
	x.drop("intake/a.md", taskDoc("a")+"\nMore.\n")
	x.until("the file renamed over it", func(v *View) bool {
		return v.Intake.Files["intake/a.md"].Digest == schema.DigestOf([]byte(taskDoc("a")+"\nMore.\n"))
	})
}

func TestFileWrittenInPlaceRests(t *testing.T) {
	x := slowly(t)
	x.drop("intake/a.md", taskDoc("a"))
	x.until("the file renamed in", isDeclared("a"))
	time.Sleep(20 * time.Millisecond)
	x.write("intake/a.md", taskDoc("a")+"\nIn place.\n")
	for range 5 {
		x.sleep(50 * time.Millisecond)
		x.round(func(v *View) *Mutation {
			if v.Intake.Files["intake/a.md"].Digest != schema.DigestOf([]byte(taskDoc("a"))) {
				t.Error("read before it had rested")
			}
			return nil
		})
	}
	x.round(func(v *View) *Mutation {
		if f := v.Intake.Files["intake/a.md"]; f == nil || !f.Settling {
			t.Errorf("not shown as settling: %+v", f)
		}
		return nil
	})
	if next := x.o.Next(); time.Until(next) > 21*time.Second || time.Until(next) < time.Second {
		t.Errorf("next look in %v", time.Until(next))
	}
}

func TestFileRestsByDefault(t *testing.T) {
	x := observe(t, ObserveOptions{})
	x.settle()
	x.write("intake/a.md", taskDoc("a")[:30]) // closed again: no lease tells that more is to come
	soon := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(x.dir, "intake", "a.md"), soon, soon); err != nil { // however slow the test is
		t.Fatal(err)
	}
	x.round(func(v *View) *Mutation {
		if f := v.Intake.Files["intake/a.md"]; f == nil || !f.Settling {
			t.Errorf("read at its first sight: %+v", f)
		}
		return nil
	})
	x.write("intake/a.md", taskDoc("a"))
	x.until("the whole file", isDeclared("a"))
}

func TestSlowWriterIsWaitedFor(t *testing.T) {
	x := observe(t, ObserveOptions{Watch: true})
	x.settle()
	f, err := os.Create(filepath.Join(x.dir, "intake", "a.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := taskDoc("a")
	for _, part := range []string{text[:20], text[20:40], text[40:]} {
		if _, err := f.WriteString(part); err != nil {
			t.Fatal(err)
		}
		for until := time.Now().Add(150 * time.Millisecond); time.Now().Before(until); {
			x.sleep(time.Until(until))
			x.round(func(v *View) *Mutation {
				if f := v.Intake.Files["intake/a.md"]; f != nil && (!f.Settling || len(f.Diags) > 0) {
					t.Fatalf("read half-written: %+v", f)
				}
				return nil
			})
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	x.until("the whole file", isDeclared("a"))
}

func TestEditorSavesNeverLoseTheDeclaration(t *testing.T) {
	x := observe(t, ObserveOptions{Watch: true})
	x.settle()
	x.drop("intake/a.md", taskDoc("a"))
	x.until("the declaration", isDeclared("a"))
	x.admitAll()
	present := func(what string) {
		t.Helper()
		x.round(func(v *View) *Mutation {
			if len(v.Intake.ByKey[taskKey("a")]) != 1 {
				t.Errorf("%s: the declaration is gone: %v", what, v.Intake.ByKey)
			}
			return nil
		})
	}
	saved := func(what, text string) {
		t.Helper()
		x.until(what, func(v *View) bool {
			f := v.Intake.Files["intake/a.md"]
			return f != nil && !f.Settling && f.Digest == schema.DigestOf([]byte(text))
		})
		present(what)
	}
	// vim: the old file becomes the backup, a new one is written, the backup goes
	x.rename("intake/a.md", "intake/a.md~")
	present("vim, name away")
	x.write("intake/4913", "")
	x.remove("intake/4913")
	x.write("intake/a.md", taskDoc("a")+"\nvim\n")
	present("vim, written")
	x.remove("intake/a.md~")
	saved("vim", taskDoc("a")+"\nvim\n")
	// VS Code: truncated and written in place
	f, err := os.OpenFile(filepath.Join(x.dir, "intake/a.md"), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	present("truncated")
	if _, err := f.WriteString(taskDoc("a") + "\ncode\n"); err != nil {
		t.Fatal(err)
	}
	present("written")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	saved("code", taskDoc("a")+"\ncode\n")
	// renamed over, as most others do
	x.drop("intake/a.md", taskDoc("a")+"\nrenamed\n")
	saved("rename", taskDoc("a")+"\nrenamed\n")
}

func TestHostileFilesAreRejectedAndNeverBlock(t *testing.T) {
	x := observe(t, ObserveOptions{Watch: true})
	x.settle()
	path := func(name string) string { return filepath.Join(x.dir, "intake", name) }
	outside := filepath.Join(t.TempDir(), "outside.md")
	if err := os.WriteFile(outside, []byte(taskDoc("outside")), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.Symlink(outside, path("link.md")),
		os.Symlink(path("b.md"), path("inner.md")),
		os.Symlink("/", path("root")),
		os.Symlink("loop.md", path("loop.md")),
		unix.Mkfifo(path("pipe.md"), 0o644),
		os.WriteFile(path("empty.md"), nil, 0o644),
		os.WriteFile(path("binary.md"), []byte("\x00\x01\xff\xfe\x7fELF"), 0o644),
		os.WriteFile(path("big.md"), make([]byte, schema.MaxFile+1), 0o644),
		os.WriteFile(path("huge.md"), make([]byte, 50<<20), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	x.drop("intake/b.md", taskDoc("b"))
	for name, says := range map[string]string{
		"link.md": "symbolic link", "inner.md": "symbolic link", "root": "symbolic link", "loop.md": "symbolic link",
		"pipe.md": "named pipe", "empty.md": "empty", "binary.md": "", "big.md": "1048577 bytes", "huge.md": "52428800 bytes",
	} {
		x.until(name, rejected("intake/"+name))
		x.round(func(v *View) *Mutation {
			if d := v.Intake.Files["intake/"+name].Diags; !strings.Contains(d.Error(), says) {
				t.Errorf("%s: %v", name, d)
			}
			return nil
		})
	}
	x.until("the good one", isDeclared("b"))
	x.round(func(v *View) *Mutation {
		if len(v.Intake.ByKey) != 1 || !v.Intake.Complete {
			t.Errorf("declared: %v, complete %v", v.Intake.ByKey, v.Intake.Complete)
		}
		return nil
	})
	// what was wrong is fixed in place
	x.remove("intake/pipe.md")
	x.drop("intake/pipe.md", taskDoc("pipe"))
	x.until("the pipe's successor", isDeclared("pipe"))
}

func TestDeviceIsRejected(t *testing.T) {
	x := observe(t, ObserveOptions{})
	device := filepath.Join(x.dir, "intake", "null.md")
	if err := unix.Mknod(device, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Skipf("making a device needs more rights than this user has: %v", err)
	}
	x.until("the rejection", rejected("intake/null.md"))
}
