package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

func TestBeginRefusesWhatDoesNotFit(t *testing.T) {
	const size = 100_000
	sample := storetest.File(t, 1, size, storetest.Small)
	for _, test := range []struct {
		name        string
		floor       int64
		free, total uint64
		fits        bool
	}{
		{"a tenth is kept", 0, 200_000, 1_000_000, true},
		{"not into the tenth", 0, 199_999, 1_000_000, false},
		{"five GiB of a large disk are kept", 0, 5<<30 + size, 1 << 45, true},
		{"not into the five GiB", 0, 5<<30 + size - 1, 1 << 45, false},
		{"already below", 0, 1, 1_000_000, false},
		{"own floor", 10, size + 10, 1 << 40, true},
		{"not into the own floor", 10, size + 9, 1 << 40, false},
		{"no floor", store.NoFloor, size, 1 << 40, true},
		{"not what isn't there", store.NoFloor, size - 1, 1 << 40, false},
	} {
		dir := t.TempDir()
		s := open(t, store.Config{Dir: dir, Floor: test.floor, Space: func(string) (uint64, uint64, error) {
			return test.free, test.total, nil
		}})
		_, err := s.Begin(sample.Encoded)
		if test.fits != (err == nil) || err != nil && !errors.Is(err, content.ErrNoSpace) {
			t.Errorf("%s: %v", test.name, err)
		}
		if err != nil && !strings.Contains(err.Error(), "98 KiB needed") {
			t.Errorf("%s: doesn't tell what is needed: %v", test.name, err)
		}
		entries, _ := os.ReadDir(filepath.Join(dir, "content"))
		if want := map[bool]int{true: 1, false: 0}[test.fits]; len(entries) != want {
			t.Errorf("%s: %d folders, want %d", test.name, len(entries), want)
		}
		s.Close()
	}
}

// What is under way has its room: a second content must fit beside what the first
// still needs, and the first goes on in what it was promised.
func TestBeginCountsWhatIsUnderWay(t *testing.T) {
	first, second := storetest.File(t, 1, 100_000, storetest.Small), storetest.File(t, 2, 100_000, storetest.Small)
	free := uint64(150_000)
	s := open(t, store.Config{Floor: store.NoFloor, Space: func(string) (uint64, uint64, error) { return free, 1 << 40, nil }})
	defer s.Close()
	if _, err := s.Begin(first.Encoded); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Begin(second.Encoded); !errors.Is(err, content.ErrNoSpace) {
		t.Errorf("two in the room of one and a half: %v", err)
	}
	if _, err := s.Begin(first.Encoded); err != nil {
		t.Errorf("the first again: %v", err)
	}
	fetch(t, s, first)
	free = 50_000
	if _, err := s.Begin(second.Encoded); !errors.Is(err, content.ErrNoSpace) {
		t.Errorf("one in the room of a half: %v", err)
	}
	free = 100_000
	if _, err := s.Begin(second.Encoded); err != nil {
		t.Errorf("once there is room: %v", err)
	}
}

func TestFullDiskIsTold(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /dev/full")
	}
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

// TestSmallDisk fills a file system of some 16 MiB, and goes on when there is
// room again: STORE_TEST_SMALL_DISK has its folder.
func TestSmallDisk(t *testing.T) {
	dir := os.Getenv("STORE_TEST_SMALL_DISK")
	if dir == "" {
		t.Skip("STORE_TEST_SMALL_DISK is not set")
	}
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

func TestStoreIsOpenedOnce(t *testing.T) {
	dir := t.TempDir()
	s := open(t, store.Config{Dir: dir})
	if _, err := store.Open(store.Config{Dir: dir}, zap.NewNop()); !errors.Is(err, store.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, store.Config{Dir: dir}).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(store.Config{}, zap.NewNop()); err == nil {
		t.Error("opened nowhere")
	}
}
