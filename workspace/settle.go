package workspace

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"millrace/schema"
)

// How long a file must rest when the configuration does not say: where the kernel tells whether it is
// still open for writing, and where it does not. A name that only appeared waits as long as the write
// takes to be told that would follow if it was not renamed in.
const (
	restLeased   = 25 * time.Millisecond
	restUnleased = 500 * time.Millisecond
	restArrived  = 8 * time.Millisecond
)

// A stamp is what stat says of a file. Because a file is read only after it has rested, equal stamps
// mean equal bytes.
type stamp struct {
	Size         int64
	Mtime, Ctime int64 // nanoseconds; Ctime is 0 where the system does not tell it
	Inode        uint64
	Mode         fs.FileMode
}

// arrival is what the watch told of a path: that the name appeared, and that nothing was written
// since, which is what a rename from elsewhere looks like.
type arrival struct {
	at      time.Time
	written bool
}

// rested decides whether a file has been left alone long enough to be read, and if not, when to look
// again. since is when this stamp was first seen.
func rested(st stamp, since, now time.Time, settle time.Duration, how arrival) (bool, time.Time) {
	due, last := since.Add(settle), time.Unix(0, st.Mtime)
	if last.Before(now) {
		if quiet := last.Add(settle); quiet.Before(due) {
			due = quiet
		}
	}
	// A change time later than the last write is that of a rename, a link or a chmod: the writer was done.
	if st.Ctime > st.Mtime {
		due = now
	}
	if how.at.After(last) && !how.written {
		if quiet := how.at.Add(restArrived); quiet.Before(due) {
			due = quiet
		}
	}
	return !due.After(now), due
}

// reading is how an attempt to read a file ended.
type reading int

const (
	readWhole   reading = iota
	readWriter          // somebody has it open for writing
	readChanged         // it changed while it was looked at
	readRest            // no lease to be had here: wait for equal stats
	readGone
	readRefused // the error says why
)

// readFile reads a regular file whose stat was st, but only if it is whole. It never blocks and
// never follows a link.
func readFile(dir *os.Root, name string, st stamp, still time.Duration) ([]byte, reading, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, readGone, nil
		}
		return nil, readRefused, err
	}
	defer f.Close()
	if now, err := stat(f); err != nil || now != st {
		return nil, readChanged, err
	}
	switch lease(f) {
	case leaseHeld:
		return nil, readWriter, nil
	case leaseUnknown:
		if still < restUnleased {
			return nil, readRest, nil
		}
	case leaseFree:
	}
	data, err := io.ReadAll(io.LimitReader(f, schema.MaxFile+1))
	if err != nil {
		return nil, readRefused, err
	}
	if now, err := stat(f); err != nil || now != st || int64(len(data)) != st.Size {
		return nil, readChanged, err
	}
	return data, readWhole, nil
}

func stat(f *os.File) (stamp, error) {
	info, err := f.Stat()
	if err != nil {
		return stamp{}, err
	}
	return stampOf(info), nil
}

// refusal says why a file is not read at all, or "" when it may be.
func refusal(st stamp) (message, hint string) {
	switch mode := st.Mode; {
	case mode&fs.ModeSymlink != 0:
		return "is a symbolic link, which is never followed", "put the file itself here"
	case mode&fs.ModeNamedPipe != 0:
		return "is a named pipe, not a file", "write to a file and rename it into place"
	case mode&fs.ModeSocket != 0:
		return "is a socket, not a file", "remove it"
	case mode&(fs.ModeDevice|fs.ModeCharDevice) != 0:
		return "is a device, not a file", "remove it"
	case !mode.IsRegular():
		return "is not a regular file", "remove it"
	case st.Size > schema.MaxFile:
		return fmt.Sprintf("is %d bytes long; at most %d (1 MiB) are read", st.Size, schema.MaxFile),
			"split it, or refer to the material instead of including it"
	}
	return "", ""
}

func refused(path, message, hint string) schema.Diagnostic {
	return schema.Diagnostic{Severity: schema.Error, Path: path, Message: message, Hint: hint}
}

// unreadable turns the error of an attempt to read into a diagnostic.
func unreadable(path string, err error) schema.Diagnostic {
	if errors.Is(err, fs.ErrPermission) {
		return refused(path, "cannot be read: permission denied", "let the user that runs Millrace read it: chmod a+r")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return refused(path, "is missing", "make the folder again, or bring it back; until then nothing is concluded from what is not there")
	}
	if perr, ok := errors.AsType[*fs.PathError](err); ok {
		err = perr.Err
	}
	return refused(path, fmt.Sprintf("cannot be read: %v", err), "")
}
