package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/content"
)

// ErrLocked says that another process has the store open.
var ErrLocked = errors.New("in use by another process")

// A Config says where a store is and how it goes about its work. The zero value
// of a field means its default.
type Config struct {
	// Dir is the store's folder, made if need be. Required.
	Dir string
	// Floor is how many bytes of the disk are left free, whatever is wanted.
	// Default: a tenth of the disk or 5 GiB, whichever is less. NoFloor: none.
	Floor int64
	// Space tells how many bytes of the disk that dir is on are free, to this
	// process, and how many it has. Default: asks the system. Tests set it.
	Space func(dir string) (free, total uint64, err error)
	// SyncBytes and SyncEvery say when Run makes durable what was written: a power
	// cut loses no more than that. Default 64 MiB and 5 s. Disks that are slow to
	// sync take more; see BenchmarkWriteBlock.
	SyncBytes int64
	SyncEvery time.Duration
	// Workers bounds the cores that hash what is on disk. Default: half of them.
	Workers int
}

// NoFloor as Config.Floor lets the disk be filled.
const NoFloor = -1

func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" {
		return c, errors.New("no folder given")
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return c, err
	}
	c.Dir = dir
	if c.Floor < NoFloor || c.SyncBytes < 0 || c.SyncEvery < 0 || c.Workers < 0 {
		return c, fmt.Errorf("a negative limit: floor %d, sync %d bytes, %v, %d workers", c.Floor, c.SyncBytes, c.SyncEvery, c.Workers)
	}
	if c.Space == nil {
		c.Space = diskSpace
	}
	c.SyncBytes = cmp.Or(c.SyncBytes, 64<<20)
	c.SyncEvery = cmp.Or(c.SyncEvery, 5*time.Second)
	c.Workers = cmp.Or(c.Workers, max(1, runtime.GOMAXPROCS(0)/2))
	return c, nil
}

// A Store keeps contents in a folder. Its methods may be called by many at once.
type Store struct {
	cfg    Config
	logger *zap.Logger
	lock   *flock.Flock
	wake   chan struct{} // holds one when there is something for Run to sync

	files *fileTable
	lists *listCache
	index *index

	folders sync.Mutex // held by who makes or removes a content's folder

	mu       sync.Mutex // after folders
	contents map[content.ID]*Content
	closed   bool
}

// Open opens the store in cfg.Dir, and hashes again what a crash left in doubt.
// A folder of a content that can't be read is logged and left alone; Begin with
// the same content repairs it. The error wraps ErrLocked if another process has
// the store.
func Open(cfg Config, log *zap.Logger) (_ *Store, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open store %s: %w", cfg.Dir, err)
		}
	}()
	s := &Store{
		cfg:      cfg,
		logger:   log,
		lock:     flock.New(filepath.Join(cfg.Dir, "lock")),
		wake:     make(chan struct{}, 1),
		files:    newFileTable(),
		lists:    newListCache(),
		index:    newIndex(),
		contents: make(map[content.ID]*Content),
	}
	if err := os.MkdirAll(s.root(), folderMode); err != nil {
		return nil, err
	}
	if ok, err := s.lock.TryLock(); err != nil {
		return nil, err
	} else if !ok {
		return nil, ErrLocked
	}
	if err := s.loadAll(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// root is the folder of the contents' folders.
func (s *Store) root() string { return filepath.Join(s.cfg.Dir, "content") }

func (s *Store) folder(id content.ID) string { return filepath.Join(s.root(), id.String()) }

// loadAll loads all contents, and removes what was being made or removed.
func (s *Store) loadAll() error {
	entries, err := os.ReadDir(s.root())
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, e := range entries {
		name := filepath.Join(s.root(), e.Name())
		if strings.HasPrefix(e.Name(), newPrefix) || strings.HasPrefix(e.Name(), oldPrefix) {
			g.Go(func() error { return os.RemoveAll(name) })
			continue
		}
		id, err := content.ParseID(e.Name())
		if err != nil || id.String() != e.Name() {
			s.logger.Warn("not a content's folder, left alone", zap.String("name", name))
			continue
		}
		g.Go(func() error {
			c, err := s.load(id)
			if err != nil {
				s.logger.Error("content can't be read from disk, left alone; get it again to repair it",
					zap.Stringer("content", id), zap.Error(err))
				return nil
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.contents[id] = c
			return nil
		})
	}
	return g.Wait()
}

// Run makes durable what is verified, now and then, until ctx is done. Without it
// a crash costs more hashing, and a power cut more of what was fetched.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(s.cfg.SyncEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-s.wake:
		}
		for _, c := range s.List() {
			if c.ended() != nil || ctx.Err() != nil {
				continue
			}
			if err := c.Flush(ctx); err != nil && ctx.Err() == nil {
				s.logger.Error("content not made durable", zap.Stringer("content", c.id), zap.Error(err))
			}
		}
	}
}

// wakeUp has Run sync now.
func (s *Store) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Close makes everything durable and closes the store. Calls under way end first,
// those that come after it fail with fs.ErrClosed.
func (s *Store) Close() error {
	s.folders.Lock()
	defer s.folders.Unlock()
	s.mu.Lock()
	contents := s.contents
	s.contents, s.closed = nil, true
	s.mu.Unlock()

	var g errgroup.Group
	g.SetLimit(syncsAtOnce)
	for _, c := range contents {
		g.Go(c.close)
	}
	return errors.Join(g.Wait(), s.lock.Close())
}

// usable returns an error once the store is closed. It is called with folders
// held.
func (s *Store) usable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("store: %w", fs.ErrClosed)
	}
	return nil
}

// Get returns a content that is here, in part or whole.
func (s *Store) Get(id content.ID) (*Content, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.contents[id]
	return c, ok
}

// List returns all contents, in the order of their ids.
func (s *Store) List() []*Content {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.contents), func(a, b *Content) int {
		return content.Hash(a.id).Compare(content.Hash(b.id))
	})
}

// Find returns a content that has a chunk, whole and verified, and which of its
// chunks it is.
func (s *Store) Find(chunk content.Hash) (c *Content, ordinal int, ok bool) {
	p, ok := s.index.find(chunk)
	if !ok || !p.content.holds(int(p.chunk)) {
		return nil, 0, false
	}
	return p.content, int(p.chunk), true
}

// Remove removes a content from the disk. Calls that use it end first, and those
// that come after fail with content.ErrNotFound.
func (s *Store) Remove(id content.ID) error {
	s.folders.Lock()
	defer s.folders.Unlock()
	if _, ok := s.Get(id); !ok {
		return fmt.Errorf("remove content %v: %w", id, content.ErrNotFound)
	}
	if err := s.clear(id); err != nil {
		return fmt.Errorf("remove content %v: %w", id, err)
	}
	return nil
}

// clear removes what there is of a content, in memory and on disk. It is called
// with folders held.
func (s *Store) clear(id content.ID) error {
	s.mu.Lock()
	c, ok := s.contents[id]
	delete(s.contents, id)
	s.mu.Unlock()
	if ok {
		c.shut(fmt.Errorf("content %v: %w", id, content.ErrNotFound))
		s.index.rebuild(s.List())
		s.lists.drop(c)
		s.files.drop(c)
	}
	old := filepath.Join(s.root(), oldPrefix+rand.Text())
	err := rename(s.folder(id), old)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err = errors.Join(err, syncFolder(s.root())); err != nil {
		return err
	}
	if err := os.RemoveAll(old); err != nil {
		return fmt.Errorf("some of it is left until the store is opened again: %w", err)
	}
	return nil
}
