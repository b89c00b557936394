package disktest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/p2pnode/p2pnode/content/store/disk"
)

// Semantics is the kind of system that an FS is.
type Semantics uint8

// The kinds of systems.
const (
	POSIX Semantics = iota
	Windows
)

func (s Semantics) String() string { return [...]string{"POSIX", "Windows"}[s] }

// ErrOpen is what Windows says of a file that something has open.
var ErrOpen = errors.New("the process cannot access the file because it is being used by another process")

// An FS is a file system in memory. It implements disk.FS.
type FS struct {
	semantics Semantics

	mu       sync.Mutex
	root     *node
	changes  []change // of names, not durable yet, the oldest first
	seq      int      // of the latest effect or change
	ops      int      // done so far
	boots    int      // handles of an earlier one are of no use
	locks    map[string]bool
	fault    func(Op) error
	watch    func(Op, *Image)
	drop     func(n int) bool
	capacity int64 // bytes; 0 without limit
}

var _ disk.FS = (*FS)(nil)

// New returns an empty file system: a root folder.
func New(s Semantics) *FS {
	return &FS{semantics: s, root: newFolder(), locks: make(map[string]bool)}
}

// A node is a file or a folder.
type node struct {
	folder  bool
	modTime time.Time
	place   int // among the nodes of an Image

	// Of a folder: its entries, as they are seen and as a crash leaves them if no
	// change that is pending survives.
	entries, durable map[string]*node

	file
}

func newFolder() *node {
	return &node{folder: true, modTime: time.Now(), entries: map[string]*node{}, durable: map[string]*node{}}
}

// A change is one of names that is done as a whole, or not at all.
type change struct {
	seq  int
	sets []set
}

// A set makes name of a folder stand for another node, or for none.
type set struct {
	folder *node
	name   string
	to     *node
}

// see does a set for all to see.
func (s set) see() {
	if s.to == nil {
		delete(s.folder.entries, s.name)
	} else {
		s.folder.entries[s.name] = s.to
	}
}

// apply makes a set durable.
func (s set) apply() {
	if s.to == nil {
		delete(s.folder.durable, s.name)
	} else {
		s.folder.durable[s.name] = s.to
	}
}

// apply makes a change durable.
func (c change) apply() {
	for _, s := range c.sets {
		s.apply()
	}
}

// change does a change, for all to see.
func (f *FS) change(sets ...set) {
	f.seq++
	for _, s := range sets {
		s.see()
		s.folder.modTime = time.Now()
	}
	f.changes = append(f.changes, change{f.seq, sets})
}

// settle makes changes durable: those of a folder, or all if it is nil.
func (f *FS) settle(folder *node) {
	var left []change // not in place: an Image may have the old
	for _, c := range f.changes {
		if folder == nil || slices.ContainsFunc(c.sets, func(s set) bool { return s.folder == folder }) {
			c.apply()
		} else {
			left = append(left, c)
		}
	}
	f.changes = left
}

// Kill ends the process that uses the file system, in a manner of speaking: its
// files are closed and its locks free, and nothing of what it wrote is lost.
func (f *FS) Kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.boots++
	clear(f.locks)
	f.root.walk(func(n *node) { n.open = 0 })
}

func (n *node) walk(each func(*node)) {
	each(n)
	for _, e := range n.entries {
		e.walk(each)
	}
}

// Resize says how many bytes the disk has; 0 is no limit. A page of a file takes
// room once it was written to.
func (f *FS) Resize(capacity int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.capacity = capacity
}

func (f *FS) free() int64 {
	free := f.capacity
	f.root.walk(func(n *node) { free -= n.allocated() })
	return max(0, free)
}

// clean returns a name without a volume, with forward slashes, and none at its ends.
func clean(name string) string {
	return strings.Trim(filepath.ToSlash(name[len(filepath.VolumeName(name)):]), "/")
}

func (f *FS) find(name string) (*node, error) { return f.walk(clean(name)) }

// walk is find for a name that is clean.
func (f *FS) walk(name string) (*node, error) {
	n := f.root
	for name != "" {
		var p string
		if p, name, _ = strings.Cut(name, "/"); p == "." {
			continue
		}
		if !n.folder {
			return nil, syscall.ENOTDIR
		}
		next, ok := n.entries[p]
		if !ok {
			return nil, fs.ErrNotExist
		}
		n = next
	}
	return n, nil
}

