package content

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"time"
)

// SegmentsOf returns the hashes of the segments that root needs, none if it
// stands alone.
func SegmentsOf(root []byte) ([]Hash, error) {
	if len(root) > MaxNode {
		return nil, fmt.Errorf("%w: a root of %d bytes is over the limit of %d", ErrFormat, len(root), MaxNode)
	}
	if !split(root) {
		return nil, nil
	}
	segments, _, err := decodeSplit(root)
	return segments, err
}

// split reports whether root begins as one that lists segments: the first key
// after the version tells the two kinds apart.
func split(root []byte) bool {
	r := newReader(root)
	r.head(majorMap)
	r.version()
	return r.text(maxKey) == "size" && r.err == nil
}

// Decode returns the manifest with this id, given its root and the segments
// that SegmentsOf lists. It takes what Encode writes and nothing else. The error
// wraps ErrCorrupt if the bytes are not those that the id names, and ErrFormat
// or ErrPath if they are but make no manifest.
func Decode(id ID, root []byte, segments [][]byte) (*Manifest, error) {
	if len(root) > MaxNode {
		return nil, fmt.Errorf("%w: a root of %d bytes is over the limit of %d", ErrFormat, len(root), MaxNode)
	}
	if ID(Sum(root)) != id {
		return nil, errOtherRoot
	}
	pieces := [][]byte{root}
	if split(root) {
		if err := verifySegments(root, segments); err != nil {
			return nil, fmt.Errorf("decode manifest %v: %w", id, err)
		}
		pieces = segments
	} else if len(segments) > 0 {
		return nil, fmt.Errorf("decode manifest %v: %w: %d segments for a root that stands alone", id, ErrFormat, len(segments))
	}
	m, err := decodeManifest(pieces)
	if err != nil {
		return nil, fmt.Errorf("decode manifest %v: %w", id, err)
	}
	return m, nil
}

// errOtherRoot is made once: whoever sends wrong roots shall not have us write
// content ids into errors, which costs more than hashing a small root.
var errOtherRoot = fmt.Errorf("decode manifest: %w: not the root of the content asked for", ErrCorrupt)

var errOtherList = fmt.Errorf("decode block list: %w: not the list of the chunk asked for", ErrCorrupt)

// verifySegments checks the segments of a split root against it.
func verifySegments(root []byte, segments [][]byte) error {
	want, size, err := decodeSplit(root)
	if err != nil {
		return err
	}
	if len(segments) != len(want) {
		return fmt.Errorf("%w: %d segments where the root lists %d", ErrFormat, len(segments), len(want))
	}
	for i, s := range segments {
		if n := min(size, MaxNode); len(s) != n {
			return fmt.Errorf("%w: segment %d has %d bytes, not %d", ErrCorrupt, i, len(s), n)
		}
		size -= len(s)
		if Sum(s) != want[i] {
			return fmt.Errorf("%w: segment %d", ErrCorrupt, i)
		}
	}
	return nil
}

func decodeSplit(root []byte) (segments []Hash, size int, err error) {
	r := newReader(root)
	r.fields(splitKeys, func(key string) {
		switch key {
		case "size":
			size = int(r.number(MaxManifest))
		case "segments":
			segments = make([]Hash, r.array(maxSegments, leastDigest))
			for i := range segments {
				segments[i] = r.hash()
			}
		}
	})
	if r.err == nil && (size <= MaxNode || len(segments) != (size+MaxNode-1)/MaxNode) {
		r.fail("%d segments for %d bytes", len(segments), size)
	}
	return segments, size, r.end()
}

func decodeManifest(pieces [][]byte) (*Manifest, error) {
	var m Manifest
	r := newReader(pieces...)
	r.fields(manifestKeys, func(key string) {
		switch key {
		case "type":
			if m.Type = r.text(MaxType); m.Type == "" {
				r.fail("an empty type")
			}
		case "files":
			m.Files = make([]File, r.array(MaxFiles, leastFile))
			for i := range m.Files {
				m.Files[i] = r.file()
				if r.err != nil {
					return
				}
			}
		case "chunks":
			m.Chunks = make([]Chunk, r.array(MaxManifest/leastPiece, leastPiece))
			for i := range m.Chunks {
				r.tuple(2)
				m.Chunks[i] = Chunk{Hash: r.hash(), Size: uint32(r.number(MaxChunk))}
				if r.err != nil {
					return
				}
			}
		case "labels":
			m.Labels = r.labels()
		case "origins":
			m.Origins = make([]Origin, r.array(MaxOrigins, leastOrigin))
			if len(m.Origins) == 0 {
				r.fail("empty origins")
			}
			for i := range m.Origins {
				r.tuple(2)
				m.Origins[i] = Origin{URL: r.text(MaxURL), File: int(r.number(MaxFiles))}
			}
		}
	})
	switch {
	case r.err == nil && m.Files == nil:
		r.fail("no files")
	case r.err == nil && m.Chunks == nil:
		r.fail("no chunks")
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	if err := m.Check(); err != nil {
		return nil, err
	}
	return &m, nil
}

func (r *reader) file() (f File) {
	r.tuple(4)
	f.Path = r.text(3 * MaxPath)
	f.Size = int64(r.number(MaxSize))
	mode := r.number(1 << 16)
	switch mode &^ uint64(fs.ModePerm) {
	case modeRegular:
		f.Mode = fs.FileMode(mode) & fs.ModePerm
	case modeFolder:
		f.Mode = fs.FileMode(mode)&fs.ModePerm | fs.ModeDir
	default:
		r.fail("mode %#o of neither a plain file nor a folder", mode)
	}
	var t [8]byte
	r.fixed(t[:])
	f.ModTime = time.Unix(0, int64(binary.BigEndian.Uint64(t[:]))).UTC()
	return f
}

func (r *reader) labels() map[string]string {
	n := r.head(majorMap)
	if n == 0 || n > MaxLabels {
		r.fail("%d labels (want 1 to %d)", n, MaxLabels)
		return nil
	}
	labels := make(map[string]string)
	last := ""
	for ; n > 0 && r.err == nil; n-- {
		key := r.text(MaxLabel)
		if compareKeys(last, key) >= 0 {
			r.fail("label %+q is empty, doubled or out of order", key)
			return nil
		}
		labels[key], last = r.text(MaxValue), key
	}
	return labels
}

// DecodeBlocks returns the blocks that the node of chunk h lists. The error
// wraps ErrCorrupt if the bytes are not those that h names, and ErrFormat if
// they are but make no list.
func DecodeBlocks(h Hash, node []byte) ([]Block, error) {
	// The longest list has less, and what is longer isn't worth hashing.
	if len(node) > MaxNode {
		return nil, fmt.Errorf("%w: a block list of %d bytes is over the limit of %d", ErrFormat, len(node), MaxNode)
	}
	if Sum(node) != h {
		return nil, errOtherList
	}
	r := newReader(node)
	blocks := make([]Block, r.array(MaxBlocks, leastPiece))
	for i := range blocks {
		r.tuple(2)
		blocks[i] = Block{Hash: r.hash(), Size: uint32(r.number(MaxBlock))}
	}
	err := r.end()
	if err == nil {
		err = checkBlocks(blocks)
	}
	if err != nil {
		return nil, fmt.Errorf("decode block list %v: %w", h, err)
	}
	return blocks, nil
}
