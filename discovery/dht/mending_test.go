package dht

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
	"go.uber.org/zap"
)

// A stuckDB fails for ever once a write found the disk full, as goleveldb does.
type stuckDB struct {
	ds.Batching
	disk   *fakeDisk
	stuck  bool
	closed bool
}

// A fakeDisk keeps what databases wrote, one after the other.
type fakeDisk struct {
	ds.Batching
	dir   string
	full  bool // nothing can be written
	tight bool // what is open can write, but nothing can be opened
	opens int
	last  *stuckDB
}

func (d *fakeDisk) open() (ds.Batching, error) {
	d.opens++
	if d.full || d.tight {
		return nil, fmt.Errorf("open it: %w", syscall.ENOSPC)
	}
	if d.last != nil && !d.last.closed {
		return nil, errors.New("it is open already")
	}
	d.last = &stuckDB{Batching: d.Batching, disk: d}
	return d.last, nil
}

// fill has the disk full from now on: where the folder was, no file can be made.
func (d *fakeDisk) fill(t *testing.T) {
	t.Helper()
	d.full = true
	if err := errors.Join(os.RemoveAll(d.dir), os.WriteFile(d.dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// empty has room on the disk again, and no folder.
func (d *fakeDisk) empty(t *testing.T) {
	t.Helper()
	d.full = false
	if err := os.Remove(d.dir); err != nil {
		t.Fatal(err)
	}
}

func (s *stuckDB) write() error {
	if s.disk.full {
		s.stuck = true
	}
	if s.stuck {
		return syscall.ENOSPC
	}
	return nil
}

func (s *stuckDB) Get(ctx context.Context, k ds.Key) ([]byte, error) {
	if s.closed {
		return nil, errors.New("it is closed")
	}
	return s.Batching.Get(ctx, k)
}

func (s *stuckDB) Put(ctx context.Context, k ds.Key, v []byte) error {
	if err := s.write(); err != nil {
		return err
	}
	return s.Batching.Put(ctx, k, v)
}

func (s *stuckDB) Batch(context.Context) (ds.Batch, error) { return ds.NewBasicBatch(s), nil }

func (s *stuckDB) Close() error {
	if s.closed {
		return errors.New("it is closed already")
	}
	s.closed = true
	return nil
}

func newStuck(t *testing.T) (*mending, *fakeDisk) {
	t.Helper()
	disk := newDisk(t)
	m, err := newMending(disk.dir, zap.NewNop(), disk.open)
	if err != nil {
		t.Fatal(err)
	}
	return m, disk
}

func newDisk(t *testing.T) *fakeDisk {
	t.Helper()
	return &fakeDisk{Batching: ds.NewMapDatastore(), dir: filepath.Join(t.TempDir(), "dht")}
}

// put writes by a batch, as the list of announced keys and records are written.
func put(t *testing.T, m *mending, key string) error {
	t.Helper()
	b, err := m.Batch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), ds.NewKey(key), []byte(key)); err != nil {
		t.Fatal(err)
	}
	return b.Commit(t.Context())
}

// A full disk ends announcing for as long as it is full, and no longer.
func TestDatabaseIsWrittenAgainOnceTheDiskTakesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, disk := newStuck(t)
		if err := put(t, m, "a"); err != nil {
			t.Fatal(err)
		}
		disk.fill(t)
		for range 3 {
			if err := put(t, m, "b"); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("on a full disk: %v", err)
			}
			if v, err := m.Get(t.Context(), ds.NewKey("a")); string(v) != "a" {
				t.Errorf("on a full disk a reads as %q, %v", v, err)
			}
			time.Sleep(2 * mendEvery)
		}
		disk.empty(t)
		if err := put(t, m, "b"); err != nil {
			t.Fatalf("with room again: %v", err)
		}
		for _, key := range []string{"a", "b"} {
			if v, err := m.Get(t.Context(), ds.NewKey(key)); string(v) != key {
				t.Errorf("%s reads as %q, %v", key, v, err)
			}
		}
		opens := disk.opens
		time.Sleep(2 * mendEvery)
		if err := put(t, m, "c"); err != nil || disk.opens != opens {
			t.Errorf("%v, opened %d times, then %d: want it opened no more", err, opens, disk.opens)
		}
	})
}

// A node that starts without room, for the folder even, announces from memory, and
// loses nothing of it.
func TestDatabaseIsInMemoryUntilThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(t)
		disk.fill(t)
		m, err := newMending(disk.dir, zap.NewNop(), disk.open)
		if err != nil {
			t.Fatal(err)
		}
		if err := put(t, m, "a"); err != nil {
			t.Errorf("in memory: %v", err)
		}
		disk.empty(t)
		time.Sleep(2 * mendEvery)
		if err := put(t, m, "b"); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"a", "b"} {
			if v, err := disk.Get(t.Context(), ds.NewKey(key)); string(v) != key {
				t.Errorf("on disk %s is %q, %v", key, v, err)
			}
		}
	})
}

// Who reads has the database that the query was made of until it is done; the
// writer waits for nobody.
func TestDatabaseIsNotReplacedUnderAQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, disk := newStuck(t)
		if err := put(t, m, "a"); err != nil {
			t.Fatal(err)
		}
		r, err := m.Query(t.Context(), query.Query{})
		if err != nil {
			t.Fatal(err)
		}
		disk.full = true
		if err := put(t, m, "b"); err == nil {
			t.Error("a full disk takes writes")
		}
		disk.full = false
		time.Sleep(2 * mendEvery)
		if err := put(t, m, "b"); err == nil || disk.opens != 1 {
			t.Errorf("%v, opened %d times: want the old one while it is read", err, disk.opens)
		}
		if all, err := r.Rest(); err != nil || len(all) != 1 {
			t.Errorf("%v, %v", all, err)
		}
		if err := errors.Join(r.Close(), r.Close(), put(t, m, "b")); err != nil {
			t.Errorf("after the query: %v", err)
		}
	})
}

// What fails while it is opened anew leaves something that works, and ends well.
func TestDatabaseThatCannotBeOpenedAnewIsInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, disk := newStuck(t)
		disk.full = true
		if err := put(t, m, "a"); err == nil {
			t.Error("a full disk takes writes")
		}
		disk.full, disk.tight = false, true
		time.Sleep(2 * mendEvery)
		if err := put(t, m, "b"); err != nil {
			t.Errorf("in memory: %v", err)
		}
		if v, err := m.Get(t.Context(), ds.NewKey("b")); string(v) != "b" {
			t.Errorf("in memory b reads as %q, %v", v, err)
		}
		if err := m.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		disk.tight = false
		opens := disk.opens
		time.Sleep(2 * mendEvery)
		if _ = put(t, m, "c"); disk.opens != opens {
			t.Error("a write after the end opened it anew")
		}
	})
}
