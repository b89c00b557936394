package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// movingName marks a folder that a store is being copied to: it has the path that
// the store comes from.
const movingName = ".moving"

// Copy copies a store that nobody has open to another folder, which must be new,
// empty, or where an earlier Copy of this store left off. Each file is read back
// from the disk and compared before it has its name there, and everything is synced
// when Copy returns; the original is as it was. It tells progress, which may be nil,
// of bytes. The error wraps ErrLocked if a process has the store open, fs.ErrExist if
// there is something else in the folder, and content.ErrNoSpace.
func Copy(ctx context.Context, from, to string, progress func(done, total int64)) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("copy store %s to %s: %w", from, to, ifNoSpace(err))
		}
	}()
	d := disk.OS{}
	lock, err := d.Lock(filepath.Join(from, "lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := startCopy(from, to); err != nil {
		return err
	}
	c := copying{from: from, to: to, progress: progress}
	err = c.walk(func(string, fs.FileInfo) error { return nil })
	if err != nil {
		return err
	}
	c.total, c.done = c.done, 0
	if err := c.walk(func(rel string, info fs.FileInfo) error { return c.one(ctx, rel, info) }); err != nil {
		return err
	}
	if err := disk.SyncTree(d, to); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(to, movingName)); err != nil {
		return err
	}
	return errors.Join(d.SyncFolder(to), d.SyncFolder(filepath.Dir(to)))
}

// startCopy makes or checks the folder that is copied to.
func startCopy(from, to string) error {
	inside := func(a, b string) bool {
		rel, err := filepath.Rel(a, b)
		return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
	}
	if inside(from, to) || inside(to, from) {
		return fmt.Errorf("%w: one is in the other", content.ErrPath)
	}
	if err := os.MkdirAll(to, disk.FolderMode); err != nil {
		return err
	}
	marker := filepath.Join(to, movingName)
	if left, err := os.ReadFile(marker); err == nil && string(left) == from {
		return nil
	}
	entries, err := os.ReadDir(to)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%w: %s is not empty", fs.ErrExist, to)
	}
	return disk.ReplaceBytes(disk.OS{}, to, movingName, []byte(from))
}

// copying is a Copy under way.
type copying struct {
	from, to    string
	progress    func(done, total int64)
	done, total int64
}

// walk makes the folders, and gives each file to do. Of what was being made or
// removed nothing is kept.
func (c *copying) walk(do func(rel string, info fs.FileInfo) error) error {
	return filepath.WalkDir(c.from, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(c.from, name)
		if err != nil || rel == "." || rel == "lock" {
			return err
		}
		base := e.Name()
		if filepath.Dir(rel) == "content" && (strings.HasPrefix(base, newPrefix) || strings.HasPrefix(base, oldPrefix)) {
			return fs.SkipDir
		}
		if e.IsDir() {
			return disk.MakeFolder(disk.OS{}, filepath.Join(c.to, rel))
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no file", name)
		}
		if err := do(rel, info); err != nil {
			return err
		}
		c.done += info.Size()
		if c.progress != nil && c.total > 0 {
			c.progress(c.done, c.total)
		}
		return nil
	})
}

// one copies a file, unless it is there.
func (c *copying) one(ctx context.Context, rel string, info fs.FileInfo) (err error) {
	name := filepath.Join(c.to, rel)
	if there, err := os.Lstat(name); err == nil && there.Size() == info.Size() && there.ModTime().Equal(info.ModTime()) {
		return nil // it has its name since it was compared
	}
	src, err := os.Open(filepath.Join(c.from, rel))
	if err != nil {
		return err
	}
	defer src.Close()
	temp := name + ".tmp"
	dst, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, disk.FileMode)
	if err != nil {
		return err
	}
	sum, err := copySparse(ctx, dst, src)
	if err == nil {
		err = errors.Join(dst.Truncate(info.Size()), dst.Sync())
	}
	if err == nil {
		disk.Forget(src, 0, info.Size())
		disk.Forget(dst, 0, info.Size())
		var again [sha256.Size]byte
		if again, err = hashFile(ctx, dst); err == nil && again != sum {
			err = fmt.Errorf("%s: %w after it was copied: check the disk", rel, content.ErrCorrupt)
		}
		disk.Forget(dst, 0, info.Size())
	}
	if err = errors.Join(err, dst.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := os.Chtimes(temp, info.ModTime(), info.ModTime()); err != nil {
		return err
	}
	return disk.OS{}.Rename(temp, name)
}

// copySparse copies a file, leaves out what is zero, and returns the hash of all of
// it.
func copySparse(ctx context.Context, dst io.WriterAt, src io.Reader) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	buf := make([]byte, 1<<20)
	zero := make([]byte, len(buf))
	for at := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return sum, err
		}
		n, err := io.ReadFull(src, buf)
		h.Write(buf[:n])
		if n > 0 && string(buf[:n]) != string(zero[:n]) {
			if _, err := dst.WriteAt(buf[:n], at); err != nil {
				return sum, err
			}
		}
		at += int64(n)
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			return [sha256.Size]byte(h.Sum(nil)), nil
		}
		if err != nil {
			return sum, err
		}
	}
}

func hashFile(ctx context.Context, f io.ReaderAt) (sum [sha256.Size]byte, err error) {
	return copySparse(ctx, nowhere{}, io.NewSectionReader(f, 0, 1<<62))
}

type nowhere struct{}

func (nowhere) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
