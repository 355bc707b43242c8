//go:build !linux

package workspace

import (
	"io/fs"
	"os"
)

type leaseState int

const (
	leaseFree leaseState = iota
	leaseHeld
	leaseUnknown
)

// lease has no equal here: a file is whole when it has been left alone.
func lease(*os.File) leaseState { return leaseUnknown }

func stampOf(info fs.FileInfo) stamp {
	return stamp{Inode: 1, Size: info.Size(), Mtime: info.ModTime().UnixNano(), Mode: info.Mode()}
}
