package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func syncData(f *os.File) error {
	err := control(f, func(fd int) error {
		for {
			if err := unix.Fdatasync(fd); err != unix.EINTR {
				return err
			}
		}
	})
	if err != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}

func blockSize(dir string) int64 {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return 0
	}
	return int64(s.Frsize) // int32 on 32-bit machines
}

// control calls do with the descriptor of f.
func control(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = do(int(fd)) })
	return errors.Join(err, failed)
}

// Clone makes dst, which is empty, have the bytes of src without copying them:
// both share them until either is written to (Linux: FICLONE on btrfs, XFS and
// others; macOS: see CloneTo; Windows: ReFS). The error wraps ErrNoClone if the
// file system can't, or the two are on different ones.
func Clone(dst, src *os.File) error {
	return clone(src, func(from int) error {
		return control(dst, func(to int) error { return unix.IoctlFileClone(to, from) })
	})
}

func clone(src *os.File, do func(from int) error) error {
	err := control(src, do)
	for _, cannot := range []error{unix.EOPNOTSUPP, unix.EXDEV, unix.EINVAL, unix.ENOTTY, unix.ENOSYS, unix.EPERM, unix.ETXTBSY} {
		if errors.Is(err, cannot) {
			return errors.Join(ErrNoClone, err)
		}
	}
	return err
}

// CloneTo makes the file name, which isn't there, a clone of src, where systems
// clone by name. On this one they don't: ErrNoClone.
func CloneTo(string, *os.File) error { return ErrNoClone }

// Forget tells the system that the n bytes of f from offset on won't be read again
// soon, so that they don't push others' files out of its cache. What is not
// written yet stays. A hint: nothing fails.
func Forget(f *os.File, offset, n int64) {
	_ = control(f, func(fd int) error { return unix.Fadvise(fd, offset, n, unix.FADV_DONTNEED) })
}

// WriteOut has the n bytes of f from offset on written to the disk, so that Forget
// can drop them; with wait it returns when they are, else when that has begun. It
// is no sync: what the disk itself and the file system have yet to do is left out.
func WriteOut(f *os.File, offset, n int64, wait bool) error {
	flags := unix.SYNC_FILE_RANGE_WRITE
	if wait {
		flags |= unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	}
	err := control(f, func(fd int) error {
		for {
			if err := unix.SyncFileRange(fd, offset, n, flags); err != unix.EINTR {
				return err
			}
		}
	})
	for _, cannot := range []error{unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP} {
		if errors.Is(err, cannot) {
			return nil // Forget leaves more of it, then
		}
	}
	if err != nil {
		return &os.PathError{Op: "sync_file_range", Path: f.Name(), Err: err}
	}
	return nil
}

// InMemory returns how many of the first n bytes of f are in the system's memory;
// 0 where that can't be told.
func InMemory(f *os.File, n int64) int64 {
	var got unix.Cachestat_t
	err := control(f, func(fd int) error {
		return unix.Cachestat(uint(fd), &unix.CachestatRange{Len: uint64(n)}, &got, 0)
	})
	if err != nil {
		return 0
	}
	return int64(got.Cache) * int64(os.Getpagesize())
}

// Prefetch asks the system to read n bytes of f from offset on soon, and doesn't
// wait. A hint.
func Prefetch(f *os.File, offset, n int64) {
	_ = control(f, func(fd int) error { return unix.Fadvise(fd, offset, n, unix.FADV_WILLNEED) })
}

// Expect tells the system that f will be read from one end to the other, so that
// it reads further ahead. A hint.
func Expect(f *os.File) {
	_ = control(f, func(fd int) error { return unix.Fadvise(fd, 0, 0, unix.FADV_SEQUENTIAL) })
}
