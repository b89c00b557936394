package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/p2pnode/p2pnode/content/store/disk"
	"github.com/p2pnode/p2pnode/content/store/disk/disktest"
)

// The tests of power loss and of faults find what they are for: each mutant is a
// mistake that a store could make, done to it by the file system below it.

// A mutant is a file system that does something else than it is asked to.
type mutant struct {
	disk.FS
	open       func(m *mutant, name string, flag int) (disk.File, error) // nil: as it should be
	rename     func(m *mutant, from, to string) error
	syncFolder func(name string) error
	sync       func(f disk.File) error

	mu    sync.Mutex
	later map[string]disk.File // to be synced after they are renamed, by name
}

func (m *mutant) Open(name string, flag int) (disk.File, error) {
	if m.open == nil {
		return m.wrap(m.FS.Open(name, flag))
	}
	return m.wrap(m.open(m, name, flag))
}

func (m *mutant) OpenBelow(dir, path string, flag int) (disk.File, error) {
	return m.wrap(m.FS.OpenBelow(dir, path, flag))
}

func (m *mutant) wrap(f disk.File, err error) (disk.File, error) {
	if err != nil || m.sync == nil {
		return f, err
	}
	return mutantFile{f, m}, nil
}

func (m *mutant) Rename(from, to string) error {
	if m.rename == nil {
		return m.FS.Rename(from, to)
	}
	return m.rename(m, from, to)
}

func (m *mutant) SyncFolder(name string) error {
	if m.syncFolder == nil {
		return m.FS.SyncFolder(name)
	}
	return m.syncFolder(name)
}

type mutantFile struct {
	disk.File
	of *mutant
}

func (f mutantFile) Sync() error { return f.of.sync(f.File) }

// isData reports whether a name is that of a file of some content's.
func isData(name string) bool {
	return strings.Contains(filepath.ToSlash(name), "/"+filesName+"/")
}

