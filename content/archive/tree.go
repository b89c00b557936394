package archive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/p2pnode/p2pnode/content"
)

const (
	copySize = 256 << 10

	// Room is asked once for so many bytes of small files.
	roomStep = 16 << 20

	// What a name takes beside its bytes: its place in the table and in the list.
	nameCost = 64
)

// A tree is one on its way from an archive to its target.
type tree struct {
	src    *source
	to     Target
	o      Options
	limits limits
	limit  int64 // bytes that the archive may unpack to

	// What stands where: an index in files, or leftOut. Names differ by their
	// bytes; those that differ by case only are told when all are known.
	places map[string]int
	files  []content.File
	listed []bool // files[i] was in the archive itself, not just something below it

	names   int   // bytes of names
	size    int64 // of all files so far
	room    int64 // bytes that Room said fit, and which are not used
	skipped int
	shown   []string
	buf     []byte
}

// leftOut is the place of a link, device or pipe.
const leftOut = -1

func newTree(src *source, to Target, o Options, l limits) *tree {
	t := &tree{src: src, to: to, o: o, limits: l, places: make(map[string]int)}
	t.limit = content.MaxSize
	if src.size < content.MaxSize/l.ratio {
		t.limit = min(content.MaxSize, l.slack+l.ratio*src.size)
	}
	t.put(".", content.File{Path: ".", Mode: fs.ModeDir | 0o755}, false)
	return t
}

// cleanPath returns the path in a manifest of a name in an archive. Tools write
// "./a/b" and, of a folder, "a/b/"; macOS writes names decomposed.
func cleanPath(name, below string, folder bool) (string, error) {
	p := name
	if folder && len(p) > 1 {
		p = strings.TrimSuffix(p, "/")
	}
	for len(p) > 2 && strings.HasPrefix(p, "./") {
		p = p[2:]
	}
	if p == "." && !folder {
		return "", fmt.Errorf("%w: %+q is the name of a folder, not of a file", content.ErrPath, name)
	}
	if len(p) <= 4*content.MaxPath { // longer ones are refused as they are
		p = norm.NFC.String(p)
	}
	if err := content.CheckPath(p); err != nil {
		return "", err
	}
	switch {
	case below == "":
		return p, nil
	case p == ".":
		return below, nil
	}
	p = below + "/" + p
	return p, content.CheckPath(p)
}

func (t *tree) put(p string, f content.File, listed bool) {
	t.places[p] = len(t.files)
	t.files = append(t.files, f)
	t.listed = append(t.listed, listed)
}

// admit checks that there may be one more entry, at p, and makes the folders that
// it is in.
func (t *tree) admit(p string) error {
	if t.names += len(p) + nameCost; t.names > t.limits.names {
		return fmt.Errorf("%w: the names of the files have more than %d bytes", content.ErrFormat, t.limits.names)
	}
	parent := path.Dir(p)
	switch i, ok := t.places[parent]; {
	case !ok:
		if err := t.admit(parent); err != nil {
			return err
		}
		if err := t.mkdir(parent, content.File{Path: parent, Mode: fs.ModeDir | 0o755}, false); err != nil {
			return err
		}
	case i == leftOut:
		return fmt.Errorf("%w: %+q is behind %+q, which is a link or device", content.ErrPath, p, parent)
	case !t.files[i].Mode.IsDir():
		return fmt.Errorf("%w: %+q is in %+q, which is a file", content.ErrPath, p, parent)
	}
	if len(t.places) >= t.limits.files {
		return fmt.Errorf("%w: more than %d files and folders", content.ErrFormat, t.limits.files)
	}
	return nil
}

func (t *tree) mkdir(p string, f content.File, listed bool) error {
	if err := t.to.Mkdir(p); err != nil {
		return collision(p, err)
	}
	t.put(p, f, listed)
	return nil
}

// folder takes a folder. One that is there gets the mode and time that were told
// last: tar lists a folder after its files if it was added to.
func (t *tree) folder(p string, mode fs.FileMode, modified time.Time) error {
	f := content.File{Path: p, Mode: fs.ModeDir | mode.Perm(), ModTime: modified.UTC()}
	i, ok := t.places[p]
	switch {
	case !ok:
		if err := t.admit(p); err != nil {
			return err
		}
		return t.mkdir(p, f, true)
	case i == leftOut || !t.files[i].Mode.IsDir():
		return doubled(p)
	}
	t.files[i], t.listed[i] = f, true
	return nil
}

