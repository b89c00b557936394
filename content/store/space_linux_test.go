package store_test

import (
	"errors"
	"fmt"
	"io/fs"
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

// smallDisk returns a folder on a disk of its own, and how many bytes are free there.
func smallDisk(t *testing.T, size string) (dir string, free func() int64) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("needs root: mount a small disk: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir, func() int64 {
		var s unix.Statfs_t
		if err := unix.Statfs(dir, &s); err != nil {
			t.Fatal(err)
		}
		return int64(s.Bavail) * int64(s.Bsize)
	}
}

// tinyFiles returns a tree of n files of 600 bytes.
func tinyFiles(t *testing.T, n int) *storetest.Sample {
	files := []content.File{{Path: ".", Mode: fs.ModeDir | 0o755}}
	for i := range n {
		files = append(files, content.File{Path: fmt.Sprintf("f%05d", i), Size: 600, Mode: 0o644})
	}
	return storetest.New(t, 3, storetest.Small, files...)
}

// A tree of small files takes several times the disk that its bytes are: that is
// what has to fit, and what the usage tells.
func TestSmallFilesAreReservedAsTheDiskTakesThem(t *testing.T) {
	dir, free := smallDisk(t, "8m")
	s := open(t, store.Config{Dir: filepath.Join(dir, "store"), Floor: store.NoFloor, Quota: store.NoLimit})
	defer s.Close()
	before := free()
	if _, _, err := s.Receive(tinyFiles(t, 2500).Encoded); !errors.Is(err, content.ErrNoSpace) {
		t.Fatalf("2,500 files of 4 KiB on a disk of 8 MiB: %v", err)
	}
	sample := tinyFiles(t, 1200)
	_, room, err := s.Receive(sample.Encoded)
	if err != nil {
		t.Fatal(err)
	}
	fetch(t, s, sample)
	room.Release()
	took := before - free()
	if u, err := s.Usage(); err != nil || u.Used < took || u.Used > took*5/4 {
		t.Errorf("%d bytes are told to be used, %d are: %v", u.Used, took, err)
	}
}

// The floor holds for small files too, if nothing was reserved.
func TestFloorHoldsForSmallFiles(t *testing.T) {
	dir, free := smallDisk(t, "8m")
	const floor = 2 << 20
	s := open(t, store.Config{Dir: filepath.Join(dir, "store"), Floor: floor, Quota: store.NoLimit})
	defer s.Close()
	sample := tinyFiles(t, 2500)
	c, err := s.Begin(sample.Encoded)
	if err != nil {
		t.Fatal(err)
	}
	lists(t, c, sample)
	full := false
	for _, r := range sample.Refs() {
		if _, err := c.WriteBlock(r.Chunk, r.Block, sample.Block(r.Chunk, r.Block)); errors.Is(err, content.ErrNoSpace) {
			full = true
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if left := free(); !full || left < floor-64<<10 {
		t.Errorf("%d bytes are left, full: %v", left, full)
	}
}

// A disk that fills up loses nothing, shows nothing partial, and takes the rest
// when there is room again, without a restart.
func TestSmallDisk(t *testing.T) {
	dir, _ := smallDisk(t, "16m")
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
