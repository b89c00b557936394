package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// plant makes a complete content of one sparse file, with these blocks of each
// chunk, in the folder of a store. The blocks' bytes are not there.
func plant(t testing.TB, s *Store, blocks [][]content.Block) content.ID {
	t.Helper()
	m := &content.Manifest{Files: []content.File{{Path: "f", Mode: 0o644, ModTime: time.Unix(1_700_000_000, 0).UTC()}}}
	var nodes [][]byte
	for _, list := range blocks {
		node, err := content.EncodeBlocks(list)
		if err != nil {
			t.Fatal(err)
		}
		c := content.Chunk{Hash: content.Sum(node)}
		for _, b := range list {
			c.Size += b.Size
		}
		m.Files[0].Size += int64(c.Size)
		m.Chunks, nodes = append(m.Chunks, c), append(nodes, node)
	}
	enc, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	dir := s.folder(enc.ID)
	files := filepath.Join(dir, filesName)
	if err := os.MkdirAll(files, disk.FolderMode); err != nil {
		t.Fatal(err)
	}
	f, err := s.disk.Open(filepath.Join(files, "f"), os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(s.writeEncoded(dir, enc), s.writeAllLists(dir, nodes), f.Truncate(m.Files[0].Size), f.Close())
	if err != nil {
		t.Fatal(err)
	}
	return enc.ID
}

// A pool has hashes that blocks are drawn from, so that contents share some. They
// come by fours that an index can't tell apart.
type hashPool []content.Hash

func newHashPool(n int) hashPool {
	pool := make(hashPool, n)
	for i := range pool {
		pool[i] = content.Sum(binary.LittleEndian.AppendUint32(nil, uint32(i/4)))
		pool[i][content.HashSize-1] = byte(i % 4)
	}
	return pool
}

// draw returns the blocks of a content of some chunks.
func (p hashPool) draw(r *rand.Rand, chunks int) [][]content.Block {
	blocks := make([][]content.Block, chunks)
	for i := range blocks {
		blocks[i] = make([]content.Block, 1+r.IntN(8))
		at := r.IntN(len(p))
		for j := range blocks[i] {
			blocks[i][j] = content.Block{Hash: p[(at+j)%len(p)], Size: 1 + r.Uint32N(1000)}
		}
	}
	return blocks
}

// An indexModel says what the index has to find.
type indexModel struct {
	t    *testing.T
	s    *Store
	pool hashPool
	ids  []content.ID
	has  map[content.ID]map[content.Hash]struct{}
}

func (m *indexModel) plant(blocks [][]content.Block) {
	id := plant(m.t, m.s, blocks)
	if _, ok := m.has[id]; ok {
		return
	}
	if _, err := m.s.adopt(id, past{}); err != nil {
		m.t.Fatal(err)
	}
	m.has[id] = make(map[content.Hash]struct{})
	for _, list := range blocks {
		for _, b := range list {
			m.has[id][b.Hash] = struct{}{}
		}
	}
	m.ids = append(m.ids, id)
}

func (m *indexModel) remove(i int) {
	if err := m.s.Remove(m.ids[i]); err != nil {
		m.t.Fatal(err)
	}
	delete(m.has, m.ids[i])
	m.ids[i] = m.ids[len(m.ids)-1]
	m.ids = m.ids[:len(m.ids)-1]
}

// check looks up all hashes, one by one and at once. What is found has to be
// right; unless some may be missing, all have to be found.
func (m *indexModel) check(what string, all bool) {
	m.t.Helper()
	places := m.s.findBlocks(m.pool)
	for i, h := range m.pool {
		want := false
		for _, has := range m.has {
			if _, want = has[h]; want {
				break
			}
		}
		c, chunk, block, ok := m.s.FindBlock(h)
		for _, p := range []blockPlace{{c, chunk, block}, places[i]} {
			found := p.content != nil
			if found && (!want || !p.has(h)) || !found && want && all {
				m.t.Fatalf("%s: block %d: found %v, want %v", what, i, found, want)
			}
		}
		if ok != (c != nil) {
			m.t.Fatalf("block %d: %v, %v", i, c, ok)
		}
	}
}

func (m *indexModel) update() {
	m.t.Helper()
	if err := m.s.blocks.update(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
}

func (m *indexModel) reopen() {
	m.t.Helper()
	if err := m.s.Close(); err != nil {
		m.t.Fatal(err)
	}
	m.s = openAt(m.t, m.s.cfg.Dir)
}

// runFiles returns the names of the runs on disk.
func runFiles(t testing.TB, s *Store) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(s.cfg.Dir, indexName, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// damage does something to one of the runs.
func (m *indexModel) damage(r *rand.Rand) (what string) {
	names := runFiles(m.t, m.s)
	if len(names) == 0 {
		return "no damage"
	}
	name := names[r.IntN(len(names))]
	data, err := os.ReadFile(name)
	if err != nil {
		m.t.Fatal(err)
	}
	switch r.IntN(4) {
	case 0:
		what, err = "removed", os.Remove(name)
	case 1:
		what, err = "cut", os.Truncate(name, r.Int64N(int64(len(data))))
	case 2:
		at := r.IntN(len(data))
		data[at] ^= 1 << r.IntN(8)
		what, err = fmt.Sprintf("byte %d of %d flipped", at, len(data)), os.WriteFile(name, data, disk.FileMode)
	case 3:
		clear(data[len(data)/2:])
		what, err = "zeroed", os.WriteFile(name, data, disk.FileMode)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return what
}

// Whatever is added, removed and damaged, in any order: the index never says what
// isn't true, and finds everything once it is up to date. Three seeds a run, of 40
// operations each.
func TestBlockIndexAgainstModel(t *testing.T) {
	first := rand.Uint64N(1 << 32)
	for seed := first; seed < first+3; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 1))
			m := &indexModel{t: t, s: openAt(t, t.TempDir()), pool: newHashPool(300), has: make(map[content.ID]map[content.Hash]struct{})}
			defer func() { m.s.Close() }()
			for step := range 40 {
				what := fmt.Sprint("step ", step)
				switch n := r.IntN(10); {
				case n < 5 || len(m.ids) == 0:
					m.plant(m.pool.draw(r, 1+r.IntN(60)))
				case n < 7:
					m.remove(r.IntN(len(m.ids)))
				case n < 8:
					m.reopen()
				case n < 9:
					what += ": " + m.damage(r)
					m.check(what, false)
					if r.IntN(2) == 0 {
						m.reopen()
					}
				}
				if r.IntN(3) > 0 {
					m.check(what, false) // and damage is met
					m.update()
					m.check(what, true)
				}
			}
			m.update()
			m.check("at the end", true)
			// One that was removed by somebody while it was open serves until then.
			if names := runFiles(t, m.s); len(names) > len(m.s.blocks.runs) {
				t.Errorf("left: %v, of %d runs", names, len(m.s.blocks.runs))
			}
		})
	}
}

