package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// ExportOptions say how to export.
type ExportOptions struct {
	// Overwrite replaces files that are at the target and differ. What the content
	// doesn't name is never touched.
	Overwrite bool
	// Durable syncs the copy before it is called done. Without it the copy is as
	// safe from a power cut as one by cp; the store has another.
	Durable bool
	// Link says whether files of the copy may be the store's own, under a second
	// name. They take no room, and whatever changes them changes what the store
	// has: it finds out before it serves it.
	Link Link
	// Draft, unless nil, is the beginning of this copy. It is used up, whatever comes of
	// the export.
	Draft *Draft
	// Progress, unless nil, is told how many bytes are done, never twice at once.
	Progress func(done, total int64)
}

// Link says whether hard links are made.
type Link uint8

// The kinds of Link.
const (
	NoLink   Link = iota // files of their own, which share their bytes with the store's where the file system can
	MayLink              // links where the file system can, else as NoLink: for who removes the content next
	MustLink             // links, or an error
)

// ErrNoLink says that a file system has no hard links, or that the store is on
// another one.
var ErrNoLink = errors.New("no hard link is possible from the store to there")

const (
	// Copied at once, between looks at the context and word of progress: what the
	// kernel copies in some 20 ms, and a multiple of any file system's blocks, so
	// that it can share them.
	exportStep = 64 << 20

	// Files copied at one time: small ones are mostly waits for the file system.
	exportsAtOnce = 8
)

// Export makes a copy of a complete content at target: the file, or the folder
// that it is a tree of. The folder that target is in has to exist.
//
// Nothing partial is ever at target: files are written under another name, beside
// it or, if it is a folder already, in it (.p2pnode-*), and renamed. What is at
// target already and is the same stays, so that an export can be repeated. What is
// there and differs is replaced with Overwrite, and is else an error that wraps
// fs.ErrExist. A folder where a file belongs, or a link, always is. The error wraps
// content.ErrNotFound if the content is not complete, content.ErrCorrupt if some of
// it turns out to have gone bad on the disk, and is to be fetched again, and
// content.ErrNoSpace if the disk is full.
func (c *Content) Export(ctx context.Context, target string, o ExportOptions) (err error) {
	defer o.Draft.Discard()
	if err := c.enter(); err != nil {
		return err
	}
	defer c.busy.Done()
	defer func() {
		if errors.Is(err, content.ErrChanged) {
			c.look()
		}
		if err != nil {
			err = fmt.Errorf("export %v to %s: %w", c.id, target, ifNoSpace(err))
		}
	}()
	release := c.Hold()
	defer release()
	if o.Durable || o.Link != NoLink {
		// A link has what the store has, synced or not, and nobody here may have it
		// open for writing.
		if err := c.flush(); err != nil {
			return err
		}
		c.store.files.reopen(c)
	}
	if !c.Complete() {
		return fmt.Errorf("%w: %d of %d bytes are here", content.ErrNotFound, c.Progress(), c.size)
	}
	if err := c.verifyStale(ctx); err != nil {
		return err
	}
	if target, err = filepath.Abs(target); err != nil {
		return err
	}
	parent, err := os.OpenRoot(filepath.Dir(target))
	if err != nil {
		return fmt.Errorf("%w: make the folder first", err)
	}
	defer parent.Close()
	e := &export{content: c, options: o}
	base := filepath.Base(target)
	if base == string(filepath.Separator) {
		base = "." // the root of a file system, or of a drive
	}
	e.temp = tempName(c.id, base)
	if c.manifest.Single() {
		return e.single(ctx, parent, base)
	}
	return e.tree(ctx, parent, base)
}

// An export is one under way.
type export struct {
	content *Content
	options ExportOptions
	temp    string // name that nothing else has

	mu   sync.Mutex
	done int64
}

// single exports a content that is one file.
func (e *export) single(ctx context.Context, parent *os.Root, base string) error {
	same, err := e.look(ctx, parent, base, 0)
	if err != nil {
		return err
	}
	if !same {
		defer parent.Remove(e.temp) // gone if all went well
		if err := remove(parent, e.temp); err != nil {
			return err
		}
		if d := e.options.Draft; e.options.Link == NoLink && d.usable(e.content, parent, base) {
			err = e.finishDraft(ctx, parent, d)
		} else if err = remove(parent, e.temp+draftSuffix); err == nil {
			err = e.copy(ctx, parent, e.temp, 0)
		}
		if err != nil {
			return err
		}
		if err := parent.Rename(e.temp, base); err != nil {
			return err
		}
	} else if err := errors.Join(e.syncFile(parent, base), e.finish(parent, base, 0)); err != nil {
		return err
	}
	return e.syncFolder(parent, ".")
}

