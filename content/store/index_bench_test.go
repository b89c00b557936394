package store

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
)

// The store that is opened: 256 GB of sparse files.
const (
	largeContents = 1000
	largeChunks   = 250 // of each
	largeBlocks   = 16  // of each chunk
)

// largeStore makes a store of many contents, indexed, in a folder of its own.
func largeStore(b *testing.B) (dir string) {
	dir = b.TempDir()
	s := openAt(b, dir)
	var seed [32]byte
	random := rand.NewChaCha8(seed)
	start := time.Now()
	for range largeContents {
		blocks := make([][]content.Block, largeChunks)
		for i := range blocks {
			blocks[i] = make([]content.Block, largeBlocks)
			for j := range blocks[i] {
				blocks[i][j].Size = content.TargetBlock
				random.Read(blocks[i][j].Hash[:])
			}
		}
		if _, err := s.adopt(plant(b, s, blocks), past{}); err != nil {
			b.Fatal(err)
		}
	}
	made := time.Now()
	if err := s.blocks.update(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Logf("made in %v, indexed in %v: %d runs", made.Sub(start), time.Since(made), len(s.blocks.runs))
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return dir
}

// openDir is set for a child, which opens the store there, and says what it took.
const openDir = "STORE_BENCH_OPEN_DIR"

type opened struct {
	Took, Lookup time.Duration
	Heap, Peak   uint64 // bytes: held after it, and the most that the process had
}

// OpenChild reports whether this process is the child of BenchmarkOpen.
func OpenChild() bool {
	dir := os.Getenv(openDir)
	if dir == "" {
		return false
	}
	var o opened
	start := time.Now()
	s, err := Open(Config{Dir: dir}, zap.NewNop())
	o.Took = time.Since(start)
	if err != nil || len(s.List()) != largeContents {
		fmt.Fprintln(os.Stderr, "opened", err)
		os.Exit(1)
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	o.Heap, o.Peak = m.HeapAlloc, peak()
	const lookups = 10_000
	start = time.Now()
	for range lookups {
		s.HasBlock(content.Sum(fmt.Append(nil, rand.Uint64())))
	}
	o.Lookup = time.Since(start) / lookups
	_ = json.NewEncoder(os.Stdout).Encode(o)
	return true
}

// peak returns the most bytes of memory that this process ever had, where the
// system tells.
func peak() (n uint64) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			_, _ = fmt.Sscan(rest, &n)
			return n << 10
		}
	}
	return 0
}

// BenchmarkOpen opens a store of 1,000 contents and 4,000,000 blocks, in a process
// of its own. It may take a second and 100 MiB.
func BenchmarkOpen(b *testing.B) {
	dir := largeStore(b)
	var sum, most opened
	for b.Loop() {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), openDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			b.Fatal(err)
		}
		var o opened
		if err := json.Unmarshal(out, &o); err != nil {
			b.Fatal(err)
		}
		sum.Took, sum.Lookup = sum.Took+o.Took, sum.Lookup+o.Lookup
		most.Heap, most.Peak = max(most.Heap, o.Heap), max(most.Peak, o.Peak)
	}
	n := float64(b.N)
	b.ReportMetric(sum.Took.Seconds()*1000/n, "ms/open")
	b.ReportMetric(float64(sum.Lookup.Nanoseconds())/n, "ns/lookup")
	b.ReportMetric(float64(most.Heap)/(1<<20), "MiB-heap")
	b.ReportMetric(float64(most.Peak)/(1<<20), "MiB-peak")
	if max(most.Heap, most.Peak) > 100<<20 {
		b.Errorf("%d bytes held, %d at most", most.Heap, most.Peak)
	}
}

// BenchmarkRebuildIndex makes the index of 4,000,000 blocks anew. A minute for each
// 100,000 chunks is what it may take (G34).
func BenchmarkRebuildIndex(b *testing.B) {
	s := openAt(b, largeStore(b))
	defer s.Close()
	for b.Loop() {
		s.blocks.drop(s.blocks.acquireAll()...)
		if names := runFiles(b, s); len(names) > 0 {
			b.Fatalf("left: %v", names)
		}
		if err := s.blocks.update(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	var size int64
	for _, name := range runFiles(b, s) {
		info, err := os.Stat(name)
		if err != nil {
			b.Fatal(err)
		}
		size += info.Size()
	}
	const chunks = largeContents * largeChunks
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)*100_000/chunks, "s/100000-chunks")
	b.ReportMetric(float64(size)/(chunks*largeBlocks), "B/block")
}

// BenchmarkKnown looks up the blocks of a new content of 1 GiB, as add does, among
// 4,000,000 others.
func BenchmarkKnown(b *testing.B) {
	s := openAt(b, largeStore(b))
	defer s.Close()
	random := rand.NewChaCha8([32]byte{1})
	hashes := make([]content.Hash, 1<<30/content.TargetBlock)
	for b.Loop() {
		for i := range hashes {
			random.Read(hashes[i][:])
		}
		for _, p := range s.findBlocks(hashes) {
			if p.content != nil {
				b.Fatal("found what isn't there")
			}
		}
	}
}

// acquireAll returns the runs without holding them.
func (x *blockIndex) acquireAll() []*run {
	x.mu.Lock()
	defer x.mu.Unlock()
	return append([]*run(nil), x.runs...)
}
