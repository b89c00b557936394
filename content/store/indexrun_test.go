package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

type memoryFile struct{ *bytes.Reader }

func (memoryFile) Close() error { return nil }

// inMemory loads a run from its bytes.
func inMemory(data []byte) (*run, error) {
	r := &run{file: memoryFile{bytes.NewReader(data)}}
	return r, r.load(r.file, int64(len(data)))
}

func encodeRun(t testing.TB, pieces []piece, entries []runEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := newRunWriter(&b, pieces)
	for _, e := range entries {
		if err := w.add(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// someEntries returns n sorted entries of rows pieces; every sixteenth key has
// many of them, more than fill a page if n allows.
func someEntries(seed uint64, n, rows int) []runEntry {
	r := rand.New(rand.NewPCG(seed, 1))
	entries := make([]runEntry, n)
	for i := range entries {
		key := r.Uint64() >> 16
		if r.IntN(2) == 0 {
			key = r.Uint64N(4) << 40
		}
		entries[i] = runEntry{key, r.Uint32N(uint32(rows)), r.Uint32()}
	}
	slices.SortFunc(entries, runEntry.compare)
	return entries
}

func somePieces(n int) []piece {
	pieces := make([]piece, n)
	for i := range pieces {
		pieces[i] = piece{content.ID(content.Sum([]byte{byte(i), byte(i >> 8)})), uint32(i), uint32(2*i + 1)}
	}
	slices.SortFunc(pieces, piece.compare)
	return pieces
}

func TestRunHasWhatWasWritten(t *testing.T) {
	for _, n := range []int{0, 1, 2, pageEntries - 1, pageEntries, pageEntries + 1, 10 * pageEntries, 10_000} {
		pieces, entries := somePieces(7), someEntries(uint64(n), n, 7)
		data := encodeRun(t, pieces, entries)
		if size, limit := len(data), 16*n+runPage+len(pieces)*rowSize+footSize+8; size > limit {
			t.Errorf("%d entries take %d bytes, want at most %d", n, size, limit)
		}
		r, err := inMemory(data)
		if err != nil {
			t.Fatalf("%d entries: %v", n, err)
		}
		var counts [7]uint32
		for i, scan := 0, (runScan{run: r}); ; i++ {
			e, ok, err := scan.take()
			if err != nil || ok != (i < n) || ok && e != entries[i] {
				t.Fatalf("entry %d of %d: %v, %v, %v", i, n, e, ok, err)
			}
			if !ok {
				break
			}
			counts[e.row]++
		}
		for i, row := range r.rows {
			if row.piece != pieces[i] || row.entries != counts[i] {
				t.Errorf("piece %d is %v", i, row)
			}
		}
		var pages runPages
		for i, e := range entries {
			for _, key := range []uint64{e.key, e.key + 1, e.key - 1} {
				if i > 0 && entries[i-1].key == e.key && key == e.key {
					continue
				}
				var want, got []runEntry
				from, _ := slices.BinarySearchFunc(entries, key, func(e runEntry, k uint64) int { return int(int64(e.key) - int64(k)) })
				for ; from < n && entries[from].key == key; from++ {
					want = append(want, entries[from])
				}
				if err := r.find(&pages, key, func(e runEntry) bool { got = append(got, e); return true }); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got, want) {
					t.Fatalf("%d entries: key %x has %d of %d", n, key, len(got), len(want))
				}
			}
		}
	}
}

// Each bit of a run is covered: a flip is noticed when what it hit is read.
func TestRunNoticesDamage(t *testing.T) {
	data := encodeRun(t, somePieces(3), someEntries(1, 2*pageEntries+5, 3))
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		bad := slices.Clone(data)
		at := r.IntN(len(bad))
		bad[at] ^= 1 << r.IntN(8)
		if err := readAll(bad); !errors.Is(err, errRun) {
			t.Fatalf("byte %d of %d flipped: %v", at, len(bad), err)
		}
	}
	for size := range len(data) {
		if _, err := inMemory(data[:size]); !errors.Is(err, errRun) {
			t.Fatalf("cut to %d of %d: %v", size, len(data), err)
		}
	}
	swapped := slices.Concat(data[runPage:2*runPage], data[:runPage], data[2*runPage:])
	if err := readAll(swapped); !errors.Is(err, errRun) {
		t.Errorf("pages changed places: %v", err)
	}
}

func readAll(data []byte) error {
	r, err := inMemory(data)
	if err != nil {
		return err
	}
	for scan := (runScan{run: r}); ; {
		if _, ok, err := scan.take(); err != nil || !ok {
			return err
		}
	}
}

// fixSums makes the checksums of what may be a run right.
func fixSums(data []byte) {
	if len(data) < footSize {
		return
	}
	foot := data[len(data)-footSize:]
	copy(foot[16:], runMagic)
	pages := (binary.LittleEndian.Uint64(foot) + pageEntries - 1) / pageEntries
	if pages > uint64(len(data)-footSize)/runPage {
		return
	}
	for n := range int(pages) {
		page := data[n*runPage:][:runPage]
		binary.LittleEndian.PutUint32(page, pageSum(n, page))
	}
	table := data[pages*runPage : len(data)-footSize]
	binary.LittleEndian.PutUint32(foot[12:], tableSum(table, foot))
}

// FuzzRun reads any bytes as a run: what it says is bounded by what there is, in
// memory too, and nothing panics.
func FuzzRun(f *testing.F) {
	whole := encodeRun(f, somePieces(3), someEntries(1, pageEntries+3, 3))
	f.Add(whole, uint64(1)<<40, false)
	f.Add(whole[:runPage], uint64(0), true)
	f.Add(whole[runPage:], uint64(0), true)
	f.Add(encodeRun(f, nil, nil), uint64(0), true)
	f.Add(encodeRun(f, somePieces(1), someEntries(2, 4, 1)), uint64(1), true)
	f.Fuzz(func(t *testing.T, data []byte, key uint64, fix bool) {
		data = slices.Clone(data)
		if fix {
			fixSums(data)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := inMemory(data)
		if err == nil {
			var pages runPages
			found := 0
			err = r.find(&pages, key, func(runEntry) bool { found++; return true })
			if found > len(data)/entrySize {
				t.Errorf("%d entries found in %d bytes", found, len(data))
			}
		}
		read := 0
		if err == nil {
			for scan := (runScan{run: r}); err == nil; read++ {
				var ok bool
				if _, ok, err = scan.take(); !ok {
					break
				}
			}
		}
		runtime.ReadMemStats(&after)
		if took := int64(after.TotalAlloc - before.TotalAlloc); took > 4*int64(len(data))+(scanPages+4)*runPage+64<<10 {
			t.Errorf("%d bytes allocated for %d", took, len(data))
		}
		if err != nil && !errors.Is(err, errRun) {
			t.Error(err)
		}
		if read > len(data)/entrySize {
			t.Errorf("%d entries read from %d bytes", read, len(data))
		}
	})
}

// A run that is cut while it is open doesn't pass for another, whose page was in
// the buffer before.
func TestRunCutWhileOpen(t *testing.T) {
	entries := someEntries(1, 100, 3)
	other, err := inMemory(encodeRun(t, somePieces(3), entries))
	if err != nil {
		t.Fatal(err)
	}
	cut, err := inMemory(encodeRun(t, somePieces(3), someEntries(2, 100, 3)))
	if err != nil {
		t.Fatal(err)
	}
	cut.file = memoryFile{bytes.NewReader(nil)}
	var pages runPages
	key := max(entries[50].key, cut.fence[0])
	found := func(runEntry) bool { return true }
	if err := other.find(&pages, key, found); err != nil {
		t.Fatal(err)
	}
	pages.count = 0
	if err := cut.find(&pages, key, found); !errors.Is(err, errRun) {
		t.Errorf("%v", err)
	}
}

// The index takes nothing of what is kept free: it is a hint, and waits.
func TestBlockIndexKeepsTheFloor(t *testing.T) {
	const floor = 1 << 20
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	var free atomic.Uint64
	free.Store(1 << 30)
	s, err := Open(Config{
		Dir: t.TempDir(), Floor: floor,
		Space: func(string) (uint64, uint64, error) { return free.Load(), 1 << 40, nil },
	}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := begin(t, s, sample)
	put(t, c, sample, sample.Refs()...)
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.LookAgain()
	free.Store(floor)
	if err := s.blocks.update(t.Context()); !errors.Is(err, content.ErrNoSpace) {
		t.Errorf("written below the floor: %v", err)
	}
	if entries, err := os.ReadDir(s.blocks.dir); len(entries) > 0 {
		t.Errorf("%d runs below the floor, %v", len(entries), err)
	}
	free.Store(1 << 30)
	if err := s.blocks.update(t.Context()); err != nil || !s.HasBlock(sample.Blocks[0][0].Hash) {
		t.Errorf("not indexed once there was room: %v", err)
	}
}
