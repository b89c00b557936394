package car

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"

	"github.com/p2pnode/p2pnode/content"
)

// Limits of what a bundle brings beside the content.
const (
	MaxReleases = 64
	MaxRelease  = 64 << 10 // bytes of an envelope
)

// Parts of a bundle's node, which is {"v": 1, "content": CID, "releases": [CID...]}.
var (
	bundleBegin = []byte("\xa3\x61v\x01\x67content")
	bundleList  = []byte("\x68releases")
)

func encodeBundle(id content.ID, releases []cid.Cid) []byte {
	b := appendLink(bytes.Clone(bundleBegin), content.Hash(id).Node())
	b = append(b, bundleList...)
	if n := len(releases); n < 24 {
		b = append(b, 0x80|byte(n))
	} else {
		b = append(b, 0x98, byte(n))
	}
	for _, c := range releases {
		b = appendLink(b, c)
	}
	return b
}

// decodeBundle takes what encodeBundle writes and nothing else.
func decodeBundle(id content.ID, node []byte) ([]cid.Cid, error) {
	b := node
	if !cut(&b, appendLink(bytes.Clone(bundleBegin), content.Hash(id).Node())) || !cut(&b, bundleList) || len(b) < 2 {
		return nil, fmt.Errorf("%w: not a bundle of %v", content.ErrFormat, id)
	}
	n := int(b[0]) - 0x80
	b = b[1:]
	if n == 0x18 {
		n, b = int(b[0]), b[1:]
	}
	if n < 1 || n > MaxReleases {
		return nil, fmt.Errorf("%w: a bundle of %d releases (want 1 to %d)", content.ErrFormat, n, MaxReleases)
	}
	releases := make([]cid.Cid, 0, min(n, len(b)/cidSize))
	for range n {
		c, err := cutLink(&b)
		if err != nil {
			return nil, fmt.Errorf("bundle: %w", err)
		}
		releases = append(releases, c)
	}
	if !bytes.Equal(encodeBundle(id, releases), node) {
		return nil, fmt.Errorf("%w: not a bundle of %v", content.ErrFormat, id)
	}
	return releases, nil
}

// A Source is a whole content (one of content/store).
type Source interface {
	Encoded() content.Encoded
	Manifest() *content.Manifest
	Node(chunk int) ([]byte, bool)
	Blocks(chunk int) ([]content.Block, bool)
	ReadBlock(chunk, block int, buf []byte) ([]byte, error)
}

// Write writes a content, and a bundle if there are releases. Every block is hashed
// on its way: the error wraps content.ErrCorrupt if one is not what it should be,
// and content.ErrNotFound if one is not there. progress, unless nil, is told the
// bytes of content written, chunk by chunk.
func Write(ctx context.Context, w io.Writer, src Source, releases [][]byte, progress func(done int64)) error {
	enc := src.Encoded()
	roots := []cid.Cid{content.Hash(enc.ID).Node()}
	names := make([]cid.Cid, 0, len(releases))
	for _, r := range releases {
		if len(r) == 0 || len(r) > MaxRelease || len(releases) > MaxReleases {
			return fmt.Errorf("%w: %d releases, one of %d bytes", content.ErrFormat, len(releases), len(r))
		}
		names = append(names, content.Sum(r).Raw())
	}
	bundle := encodeBundle(enc.ID, names)
	if len(releases) > 0 {
		roots = append(roots, content.Sum(bundle).Node())
	}
	out, err := NewWriter(w, roots...)
	if err != nil {
		return err
	}
	if len(releases) > 0 {
		if err := out.Put(roots[1], bundle); err != nil {
			return err
		}
	}
	for i, r := range releases {
		if err := out.Put(names[i], r); err != nil {
			return err
		}
	}
	for i, b := range append([][]byte{enc.Root}, enc.Segments...) {
		c := roots[0]
		if i > 0 {
			c = content.Sum(b).Node()
		}
		if err := out.Put(c, b); err != nil {
			return err
		}
	}
	var done int64
	var buf []byte
	for i, c := range src.Manifest().Chunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		if buf, err = writeChunk(out, src, i, c, buf); err != nil {
			return fmt.Errorf("chunk %d: %w", i, err)
		}
		if done += int64(c.Size); progress != nil {
			progress(done)
		}
	}
	return out.Flush()
}

