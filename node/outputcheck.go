package node

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
)

// An outputCheck refuses what an export would refuse because of what stands at the
// output (store.Content.Export has the rules), before anything is fetched for it. It
// sees what is there early on; the export has the last word.
type outputCheck struct {
	output    string
	overwrite bool
}

// A standing is a file at the output that may or may not be what belongs there.
type standing struct {
	path string
	file int // of the manifest
}

// look looks at what stands at the output.
func (f *fetch) look(m *content.Manifest) (err error) {
	if f.output != nil {
		f.standing, err = f.output.refuse(m)
	}
	return err
}

// refuse returns an error if something that can't be replaced stands at the output;
// and the files there that have the right size.
func (o *outputCheck) refuse(m *content.Manifest) ([]standing, error) {
	at := outputPath(m, o.output)
	if !m.Single() {
		if info, err := os.Lstat(at); err == nil && !info.IsDir() {
			return nil, fmt.Errorf("%s: %w, and is no folder: move it away, or choose another target", at, fs.ErrExist)
		}
	}
	var same []standing
	for i, f := range m.Files {
		path := at
		if !m.Single() {
			path = filepath.Join(at, filepath.FromSlash(f.Path))
		}
		info, err := os.Lstat(path)
		switch {
		case err != nil: // not there, or a matter for the export
		case f.Mode.IsDir():
			if !info.IsDir() {
				return nil, fmt.Errorf("%s: %w, and is no folder: move it away, or choose another target", path, fs.ErrExist)
			}
		case !info.Mode().IsRegular():
			return nil, fmt.Errorf("%s: %w, and is no file: move it away, or choose another target", path, fs.ErrExist)
		case o.overwrite:
		case info.Size() != f.Size:
			return nil, o.differs(path)
		case f.Size > 0:
			same = append(same, standing{path, i})
		}
	}
	return same, nil
}

func (o *outputCheck) differs(path string) error {
	return fmt.Errorf("%s: %w, and is another file: choose another target, or have it overwritten", path, fs.ErrExist)
}

// compare returns an error if one of the files that stand at the output has other
// bytes than the blocks of the content whose lists are known. It reads up to the
// first that differs.
func (o *outputCheck) compare(ctx context.Context, c *store.Content, same []standing) error {
	open := make(map[int]*os.File, len(same))
	defer func() {
		for _, f := range open {
			f.Close() // only read
		}
	}()
	paths := make(map[int]string, len(same))
	for _, s := range same {
		paths[s.file] = s.path
	}
	buf := make([]byte, content.MaxBlock)
	for chunk := range c.Manifest().Chunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		blocks, known := c.Blocks(chunk)
		if !known {
			continue
		}
		at := c.Layout().Chunk(chunk)
		for _, b := range blocks {
			for span := range c.Layout().Spans(at, int64(b.Size)) { // one: a block is in one file
				path, ok := paths[span.File]
				if !ok {
					continue
				}
				f, err := openOnce(open, span.File, path)
				if err != nil {
					continue // the export will say what is wrong
				}
				data := buf[:b.Size]
				if _, err := f.ReadAt(data, span.Offset); err == nil && content.Sum(data) != b.Hash {
					return o.differs(path)
				}
			}
			at += int64(b.Size)
		}
	}
	return nil
}

// openOnce opens a plain file. The files of a content are met one after the other,
// so the last is closed for the next.
func openOnce(open map[int]*os.File, file int, path string) (*os.File, error) {
	if f, ok := open[file]; ok {
		return f, nil
	}
	for i, f := range open {
		f.Close() // only read
		delete(open, i)
	}
	f, err := openSeed(path)
	if err == nil {
		open[file] = f
	}
	return f, err
}

// outputPath returns where a copy goes: a file given a folder goes into it, as with cp.
func outputPath(m *content.Manifest, wanted string) string {
	if !m.Single() {
		return wanted
	}
	if info, err := os.Stat(wanted); err == nil && info.IsDir() {
		return filepath.Join(wanted, m.Files[0].Path)
	}
	return wanted
}
