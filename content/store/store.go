package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shirou/gopsutil/v4/mem"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// ErrLocked says that another process has the store open.
var ErrLocked = disk.ErrLocked

// A Config says where a store is and how it goes about its work. The zero value
// of a field means its default.
type Config struct {
	// Dir is the store's folder, made if need be. Required.
	Dir string
	// FS is the file system that it is on. Default: the system's.
	FS disk.FS
	// Floor is how many bytes of the disk are left free, whatever is wanted.
	// Default: a tenth of the disk or 5 GiB, whichever is less. NoFloor: none.
	Floor int64
	// Space tells how many bytes of the disk that dir is on are free, to this
	// process, and how many it has. Default: asks the system. Tests set it.
	Space func(dir string) (free, total uint64, err error)
	// BlockSize is how many bytes of the disk a file takes at a time, which is what
	// room is counted by. Default: asks the system. Tests set it.
	BlockSize int64
	// SyncBytes and SyncEvery say when Run makes durable what was written: a power
	// cut loses no more than that. Default 64 MiB and 5 s. Disks that are slow to
	// sync take more; see BenchmarkWriteBlock.
	SyncBytes int64
	SyncEvery time.Duration
	// Workers bounds the cores that hash what is on disk. Default: half of them.
	Workers int

	// Quota is how many bytes contents may have on the disk; QuotaShare says it as
	// a share of the disk, 0.1 for a tenth. If both are given the lesser counts.
	// Default: a tenth of the disk, or 10 GiB if that is more, since a small
	// machine has to take an image of the system too. NoLimit: none but the floor,
	// which wins over any quota. A content that makes room for its next version
	// counts as gone, and is there until the two's common bytes were copied.
	Quota      int64
	QuotaShare float64
	// ScrubPeriod is the time in which everything is read again. Default 30 days.
	// A disk known to be bad takes less.
	ScrubPeriod time.Duration
	// ScrubRate is how many bytes a second that reads at most. Default 8 MiB, which
	// is 20 TiB in 30 days. NoLimit: as fast as the disk.
	ScrubRate int64
	// PageBudget is how many bytes of the system's page cache the store's files may
	// take by being read. Default: 256 MiB or a sixteenth of the memory, whichever
	// is less. NoLimit: what the system gives.
	PageBudget int64
	// Hooks are asked and told what is beyond the store.
	Hooks Hooks
}

const (
	NoFloor = -1 // as Config.Floor lets the disk be filled
	NoLimit = -1 // as another limit takes it away
)

func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" {
		return c, errors.New("no folder given")
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return c, err
	}
	c.Dir = dir
	if c.Floor < NoFloor || c.BlockSize < 0 || c.SyncBytes < 0 || c.SyncEvery < 0 || c.Workers < 0 {
		return c, fmt.Errorf("a negative limit: floor %d, sync %d bytes, %v, %d workers", c.Floor, c.SyncBytes, c.SyncEvery, c.Workers)
	}
	if c.Quota < NoLimit || c.ScrubPeriod < 0 || c.ScrubRate < NoLimit || c.PageBudget < NoLimit {
		return c, fmt.Errorf("a negative limit: quota %d, scrub %v, %d bytes a second, pages %d", c.Quota, c.ScrubPeriod, c.ScrubRate, c.PageBudget)
	}
	if !(c.QuotaShare >= 0 && c.QuotaShare <= 1) {
		return c, fmt.Errorf("a quota of %g of the disk: want 0 to 1", c.QuotaShare)
	}
	if c.FS == nil {
		c.FS = disk.OS{}
	}
	if c.Space == nil {
		c.Space = c.FS.Space
	}
	c.SyncBytes = cmp.Or(c.SyncBytes, 64<<20)
	c.SyncEvery = cmp.Or(c.SyncEvery, 5*time.Second)
	c.Workers = cmp.Or(c.Workers, max(1, runtime.GOMAXPROCS(0)/2))
	c.ScrubPeriod = cmp.Or(c.ScrubPeriod, 30*24*time.Hour)
	c.ScrubRate = cmp.Or(c.ScrubRate, 8<<20)
	if c.PageBudget == 0 {
		c.PageBudget = mostPages
		if m, err := mem.VirtualMemory(); err == nil {
			c.PageBudget = min(c.PageBudget, int64(m.Total/pagesOfAll))
		}
	}
	return c, nil
}