func TestBlockIndexStaysSmall(t *testing.T) {
	m := &indexModel{t: t, s: openAt(t, t.TempDir()), pool: newHashPool(8_000), has: make(map[content.ID]map[content.Hash]struct{})}
	defer func() { m.s.Close() }()
	r := rand.New(rand.NewPCG(1, 1))
	blocks := 0
	for range 100 {
		drawn := m.pool.draw(r, 60)
		for _, list := range drawn {
			blocks += len(list)
		}
		m.plant(drawn)
		m.update()
		if n := len(m.s.blocks.runs); n > 6 {
			t.Fatalf("%d runs", n)
		}
	}
	size := func() (n int64) {
		for _, name := range runFiles(t, m.s) {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			n += info.Size()
		}
		return n
	}
	before := size()
	if limit := int64(16*blocks) + 6*runPage; before > limit {
		t.Errorf("%d blocks take %d bytes, want at most %d", blocks, before, limit)
	}
	m.check("after 100 contents", true)
	for len(m.ids) > 5 {
		m.remove(r.IntN(len(m.ids)))
	}
	m.update()
	if after := size(); after > before/5 {
		t.Errorf("%d of %d bytes are left of a twentieth of the contents", after, before)
	}
	m.check("after most were removed", true)
	for len(m.ids) > 0 {
		m.remove(0)
	}
	m.update()
	if names := runFiles(t, m.s); len(names) > 0 {
		t.Errorf("left of nothing: %v", names)
	}
}

// A crash after a merge leaves the runs that it was made of beside the new one.
func TestBlockIndexAfterUnfinishedMerge(t *testing.T) {
	m := &indexModel{t: t, s: openAt(t, t.TempDir()), pool: newHashPool(800), has: make(map[content.ID]map[content.Hash]struct{})}
	defer func() { m.s.Close() }()
	r := rand.New(rand.NewPCG(1, 1))
	kept := make(map[string][]byte)
	for range 8 {
		m.plant(m.pool.draw(r, 20))
		m.update()
		for _, name := range runFiles(t, m.s) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			kept[name] = data
		}
	}
	entries := func() (n uint64) {
		for _, r := range m.s.blocks.runs {
			n += r.entries
		}
		return n
	}
	want := entries()
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, data := range kept {
		if err := os.WriteFile(name, data, disk.FileMode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(m.s.cfg.Dir, indexName, runPrefix+"X.tmp"), []byte("half"), disk.FileMode); err != nil {
		t.Fatal(err)
	}
	m.s = openAt(t, m.s.cfg.Dir)
	m.check("with all runs there ever were", true)
	m.update()
	m.check("after the next merge", true)
	if got := entries(); got != want {
		t.Errorf("%d entries, want %d", got, want)
	}
}

