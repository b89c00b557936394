package store_test

// Benchmarks are in memory too, like the tests; TMPDIR=/var/tmp puts them on disk.

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// begun returns a content of the sample with its lists, in a store that runs.
func begun(b *testing.B, sample *storetest.Sample) *store.Content {
	s := open(b, store.Config{})
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error)
	go func() { ran <- s.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			b.Error(err)
		}
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	c, err := s.Begin(sample.Encoded)
	if err != nil {
		b.Fatal(err)
	}
	for i, node := range sample.Nodes {
		if err := c.SetBlocks(i, node); err != nil {
			b.Fatal(err)
		}
	}
	return c
}

func write(b *testing.B, c *store.Content, sample *storetest.Sample) {
	for _, r := range sample.Refs() {
		if _, err := c.WriteBlock(r.Chunk, r.Block, sample.Block(r.Chunk, r.Block)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWriteBlock writes a content of 256 MiB, from one goroutine and from
// one per core, with Run at work beside it.
func BenchmarkWriteBlock(b *testing.B) {
	sample := storetest.File(b, 1, 256<<20, storetest.Large)
	refs := sample.Refs()
	blocks := make([][]byte, len(refs))
	for i, r := range refs {
		blocks[i] = sample.Block(r.Chunk, r.Block)
	}
	for _, writers := range []int{1, runtime.GOMAXPROCS(0)} {
		b.Run(fmt.Sprintf("by-%d", writers), func(b *testing.B) {
			b.SetBytes(int64(len(sample.Data)))
			for b.Loop() {
				b.StopTimer()
				c := begun(b, sample)
				b.StartTimer()
				var next atomic.Int64
				var g errgroup.Group
				for range writers {
					g.Go(func() error {
						for i := next.Add(1) - 1; i < int64(len(refs)); i = next.Add(1) - 1 {
							if _, err := c.WriteBlock(refs[i].Chunk, refs[i].Block, blocks[i]); err != nil {
								return err
							}
						}
						return nil
					})
				}
				if err := g.Wait(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReadBlock(b *testing.B) {
	sample := storetest.File(b, 1, 256<<20, storetest.Large)
	for _, name := range []string{"partial", "complete"} {
		b.Run(name, func(b *testing.B) {
			c := begun(b, sample)
			refs := sample.Refs()
			if name == "partial" {
				refs = refs[1:]
			}
			for _, r := range refs {
				if _, err := c.WriteBlock(r.Chunk, r.Block, sample.Block(r.Chunk, r.Block)); err != nil {
					b.Fatal(err)
				}
			}
			if err := c.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, content.MaxBlock)
			b.SetBytes(int64(len(sample.Data)))
			b.ReportAllocs()
			for b.Loop() {
				for _, r := range refs {
					if _, err := c.ReadBlock(r.Chunk, r.Block, buf); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// smallFiles is a tree of count files of size bytes, 50 to a folder.
func smallFiles(b testing.TB, count int, size int64) *storetest.Sample {
	files := []content.File{{Path: ".", Mode: fs.ModeDir | 0o755}}
	for i := range count {
		folder := fmt.Sprintf("folder%04d", i/50)
		if i%50 == 0 {
			files = append(files, content.File{Path: folder, Mode: fs.ModeDir | 0o755})
		}
		files = append(files, content.File{Path: fmt.Sprintf("%s/file%06d", folder, i), Size: size, Mode: 0o644})
	}
	return storetest.New(b, 1, storetest.Large, files...)
}

func BenchmarkExport(b *testing.B) {
	for name, sample := range map[string]*storetest.Sample{
		"file":       storetest.File(b, 1, 256<<20, storetest.Large),
		"5000-files": smallFiles(b, 5000, 8<<10),
	} {
		b.Run(name, func(b *testing.B) {
			c := begun(b, sample)
			write(b, c, sample)
			dir := b.TempDir()
			b.SetBytes(int64(len(sample.Data)))
			for b.Loop() {
				target := filepath.Join(dir, "copy")
				if err := c.Export(b.Context(), target, store.ExportOptions{}); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				os.RemoveAll(target)
				b.StartTimer()
			}
		})
	}
}

// BenchmarkFetchSmallFiles writes a tree of 5,000 files, each synced.
func BenchmarkFetchSmallFiles(b *testing.B) {
	sample := smallFiles(b, 5000, 8<<10)
	for b.Loop() {
		c := begun(b, sample)
		write(b, c, sample)
		if err := c.Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReuse copies to a version what it shares with the one before: 95 % of
// 256 MiB, every twentieth block being new.
func BenchmarkReuse(b *testing.B) {
	blocks := storetest.Bytes(1, 4096, 128<<10)
	v1 := storetest.Compose(b, storetest.Part{Path: "f", Blocks: blocks})
	for i, fresh := range storetest.Bytes(2, len(blocks)/20, 128<<10) {
		blocks[20*i] = fresh
	}
	v2 := storetest.Compose(b, storetest.Part{Path: "f", Blocks: blocks})
	s := open(b, store.Config{Workers: runtime.GOMAXPROCS(0)})
	defer s.Close()
	whole(b, s, v1)
	for b.Loop() {
		b.StopTimer()
		if _, ok := s.Get(v2.ID); ok {
			if err := s.Remove(v2.ID); err != nil {
				b.Fatal(err)
			}
		}
		c := listed(b, s, v2)
		b.StartTimer()
		copied, err := c.Reuse(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(copied)
	}
}
