package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

func TestFullDiskIsTold(t *testing.T) {
	sample := storetest.File(t, 1, 50_000, storetest.Small)
	dir := t.TempDir()
	s := open(t, store.Config{Dir: dir})
	defer s.Close()
	c, err := s.Begin(sample.Encoded)
	if err != nil {
		t.Fatal(err)
	}
	journal := filepath.Join(dir, "content", sample.ID.String(), "journal")
	saved := journal + ".saved"
	if err := errors.Join(os.Rename(journal, saved), os.Symlink("/dev/full", journal)); err != nil {
		t.Fatal(err)
	}
	if err := c.SetBlocks(0, sample.Nodes[0]); !errors.Is(err, content.ErrNoSpace) {
		t.Errorf("list on a full disk: %v", err)
	}
	if _, ok := c.Blocks(0); ok {
		t.Error("a list that was not kept is known")
	}
}

// A disk that fills up loses nothing, shows nothing partial, and takes the rest
// when there is room again, without a restart.
func TestSmallDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf("needs root: mount a small disk: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	s := open(t, store.Config{
		Dir: filepath.Join(dir, "store"), Floor: store.NoFloor,
		Space: func(string) (uint64, uint64, error) { return 1 << 40, 1 << 40, nil },
	})
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	sample := storetest.File(t, 1, 12<<20, storetest.Large)
	c, err := s.Begin(sample.Encoded)
	if err != nil {
		t.Fatal(err)
	}
	full := 0
	for _, r := range sample.Refs() {
		err := c.SetBlocks(r.Chunk, sample.Nodes[r.Chunk])
		if err == nil {
			_, err = c.WriteBlock(r.Chunk, r.Block, sample.Block(r.Chunk, r.Block))
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, content.ErrNoSpace) {
			t.Fatalf("full disk: %v", err)
		}
		full++
	}
	if full == 0 {
		t.Fatal("the disk was not filled")
	}
	if err := c.Flush(t.Context()); err != nil && !errors.Is(err, content.ErrNoSpace) {
		t.Errorf("flush on a full disk: %v", err)
	}
	right(t, c, sample)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	c, blocks, _ := fetch(t, s, sample)
	if blocks > full {
		t.Errorf("%d blocks fetched, %d were missing", blocks, full)
	}
	target := filepath.Join(dir, "copy")
	if err := c.Export(t.Context(), target, store.ExportOptions{}); !errors.Is(err, content.ErrNoSpace) {
		t.Errorf("export to a full disk: %v", err)
	}
	if _, err := os.Lstat(target); err == nil {
		t.Error("something partial is visible")
	}
	leftovers(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
