package trust

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
)

// folderName is the folder of an identity inside the data folder.
const folderName = "trust"

// A folder keeps an identity on disk: mode 0700, files 0600, every write whole
// or not at all. (On Windows the folder's inherited ACL decides.)
type folder struct {
	disk disk
	path string
}

// at returns a folder inside this one.
func (d folder) at(name string) folder { return folder{d.disk, d.join(name)} }

// open makes the folder private if it exists with looser permissions: someone
// may have prepared it for us to write secrets into (CVE-2025-59349). Foreign
// owners and symbolic links are refused rather than repaired.
func (d folder) open() error {
	if err := d.disk.private(d.path, fs.ModeDir, 0o700); err != nil {
		return err
	}
	names, err := d.disk.list(d.path)
	if err != nil {
		return err
	}
	for _, name := range names {
		mode, err := d.disk.lstat(d.join(name))
		switch {
		case err != nil:
		case mode.IsDir():
			err = d.at(name).open()
		default:
			err = d.disk.private(d.join(name), 0, 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d folder) join(name string) string { return filepath.Join(d.path, filepath.FromSlash(name)) }

// make makes the folder, and those above it that are missing, durably.
func (d folder) make() error {
	var above []string
	for path := filepath.Clean(d.path); ; path = filepath.Dir(path) {
		_, err := d.disk.lstat(path)
		if err == nil || path == filepath.Dir(path) {
			break
		}
		above = append(above, filepath.Dir(path))
	}
	if err := d.disk.mkdir(d.path); err != nil {
		return err
	}
	for _, path := range above {
		if err := d.disk.syncDir(path); err != nil && !errors.Is(err, fs.ErrPermission) { // may be entered, not read
			return err
		}
	}
	return nil
}

func (d folder) mkdir(name string) error {
	if err := d.disk.mkdir(d.join(name)); err != nil {
		return err
	}
	return d.disk.private(d.join(name), fs.ModeDir, 0o700)
}

func (d folder) has(name string) bool {
	_, err := d.disk.lstat(d.join(name))
	return err == nil
}

func (d folder) read(name string) ([]byte, error) { return d.disk.read(d.join(name)) }

// remove takes files away that may not be there. It is durable once the folder
// is synced.
func (d folder) remove(names ...string) error {
	var errs []error
	for _, name := range names {
		if err := d.disk.remove(d.join(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// clear removes the folder and all that is in it.
func (d folder) clear() error {
	mode, err := d.disk.lstat(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && mode.IsDir() {
		var names []string
		names, err = d.disk.list(d.path)
		for _, name := range names {
			if err == nil {
				err = d.at(name).clear()
			}
		}
	}
	if err != nil {
		return err
	}
	return d.disk.remove(d.path)
}

// errUnsure is wrapped by errors after which nobody knows what the disk holds: a
// failed fsync has thrown away what it could not write, and a second one would
// report success (Rebello et al., "Can Applications Recover from fsync
// Failures?", ATC 2020). Nothing may be built on that file.
var errUnsure = errors.New("the disk failed at making a change durable")

func unsure(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errUnsure, err)
}

// write replaces a file: temporary file, fsync, rename, fsync of the folder.
func (d folder) write(name string, b []byte) error {
	return d.replace(name, func(f file) error {
		_, err := f.WriteAt(b, 0)
		return err
	})
}

// copy replaces a file by the first size bytes of another.
func (d folder) copy(to, from string, size int64) error {
	src, err := d.disk.open(d.join(from))
	if err != nil {
		return err
	}
	defer src.Close()
	return d.replace(to, func(f file) error {
		n, err := io.Copy(io.NewOffsetWriter(f, 0), io.NewSectionReader(src, 0, size))
		if err == nil && n < size {
			err = io.ErrUnexpectedEOF
		}
		return err
	})
}

func (d folder) replace(name string, fill func(file) error) error {
	target := d.join(name)
	temp := target + ".new"
	if err := d.remove(name + ".new"); err != nil { // of a crash
		return err
	}
	f, err := d.disk.create(temp)
	if err != nil {
		return err
	}
	err = fill(f)
	if err == nil {
		err = unsure(f.Sync())
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = d.disk.rename(temp, target)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", target, err), d.remove(name+".new"))
	}
	if err := d.disk.syncDir(filepath.Dir(target)); err != nil {
		return fmt.Errorf("write %s: %w", target, unsure(err))
	}
	return nil
}

// lock keeps a second process out of the folder until the result is closed.
func (d folder) lock() (io.Closer, error) { return d.lockAs("lock") }

func (d folder) lockAs(name string) (io.Closer, error) { return d.disk.lock(d.join(name)) }
