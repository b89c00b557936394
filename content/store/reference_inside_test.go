package store

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// Run notices what nobody reads, and lets go of what was removed.
func TestRunLooksAtReferences(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, sample.Data, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s := openAt(t, t.TempDir())
		defer s.Close()
		go s.Run(t.Context())
		c, err := s.Reference(sample.Encoded, sample.Blocks, []Source{{path, info}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.ReadBlock(0, 0, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * lookEvery)
		synctest.Wait()
		if !c.Complete() {
			t.Error("not complete with a file that is there")
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookEvery + time.Second)
		synctest.Wait()
		if c.Complete() || c.Progress() > 0 {
			t.Errorf("%d bytes of a file that is gone", c.Progress())
		}
		s.files.mu.Lock()
		defer s.files.mu.Unlock()
		for open := range s.files.open {
			if open.file < listsFile {
				t.Error("a removed file is open")
			}
		}
	})
}

// What a crash left of a file that was becoming the content's own is gone with the
// next start.
func TestOpenSweepsOwn(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	path, dir := filepath.Join(t.TempDir(), "file"), t.TempDir()
	if err := os.WriteFile(path, sample.Data, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	s := openAt(t, dir)
	c, err := s.Reference(sample.Encoded, sample.Blocks, []Source{{path, info}})
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(c.dir, ownPrefix+"0")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, dir)
	defer s.Close()
	if _, err := os.Lstat(left); err == nil {
		t.Error("still there")
	}
	if c, ok := s.Get(sample.ID); !ok || !c.Complete() {
		t.Error("not complete")
	}
}

// A references file that a crash or a disk damaged names no file that the manifest
// doesn't have, and no place that isn't one.
func FuzzReferences(f *testing.F) {
	m := storetest.Tree(f, 1).Manifest
	head := binary.LittleEndian.AppendUint32(nil, 3)
	head = append(head, make([]byte, 16)...)
	good := appendRecord([]byte(referencesMagic), kindFile, head, []byte(f.TempDir()))
	f.Add(good)
	f.Add(appendRecord(good, kindFile, head, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<20 {
			return
		}
		_, _ = readJournal(bytes.NewReader(b), int64(len(b)), referencesMagic, func(r record) error {
			i, ref := readReference(r, m)
			if ref == nil {
				return nil
			}
			if i >= len(m.Files) || m.Files[i].Size == 0 || ref.size != m.Files[i].Size || !filepath.IsAbs(ref.path) || len(ref.path) > maxPlace {
				t.Errorf("file %d of %d bytes at %q", i, ref.size, ref.path)
			}
			return nil
		})
	})
}
