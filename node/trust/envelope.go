package trust

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	ic "github.com/libp2p/go-libp2p/core/crypto"
)

// Limits of an envelope.
const (
	maxEnvelope   = 64 << 10 // bytes
	maxSignatures = 8
)

// An envelope is a DSSE envelope (secure-systems-lab/dsse, protocol 1.0.2) in
// CBOR instead of JSON:
//
//	{1: payload type, 2: payload, 3: [{1: chain of the signer, 2: signature}, ...]}
//
// A signature is over the pre-authentication encoding, which binds the type.
type envelope struct {
	Type       string      `cbor:"1,keyasint"`
	Payload    []byte      `cbor:"2,keyasint"`
	Signatures []signature `cbor:"3,keyasint"`
}

type signature struct {
	Chain [][]byte `cbor:"1,keyasint"`
	Sig   []byte   `cbor:"2,keyasint"`
}

// The payload of every envelope of ours is {1: when it was signed, 2: body}: a
// signature's worth depends on the signer's credential at that time.
type dated struct {
	Signed int64  `cbor:"1,keyasint"` // seconds since 1970
	Body   []byte `cbor:"2,keyasint"`
}

// A Statement is what a verified envelope holds.
type Statement struct {
	Payload []byte
	Signed  time.Time    // to the second
	Signers []Credential // at least one, each with a key of its own
}

// preAuth is DSSE's pre-authentication encoding.
func preAuth(payloadType string, payload []byte) []byte {
	b := []byte("DSSEv1 " + strconv.Itoa(len(payloadType)) + " " + payloadType + " " + strconv.Itoa(len(payload)) + " ")
	return append(b, payload...)
}

func openEnvelope(b []byte) (envelope, dated, error) {
	var e envelope
	var d dated
	if len(b) > maxEnvelope {
		return e, d, fmt.Errorf("%w: %d bytes, at most %d allowed", ErrEnvelope, len(b), maxEnvelope)
	}
	if err := decode(b, &e); err != nil {
		return e, d, fmt.Errorf("%w: %v", ErrEnvelope, err)
	}
	if n := len(e.Signatures); n == 0 || n > maxSignatures {
		return e, d, fmt.Errorf("%w: %d signatures, want 1 to %d", ErrEnvelope, n, maxSignatures)
	}
	if err := decode(e.Payload, &d); err != nil {
		return e, d, fmt.Errorf("%w: payload: %v", ErrEnvelope, err)
	}
	return e, d, nil
}

// Sign puts payload into an envelope with this node's signature and chain. Who
// verifies it asks for a role; Sign doesn't.
func (id *Identity) Sign(payloadType string, payload []byte) ([]byte, error) {
	return id.sign(payloadType, payload, id.clock.Now())
}

func (id *Identity) sign(payloadType string, payload []byte, at time.Time) ([]byte, error) {
	e := envelope{Type: payloadType, Payload: encode(dated{Signed: at.Unix(), Body: payload})}
	return id.endorse(e)
}

// Cosign adds this node's signature to an envelope that another one signed.
func (id *Identity) Cosign(env []byte) ([]byte, error) {
	e, _, err := openEnvelope(env)
	if err != nil {
		return nil, err
	}
	return id.endorse(e)
}

func (id *Identity) endorse(e envelope) ([]byte, error) {
	sig, err := id.key.Sign(preAuth(e.Type, e.Payload))
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", e.Type, err)
	}
	e.Signatures = append(slices.Clone(e.Signatures), signature{Chain: id.proof().raw, Sig: sig})
	b := encode(e)
	if _, _, err := openEnvelope(b); err != nil {
		return nil, err // too large, or too many signatures
	}
	return b, nil
}

// Verify opens an envelope of the given type and returns what it holds and who
// signed it with the role. It fails unless at least one did.
//
// A signature counts if the signer's credential was valid when the statement
// says it was signed, that time is not to come, and neither certificate nor key
// is revoked now. So a release outlives the 30 days of its publisher's
// certificate, while a revocation takes back everything the key ever signed, its
// false dates included: what a lost key signs can't be told from what it signed
// before. For that reason revocation lists keep publishers, operators and
// issuers for good, and a lost key must be revoked even if its certificate ran
// out.
func (id *Identity) Verify(env []byte, payloadType string, role Roles) (Statement, error) {
	e, d, err := openEnvelope(env)
	if err != nil {
		return Statement{}, err
	}
	if e.Type != payloadType {
		return Statement{}, fmt.Errorf("%w: holds %q, want %q", ErrEnvelope, e.Type, payloadType)
	}
	st := Statement{Payload: d.Body, Signed: time.Unix(d.Signed, 0).UTC()}
	if now := id.clock.Now(); st.Signed.After(now.Add(tolerance)) {
		return Statement{}, fmt.Errorf("%w: signed at %s, which is to come (now %s)", ErrEnvelope, stamp(st.Signed), stamp(now))
	}
	// One bad signature doesn't spoil the others: anyone on the way can add one.
	for _, s := range e.Signatures {
		c, ferr := id.counts(s, preAuth(e.Type, e.Payload), st.Signed, role)
		if ferr != nil {
			err = ferr
			continue
		}
		if !slices.ContainsFunc(st.Signers, func(o Credential) bool { return o.Peer == c.Peer }) {
			st.Signers = append(st.Signers, c)
		}
	}
	if len(st.Signers) == 0 {
		return Statement{}, fmt.Errorf("%w: %w", ErrEnvelope, err)
	}
	return st, nil
}

func (id *Identity) counts(s signature, message []byte, at time.Time, role Roles) (Credential, error) {
	p, err := id.root.verify(s.Chain, at)
	if err != nil {
		return Credential{}, err
	}
	if err := id.revoked.check(p); err != nil {
		return Credential{}, err
	}
	if !p.Roles.Has(role) {
		return Credential{}, fmt.Errorf("%w %s: %s has %s", ErrRole, role, p.Name, p.Roles)
	}
	return p.Credential, checkSignature(p.key, message, s.Sig)
}

func checkSignature(key ic.PubKey, message, sig []byte) error {
	ok, err := key.Verify(message, sig)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("signature does not match")
	}
	return nil
}
