package store_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/disk/disktest"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// An update is a version that is here, durable, and the next that copies from it,
// on a disk that fails.
type update struct {
	old, next *storetest.Sample
	shared    map[content.Hash]bool
}

func newUpdate(t *testing.T) update {
	blocks := storetest.Bytes(1, 24, 700)
	next := slices.Clone(blocks)
	next = slices.Insert(next, 5, storetest.Bytes(2, 3, 700)...)
	u := update{old: storetest.Compose(t, storetest.Part{Path: "f", Blocks: blocks}), next: storetest.Compose(t, storetest.Part{Path: "f", Blocks: next})}
	u.shared = hashes(u.old)
	return u
}

func openOn(t *testing.T, fs *disktest.FS) (*store.Store, error) {
	dir := "/disk/store"
	if runtime.GOOS == "windows" {
		dir = "C:" + filepath.FromSlash(dir)
	}
	return store.Open(store.Config{Dir: dir, FS: fs, Floor: store.NoFloor, Workers: 1}, zap.NewNop())
}

// before returns the disk with the old version on it, and no index.
func (u update) before(t *testing.T, semantics disktest.Semantics) *disktest.Image {
	t.Helper()
	fs := disktest.New(semantics)
	s, err := openOn(t, fs)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, s, u.old)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return fs.Image()
}

// do does the update, as far as the disk lets it.
func (u update) do(t *testing.T, fs *disktest.FS) error {
	s, err := openOn(t, fs)
	if err != nil {
		return err
	}
	c, err := s.Begin(u.next.Encoded)
	if err == nil {
		for chunk, node := range u.next.Nodes {
			if err = c.SetBlocks(chunk, node); err != nil {
				break
			}
		}
	}
	if err == nil {
		_, err = c.Reuse(t.Context())
		u.right(t, s)
	}
	if err == nil {
		err = c.Flush(t.Context())
	}
	return errors.Join(err, s.Close())
}

// right checks that what counts, and can be read, has its bytes.
func (u update) right(t *testing.T, s *store.Store) {
	t.Helper()
	for _, sample := range []*storetest.Sample{u.old, u.next} {
		c, ok := s.Get(sample.ID)
		if !ok {
			continue
		}
		for _, r := range sample.Refs() {
			data, err := c.ReadBlock(r.Chunk, r.Block, nil)
			if err == nil && string(data) != string(sample.Block(r.Chunk, r.Block)) {
				t.Errorf("block %v is wrong, and counts", r)
			}
		}
	}
}

// after checks that everything works on a disk that has come to its senses: the old
// version is whole, if it has to be, what it has is found, and copied.
func (u update) after(t *testing.T, fs *disktest.FS, whole bool) {
	t.Helper()
	s, err := openOn(t, fs)
	if err != nil {
		t.Fatal(err)
	}
	old, ok := s.Get(u.old.ID)
	if whole && (!ok || !old.Complete()) {
		t.Fatal("the old version is not complete any more")
	}
	u.right(t, s)
	if _, blocks, _ := fetch(t, s, u.old); whole && blocks > 0 {
		t.Errorf("%d blocks of the old version were lost", blocks)
	}
	if err := old.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if known, err := s.Known(t.Context(), u.old.Manifest, u.old.Blocks); err != nil || known != int64(len(u.old.Data)) {
		t.Errorf("%d bytes are known, want %d: %v", known, len(u.old.Data), err)
	}
	for h := range u.shared {
		if !s.HasBlock(h) {
			t.Error("a block isn't found")
		}
	}
	c := listed(t, s, u.next)
	if _, err := c.Reuse(t.Context()); err != nil {
		t.Fatal(err)
	}
	for chunk, list := range u.next.Blocks {
		for i, b := range list {
			if u.shared[b.Hash] && c.Verified(chunk)&(1<<i) == 0 {
				t.Errorf("block %d of chunk %d was not copied", i, chunk)
			}
		}
	}
	u.right(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// Any operation may fail, once or from then on. Nothing wrong ever counts, nothing
// that was whole is lost but what could not be read, and when the disk works again
// so does all the rest.
func TestReuseOnFailingDisk(t *testing.T) {
	u := newUpdate(t)
	start := u.before(t, disktest.POSIX)
	count := func() int {
		f := start.Crash(disktest.All, nil)
		if err := u.do(t, f); err != nil {
			t.Fatal(err)
		}
		return f.Ops()
	}()
	t.Logf("%d operations", count)
	broken := &fs.PathError{Op: "disk", Path: "?", Err: syscall.EIO}
	for n := range count {
		for _, forever := range []bool{false, true} {
			f := start.Crash(disktest.All, nil)
			var failed disktest.Op
			read := false // of the old version's bytes or lists
			f.Fault(func(op disktest.Op) error {
				top := filepath.Dir(op.Name) == op.Name // MkdirAll would look above it for ever
				if op.N == n || forever && op.N > n && !top {
					failed = op
					read = read || op.Kind == disktest.Read || op.Kind == disktest.Open || op.Kind == disktest.Stat
					return broken
				}
				return nil
			})
			err := u.do(t, f)
			f.Fault(nil)
			f.Kill()
			u.after(t, f, !read)
			if t.Failed() {
				t.Fatalf("operation %d failed: %v (forever: %v); the update: %v", n, failed, forever, err)
			}
		}
	}
}

// Power may go at any operation of an update: the old version is as it was, what it
// has is found again, and what was copied counts if it is right.
func TestReuseAndPowerCuts(t *testing.T) {
	u := newUpdate(t)
	for _, semantics := range []disktest.Semantics{disktest.POSIX, disktest.Windows} {
		t.Run(semantics.String(), func(t *testing.T) {
			f := u.before(t, semantics).Crash(disktest.All, nil)
			type moment struct {
				op    disktest.Op
				image *disktest.Image
			}
			var moments []moment
			f.Watch(func(op disktest.Op, i *disktest.Image) { moments = append(moments, moment{op, i}) })
			if err := u.do(t, f); err != nil {
				t.Fatal(err)
			}
			seed := rand.Uint64N(1 << 32)
			t.Logf("%d operations, seed %d", len(moments), seed)
			for i, m := range moments {
				for _, keep := range []disktest.Keep{disktest.None, disktest.Some, disktest.All} {
					u.after(t, m.image.Crash(keep, rand.New(rand.NewPCG(seed, uint64(i)))), true)
					if t.Failed() {
						t.Fatalf("power was cut before %v (%d, keep %d)", m.op, i, keep)
					}
				}
			}
		})
	}
}
