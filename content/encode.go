package content

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// The format, version 1. Every node is deterministic CBOR and valid DAG-CBOR.
//
// A manifest is a map; a key in parentheses is left out when empty:
//
//	{"v": 1, ("type": text), "files": [file...], "chunks": [chunk...],
//	 ("labels": {key: value}), ("origins": [[url, file index]...])}
//	file  = [path, size, mode as POSIX st_mode, modification time]
//	chunk = [digest, size]
//
// The time is a byte string of eight: nanoseconds since 1970 as signed
// big-endian number. It and the mode, which is never a small number, keep a
// file's entry near the size of a File, and so a decoder's memory near its
// input's.
//
// That map is the root, unless it is over MaxNode. Then it is cut into segments
// of MaxNode bytes, the last shorter, and the root is
//
//	{"v": 1, "size": bytes of all segments, "segments": [digest...]}
//
// A chunk's node is the list of its blocks: [[digest, size]...]
const version = 1

// The keys of maps that follow "v", in the order of the encoding.
var (
	manifestKeys = []string{"type", "files", "chunks", "labels", "origins"}
	splitKeys    = []string{"size", "segments"}
)

// File types in a POSIX st_mode.
const (
	modeRegular = 0o100000
	modeFolder  = 0o040000
)

// The fewest bytes of an element on the wire.
const (
	leastFile   = 1 + 2 + 1 + 3 + 9    // tuple, one-letter path, size 0, mode, time
	leastPiece  = 1 + 2 + HashSize + 1 // tuple, digest, size: a chunk or a block
	leastDigest = 2 + HashSize
	leastOrigin = 1 + 1 + len("http://a") + 1
)

// maxSegments is how many segments the largest manifest has.
const maxSegments = MaxManifest / MaxNode

// An Encoded is a manifest as it is stored and carried.
type Encoded struct {
	ID       ID
	Root     []byte
	Segments [][]byte // what the root lists; nil if it holds all
}

// Encode checks m and returns its one encoding.
func (m *Manifest) Encode() (Encoded, error) {
	if err := m.Check(); err != nil {
		return Encoded{}, err
	}
	all := m.appendTo(nil)
	if len(all) > MaxManifest {
		return Encoded{}, fmt.Errorf("%w: a manifest of %d bytes is over the limit of %d: publish fewer files at once",
			ErrFormat, len(all), MaxManifest)
	}
	if len(all) <= MaxNode {
		return Encoded{ID: ID(Sum(all)), Root: all}, nil
	}
	segments := slices.Collect(slices.Chunk(all, MaxNode))
	root := appendHead(nil, majorMap, 1+uint64(len(splitKeys)))
	root = appendHead(appendText(root, "v"), majorUint, version)
	root = appendHead(appendText(root, "size"), majorUint, uint64(len(all)))
	root = appendHead(appendText(root, "segments"), majorArray, uint64(len(segments)))
	for _, s := range segments {
		h := Sum(s)
		root = appendBytes(root, h[:])
	}
	return Encoded{ID: ID(Sum(root)), Root: root, Segments: segments}, nil
}

// appendTo appends the manifest, unsplit and unchecked.
func (m *Manifest) appendTo(b []byte) []byte {
	size := 256 + len(m.Chunks)*(leastPiece+4)
	for _, f := range m.Files {
		size += leastFile + 8 + len(f.Path)
	}
	b = slices.Grow(b, size)

	keys := uint64(3)
	for _, present := range []bool{m.Type != "", len(m.Labels) > 0, len(m.Origins) > 0} {
		if present {
			keys++
		}
	}
	b = appendHead(b, majorMap, keys)
	b = appendHead(appendText(b, "v"), majorUint, version)
	if m.Type != "" {
		b = appendText(appendText(b, "type"), m.Type)
	}
	b = appendHead(appendText(b, "files"), majorArray, uint64(len(m.Files)))
	for _, f := range m.Files {
		b = appendFile(b, f)
	}
	b = appendHead(appendText(b, "chunks"), majorArray, uint64(len(m.Chunks)))
	for _, c := range m.Chunks {
		b = appendPiece(b, c.Hash, c.Size)
	}
	if len(m.Labels) > 0 {
		b = appendHead(appendText(b, "labels"), majorMap, uint64(len(m.Labels)))
		for _, key := range slices.SortedFunc(maps.Keys(m.Labels), compareKeys) {
			b = appendText(appendText(b, key), m.Labels[key])
		}
	}
	if len(m.Origins) > 0 {
		b = appendHead(appendText(b, "origins"), majorArray, uint64(len(m.Origins)))
		for _, o := range m.Origins {
			b = appendText(appendHead(b, majorArray, 2), o.URL)
			b = appendHead(b, majorUint, uint64(o.File))
		}
	}
	return b
}

func appendFile(b []byte, f File) []byte {
	mode := uint64(f.Mode.Perm()) | modeRegular
	if f.Mode.IsDir() {
		mode = uint64(f.Mode.Perm()) | modeFolder
	}
	b = appendText(appendHead(b, majorArray, 4), f.Path)
	b = appendHead(b, majorUint, uint64(f.Size))
	b = appendHead(b, majorUint, mode)
	b = appendHead(b, majorBytes, 8)
	return binary.BigEndian.AppendUint64(b, uint64(f.ModTime.UnixNano()))
}

func appendPiece(b []byte, h Hash, size uint32) []byte {
	b = appendBytes(appendHead(b, majorArray, 2), h[:])
	return appendHead(b, majorUint, uint64(size))
}

// compareKeys orders the keys of a map as DAG-CBOR does: by length, then bytes.
func compareKeys(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

// EncodeBlocks returns a chunk's node: the list of its blocks, in order. The
// chunk's hash is the Sum of it.
func EncodeBlocks(blocks []Block) ([]byte, error) {
	if err := checkBlocks(blocks); err != nil {
		return nil, err
	}
	b := make([]byte, 0, 2+len(blocks)*(leastPiece+4))
	b = appendHead(b, majorArray, uint64(len(blocks)))
	for _, k := range blocks {
		b = appendPiece(b, k.Hash, k.Size)
	}
	return b, nil
}

func checkBlocks(blocks []Block) error {
	if len(blocks) == 0 || len(blocks) > MaxBlocks {
		return fmt.Errorf("%w: a chunk of %d blocks (want 1 to %d)", ErrFormat, len(blocks), MaxBlocks)
	}
	for i, k := range blocks {
		if k.Size == 0 || k.Size > MaxBlock {
			return fmt.Errorf("%w: block %d can't have %d bytes", ErrFormat, i, k.Size)
		}
	}
	return nil
}
