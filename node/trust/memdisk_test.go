package trust

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// A memDisk is a file system in memory that tells what a power cut could leave of
// it. What was written to a file is safe once the file was synced; what was
// created, renamed or removed in a folder, once the folder was. All else may have
// arrived or not, each effect for itself, and data in part or as zeros.
//
// It stands for what POSIX promises, which is less than ext4 does. Renames
// are atomic, and a failed sync loses what it should have written.
type memDisk struct {
	root    *node
	pending []effect
	// before is told of each operation and may make it fail.
	before func(op, path string) error
	// Programs with a mistake: deaf operations say they worked and do nothing;
	// careless ones don't look at the error of a sync, or try it again.
	deaf     func(op, path string) bool
	careless bool
}

// A node is a file, or a folder if entries is set; each as it is seen by who runs,
// and as it is safe on disk.
type node struct {
	data, safe           []byte
	entries, safeEntries map[string]*node
}

func newFolderNode() *node {
	return &node{entries: map[string]*node{}, safeEntries: map[string]*node{}}
}

// An effect is something that was done and not synced.
type effect struct {
	on    *node
	names bool // of a folder's entries, else of a file's data
	apply func(variant int, n *node)
	kinds int // how many ways it can come out, beside not at all
}

func newMemDisk() *memDisk {
	d := &memDisk{root: newFolderNode()}
	return d
}

func (d *memDisk) do(op, path string) error {
	if d.before == nil {
		return nil
	}
	return d.before(op, path)
}

func split(path string) []string {
	return strings.FieldsFunc(filepath.ToSlash(path), func(r rune) bool { return r == '/' })
}

func (d *memDisk) find(path string) (*node, error) {
	n := d.root
	for _, name := range split(path) {
		if n.entries == nil || n.entries[name] == nil {
			return nil, &fs.PathError{Op: "find", Path: path, Err: fs.ErrNotExist}
		}
		n = n.entries[name]
	}
	return n, nil
}

func (d *memDisk) parent(path string) (*node, string, error) {
	parts := split(path)
	n, err := d.find(strings.Join(parts[:len(parts)-1], "/"))
	return n, parts[len(parts)-1], err
}

// enter changes the entries of a folder, for now and maybe for good.
func (d *memDisk) enter(dir *node, change func(map[string]*node)) {
	change(dir.entries)
	d.pending = append(d.pending, effect{on: dir, names: true, kinds: 1, apply: func(_ int, n *node) { change(n.safeEntries) }})
}

func (d *memDisk) lstat(path string) (fs.FileMode, error) {
	if err := d.do("lstat", path); err != nil {
		return 0, err
	}
	n, err := d.find(path)
	switch {
	case err != nil:
		return 0, err
	case n.entries != nil:
		return fs.ModeDir | 0o700, nil
	}
	return 0o600, nil
}

func (d *memDisk) private(path string, kind, _ fs.FileMode) error {
	mode, err := d.lstat(path)
	if err == nil && mode.Type() != kind {
		err = fmt.Errorf("%s is %s", path, mode)
	}
	return err
}

