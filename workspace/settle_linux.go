package workspace

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

type leaseState int

const (
	leaseFree    leaseState = iota // nobody has the file open for writing
	leaseHeld                      // somebody has
	leaseUnknown                   // this file system or this owner gives no leases
)

// lease asks for a read lease, which the kernel refuses while anyone has the file open for writing,
// and gives it back at once.
func lease(f *os.File) leaseState {
	raw, err := f.SyscallConn()
	if err != nil {
		return leaseUnknown
	}
	var got error
	err = raw.Control(func(fd uintptr) {
		if _, got = unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK); got == nil {
			_, got = unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK)
		}
	})
	switch {
	case err != nil:
		return leaseUnknown
	case got == nil:
		return leaseFree
	case errors.Is(got, unix.EAGAIN):
		return leaseHeld
	}
	return leaseUnknown
}

func stampOf(info fs.FileInfo) stamp {
	st := stamp{Size: info.Size(), Mode: info.Mode()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		st.Mtime, st.Ctime, st.Inode = sys.Mtim.Nano(), sys.Ctim.Nano(), sys.Ino
	}
	return st
}
