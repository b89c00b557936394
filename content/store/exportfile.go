package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/p2pnode/p2pnode/content/store/disk"
)

// copy makes file i of the content at path, where nothing is, with its mode and
// time: as a link, a clone, or a copy.
func (e *export) copy(ctx context.Context, to *os.Root, path string, i int) (err error) {
	want := e.content.manifest.Files[i]
	if err := e.mayGoOn(ctx); err != nil {
		return err
	}
	if e.options.Link != NoLink && want.Size > 0 {
		err := e.link(to, path, i)
		if err == nil {
			e.progress(want.Size)
			return e.finish(to, path, i)
		}
		if e.options.Link == MustLink {
			return fmt.Errorf("%w: leave out --link, or choose a place on the disk of %s: %w", ErrNoLink, e.content.store.cfg.Dir, err)
		}
	}
	err = e.clone(to, path, i)
	if errors.Is(err, disk.ErrNoClone) {
		err = e.write(ctx, to, path, i)
	}
	if err == nil {
		err = e.content.confirm(i)
	}
	if err != nil {
		return err
	}
	return to.Chtimes(filepath.FromSlash(path), want.ModTime, want.ModTime)
}

// link makes path another name of file i of the content.
func (e *export) link(to *os.Root, path string, i int) error {
	if e.content.reference(i) != nil {
		return fmt.Errorf("%w: the file is the user's own, added in place", errors.ErrUnsupported)
	}
	src, err := e.content.openFile(i, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer src.Close()
	f := disk.Unwrap(src)
	if f == nil {
		return errors.ErrUnsupported
	}
	if e.options.Link == MayLink && shared(src) { // what is written to one copy is no business of another
		return fmt.Errorf("%w: another copy is linked to it", errors.ErrUnsupported)
	}
	// By name, since systems link no open files: to is a folder of the user's that
	// nobody else can be trusted with anyway.
	name := filepath.Join(to.Name(), filepath.FromSlash(path))
	e.content.fresh.exposed.Store(true)
	if err := os.Link(f.Name(), name); err != nil {
		return err
	}
	return disk.Same(f, name)
}

// clone makes path a clone of file i of the content, where systems clone by name.
func (e *export) clone(to *os.Root, path string, i int) error {
	want := e.content.manifest.Files[i]
	if want.Size == 0 {
		return disk.ErrNoClone
	}
	src, err := e.content.openFile(i, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer src.Close()
	f := disk.Unwrap(src)
	if f == nil {
		return disk.ErrNoClone
	}
	if err := disk.CloneTo(filepath.Join(to.Name(), filepath.FromSlash(path)), f); err != nil {
		return err
	}
	if err := e.syncFile(to, path); err != nil {
		return err
	}
	e.progress(want.Size)
	return to.Chmod(filepath.FromSlash(path), want.Mode.Perm())
}

// write makes path a file of its own with the bytes of file i of the content.
func (e *export) write(ctx context.Context, to *os.Root, path string, i int) error {
	want := e.content.manifest.Files[i]
	dst, err := to.OpenFile(filepath.FromSlash(path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, disk.FileMode)
	if err != nil {
		return err
	}
	err = e.fillFile(ctx, dst, i)
	if err == nil {
		err = dst.Chmod(want.Mode.Perm()) // of the open file, which Windows couldn't if it were read-only
	}
	if err == nil && e.options.Durable {
		err = dst.Sync()
	}
	return errors.Join(err, dst.Close())
}

// fillFile gives dst the bytes of file i of the content.
func (e *export) fillFile(ctx context.Context, dst *os.File, i int) error {
	want := e.content.manifest.Files[i]
	if want.Size == 0 {
		return nil // need not be in the store
	}
	from, err := e.content.openFile(i, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer from.Close()
	var src io.Reader = from
	f := disk.Unwrap(from)
	if f != nil {
		src = f // so that the kernel copies from file to file
		if info, err := f.Stat(); err != nil || info.Size() != want.Size {
			return fmt.Errorf("copy %s: %w", want.Path, errors.Join(ifShort(io.ErrUnexpectedEOF), err))
		}
		switch err := disk.Clone(dst, f); {
		case err == nil:
			e.progress(want.Size)
			return nil
		case !errors.Is(err, disk.ErrNoClone):
			return err
		}
		disk.Expect(f)
	}
	for at := int64(0); at < want.Size; {
		if err := e.mayGoOn(ctx); err != nil {
			return err
		}
		n, err := io.CopyN(dst, src, min(want.Size-at, exportStep))
		if err != nil {
			return fmt.Errorf("copy %s: %w", want.Path, ifShort(err))
		}
		if f != nil {
			disk.Forget(f, at, n)
		}
		at += n
		e.progress(n)
	}
	return nil
}

// shared reports whether a file has another name: an export linked it.
func shared(f disk.File) bool {
	o := disk.Unwrap(f)
	return o != nil && disk.Links(o) > 1
}

// unlink gives file i of the content, which f is, bytes of its own, and returns it
// open for writing: what is written here is no business of the user's copy. It
// closes f. The error wraps content.ErrNoSpace if the disk has no room for both.
func (c *Content) unlink(i int, f disk.File) (disk.File, error) {
	defer f.Close()
	c.making.Lock()
	defer c.making.Unlock()
	// Somebody may have been faster, and have written to what is there by now.
	if now, err := c.openFile(i, os.O_RDWR); err == nil && !shared(now) {
		return now, nil
	} else if err == nil {
		now.Close()
	} else if !errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	if err := c.store.mayWrite(c.store.FileCost(c.manifest.Files[i].Size)); err != nil { // who writes the block has room made
		return nil, err
	}
	temp := fmt.Sprint(ownPrefix, i)
	own, err := c.store.disk.OpenBelow(c.dir, temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(own, f)
	if err == nil {
		err = own.Sync()
	}
	if err = errors.Join(err, own.Close()); err == nil { // before the rename: Windows
		err = c.store.disk.RenameBelow(c.dir, temp, filesName+"/"+c.manifest.Files[i].Path)
	}
	if err != nil {
		return nil, errors.Join(err, c.store.disk.RemoveBelow(c.dir, temp))
	}
	c.mu.Lock()
	if c.partial != nil {
		c.partial.folders[path.Dir(c.manifest.Files[i].Path)] = struct{}{}
	}
	c.mu.Unlock()
	return c.openFile(i, os.O_RDWR)
}
