package site

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// A frame is a length of 2 bytes, big endian, that of what follows: a kind of 1
// byte and a payload, which is CBOR in core deterministic encoding (RFC 8949,
// section 4.2). A hello is about 150 bytes, eight candidates are about 1,500.
type kind uint8

const (
	kindHello kind = 1 // what the sender says of itself; always first, and when it changed
	kindKnown kind = 2 // the best candidates for delegate that the sender is in touch with
	kindBeat  kind = 3 // no payload: a sign of life
	kindAsk   kind = 4 // no payload, to a delegate: who else is here? I know few
	kindSome  kind = 5 // the answer: some members, as candidates are told

	kinds = kindSome + 1
)

// Limits of frames.
const (
	maxFrame     = 8 << 10 // bytes after the length
	maxKnown     = 8       // candidates in a frame
	maxAddrs     = 8       // addresses of a member
	maxAddr      = 24      // bytes of one: IPv6, UDP, QUIC
	maxName      = 63      // bytes, as in a credential
	maxPeer      = 64      // bytes of a peer id
	maxTime      = 1 << 40 // seconds since 1970
	maxFree      = 1 << 60 // bytes
	flagMains    = 1
	flagWired    = 2
	flagWilling  = 4
	flagsKnown   = flagMains | flagWired | flagWilling
	uptimesKnown = uint8(Settled)
)

// ErrProtocol is wrapped by every breach of the protocol.
var ErrProtocol = errors.New("peer broke the site protocol")

// hello is a member's report and where it is.
type hello struct {
	Site    string   `cbor:"1,keyasint"`
	Name    string   `cbor:"2,keyasint"`
	Started int64    `cbor:"3,keyasint"` // seconds since 1970
	Uptime  uint8    `cbor:"4,keyasint"`
	Flags   uint8    `cbor:"5,keyasint"`
	Free    int64    `cbor:"6,keyasint"`
	Sits    int64    `cbor:"7,keyasint"` // seconds since 1970; 0: doesn't sit
	Addrs   [][]byte `cbor:"8,keyasint"`
}

// candidate is what is told of a third: enough to know whether to dial it.
type candidate struct {
	Peer  []byte `cbor:"1,keyasint"`
	Hello hello  `cbor:"2,keyasint"`
}

// saying is what a frame says, decoded and checked.
type saying struct {
	kind  kind
	site  string // hello
	about Member
	known []Member // of the sender's site, as it says: candidates, or some
}

var (
	encMode = must(cbor.CoreDetEncOptions().EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxNestedLevels:   5,
		MaxArrayElements:  16,
		MaxMapPairs:       16,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // fixed options and own types, can't fail at run time
	}
	return v
}

// encodeFrame returns a frame, its length included.
func encodeFrame(k kind, payload any) []byte {
	b := []byte{0, 0, byte(k)}
	if payload != nil {
		b = append(b, must(encMode.Marshal(payload))...)
	}
	binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	return b
}

// readFrame reads a frame and returns it without its length. Nothing is kept between
// two: most lines are silent most of the time.
func readFrame(r io.Reader) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(head[:]))
	if n < 1 || n > maxFrame {
		return nil, fmt.Errorf("%w: frame of %d bytes, allowed are 1 to %d", ErrProtocol, n, maxFrame)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

// decodeFrame reads what a frame of a peer says.
func decodeFrame(from peer.ID, b []byte) (s saying, err error) {
	if len(b) == 0 {
		return s, fmt.Errorf("%w: empty frame", ErrProtocol)
	}
	s.kind = kind(b[0])
	switch s.kind {
	case kindBeat, kindAsk:
		if len(b) > 1 {
			err = fmt.Errorf("a frame of kind %d with a payload", s.kind)
		}
	case kindHello:
		var h hello
		if err = decode(b[1:], &h); err == nil {
			s.site = h.Site
			s.about, err = h.member(from)
		}
	case kindKnown, kindSome:
		s.known, err = decodeKnown(b[1:])
	default:
		err = fmt.Errorf("frame of unknown kind %d", s.kind)
	}
	if err != nil {
		return saying{}, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return s, nil
}

func decodeKnown(b []byte) ([]Member, error) {
	var all []candidate
	if err := decode(b, &all); err != nil {
		return nil, err
	}
	if len(all) > maxKnown {
		return nil, fmt.Errorf("%d candidates, at most %d allowed", len(all), maxKnown)
	}
	known := make([]Member, 0, len(all))
	for _, c := range all {
		if len(c.Peer) > maxPeer {
			return nil, fmt.Errorf("peer id of %d bytes", len(c.Peer))
		}
		id, err := peer.IDFromBytes(c.Peer)
		if err != nil {
			return nil, err
		}
		m, err := c.Hello.member(id)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(known, func(k Member) bool { return k.Peer == id }) {
			return nil, fmt.Errorf("%s twice", id)
		}
		known = append(known, m)
	}
	return known, nil
}

// decode reads b, whole and canonical, into v.
func decode(b []byte, v any) error {
	if err := decMode.Unmarshal(b, v); err != nil {
		return err
	}
	if again, err := encMode.Marshal(v); err != nil || !bytes.Equal(again, b) {
		return errors.New("not in the deterministic encoding")
	}
	return nil
}

func sayHello(site string, m Member) hello {
	h := hello{Site: site, Name: m.Name, Started: seconds(m.Started), Uptime: uint8(m.Uptime), Free: min(max(m.Free, 0), maxFree), Sits: seconds(m.Sits), Addrs: [][]byte{}}
	for i, set := range []bool{m.Mains, m.Wired, m.Willing} {
		if set {
			h.Flags |= 1 << i
		}
	}
	for _, a := range m.Addrs {
		h.Addrs = append(h.Addrs, a.Bytes())
	}
	return h
}

func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return min(max(t.Unix(), 1), maxTime)
}

func moment(s int64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(s, 0)
}

// member checks what is said of p.
func (h hello) member(p peer.ID) (Member, error) {
	m := Member{Peer: p, Report: Report{
		Name: h.Name, Started: moment(h.Started), Uptime: Uptime(h.Uptime), Free: h.Free, Sits: moment(h.Sits),
		Mains: h.Flags&flagMains != 0, Wired: h.Flags&flagWired != 0, Willing: h.Flags&flagWilling != 0,
	}}
	switch {
	case h.Flags&^flagsKnown != 0, h.Uptime > uptimesKnown:
		return m, fmt.Errorf("unknown flags %#x or uptime %d", h.Flags, h.Uptime)
	case h.Started < 0, h.Started > maxTime, h.Sits < 0, h.Sits > maxTime, h.Free < 0, h.Free > maxFree:
		return m, errors.New("a number out of range")
	case len(h.Name) > maxName, len(h.Addrs) > maxAddrs:
		return m, fmt.Errorf("name of %d bytes or %d addresses", len(h.Name), len(h.Addrs))
	}
	for _, c := range []byte(h.Name) {
		if c <= ' ' || c > '~' {
			return m, fmt.Errorf("name %q", h.Name)
		}
	}
	if err := checkID(h.Site); err != nil {
		return m, err
	}
	for _, b := range h.Addrs {
		if len(b) > maxAddr {
			return m, fmt.Errorf("address of %d bytes", len(b))
		}
		a, err := ma.NewMultiaddrBytes(b)
		if err != nil {
			return m, err
		}
		if !dialable(a) {
			return m, fmt.Errorf("address %s: want IP and TCP or QUIC", a)
		}
		m.Addrs = append(m.Addrs, a)
	}
	return m, nil
}

// dialable reports whether an address has one of the two forms that members tell:
// an IP with TCP, or with QUIC. Names are none of them, nobody looks up what a third
// party says, and neither are relays.
func dialable(a ma.Multiaddr) bool {
	forms := [][]int{{ma.P_TCP}, {ma.P_UDP, ma.P_QUIC_V1}}
	if len(a) < 2 || a[0].Code() != ma.P_IP4 && a[0].Code() != ma.P_IP6 {
		return false
	}
	return slices.ContainsFunc(forms, func(form []int) bool {
		return slices.EqualFunc(a[1:], form, func(c ma.Component, code int) bool { return c.Code() == code })
	})
}
