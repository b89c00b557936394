package store

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
	"github.com/p2pnode/p2pnode/content/store/disk/disktest"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// tallied tells what is counted wrong of a content that nobody changes meanwhile.
func tallied(t interface{ Errorf(string, ...any) }, c *Content, sample *storetest.Sample) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.partial
	if p == nil {
		return
	}
	var bytes int64
	for chunk, mask := range p.verified {
		if mask != 0 && int(p.lists[chunk].count) != len(sample.Blocks[chunk]) {
			t.Errorf("chunk %d has blocks %b, and %d of %d are known", chunk, mask, p.lists[chunk].count, len(sample.Blocks[chunk]))
		}
		for i, b := range sample.Blocks[chunk] {
			if mask&(1<<i) != 0 {
				bytes += int64(b.Size)
			}
		}
		if whole := mask == all(len(sample.Blocks[chunk])); p.have.Contains(uint32(chunk)) != whole {
			t.Errorf("chunk %d is whole: %v; has: %v", chunk, whole, !whole)
		}
		if more := p.pending[chunk] &^ mask; more != 0 {
			t.Errorf("blocks %b of chunk %d are to be noted, and don't count", more, chunk)
		}
	}
	if bytes != p.bytes {
		t.Errorf("%d bytes are counted, %d are verified", p.bytes, bytes)
	}
	if (bytes == c.size) != c.whole() {
		t.Errorf("%d of %d bytes; whole: %v", bytes, c.size, c.whole())
	}
}

// Whatever happens to a content, what is counted of it is what is here.
func TestBytesHereDoNotDrift(t *testing.T) {
	samples := []*storetest.Sample{storetest.Tree(t, 1), storetest.File(t, 2, 60_000, storetest.Small)}
	rapid.Check(t, func(t *rapid.T) {
		sample := samples[rapid.IntRange(0, len(samples)-1).Draw(t, "sample")]
		refs := sample.Refs()
		model := disktest.New(disktest.POSIX)
		var failing disktest.Kind
		faults := 0
		model.Fault(func(op disktest.Op) error {
			if faults > 0 && op.Kind == failing {
				faults--
				return syscall.EIO
			}
			return nil
		})
		open := func() *Store {
			s, err := Open(powerConfig(model), zap.NewNop())
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := open()
		defer func() { _ = s.Close() }()
		if _, err := s.Begin(sample.Encoded); err != nil {
			t.Fatal(err)
		}
		get := func() *Content {
			c, ok := s.Get(sample.ID)
			if !ok { // it could not be loaded anew
				faults = 0
				var err error
				if c, err = s.Begin(sample.Encoded); err != nil {
					t.Fatal(err)
				}
			}
			return c
		}
		ref := func() storetest.Ref { return rapid.SampledFrom(refs).Draw(t, "block") }
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				tallied(t, get(), sample)
				sp, err := s.Space()
				if c := get(); err != nil || sp.Used != c.costOf(c.Progress()) || sp.Reserved != 0 {
					t.Errorf("%+v with %d bytes here: %v", sp, c.Progress(), err)
				}
			},
			"write": func(t *rapid.T) {
				c := get()
				for range rapid.IntRange(1, len(refs)).Draw(t, "blocks") {
					r := ref()
					_ = c.SetBlocks(r.Chunk, sample.Nodes[r.Chunk])
					_, _ = c.WriteBlock(r.Chunk, r.Block, sample.Block(r.Chunk, r.Block))
				}
			},
			"write all": func(t *rapid.T) {
				c := get()
				for _, r := range refs {
					_ = c.SetBlocks(r.Chunk, sample.Nodes[r.Chunk])
					_, _ = c.WriteBlock(r.Chunk, r.Block, sample.Block(r.Chunk, r.Block))
				}
			},
			"flush": func(t *rapid.T) { _ = get().Flush(t.Context()) },
			"distrust": func(t *rapid.T) {
				c, r := get(), ref()
				if c.has(r.Chunk, r.Block) && c.listed(r.Chunk) {
					c.damage(Damage{Chunk: r.Chunk, Blocks: 1 << r.Block, Err: content.ErrCorrupt})
				}
			},
			"rot": func(t *rapid.T) {
				c, r := get(), ref()
				c.fresh.drop(r.Chunk, all(content.MaxBlocks))
				for at := range c.layout.Spans(c.layout.Chunk(r.Chunk), 1) {
					f, err := model.OpenBelow(c.dir+"/files", c.manifest.Files[at.File].Path, 2) // os.O_RDWR
					if errors.Is(err, fs.ErrNotExist) {
						continue
					}
					if err != nil {
						t.Fatal(err)
					}
					_, _ = f.WriteAt([]byte{byte(rapid.Int().Draw(t, "byte"))}, at.Offset)
					f.Close()
				}
				_, _ = c.ReadBlock(r.Chunk, 0, nil)
			},
			"note":   func(*rapid.T) { _ = get().noteDamage() },
			"verify": func(t *rapid.T) { _, _ = get().Verify(t.Context(), nil) },
			"fail": func(t *rapid.T) {
				failing = rapid.SampledFrom([]disktest.Kind{disktest.Sync, disktest.SyncFolder, disktest.Write, disktest.Rename, disktest.Read}).Draw(t, "kind")
				faults = rapid.IntRange(1, 3).Draw(t, "times")
			},
			"mend":   func(t *rapid.T) { s.mendAll(t.Context()) },
			"pin":    func(t *rapid.T) { _ = get().Pin(rapid.Bool().Draw(t, "pinned")) },
			"reopen": func(*rapid.T) { _ = s.Close(); faults = 0; s = open() },
		})
		// Once the disk works all can be had, and is right.
		faults = 0
		s.mendAll(t.Context())
		c := get()
		_ = c.noteDamage()
		for _, r := range refs {
			if err := c.SetBlocks(r.Chunk, sample.Nodes[r.Chunk]); err != nil {
				t.Fatal(err)
			}
			if _, err := c.WriteBlock(r.Chunk, r.Block, sample.Block(r.Chunk, r.Block)); err != nil {
				t.Fatal(err)
			}
		}
		tallied(t, c, sample)
		if _, err := c.Verify(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		tallied(t, c, sample)
	})
}

