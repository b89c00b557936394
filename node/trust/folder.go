package trust

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/gofrs/flock"
)

// folderName is the folder of an identity inside the data folder.
const folderName = "trust"

// maxFile bounds what is read of any file of the folder, the ledger excepted.
const maxFile = 64 << 20

// A folder keeps an identity on disk: mode 0700, files 0600, every write whole
// or not at all. (On Windows the folder's inherited ACL decides.)
type folder struct{ path string }

// open makes the folder private if it exists with looser permissions: someone
// may have prepared it for us to write secrets into (CVE-2025-59349). Foreign
// owners and symbolic links are refused rather than repaired.
func (d folder) open() error {
	if err := private(d.path, fs.ModeDir, 0o700); err != nil {
		return err
	}
	return filepath.WalkDir(d.path, func(p string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			return private(p, fs.ModeDir, 0o700)
		}
		return private(p, 0, 0o600)
	})
}

func private(path string, kind, perm fs.FileMode) error {
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

func (d folder) join(name string) string { return filepath.Join(d.path, filepath.FromSlash(name)) }

func (d folder) mkdir(name string) error {
	if err := os.MkdirAll(d.join(name), 0o700); err != nil {
		return err
	}
	return private(d.join(name), fs.ModeDir, 0o700)
}

func (d folder) has(name string) bool {
	_, err := os.Lstat(d.join(name))
	return err == nil
}

func (d folder) read(name string) ([]byte, error) {
	f, err := os.Open(d.join(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.Size() > maxFile {
		return nil, fmt.Errorf("%s: %d bytes, at most %d expected", f.Name(), fi.Size(), maxFile)
	}
	b := make([]byte, fi.Size())
	_, err = f.ReadAt(b, 0)
	return b, err
}

// write replaces a file: temporary file, fsync, rename, fsync of the folder.
func (d folder) write(name string, b []byte) (err error) {
	target := d.join(name)
	f, err := os.CreateTemp(filepath.Dir(target), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", target, err)
	}
	if err = os.Rename(f.Name(), target); err != nil {
		return err
	}
	return syncDir(filepath.Dir(target))
}

// syncDir makes renames in path durable.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil // NTFS journals renames; a folder can't be opened for fsync
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// A sealed file starts with its magic and ends with the SHA-256 of magic, name
// and payload, so that neither damage nor another file in its place goes
// unnoticed.
const sealMagic = "p2pnode trust state 1\n"

func seal(name string, payload []byte) []byte {
	sum := sha256.Sum256(append([]byte(sealMagic+name+"\n"), payload...))
	return append(append([]byte(sealMagic), payload...), sum[:]...)
}

func unseal(name string, b []byte) ([]byte, error) {
	if len(b) < len(sealMagic)+sha256.Size || !bytes.HasPrefix(b, []byte(sealMagic)) {
		return nil, fmt.Errorf("%w: %s is cut short or of another kind", ErrDamaged, name)
	}
	payload := b[len(sealMagic) : len(b)-sha256.Size]
	if !bytes.Equal(seal(name, payload), b) {
		return nil, fmt.Errorf("%w: the checksum of %s is wrong", ErrDamaged, name)
	}
	return payload, nil
}

func (d folder) writeSealed(name string, v any) error { return d.write(name, seal(name, encode(v))) }

func (d folder) readSealed(name string, v any) error {
	b, err := d.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s is missing", ErrDamaged, name)
	}
	if err != nil {
		return err
	}
	if b, err = unseal(name, b); err != nil {
		return err
	}
	if err := decode(b, v); err != nil {
		return fmt.Errorf("%w: %s: %v", ErrDamaged, name, err)
	}
	return nil
}

// lock keeps a second process out of the folder until the result is closed.
func (d folder) lock() (*flock.Flock, error) { return d.lockAs("lock") }

func (d folder) lockAs(name string) (*flock.Flock, error) {
	l := flock.New(d.join(name), flock.SetPermissions(0o600))
	ok, err := l.TryLock()
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	if !ok {
		return nil, errors.Join(fmt.Errorf("%s: %w", d.path, ErrInUse), l.Close())
	}
	return l, nil
}
