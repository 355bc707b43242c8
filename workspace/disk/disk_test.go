package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func root(t *testing.T) (FS, string) {
	t.Helper()
	dir := t.TempDir()
	d, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, dir
}

func write(t *testing.T, p, text string) {
	t.Helper()
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPlaceNeverReplaces(t *testing.T) {
	d, dir := root(t)
	write(t, filepath.Join(dir, "a"), "a")
	write(t, filepath.Join(dir, "b"), "b")
	if err := d.Mkdir("sub"); err != nil {
		t.Fatal(err)
	}
	if err := d.Place("a", "b"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v", err)
	}
	if err := d.Place("a", "sub"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v", err)
	}
	if err := d.Place("a", "none/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := d.Place("a", "sub/a"); err != nil {
		t.Error(err)
	}
	if data, _ := os.ReadFile(filepath.Join(dir, "sub/a")); string(data) != "a" {
		t.Errorf("%q", data)
	}
	if data, _ := os.ReadFile(filepath.Join(dir, "b")); string(data) != "b" {
		t.Errorf("%q", data)
	}
}

func TestOnlyRegularFilesInsideAreOpened(t *testing.T) {
	d, dir := root(t)
	outside := filepath.Join(t.TempDir(), "secret")
	write(t, outside, "secret")
	write(t, filepath.Join(dir, "file"), "text")
	for name, to := range map[string]string{"out": outside, "in": "file", "up": "../secret"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(outside), filepath.Join(dir, "folder")); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"out", "in", "up", "pipe", "."} {
		if _, err := d.Open(p); !errors.Is(err, ErrNotRegular) {
			t.Errorf("%s: %v", p, err)
		}
	}
	for _, p := range []string{"folder/secret", "../x", outside} {
		if f, err := d.Open(p); err == nil {
			f.Close()
			t.Errorf("%s was opened", p)
		}
		if err := d.Rename("file", p); err == nil {
			t.Errorf("renamed to %s", p)
		}
		if err := d.Place("file", p); err == nil {
			t.Errorf("placed at %s", p)
		}
	}
}

func TestSyncsAndLocalDisk(t *testing.T) {
	d, dir := root(t)
	f, err := d.OpenFile("f", os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Datasync(), f.Sync(), d.SyncDir(".")); err != nil {
		t.Error(err)
	}
	if kind, err := Shared(dir); kind != "" || err != nil {
		t.Errorf("%q %v", kind, err)
	}
	if _, err := Shared(filepath.Join(dir, "none")); err == nil {
		t.Error("no error for a missing folder")
	}
}
