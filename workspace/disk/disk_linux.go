package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func datasync(f *os.File) error {
	return retry(func() error { return unix.Fdatasync(int(f.Fd())) })
}

func syncfs(f *os.File) error {
	return retry(func() error { return unix.Syncfs(int(f.Fd())) })
}

// place renames without replacing; file systems that cannot say errors.ErrUnsupported.
func place(fromDir int, from string, toDir int, to string) error {
	err := retry(func() error { return unix.Renameat2(fromDir, from, toDir, to, unix.RENAME_NOREPLACE) })
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return errors.ErrUnsupported
	}
	return err
}

func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// shared are the magic numbers of file systems that may not share locks between hosts.
var shared = map[int64]string{
	unix.NFS_SUPER_MAGIC:   "NFS",
	unix.FUSE_SUPER_MAGIC:  "FUSE",
	unix.SMB_SUPER_MAGIC:   "SMB",
	unix.SMB2_SUPER_MAGIC:  "SMB",
	unix.CIFS_SUPER_MAGIC:  "SMB",
	unix.V9FS_MAGIC:        "9p",
	unix.CEPH_SUPER_MAGIC:  "Ceph",
	unix.AFS_SUPER_MAGIC:   "AFS",
	unix.CODA_SUPER_MAGIC:  "Coda",
	unix.OCFS2_SUPER_MAGIC: "OCFS2",
}

// Shared names the kind of file system that dir lies on when that kind may be mounted by several
// hosts that do not see each other's locks; "" otherwise.
func Shared(dir string) (string, error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(dir, &st) }); err != nil {
		return "", &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return shared[int64(uint32(st.Type))], nil
}
