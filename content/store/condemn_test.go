package store

import (
	"errors"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk/disktest"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// Damage that the disk didn't let the store note is noted and told when it does: by
// the content that met it, or by the one that took its place after a failed sync.
func TestDamageIsToldOnceTheDiskTakesIt(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	refs := sample.Refs()
	for name, fails := range map[string]func(disktest.Op) bool{
		"no new journal": func(op disktest.Op) bool { return filepath.Base(op.Name) == journalName+".tmp" },
		"no sync":        func(op disktest.Op) bool { return op.Kind == disktest.Sync || op.Kind == disktest.SyncFolder },
		"nothing":        func(op disktest.Op) bool { return op.Kind.Changes() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				told := 0
				cfg := powerConfig(disktest.New(disktest.POSIX))
				cfg.Hooks.Damaged = func(*Content) { told++ }
				model := cfg.FS.(*disktest.FS)
				s, err := Open(cfg, zap.NewNop())
				if err != nil {
					t.Fatal(err)
				}
				c := begin(t, s, sample)
				put(t, c, sample, refs[:len(refs)-2]...)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				err = model.Damage(c.dir+"/files/"+sample.Manifest.Files[0].Path, func(data []byte) []byte { data[0] ^= 1; return data })
				if err != nil {
					t.Fatal(err)
				}
				if s, err = Open(cfg, zap.NewNop()); err != nil {
					t.Fatal(err)
				}
				go s.Run(t.Context())
				c, _ = s.Get(sample.ID)
				put(t, c, sample, refs[len(refs)-2])
				model.Fault(func(op disktest.Op) error {
					if fails(op) {
						return syscall.EIO
					}
					return nil
				})
				if _, err := c.ReadBlock(0, 0, nil); !errors.Is(err, content.ErrCorrupt) {
					t.Errorf("read: %v", err)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if told != 0 {
					t.Errorf("told %d times of damage that isn't noted", told)
				}
				model.Fault(nil)
				time.Sleep(time.Minute)
				synctest.Wait()
				c, _ = s.Get(sample.ID)
				if told != 1 || !c.Damaged() || c.Verified(0)&1 != 0 {
					t.Errorf("told %d times; damaged %v, verified %b", told, c.Damaged(), c.Verified(0))
				}
				put(t, c, sample, refs[0], refs[len(refs)-1])
				time.Sleep(time.Minute)
				synctest.Wait()
				if c.Damaged() || !c.Complete() {
					t.Errorf("fetched: damaged %v, complete %v", c.Damaged(), c.Complete())
				}
				if trouble := s.Trouble(); len(trouble) > 0 {
					t.Errorf("trouble: %v", trouble)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