// tree exports a content that is a folder.
func (e *export) tree(ctx context.Context, parent *os.Root, base string) error {
	info, err := parent.Lstat(base)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return e.newTree(ctx, parent, base)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%w, and is no folder: move it away, or choose another target", fs.ErrExist)
	}
	target, err := parent.OpenRoot(base)
	if err != nil {
		return err
	}
	defer target.Close()
	return e.intoTree(ctx, target)
}

// newTree makes the whole tree beside the target, and renames it.
func (e *export) newTree(ctx context.Context, parent *os.Root, base string) (err error) {
	if err := remove(parent, e.temp); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, remove(parent, e.temp))
		}
	}()
	if err := parent.Mkdir(e.temp, disk.FolderMode); err != nil {
		return err
	}
	made, err := parent.OpenRoot(e.temp)
	if err != nil {
		return err
	}
	var wanted []int
	for i, f := range e.content.manifest.Files {
		switch {
		case !f.Mode.IsDir():
			wanted = append(wanted, i)
		case f.Path != ".":
			if err := made.Mkdir(filepath.FromSlash(f.Path), disk.FolderMode); err != nil {
				return errors.Join(err, made.Close())
			}
		}
	}
	err = e.copyAll(ctx, made, wanted, func(i int) string { return e.content.manifest.Files[i].Path })
	if err == nil {
		err = e.finishFolders(made, false)
	}
	if err = errors.Join(err, made.Close()); err != nil { // before the rename: Windows
		return err
	}
	if err := parent.Rename(e.temp, base); err != nil {
		return err
	}
	// Last, since some systems don't move a folder that can't be written to.
	if err := e.finish(parent, base, 0); err != nil {
		return err
	}
	return e.syncFolder(parent, ".")
}

// intoTree writes into a folder that is there: what is missing, and with
// Overwrite what differs. All is copied before the first file takes its place.
func (e *export) intoTree(ctx context.Context, target *os.Root) (err error) {
	files := e.content.manifest.Files
	var wanted, missing []int // files to copy, folders to make
	for i, f := range files {
		if f.Mode.IsDir() {
			there, err := isFolder(target, f.Path)
			if err != nil {
				return err
			}
			if !there {
				missing = append(missing, i)
			}
			continue
		}
		same, err := e.look(ctx, target, f.Path, i)
		if err != nil {
			return err
		}
		if !same {
			wanted = append(wanted, i)
		}
	}
	if len(wanted)+len(missing) > 0 {
		if err := e.open(target); err != nil {
			return err
		}
		if err := e.fill(ctx, target, wanted, missing); err != nil {
			return err
		}
	}
	kept := 0
	for i, f := range files {
		if kept < len(wanted) && wanted[kept] == i {
			kept++ // finished when it was copied
		} else if !f.Mode.IsDir() {
			if err := errors.Join(e.syncFile(target, f.Path), e.finish(target, f.Path, i)); err != nil {
				return err
			}
		}
	}
	return e.finishFolders(target, true)
}

// fill copies files into a folder of their own in target, then renames them to
// their places.
func (e *export) fill(ctx context.Context, target *os.Root, wanted, missing []int) (err error) {
	files := e.content.manifest.Files
	if err := remove(target, e.temp); err != nil {
		return err
	}
	if err := target.Mkdir(e.temp, disk.FolderMode); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove(target, e.temp)) }()
	name := func(i int) string { return e.temp + "/" + strconv.Itoa(i) }
	if err := e.copyAll(ctx, target, wanted, name); err != nil {
		return err
	}
	for _, i := range missing {
		if err := target.Mkdir(filepath.FromSlash(files[i].Path), disk.FolderMode); err != nil {
			return err
		}
	}
	for _, i := range wanted {
		if err := target.Rename(name(i), filepath.FromSlash(files[i].Path)); err != nil {
			return err
		}
	}
	return nil
}

