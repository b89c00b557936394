package disk

import (
	"errors"
	"math/rand/v2"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

func syncData(f *os.File) error { return f.Sync() }

func blockSize(string) int64 { return usualBlock }

// SyncEntries does nothing: Windows can't sync a folder's entries by themselves.
// NTFS journals them in order, and brings the journal to the disk when a file is
// synced or renamed (rename).
func SyncEntries(*os.File) error { return nil }

// rename returns when the new name is on the disk. It tries again for a while when
// something else, often a virus scanner, has the file open.
func rename(from, to string) error {
	const patience = 2 * time.Second
	start := time.Now()
	for wait := time.Millisecond; ; wait *= 2 {
		err := move(from, to)
		busy := errors.Is(err, windows.ERROR_ACCESS_DENIED) || errors.Is(err, windows.ERROR_SHARING_VIOLATION)
		if !busy || time.Since(start)+wait > patience {
			return err
		}
		time.Sleep(wait/2 + rand.N(wait))
	}
}

// move is os.Rename, written through.
func move(from, to string) error {
	if info, err := os.Lstat(to); err == nil && info.IsDir() {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: os.ErrExist}
	}
	fromName, err := windows.UTF16PtrFromString(from)
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	toName, err := windows.UTF16PtrFromString(to)
	if err == nil {
		err = windows.MoveFileEx(fromName, toName, windows.MOVEFILE_REPLACE_EXISTING|windows.MOVEFILE_WRITE_THROUGH)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// Full reports whether an error says that a disk or quota is full.
func Full(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

// OneDisk reports whether two open files are on one file system, as far as can be told.
func OneDisk(a, b *os.File) bool {
	var x, y windows.ByHandleFileInformation
	return windows.GetFileInformationByHandle(windows.Handle(a.Fd()), &x) == nil &&
		windows.GetFileInformationByHandle(windows.Handle(b.Fd()), &y) == nil &&
		x.VolumeSerialNumber == y.VolumeSerialNumber
}

// duplicateExtents is DUPLICATE_EXTENTS_DATA of winioctl.h.
type duplicateExtents struct {
	source                        windows.Handle
	sourceOffset, targetOffset, n int64
}

// cloneStep is below the 4 GiB that one call takes, and a multiple of any cluster.
const cloneStep = 1 << 30

// Clone makes dst, which is empty, have the bytes of src without copying them
// (FSCTL_DUPLICATE_EXTENTS_TO_FILE, on ReFS). The error wraps ErrNoClone if the
// file system can't, or the two are on different ones.
func Clone(dst, src *os.File) error {
	info, err := src.Stat()
	if err != nil {
		return err
	}
	if err := dst.Truncate(info.Size()); err != nil {
		return err
	}
	// Ranges are of whole clusters: the last one may go beyond the end, up to a
	// cluster; 64 KiB is a multiple of every size that ReFS has.
	const cluster = 64 << 10
	for at := int64(0); at < info.Size(); at += cloneStep {
		d := duplicateExtents{
			source: windows.Handle(src.Fd()), sourceOffset: at, targetOffset: at,
			n: (min(cloneStep, info.Size()-at) + cluster - 1) &^ (cluster - 1),
		}
		var returned uint32
		err := windows.DeviceIoControl(windows.Handle(dst.Fd()), windows.FSCTL_DUPLICATE_EXTENTS_TO_FILE,
			(*byte)(unsafe.Pointer(&d)), uint32(unsafe.Sizeof(d)), nil, 0, &returned, nil)
		if err != nil {
			return errors.Join(ErrNoClone, err, dst.Truncate(0))
		}
	}
	return nil
}

// CloneTo clones by name. This system doesn't: ErrNoClone.
func CloneTo(string, *os.File) error { return ErrNoClone }

// Forget does nothing: there is no such hint for an open file.
func Forget(*os.File, int64, int64) {}

// WriteOut does nothing: there is no such call for a range.
func WriteOut(*os.File, int64, int64, bool) error { return nil }

// InMemory returns 0: that can't be told.
func InMemory(*os.File, int64) int64 { return 0 }

// Prefetch does nothing.
func Prefetch(*os.File, int64, int64) {}

// Expect does nothing.
func Expect(*os.File) {}

// Links returns how many names an open file has; 1 if that can't be told.
func Links(f *os.File) int {
	var info windows.ByHandleFileInformation
	if windows.GetFileInformationByHandle(windows.Handle(f.Fd()), &info) != nil {
		return 1
	}
	return int(info.NumberOfLinks)
}
