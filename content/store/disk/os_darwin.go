package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// On darwin this is F_FULLFSYNC.
func syncData(f *os.File) error { return f.Sync() }

func blockSize(dir string) int64 {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return 0
	}
	return int64(s.Bsize)
}

// Clone clones into an open file. This system doesn't: see CloneTo.
func Clone(_, _ *os.File) error { return ErrNoClone }

// CloneTo makes the file name, which isn't there, a clone of src (clonefile, on
// APFS). The error wraps ErrNoClone if the file system can't.
func CloneTo(name string, src *os.File) error {
	err := unix.Clonefile(src.Name(), name, unix.CLONE_NOFOLLOW)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EXDEV) {
		return errors.Join(ErrNoClone, err)
	}
	return err
}

// Forget does nothing: there is no such hint for a range that was read.
func Forget(*os.File, int64, int64) {}

// WriteOut does nothing: there is no such call for a range.
func WriteOut(*os.File, int64, int64, bool) error { return nil }

// InMemory returns 0: that can't be told.
func InMemory(*os.File, int64) int64 { return 0 }

// Prefetch does nothing.
func Prefetch(*os.File, int64, int64) {}

// Expect does nothing: the system reads ahead by what it sees.
func Expect(*os.File) {}
