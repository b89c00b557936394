//go:build linux

package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/p2pnode/p2pnode/content"
)

// pieces is what a file or tree is made of under one cutter.
type pieces struct {
	cutter   cutter
	size     int64 // bytes of all files
	count    int64 // blocks, each as often as it occurs
	chunks   int64 // likewise
	manifest int64 // bytes of its encoding

	blocks map[content.Hash]int64 // bytes of each block
	lists  map[content.Hash]int64 // bytes of each chunk's list of blocks
	data   map[content.Hash]int64 // bytes of each chunk
}

// A cost is what the holder of one version fetches to have another.
type cost struct {
	blocks   int64 // bytes of blocks that no file of the old version has
	lists    int64 // bytes of the block lists of chunks not known whole
	manifest int64
}

func (c cost) total() int64 { return c.blocks + c.lists + c.manifest }

// cost returns what the holder of old fetches to have p. A block that occurs
// twice is fetched once.
func (p *pieces) cost(old *pieces) cost {
	c := cost{manifest: p.manifest}
	for h, n := range p.blocks {
		if _, known := old.blocks[h]; !known {
			c.blocks += n
		}
	}
	for h, n := range p.lists {
		if _, known := old.lists[h]; !known {
			c.lists += n
		}
	}
	return c
}

// freshChunks is what p would cost if chunks were the smallest that is fetched.
func (p *pieces) freshChunks(old *pieces) (n int64) {
	for h, size := range p.data {
		if _, known := old.data[h]; !known {
			n += size
		}
	}
	return n
}

// A source is a file or tree as it will stand in a manifest.
type source struct {
	files []content.File
	paths []string // where each is
	links int      // symbolic links, which can't be published and are left out
}

// look lists what is at path.
func look(path string) (*source, error) {
	s := &source{}
	seen := map[string]bool{}
	// The order of WalkDir is that of a manifest.
	err := filepath.WalkDir(path, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(path, at)
		if err != nil {
			return err
		}
		f := content.File{Path: rel, Mode: info.Mode().Perm(), ModTime: info.ModTime().UTC()}
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			s.links++
			return nil
		case d.IsDir():
			f.Mode |= fs.ModeDir
		case d.Type().IsRegular():
			f.Size = info.Size()
			if rel == "." {
				f.Path = filepath.Base(path)
			}
		default:
			return fmt.Errorf("%s is neither a file nor a folder", at)
		}
		// Linux has modules that differ in case only, manifests haven't.
		for seen[strings.ToLower(f.Path)] {
			f.Path += "~"
		}
		seen[strings.ToLower(f.Path)] = true
		s.files, s.paths = append(s.files, f), append(s.paths, at)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", path, err)
	}
	return s, nil
}

// cut cuts and hashes all of s, one file after the other.
func (s *source) cut(ctx context.Context, c cutter) (*pieces, error) {
	p := &pieces{cutter: c, blocks: map[content.Hash]int64{}, lists: map[content.Hash]int64{}, data: map[content.Hash]int64{}}
	m := &content.Manifest{Files: s.files}
	var chunk []content.Block
	var list []byte
	end := func() {
		var size uint32
		for _, b := range chunk {
			size += b.Size
		}
		h := chunk[0].Hash
		if c.lists() {
			list = appendList(list[:0], chunk)
			h = content.Sum(list)
			p.lists[h] = int64(len(list))
		}
		p.data[h] = int64(size)
		m.Chunks = append(m.Chunks, content.Chunk{Hash: h, Size: size})
		chunk = chunk[:0]
	}
	for i, f := range s.files {
		if f.Size == 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		err := mapped(s.paths[i], f.Size, func(data []byte) {
			for len(data) > 0 {
				n := c.cut(data)
				b := content.Block{Hash: content.Sum(data[:n]), Size: uint32(n)}
				data = data[n:]
				p.blocks[b.Hash] = int64(n)
				p.size += int64(n)
				p.count++
				if chunk = append(chunk, b); c.ends(b.Hash, len(chunk)) {
					end()
				}
			}
		})
		if err != nil {
			return nil, err
		}
	}
	if len(chunk) > 0 {
		end()
	}
	p.chunks = int64(len(m.Chunks))
	enc, err := m.Encode()
	if err != nil {
		return nil, err
	}
	p.manifest = int64(len(enc.Root))
	for _, segment := range enc.Segments {
		p.manifest += int64(len(segment))
	}
	return p, nil
}

// mapped calls use with the bytes of a file, which nobody may shorten meanwhile.
func mapped(path string, size int64, use func([]byte)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map %s: %w", path, err)
	}
	use(data)
	return unix.Munmap(data)
}

// cutAll cuts both versions with each of the cutters; the answer has two pieces
// for each, old and new.
func cutAll(ctx context.Context, old, new string, cutters []cutter) ([][2]*pieces, error) {
	out := make([][2]*pieces, len(cutters))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for side, path := range []string{old, new} {
		s, err := look(path)
		if err != nil {
			return nil, err
		}
		for i, c := range cutters {
			g.Go(func() (err error) {
				out[i][side], err = s.cut(ctx, c)
				return err
			})
		}
	}
	return out, g.Wait()
}
