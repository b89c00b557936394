package store

import (
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content/store/disk"
	"github.com/p2pnode/p2pnode/content/store/disk/disktest"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// pinning is a store with one complete content, which nobody has pinned.
func pinning(t *testing.T) (*disktest.FS, *Store, *Content) {
	t.Helper()
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	model := disktest.New(disktest.POSIX)
	s, err := Open(powerConfig(model), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	c := begin(t, s, sample)
	put(t, c, sample, sample.Refs()...)
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return model, s, c
}

// pinnedAfter reports whether the content is pinned after the process was killed.
func pinnedAfter(t *testing.T, model *disktest.FS, c *Content) bool {
	t.Helper()
	model.Kill()
	s, err := Open(powerConfig(model), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	again, ok := s.Get(c.id)
	if !ok {
		t.Fatal("the content is lost")
	}
	return again.Pinned()
}

// Who pins while another's pin is about to fail is not told that it is kept.
func TestPinTwiceWhileTheDiskFails(t *testing.T) {
	model, _, c := pinning(t)
	second := make(chan error, 1)
	failed := false
	model.Fault(func(op disktest.Op) error {
		if failed || op.Kind != disktest.Sync || !strings.HasPrefix(filepath.Base(op.Name), stateName) {
			return nil
		}
		failed = true
		go func() { second <- c.Pin(true) }()
		for range 1000 { // it has its turn
			if runtime.Gosched(); len(second) > 0 {
				break
			}
		}
		return syscall.EIO
	})
	if err := c.Pin(true); err == nil {
		t.Error("the first pin is kept on a disk that fails")
	}
	if err := <-second; err == nil && !c.Pinned() {
		t.Error("pinned, as the second was told, and isn't")
	}
	if !pinnedAfter(t, model, c) {
		t.Error("not pinned after a kill")
	}
}

// A pin that failed after its file was in place is taken back by who unpins.
func TestUnpinAfterAPinThatFailed(t *testing.T) {
	model, _, c := pinning(t)
	model.Fault(func(op disktest.Op) error {
		if op.Kind == disktest.SyncFolder {
			return syscall.EIO
		}
		return nil
	})
	if err := c.Pin(true); err == nil || c.Pinned() {
		t.Errorf("pin: %v, pinned %v", err, c.Pinned())
	}
	model.Fault(nil)
	if err := c.Pin(false); err != nil {
		t.Fatal(err)
	}
	if pinnedAfter(t, model, c) {
		t.Error("unpinned, and pinned after a kill")
	}
}

// A state file that says that the scrub is behind the last chunk has it begin anew.
func TestScrubBeginsAnewFromACursorThatIsNone(t *testing.T) {
	model, s, c := pinning(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, cursor := range []uint32{uint32(len(c.manifest.Chunks)), 1 << 31, ^uint32(0)} {
		err := disk.ReplaceBytes(model, c.dir, stateName, state{scrub: scrubbed{cursor: cursor}}.encode())
		if err != nil {
			t.Fatal(err)
		}
		s, err := Open(powerConfig(model), zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		if items := s.scrubItems(); len(items) != 1 || items[0].left != c.size {
			t.Errorf("cursor %d: %d of %d bytes are left to read", cursor, items[0].left, c.size)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// What could be loaded in part is not found by its chunks.
func TestFailedLoadLeavesNothingInTheIndex(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	model := disktest.New(disktest.POSIX)
	s, err := Open(powerConfig(model), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	c := begin(t, s, sample)
	put(t, c, sample, sample.Refs()...)
	model.Kill() // so that all is hashed and written again
	writes := 0
	model.Fault(func(op disktest.Op) error {
		if isData(op.Name) && op.Kind == disktest.Write {
			if writes++; writes == len(sample.Refs()) {
				return syscall.EIO
			}
		}
		return nil
	})
	if s, err = Open(powerConfig(model), zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Get(sample.ID); ok || writes < len(sample.Refs()) {
		t.Fatalf("loaded: %v, after %d writes", ok, writes)
	}
	if n := len(s.index.places); n > 0 {
		t.Errorf("%d chunks of a content that is not there are in the index", n)
	}
	model.Fault(nil)
	s.mendAll(t.Context())
	if c, ok := s.Get(sample.ID); !ok || !c.Complete() {
		t.Error("not mended")
	}
	for i, chunk := range sample.Manifest.Chunks {
		if _, _, ok := s.Find(chunk.Hash); !ok {
			t.Errorf("mended, and chunk %d is not found", i)
		}
	}
}
