package car

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"

	"github.com/p2pnode/p2pnode/content"
)

// Bytes of the only kind of CID here: version, codec, sha2-256, 32, and the digest.
const (
	cidHead = 4
	cidSize = cidHead + content.HashSize
)

// maxSection is the longest section: a CID and a manifest's root or segment.
const maxSection = cidSize + content.MaxNode

// maxRoots is how many roots a header may have: a content and its bundle.
const maxRoots = 2

// Parts of the header, {"roots": [CID...], "version": 1} in DAG-CBOR. A CID is tag
// 42 on a byte string, with a zero before the binary CID.
var (
	headerBegin = []byte("\xa2\x65roots")
	headerEnd   = []byte("\x67version\x01")
	linkBegin   = []byte{0xd8, 0x2a, 0x58, cidSize + 1, 0}
)

// appendLink appends a CID as DAG-CBOR has it.
func appendLink(b []byte, c cid.Cid) []byte { return append(append(b, linkBegin...), c.Bytes()...) }

// header returns a header, without its length.
func header(roots []cid.Cid) []byte {
	b := append(bytes.Clone(headerBegin), 0x80|byte(len(roots)))
	for _, r := range roots {
		b = appendLink(b, r)
	}
	return append(b, headerEnd...)
}

// parseCID reads the only kind of CID here.
func parseCID(b []byte) (c cid.Cid, h content.Hash, err error) {
	if len(b) != cidSize || b[0] != 1 || b[1] != cid.Raw && b[1] != cid.DagCBOR || b[2] != 0x12 || b[3] != content.HashSize {
		return c, h, fmt.Errorf("%w: CID %.80x (want version 1, raw or dag-cbor, sha2-256)", content.ErrFormat, b)
	}
	copy(h[:], b[cidHead:])
	if b[1] == cid.Raw {
		return h.Raw(), h, nil
	}
	return h.Node(), h, nil
}

// cut takes what has to stand at the beginning of b off it.
func cut(b *[]byte, want []byte) bool {
	rest, ok := bytes.CutPrefix(*b, want)
	*b = rest
	return ok
}

// cutLink takes a CID off b.
func cutLink(b *[]byte) (c cid.Cid, err error) {
	if !cut(b, linkBegin) || len(*b) < cidSize {
		return c, fmt.Errorf("%w: no CID where one belongs", content.ErrFormat)
	}
	c, _, err = parseCID((*b)[:cidSize])
	*b = (*b)[cidSize:]
	return c, err
}

// A Writer writes a CAR. It buffers: Flush at the end.
type Writer struct{ out *bufio.Writer }

// NewWriter writes the header.
func NewWriter(w io.Writer, roots ...cid.Cid) (*Writer, error) {
	out := &Writer{bufio.NewWriterSize(w, 256<<10)}
	head := header(roots)
	return out, out.write(len(head), head)
}

// Put writes a section: a block, or a node, and the CID that names it.
func (w *Writer) Put(c cid.Cid, data []byte) error {
	return w.write(len(c.Bytes())+len(data), c.Bytes(), data)
}