// parent returns the folder that a name is in, and its last part.
func (f *FS) parent(name string) (*node, string, error) {
	name = clean(name)
	if name == "" {
		return nil, "", fs.ErrInvalid
	}
	dir, base := path.Split(name)
	n, err := f.walk(strings.TrimSuffix(dir, "/"))
	if err == nil && !n.folder {
		err = syscall.ENOTDIR
	}
	return n, base, err
}

func fail(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// below returns the name of what is at a manifest's path in a folder.
func below(dir, p string) (string, error) {
	if !filepath.IsLocal(filepath.FromSlash(p)) {
		return "", fail("openat", p, errors.New("path escapes from parent"))
	}
	return filepath.Join(dir, filepath.FromSlash(p)), nil
}

// Open implements disk.FS.
func (f *FS) Open(name string, flag int) (disk.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.find(name)
	missing := errors.Is(err, fs.ErrNotExist)
	kind := Open
	if missing && flag&os.O_CREATE != 0 || err == nil && flag&os.O_TRUNC != 0 {
		kind = Create
	}
	if err := f.begin(Op{Kind: kind, Name: name}); err != nil {
		return nil, fail("open", name, err)
	}
	switch {
	case err == nil && flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		err = fs.ErrExist
	case err == nil && n.folder:
		err = syscall.EISDIR
	case err == nil && flag&os.O_TRUNC != 0:
		f.truncate(n, 0)
	case missing && flag&os.O_CREATE != 0:
		var in *node
		var base string
		if in, base, err = f.parent(name); err == nil {
			n = &node{modTime: time.Now()}
			f.change(set{in, base, n})
		}
	}
	if err != nil {
		return nil, fail("open", name, err)
	}
	n.open++
	return &handle{fs: f, node: n, name: name, boot: f.boots, access: flag & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)}, nil
}

// OpenBelow implements disk.FS.
func (f *FS) OpenBelow(dir, p string, flag int) (disk.File, error) {
	name, err := below(dir, p)
	if err != nil {
		return nil, err
	}
	return f.Open(name, flag)
}

// Mkdir implements disk.FS.
func (f *FS) Mkdir(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.begin(Op{Kind: Mkdir, Name: name})
	if err == nil {
		err = f.mkdir(name)
	}
	if err != nil {
		return fail("mkdir", name, err)
	}
	return nil
}

func (f *FS) mkdir(name string) error {
	if _, err := f.find(name); err == nil {
		return fs.ErrExist
	}
	in, base, err := f.parent(name)
	if err != nil {
		return err
	}
	f.change(set{in, base, newFolder()})
	return nil
}

