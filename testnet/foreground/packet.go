package foreground

import (
	"encoding/binary"
	"errors"
	"time"
)

// packetSize is what a voice packet has behind UDP's header: 12 bytes of RTP and
// 20 ms of G.711. In IP it is 200.
const packetSize = 172 // bytes

// A packet is one of a call, both ways alike. On the wire, big endian: magic (4),
// number (4), when it was sent (8, ns since 1970); then what its sender has heard
// so far: packets (4), the number of the last (4), how long that took (8, ns); then
// zeros.
type packet struct {
	number uint32
	sent   time.Time

	heard uint32
	last  uint32
	took  time.Duration
}

const packetMagic = 0x70327076 // "p2pv"

var errPacket = errors.New("no packet of a call")

func (p packet) append(b []byte) []byte {
	n := len(b)
	b = binary.BigEndian.AppendUint32(b, packetMagic)
	b = binary.BigEndian.AppendUint32(b, p.number)
	b = binary.BigEndian.AppendUint64(b, uint64(p.sent.UnixNano()))
	b = binary.BigEndian.AppendUint32(b, p.heard)
	b = binary.BigEndian.AppendUint32(b, p.last)
	b = binary.BigEndian.AppendUint64(b, uint64(p.took))
	return append(b, make([]byte, packetSize-(len(b)-n))...)
}

func parsePacket(b []byte) (packet, error) {
	if len(b) != packetSize || binary.BigEndian.Uint32(b) != packetMagic {
		return packet{}, errPacket
	}
	return packet{
		number: binary.BigEndian.Uint32(b[4:]),
		sent:   time.Unix(0, int64(binary.BigEndian.Uint64(b[8:]))),
		heard:  binary.BigEndian.Uint32(b[16:]),
		last:   binary.BigEndian.Uint32(b[20:]),
		took:   time.Duration(binary.BigEndian.Uint64(b[24:])),
	}, nil
}
