package store

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content/store/disk/disktest"
)

// Power is lost before every operation of a publishing over a content that is here
// in part, pinned and with a release: one of both is there, and so is what was
// promised of the old.
func TestPublishingOverPartLosesNeither(t *testing.T) {
	t.Parallel()
	const tries = 20
	for _, semantics := range []disktest.Semantics{disktest.POSIX, disktest.Windows} {
		t.Run(semantics.String(), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			w := newWorld(t, semantics, seed, nil)
			if err := w.open(); err != nil {
				t.Fatal(err)
			}
			for _, step := range strings.Fields("begin0 write0 flush0 begin1 release1 write1 flush1 write1") {
				if err := w.actBy(step); err != nil {
					t.Fatal(err)
				}
			}
			id := w.samples[1].ID
			c, _ := w.s.Get(id)
			if err := c.Pin(true); err != nil || c.Complete() {
				t.Fatalf("pin: %v, complete %v", err, c.Complete())
			}
			w.promise(1, func(p *promise) { p.pinned = []bool{true} })
			states, aside, placed, committing := 0, 0, 0, false
			r := rand.New(rand.NewPCG(seed, 2))
			w.model.Watch(func(op disktest.Op, image *disktest.Image) {
				if committing = committing || isCommit(op); !committing {
					return
				}
				for try := range tries {
					states++
					keep := []disktest.Keep{disktest.None, disktest.All, disktest.Some}[min(try, 2)]
					crashed := image.Crash(keep, r)
					if _, err := crashed.Lstat(powerDir + "/content/" + asidePrefix + id.String()); err == nil {
						aside++
					}
					if err := w.promises.Load().check(crashed, crashed, r, try%8 == 2); err != nil {
						t.Errorf("%v, seed %d, crash %d before %v: %v", semantics, seed, try, op, err)
					}
					if _, err := crashed.Lstat(powerDir + "/content/" + id.String() + "/" + listsName); err == nil {
						placed++
					}
				}
			})
			if err := w.publish(1); err != nil {
				t.Error(err)
			}
			w.model.Watch(nil)
			if aside == 0 || placed == 0 || placed == states {
				t.Errorf("of %d states the old was aside in %d, and the new there in %d", states, aside, placed)
			}
			if c, _ := w.s.Get(id); !c.Pinned() || len(c.Releases()) != 1 {
				t.Errorf("published: pinned %v, releases %q", c.Pinned(), c.Releases())
			}
		})
	}
}

// Nor does a publishing that the disk refuses at any operation.
func TestRefusedPublishingLeavesTheOld(t *testing.T) {
	t.Parallel()
	for n := 1; ; n++ {
		w := newWorld(t, disktest.POSIX, 1, nil)
		if err := w.open(); err != nil {
			t.Fatal(err)
		}
		for _, step := range strings.Fields("begin1 release1 write1 flush1") {
			if err := w.actBy(step); err != nil {
				t.Fatal(err)
			}
		}
		c, _ := w.s.Get(w.samples[1].ID)
		if err := c.Pin(true); err != nil {
			t.Fatal(err)
		}
		w.promise(1, func(p *promise) { p.pinned = []bool{true} })
		w.faulty = true
		count, first, committing := 0, disktest.Op{}, false
		w.model.Fault(func(op disktest.Op) error {
			if committing = committing || isCommit(op); !committing {
				return nil
			}
			if count++; count < n {
				return nil
			}
			if count == n {
				first = op
			}
			return syscall.EIO // to the end of the publishing
		})
		refused := w.publish(1)
		w.model.Fault(nil)
		if count < n {
			return
		}
		if err := w.recover(faultKind{err: syscall.EIO}); err != nil {
			t.Errorf("from %v on, the %dth operation, all fail, %v: %v", first, n, refused, err)
		}
	}
}

// isCommit reports whether an operation is the first of Stage.Commit.
func isCommit(op disktest.Op) bool {
	return op.Kind == disktest.Create && filepath.Base(op.Name) == rootName
}

// A content whose manifest is damaged keeps its releases and its pin too.
func TestPublishingOverUnreadableKeepsReleasesAndPin(t *testing.T) {
	image, promised := built(t, powerSamples(t)[:3]...)
	model := image.Kill()
	s, err := Open(powerConfig(model), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	c, _ := s.Get(promised.samples[0].ID)
	if err := errors.Join(c.Pin(true), s.Close()); err != nil {
		t.Fatal(err)
	}
	dir := powerDir + "/content/" + promised.samples[0].ID.String()
	if err := model.Damage(dir+"/"+rootName, func(data []byte) []byte { clear(data); return data }); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(powerConfig(model), zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Get(promised.samples[0].ID); ok {
		t.Fatal("a content without a manifest is there")
	}
	w := newWorld(t, disktest.POSIX, 1, nil)
	w.s = s
	if err := w.publish(0); err != nil {
		t.Fatal(err)
	}
	if c, _ = s.Get(promised.samples[0].ID); !c.Pinned() || len(c.Releases()) != 1 || !c.Complete() {
		t.Errorf("pinned %v, releases %q, complete %v", c.Pinned(), c.Releases(), c.Complete())
	}
}
