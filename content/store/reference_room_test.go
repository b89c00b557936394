package store_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// A file that becomes the content's own takes room that others make, and the floor
// holds.
func TestReferenceBecomesOwnAboveTheFloor(t *testing.T) {
	const total, floor = 1_000_000, 100_000
	var s *store.Store
	used := int64(0) // by others than the store
	space := func(string) (uint64, uint64, error) {
		left := total - used
		if s != nil {
			for _, c := range s.List() {
				left -= c.Occupies()
			}
		}
		return uint64(max(0, left)), total, nil
	}
	s = open(t, store.Config{Dir: storetest.TempDir(t), Floor: floor, Quota: store.NoLimit, Space: space})
	defer s.Close()
	old := storetest.File(t, 1, 400_000, storetest.Small)
	fetch(t, s, old)
	age(t, s, old)
	sample := storetest.File(t, 2, 300_000, storetest.Small)
	c, dir := inPlace(t, s, sample)
	path := filepath.Join(dir, "file.bin")
	info, err := os.Stat(path)
	must(t, err)
	must(t, errors.Join(edit(path), os.Chtimes(path, info.ModTime(), info.ModTime())))
	refs := sample.Refs()
	last := refs[len(refs)-1]
	if _, err := c.ReadBlock(last.Chunk, last.Block, nil); !errors.Is(err, content.ErrCorrupt) {
		t.Fatalf("read a changed block: %v", err)
	}
	used = 400_000
	s.LookAgain()
	if _, err := c.WriteBlock(last.Chunk, last.Block, sample.Block(last.Chunk, last.Block)); err != nil {
		t.Fatal(err)
	}
	if free, _, _ := space(""); free < floor || c.InPlace() {
		t.Errorf("%d bytes left of the disk; in place: %v", free, c.InPlace())
	}
	if held(s, old)[0] {
		t.Error("nothing made room")
	}
}

// What the content has of its own counts, whatever happens to the user's files.
func TestReferenceCountsItsOwn(t *testing.T) {
	block := func(b byte) []byte { return bytes.Repeat([]byte{b}, 4000) }
	var a, b [][]byte
	for i := range byte(8) {
		a, b = append(a, block(i), block(100+i)), append(b, block(200+i))
	}
	sample := storetest.Compose(t, storetest.Part{Path: "a", Blocks: a}, storetest.Part{Path: "b", Blocks: b})
	s := openStore(t, storetest.TempDir(t))
	third := s.Cost(sample.Manifest.Files) / 3 // as of the bytes
	c, dir := inPlace(t, s, sample)
	if n := c.Occupies(); n != 0 {
		t.Errorf("%d bytes of files that are the user's", n)
	}
	must(t, os.Remove(filepath.Join(dir, "b")))
	if _, err := c.Verify(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	c, blocks, _ := fetch(t, s, sample)
	if n := c.Occupies(); blocks == 0 || n != third {
		t.Errorf("%d blocks fetched, %d bytes counted", blocks, n)
	}
	must(t, os.Remove(filepath.Join(dir, "a")))
	if _, err := c.Verify(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if n := c.Occupies(); c.Complete() || n != third {
		t.Errorf("%d bytes counted when the user's are gone", n)
	}
}
