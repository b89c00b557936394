package trust

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/gofrs/flock"
)

// A disk is what this package asks of a file system. The tests put one of their
// own in its place that loses power, fails and lies.
type disk interface {
	// lstat returns the mode of what is at path, links not followed.
	lstat(path string) (fs.FileMode, error)
	// private checks that path is of the kind given and ours, and takes the
	// permissions beyond perm from it.
	private(path string, kind, perm fs.FileMode) error
	// list returns the names in a folder.
	list(path string) ([]string, error)
	// mkdir makes a private folder, and those above it that are missing.
	mkdir(path string) error
	// read returns a whole file of at most maxFile bytes.
	read(path string) ([]byte, error)
	// create makes a file, which must not be there yet.
	create(path string) (file, error)
	// open opens a file to read and write.
	open(path string) (file, error)
	rename(from, to string) error
	remove(path string) error
	// syncDir makes what was created, renamed and removed in a folder durable.
	syncDir(path string) error
	// lock keeps others out until the result is closed; ErrInUse if they do.
	lock(path string) (io.Closer, error)
}

type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	Sync() error
}

// maxFile bounds what is read of any file of the folder, the ledger excepted.
const maxFile = 64 << 20

// osDisk is the system's.
type osDisk struct{}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

func (osDisk) lstat(path string) (fs.FileMode, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return 0, err
	}
	return fi.Mode(), nil
}

func (osDisk) private(path string, kind, perm fs.FileMode) error {
	fi, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if fi.Mode().Type() != kind {
		return fmt.Errorf("%s: expected a plain file or folder, found %s", path, fi.Mode().Type())
	}
	if runtime.GOOS == "windows" {
		return nil
	}
	if !ownedByUs(fi) {
		return fmt.Errorf("%s belongs to another user: its secrets can't be trusted", path)
	}
	if fi.Mode().Perm()&^perm != 0 {
		return os.Chmod(path, perm)
	}
	return nil
}

func (osDisk) list(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

func (osDisk) mkdir(path string) error { return os.MkdirAll(path, 0o700) }

func (osDisk) read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.Size() > maxFile {
		return nil, fmt.Errorf("%s: %d bytes, at most %d expected", path, fi.Size(), maxFile)
	}
	b := make([]byte, fi.Size())
	_, err = io.ReadFull(f, b)
	return b, err
}

func (osDisk) create(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	return osFile{f}, err
}

func (osDisk) open(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	return osFile{f}, err
}

// rename waits for those who hold a file open for a moment, where that is in the
// way: on Windows a virus scanner looks into every new file.
func (osDisk) rename(from, to string) error {
	const patience = 2 * time.Second
	wait := time.Millisecond
	for begin := time.Now(); ; wait *= 2 {
		err := os.Rename(from, to)
		if err == nil || !heldOpen(err) || time.Since(begin)+wait > patience {
			return err
		}
		time.Sleep(wait/2 + rand.N(wait))
	}
}

func (osDisk) remove(path string) error { return os.Remove(path) }

func (osDisk) syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil // NTFS journals renames; a folder can't be opened for fsync
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (osDisk) lock(path string) (io.Closer, error) {
	l := flock.New(path, flock.SetPermissions(0o600))
	ok, err := l.TryLock()
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	if !ok {
		return nil, errors.Join(fmt.Errorf("%s: %w", filepath.Dir(path), ErrInUse), l.Close())
	}
	return l, nil
}