// A Store keeps contents in a folder. Its methods may be called by many at once.
type Store struct {
	cfg    Config
	logger *zap.Logger
	disk   disk.FS
	lock   io.Closer     // nil until it is held
	wake   chan struct{} // holds one when there is something for Run to sync

	files  *fileTable
	lists  *listCache
	index  *index // of chunks
	blocks *blockIndex

	pages        *pages
	stats        Stats
	suspects     suspects
	reservations reservations
	granting     sync.Mutex   // held by who looks whether more may be written
	granted      atomic.Int64 // bytes that may be written before the next look at the disk
	served       atomic.Int64 // bytes that ReadBlock gave
	untidy       time.Time    // until when the limits are left broken; guarded by reservations.deciding

	folders sync.Mutex // held by who makes, removes or loads a content's folder
	mend    mend

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
		cfg:          cfg,
		logger:       log,
		disk:         cfg.FS,
		wake:         make(chan struct{}, 1),
		files:        newFileTable(),
		lists:        newListCache(),
		index:        newIndex(),
		suspects:     suspects{of: make(map[*Content][]Damage), wake: make(chan struct{}, 1)},
		pages:        newPages(cfg.PageBudget),
		reservations: reservations{all: make(map[*Reservation]struct{})},
		contents:     make(map[content.ID]*Content),
	}
	s.blocks = newBlockIndex(s)
	if err := s.makeRoot(); err != nil {
		return nil, err
	}
	if cfg.BlockSize == 0 {
		s.cfg.BlockSize = disk.BlockSize(cfg.Dir)
	}
	if s.lock, err = s.disk.Lock(filepath.Join(cfg.Dir, "lock")); err != nil {
		return nil, err
	}
	if err := s.loadAll(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.blocks.open()
	return s, nil
}

// makeRoot makes the store's folder and root in it, unless they are there. A crash
// may have been before they were synced; those that Dir is in were before root was
// made.
func (s *Store) makeRoot() error {
	if _, err := s.disk.Lstat(s.root()); errors.Is(err, fs.ErrNotExist) {
		if err := disk.MakeFolders(s.disk, s.cfg.Dir); err != nil {
			return err
		}
		if err := disk.MakeFolder(s.disk, s.root()); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	return s.disk.SyncFolder(s.cfg.Dir)
}

// root is the folder of the contents' folders.
func (s *Store) root() string { return filepath.Join(s.cfg.Dir, "content") }

func (s *Store) folder(id content.ID) string { return filepath.Join(s.root(), id.String()) }

// loadAll loads all contents, and removes what was being made or removed.
func (s *Store) loadAll() error {
	// What is found may not be on the disk yet. What was renamed to be removed must
	// be, or it could be back under its name when half of it is gone.
	if err := s.disk.SyncFolder(s.root()); err != nil {
		return err
	}
	entries, err := s.disk.ReadDir(s.root())
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	ids := make(map[content.ID]struct{})
	for _, e := range entries {
		name := filepath.Join(s.root(), e.Name())
		if strings.HasPrefix(e.Name(), newPrefix) || strings.HasPrefix(e.Name(), oldPrefix) {
			g.Go(func() error { s.discard(name); return nil })
			continue
		}
		id, err := content.ParseID(strings.TrimPrefix(e.Name(), asidePrefix))
		if err != nil || id.String() != strings.TrimPrefix(e.Name(), asidePrefix) {
			s.logger.Warn("not a content's folder, left alone", zap.String("name", name))
			continue
		}
		ids[id] = struct{}{}
	}
	for id := range ids {
		g.Go(func() error {
			if _, err := s.adopt(id, past{}); err != nil {
				s.logger.Error("content can't be read from disk, left alone; get it again to repair it",
					zap.Stringer("content", id), zap.Error(err))
			}
			return nil
		})
	}
	return g.Wait()
}

// Run makes durable what is verified, now and then, keeps the index of blocks up to
// date and the limits of room, and looks after files that contents stand on in
// place, until ctx is done. Without it a crash costs more hashing, and a power cut
// more of what was fetched. It also tries again what the disk refused: a content
// whose sync failed is loaded anew, within SyncEvery and the time that takes.
func (s *Store) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, work := range []func(context.Context){s.blocks.run, s.flushAll, s.keepTidy, s.condemnAll, s.scrub, s.lookAtReferences} {
		g.Go(func() error { work(ctx); return nil })
	}
	return g.Wait()
}