func writeChunk(out *Writer, src Source, i int, c content.Chunk, buf []byte) ([]byte, error) {
	node, known := src.Node(i)
	blocks, listed := src.Blocks(i)
	if !known || !listed {
		return buf, fmt.Errorf("its block list: %w", content.ErrNotFound)
	}
	if err := out.Put(c.Hash.Node(), node); err != nil {
		return buf, err
	}
	for j, b := range blocks {
		data, err := src.ReadBlock(i, j, buf)
		if err != nil {
			return buf, err
		}
		if len(data) != int(b.Size) || content.Sum(data) != b.Hash {
			return buf, fmt.Errorf("block %d: %w", j, content.ErrCorrupt)
		}
		if err := out.Put(b.Hash.Raw(), data); err != nil {
			return buf, err
		}
		buf = data
	}
	return buf, nil
}

// A Bundle is a content being read from a CAR: first who published it, then its
// manifest, then its blocks. Methods are called once each, in this order.
type Bundle struct {
	ID content.ID
	// Releases are the envelopes that came with it, none if the file is of the
	// content alone. What they say, and who signed them, is for others to check.
	Releases [][]byte

	in       *Reader
	manifest *content.Manifest
}

// Open reads what stands before the manifest.
func Open(r io.Reader) (*Bundle, error) {
	in, err := NewReader(r)
	if err != nil {
		return nil, err
	}
	id, err := content.ParseID(in.roots[0].String())
	if err != nil {
		return nil, fmt.Errorf("%w: its first root is no content id", content.ErrFormat)
	}
	b := &Bundle{ID: id, in: in}
	if len(in.roots) == 1 {
		return b, nil
	}
	node, err := b.take(in.roots[1])
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	names, err := decodeBundle(id, node)
	if err != nil {
		return nil, err
	}
	for _, c := range names {
		envelope, err := b.take(c)
		if err == nil && (len(envelope) == 0 || len(envelope) > MaxRelease) {
			err = fmt.Errorf("%w: an envelope of %d bytes", content.ErrFormat, len(envelope))
		}
		if err != nil {
			return nil, fmt.Errorf("read release: %w", err)
		}
		b.Releases = append(b.Releases, bytes.Clone(envelope))
	}
	return b, nil
}

// take returns the bytes of the next section, which has to be that of c. They are
// valid until the next call.
func (b *Bundle) take(c cid.Cid) ([]byte, error) {
	got, data, err := b.in.Next()
	switch {
	case err == io.EOF:
		return nil, early(err)
	case err != nil:
		return nil, err
	case got != c:
		return nil, fmt.Errorf("%w: section %v where %v belongs", content.ErrFormat, got, c)
	}
	return data, nil
}

// Manifest reads the manifest.
func (b *Bundle) Manifest() (content.Encoded, error) {
	enc := content.Encoded{ID: b.ID}
	root, err := b.take(content.Hash(b.ID).Node())
	if err != nil {
		return enc, fmt.Errorf("read manifest: %w", err)
	}
	enc.Root = bytes.Clone(root)
	segments, err := content.SegmentsOf(enc.Root)
	if err != nil {
		return enc, fmt.Errorf("read manifest: %w", err)
	}
	for i, h := range segments {
		s, err := b.take(h.Node())
		if err != nil {
			return enc, fmt.Errorf("read segment %d of the manifest: %w", i, err)
		}
		enc.Segments = append(enc.Segments, bytes.Clone(s))
	}
	b.manifest, err = content.Decode(b.ID, enc.Root, enc.Segments)
	return enc, err
}

// A Target takes a content (one of content/store does).
type Target interface {
	SetBlocks(chunk int, node []byte) error
	WriteBlock(chunk, block int, data []byte) (fresh bool, err error)
}

// Copy reads all blocks, gives them to t, and sees that nothing follows. progress,
// unless nil, is told the bytes of content read, chunk by chunk.
func (b *Bundle) Copy(ctx context.Context, t Target, progress func(done int64)) error {
	var done int64
	for i, c := range b.manifest.Chunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := b.copyChunk(t, i, c); err != nil {
			return fmt.Errorf("chunk %d: %w", i, err)
		}
		if done += int64(c.Size); progress != nil {
			progress(done)
		}
	}
	switch c, _, err := b.in.Next(); {
	case err == io.EOF:
		return nil
	case err != nil:
		return err
	default:
		return fmt.Errorf("%w: section %v behind the content's last", content.ErrFormat, c)
	}
}

func (b *Bundle) copyChunk(t Target, i int, c content.Chunk) error {
	node, err := b.take(c.Hash.Node())
	if err != nil {
		return err
	}
	blocks, err := content.DecodeBlocks(c.Hash, node)
	if err != nil {
		return err
	}
	if err := t.SetBlocks(i, node); err != nil {
		return err
	}
	for j, k := range blocks {
		data, err := b.take(k.Hash.Raw())
		if err != nil {
			return err
		}
		if _, err := t.WriteBlock(i, j, data); err != nil {
			return err
		}
	}
	return nil
}
