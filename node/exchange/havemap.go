package exchange

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/p2pnode/p2pnode/content"
)

// MaxChunks is more than a manifest can list, for who follows a content of which it
// doesn't have the manifest yet: a chunk takes 36 bytes of it or more. A map of so
// many takes 29 containers of at most 8 KiB, and fits a frame.
const MaxChunks = content.MaxManifest / 36

// encodeHave returns the map's bytes in roaring's portable format. It may
// rearrange m.
func encodeHave(m *roaring.Bitmap) ([]byte, error) {
	m.RunOptimize()
	b, err := m.ToBytes()
	if err != nil {
		return nil, fmt.Errorf("encode map of %d chunks: %w", m.GetCardinality(), err)
	}
	if len(b) > maxPayload {
		return nil, fmt.Errorf("encode map of %d chunks: %d bytes don't fit a frame", m.GetCardinality(), len(b))
	}
	return b, nil
}

// decodeHave reads a map of a content with the given number of chunks. It keeps a
// copy of b.
func decodeHave(b []byte, chunks int) (*roaring.Bitmap, error) {
	if err := checkHave(b, chunks); err != nil {
		return nil, err
	}
	m := roaring.New()
	if _, err := m.FromBuffer(bytes.Clone(b)); err != nil {
		return nil, fmt.Errorf("%w: map: %v", errFrame, err)
	}
	return m, nil
}

// Numbers of https://github.com/RoaringBitmap/RoaringFormatSpec.
const (
	roaringRuns   = 12347 // cookie of a map that has run containers
	roaringNoRuns = 12346 // cookie of one that hasn't
	roaringOffset = 4     // a map with runs has offsets from so many containers on
	roaringArray  = 4096  // a container of more values is a bitmap of 8 KiB, or runs
)

// checkHave holds b to the format and its values to the chunks of the content, in
// one pass and without allocating. roaring's own Validate would do for the format,
// but compares every run with every other: 128 KiB of runs cost half a second.
func checkHave(b []byte, chunks int) error {
	r := reader{b: b}
	cookie := r.uint32()
	containers, runs := 0, []byte(nil)
	switch {
	case cookie == roaringNoRuns:
		containers = int(min(r.uint32(), 1<<17))
	case cookie&0xffff == roaringRuns:
		containers = int(cookie>>16) + 1
		runs = r.next((containers + 7) / 8)
	default:
		return fmt.Errorf("%w: map starts with %#x", errFrame, cookie)
	}
	if most := (chunks + 0xffff) >> 16; containers > most {
		return fmt.Errorf("%w: map has %d containers, %d chunks need at most %d", errFrame, containers, chunks, most)
	}
	keys := r.next(4 * containers)
	if runs == nil || containers >= roaringOffset {
		r.next(4 * containers) // offsets: nobody reads them
	}
	for i := 0; i < containers && !r.short; i++ {
		key := int(binary.LittleEndian.Uint16(keys[4*i:]))
		values := int(binary.LittleEndian.Uint16(keys[4*i+2:])) + 1
		if i > 0 && key <= int(binary.LittleEndian.Uint16(keys[4*i-4:])) {
			return fmt.Errorf("%w: map's containers are out of order", errFrame)
		}
		var last int
		var ok bool
		switch {
		case runs != nil && runs[i/8]>>(i%8)&1 != 0:
			last, ok = checkRuns(r.next(4*int(r.uint16())), values)
		case values > roaringArray:
			last, ok = checkBits(r.next(8<<10), values)
		default:
			last, ok = checkArray(r.next(2 * values))
		}
		switch {
		case r.short: // told below
		case !ok:
			return fmt.Errorf("%w: map's container %d is malformed", errFrame, i)
		case key<<16+last >= chunks:
			return fmt.Errorf("%w: map has chunk %d, the content has %d", errFrame, key<<16+last, chunks)
		}
	}
	if r.short || len(r.b) != 0 {
		return fmt.Errorf("%w: map of %d bytes is too short or too long", errFrame, len(b))
	}
	return nil
}

// checkRuns checks pairs of a start and a length less one; they may neither touch
// nor overlap. It returns the greatest value.
func checkRuns(b []byte, values int) (last int, ok bool) {
	last = -2
	for ; len(b) >= 4; b = b[4:] {
		start, more := int(binary.LittleEndian.Uint16(b)), int(binary.LittleEndian.Uint16(b[2:]))
		if start <= last+1 || start+more > 0xffff {
			return 0, false
		}
		last = start + more
		values -= more + 1
	}
	return last, last >= 0 && values == 0
}

func checkBits(b []byte, values int) (last int, ok bool) {
	for i := 0; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		values -= bits.OnesCount64(w)
		if w != 0 {
			last = i*8 + bits.Len64(w) - 1
		}
	}
	return last, values == 0
}

func checkArray(b []byte) (last int, ok bool) {
	last = -1
	for ; len(b) >= 2; b = b[2:] {
		v := int(binary.LittleEndian.Uint16(b))
		if v <= last {
			return 0, false
		}
		last = v
	}
	return last, last >= 0
}

// A reader takes little-endian numbers off b; short is set when b had too few
// bytes, and everything read from then on is empty.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) next(n int) []byte {
	if r.short || n > len(r.b) {
		r.short = true
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) uint16() uint16 {
	if b := r.next(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.next(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}
