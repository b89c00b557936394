package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/content/store/disk/disktest"
	"github.com/p2pnode/p2pnode/node/api"
)

// A trouble is a disk that refuses operations of some kinds from a moment on, until
// it is mended.
type trouble struct {
	*disktest.FS
	broken, mended atomic.Bool
}

// newTrouble breaks once after writes to files of contents were done, or with the
// first operation that hits.
func newTrouble(after int, err error, hits func(disktest.Kind) bool) *trouble {
	d := &trouble{FS: disktest.New(disktest.POSIX)}
	writes := 0
	d.Fault(func(op disktest.Op) error {
		if op.Kind == disktest.Write && strings.Contains(filepath.ToSlash(op.Name), "/files/") {
			writes++
		}
		if d.mended.Load() || writes < after || !hits(op.Kind) {
			return nil
		}
		d.broken.Store(true)
		return err
	})
	return d
}

func diskTakes(k disktest.Kind) bool {
	return k == disktest.Write || k == disktest.Create || k == disktest.Mkdir
}

// A get that was under way when the disk gave up says so, waits, and goes on when
// the disk does.
func TestGetWaitsForTheDisk(t *testing.T) {
	t.Parallel() // it mostly waits
	for name, test := range map[string]struct {
		err     error
		hits    func(disktest.Kind) bool
		after   int
		move    bool // which syncs
		says    string
		advises string
	}{
		"full":              {syscall.ENOSPC, diskTakes, 20, false, "no space left on device", "Free some space"},
		"read-only":         {syscall.EROFS, disktest.Kind.Changes, 20, false, "read-only file system", "for writing"},
		"fails to write":    {syscall.EIO, diskTakes, 20, false, "input/output error", "Check the disk"},
		"fails to sync":     {syscall.EIO, func(k disktest.Kind) bool { return k == disktest.Sync }, 20, true, "input/output error", "Check the disk"},
		"read-only at last": {syscall.EROFS, func(k disktest.Kind) bool { return k == disktest.Sync || k == disktest.SyncFolder }, 20, true, "read-only file system", "for writing"},
	} {
		t.Run(name, func(t *testing.T) {
			disk := newTrouble(test.after, test.err, test.hits)
			hq := start(t, Config{Name: "hq", Site: "hq"})
			till := hq.join("till", "branch", func(c *Config) { c.disk = disk })
			till.meet(1)
			file := sample(t, filepath.Join(t.TempDir(), "image"), 6<<20, 60)
			hq.add(api.AddRequest{Paths: []string{file}, Name: "image"})
			var told atomic.Pointer[api.FlowStatus]
			var warned api.Status
			out := filepath.Join(t.TempDir(), "out")
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			res, err := till.node.API().Get(ctx, api.GetRequest{Ref: "image", Output: out, Move: test.move}, func(s api.FlowStatus) {
				if s.Reason != api.ForDisk || disk.mended.Load() {
					return
				}
				told.Store(&s)
				warned, _ = till.node.API().Status(ctx) // its warnings are there whatever else fails
				disk.mended.Store(true)
			})
			if err != nil {
				t.Fatalf("%v (%s)", err, api.From(err).Next)
			}
			sameFile(t, file, out)
			s := told.Load()
			if s == nil {
				t.Fatal("it didn't say what it waited for")
			}
			if s.Phase != api.Waiting || s.Total != res.Size || !strings.Contains(s.Detail, test.says) || !strings.Contains(s.Detail, till.node.store.Dir()) ||
				!strings.Contains(s.Next, test.advises) || !strings.Contains(s.Next, "goes on by itself") {
				t.Errorf("told %+v", s)
			}
			found := false
			for _, w := range warned.Warnings {
				found = found || w.Code == "waiting-for-disk" && strings.Contains(w.Message, "get image is waiting for disk: ") && strings.Contains(w.Message, test.says)
			}
			if !found {
				t.Errorf("the status doesn't tell: %+v", warned.Warnings)
			}
			if got := res.From.Total() + res.Here + res.Local; got < res.Size || res.From.WAN != res.From.Total() {
				t.Errorf("%d bytes of %d: %+v", got, res.Size, res)
			}
			if st, err := till.node.API().Status(ctx); err != nil || len(st.Warnings) > 0 {
				t.Errorf("afterwards: %+v, %v", st.Warnings, err)
			}
		})
	}
}

// Waiting ends with the get's own time, and with whoever asked for it.
func TestWaitingForTheDiskEnds(t *testing.T) {
	t.Parallel() // it mostly waits
	disk := newTrouble(20, syscall.EROFS, disktest.Kind.Changes)
	hq := start(t, Config{Name: "hq", Site: "hq"})
	till := hq.join("till", "branch", func(c *Config) { c.disk = disk })
	till.meet(1)
	hq.add(api.AddRequest{Paths: []string{sample(t, filepath.Join(t.TempDir(), "image"), 6<<20, 61)}, Name: "image"})
	out := filepath.Join(t.TempDir(), "out")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := till.node.API().Get(ctx, api.GetRequest{Ref: "image", Output: out}, func(s api.FlowStatus) {
		if s.Reason == api.ForDisk {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled, and got %v", err)
	}
	if w, waits := till.node.gets.waiting(); waits {
		t.Errorf("it waits still: %+v", w)
	}
	// What is here in part waits from the start; with little time it finds nobody.
	for limit := time.Second; ; limit *= 2 {
		_, err = till.node.API().Get(t.Context(), api.GetRequest{Ref: "image", Output: out, Timeout: api.Seconds(limit)}, nil)
		e := api.From(err)
		if e.Code == api.TimedOut && strings.Contains(e.Message, "waits for disk: "+till.node.store.Dir()+": read-only file system") {
			break
		}
		if limit > time.Minute {
			t.Fatalf("after its time: %+v", e)
		}
	}
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was written: %v", err)
	}
	disk.mended.Store(true)
	till.get("image", out)
}

// Where there is nothing to wait for yet, a get is refused.
func TestGetOnADiskThatTakesNothingIsRefused(t *testing.T) {
	disk := newTrouble(0, syscall.EROFS, disktest.Kind.Changes)
	disk.mended.Store(true) // the node opens its store
	hq := start(t, Config{Name: "hq", Site: "hq"})
	till := hq.join("till", "branch", func(c *Config) { c.disk = disk })
	till.meet(1)
	hq.add(api.AddRequest{Paths: []string{sample(t, filepath.Join(t.TempDir(), "image"), 1<<20, 62)}, Name: "image"})
	disk.mended.Store(false)
	_, err := till.node.API().Get(t.Context(), api.GetRequest{Ref: "image", Output: filepath.Join(t.TempDir(), "out")}, nil)
	if e := api.From(err); e.Code != api.Failed || !strings.Contains(e.Next, "for writing") {
		t.Errorf("%+v", e)
	}
	disk.mended.Store(true)
}
