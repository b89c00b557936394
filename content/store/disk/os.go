package disk

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
	"github.com/shirou/gopsutil/v4/disk"
)

const (
	flagRead  = os.O_RDONLY
	flagWrite = os.O_RDWR
	flagNew   = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	flagOver  = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
)

// OS is the system's file system.
type OS struct{}

// An osFile is a file whose Sync leaves out what isn't needed to read it.
type osFile struct{ *os.File }

func (f osFile) Sync() error { return syncData(f.File) }

// Unwrap returns the system's file below f, or nil if there is none.
func Unwrap(f File) *os.File {
	if o, ok := f.(osFile); ok {
		return o.File
	}
	return nil
}

// Wrap returns the system's file f as a File.
func Wrap(f *os.File) File { return osFile{f} }

func wrap(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return Wrap(f), nil
}

// Open implements FS.
func (OS) Open(name string, flag int) (File, error) {
	return wrap(os.OpenFile(name, flag, FileMode))
}

// OpenBelow implements FS.
func (OS) OpenBelow(dir, path string, flag int) (File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return wrap(root.OpenFile(filepath.FromSlash(path), flag, FileMode))
}

// below calls do with the folder dir as a root.
func below(dir string, do func(*os.Root) error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return do(root)
}

// MkdirBelow implements FS.
func (OS) MkdirBelow(dir, path string) error {
	return below(dir, func(r *os.Root) error { return r.Mkdir(filepath.FromSlash(path), FolderMode) })
}

// MkdirAllBelow implements FS.
func (OS) MkdirAllBelow(dir, path string) error {
	return below(dir, func(r *os.Root) error { return r.MkdirAll(filepath.FromSlash(path), FolderMode) })
}

// RenameBelow implements FS.
func (OS) RenameBelow(dir, from, to string) error {
	return below(dir, func(r *os.Root) error { return r.Rename(filepath.FromSlash(from), filepath.FromSlash(to)) })
}

// RemoveBelow implements FS.
func (OS) RemoveBelow(dir, path string) error {
	return below(dir, func(r *os.Root) error { return r.Remove(filepath.FromSlash(path)) })
}

// LstatBelow implements FS.
func (OS) LstatBelow(dir, path string) (info fs.FileInfo, err error) {
	err = below(dir, func(r *os.Root) (err error) {
		info, err = r.Lstat(filepath.FromSlash(path))
		return err
	})
	return info, err
}

// Lstat implements FS.
func (OS) Lstat(name string) (fs.FileInfo, error) { return os.Lstat(name) }

// ReadDir implements FS.
func (OS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

// Mkdir implements FS.
func (OS) Mkdir(name string) error { return os.Mkdir(name, FolderMode) }

// MkdirAll implements FS.
func (OS) MkdirAll(name string) error { return os.MkdirAll(name, FolderMode) }

// Rename implements FS.
func (OS) Rename(from, to string) error { return rename(from, to) }

// Remove implements FS.
func (OS) Remove(name string) error { return os.Remove(name) }

// RemoveAll implements FS.
func (OS) RemoveAll(name string) error { return os.RemoveAll(name) }

// SyncFolder implements FS.
func (OS) SyncFolder(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return SyncEntries(f)
}

// Lock implements FS.
func (OS) Lock(name string) (io.Closer, error) {
	l := flock.New(name)
	ok, err := l.TryLock()
	if err == nil && !ok {
		err = ErrLocked
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Space implements FS.
func (OS) Space(name string) (free, total uint64, err error) {
	u, err := disk.Usage(name)
	if err != nil {
		return 0, 0, err
	}
	return u.Free, u.Total, nil
}
