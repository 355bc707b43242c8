package disktest

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"millrace/workspace/disk"
)

func open(t *testing.T, dir string) disk.FS {
	t.Helper()
	d, err := disk.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// replaced is the textbook case: write a temp file, sync it or not, rename it over the old one.
func replaced(t *testing.T, sync, syncDir bool) (possible []string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := NewRecorder(open(t, dir), dir)
	if err != nil {
		t.Fatal(err)
	}
	f, err := r.OpenFile("tmp", os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("new!"), 0); err != nil {
		t.Fatal(err)
	}
	synced := 0
	if sync {
		err = f.Sync()
		synced = r.Events()
	}
	if err = errors.Join(err, r.Rename("tmp", "f")); err != nil {
		t.Fatal(err)
	}
	if syncDir {
		if err := r.SyncDir("."); err != nil {
			t.Fatal(err)
		}
		synced = r.Events()
	}
	for c := range r.Crashes(100, 1) {
		if c.At < synced { // folders equal to earlier ones are not given again
			continue
		}
		out := filepath.Join(t.TempDir(), "out")
		if err := c.Write(out); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(out, "f"))
		if err != nil {
			t.Fatal(err)
		}
		possible = append(possible, strings.ReplaceAll(string(data), "\x00", "0"))
	}
	slices.Sort(possible)
	return slices.Compact(possible)
}

func TestWhatAPowerCutMayLeaveOfARename(t *testing.T) {
	for _, c := range []struct {
		sync, syncDir bool
		want          []string
	}{
		{false, false, []string{"", "0000", "ne", "new!", "old"}},
		{true, false, []string{"new!", "old"}},
		{false, true, []string{"", "0000", "ne", "new!"}},
		{true, true, []string{"new!"}},
	} {
		if got := replaced(t, c.sync, c.syncDir); !slices.Equal(got, c.want) {
			t.Errorf("sync %v, folder synced %v: %q, want %q", c.sync, c.syncDir, got, c.want)
		}
	}
}

func TestSyncFSKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	r, err := NewRecorder(open(t, dir), dir)
	if err != nil {
		t.Fatal(err)
	}
	f, err := func() (disk.File, error) {
		if err := r.Mkdir("d"); err != nil {
			return nil, err
		}
		return r.OpenFile("d/f", os.O_RDWR|os.O_CREATE)
	}()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("text"), 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(2), r.SyncFS()); err != nil {
		t.Fatal(err)
	}
	last := 0
	for c := range r.Crashes(1000, 1) {
		if c.At == r.Events() {
			last++
			out := filepath.Join(t.TempDir(), "out")
			if err := c.Write(out); err != nil {
				t.Fatal(err)
			}
			if data, err := os.ReadFile(filepath.Join(out, "d/f")); err != nil || string(data) != "te" {
				t.Errorf("%q %v", data, err)
			}
		}
	}
	if last != 1 {
		t.Errorf("%d folders are possible after SyncFS, want 1", last)
	}
}

func TestFaultsComeWhereTheyWereAsked(t *testing.T) {
	dir := t.TempDir()
	write := func(d disk.FS) error {
		f, err := d.OpenFile("f", os.O_RDWR|os.O_CREATE)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt([]byte("text"), 0)
		return err
	}
	counting := NewFaulty(open(t, dir), nil)
	if err := write(counting); err != nil {
		t.Fatal(err)
	}
	if got := counting.Ops(); len(got) != 2 || got[0].Name != "Create" || got[1] != (Op{"WriteAt", "f"}) {
		t.Errorf("%v", got)
	}
	if err := write(NewFaulty(open(t, dir), FailAt(0, syscall.EACCES))); !errors.Is(err, syscall.EACCES) {
		t.Errorf("%v", err)
	}
	os.Remove(filepath.Join(dir, "f"))
	full := func(n int, op Op) error {
		if op.Name == "Create" {
			return nil
		}
		return FullFrom(0)(n, op)
	}
	if err := write(NewFaulty(open(t, dir), full)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
	if data, _ := os.ReadFile(filepath.Join(dir, "f")); string(data) != "te" {
		t.Errorf("a full disk took %q", data)
	}
}