// MkdirAll implements disk.FS.
func (f *FS) MkdirAll(name string) error {
	if info, err := f.Lstat(name); err == nil {
		if !info.IsDir() {
			return fail("mkdir", name, syscall.ENOTDIR)
		}
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := f.MkdirAll(filepath.Dir(name)); err != nil {
		return err
	}
	if err := f.Mkdir(name); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// MkdirBelow implements disk.FS.
func (f *FS) MkdirBelow(dir, p string) error { return belowDo(dir, p, f.Mkdir) }

// MkdirAllBelow implements disk.FS.
func (f *FS) MkdirAllBelow(dir, p string) error { return belowDo(dir, p, f.MkdirAll) }

// RemoveBelow implements disk.FS.
func (f *FS) RemoveBelow(dir, p string) error { return belowDo(dir, p, f.Remove) }

func belowDo(dir, p string, do func(string) error) error {
	name, err := below(dir, p)
	if err != nil {
		return err
	}
	return do(name)
}

// RenameBelow implements disk.FS.
func (f *FS) RenameBelow(dir, from, to string) error {
	return belowDo(dir, from, func(from string) error {
		return belowDo(dir, to, func(to string) error { return f.Rename(from, to) })
	})
}

// Rename implements disk.FS.
func (f *FS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.begin(Op{Kind: Rename, Name: from, To: to})
	if err == nil {
		err = f.rename(from, to)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

func (f *FS) rename(from, to string) error {
	n, err := f.find(from)
	if err != nil {
		return err
	}
	fromIn, fromBase, err := f.parent(from)
	if err != nil {
		return err
	}
	toIn, toBase, err := f.parent(to)
	if err != nil {
		return err
	}
	over := toIn.entries[toBase]
	switch {
	case over == n:
		return nil
	case over != nil && over.folder:
		return fs.ErrExist // as package os, on every system
	case f.inUse(n) || over != nil && f.inUse(over):
		return ErrOpen
	}
	f.change(set{fromIn, fromBase, nil}, set{toIn, toBase, n})
	if f.semantics == Windows {
		f.settle(nil)
	}
	return nil
}

// inUse reports whether an open file is in the way of changing a node's name.
func (f *FS) inUse(n *node) (yes bool) {
	if f.semantics == Windows {
		n.walk(func(n *node) { yes = yes || n.open > 0 })
	}
	return yes
}

// Remove implements disk.FS.
func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.begin(Op{Kind: Remove, Name: name})
	if err == nil {
		err = f.remove(name)
	}
	if err != nil {
		return fail("remove", name, err)
	}
	return nil
}

func (f *FS) remove(name string) error {
	n, err := f.find(name)
	if err != nil {
		return err
	}
	in, base, err := f.parent(name)
	switch {
	case err != nil:
		return err
	case len(n.entries) > 0:
		return syscall.ENOTEMPTY
	case f.inUse(n):
		return ErrOpen
	}
	f.change(set{in, base, nil})
	return nil
}

// RemoveAll implements disk.FS.
func (f *FS) RemoveAll(name string) error {
	entries, err := f.ReadDir(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	for _, e := range entries {
		if err := f.RemoveAll(filepath.Join(name, e.Name())); err != nil {
			return err
		}
	}
	return disk.RemoveIfThere(f, name)
}

// SyncFolder implements disk.FS.
func (f *FS) SyncFolder(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.begin(Op{Kind: SyncFolder, Name: name})
	if err != nil {
		return fail("fsync", name, err)
	}
	n, err := f.find(name)
	if err != nil {
		return fail("open", name, err)
	}
	if f.semantics == POSIX {
		f.settle(n)
	}
	return nil
}

// Lstat implements disk.FS.
func (f *FS) Lstat(name string) (fs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.begin(Op{Kind: Stat, Name: name})
	if err != nil {
		return nil, fail("lstat", name, err)
	}
	n, err := f.find(name)
	if err != nil {
		return nil, fail("lstat", name, err)
	}
	return n.info(name), nil
}

// LstatBelow implements disk.FS.
func (f *FS) LstatBelow(dir, p string) (fs.FileInfo, error) {
	name, err := below(dir, p)
	if err != nil {
		return nil, err
	}
	return f.Lstat(name)
}

// ReadDir implements disk.FS.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin(Op{Kind: ReadDir, Name: name}); err != nil {
		return nil, fail("readdirent", name, err)
	}
	n, err := f.find(name)
	if err == nil && !n.folder {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, fail("open", name, err)
	}
	var entries []fs.DirEntry
	for _, base := range slices.Sorted(maps.Keys(n.entries)) {
		entries = append(entries, fs.FileInfoToDirEntry(n.entries[base].info(base)))
	}
	return entries, nil
}

// Lock implements disk.FS.
func (f *FS) Lock(name string) (io.Closer, error) {
	file, err := f.Open(name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.locks[name] {
		return nil, fmt.Errorf("lock %s: %w", name, disk.ErrLocked)
	}
	f.locks[name] = true
	return &lock{file.(*handle)}, nil
}

type lock struct{ *handle }

func (l *lock) Close() error {
	l.fs.mu.Lock()
	if l.boot == l.fs.boots {
		delete(l.fs.locks, l.name)
	}
	l.fs.mu.Unlock()
	return l.handle.Close()
}

// Space implements disk.FS.
func (f *FS) Space(name string) (free, total uint64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin(Op{Kind: Space, Name: name}); err != nil {
		return 0, 0, fail("statfs", name, err)
	}
	if f.capacity == 0 {
		return 1 << 50, 1 << 50, nil
	}
	return uint64(f.free()), uint64(f.capacity), nil
}