// file takes a file of size bytes, which are those of r.
func (t *tree) file(p string, mode fs.FileMode, modified time.Time, size int64, r io.Reader) error {
	if _, ok := t.places[p]; ok {
		return doubled(p)
	}
	if err := t.admit(p); err != nil {
		return err
	}
	if size < 0 || size > t.limit-t.size {
		return tooMuch(t.limit)
	}
	t.size += size
	if err := t.reserve(size); err != nil {
		return err
	}
	t.put(p, content.File{Path: p, Size: size, Mode: mode.Perm(), ModTime: modified.UTC()}, true)
	w, err := t.to.Create(p)
	if err != nil {
		return collision(p, err)
	}
	return errors.Join(t.copy(w, r, p, size), w.Close())
}

// reserve asks whether a file of size bytes more fits.
func (t *tree) reserve(size int64) error {
	if t.o.Room == nil {
		return nil
	}
	if t.o.Cost != nil {
		size = t.o.Cost(size)
	}
	if size > t.room {
		if t.room = roomStep; size > roomStep || t.o.Room(roomStep) != nil {
			if err := t.o.Room(size); err != nil {
				return err
			}
			t.room = size
		}
	}
	t.room -= size
	return nil
}

// copy writes the size bytes that r has to have, no more and no less.
func (t *tree) copy(w io.Writer, r io.Reader, p string, size int64) error {
	if t.buf == nil {
		t.buf = make([]byte, copySize)
	}
	for left := size; ; {
		if err := t.src.ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(t.buf)
		if left -= int64(n); left < 0 {
			return fmt.Errorf("%w: %+q has more than the %d bytes that it should", content.ErrFormat, p, size)
		}
		if _, err := w.Write(t.buf[:n]); err != nil {
			return err
		}
		switch {
		case err == io.EOF && left > 0:
			return fmt.Errorf("%w: %+q has %d bytes less than it should", content.ErrFormat, p, left)
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("%+q: %w", p, damaged(err))
		}
	}
}

// other takes what is neither file nor folder: a link, which leads to where, or
// something else without it.
func (t *tree) other(p, what, where string) error {
	if !t.o.SkipLinks {
		hint := "have links left out (--skip-links), or unpack it yourself, and add the folder"
		return fmt.Errorf("%w: %+q is a %s, which a content can't have: %s", content.ErrPath, p, what, hint)
	}
	if _, ok := t.places[p]; ok {
		return doubled(p)
	}
	if err := t.admit(p); err != nil {
		return err
	}
	t.places[p] = leftOut
	t.skipped++
	if len(t.shown) < ShowSkipped {
		text := p
		if where != "" {
			text += " -> " + strings.ToValidUTF8(where[:min(len(where), content.MaxPath)], "?")
		}
		t.shown = append(t.shown, text)
	}
	return nil
}

func doubled(p string) error {
	return fmt.Errorf("%w: the archive has %+q twice", content.ErrPath, p)
}

// collision makes an error of a target that takes two names for one, as Windows
// and macOS do, the one that it would be elsewhere.
func collision(p string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %+q is another name in the archive where case does not count", content.ErrPath, p)
	}
	return err
}

// finish returns all files in the order of a manifest, checked as one.
func (t *tree) finish() ([]content.File, error) {
	// Backwards, every folder comes after what is in it.
	order := make([]int, len(t.files))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order[1:], func(a, b int) int { return content.ComparePaths(t.files[a].Path, t.files[b].Path) })
	files := make([]content.File, len(order))
	newest := make(map[string]time.Time)
	for at, i := range slices.Backward(order) {
		f := t.files[i]
		if !t.listed[i] {
			f.ModTime = time.Unix(0, 0).UTC()
			if n, ok := newest[f.Path]; ok {
				f.ModTime = n
			}
		}
		if parent := path.Dir(f.Path); f.Path != "." && !t.listed[t.places[parent]] {
			if n, ok := newest[parent]; !ok || f.ModTime.After(n) {
				newest[parent] = f.ModTime
			}
		}
		files[at] = f
	}
	m := content.Manifest{Files: slices.Clone(files)}
	for i := range m.Files {
		m.Files[i].Size = 0 // of bytes there are no chunks yet
	}
	return files, m.Check()
}
