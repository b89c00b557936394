package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// fetch gets what is missing of a sample, as a flow would, and returns how many
// blocks and lists it had to bring.
func fetch(t *testing.T, s *store.Store, sample *storetest.Sample) (c *store.Content, blocks, lists int) {
	t.Helper()
	c, err := s.Begin(sample.Encoded)
	if err != nil {
		t.Fatal(err)
	}
	for chunk, node := range sample.Nodes {
		if _, ok := c.Node(chunk); !ok {
			lists++
		}
		if err := c.SetBlocks(chunk, node); err != nil {
			t.Fatal(err)
		}
		for block := range sample.Blocks[chunk] {
			fresh, err := c.WriteBlock(chunk, block, sample.Block(chunk, block))
			if err != nil {
				t.Fatal(err)
			}
			if fresh {
				blocks++
			}
		}
	}
	if !c.Complete() || c.Progress() != int64(len(sample.Data)) {
		t.Fatalf("fetched, and not complete: %d of %d bytes", c.Progress(), len(sample.Data))
	}
	return c, blocks, lists
}

// fetchMost gets all of a sample but its last block, and returns how many bytes
// that is.
func fetchMost(t *testing.T, s *store.Store, sample *storetest.Sample) (c *store.Content, size int64) {
	t.Helper()
	c, err := s.Begin(sample.Encoded)
	if err != nil {
		t.Fatal(err)
	}
	refs := sample.Refs()
	for _, r := range refs[:len(refs)-1] {
		if err := c.SetBlocks(r.Chunk, sample.Nodes[r.Chunk]); err != nil {
			t.Fatal(err)
		}
		if _, err := c.WriteBlock(r.Chunk, r.Block, sample.Block(r.Chunk, r.Block)); err != nil {
			t.Fatal(err)
		}
	}
	return c, c.Progress()
}

// right checks that every block that counts has its bytes, and that a complete
// content is exported as it should be.
func right(t *testing.T, c *store.Content, sample *storetest.Sample) {
	t.Helper()
	for _, r := range sample.Refs() {
		got, err := c.ReadBlock(r.Chunk, r.Block, nil)
		if err != nil {
			// Damage that is met is told, damage that is known is as if never here.
			if !errors.Is(err, content.ErrCorrupt) && (c.Complete() || !errors.Is(err, content.ErrNotFound)) {
				t.Errorf("read %v: %v", r, err)
			}
			continue
		}
		if !bytes.Equal(got, sample.Block(r.Chunk, r.Block)) {
			t.Errorf("wrong bytes of %v were read", r)
		}
	}
	if !c.Complete() {
		return
	}
	target := filepath.Join(storetest.TempDir(t), "copy")
	err := c.Export(t.Context(), target, store.ExportOptions{})
	if errors.Is(err, content.ErrCorrupt) && !c.Complete() {
		return // told before anything was written
	}
	if err != nil {
		t.Error(err)
	} else if err := sample.Check(target); err != nil {
		t.Error(err)
	}
}

// rots are what happens to files on disks.
var rots = map[string]func(r *rand.Rand, data []byte) []byte{
	"bit flip": func(r *rand.Rand, data []byte) []byte {
		data[r.IntN(len(data))] ^= 1 << r.IntN(8)
		return data
	},
	"truncate": func(r *rand.Rand, data []byte) []byte { return data[:r.IntN(len(data))] },
	"zero page": func(r *rand.Rand, data []byte) []byte {
		at := r.IntN(len(data)) &^ 4095
		clear(data[at:min(at+4096, len(data))])
		return data
	},
	"NUL fill": func(_ *rand.Rand, data []byte) []byte { clear(data); return data },
	"swap halves": func(_ *rand.Rand, data []byte) []byte {
		half := len(data) / 2
		return append(bytes.Clone(data[half:]), data[:half]...)
	},
	"gone": func(*rand.Rand, []byte) []byte { return nil },
}

