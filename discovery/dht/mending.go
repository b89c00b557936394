package dht

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
	dssync "github.com/ipfs/go-datastore/sync"
	"go.uber.org/zap"
)

// mendEvery is the least time between two attempts to open a database anew.
const mendEvery = time.Second

// mending is a database that is opened anew after a write failed: goleveldb keeps
// such an error for ever, so that one moment without room would end all
// announcing until the node is started again. Where it can't be opened at all for
// lack of room, or not anew, records are in memory until it can: what is in it are
// hints, and a node that can't start can't be told to remove something.
type mending struct {
	dir  string
	open func() (ds.Batching, error)
	log  *zap.Logger

	failed atomic.Bool // a write failed since db was opened
	closed atomic.Bool // Close was called: what comes late opens nothing any more

	// mu is held to read by whoever uses db, queries until their results are
	// closed; to write while db is replaced. Nobody waits to write: who reads may
	// do so twice.
	mu     sync.RWMutex
	db     ds.Batching
	memory bool      // it is not on disk
	tried  time.Time // of the last attempt to mend
}

var _ ds.Batching = (*mending)(nil)

func newMending(dir string, log *zap.Logger, open func() (ds.Batching, error)) (*mending, error) {
	m := &mending{dir: dir, open: open, log: log}
	var err error
	if m.db, err = open(); err == nil {
		return m, nil
	}
	if !noRoom(err) {
		return nil, err
	}
	log.Warn("no room for the records of the DHT, they are in memory", zap.Error(err))
	m.remember()
	return m, nil
}

// remember has records in memory until the next attempt.
func (m *mending) remember() {
	m.db, m.memory = dssync.MutexWrap(ds.NewMapDatastore()), true
	m.failed.Store(true)
}

// noRoom tells a full disk or quota.
func noRoom(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	const diskFull, handleDiskFull = 112, 39 // of Windows
	return errno == syscall.ENOSPC || errno == syscall.EDQUOT ||
		runtime.GOOS == "windows" && (errno == diskFull || errno == handleDiskFull)
}

// write lets f write, after it opened the database anew if that is due.
func (m *mending) write(f func(ds.Batching) error) error {
	if m.failed.Load() {
		m.mend()
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	err := f(m.db)
	if err != nil {
		m.failed.Store(true)
	}
	return err
}

// mend opens the database anew, unless somebody uses it, or the disk doesn't take
// anything: then reading goes on with what is open.
func (m *mending) mend() {
	if !m.mu.TryLock() {
		return
	}
	defer m.mu.Unlock()
	if !m.failed.Load() || m.closed.Load() || time.Since(m.tried) < mendEvery {
		return
	}
	m.tried = time.Now()
	if err := takesWrites(m.dir); err != nil {
		return
	}
	if !m.memory {
		_ = m.db.Close() // with the error that it keeps
	}
	db, err := m.open()
	if err == nil && m.memory {
		if err = copyAll(m.db, db); err != nil {
			err = errors.Join(err, db.Close())
		}
	}
	if err != nil {
		if !m.memory { // else it was told
			m.remember()
			m.log.Warn("records of the DHT can't be opened anew, they are in memory", zap.Error(err))
		}
		return
	}
	m.db, m.memory = db, false
	m.failed.Store(false)
	m.log.Info("records of the DHT are written again")
}

// copyAll copies what is in one database into another.
func copyAll(from, to ds.Batching) error {
	ctx := context.Background()
	r, err := from.Query(ctx, query.Query{})
	if err != nil {
		return err
	}
	defer r.Close()
	all, err := r.Rest()
	if err != nil {
		return err
	}
	b, err := to.Batch(ctx)
	if err != nil {
		return err
	}
	for _, e := range all {
		if err := b.Put(ctx, ds.NewKey(e.Key), e.Value); err != nil {
			return err
		}
	}
	return b.Commit(ctx)
}

// probeSize is as much as a database writes when it is opened, and some more.
const probeSize = 64 << 10

// takesWrites reports whether the disk of a folder has room and takes it. The folder
// may be missing, as there was no room for it; the file has one name, so that a node
// that is killed leaves one at most.
func takesWrites(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, "probe.tmp"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, probeSize))
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
}

// Put implements ds.Datastore.
func (m *mending) Put(ctx context.Context, k ds.Key, v []byte) error {
	return m.write(func(db ds.Batching) error { return db.Put(ctx, k, v) })
}

// Delete implements ds.Datastore.
func (m *mending) Delete(ctx context.Context, k ds.Key) error {
	return m.write(func(db ds.Batching) error { return db.Delete(ctx, k) })
}

// Sync implements ds.Datastore.
func (m *mending) Sync(ctx context.Context, prefix ds.Key) error {
	return m.write(func(db ds.Batching) error { return db.Sync(ctx, prefix) })
}

// Get implements ds.Datastore.
func (m *mending) Get(ctx context.Context, k ds.Key) ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.db.Get(ctx, k)
}

// Has implements ds.Datastore.
func (m *mending) Has(ctx context.Context, k ds.Key) (bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.db.Has(ctx, k)
}

// GetSize implements ds.Datastore.
func (m *mending) GetSize(ctx context.Context, k ds.Key) (int, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.db.GetSize(ctx, k)
}

// Query implements ds.Datastore.
func (m *mending) Query(ctx context.Context, q query.Query) (query.Results, error) {
	m.mu.RLock()
	r, err := m.db.Query(ctx, q)
	if err != nil {
		m.mu.RUnlock()
		return nil, err
	}
	done := sync.OnceFunc(m.mu.RUnlock)
	return query.ResultsFromIterator(q, query.Iterator{Next: r.NextSync, Close: func() error {
		defer done()
		return r.Close()
	}}), nil
}

// Batch implements ds.Batching.
func (m *mending) Batch(context.Context) (ds.Batch, error) { return &mendingBatch{to: m}, nil }

// Close implements ds.Datastore.
func (m *mending) Close() error {
	m.closed.Store(true)
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.db.Close()
}

// A mendingBatch keeps what is to be written until it knows to which database.
type mendingBatch struct {
	to  *mending
	ops []func(context.Context, ds.Batch) error
}

// Put implements ds.Batch.
func (b *mendingBatch) Put(_ context.Context, k ds.Key, v []byte) error {
	b.ops = append(b.ops, func(ctx context.Context, to ds.Batch) error { return to.Put(ctx, k, v) })
	return nil
}

// Delete implements ds.Batch.
func (b *mendingBatch) Delete(_ context.Context, k ds.Key) error {
	b.ops = append(b.ops, func(ctx context.Context, to ds.Batch) error { return to.Delete(ctx, k) })
	return nil
}

// Commit implements ds.Batch.
func (b *mendingBatch) Commit(ctx context.Context) error {
	return b.to.write(func(db ds.Batching) error {
		batch, err := db.Batch(ctx)
		if err != nil {
			return err
		}
		for _, op := range b.ops {
			if err := op(ctx, batch); err != nil {
				return err
			}
		}
		return batch.Commit(ctx)
	})
}
