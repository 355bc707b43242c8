package workspace

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/schema"
)

func TestFolderTreeWithFilesInOneEvent(t *testing.T) {
	x := observe(t, ObserveOptions{Watch: true})
	x.settle()
	made := filepath.Join(x.dir, "state", "made", "deep", "er")
	if err := os.MkdirAll(made, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(made, "a.md"), []byte("kind: task\n"+taskDoc("a")), 0o644); err != nil {
		t.Fatal(err)
	}
	x.write("state/made/deep/b.md", taskDoc("b"))
	x.rename("state/made", "intake/made")
	x.until("the file below", isDeclared("b"))
	x.write("intake/made/deep/er/c.md", taskDoc("c"))
	x.until("a file in a folder found that way", isDeclared("c"))
	x.write("intake/new/one/d.md", taskDoc("d"))
	x.until("a file made together with its folders", isDeclared("d"))
	x.rename("intake/new", "intake/old")
	x.until("the folder renamed", func(v *View) bool {
		return isDeclared("d")(v) && v.Intake.ByKey[taskKey("d")][0].Path == "intake/old/one/d.md" &&
			v.Intake.Files["intake/new/one/d.md"] == nil
	})
	x.write("intake/old/one/e.md", taskDoc("e"))
	x.until("a file in the renamed folder", isDeclared("e"))
}

func TestOverflowIsAnsweredByARescan(t *testing.T) {
	x := observe(t, ObserveOptions{Watch: true})
	x.settle()
	x.o.watch.care = func(string, string) bool { return false } // deaf: every event is missed
	for i := range 50 {
		x.drop(fmt.Sprintf("intake/f%d.md", i), taskDoc(fmt.Sprintf("f%d", i)))
	}
	x.round(func(v *View) *Mutation {
		if len(v.Intake.Files) > 0 {
			t.Error("seen without an event: the test shows nothing")
		}
		return nil
	})
	x.o.watch.lose()
	select {
	case <-x.o.Hints():
	default:
		t.Error("lost events are no hint")
	}
	x.until("all of them", func(v *View) bool { return len(v.Intake.ByKey) == 50 })
}

func TestTwentyThousandFilesInOneBurst(t *testing.T) {
	n := 20000
	if testing.Short() {
		n = 2000
	}
	x := observe(t, ObserveOptions{Watch: true})
	x.settle()
	if err := os.MkdirAll(filepath.Join(x.dir, "state", "burst"), 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		name := filepath.Join(x.dir, "intake", fmt.Sprintf("x%05d.md", i))
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	x.drop("intake/zz.md", taskDoc("zz"))
	x.until("every file", func(v *View) bool {
		return v.Intake.Complete && len(v.Intake.Files) == n+1 && isDeclared("zz")(v)
	})
}

func TestIntakeRenamedAwayAndBack(t *testing.T) {
	x := observe(t, ObserveOptions{Watch: true})
	x.settle()
	x.drop("intake/a.md", taskDoc("a"))
	x.write("intake/sub/b.md", taskDoc("b"))
	x.until("both", func(v *View) bool { return isDeclared("a")(v) && isDeclared("b")(v) })
	x.admitAll()
	x.settle()
	parses := x.o.intake.parses
	x.rename("intake", "away")
	x.until("the absence", func(v *View) bool { return !v.Intake.Complete && len(v.Notices) == 1 })
	x.round(func(v *View) *Mutation {
		if len(v.Intake.Unreconciled) > 0 {
			t.Errorf("a missing folder makes its declarations absent: %v", v.Intake.Unreconciled)
		}
		return nil
	})
	x.rename("away", "intake")
	x.until("the return", func(v *View) bool { return v.Intake.Complete && len(v.Notices) == 0 })
	x.settle()
	if x.o.intake.parses != parses {
		t.Errorf("%d files were validated again", x.o.intake.parses-parses)
	}
	x.write("intake/sub/c.md", taskDoc("c"))
	x.until("a file in a folder that was away", isDeclared("c"))
	x.remove("intake/sub")
	x.until("what was deleted", func(v *View) bool { return len(v.Intake.Unreconciled) == 1 && v.Intake.ByKey[taskKey("c")] == nil })
	x.round(func(v *View) *Mutation {
		if k := v.Intake.Unreconciled; len(k) != 1 || k[0] != taskKey("b") {
			t.Errorf("unreconciled: %v", k)
		}
		return nil
	})
}

func TestHintsCoalesceAndIdleIsSilent(t *testing.T) {
	x := observe(t, ObserveOptions{Watch: true})
	x.settle()
	for i := range 100 {
		x.drop(fmt.Sprintf("intake/f%d.md", i), taskDoc(fmt.Sprintf("f%d", i)))
	}
	time.Sleep(100 * time.Millisecond)
	if n := len(x.o.hints); n != 1 {
		t.Errorf("%d hints wait after a burst", n)
	}
	x.admitAll()
	x.settle()
	before := listing(t, x.dir)
	for range 3 {
		if x.sleep(300 * time.Millisecond) {
			t.Error("woken while idle")
		}
		x.round(func(v *View) *Mutation { return nil })
	}
	if after := listing(t, x.dir); after != before {
		t.Error("an idle observer wrote something")
	}
	if next := x.o.Next(); time.Until(next) < 5*time.Second {
		t.Errorf("looks again in %v", time.Until(next))
	}
}

// listing is every file with size and mtime.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(name string, info os.FileInfo, err error) error {
		if err == nil {
			fmt.Fprintln(&b, name, info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestChangesWithoutEventsAreFoundByTheRescan(t *testing.T) {
	x := observe(t, ObserveOptions{Watch: true})
	x.write("millrace.cue", "runtime: rescan: \"1s\"\n")
	x.until("the configuration", func(v *View) bool {
		return v.Compiled.Ready && v.Config.Runtime.Rescan < schema.Duration(2*time.Second)
	})
	x.o.watch.care = func(string, string) bool { return false }
	x.drop("intake/a.md", taskDoc("a"))
	start := time.Now()
	x.until("the file", isDeclared("a"))
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("found after %v", took)
	}
}

func TestWatchLimitIsExplained(t *testing.T) {
	d := unwatched("intake", &os.SyscallError{Syscall: "inotify_add_watch", Err: syscall.ENOSPC})
	if strings.Contains(d.String(), "no space") || !strings.Contains(d.Hint, "sysctl fs.inotify.max_user_watches=") {
		t.Error(d)
	}
	if d := unwatched("intake", syscall.EMFILE); !strings.Contains(d.Hint, "sysctl fs.inotify.max_user_instances=") {
		t.Error(d)
	}
}

func TestRefreshEndsWithItsContext(t *testing.T) {
	x := observe(t, ObserveOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	x.write("intake/a.md", taskDoc("a"))
	err := x.o.Refresh(ctx)
	if err == nil {
		err = x.o.Refresh(ctx)
	}
	if err == nil {
		t.Error("it went on")
	}
	x.until("the file", isDeclared("a"))
}
