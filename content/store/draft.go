package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// A Draft is the beginning of a copy of a content that is one file, written while the
// content comes: where files share no bytes, whoever waits for the copy would wait for
// all of it at the end. Export takes it over (ExportOptions.Draft); nothing else makes a
// copy of it. Its methods may not be called at once.
type Draft struct {
	content *Content
	parent  *os.Root
	name    string
	base    string // of the copy
	file    *os.File
	copied  *roaring.Bitmap // chunks
	doubts  int             // Content.doubts when it was begun
}

// Draft writes a copy beside target of what is here and verified, and of what comes,
// until ctx ends or all is copied. It returns nil if there is nothing to gain (the file
// system can share the bytes, all is here, something stands at target), if the content is
// a tree, if target is on another disk, if there isn't room for both, or if something goes
// wrong: Export says what.
func (c *Content) Draft(ctx context.Context, target string) *Draft {
	if !c.manifest.Single() || c.Complete() {
		return nil
	}
	target, err := filepath.Abs(target)
	if err != nil {
		return nil
	}
	if _, err := os.Lstat(target); !errors.Is(err, os.ErrNotExist) {
		return nil
	}
	free, total, err := c.store.cfg.Space(filepath.Dir(target))
	// The content needs as much, perhaps on the same disk, whose floor stays free.
	if err != nil || int64(free)-c.store.cfg.floor(int64(total)) < 2*c.size {
		return nil
	}
	parent, err := os.OpenRoot(filepath.Dir(target))
	if err != nil {
		return nil
	}
	c.mu.Lock()
	doubts := c.doubts
	c.mu.Unlock()
	d := &Draft{content: c, parent: parent, base: filepath.Base(target), copied: roaring.New(), doubts: doubts}
	d.name = tempName(c.id, d.base) + draftSuffix
	if err := d.run(ctx); err != nil {
		d.Discard()
		return nil
	}
	return d
}

// draftSuffix tells a draft from what an Export writes at one go.
const draftSuffix = "d"

// run copies until ctx ends or all is copied.
func (d *Draft) run(ctx context.Context) error {
	for {
		changed := d.content.Changed()
		if err := d.copy(ctx); err != nil {
			return err
		}
		if d.copied.GetCardinality() == uint64(len(d.content.manifest.Chunks)) {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// copy copies the chunks that are here and aren't copied.
func (d *Draft) copy(ctx context.Context) error {
	c := d.content
	if err := c.enter(); err != nil {
		return err
	}
	defer c.busy.Done()
	news := c.Have()
	if news.AndNot(d.copied); news.IsEmpty() {
		return nil
	}
	src, err := c.openFile(0, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer src.Close()
	f := disk.Unwrap(src)
	if f == nil {
		return errors.ErrUnsupported
	}
	if d.file == nil {
		if err := d.begin(f); err != nil {
			return err
		}
	}
	for _, chunk := range news.ToArray() {
		if ctx.Err() != nil {
			return nil
		}
		if err := c.ended(); err != nil {
			return err
		}
		if err := d.copyChunk(f, int(chunk)); err != nil {
			return err
		}
	}
	return nil
}

// begin makes the draft's file, unless it could be a clone of f.
func (d *Draft) begin(f *os.File) (err error) {
	if err := remove(d.parent, d.name); err != nil {
		return err
	}
	if err := disk.CloneTo(filepath.Join(d.parent.Name(), d.name), f); !errors.Is(err, disk.ErrNoClone) {
		return errors.Join(errShares, err, remove(d.parent, d.name))
	}
	if d.file, err = d.parent.OpenFile(d.name, os.O_RDWR|os.O_CREATE|os.O_EXCL, disk.FileMode); err != nil {
		return err
	}
	if err := disk.Clone(d.file, f); !errors.Is(err, disk.ErrNoClone) {
		return errors.Join(errShares, err)
	}
	if !disk.OneDisk(d.file, f) {
		return errElsewhere
	}
	return nil
}

// Why there is no draft.
var (
	errShares = errors.New("the file system shares bytes")
	// A draft has holes, as the content has. The store's disk is known to be a good place
	// for that; FAT on a stick fills each hole with zeros first.
	errElsewhere = errors.New("the copy is on another disk")
)

// copyChunk copies a chunk from f, the content's file.
func (d *Draft) copyChunk(f *os.File, chunk int) error {
	at, n := d.content.layout.Chunk(chunk), int64(d.content.manifest.Chunks[chunk].Size)
	if _, err := f.Seek(at, io.SeekStart); err != nil {
		return err
	}
	if _, err := d.file.Seek(at, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.CopyN(d.file, f, n); err != nil { // by the kernel
		return err
	}
	d.copied.Add(uint32(chunk))
	return nil
}

// usable reports whether the draft is the beginning of a copy of c, at base in parent,
// and nothing of it has turned out wrong.
func (d *Draft) usable(c *Content, parent *os.Root, base string) bool {
	if d == nil || d.file == nil || d.content != c || d.base != base {
		return false
	}
	c.mu.Lock()
	doubts := c.doubts
	c.mu.Unlock()
	mine, err := d.file.Stat()
	there, gone := parent.Lstat(d.name)
	return err == nil && gone == nil && os.SameFile(mine, there) && doubts == d.doubts
}

// Discard removes the draft.
func (d *Draft) Discard() {
	if d == nil || d.parent == nil {
		return
	}
	if d.file != nil {
		_ = d.file.Close()          // only read from here on
		_ = d.parent.Remove(d.name) // an Export removes what is left
	}
	_ = d.parent.Close()
	d.parent, d.file = nil, nil
}

// finishDraft makes the draft a copy of the content, under the name e.temp; the content
// is complete.
func (e *export) finishDraft(ctx context.Context, parent *os.Root, d *Draft) error {
	want := e.content.manifest.Files[0]
	if err := d.copy(ctx); err != nil {
		return fmt.Errorf("copy %s: %w", want.Path, ifShort(err))
	}
	if err := e.mayGoOn(ctx); err != nil {
		return err
	}
	if err := d.file.Chmod(want.Mode.Perm()); err != nil {
		return err
	}
	if e.options.Durable {
		if err := d.file.Sync(); err != nil {
			return err
		}
	}
	err := d.file.Close() // before the rename: Windows
	d.file = nil
	if err == nil {
		err = parent.Rename(d.name, e.temp)
	}
	if err == nil {
		err = e.content.confirm(0)
	}
	if err != nil {
		return errors.Join(err, remove(parent, d.name))
	}
	e.progress(want.Size)
	return parent.Chtimes(e.temp, want.ModTime, want.ModTime)
}

// tempName is the name of an export under way: one for each target, so that what a
// crash left is found by the next try.
func tempName(id content.ID, base string) string {
	sum := content.Sum([]byte(id.String() + base))
	return fmt.Sprintf(".p2pnode-%x", sum[:12])
}