// So it is when all of that happens at once.
func TestBytesHereDoNotDriftAtOnce(t *testing.T) {
	sample := storetest.Tree(t, 1)
	refs := sample.Refs()
	s := openAt(t, storetest.TempDir(t))
	defer s.Close()
	c := begin(t, s, sample)
	var busy sync.WaitGroup
	for seed := range uint64(6) {
		busy.Go(func() {
			r := rand.New(rand.NewPCG(seed, 5))
			for range 300 {
				x := refs[r.IntN(len(refs))]
				switch n := r.IntN(20); {
				case n < 15:
					_, _ = c.WriteBlock(x.Chunk, x.Block, sample.Block(x.Chunk, x.Block))
				case n < 17:
					if c.has(x.Chunk, x.Block) {
						c.damage(Damage{Chunk: x.Chunk, Blocks: 1 << x.Block, Err: content.ErrCorrupt})
					}
				case n < 18:
					_ = c.noteDamage()
				case n < 19:
					_ = c.Flush(t.Context())
				default:
					_ = c.Pin(r.IntN(2) == 0)
				}
			}
		})
	}
	busy.Wait()
	tallied(t, c, sample)
	if err := c.noteDamage(); err != nil {
		t.Fatal(err)
	}
	put(t, c, sample, refs...)
	if !c.Complete() || c.Progress() != c.size {
		t.Errorf("%d of %d bytes", c.Progress(), c.size)
	}
	tallied(t, c, sample)
	if bad, err := c.Verify(t.Context(), nil); err != nil || len(bad) > 0 {
		t.Errorf("%v, %v", bad, err)
	}
}

// laggard is a disk on which a folder's sync is seen late.
type laggard struct {
	disk.FS
	synced func(name string) error // after it, in its place
}

func (l *laggard) SyncFolder(name string) error {
	if err := l.FS.SyncFolder(name); err != nil || l.synced == nil {
		return err
	}
	return l.synced(name)
}

// A journal whose name may not be on the disk is not taken for settled by who has
// synced the folder just before it was written.
func TestNameThatIsNotOnDiskIsNotSettled(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	l := &laggard{FS: disktest.New(disktest.POSIX)}
	s, err := Open(powerConfig(l), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.Close() }()
	c := begin(t, s, sample)
	put(t, c, sample, sample.Refs()[:3]...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(powerConfig(l), zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	c, _ = s.Get(sample.ID) // found, so its names may not be on the disk
	lose := func() {
		l.synced = func(name string) error {
			if name == c.dir {
				return syscall.EIO
			}
			return nil
		}
		c.distrust(Damage{Chunk: 0, Blocks: 1})
		if err := c.lose(); !errors.Is(err, disk.ErrInPlace) {
			t.Errorf("a folder that can't be synced: %v", err)
		}
		l.synced = nil
	}
	lost := false
	l.synced = func(string) error {
		if c.sync.TryLock() { // somebody may change the folder's entries now
			c.sync.Unlock()
			lost = true
			lose()
		}
		return nil
	}
	if err := c.Pin(false); err != nil { // as it was: what was found is settled
		t.Fatal(err)
	}
	if l.synced = nil; !lost {
		lose()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.unsettled {
		t.Error("taken for settled")
	}
}

// A block that goes bad before it was noted in the journal is not noted as right.
func TestLostBlockIsNotNoted(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	dir := storetest.TempDir(t)
	s := openAt(t, dir)
	c := begin(t, s, sample)
	put(t, c, sample, sample.Refs()[:3]...)
	if err := c.writeAt([]byte{^sample.Block(0, 1)[0]}, int64(sample.Blocks[0][0].Size)); err != nil {
		t.Fatal(err)
	}
	c.distrust(Damage{Chunk: 0, Blocks: 0b10})
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	tallied(t, c, sample)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, dir)
	defer s.Close()
	c, _ = s.Get(sample.ID)
	if got := c.Verified(0); got != 0b101 {
		t.Errorf("blocks %b count, want 101", got)
	}
}

// A block whose list is lost while it is written doesn't count: nobody could say
// what it is.
func TestBlockOfLostListDoesNotCount(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	s := openAt(t, storetest.TempDir(t))
	defer s.Close()
	c := begin(t, s, sample)
	l, err := c.list(0)
	if err != nil {
		t.Fatal(err)
	}
	c.partial.lists[0] = listPlace{}
	if fresh, err := c.count(0, 0, l); fresh || !errors.Is(err, content.ErrNotFound) {
		t.Errorf("fresh %v, %v", fresh, err)
	}
	tallied(t, c, sample)
}