// flushAll makes durable what is verified, now and then, until ctx is done.
func (s *Store) flushAll(ctx context.Context) {
	tick := time.NewTicker(s.cfg.SyncEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.wake:
		}
		s.mendAll(ctx)
		for _, c := range s.List() {
			if c.ended() != nil || c.failure() != nil || ctx.Err() != nil {
				continue
			}
			s.tell(c.id, "content not made durable", c.Flush(ctx))
			if c.enter() == nil { // else another may be in its folder by now
				c.keepUse(time.Now().Add(-useEvery))
				c.busy.Done()
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
	index := s.blocks.close() // before its contents seem to be gone
	s.mu.Lock()
	contents := s.contents
	s.contents, s.closed = nil, true
	s.mu.Unlock()

	var g errgroup.Group
	g.SetLimit(disk.SyncsAtOnce)
	for _, c := range contents {
		g.Go(c.close)
	}
	return errors.Join(index, g.Wait(), s.lock.Close())
}

// usable returns an error once the store is closed. Who changes folders holds
// folders.
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
	c, ok := s.Get(id)
	if !ok {
		return fmt.Errorf("remove content %v: %w", id, content.ErrNotFound)
	}
	if err := s.clear(c); err != nil {
		return fmt.Errorf("remove content %v: %w", id, err)
	}
	return nil
}

// removeRetired removes a content whose use was ended, unless another one has
// taken its place since.
func (s *Store) removeRetired(c *Content) (removed bool, err error) {
	s.folders.Lock()
	defer s.folders.Unlock()
	if now, ok := s.Get(c.id); !ok || now != c {
		return false, nil
	}
	if err := s.clear(c); err != nil {
		return false, fmt.Errorf("evict content %v: %w", c.id, err)
	}
	return true, nil
}

// clear removes a content, in memory and on disk. It is called with folders held.
func (s *Store) clear(c *Content) error {
	was := s.unlist(c, fmt.Errorf("content %v: %w", c.id, content.ErrNotFound))
	moved, err := s.retire(s.folder(c.id))
	switch {
	case moved:
		s.mend.forget(c.id)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default:
		s.mend.broken(c.id, was) // it is still there
	}
	return err
}

// unlist takes a content from those that are here, and ends its use. It returns what
// is known of it, for who loads its folder anew. It is called with folders held.
func (s *Store) unlist(c *Content, why error) past {
	s.mu.Lock()
	delete(s.contents, c.id)
	s.mu.Unlock()
	s.release(c, why)
	return past{lost: c.lost, broken: c.care.broken, bad: s.suspects.take(c)}
}

// release ends the use of a content that is no longer in contents.
func (s *Store) release(c *Content, why error) {
	c.shut(why)
	s.index.rebuild(c, s.List())
	s.lists.drop(c)
	s.files.drop(c)
	s.blocks.wakeUp()
}