// mutants are the mistakes, and where they show.
var mutants = []struct {
	name    string
	fault   bool // in a life with faults; else in one that ends with a loss of power
	opening bool // when the store is opened, too
	make    func(d disk.FS) disk.FS
}{
	{name: "folders are not synced", make: func(d disk.FS) disk.FS {
		return &mutant{FS: d, syncFolder: func(string) error { return nil }}
	}},
	{name: "only the store's folder is not synced", make: func(d disk.FS) disk.FS {
		return &mutant{FS: d, syncFolder: func(name string) error {
			if filepath.ToSlash(name) == powerDir+"/content" {
				return nil
			}
			return d.SyncFolder(name)
		}}
	}},
	{name: "only folders of trees are not synced", make: func(d disk.FS) disk.FS {
		return &mutant{FS: d, syncFolder: func(name string) error {
			if isData(name) {
				return nil
			}
			return d.SyncFolder(name)
		}}
	}},
	{name: "the journal is written before the data is synced", make: func(d disk.FS) disk.FS {
		return &mutant{FS: d, sync: func(f disk.File) error {
			if isData(f.Name()) {
				return nil
			}
			return f.Sync()
		}}
	}},
	{name: "the journal is not synced", make: func(d disk.FS) disk.FS {
		return &mutant{FS: d, sync: func(f disk.File) error {
			if filepath.Base(f.Name()) == journalName {
				return nil
			}
			return f.Sync()
		}}
	}},
	{name: "a file is renamed before it is synced", make: func(d disk.FS) disk.FS {
		m := &mutant{FS: d, later: make(map[string]disk.File)}
		m.sync = func(f disk.File) error {
			if !strings.HasSuffix(f.Name(), ".tmp") {
				return f.Sync()
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			m.later[f.Name()] = f
			return nil
		}
		m.rename = func(m *mutant, from, to string) error {
			err := d.Rename(from, to)
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.later[from] == nil || err != nil {
				return err
			}
			delete(m.later, from)
			f, err := d.Open(to, os.O_RDWR)
			if err != nil {
				return err
			}
			defer f.Close()
			return f.Sync()
		}
		return m
	}},
	{name: "the journal goes before the lists are there", make: func(d disk.FS) disk.FS {
		return sloppy{&mutant{FS: d, open: func(_ *mutant, name string, flag int) (disk.File, error) {
			if filepath.Base(name) == listsName+".tmp" {
				if err := disk.RemoveIfThere(d, filepath.Join(filepath.Dir(name), journalName)); err != nil {
					return nil, err
				}
			}
			return d.Open(name, flag)
		}}}
	}},
	{name: "a content is removed before its new name is on the disk", make: func(d disk.FS) disk.FS {
		return &mutant{FS: d, rename: func(_ *mutant, from, to string) error {
			if err := d.Rename(from, to); err != nil || !strings.HasPrefix(filepath.Base(to), oldPrefix) {
				return err
			}
			return d.RemoveAll(filepath.Join(to, filesName))
		}}
	}},
	{name: "what makes way goes before the new is there", make: func(d disk.FS) disk.FS {
		return &mutant{FS: d, rename: func(_ *mutant, from, to string) error {
			if !strings.HasPrefix(filepath.Base(to), asidePrefix) {
				return d.Rename(from, to)
			}
			return errors.Join(d.RemoveAll(from), d.Mkdir(to))
		}}
	}},
	{name: "what is there counts before it is hashed", opening: true, make: func(d disk.FS) disk.FS {
		return &mutant{FS: d, open: believe}
	}},
	{name: "a failed sync is taken for done", fault: true, make: func(d disk.FS) disk.FS {
		return &mutant{FS: d, sync: func(f disk.File) error {
			_ = f.Sync()
			return nil
		}}
	}},
	{name: "a failed sync is tried again", fault: true, make: func(d disk.FS) disk.FS {
		return &mutant{FS: d, sync: func(f disk.File) error {
			if f.Sync() == nil {
				return nil
			}
			return f.Sync()
		}}
	}},
}

// sloppy is a file system on which what is gone can be removed.
type sloppy struct{ *mutant }

func (s sloppy) Remove(name string) error { return disk.RemoveIfThere(s.mutant, name) }

// believe opens a journal that says of each list that its blocks are verified.
func believe(m *mutant, name string, flag int) (disk.File, error) {
	f, err := m.FS.Open(name, flag)
	if err != nil || filepath.Base(name) != journalName || flag != os.O_RDWR {
		return f, err
	}
	info, err := f.Stat()
	if err != nil {
		return f, nil
	}
	old := make([]byte, info.Size())
	if _, err := f.ReadAt(old, 0); err != nil {
		return f, nil
	}
	var more []byte
	end, err := readJournal(bytes.NewReader(old), info.Size(), journalMagic, func(r record) error {
		if chunk, _, ok := r.list(1 << 20); ok {
			more = appendVerified(more, chunk, ^uint64(0))
		}
		return nil
	})
	if err == nil {
		_, err = f.WriteAt(more, end)
	}
	return f, err
}

func TestMutantsAreFound(t *testing.T) {
	t.Parallel()
	if testing.Short() || raceEnabled {
		t.Skip("short mode: mutants take as many states as what they are mutants of")
	}
	p := powerPlan(t)
	p.enough = 1
	for _, m := range mutants {
		var problems []string
		var n int
		if m.fault {
			for _, kind := range faultKinds {
				if kind.hits(disktest.Sync) && !kind.on {
					tried, found := sweep(t, kind, p, m.make)
					problems, n = append(problems, found...), n+tried
				}
			}
		} else {
			opened := asItIs
			if m.opening {
				opened = func(d *disktest.FS) disk.FS { return m.make(d) }
			}
			n, problems = losePower(t, disktest.POSIX, p, m.make, opened)
		}
		if len(problems) == 0 {
			t.Errorf("%s: not found in %d states, seed %d", m.name, n, p.seed)
			continue
		}
		first, _, _ := strings.Cut(problems[0], "\n")
		t.Logf("%s: found after %d states: %s", m.name, n, first)
	}
}