// rot damages a file.
func rot(t *testing.T, r *rand.Rand, kind, name string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if data = rots[kind](r, data); data == nil {
		err = os.Remove(name)
	} else {
		err = os.WriteFile(name, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestVerifyFindsBitRot(t *testing.T) {
	sample := storetest.Tree(t, 1)
	layout := content.NewLayout(sample.Manifest)
	for kind := range rots {
		for _, state := range []string{"complete", "partial"} {
			t.Run(kind+"/"+state, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				s := open(t, store.Config{Dir: dir})
				here := int64(len(sample.Data))
				var c *store.Content
				if state == "complete" {
					c, _, _ = fetch(t, s, sample)
				} else {
					c, here = fetchMost(t, s, sample)
				}
				name := filepath.Join(dir, "content", sample.ID.String(), "files", "a", "deep", "big.bin")
				before, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				rot(t, rand.New(rand.NewPCG(1, 2)), kind, name)
				after, err := os.ReadFile(name)
				if err != nil && kind != "gone" {
					t.Fatal(err)
				}

				// Just the blocks whose bytes are others now have to be found.
				want := make(map[int]uint64)
				for chunk, list := range sample.Blocks {
					at := layout.Chunk(chunk)
					for block, b := range list {
						for span := range layout.Spans(at, int64(b.Size)) {
							end := span.Offset + span.Size
							if sample.Manifest.Files[span.File].Path == "a/deep/big.bin" &&
								(end > int64(len(after)) || !bytes.Equal(before[span.Offset:end], after[span.Offset:end])) {
								want[chunk] |= 1 << block
							}
						}
						at += int64(b.Size)
					}
				}
				var done, total int64
				bad, err := c.Verify(t.Context(), func(d, n int64) { done, total = d, n })
				if err != nil {
					t.Fatal(err)
				}
				if done != total || total != here {
					t.Errorf("progress ended at %d of %d", done, total)
				}
				for _, d := range bad {
					if d.Blocks != want[d.Chunk] || !errors.Is(d.Err, content.ErrCorrupt) {
						t.Errorf("chunk %d: blocks %b are damaged, want %b; %v", d.Chunk, d.Blocks, want[d.Chunk], d.Err)
					}
					if _, _, ok := s.Find(sample.Manifest.Chunks[d.Chunk].Hash); ok {
						t.Errorf("damaged chunk %d is still found", d.Chunk)
					}
					delete(want, d.Chunk)
				}
				if len(want) > 0 || len(bad) == 0 {
					t.Errorf("damage not found: %v", want)
				}
				if c.Complete() {
					t.Error("still complete")
				}
				// It would say that nothing is missing, should the journal get lost.
				if _, err := os.Stat(filepath.Join(dir, "content", sample.ID.String(), "blocks")); err == nil {
					t.Error("a blocks file is beside the journal")
				}
				right(t, c, sample)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}

				s = open(t, store.Config{Dir: dir})
				c, _ = s.Get(sample.ID)
				if c.Complete() {
					t.Error("damage forgotten")
				}
				right(t, c, sample)
				c, blocks, lists := fetch(t, s, sample)
				if blocks == 0 || lists > 0 {
					t.Errorf("%d blocks and %d lists fetched again", blocks, lists)
				}
				right(t, c, sample)
				if bad, err := c.Verify(t.Context(), nil); err != nil || len(bad) > 0 {
					t.Errorf("repaired, and still bad: %v, %v", bad, err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// A content whose state is damaged in any way is never wrong, can be repaired by
// fetching it again, and gets back every byte that is on the disk as soon as its
// lists are known.
func TestDamagedStateIsRepaired(t *testing.T) {
	sample := storetest.Tree(t, 1)
	for _, file := range []string{"journal", "blocks", "root", "releases"} {
		for kind := range rots {
			t.Run(file+"/"+kind, func(t *testing.T) {
				t.Parallel()
				for seed := range uint64(3) {
					damagedState(t, sample, file, kind, seed)
				}
			})
		}
	}
}

func damagedState(t *testing.T, sample *storetest.Sample, file, kind string, seed uint64) {
	dir := t.TempDir()
	s := open(t, store.Config{Dir: dir})
	c, _, _ := fetch(t, s, sample)
	if file == "blocks" || file == "root" && seed%2 == 0 {
		if err := c.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.AddRelease([]byte("signed")); err != nil {
		t.Fatal(err)
	}
	// What a kill leaves: the folder as it is now, which closing would change.
	crashed := t.TempDir()
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	rot(t, rand.New(rand.NewPCG(seed, 2)), kind, filepath.Join(crashed, "content", sample.ID.String(), file))
	s = open(t, store.Config{Dir: crashed})
	if c, ok := s.Get(sample.ID); ok {
		right(t, c, sample)
		if bad, err := c.Verify(t.Context(), nil); err != nil || len(bad) > 0 && file != "blocks" {
			t.Errorf("seed %d: verify: %v, %v", seed, bad, err)
		}
		right(t, c, sample)
	}
	c, blocks, _ := fetch(t, s, sample)
	if blocks > 0 {
		t.Errorf("seed %d: %d blocks were fetched that are on the disk", seed, blocks)
	}
	right(t, c, sample)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, store.Config{Dir: crashed})
	if c, ok := s.Get(sample.ID); !ok || !c.Complete() {
		t.Errorf("seed %d: not complete after it was repaired", seed)
	} else {
		right(t, c, sample)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestJournalWithGarbageBehind(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	for _, garbage := range [][]byte{{0}, make([]byte, 4096), []byte("V garbage that is no record"), bytes.Repeat([]byte{0xff}, 100)} {
		t.Run(fmt.Sprintf("%.4x", garbage), func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, store.Config{Dir: dir})
			c, err := s.Begin(sample.Encoded)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.SetBlocks(0, sample.Nodes[0]); err != nil {
				t.Fatal(err)
			}
			if _, err := c.WriteBlock(0, 1, sample.Block(0, 1)); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(filepath.Join(dir, "content", sample.ID.String(), "journal"), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			f.Write(garbage)
			f.Close()
			for range 2 {
				s = open(t, store.Config{Dir: dir})
				c, _ = s.Get(sample.ID)
				if got := c.Verified(0); got != 2 {
					t.Errorf("verified %b, want 10", got)
				}
				right(t, c, sample)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
