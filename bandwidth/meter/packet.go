package meter

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"time"
)

// PacketSize is the length of a probe and of its answer, in bytes. With IPv4 and
// UDP around it, 40 of them a second are 19 kbit/s each way.
const PacketSize = 32

const (
	sessionSize = 6
	macSize     = 12
	signed      = PacketSize - macSize
	maxHold     = 1<<24 - 1 // microseconds
)

// The first byte of a packet. RFC 9443 gives 4 to 15 to no protocol, and QUIC sets
// one of the two highest bits always: probes can share QUIC's socket and its holes
// in firewalls.
const (
	asks    byte = 4
	answers byte = 5
)

// A Key is the secret of one session between two peers.
type Key [32]byte

// NewKey returns a fresh key, to be sent to a peer over an encrypted stream.
func NewKey() (k Key) {
	rand.Read(k[:]) // never fails: it ends the process instead
	return k
}

// A Side tells the two holders of a key apart.
type Side uint8

const (
	Opener   Side = iota + 1 // opened the stream on which the key was agreed
	Accepter                 // accepted it
)

func (s Side) other() Side {
	if s == Opener {
		return Accepter
	}
	return Opener
}

// A packet is a probe or its answer.
type packet struct {
	kind    byte
	session [sessionSize]byte
	number  uint32
	arrived time.Duration // by the answerer's clock
	hold    time.Duration // from then until it answered
}

// readPacket returns what b says, which nobody has vouched for yet.
func readPacket(b []byte) (packet, bool) {
	if len(b) != PacketSize || b[0] != asks && b[0] != answers {
		return packet{}, false
	}
	times := binary.BigEndian.Uint64(b[11:19])
	return packet{
		kind:    b[0],
		session: [sessionSize]byte(b[1:]),
		number:  binary.BigEndian.Uint32(b[7:]),
		arrived: time.Duration(times>>16) * time.Microsecond,
		hold:    time.Duration(times&0xffff<<8|uint64(b[19])) * time.Microsecond,
	}, true
}

// append appends all of p that is signed. The caller keeps hold within maxHold.
func (p packet) append(b []byte) []byte {
	hold := uint64(p.hold / time.Microsecond)
	b = append(b, p.kind)
	b = append(b, p.session[:]...)
	b = binary.BigEndian.AppendUint32(b, p.number)
	b = binary.BigEndian.AppendUint64(b, uint64(p.arrived/time.Microsecond)<<16|hold>>8)
	return append(b, byte(hold))
}

// A signer signs and checks the probes of one asker, and the answers to it. It is
// not for two goroutines at once.
type signer struct {
	session [sessionSize]byte
	mac     hash.Hash
	sum     [sha256.Size]byte
}

func newSigner(k Key, asker Side) (*signer, error) {
	// Both sides derive the same: RFC 5869, with the asker in the info.
	derived, err := hkdf.Key(sha256.New, k[:], nil, fmt.Sprintf("p2pnode meter 1, asker %d", asker), sessionSize+sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive the key of a path: %w", err)
	}
	return &signer{session: [sessionSize]byte(derived), mac: hmac.New(sha256.New, derived[sessionSize:])}, nil
}

func (s *signer) code(b []byte) []byte {
	s.mac.Reset()
	s.mac.Write(b)
	return s.mac.Sum(s.sum[:0])[:macSize]
}

// sign appends p and its code to b.
func (s *signer) sign(b []byte, p packet) []byte {
	p.session = s.session
	start := len(b)
	b = p.append(b)
	return append(b, s.code(b[start:])...)
}

// verified tells whether a packet of PacketSize bytes carries the right code.
func (s *signer) verified(b []byte) bool { return hmac.Equal(s.code(b[:signed]), b[signed:]) }
