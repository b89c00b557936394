package trust

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"
)

const testType = "application/vnd.p2pnode.test.v1+cbor"

func TestEnvelope(t *testing.T) {
	t.Parallel()
	id, other := newEnterprise(t), newEnterprise(t)
	f := newForger(t, id)
	pub := f.someone(f.oper, f.asPublisher)
	body := []byte("release 1")
	env, err := pub.Sign(testType, body)
	check(t, err)
	st, err := id.Verify(env, testType, Publisher)
	check(t, err)
	if !bytes.Equal(st.Payload, body) || len(st.Signers) != 1 || st.Signers[0].Name != "pub" || !near(st.Signed, time.Now()) {
		t.Errorf("%+v", st)
	}

	both, err := id.Cosign(env)
	check(t, err)
	twice, err := pub.Cosign(both)
	check(t, err)
	if st, err = id.Verify(twice, testType, Publisher); err != nil || len(st.Signers) != 2 {
		t.Errorf("two keys, one of them twice: %d signers, %v", len(st.Signers), err)
	}
	if st, err = id.Verify(both, testType, Operator); err != nil || len(st.Signers) != 1 || st.Signers[0].Name != "first" {
		t.Errorf("one of two has the role: %+v, %v", st, err)
	}
	full := env
	for range maxSignatures - 1 {
		full, err = pub.Cosign(full)
		check(t, err)
	}
	if _, err := pub.Cosign(full); !errors.Is(err, ErrEnvelope) {
		t.Errorf("a signature too many: %v", err)
	}

	sign := func(by *Identity) []byte {
		b, err := by.Sign(testType, body)
		check(t, err)
		return b
	}
	change := func(do func(*envelope)) []byte {
		e, _, err := openEnvelope(env)
		check(t, err)
		e.Signatures = slices.Clone(e.Signatures)
		do(&e)
		return encode(e)
	}
	future, err := pub.sign(testType, body, time.Now().Add(time.Hour))
	check(t, err)
	before, err := pub.sign(testType, body, time.Now().Add(-backdate-time.Hour))
	check(t, err)
	otherBody, err := pub.Sign(testType, []byte("release 2"))
	check(t, err)
	member := f.someone(f.member, nil)
	for name, bad := range map[string][]byte{
		"member":              sign(member),
		"another enterprise":  sign(other),
		"to come":             future,
		"before its signer":   before,
		"no signature":        change(func(e *envelope) { e.Signatures = nil }),
		"empty signature":     change(func(e *envelope) { e.Signatures[0].Sig = nil }),
		"payload changed":     change(func(e *envelope) { e.Payload = encode(dated{Signed: time.Now().Unix(), Body: []byte("x")}) }),
		"type changed":        change(func(e *envelope) { e.Type = "x" }),
		"another's chain":     change(func(e *envelope) { e.Signatures[0].Chain = id.proof().raw }),
		"another's signature": change(func(e *envelope) { o, _, _ := openEnvelope(otherBody); e.Signatures = o.Signatures }),
		"cut short":           env[:len(env)-1],
		"bytes behind it":     append(slices.Clone(env), 0),
		"empty":               nil,
		"large":               make([]byte, maxEnvelope+1),
	} {
		if st, err := id.Verify(bad, testType, Publisher); !errors.Is(err, ErrEnvelope) || st.Payload != nil || st.Signers != nil {
			t.Errorf("%s: %+v, %v", name, st, err)
		}
	}
	if _, err := id.Verify(env, "other", Publisher); !errors.Is(err, ErrEnvelope) {
		t.Errorf("taken as another type: %v", err)
	}
	for i := range env {
		bad := slices.Clone(env)
		bad[i] ^= 1 << (i % 8)
		if st, err := id.Verify(bad, testType, Publisher); err == nil {
			t.Fatalf("bit of byte %d flipped: %+v", i, st)
		}
	}
}

// A release outlives its publisher's certificate, and doesn't outlive the
// publisher's revocation.
func TestEnvelopeOverTime(t *testing.T) {
	t.Parallel()
	id := newEnterprise(t)
	f := newForger(t, id)
	pub := f.someone(f.oper, f.asPublisher)
	env, err := pub.Sign(testType, nil)
	check(t, err)
	id.clock = newClock(func() time.Time { return time.Now().Add(year) }, time.Time{}, id.root.cert.NotAfter)
	_, err = id.Verify(env, testType, Publisher)
	check(t, err)
	late, err := pub.sign(testType, nil, time.Now().Add(leafLife+time.Hour))
	check(t, err)
	if _, err := id.Verify(late, testType, Publisher); !errors.Is(err, ErrExpired) {
		t.Errorf("signed after the certificate ran out: %v", err)
	}
	tag, _ := tagOfKey(pub.key.GetPublic())
	l, err := signList(f.oper, 50, nil, []keyTag{tag}, f.now)
	check(t, err)
	_, err = id.revoked.apply(l)
	check(t, err)
	if _, err := id.Verify(env, testType, Publisher); !errors.Is(err, ErrRevoked) {
		t.Errorf("publisher revoked: %v", err)
	}
}
