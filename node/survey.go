package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/archive"
)

// A publishEntry is a file or folder to publish.
type publishEntry struct {
	content.File             // as it will be in the manifest
	source       string      // where it is; empty in a stage, and for a folder that stands for several paths
	info         fs.FileInfo // as it was surveyed; nil where source is empty
	warm         bool        // it was in the system's memory before it was read: see publishpages.go
}

// errNoFile says that something is no file and no folder, which is all that a
// content can have.
var errNoFile = fmt.Errorf("%w: it is neither a file nor a folder", content.ErrPath)

// leftOut are the links, devices, pipes and sockets that a publication leaves out.
type leftOut struct {
	count int
	shown []string // the first archive.ShowSkipped of them, with where a link leads
}

func (l *leftOut) add(e publishEntry) {
	if l.count++; l.count > archive.ShowSkipped {
		return
	}
	text := e.Path
	if to, err := os.Readlink(e.source); err == nil {
		text += " -> " + strings.ToValidUTF8(to, "?")
	}
	l.shown = append(l.shown, text)
}

// survey lists what is at paths, in the order of a manifest. What can't be
// published below them goes to left; it is an error if that is nil.
func survey(ctx context.Context, paths []string, left *leftOut) ([]publishEntry, error) {
	if len(paths) == 0 {
		return nil, fmt.Errorf("add: %w: no path given", content.ErrPath)
	}
	var all []publishEntry
	tops := make([]publishEntry, len(paths))
	for i, path := range paths {
		abs, err := filepath.Abs(path)
		if err != nil {
			return nil, fmt.Errorf("add %s: %w", path, err)
		}
		top, err := surveyOne(abs, norm.NFC.String(filepath.Base(abs)))
		if err != nil {
			return nil, err
		}
		tops[i] = top
	}
	if len(tops) == 1 {
		top := tops[0]
		if top.Mode.IsDir() {
			top.Path = "."
		}
		return top.walk(ctx, nil, left)
	}

	newest := slices.MaxFunc(tops, func(a, b publishEntry) int { return a.ModTime.Compare(b.ModTime) }).ModTime
	all = append(all, publishEntry{File: content.File{Path: ".", Mode: fs.ModeDir | 0o755, ModTime: newest}})
	slices.SortFunc(tops, func(a, b publishEntry) int { return cmp.Compare(a.Path, b.Path) })
	for i, top := range tops {
		if i > 0 && top.Path == tops[i-1].Path {
			return nil, fmt.Errorf("add %s and %s: %w: in one content both would be %q: add them one by one, or rename one",
				tops[i-1].source, top.source, content.ErrPath, top.Path)
		}
		var err error
		if all, err = top.walk(ctx, all, left); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// surveyOne looks at one file or folder, which will be at path in the content.
func surveyOne(source, path string) (publishEntry, error) {
	info, err := os.Lstat(source)
	if err != nil {
		return publishEntry{}, fmt.Errorf("add: %w", err)
	}
	e := publishEntry{File: content.File{Path: path}, source: source, info: info}
	switch mode := info.Mode(); {
	case mode.IsDir():
		e.Mode = fs.ModeDir
	case mode.IsRegular():
		e.Size = info.Size()
	case mode&fs.ModeSymlink != 0:
		return e, fmt.Errorf("add %s: %w, but a symbolic link", source, errNoFile)
	default:
		return e, fmt.Errorf("add %s: %w (%v)", source, errNoFile, mode.Type())
	}
	e.ModTime = info.ModTime().UTC()
	e.Mode |= info.Mode().Perm()
	if runtime.GOOS == "windows" {
		e.Mode &^= 0o022 // Go says 0666 of what anybody's rights are on Windows
	}
	return e, nil
}

// walk appends the entry and all below it to list.
//
// Names are brought into composed form, as macOS may give them decomposed, and
// sorted as they will stand in the manifest.
func (e publishEntry) walk(ctx context.Context, list []publishEntry, left *leftOut) ([]publishEntry, error) {
	// This bounds the depth, too: no path has more than 120 names.
	if err := content.CheckPath(e.Path); err != nil {
		return nil, fmt.Errorf("add %s: %w", e.source, err)
	}
	if list = append(list, e); len(list) > content.MaxFiles {
		return nil, fmt.Errorf("add %s: %w: more than %d files and folders: add parts of it", e.source, content.ErrFormat, content.MaxFiles)
	}
	if !e.Mode.IsDir() {
		return list, ctx.Err()
	}
	dir, err := os.Open(e.source)
	if err != nil {
		return nil, fmt.Errorf("add: %w", err)
	}
	names, err := dir.Readdirnames(content.MaxFiles)
	dir.Close()
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("add: %w", err)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(norm.NFC.String(a), norm.NFC.String(b)) })
	for _, name := range names {
		path := norm.NFC.String(name)
		if e.Path != "." {
			path = e.Path + "/" + path
		}
		child, err := surveyOne(filepath.Join(e.source, name), path)
		if left != nil && errors.Is(err, errNoFile) {
			left.add(child)
			continue
		}
		if err != nil {
			return nil, err
		}
		if list, err = child.walk(ctx, list, left); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// open opens the file, if it still is what was surveyed.
func (e *publishEntry) open() (*os.File, error) {
	f, err := os.OpenFile(e.source, os.O_RDONLY|openAtOnce, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, e.changed()
	}
	if err != nil {
		return nil, fmt.Errorf("add: %w", err)
	}
	if err := e.unchangedAt(f.Stat()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// unchanged reports a file or folder that is no longer what was surveyed.
func (e *publishEntry) unchanged() error {
	if e.source == "" {
		return nil
	}
	return e.unchangedAt(os.Lstat(e.source))
}

func (e *publishEntry) unchangedAt(now fs.FileInfo, err error) error {
	if e.info == nil { // in a stage, where nobody else writes
		if err == nil && now.Size() != e.Size {
			return e.changed()
		}
		return err
	}
	if err == nil && os.SameFile(e.info, now) && now.ModTime().Equal(e.info.ModTime()) &&
		now.Size() == e.info.Size() && now.Mode() == e.info.Mode() {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("add: %w", err)
	}
	return e.changed()
}

func (e *publishEntry) changed() error {
	return fmt.Errorf("add %s: %w: add it again when nothing writes to it", cmp.Or(e.source, e.Path), content.ErrChanged)
}
