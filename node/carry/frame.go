package carry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/content"
)

// A frame is the length of what follows as uint32, a kind, and a body. Numbers are
// big-endian, chunks uint32, a list of them fills the rest of a body or stands
// behind its length as uint16.
//
// From a member:
//
//	0x01 join      content id, 32 bytes; flags (1 willing, 2 reader); number of chunks
//	               uint32, 0 if not known; list of chunks carried; runs of those it has
//	0x02 chunks    their number uint32
//	0x03 has       runs
//	0x04 propose   flags (1 insists), wanted uint16, list of chunks
//	0x05 progress  bytes brought uint64, bytes to come uint64
//	0x06 release   list of chunks
//	0x07 done      -
//	0x08 alive     -
//
// From the planner:
//
//	0x11 crew      flags (1 carrier, 2 found), peer ids, each behind its length uint8
//	0x12 answer    list of chunks granted, list of those taken
//	0x13 free      list of chunks
//	0x14 revoke    list of chunks
//	0x15 meet      peer ids
//	0x08 alive     -
//
// Runs are pairs of a first chunk and how many, ascending and apart.
const (
	kindJoin     = 0x01
	kindChunks   = 0x02
	kindHas      = 0x03
	kindPropose  = 0x04
	kindProgress = 0x05
	kindRelease  = 0x06
	kindDone     = 0x07
	kindAlive    = 0x08
	kindCrew     = 0x11
	kindAnswer   = 0x12
	kindFree     = 0x13
	kindRevoke   = 0x14
	kindMeet     = 0x15
)

const (
	flagWilling = 1
	flagReader  = 2
	flagCarrier = 1
	flagFound   = 2
	flagInsist  = 1

	// maxChunks is more than a manifest can list.
	maxChunks = content.MaxManifest / 36
	// maxRuns bounds what one frame says of what somebody has: the rest isn't told,
	// and counts as lacking.
	maxRuns = 1 << 13
	// maxList bounds a list of chunks.
	maxList = 1 << 12
	maxCrew = 32 // peers in one frame
	// maxFrame holds the longest of the above.
	maxFrame = 64 + 2*4*maxList + 8*maxRuns
)

// ErrProtocol says that the other end said something that makes no sense.
var ErrProtocol = errors.New("carry: protocol broken")

// A message is a frame's content; what of it is set depends on the kind.
type message struct {
	kind          uint8
	content       content.ID
	joining       Joining
	insist        bool
	n             int   // wanted, or number of chunks
	chunks, taken []int // lists
	has           *roaring.Bitmap
	bytes, left   int64
	crew          Crew
	peers         []peer.ID
}

// encode returns a frame.
func (m *message) encode() []byte {
	b := make([]byte, 5, 64)
	b[4] = m.kind
	u32 := func(n int) { b = binary.BigEndian.AppendUint32(b, uint32(n)) }
	switch m.kind {
	case kindJoin:
		b = append(b, m.content[:]...)
		var flags uint8
		if m.joining.Willing {
			flags |= flagWilling
		}
		if m.joining.Reader {
			flags |= flagReader
		}
		b = append(b, flags)
		u32(m.joining.Chunks)
		b = appendList(b, m.joining.Carrying)
		b = appendRuns(b, m.joining.Has)
	case kindChunks:
		u32(m.n)
	case kindHas:
		b = appendRuns(b, m.has)
	case kindPropose:
		var flags uint8
		if m.insist {
			flags |= flagInsist
		}
		b = append(b, flags)
		b = binary.BigEndian.AppendUint16(b, uint16(min(m.n, math.MaxUint16)))
		b = appendList(b, m.chunks)
	case kindProgress:
		b = binary.BigEndian.AppendUint64(b, uint64(m.bytes))
		b = binary.BigEndian.AppendUint64(b, uint64(m.left))
	case kindAnswer:
		b = appendList(b, m.chunks)
		b = appendList(b, m.taken)
	case kindRelease, kindFree, kindRevoke:
		b = appendList(b, m.chunks)
	case kindCrew:
		var flags uint8
		if m.crew.Carrier {
			flags |= flagCarrier
		}
		if m.crew.Found {
			flags |= flagFound
		}
		b = appendPeers(append(b, flags), m.crew.Carriers)
	case kindMeet:
		b = appendPeers(b, m.peers)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

func appendList(b []byte, chunks []int) []byte {
	chunks = chunks[:min(len(chunks), maxList)]
	b = binary.BigEndian.AppendUint16(b, uint16(len(chunks)))
	for _, c := range chunks {
		b = binary.BigEndian.AppendUint32(b, uint32(c))
	}
	return b
}

func appendPeers(b []byte, ids []peer.ID) []byte {
	for _, id := range ids[:min(len(ids), maxCrew)] {
		b = append(append(b, uint8(len(id))), id...)
	}
	return b
}

func appendRuns(b []byte, has *roaring.Bitmap) []byte {
	if has == nil {
		return b
	}
	first, count, runs := uint32(0), uint32(0), 0
	for i := range roaring.Values(has) {
		if count > 0 && i == first+count {
			count++
			continue
		}
		if count > 0 {
			b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, first), count)
			if runs++; runs == maxRuns {
				return b
			}
		}
		first, count = i, 1
	}
	if count > 0 {
		b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, first), count)
	}
	return b
}