func (w *Writer) write(size int, parts ...[]byte) error {
	for n := uint(size); ; n >>= 7 {
		c := byte(n & 0x7f)
		if n >= 0x80 {
			c |= 0x80
		}
		if err := w.out.WriteByte(c); err != nil {
			return err
		}
		if n < 0x80 {
			break
		}
	}
	for _, p := range parts {
		if _, err := w.out.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// Flush writes what is buffered.
func (w *Writer) Flush() error { return w.out.Flush() }

// A Reader reads a CAR, section by section.
type Reader struct {
	in    *bufio.Reader
	roots []cid.Cid
	at    int64 // bytes read
	buf   []byte
}

// NewReader reads the header.
func NewReader(r io.Reader) (*Reader, error) {
	in := &Reader{in: bufio.NewReaderSize(r, 64<<10)}
	head, err := in.section(len(header(make([]cid.Cid, 0))) + maxRoots*(len(linkBegin)+cidSize))
	if err == io.EOF {
		return nil, fmt.Errorf("%w: an empty file is no CAR", content.ErrFormat)
	}
	if err != nil {
		return nil, fmt.Errorf("no CAR of a content: %w", err)
	}
	if in.roots, err = parseHeader(head); err != nil {
		return nil, fmt.Errorf("no CAR of a content: %w", err)
	}
	return in, nil
}

func parseHeader(head []byte) (roots []cid.Cid, err error) {
	if !cut(&head, headerBegin) || len(head) == 0 {
		return nil, fmt.Errorf("%w: its header", content.ErrFormat)
	}
	n := int(head[0]) - 0x80
	head = head[1:]
	if n < 1 || n > maxRoots {
		return nil, fmt.Errorf("%w: %d roots (want 1 or %d)", content.ErrFormat, n, maxRoots)
	}
	for range n {
		c, err := cutLink(&head)
		if err != nil {
			return nil, err
		}
		roots = append(roots, c)
	}
	if !bytes.Equal(head, headerEnd) {
		return nil, fmt.Errorf("%w: its header", content.ErrFormat)
	}
	return roots, nil
}

// Roots returns the roots that the header names.
func (r *Reader) Roots() []cid.Cid { return r.roots }

// At returns how many bytes were read.
func (r *Reader) At() int64 { return r.at }

// Next returns the next section, its bytes checked against its CID. They are valid
// until the next call. The error is io.EOF behind the last section.
func (r *Reader) Next() (cid.Cid, []byte, error) {
	start := r.at
	b, err := r.section(maxSection)
	if err == io.EOF {
		return cid.Undef, nil, err
	}
	if err != nil {
		return cid.Undef, nil, fmt.Errorf("section at byte %d: %w", start, err)
	}
	if len(b) < cidSize {
		return cid.Undef, nil, fmt.Errorf("section at byte %d: %w: %d bytes are less than a CID", start, content.ErrFormat, len(b))
	}
	c, h, err := parseCID(b[:cidSize])
	data := b[cidSize:]
	switch {
	case err != nil:
	case c.Prefix().Codec == cid.Raw && len(data) > content.MaxBlock:
		err = fmt.Errorf("%w: a block of %d bytes is over the limit of %d", content.ErrFormat, len(data), content.MaxBlock)
	case content.Sum(data) != h:
		err = fmt.Errorf("%w: %v", content.ErrCorrupt, c)
	}
	if err != nil {
		return cid.Undef, nil, fmt.Errorf("section at byte %d: %w", start, err)
	}
	return c, data, nil
}

// section reads a length of at most limit and so many bytes. What a length claims
// is allocated as it comes.
func (r *Reader) section(limit int) ([]byte, error) {
	size, err := r.length()
	if err != nil {
		return nil, err
	}
	if size == 0 || size > uint64(limit) {
		return nil, fmt.Errorf("%w: a length of %d (want 1 to %d)", content.ErrFormat, size, limit)
	}
	r.buf = r.buf[:0]
	for n := int(size); len(r.buf) < n; {
		had := len(r.buf)
		if had == cap(r.buf) {
			grown := make([]byte, had, min(max(4<<10, 2*had), maxSection))
			copy(grown, r.buf)
			r.buf = grown
		}
		r.buf = r.buf[:min(n, cap(r.buf))]
		got, err := io.ReadFull(r.in, r.buf[had:])
		r.at += int64(got)
		if err != nil {
			return nil, early(err)
		}
	}
	return r.buf, nil
}

// length reads an unsigned LEB128 number in its shortest form. The error is io.EOF
// if there is none.
func (r *Reader) length() (n uint64, err error) {
	for shift := 0; ; shift += 7 {
		c, err := r.in.ReadByte()
		if err == io.EOF && shift == 0 {
			return 0, io.EOF
		}
		if err != nil {
			return 0, early(err)
		}
		r.at++
		n |= uint64(c&0x7f) << shift
		switch {
		case shift > 56 || c == 0 && shift > 0:
			return 0, fmt.Errorf("%w: a length longer than it has to be", content.ErrFormat)
		case c < 0x80:
			return n, nil
		}
	}
}

// early makes the end of the input one that comes too early.
func early(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends early", content.ErrFormat)
	}
	return err
}
