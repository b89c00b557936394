package store_test

import (
	"errors"
	"syscall"
	"testing"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/disk/disktest"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// Who waits for the disk learns when it takes the rest of a content, and not from
// room that the content itself would give up.
func TestReady(t *testing.T) {
	sample := storetest.File(t, 1, 3<<20, storetest.Small)
	t.Run("full", func(t *testing.T) {
		s, p := onPlatter(t, 8<<20, store.Config{Floor: 1 << 20})
		c, half := fetchMost(t, s, sample)
		p.others.Store(p.size - 1<<20 - half)
		if err := s.Ready(sample.ID); !errors.Is(err, content.ErrNoSpace) {
			t.Errorf("without room for the rest: %v", err)
		}
		if now, ok := s.Get(sample.ID); !ok || now != c || c.Progress() != half {
			t.Errorf("%d of %d bytes are left", c.Progress(), half)
		}
		p.others.Store(0)
		if err := s.Ready(sample.ID); err != nil {
			t.Errorf("with room: %v", err)
		}
	})
	t.Run("refuses", func(t *testing.T) {
		disk := disktest.New(disktest.POSIX)
		s, err := store.Open(store.Config{Dir: "/store", FS: disk, Floor: store.NoFloor}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		c, _ := fetchMost(t, s, sample)
		disk.Fault(func(op disktest.Op) error {
			if op.Kind == disktest.Write {
				return syscall.EROFS
			}
			return nil
		})
		if err := s.Ready(sample.ID); !errors.Is(err, syscall.EROFS) {
			t.Errorf("read-only: %v", err)
		}
		disk.Fault(func(op disktest.Op) error {
			if op.Kind == disktest.Sync {
				return syscall.EIO
			}
			return nil
		})
		if err := c.Flush(t.Context()); err == nil || !c.Failed() {
			t.Fatalf("flushed: %v", err)
		}
		disk.Fault(nil)
		if err := s.Ready(sample.ID); !errors.Is(err, syscall.EIO) { // until Run has loaded it anew
			t.Errorf("after a failed sync: %v", err)
		}
		if entries, err := disk.ReadDir("/store/content"); err != nil || len(entries) != 1 {
			t.Errorf("%d folders, %v", len(entries), err)
		}
	})
}
