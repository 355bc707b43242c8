//go:build !linux

package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func datasync(f *os.File) error { return f.Sync() }

// syncfs for systems without it: everything is flushed.
func syncfs(*os.File) error { return unix.Sync() }

// place has no portable atomic form; the caller checks first and then renames.
func place(int, string, int, string) error { return errors.ErrUnsupported }

// Shared cannot tell on this system.
func Shared(string) (string, error) { return "", nil }
