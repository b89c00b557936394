package chunker

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	cdc "github.com/PlakarKorp/go-cdc-chunkers"
	_ "github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc"

	"github.com/p2pnode/p2pnode/content"
)

var write = flag.Bool("write-vectors", false, "write testdata/cuts.txt: a new format, and new names for everything published")

// random returns n bytes of the ChaCha8 stream of seed, which is specified
// (C2SP/chacha8rand) and so the same forever.
func random(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// text returns n bytes of something like a log: few different bytes, long
// repeats, slow change.
func text(n int) []byte {
	var b bytes.Buffer
	state := uint32(1)
	for b.Len() < n {
		state = state*1664525 + 1013904223 // Numerical Recipes' generator
		fmt.Fprintf(&b, "2024-02-29T12:%02d:56Z info request served path=/content/%d status=200 bytes=%d\n",
			b.Len()>>16&63, state>>28, state>>20)
	}
	return b.Bytes()[:n]
}

// period returns n bytes that repeat every p.
func period(p, n int) []byte { return bytes.Repeat(random(9, p), n/p+1)[:n] }

var inputs = []struct {
	name string
	data func() []byte
}{
	{"random, 4 MiB", func() []byte { return random(1, 4<<20) }},
	{"random, 1,000,003 bytes", func() []byte { return random(2, 1_000_003) }},
	{"zeros, 1 MiB and 1", func() []byte { return make([]byte, 1<<20+1) }},
	{"text, 2 MiB", func() []byte { return text(2 << 20) }},
	{"period of 4,096, 2 MiB", func() []byte { return period(4096, 2<<20) }},
	{"nothing", func() []byte { return nil }},
	{"one byte", func() []byte { return []byte{1} }},
	{"a least block", func() []byte { return random(3, content.MinBlock) }},
	{"a least block and 1", func() []byte { return random(3, content.MinBlock+1) }},
}

// cuts returns the blocks of data.
func cuts(data []byte) (blocks [][]byte) {
	for len(data) > 0 {
		n := Cut(data)
		blocks = append(blocks, data[:n])
		data = data[n:]
	}
	return blocks
}

// chunks returns how many blocks each chunk has.
func chunks(blocks [][]byte) (counts []int) {
	n := 0
	for i, b := range blocks {
		n++
		if i == len(blocks)-1 || Ends(content.Sum(b), n) {
			counts = append(counts, n)
			n = 0
		}
	}
	return counts
}

// The cuts are frozen. If this fails, mend the code, not the vectors.
func TestCutsAreFrozen(t *testing.T) {
	var got strings.Builder
	for _, in := range inputs {
		blocks := cuts(in.data())
		fmt.Fprintf(&got, "%s\nblocks", in.name)
		for _, b := range blocks {
			fmt.Fprintf(&got, " %d", len(b))
		}
		fmt.Fprintf(&got, "\nchunks")
		for _, n := range chunks(blocks) {
			fmt.Fprintf(&got, " %d", n)
		}
		fmt.Fprintf(&got, "\n\n")
	}
	const name = "testdata/cuts.txt"
	if *write {
		if err := os.WriteFile(name, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("cuts have changed: every file would be new\ngot\n%s\nwant\n%s", got.String(), want)
	}
}

func TestGearIsFrozen(t *testing.T) {
	table := make([]byte, 0, 8*len(gear))
	for _, g := range gear {
		table = binary.BigEndian.AppendUint64(table, g)
	}
	const want = "bafkreicl3xaw7xbojpu2vk36wmzhkfwxxagnwh3xzh34zlddm7mpahqfaq"
	if got := content.Sum(table).Raw().String(); got != want {
		t.Errorf("digest of the gear table is %s, want %s", got, want)
	}
}

// plain is the algorithm as the paper has it, a byte at a time.
func plain(data []byte) int {
	var hash uint64
	for i, c := range data {
		if i == content.MaxBlock {
			return i
		}
		if i < content.MinBlock {
			continue
		}
		hash = hash<<1 + gear[c]
		limit := uint64(frequent)
		if i < normal {
			limit = rare
		}
		if hash < limit {
			return i + 1
		}
	}
	return min(len(data), content.MaxBlock)
}

func TestCutIsThePapers(t *testing.T) {
	for _, in := range inputs {
		for data := in.data(); len(data) > 0; {
			got, want := Cut(data), plain(data)
			if got != want {
				t.Fatalf("%s: with %d bytes left: cut at %d, want %d", in.name, len(data), got, want)
			}
			data = data[got:]
		}
	}
}

func FuzzCut(f *testing.F) {
	f.Add(uint64(1), uint32(70_000), byte(255))
	f.Add(uint64(2), uint32(300_000), byte(3))
	f.Fuzz(func(t *testing.T, seed uint64, size uint32, mask byte) {
		data := make([]byte, size%(content.MaxBlock+1000))
		_, _ = rand.NewChaCha8([32]byte(binary.BigEndian.AppendUint64(make([]byte, 24), seed))).Read(data)
		for i := range data {
			data[i] &= mask
		}
		if got, want := Cut(data), plain(data); got != want {
			t.Errorf("cut at %d, want %d", got, want)
		}
	})
}

func TestCutLooksNoFurtherThanMaxBlock(t *testing.T) {
	data := random(4, 2*content.MaxBlock)
	for len(data) > content.MaxBlock {
		n := Cut(data)
		if again := Cut(data[:content.MaxBlock]); again != n {
			t.Fatalf("cut at %d with more data, at %d without", n, again)
		}
		data = data[n:]
	}
}

func TestSizes(t *testing.T) {
	data := random(5, 128<<20)
	blocks := cuts(data)
	for i, b := range blocks {
		if len(b) > content.MaxBlock || len(b) < content.MinBlock && i < len(blocks)-1 {
			t.Errorf("block %d has %d bytes", i, len(b))
		}
	}
	mean := float64(len(data)) / float64(len(blocks)) / 1024
	if mean < 62 || mean > 66 {
		t.Errorf("mean block is %.1f KiB, want about 64", mean)
	}
	counts := chunks(blocks)
	for i, n := range counts {
		if n > content.MaxBlocks || n < content.MinBlocks && i < len(counts)-1 {
			t.Errorf("chunk %d has %d blocks", i, n)
		}
	}
	t.Logf("%d blocks, mean %.1f KiB; %d chunks, mean %.2f blocks", len(blocks), mean, len(counts), float64(len(blocks))/float64(len(counts)))

	// The mean of chunks needs more of them than there are in those bytes.
	const many = 200_000
	n, ended := 0, 0
	for i := range uint64(many) {
		n++
		if Ends(content.Sum(binary.BigEndian.AppendUint64(nil, i)), n) {
			ended++
			n = 0
		}
	}
	if mean := many / float64(ended); mean < 15.5 || mean > 16.5 {
		t.Errorf("mean chunk has %.2f blocks, want about 16", mean)
	} else {
		t.Logf("mean of %d chunks: %.2f blocks", ended, mean)
	}
}

func TestEnds(t *testing.T) {
	ends := content.Hash{}                          // 0 divides by 13
	goesOn := content.Hash{content.HashSize - 1: 1} // 1 does not
	for _, c := range []struct {
		h    content.Hash
		n    int
		want bool
	}{
		{ends, 1, false}, {ends, 3, false}, {ends, 4, true}, {ends, 63, true}, {ends, 64, true},
		{goesOn, 1, false}, {goesOn, 4, false}, {goesOn, 63, false}, {goesOn, 64, true},
		{content.Hash{content.HashSize - 1: 13}, 4, true}, {content.Hash{content.HashSize - 9: 1}, 4, true},
		{content.Hash{content.HashSize - 2: 1}, 4, false}, // 256
	} {
		if got := Ends(c.h, c.n); got != c.want {
			t.Errorf("Ends(%x, %d) = %v", c.h[content.HashSize-9:], c.n, got)
		}
	}
}

// The reason for two levels: 64 scattered changes of a 100 MiB file cost a
// twentieth of it in blocks, where whole chunks would be half.
func TestScatteredEditsCostFewBlocks(t *testing.T) {
	const size, edits = 100 << 20, 64
	old := random(6, size)
	rng := rand.New(rand.NewChaCha8([32]byte{7}))
	places := make([]int, edits)
	for i := range places {
		places[i] = rng.IntN(size)
	}
	slices.Sort(places)

	changed := slices.Clone(old)
	grown := make([]byte, 0, size+edits*8)
	last := 0
	for _, p := range places {
		changed[p] ^= 0xff
		grown = append(append(grown, old[last:p]...), "inserted"...)
		last = p
	}
	grown = append(grown, old[last:]...)

	oldBlocks := cuts(old)
	known := make(map[content.Hash]bool)
	for _, b := range oldBlocks {
		known[content.Sum(b)] = true
	}
	for name, data := range map[string][]byte{"changed": changed, "inserted": grown} {
		blocks := cuts(data)
		fresh, freshChunks := 0, 0
		chunk, news := 0, 0
		n := 0
		for i, b := range blocks {
			n++
			chunk += len(b)
			h := content.Sum(b)
			if !known[h] {
				fresh += len(b)
				news++
			}
			if Ends(h, n) || i == len(blocks)-1 {
				if news > 0 {
					freshChunks += chunk
				}
				n, chunk, news = 0, 0, 0
			}
		}
		share := float64(fresh) / float64(len(data))
		t.Logf("%s: new blocks are %.1f %% of the file, chunks with one %.0f %%", name, 100*share, 100*float64(freshChunks)/float64(len(data)))
		if share > 0.06 {
			t.Errorf("%s: %d edits make %.1f %% of the file new", name, edits, 100*share)
		}
	}
}

func TestChangeAtFrontKeepsTheRest(t *testing.T) {
	data := random(8, 16<<20)
	known := make(map[content.Hash]bool)
	for _, b := range cuts(data) {
		known[content.Sum(b)] = true
	}
	fresh := 0
	for _, b := range cuts(append([]byte("a new first line\n"), data...)) {
		if !known[content.Sum(b)] {
			fresh += len(b)
		}
	}
	if fresh > 4*content.MaxBlock {
		t.Errorf("%d bytes are new", fresh)
	}
}

func BenchmarkCut(b *testing.B) {
	data := random(1, 64<<20)
	measure := func(b *testing.B, cut func([]byte) int) {
		b.SetBytes(int64(len(data)))
		n := 0
		for b.Loop() {
			n = 0
			for rest := data; len(rest) > 0; n++ {
				rest = rest[cut(rest):]
			}
		}
		b.ReportMetric(float64(len(data))/float64(n)/1024, "KiB/block")
	}
	b.Run("ours", func(b *testing.B) { measure(b, Cut) })
	b.Run("plain", func(b *testing.B) { measure(b, plain) })
	b.Run("library", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		n := 0
		for b.Loop() {
			c, err := cdc.NewChunker("fastcdc-v1.0.0", bytes.NewReader(data),
				&cdc.ChunkerOpts{MinSize: content.MinBlock, NormalSize: content.TargetBlock, MaxSize: content.MaxBlock})
			if err != nil {
				b.Fatal(err)
			}
			n = 0
			for ; ; n++ {
				if piece, err := c.Next(); err != nil && len(piece) == 0 {
					break
				}
			}
		}
		b.ReportMetric(float64(len(data))/float64(n)/1024, "KiB/block")
	})
}
