// Package storetest holds what every store of content has to do, as a suite of
// tests, and makes content to test with.
package storetest

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/content"
)

// A Sample is a content with all that belongs to it.
type Sample struct {
	content.Encoded
	Manifest *content.Manifest
	Blocks   [][]content.Block // of each chunk
	Nodes    [][]byte          // the encoded list of each chunk
	Data     []byte            // the bytes of all files, one behind the other
	layout   *content.Layout
}

// Shape is how a sample is cut.
type Shape struct {
	Block  int // bytes of a block, at most
	Blocks int // blocks of a chunk
}

// Small cuts blocks of about 3 kB, and chunks of 5.
var Small = Shape{Block: 6 << 10, Blocks: 5}

// Large cuts as a publisher does, on average.
var Large = Shape{Block: 128 << 10, Blocks: 16}

// File returns the sample of a single file of size bytes.
func File(t testing.TB, seed uint64, size int64, shape Shape) *Sample {
	return New(t, seed, shape, content.File{Path: "file.bin", Size: size, Mode: 0o640})
}

// Tree returns the sample of a tree that has a bit of everything: empty files and
// folders, names of many scripts, read-only folders, files of a byte and of many
// chunks.
func Tree(t testing.TB, seed uint64) *Sample {
	return New(t, seed, Small,
		content.File{Path: ".", Mode: fs.ModeDir | 0o755},
		content.File{Path: "a", Mode: fs.ModeDir | 0o555},
		content.File{Path: "a/deep", Mode: fs.ModeDir | 0o750},
		content.File{Path: "a/deep/big.bin", Size: 100_000, Mode: 0o600},
		content.File{Path: "a/deep/empty", Mode: 0o444},
		content.File{Path: "a/one", Size: 1, Mode: 0o755},
		content.File{Path: "a/void", Mode: fs.ModeDir | 0o500},
		content.File{Path: "b.txt", Size: 7_001, Mode: 0o400},
		content.File{Path: "β-λόγος", Size: 12, Mode: 0o666},
	)
}

// New returns a sample of these files, filled and dated by seed.
func New(t testing.TB, seed uint64, shape Shape, files ...content.File) *Sample {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	s := &Sample{Manifest: &content.Manifest{Type: "app", Files: files}}
	var list []content.Block
	end := func() {
		if len(list) == 0 {
			return
		}
		node, err := content.EncodeBlocks(list)
		if err != nil {
			t.Fatal(err)
		}
		var size uint32
		for _, b := range list {
			size += b.Size
		}
		s.Manifest.Chunks = append(s.Manifest.Chunks, content.Chunk{Hash: content.Sum(node), Size: size})
		s.Blocks, s.Nodes, list = append(s.Blocks, list), append(s.Nodes, node), nil
	}
	for i := range files {
		files[i].ModTime = time.Unix(1_600_000_000+r.Int64N(100_000_000), r.Int64N(1e9)).UTC()
		data := make([]byte, files[i].Size)
		fill(r, data)
		s.Data = append(s.Data, data...)
		for len(data) > 0 {
			n := min(len(data), 1+r.IntN(shape.Block))
			list = append(list, content.Block{Hash: content.Sum(data[:n]), Size: uint32(n)})
			data = data[n:]
			if len(list) == shape.Blocks {
				end()
			}
		}
	}
	end()
	enc, err := s.Manifest.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s.Encoded, s.layout = enc, content.NewLayout(s.Manifest)
	return s
}

// A Part is a file of a sample that is composed.
type Part struct {
	Path   string
	Blocks [][]byte
}

