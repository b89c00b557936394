package trust

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"time"
)

const (
	beaconType = "application/vnd.p2pnode.beacon.v1+cbor"
	maxBeacon  = 4 << 10 // bytes of its envelope
	// beaconEvery is how often an issuer signs the time for everyone, and
	// beaconLife how long nobody needs to worry without a newer one.
	beaconEvery = time.Hour
	beaconLife  = 7 * 24 * time.Hour
	nonceSize   = 16
)

// A beacon is the body of an issuer's statement of the time and of the newest
// revocation lists; its time is that of the envelope. With a nonce it was made
// for one node and moment.
type beacon struct {
	Enterprise [sha256.Size]byte `cbor:"1,keyasint"`
	Heads      []head            `cbor:"2,keyasint,omitempty"`
	Nonce      []byte            `cbor:"3,keyasint,omitempty"`
}

// makeBeacon signs the time; nonce is nil for the beacon that everyone gets.
func (id *Identity) makeBeacon(nonce []byte) ([]byte, error) {
	return id.Sign(beaconType, encode(beacon{Enterprise: id.root.hash, Heads: id.revoked.heads(), Nonce: nonce}))
}

// checkBeacon verifies a beacon at the time it states itself: a clock that is
// wrong must not keep it from being put right. The signer's certificate has to be
// valid at that time, so a stolen issuer's key can't push anyone's clock beyond
// the 30 days of its certificate.
func checkBeacon(r *root, revoked *Revocations, env []byte) (beacon, time.Time, error) {
	var b beacon
	if len(env) > maxBeacon {
		return b, time.Time{}, fmt.Errorf("%w: beacon of %d bytes", ErrEnvelope, len(env))
	}
	e, d, err := openEnvelope(env)
	if err != nil {
		return b, time.Time{}, err
	}
	if e.Type != beaconType || len(e.Signatures) != 1 {
		return b, time.Time{}, fmt.Errorf("%w: not a beacon", ErrEnvelope)
	}
	at := time.Unix(d.Signed, 0).UTC()
	p, err := r.verify(e.Signatures[0].Chain, at)
	if err != nil {
		return b, at, fmt.Errorf("beacon: %w", err)
	}
	if err := revoked.check(p); err != nil {
		return b, at, fmt.Errorf("beacon: %w", err)
	}
	if !p.Roles.Has(Issuer) {
		return b, at, fmt.Errorf("beacon: %w %s: %s has %s", ErrRole, Issuer, p.Name, p.Roles)
	}
	if err := checkSignature(p.key, preAuth(e.Type, e.Payload), e.Signatures[0].Sig); err != nil {
		return b, at, fmt.Errorf("beacon: %w", err)
	}
	if err := decode(d.Body, &b); err != nil {
		return b, at, fmt.Errorf("beacon: %w", err)
	}
	if b.Enterprise != r.hash {
		return b, at, fmt.Errorf("beacon: %w", ErrForeignEnterprise)
	}
	return b, at, nil
}

// tell takes a beacon that came from anyone. A newer one becomes ours to pass on
// and lifts the clock's floor; one that bears our nonce may also anchor it. It
// reports whether the beacon was news.
func (id *Identity) tell(env, nonce []byte) (bool, error) {
	if len(env) == 0 {
		return false, nil
	}
	if cur, _ := id.Beacon(); bytes.Equal(cur, env) {
		return false, nil // as from most peers at most times
	}
	b, at, err := checkBeacon(id.root, id.revoked, env)
	if err != nil {
		return false, err
	}
	bound := len(b.Nonce) > 0
	if bound && !bytes.Equal(b.Nonce, nonce) {
		return false, fmt.Errorf("%w: beacon was made for another nonce", ErrEnvelope)
	}
	if bound {
		id.clock.bind(at)
	} else {
		id.clock.raise(at)
	}
	return id.keepBeacon(env, at, bound)
}

// Freshness tells how much of what is newest in the enterprise has reached this
// node.
type Freshness struct {
	Beacon  time.Time // time of the newest beacon; 1970 if there was none yet
	Stale   bool      // it is older than a week: this node may be cut off, or kept in the dark
	Missing int       // revocation lists the beacon tells of that have not come yet
}

// Freshness compares the newest beacon with the clock and the lists held.
func (id *Identity) Freshness() Freshness {
	env, at := id.Beacon()
	f := Freshness{Beacon: at, Stale: id.clock.Now().Sub(at) > beaconLife}
	var b beacon
	if _, d, err := openEnvelope(env); err == nil && decode(d.Body, &b) == nil {
		f.Missing = len(lacks(b.Heads, id.revoked.heads()))
	}
	return f
}