// open makes the folders of target that are the content's writable: an earlier
// export may have made them read-only.
func (e *export) open(target *os.Root) error {
	for _, f := range e.content.manifest.Files {
		if !f.Mode.IsDir() || f.Mode.Perm()&0o700 == 0o700 {
			continue
		}
		err := target.Chmod(filepath.FromSlash(f.Path), f.Mode.Perm()|0o700)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// isFolder reports whether there is a folder at path. Anything else that is there
// is an error.
func isFolder(in *os.Root, path string) (bool, error) {
	info, err := in.Lstat(filepath.FromSlash(path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !info.IsDir():
		return false, fmt.Errorf("%s: %w, and is no folder: move it away, or choose another target", path, fs.ErrExist)
	}
	return true, nil
}

// look reports whether file i of the content is at path already. One that differs
// is an error unless it may be overwritten.
func (e *export) look(ctx context.Context, in *os.Root, path string, i int) (same bool, err error) {
	info, err := in.Lstat(filepath.FromSlash(path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !info.Mode().IsRegular():
		return false, fmt.Errorf("%s: %w, and is no file: move it away, or choose another target", path, fs.ErrExist)
	case info.Size() == e.content.manifest.Files[i].Size:
		if same, err = e.equal(ctx, in, path, i); err != nil {
			return false, err
		}
	}
	if !same && !e.options.Overwrite {
		return false, fmt.Errorf("%s: %w, and is another file: choose another target, or have it overwritten", path, fs.ErrExist)
	}
	return same, nil
}

// equal compares file i of the content with the one at path, of the same size.
func (e *export) equal(ctx context.Context, in *os.Root, path string, i int) (bool, error) {
	size := e.content.manifest.Files[i].Size
	if size == 0 {
		return true, nil
	}
	theirs, err := in.Open(filepath.FromSlash(path))
	if err != nil {
		return false, err
	}
	defer theirs.Close()
	ours, err := e.content.openFile(i, os.O_RDONLY)
	if err != nil {
		return false, err
	}
	defer ours.Close()
	a := blockBuffers.Get().(*[content.MaxBlock]byte)
	defer blockBuffers.Put(a)
	b := blockBuffers.Get().(*[content.MaxBlock]byte)
	defer blockBuffers.Put(b)
	for left := size; left > 0; {
		if err := e.mayGoOn(ctx); err != nil {
			return false, err
		}
		n := min(left, content.MaxBlock)
		if _, err := io.ReadFull(ours, a[:n]); err != nil {
			return false, ifShort(err)
		}
		if _, err := io.ReadFull(theirs, b[:n]); err != nil {
			return false, nil // it got shorter
		}
		if !bytes.Equal(a[:n], b[:n]) {
			return false, nil
		}
		left -= n
	}
	e.progress(size)
	return true, nil
}

// copyAll copies files of the content to the names that name gives.
func (e *export) copyAll(ctx context.Context, to *os.Root, files []int, name func(int) string) error {
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(exportsAtOnce)
	for _, i := range files {
		if inner.Err() != nil {
			break
		}
		g.Go(func() error { return e.copy(inner, to, name(i), i) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err() // which may have ended the loop
}

// finish sets the mode and time of file or folder i of the content at path.
func (e *export) finish(in *os.Root, path string, i int) error {
	want := e.content.manifest.Files[i]
	path = filepath.FromSlash(path)
	if err := in.Chtimes(path, want.ModTime, want.ModTime); err != nil {
		return err
	}
	return in.Chmod(path, want.Mode.Perm())
}

// finishFolders sets the modes and times of folders, the deepest first: what is
// done in a folder changes its time, and needs its mode. The last of them, ".",
// only with top.
func (e *export) finishFolders(in *os.Root, top bool) error {
	for i, f := range slices.Backward(e.content.manifest.Files) {
		if !f.Mode.IsDir() || i == 0 && !top {
			continue
		}
		if err := e.syncFolder(in, f.Path); err != nil {
			return err
		}
		if err := e.finish(in, f.Path, i); err != nil {
			return err
		}
	}
	return nil
}

// syncFile makes the bytes of a file that was there, or was made by name, durable,
// if asked for. It leaves the file writable (Windows syncs no other): finish is
// next.
func (e *export) syncFile(in *os.Root, path string) error {
	if !e.options.Durable {
		return nil
	}
	path = filepath.FromSlash(path)
	if err := in.Chmod(path, disk.FileMode); err != nil {
		return err
	}
	f, err := in.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncFolder makes the entries of a folder durable, if asked for.
func (e *export) syncFolder(in *os.Root, path string) error {
	if !e.options.Durable {
		return nil
	}
	folder, err := in.Open(filepath.FromSlash(path))
	if err != nil {
		return err
	}
	return errors.Join(disk.SyncEntries(folder), folder.Close())
}

// mayGoOn returns why the export has to end, if it has.
func (e *export) mayGoOn(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return e.content.ended()
}

func (e *export) progress(n int64) {
	if e.options.Progress == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done += n
	e.options.Progress(e.done, e.content.size)
}

// remove removes what an earlier export left under a name, even read-only folders.
func remove(in *os.Root, name string) error {
	if err := in.RemoveAll(name); err == nil {
		return nil
	}
	err := fs.WalkDir(in.FS(), name, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return in.Chmod(filepath.FromSlash(path), disk.FolderMode)
		}
		return nil
	})
	return errors.Join(err, in.RemoveAll(name))
}