func (d *memDisk) list(path string) ([]string, error) {
	if err := d.do("list", path); err != nil {
		return nil, err
	}
	n, err := d.find(path)
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range n.entries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

func (d *memDisk) mkdir(path string) error {
	if err := d.do("mkdir", path); err != nil {
		return err
	}
	n := d.root
	for _, name := range split(path) {
		if n.entries[name] == nil {
			made := newFolderNode()
			d.enter(n, func(e map[string]*node) { e[name] = made })
		}
		n = n.entries[name]
	}
	return nil
}

func (d *memDisk) read(path string) ([]byte, error) {
	if err := d.do("read", path); err != nil {
		return nil, err
	}
	n, err := d.find(path)
	if err != nil {
		return nil, err
	}
	return slices.Clone(n.data), nil
}

func (d *memDisk) create(path string) (file, error) {
	if err := d.do("create", path); err != nil {
		return nil, err
	}
	dir, name, err := d.parent(path)
	if err != nil {
		return nil, err
	}
	if dir.entries[name] != nil {
		return nil, fs.ErrExist
	}
	made := &node{}
	d.enter(dir, func(e map[string]*node) { e[name] = made })
	return &memFile{d, made, path}, nil
}

func (d *memDisk) open(path string) (file, error) {
	if err := d.do("open", path); err != nil {
		return nil, err
	}
	n, err := d.find(path)
	if err != nil {
		return nil, err
	}
	return &memFile{d, n, path}, nil
}

func (d *memDisk) rename(from, to string) error {
	if err := d.do("rename", to); err != nil {
		return err
	}
	dir, old, err := d.parent(from)
	if err != nil {
		return err
	}
	into, name, err := d.parent(to)
	n := dir.entries[old]
	switch {
	case err != nil:
		return err
	case into != dir:
		return errors.New("only within a folder")
	case n == nil:
		return fs.ErrNotExist
	case n.entries != nil && dir.entries[name] != nil && len(dir.entries[name].entries) > 0:
		return fs.ErrExist
	case d.deaf != nil && d.deaf("rename", to):
		return nil
	}
	d.enter(dir, func(e map[string]*node) { e[name] = n; delete(e, old) })
	return nil
}

func (d *memDisk) remove(path string) error {
	if err := d.do("remove", path); err != nil {
		return err
	}
	dir, name, err := d.parent(path)
	if err != nil {
		return err
	}
	if n := dir.entries[name]; n == nil {
		return &fs.PathError{Op: "remove", Path: path, Err: fs.ErrNotExist}
	} else if len(n.entries) > 0 {
		return errors.New("folder not empty")
	}
	d.enter(dir, func(e map[string]*node) { delete(e, name) })
	return nil
}

func (d *memDisk) syncDir(path string) error {
	n, err := d.find(path)
	if err != nil {
		return err
	}
	return d.flush("syncdir", path, n, true)
}

// flush makes the effects on a node safe, or loses them if it is made to fail.
func (d *memDisk) flush(op, path string, n *node, names bool) error {
	err := d.do(op, path)
	if err == nil && d.deaf != nil && d.deaf(op, path) {
		return nil
	}
	rest := d.pending[:0:0]
	for _, e := range d.pending {
		switch {
		case e.on != n || e.names != names:
			rest = append(rest, e)
		case err == nil:
			e.apply(0, n)
		}
	}
	d.pending = rest
	if d.careless {
		return nil
	}
	return err
}

func (d *memDisk) lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

type memFile struct {
	d    *memDisk
	n    *node
	path string
}

func (f *memFile) ReadAt(b []byte, at int64) (int, error) {
	if err := f.d.do("readat", f.path); err != nil {
		return 0, err
	}
	if at >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.n.data[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(b []byte, at int64) (int, error) {
	if err := f.d.do("write", f.path); err != nil {
		half := b[:len(b)/2]
		f.put(half, at) // as a full disk does
		return len(half), err
	}
	f.put(b, at)
	return len(b), nil
}

func (f *memFile) put(b []byte, at int64) {
	b = slices.Clone(b)
	lay := func(data, b []byte) []byte {
		data = slices.Clone(data)
		if end := int(at) + len(b); len(data) < end {
			data = append(data, make([]byte, end-len(data))...)
		}
		copy(data[at:], b)
		return data
	}
	f.n.data = lay(f.n.data, b)
	f.d.pending = append(f.d.pending, effect{on: f.n, kinds: 3, apply: func(variant int, n *node) {
		switch variant {
		case 0:
			n.safe = lay(n.safe, b)
		case 1:
			n.safe = lay(n.safe, b[:len(b)/2])
		case 2:
			n.safe = lay(n.safe, make([]byte, len(b)))
		}
	}})
}

func (f *memFile) Truncate(size int64) error {
	if err := f.d.do("truncate", f.path); err != nil {
		return err
	}
	if int64(len(f.n.data)) == size {
		return nil
	}
	f.n.data = slices.Clone(f.n.data[:size])
	f.d.pending = append(f.d.pending, effect{on: f.n, kinds: 1, apply: func(_ int, n *node) {
		n.safe = slices.Clone(n.safe[:min(int64(len(n.safe)), size)])
	}})
	return nil
}

func (f *memFile) Sync() error { return f.d.flush("sync", f.path, f.n, false) }
func (f *memFile) Close() error {
	return f.d.do("close", f.path)
}

func (f *memFile) Size() (int64, error) { return int64(len(f.n.data)), f.d.do("size", f.path) }

// cuts calls see with a disk for each state that a power cut now could leave, at
// most most of them, spread evenly; it returns how many those were.
func (d *memDisk) cuts(most int, see func(*memDisk)) int {
	total := 1
	for _, e := range d.pending {
		if total *= e.kinds + 1; total > 1<<20 {
			break
		}
	}
	step := max(1, total/most)
	seen := 0
	for i := 0; i < total; i += step {
		c := copier{made: map[*node]*node{}}
		image := &memDisk{root: c.node(d.root)}
		rest := i
		for _, e := range d.pending {
			choice := rest % (e.kinds + 1)
			rest /= e.kinds + 1
			if choice == 0 {
				continue
			}
			c.node(e.on)
			e.apply(choice-1, c.made[e.on])
		}
		c.settle()
		see(image)
		seen++
	}
	return seen
}

// clone returns a disk with the same content, all of it safe.
func (d *memDisk) clone() *memDisk {
	c := copier{made: map[*node]*node{}, running: true}
	image := &memDisk{root: c.node(d.root)}
	c.settle()
	return image
}

// A copier copies a tree of nodes, which may be entered in several places.
type copier struct {
	made    map[*node]*node
	running bool // as it is seen by who runs, not as it is safe
}

func (c *copier) node(n *node) *node {
	if m := c.made[n]; m != nil {
		return m
	}
	m := &node{safe: n.safe}
	if c.running {
		m.safe = n.data
	}
	c.made[n] = m
	if n.entries != nil {
		m.entries, m.safeEntries = map[string]*node{}, map[string]*node{}
		from := n.safeEntries
		if c.running {
			from = n.entries
		}
		for name, e := range from {
			m.safeEntries[name] = e // still the original: effects name those
		}
	}
	return m
}

// settle replaces what the entries lead to by copies, until all is copied, and
// shows what is safe to who runs next.
func (c *copier) settle() {
	for done := map[*node]bool{}; ; {
		before := len(done)
		for original, m := range c.made {
			if done[m] {
				continue
			}
			done[m] = true
			for name, e := range m.safeEntries {
				m.safeEntries[name] = c.node(e)
				m.entries[name] = m.safeEntries[name]
			}
			m.data = slices.Clone(m.safe)
			_ = original
		}
		if len(done) == before {
			return
		}
	}
}
