//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/chunker"
	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// sampleBytes returns random bytes, and text that hardly changes, one behind the
// other: blocks of all lengths.
func sampleBytes(t *testing.T) []byte {
	t.Helper()
	name := filepath.Join(t.TempDir(), "sample")
	if err := scenario.Sample(name, 8<<20, 1); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40_000 {
		data = fmt.Appendf(data, "line %d of a log that says the same each time\n", i/100)
	}
	return append(data, make([]byte, 1<<20)...)
}

// What is measured here must be what nodes do.
func TestCutterIsTheProducts(t *testing.T) {
	c := newCutter(content.TargetBlock, product)
	data := sampleBytes(t)
	var blocks []content.Block
	for rest := data; len(rest) > 0; {
		got, want := c.cut(rest), chunker.Cut(rest)
		if got != want {
			t.Fatalf("with %d bytes left: cut at %d, chunker at %d", len(rest), got, want)
		}
		blocks = append(blocks, content.Block{Hash: content.Sum(rest[:got]), Size: uint32(got)})
		rest = rest[got:]
	}
	n := 0
	for i, b := range blocks {
		n++
		if got, want := c.ends(b.Hash, n), chunker.Ends(b.Hash, n); got != want {
			t.Fatalf("block %d, the %dth of its chunk: ends %v, chunker says %v", i, n, got, want)
		} else if got {
			n = 0
		}
	}
	for i := range uint64(10_000) {
		h, n := content.Sum(binary.BigEndian.AppendUint64(nil, i)), 1+int(i%content.MaxBlocks)
		if got, want := c.ends(h, n), chunker.Ends(h, n); got != want {
			t.Fatalf("%s, %dth: ends %v, chunker says %v", h, n, got, want)
		}
	}
}

func TestListIsTheProducts(t *testing.T) {
	sizes := []uint32{1, 23, 24, 255, 256, 65_535, 65_536, content.MaxBlock}
	for count := 1; count <= content.MaxBlocks; count++ {
		var blocks []content.Block
		for i := range count {
			blocks = append(blocks, content.Block{Hash: content.Sum([]byte{byte(i)}), Size: sizes[i%len(sizes)]})
		}
		want, err := content.EncodeBlocks(blocks)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendList(nil, blocks); !bytes.Equal(got, want) {
			t.Fatalf("list of %d blocks is\n%x, want\n%x", count, got, want)
		}
	}
}

func TestCuttersKeepToTheirTargets(t *testing.T) {
	name := filepath.Join(t.TempDir(), "sample")
	if err := scenario.Sample(name, 32<<20, 2); err != nil {
		t.Fatal(err)
	}
	s, err := look(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, shape := range shapes {
		p, err := s.cut(t.Context(), newCutter(content.TargetBlock, shape))
		if err != nil {
			t.Fatal(err)
		}
		if mean := p.size / p.count >> 10; mean < 58 || mean > 70 {
			t.Errorf("%s: mean block of %d KiB, want about 64", shape.name, mean)
		}
	}
	for _, target := range targets {
		p, err := s.cut(t.Context(), newCutter(target, product))
		if err != nil {
			t.Fatal(err)
		}
		if block, chunk := p.size/p.count, p.size/p.chunks; int(block) < target*4/5 || int(block) > target*6/5 || chunk < 700<<10 || chunk > 1400<<10 {
			t.Errorf("%d KiB: mean block of %d KiB, mean chunk of %d KiB", target>>10, block>>10, chunk>>10)
		}
	}
}

// A twentieth of a file changed costs little more than a tenth of it; the goal is
// 12 % of 100 MiB (README.md).
func TestEditsCostLittle(t *testing.T) {
	const size, seeds = 16 << 20, 4
	var cutters []cutter
	for _, target := range targets {
		cutters = append(cutters, newCutter(target, product))
	}
	mean := make([]float64, len(targets))
	for seed := range uint64(seeds) {
		shares, err := editShares(t.Context(), shelf(t.TempDir()), size, seed+1, cutters)
		if err != nil {
			t.Fatal(err)
		}
		for i, share := range shares {
			mean[i] += share / seeds
		}
	}
	t.Logf("fetched with blocks of %v bytes: %.2f %%", targets, mean)
	if !slices.IsSorted(mean) {
		t.Errorf("smaller blocks fetch more: %.2f %%", mean)
	}
	if mean[1] > 12 {
		t.Errorf("with the product's blocks %.2f %% of the file are fetched, want at most 12", mean[1])
	}
}

// The bytes of a change that can be told without cutting anything.
func TestCostCountsWhatIsNew(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// Each is one block, being shorter than the least.
	a, b := bytes.Repeat([]byte("a"), 10_000), bytes.Repeat([]byte("b"), 9_000)
	write("old/same", a)
	write("new/moved/elsewhere", a)
	write("new/twice 1", b)
	write("new/twice 2", b)
	write("new/empty", nil)
	if err := os.Symlink("same", filepath.Join(dir, "new/link")); err != nil {
		t.Fatal(err)
	}
	all, err := cutAll(t.Context(), filepath.Join(dir, "old"), filepath.Join(dir, "new"), []cutter{newCutter(content.TargetBlock, product)})
	if err != nil {
		t.Fatal(err)
	}
	old, new := all[0][0], all[0][1]
	c := new.cost(old)
	if c.blocks != 9_000 {
		t.Errorf("new blocks have %d bytes, want 9000: one of two alike, none of what has moved", c.blocks)
	}
	// Three blocks make one chunk, as it may have four and there are no more.
	if want := int64(1 + 3*(1+2+content.HashSize+3)); c.lists != want {
		t.Errorf("lists have %d bytes, want %d", c.lists, want)
	}
	if c.manifest < 150 || c.manifest > 500 {
		t.Errorf("a manifest of 6 files and folders has %d bytes", c.manifest)
	}
	if c.total() != c.blocks+c.lists+c.manifest {
		t.Errorf("total %d of %+v", c.total(), c)
	}
	if again := new.cost(new); again.blocks != 0 || again.lists != 0 || again.manifest != c.manifest {
		t.Errorf("who has it all fetches %+v, want the manifest only", again)
	}
}

func TestRsyncsFiguresAreRead(t *testing.T) {
	const stats = `
Number of files: 1 (reg: 1)
Total transferred file size: 105,906,189 bytes
Literal data: 5876493 bytes
Matched data: 100029696 bytes
File list size: 0
Total bytes sent: 5940521
Total bytes received: 61643

sent 5940521 bytes  received 61643 bytes  12004328.00 bytes/sec
`
	got, err := parseRsync(stats)
	if want := (rsynced{literal: 5876493, sent: 5940521, back: 61643}); err != nil || got != want {
		t.Errorf("read %+v, %v; want %+v", got, err, want)
	}
	if _, err := parseRsync(strings.Replace(stats, "Literal", "Other", 1)); err == nil {
		t.Error("a figure is missing and nobody says so")
	}
}