// readMessage reads a frame. An error wraps ErrProtocol if what came is no frame.
func readMessage(r io.Reader) (*message, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size < 1 || size > maxFrame {
		return nil, fmt.Errorf("%w: a frame of %d bytes", ErrProtocol, size)
	}
	body, err := readBody(r, int(size)-1)
	if err != nil {
		return nil, err
	}
	return decode(head[4], body)
}

// readBody reads n bytes, and takes memory only for what comes.
func readBody(r io.Reader, n int) ([]byte, error) {
	const step = 4 << 10
	var body []byte
	for len(body) < n {
		at := len(body)
		body = append(body, make([]byte, min(step, n-at))...)
		if _, err := io.ReadFull(r, body[at:]); err != nil {
			return nil, err
		}
	}
	return body, nil
}

func decode(kind uint8, body []byte) (*message, error) {
	m := &message{kind: kind}
	d := decoder{b: body}
	switch kind {
	case kindJoin:
		copy(m.content[:], d.next(len(m.content)))
		flags := d.byte()
		m.joining.Willing, m.joining.Reader = flags&flagWilling != 0, flags&flagReader != 0
		m.joining.Chunks = d.count()
		m.joining.Carrying = d.list()
		m.joining.Has = d.runs()
	case kindChunks:
		m.n = d.count()
	case kindHas:
		m.has = d.runs()
	case kindPropose:
		m.insist = d.byte()&flagInsist != 0
		m.n = int(d.uint16())
		m.chunks = d.list()
	case kindProgress:
		m.bytes, m.left = d.size(), d.size()
	case kindAnswer:
		m.chunks, m.taken = d.list(), d.list()
	case kindRelease, kindFree, kindRevoke:
		m.chunks = d.list()
	case kindCrew:
		flags := d.byte()
		m.crew = Crew{Carrier: flags&flagCarrier != 0, Found: flags&flagFound != 0, Carriers: d.peers()}
	case kindMeet:
		m.peers = d.peers()
	case kindDone, kindAlive:
	default:
		d.bad = true
	}
	if d.bad || len(d.b) > 0 {
		return nil, fmt.Errorf("%w: a frame of kind %#x that is malformed", ErrProtocol, kind)
	}
	return m, nil
}

// A decoder takes numbers off b; bad is set once something was wrong, and what is
// read from then on is empty.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) next(n int) []byte {
	if d.bad || n > len(d.b) {
		d.bad = true
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) byte() uint8 {
	if b := d.next(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint16() uint16 {
	if b := d.next(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if b := d.next(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// size reads a number of bytes.
func (d *decoder) size() int64 {
	b := d.next(8)
	if b == nil {
		return 0
	}
	n := binary.BigEndian.Uint64(b)
	if n > math.MaxInt64/2 {
		d.bad = true
		return 0
	}
	return int64(n)
}

// count reads a number of chunks.
func (d *decoder) count() int {
	n := d.uint32()
	if n > maxChunks {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) list() []int {
	n := int(d.uint16())
	if n > maxList || 4*n > len(d.b) {
		d.bad = true
		return nil
	}
	var chunks []int
	for range n {
		c := d.uint32()
		if c >= maxChunks {
			d.bad = true
			return nil
		}
		chunks = append(chunks, int(c))
	}
	return chunks
}

func (d *decoder) peers() (ids []peer.ID) {
	for len(d.b) > 0 && !d.bad {
		id, err := peer.IDFromBytes(d.next(int(d.byte())))
		if err != nil || len(ids) == maxCrew {
			d.bad = true
			return nil
		}
		ids = append(ids, id)
	}
	return ids
}

// runs reads the rest.
func (d *decoder) runs() *roaring.Bitmap {
	has := roaring.New()
	end := uint64(0) // of the last run, and one more
	for n := 0; len(d.b) > 0 && !d.bad; n++ {
		first, count := uint64(d.uint32()), uint64(d.uint32())
		if n == maxRuns || count == 0 || first+count > maxChunks || n > 0 && first <= end {
			d.bad = true
			return nil
		}
		has.AddRange(first, first+count)
		end = first + count
	}
	return has
}
