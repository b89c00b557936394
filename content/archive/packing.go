package archive

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"fmt"
	"io"

	"github.com/dustin/go-humanize"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

	"github.com/p2pnode/p2pnode/content"
)

// readAhead is how much of a packed archive is read at once.
const readAhead = 256 << 10

// packing tells by a file's first bytes what packed it: the end of its name, and
// what unpacks it; nothing if nothing did.
func packing(head []byte) (name string, open func(io.Reader, limits) (io.ReadCloser, error)) {
	for _, p := range []struct {
		magic, name string
		open        func(io.Reader, limits) (io.ReadCloser, error)
	}{
		{"\x1f\x8b", "gz", openGzip},
		{"\x28\xb5\x2f\xfd", "zst", openZstd},
		{xzMagic, "xz", openXZ},
		{"BZh", "bz2", openBzip2},
	} {
		if bytes.HasPrefix(head, []byte(p.magic)) {
			return p.name, p.open
		}
	}
	return "", nil
}

func openGzip(r io.Reader, _ limits) (io.ReadCloser, error) {
	return gzip.NewReader(bufio.NewReaderSize(r, readAhead))
}

func openBzip2(r io.Reader, _ limits) (io.ReadCloser, error) {
	return io.NopCloser(bzip2.NewReader(bufio.NewReaderSize(r, readAhead))), nil
}

func openZstd(r io.Reader, l limits) (io.ReadCloser, error) {
	d, err := zstd.NewReader(bufio.NewReaderSize(r, readAhead), zstdOptions(l)...)
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

// zstdOptions have one goroutine, the caller's, unpack.
func zstdOptions(l limits) []zstd.DOption {
	return []zstd.DOption{
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecodeBuffersBelow(0),
		zstd.WithDecoderMaxWindow(uint64(l.window)),
	}
}

const xzMagic = "\xfd7zXZ\x00"

func openXZ(r io.Reader, l limits) (io.ReadCloser, error) {
	guard := &xzGuard{r: bufio.NewReaderSize(r, readAhead), window: l.window}
	guard.collect(xzHeader, guard.header)
	// Several streams in one are refused: the guard knows where one ends, and no
	// more.
	d, err := xz.ReaderConfig{DictCap: lzma.MinDictCap, SingleStream: true}.NewReader(guard)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(d), nil
}

// An xzGuard passes an xz stream on and reads with it how large a dictionary each
// of its blocks wants: the decoder takes whatever that is, up to 4 GiB, before it
// looks at another byte.
//
// A stream (https://tukaani.org/xz/xz-file-format.txt, sections 2 and 3) is a
// header, blocks, and an index that begins with a zero where a block has the size
// of its header. The data of a block is a row of LZMA2 chunks up to a zero, then
// zeros up to a multiple of four bytes, then its checksum.
type xzGuard struct {
	r      io.Reader
	window int64
	check  int // bytes of a block's checksum

	skip int64 // bytes until the next that matter
	want int   // bytes that matter, which go to have and then to next
	have []byte
	next func(b []byte) error
	data int64 // of the block, so far
}

const xzHeader = 12 // bytes of a stream's header

func (g *xzGuard) collect(n int, next func([]byte) error) {
	g.want, g.have, g.next = n, g.have[:0], next
}

func (g *xzGuard) Read(b []byte) (int, error) {
	n, err := g.r.Read(b)
	for rest := b[:n]; len(rest) > 0 && g.next != nil; {
		if g.skip > 0 {
			k := min(g.skip, int64(len(rest)))
			g.skip -= k
			rest = rest[k:]
			continue
		}
		k := min(g.want-len(g.have), len(rest))
		g.have = append(g.have, rest[:k]...)
		rest = rest[k:]
		if len(g.have) == g.want {
			if err := g.next(g.have); err != nil {
				return 0, err
			}
		}
	}
	if err == io.EOF && g.next != nil {
		err = io.ErrUnexpectedEOF // between blocks the decoder takes it for the end
	}
	return n, err
}

func (g *xzGuard) header(b []byte) error {
	switch b[7] & 0x0f {
	case 0:
		g.check = 0
	case 1:
		g.check = 4
	case 4:
		g.check = 8
	case 10:
		g.check = 32
	default:
		return fmt.Errorf("%w: checksums of kind %d are not known here", content.ErrFormat, b[7])
	}
	g.collect(1, g.block)
	return nil
}

func (g *xzGuard) block(b []byte) error {
	if b[0] == 0 { // the index
		g.next = nil
		return nil
	}
	g.collect(4*(int(b[0])+1)-1, g.filters)
	return nil
}

// filters reads what is left of a block's header: flags, two sizes if the flags
// say so, and for each filter its id, the length of its properties, and these.
func (g *xzGuard) filters(b []byte) error {
	flags, r := b[0], bytes.NewReader(b[1:])
	const lzma2, sizes, filters = 0x21, 0xc0, 0x03
	if flags&filters != 0 {
		return fmt.Errorf("%w: it is packed by xz with a filter that is not known here: unpack it yourself, and add the folder", content.ErrFormat)
	}
	for bit := byte(0x40); bit&sizes != 0; bit <<= 1 {
		if flags&bit != 0 {
			xzNumber(r)
		}
	}
	id, length := xzNumber(r), xzNumber(r)
	size, err := r.ReadByte()
	if err != nil || id != lzma2 || length != 1 {
		return fmt.Errorf("%w: it is packed by xz in a way that is not known here: unpack it yourself, and add the folder", content.ErrFormat)
	}
	dict, err := lzma.DecodeDictCap(size)
	if err != nil {
		return damaged(err)
	}
	if dict > g.window {
		return fmt.Errorf("%w: to unpack it takes %s of memory, more than %s: unpack it yourself, and add the folder",
			content.ErrFormat, humanize.IBytes(uint64(dict)), humanize.IBytes(uint64(g.window)))
	}
	g.data = 0
	g.collect(1, g.chunk)
	return nil
}

// xzNumber reads a number, seven bits a byte; 0 if there is none. The decoder will
// say what is wrong with it.
func xzNumber(r *bytes.Reader) (n uint64) {
	for shift := 0; shift < 63; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0
		}
		if n |= uint64(b&0x7f) << shift; b&0x80 == 0 {
			return n
		}
	}
	return 0
}

// chunk reads what an LZMA2 chunk is: its end, bytes as they are, or packed ones.
func (g *xzGuard) chunk(b []byte) error {
	const packed, newState = 0x80, 0x40
	g.data++
	switch kind := b[0]; {
	case kind == 0:
		g.skip = (4-g.data%4)%4 + int64(g.check)
		g.collect(1, g.block)
	case kind < packed:
		g.collect(2, g.bare)
	default:
		n := 4
		if kind&newState != 0 {
			n++ // one more byte of properties
		}
		g.collect(n, g.packed)
	}
	return nil
}

func (g *xzGuard) bare(b []byte) error { return g.pass(len(b), b[0], b[1]) }

func (g *xzGuard) packed(b []byte) error { return g.pass(len(b), b[2], b[3]) }

// pass skips the bytes of a chunk: one more than the number says.
func (g *xzGuard) pass(head int, high, low byte) error {
	g.skip = int64(high)<<8 + int64(low) + 1
	g.data += int64(head) + g.skip
	g.collect(1, g.chunk)
	return nil
}
