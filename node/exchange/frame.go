package exchange

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/p2pnode/p2pnode/content"
)

// Limits of frames. A stream's frames fit a buffer of the largest block, whatever
// their kind, so that no length is ever allocated for because it was claimed.
const (
	headerSize  = 16
	maxPayload  = content.MaxBlock
	maxName     = 128
	maxEnvelope = 64 << 10 // a signed release with its signer's certificates takes 3 KiB
	maxList     = 16 << 10 // 64 blocks of at most 40 bytes take 2.6 kB
	requestSize = content.HashSize + 4 + 8
	narrowSize  = 8
)

// A kind says what a frame is. The direction is part of it: 0x10 is set in what
// comes from the one who has.
type kind uint8

const (
	kindReleases kind = 0x01
	kindManifest kind = 0x02
	kindFollow   kind = 0x03
	kindRequest  kind = 0x04
	kindCancel   kind = 0x05
	kindPing     kind = 0x06
	kindLists    kind = 0x07
	kindNarrow   kind = 0x08

	kindRoot    kind = 0x11
	kindSegment kind = 0x12
	kindRelease kind = 0x13
	kindHave    kind = 0x14
	kindList    kind = 0x15
	kindBlock   kind = 0x16
	kindEnd     kind = 0x17
	kindPong    kind = 0x18
	kindEntries kind = 0x19
)

// The one flag that a kind may have.
const (
	flagList  = 1 // request: with the block list
	flagMore  = 1 // root, segment: continued in the next frame, this one is full
	flagWhole = 1 // have: replaces what was told before
	flagLast  = 1 // block: all that was wanted is sent
)

// Codes of an end.
const (
	codeDone = iota
	codeNotFound
	codeBusy
	codeCancelled
	codeCount
)

// A rule bounds the frames of a kind.
type rule struct {
	name     string
	min, max uint32 // bytes of payload
	flags    uint8  // allowed
	index    uint8  // greatest allowed
}

var rules = [...]rule{
	kindReleases: {"releases", 1, maxName, 0, 0},
	kindManifest: {"manifest", content.HashSize, content.HashSize, 0, 0},
	kindFollow:   {"follow", content.HashSize, content.HashSize, 0, 0},
	kindRequest:  {"request", requestSize, requestSize, flagList, 0},
	kindCancel:   {"cancel", 0, 0, 0, 0},
	kindPing:     {"ping", 0, 0, 0, 0},
	kindLists:    {"lists", listsSize, listsSize, 0, 0},
	kindNarrow:   {"narrow", narrowSize, narrowSize, 0, 0},

	kindRoot:    {"root", 1, maxPayload, flagMore, 0},
	kindSegment: {"segment", 1, maxPayload, flagMore, 0},
	kindRelease: {"release", 1, maxEnvelope, 0, 0},
	kindHave:    {"have", 1, maxPayload, flagWhole, 0},
	kindList:    {"list", 1, maxList, 0, 0},
	kindBlock:   {"block", 1, content.MaxBlock, flagLast, content.MaxBlocks - 1},
	kindEnd:     {"end", 0, 0, 0, codeCount - 1},
	kindPong:    {"pong", 0, 0, 0, 0},
	kindEntries: {"entries", entryHead + 1, maxPayload, 0, 0},
}

func (k kind) String() string {
	if int(k) < len(rules) && rules[k].name != "" {
		return rules[k].name
	}
	return fmt.Sprintf("kind %#02x", uint8(k))
}

// down reports whether frames of this kind come from the one who has.
func (k kind) down() bool { return k&0x10 != 0 }

// errFrame is what every breach of the rules for a single frame wraps.
var errFrame = errors.New("frame breaks the rules")

type header struct {
	length uint32
	kind   kind
	flags  uint8
	index  uint8
	id     uint32
}

// append adds the header's bytes to b.
func (h header) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, h.length)
	b = append(b, byte(h.kind), h.flags, h.index, 0)
	b = binary.BigEndian.AppendUint32(b, h.id)
	return binary.BigEndian.AppendUint32(b, 0)
}

// parseHeader reads a header that came from the side which has (down) or the one
// that fetches, and holds it to the rules of its kind.
func parseHeader(b *[headerSize]byte, down bool) (header, error) {
	h := header{
		length: binary.BigEndian.Uint32(b[0:]),
		kind:   kind(b[4]),
		flags:  b[5],
		index:  b[6],
		id:     binary.BigEndian.Uint32(b[8:]),
	}
	if int(h.kind) >= len(rules) || rules[h.kind].name == "" || h.kind.down() != down {
		return header{}, fmt.Errorf("%w: unexpected %s", errFrame, h.kind)
	}
	switch r := rules[h.kind]; {
	case h.length < r.min || h.length > r.max:
		return header{}, fmt.Errorf("%w: %s of %d bytes, allowed are %d to %d", errFrame, h.kind, h.length, r.min, r.max)
	case h.flags&^r.flags != 0:
		return header{}, fmt.Errorf("%w: %s with flags %#02x", errFrame, h.kind, h.flags)
	case h.index > r.index:
		return header{}, fmt.Errorf("%w: %s with index %d, at most %d", errFrame, h.kind, h.index, r.index)
	case h.flags&flagMore != 0 && (h.kind == kindRoot || h.kind == kindSegment) && h.length != maxPayload:
		return header{}, fmt.Errorf("%w: %s of %d bytes that isn't the last must be full", errFrame, h.kind, h.length)
	case b[7] != 0 || h.id == 0:
		return header{}, fmt.Errorf("%w: %s without an id or with a byte that must be 0", errFrame, h.kind)
	}
	return h, nil
}

// ask is the payload of a request.
type ask struct {
	content content.ID
	chunk   uint32
	want    uint64
}

func (a ask) append(b []byte) []byte {
	b = append(b, a.content[:]...)
	b = binary.BigEndian.AppendUint32(b, a.chunk)
	return binary.BigEndian.AppendUint64(b, a.want)
}

func parseAsk(b []byte) (ask, error) {
	if len(b) != requestSize {
		return ask{}, fmt.Errorf("%w: request of %d bytes, must be %d", errFrame, len(b), requestSize)
	}
	a := ask{
		content: content.ID(b[:content.HashSize]),
		chunk:   binary.BigEndian.Uint32(b[content.HashSize:]),
		want:    binary.BigEndian.Uint64(b[content.HashSize+4:]),
	}
	if a.chunk >= MaxChunks {
		return ask{}, fmt.Errorf("%w: request of chunk %d, no content has more than %d", errFrame, a.chunk, MaxChunks)
	}
	return a, nil
}
