package disktest

import (
	"errors"
	"hash/maphash"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/p2pnode/p2pnode/content/store/disk"
)

// Damage changes the bytes of a file behind everybody's back, on the disk and as
// they are read. What is returned takes the place of the argument.
func (f *FS) Damage(name string, how func(data []byte) []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.find(name)
	if err == nil && n.folder {
		err = syscall.EISDIR
	}
	if err != nil {
		return fail("damage", name, err)
	}
	n.data = how(slices.Clone(n.data))
	n.base, n.effects = slices.Clone(n.data), nil
	return nil
}

// Copy copies a folder of the system's into the file system, synced.
func (f *FS) Copy(to string, from fs.FS) error {
	return fs.WalkDir(from, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.Join(to, filepath.FromSlash(p))
		if d.IsDir() {
			return f.MkdirAll(name)
		}
		data, err := fs.ReadFile(from, p)
		if err != nil {
			return err
		}
		err = disk.Write(f, filepath.Dir(name), filepath.Base(name), data)
		return errors.Join(err, f.SyncFolder(filepath.Dir(name)))
	})
}

// Files returns the bytes of all files below a folder, by path.
func (f *FS) Files(dir string) (map[string][]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.find(dir)
	if err != nil {
		return nil, fail("read", dir, err)
	}
	files := make(map[string][]byte)
	var gather func(n *node, at string)
	gather = func(n *node, at string) {
		if !n.folder {
			files[at] = slices.Clone(n.data)
		}
		for name, e := range n.entries {
			gather(e, path.Join(at, name))
		}
	}
	gather(n, "")
	return files, nil
}

var sumSeed = maphash.MakeSeed()

// Sum returns a number that says which names there are, and what bytes their files
// have: in this process the same of two file systems that are seen alike, and of
// others with 64 bits of luck.
func (f *FS) Sum() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	var h maphash.Hash
	h.SetSeed(sumSeed)
	return f.root.sum(&h)
}

// sum does that for a node, whatever the order of its entries.
func (n *node) sum(h *maphash.Hash) (sum uint64) {
	if !n.folder {
		return maphash.Bytes(sumSeed, n.data)
	}
	for name, e := range n.entries {
		of := e.sum(h)
		h.Reset()
		h.WriteString(name)
		maphash.WriteComparable(h, of)
		sum += h.Sum64()
	}
	return sum
}

type info struct {
	name string
	size int64
	mode fs.FileMode
	time time.Time
}

func (n *node) info(name string) fs.FileInfo {
	i := info{name: filepath.Base(name), size: int64(len(n.data)), mode: disk.FileMode, time: n.modTime}
	if n.folder {
		i.mode = disk.FolderMode | fs.ModeDir
	}
	return i
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return i.time }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }
