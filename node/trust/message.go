package trust

import (
	"fmt"
	"io"
	"time"
)

// maxMessage bounds a message of the admission exchange, in bytes.
const maxMessage = 16 << 10

// kind says what a message is. The dialer speaks first:
//
//	hello →          ← hello | refuse               admission
//	enrol →          ← offer | refuse
//	claim →          ← welcome, lists | refuse      joining with a token
//	renew →          ← welcome, lists | refuse      renewing what ran out
type kind uint8

const (
	hello kind = iota + 1
	refuse
	enrol
	offer
	claim
	welcome
	renew
	kindCount
)

// A message is a frame with the CBOR of these fields; which are set depends on
// the kind (fields below holds the table).
type message struct {
	Kind      kind     `cbor:"1,keyasint"`
	Chain     [][]byte `cbor:"2,keyasint,omitempty"` // the sender's: leaf, issuer
	Beacon    []byte   `cbor:"3,keyasint,omitempty"` // the newest the sender has
	Nonce     []byte   `cbor:"4,keyasint,omitempty"` // asks an issuer for a time made for the sender
	Refusal   refusal  `cbor:"5,keyasint,omitempty"`
	Token     []byte   `cbor:"6,keyasint,omitempty"` // the token's id
	Secret    []byte   `cbor:"7,keyasint,omitempty"`
	Name      string   `cbor:"8,keyasint,omitempty"` // that the joiner would like
	Root      []byte   `cbor:"9,keyasint,omitempty"`
	Lists     int      `cbor:"10,keyasint,omitempty"` // frames with revocation lists that follow
	Bootstrap []string `cbor:"11,keyasint,omitempty"`
}

type field uint16

const (
	fChain field = 1 << iota
	fBeacon
	fNonce
	fRefusal
	fToken
	fSecret
	fName
	fRoot
	fLists
	fBootstrap
)

// fields tells for each kind of message what must be in it, and what may.
var fields = [kindCount]struct{ must, may field }{
	hello:   {fChain, fBeacon | fNonce},
	refuse:  {fRefusal, fBeacon},
	enrol:   {fToken | fNonce, 0},
	offer:   {fRoot | fChain | fBeacon, 0},
	claim:   {fSecret, fName},
	welcome: {fChain, fLists | fBootstrap},
	renew:   {fChain, fNonce},
}

func (m *message) set() (f field) {
	for _, x := range []struct {
		f  field
		is bool
	}{
		{fChain, len(m.Chain) > 0}, {fBeacon, len(m.Beacon) > 0}, {fNonce, len(m.Nonce) > 0},
		{fRefusal, m.Refusal != 0}, {fToken, len(m.Token) > 0}, {fSecret, len(m.Secret) > 0},
		{fName, m.Name != ""}, {fRoot, len(m.Root) > 0}, {fLists, m.Lists != 0}, {fBootstrap, len(m.Bootstrap) > 0},
	} {
		if x.is {
			f |= x.f
		}
	}
	return f
}

// parseMessage reads a message and holds it to what its kind may have.
func parseMessage(b []byte) (*message, error) {
	var m message
	if len(b) > maxMessage {
		return nil, fmt.Errorf("%w: %d bytes, at most %d allowed", ErrMessage, len(b), maxMessage)
	}
	if err := decode(b, &m); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrMessage, err)
	}
	if m.Kind == 0 || m.Kind >= kindCount {
		return nil, fmt.Errorf("%w: kind %d is not known", ErrMessage, m.Kind)
	}
	set, want := m.set(), fields[m.Kind]
	switch {
	case set&want.must != want.must || set&^(want.must|want.may) != 0:
		return nil, fmt.Errorf("%w: kind %d with fields %#x", ErrMessage, m.Kind, set)
	case len(m.Nonce) != 0 && len(m.Nonce) != nonceSize,
		len(m.Token) != 0 && len(m.Token) != tokenIDSize,
		len(m.Secret) != 0 && len(m.Secret) != secretSize,
		len(m.Name) > maxName, len(m.Beacon) > maxBeacon, len(m.Chain) > maxChain,
		len(m.Bootstrap) > maxBootstrap, m.Lists < 0 || m.Lists > maxLists:
		return nil, fmt.Errorf("%w: a field of kind %d is out of bounds", ErrMessage, m.Kind)
	}
	return &m, nil
}

// A channel is what an exchange runs on: encrypted, the other side's key proven.
type channel interface {
	io.ReadWriter
	SetDeadline(time.Time) error
}

func send(c channel, m message) error {
	if err := writeFrame(c, encode(m)); err != nil {
		return fmt.Errorf("send admission message: %w", err)
	}
	return nil
}

// receive reads a message that must be of one of the kinds; a refusal comes back
// as its error.
func receive(c channel, kinds ...kind) (*message, error) {
	b, err := readFrame(c, maxMessage)
	if err != nil {
		return nil, fmt.Errorf("receive admission message: %w", err)
	}
	m, err := parseMessage(b)
	if err != nil {
		return nil, err
	}
	for _, k := range kinds {
		if m.Kind == k {
			return m, nil
		}
	}
	if m.Kind == refuse {
		return m, m.Refusal.err()
	}
	return nil, fmt.Errorf("%w: kind %d out of turn", ErrMessage, m.Kind)
}