// Each file of the index in turn is lost or damaged in each way, while the store
// is closed: all is found again, and what was wrong is said once (G34).
func TestLostBlockIndexIsRebuilt(t *testing.T) {
	rots := map[string]func(data []byte) []byte{
		"removed":  func([]byte) []byte { return nil },
		"empty":    func([]byte) []byte { return []byte{} },
		"halved":   func(d []byte) []byte { return d[:len(d)/2] },
		"longer":   func(d []byte) []byte { return append(d, 0) },
		"garbage":  func(d []byte) []byte { return []byte(strings.Repeat("x", len(d))) },
		"entry":    func(d []byte) []byte { d[5] ^= 4; return d },
		"checksum": func(d []byte) []byte { d[0] ^= 1; return d },
		"table":    func(d []byte) []byte { d[len(d)-footSize-1] ^= 1; return d },
		"magic":    func(d []byte) []byte { d[len(d)-1] ^= 2; return d },
	}
	for kind, rot := range rots {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			m := &indexModel{t: t, s: openAt(t, t.TempDir()), pool: newHashPool(600), has: make(map[content.ID]map[content.Hash]struct{})}
			defer func() { m.s.Close() }()
			r := rand.New(rand.NewPCG(1, 1))
			for _, chunks := range []int{200, 40} {
				m.plant(m.pool.draw(r, chunks))
				m.update()
			}
			names := runFiles(t, m.s)
			if len(names) != 2 {
				t.Fatalf("runs: %v", names)
			}
			for _, name := range names {
				if err := m.s.Close(); err != nil {
					t.Fatal(err)
				}
				data, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				if data = rot(data); data == nil {
					err = os.Remove(name)
				} else {
					err = os.WriteFile(name, data, disk.FileMode)
				}
				if err != nil {
					t.Fatal(err)
				}
				core, logs := observer.New(zap.WarnLevel)
				if m.s, err = Open(Config{Dir: m.s.cfg.Dir}, zap.New(core)); err != nil {
					t.Fatal(err)
				}
				m.check("before", false)
				m.update()
				m.check("after", true)
				if logs.Len() > 1 || logs.Len() == 0 && kind != "removed" {
					t.Errorf("said: %v", logs.All())
				}
			}
			if names := runFiles(t, m.s); len(names) != 2 {
				t.Errorf("runs: %v", names)
			}
		})
	}
}

// Lookups go on, and are right, while contents come and go and runs are merged.
func TestBlockIndexUnderConcurrency(t *testing.T) {
	m := &indexModel{t: t, s: openAt(t, t.TempDir()), pool: newHashPool(1000), has: make(map[content.ID]map[content.Hash]struct{})}
	defer m.s.Close()
	r := rand.New(rand.NewPCG(1, 1))
	stays := m.pool[:8] // of a content that is never removed
	m.plant([][]content.Block{func() (list []content.Block) {
		for _, h := range stays {
			list = append(list, content.Block{Hash: h, Size: 10})
		}
		return list
	}()})
	m.update()
	stop := make(chan struct{})
	var readers sync.WaitGroup
	defer readers.Wait()
	defer close(stop)
	for i := range 4 {
		readers.Go(func() {
			for n := i; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if h := stays[n%len(stays)]; !m.s.HasBlock(h) {
					t.Errorf("block %v isn't found", h)
					return
				}
				if c, chunk, block, ok := m.s.FindBlock(m.pool[n%len(m.pool)]); ok {
					if list, ok := c.Blocks(chunk); ok && list[block].Hash != m.pool[n%len(m.pool)] {
						t.Error("found another block")
						return
					}
				}
			}
		})
	}
	for range 60 {
		m.plant(m.pool.draw(r, 1+r.IntN(30)))
		if len(m.ids) > 5 {
			m.remove(1 + r.IntN(len(m.ids)-1))
		}
		m.update()
	}
}

// Run indexes what became complete, a little later, and drops what was removed.
func TestRunIndexesBlocks(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := openAt(t, dir)
		defer s.Close()
		go s.Run(t.Context())
		c := begin(t, s, sample)
		put(t, c, sample, sample.Refs()...)
		synctest.Wait()
		if s.HasBlock(sample.Blocks[0][0].Hash) {
			t.Error("indexed at once, and alone")
		}
		time.Sleep(indexAfter + time.Second)
		synctest.Wait()
		for _, list := range sample.Blocks {
			for _, b := range list {
				if !s.HasBlock(b.Hash) {
					t.Fatal("not indexed in time")
				}
			}
		}
		if err := s.Remove(sample.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(indexAfter + time.Second)
		synctest.Wait()
		if names := runFiles(t, s); len(names) > 0 {
			t.Errorf("left of what was removed: %v", names)
		}
	})
}