// Compose returns the sample of a tree of parts, which stand in a manifest's order,
// or of a single file if there is one part. Chunks end where their blocks say so:
// what two samples share in a row are the same chunks, but for the ends.
func Compose(t testing.TB, parts ...Part) *Sample {
	t.Helper()
	const most = 8 // blocks of a chunk
	s := &Sample{Manifest: &content.Manifest{}}
	add := func(f content.File) {
		f.ModTime = time.Unix(1_700_000_000, 0).UTC()
		s.Manifest.Files = append(s.Manifest.Files, f)
	}
	if len(parts) != 1 {
		add(content.File{Path: ".", Mode: fs.ModeDir | 0o755})
	}
	var list []content.Block
	end := func() {
		if len(list) == 0 {
			return
		}
		node, err := content.EncodeBlocks(list)
		if err != nil {
			t.Fatal(err)
		}
		c := content.Chunk{Hash: content.Sum(node)}
		for _, b := range list {
			c.Size += b.Size
		}
		s.Manifest.Chunks = append(s.Manifest.Chunks, c)
		s.Blocks, s.Nodes, list = append(s.Blocks, list), append(s.Nodes, node), nil
	}
	for _, p := range parts {
		f := content.File{Path: p.Path, Mode: 0o644}
		for _, b := range p.Blocks {
			f.Size += int64(len(b))
			s.Data = append(s.Data, b...)
			list = append(list, content.Block{Hash: content.Sum(b), Size: uint32(len(b))})
			if len(list) == most || len(list) > 1 && list[len(list)-1].Hash[0]%4 == 0 {
				end()
			}
		}
		add(f)
	}
	end()
	enc, err := s.Manifest.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s.Encoded, s.layout = enc, content.NewLayout(s.Manifest)
	return s
}

// Bytes returns n blocks of random bytes, of 1 to size bytes each.
func Bytes(seed uint64, n, size int) [][]byte {
	r := rand.New(rand.NewPCG(seed, 3))
	blocks := make([][]byte, n)
	for i := range blocks {
		blocks[i] = make([]byte, 1+r.IntN(size))
		fill(r, blocks[i])
	}
	return blocks
}

func fill(r *rand.Rand, data []byte) {
	var key [32]byte
	for i := range key {
		key[i] = byte(r.Uint32())
	}
	rand.NewChaCha8(key).Read(data)
}

// Block returns the bytes of a block.
func (s *Sample) Block(chunk, block int) []byte {
	at := s.layout.Chunk(chunk)
	for _, b := range s.Blocks[chunk][:block] {
		at += int64(b.Size)
	}
	size := int64(s.Blocks[chunk][block].Size)
	return s.Data[at : at+size : at+size]
}

// A Ref names a block.
type Ref struct{ Chunk, Block int }

// Refs returns all blocks, in order.
func (s *Sample) Refs() []Ref {
	var refs []Ref
	for chunk, list := range s.Blocks {
		for block := range list {
			refs = append(refs, Ref{chunk, block})
		}
	}
	return refs
}

// Shuffled returns all blocks, in an order that depends on seed.
func (s *Sample) Shuffled(seed uint64) []Ref {
	refs := s.Refs()
	r := rand.New(rand.NewPCG(seed, 2))
	r.Shuffle(len(refs), func(i, j int) { refs[i], refs[j] = refs[j], refs[i] })
	return refs
}

// File returns the bytes of a file of the manifest.
func (s *Sample) File(i int) []byte {
	var at int64
	for _, f := range s.Manifest.Files[:i] {
		at += f.Size
	}
	return s.Data[at : at+s.Manifest.Files[i].Size]
}

// Check reports where the exported copy at path differs: in names, bytes, modes
// or times.
func (s *Sample) Check(path string) error {
	want := make(map[string]int)
	for i, f := range s.Manifest.Files {
		name := filepath.Join(path, filepath.FromSlash(f.Path))
		if s.Manifest.Single() {
			name = path
		}
		want[name] = i
	}
	err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, ok := want[name]
		if !ok {
			return fmt.Errorf("%s doesn't belong there", name)
		}
		delete(want, name)
		return s.checkFile(name, i)
	})
	if err == nil && len(want) > 0 {
		return fmt.Errorf("%d files and folders are missing: %v", len(want), want)
	}
	return err
}

func (s *Sample) checkFile(name string, i int) error {
	f := s.Manifest.Files[i]
	info, err := os.Lstat(name)
	if err != nil {
		return err
	}
	if info.Mode() != f.Mode && runtime.GOOS != "windows" || !info.ModTime().Equal(f.ModTime) {
		return fmt.Errorf("%s has mode %v and time %v, want %v and %v", name, info.Mode(), info.ModTime(), f.Mode, f.ModTime)
	}
	if f.Mode.IsDir() {
		return nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if string(data) != string(s.File(i)) {
		return fmt.Errorf("%s has other bytes", name)
	}
	return nil
}

// TempDir is t.TempDir for exported copies: their folders may be read-only, and
// have to be opened before they can be removed.
func TempDir(t testing.TB) string {
	dir := t.TempDir()
	t.Cleanup(func() {
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				err = os.Chmod(path, 0o700)
			}
			return err
		})
	})
	return dir
}
