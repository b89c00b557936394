package trust

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// bounded fails if f allocates more than factor times its input and 64 KiB (G46
// has a factor of 4).
func bounded(t *testing.T, input, factor int, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(factor*input+64<<10); got > limit {
		t.Fatalf("%d bytes allocated for an input of %d, at most %d allowed", got, input, limit)
	}
}

// A fixture is what an enterprise once signed and sent, without any of its keys.
// Fuzz targets start from it, the same in every process, and the formats of that
// day have to be read for good.
type fixture struct {
	Time     int64    `cbor:"1,keyasint"`
	Root     []byte   `cbor:"2,keyasint"`
	Chain    [][]byte `cbor:"3,keyasint"`
	Messages [][]byte `cbor:"4,keyasint"`
	Envelope []byte   `cbor:"5,keyasint"`
	Beacon   []byte   `cbor:"6,keyasint"`
	Lists    [][]byte `cbor:"7,keyasint"`
	Heads    []byte   `cbor:"8,keyasint"`
}

const fixtureFile = "testdata/enterprise.cbor"

var update = flag.Bool("update", false, "make "+fixtureFile+" anew")

func TestFixture(t *testing.T) {
	if *update {
		id := newEnterprise(t)
		f := newForger(t, id)
		env, err := id.makeBeacon(newNonce())
		check(t, err)
		x := fixture{Time: f.now.Unix(), Root: id.root.cert.Raw, Chain: id.proof().raw, Beacon: env}
		for _, m := range []message{
			{Kind: hello, Chain: x.Chain, Beacon: env, Nonce: newNonce()},
			{Kind: enrol, Token: make([]byte, tokenIDSize), Nonce: newNonce()},
			{Kind: offer, Root: x.Root, Chain: x.Chain, Beacon: env},
			{Kind: claim, Secret: make([]byte, secretSize), Name: "n"},
			{Kind: refuse, Refusal: refusedBusy},
			{Kind: welcome, Chain: x.Chain, Lists: 2, Bootstrap: []string{anyAddress}},
		} {
			x.Messages = append(x.Messages, encode(m))
		}
		x.Envelope, err = id.Sign(testType, []byte("body"))
		check(t, err)
		x.Envelope, err = f.someone(f.oper, f.asPublisher).Cosign(x.Envelope)
		check(t, err)
		l, err := signList(f.member, 9, []revokedEntry{{newSerial(), f.now}}, []keyTag{{1}}, f.now)
		check(t, err)
		_, err = id.revoked.apply(l)
		check(t, err)
		for _, h := range id.revoked.heads() {
			x.Lists = append(x.Lists, id.revoked.raw(h.Issuer))
		}
		x.Heads = encode((&Admission{id: id}).ourHeads())
		check(t, os.MkdirAll(filepath.Dir(fixtureFile), 0o755))
		check(t, os.WriteFile(fixtureFile, encode(x), 0o644))
	}
	x, id := readFixture(t)
	p, err := id.root.verify(x.Chain, id.clock.Now())
	check(t, err)
	if !p.Roles.Has(allRoles) || p.Site != "hq" {
		t.Errorf("%+v", p.Credential)
	}
	for _, m := range x.Messages {
		_, err := parseMessage(m)
		check(t, err)
	}
	st, err := id.Verify(x.Envelope, testType, Publisher)
	check(t, err)
	if len(st.Signers) != 2 || string(st.Payload) != "body" {
		t.Errorf("%+v", st)
	}
	_, _, err = checkBeacon(id.root, id.revoked, x.Beacon)
	check(t, err)
	for _, l := range x.Lists {
		_, err := id.revoked.parse(l)
		check(t, err)
	}
	h, err := parseHeads(x.Heads)
	check(t, err)
	if len(h.Heads) != 2 {
		t.Errorf("%+v", h)
	}
}

// readFixture returns the fixture and an identity that judges it at its time.
func readFixture(t testing.TB) (fixture, *Identity) {
	t.Helper()
	var x fixture
	b, err := os.ReadFile(fixtureFile)
	check(t, err)
	check(t, decode(b, &x))
	r, err := parseRoot(x.Root)
	check(t, err)
	at := time.Unix(x.Time, 0)
	c := &Clock{wall: func() time.Time { return at }, roof: r.cert.NotAfter}
	return x, &Identity{root: r, clock: c, revoked: newRevocations(r, nil)}
}

func FuzzExchangeMessage(f *testing.F) {
	x, _ := readFixture(f)
	for _, m := range x.Messages {
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m *message
		var err error
		bounded(t, len(b), 4, func() { m, err = parseMessage(b) })
		switch {
		case err != nil && (m != nil || !errors.Is(err, ErrMessage)):
			t.Fatal(m, err)
		case err == nil && !bytes.Equal(encode(*m), b):
			t.Fatal("another encoding was taken")
		}
	})
}

func FuzzChain(f *testing.F) {
	x, id := readFixture(f)
	good := x.Chain[0]
	f.Add(x.Chain[0], x.Chain[1])
	f.Fuzz(func(t *testing.T, leaf, issuer []byte) {
		bounded(t, len(leaf)+len(issuer), 32, func() {
			_, err := id.root.verify([][]byte{leaf, issuer}, id.clock.Now())
			if err != nil {
				if !errors.Is(err, ErrNotAdmitted) {
					t.Fatal(err)
				}
				return
			}
			// Only the encoding of the signature can differ, see malleate.
			if !bytes.Equal(parse(t, leaf).RawTBSCertificate, parse(t, good).RawTBSCertificate) {
				t.Fatal("another certificate was taken")
			}
		})
	})
}

func FuzzEnvelope(f *testing.F) {
	x, id := readFixture(f)
	f.Add(x.Envelope)
	f.Fuzz(func(t *testing.T, b []byte) {
		var e envelope
		var err error
		bounded(t, len(b), 4, func() { e, _, err = openEnvelope(b) })
		if err != nil {
			if !errors.Is(err, ErrEnvelope) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(encode(e), b) {
			t.Fatal("another encoding was taken")
		}
		if st, err := id.Verify(b, testType, Publisher); err == nil && string(st.Payload) != "body" {
			t.Fatalf("verified %q", st.Payload)
		}
	})
}

func FuzzRevocationList(f *testing.F) {
	x, id := readFixture(f)
	for _, l := range x.Lists {
		f.Add(l)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		// x509 copies a list several times; nothing grows beyond that.
		bounded(t, len(b), 64, func() {
			if _, err := id.revoked.parse(b); err != nil && !errors.Is(err, ErrList) {
				t.Fatal(err)
			}
		})
	})
}

func FuzzHeads(f *testing.F) {
	x, _ := readFixture(f)
	f.Add(x.Heads)
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, len(b), 4, func() {
			m, err := parseHeads(b)
			if err == nil && !bytes.Equal(encode(m), b) {
				t.Fatal("another encoding was taken")
			}
		})
	})
}

func FuzzBeacon(f *testing.F) {
	x, id := readFixture(f)
	f.Add(x.Beacon)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, at, err := checkBeacon(id.root, id.revoked, b); err == nil && !near(at, id.clock.Now()) {
			t.Fatalf("time %s", at)
		}
	})
}

// FuzzFrame reads frames from a stream that may lie about their length.
func FuzzFrame(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, 1, 2})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{0, 0x0f, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, len(b), 4, func() {
			got, err := readFrame(bytes.NewReader(b), maxList)
			if err == nil && (len(got) > len(b)-4 || !bytes.Equal(got, b[4:4+len(got)])) {
				t.Fatalf("%x from %x", got, b)
			}
		})
	})
}

// FuzzSealed reads state files that were damaged in ways a checksum finds, and
// those that are whole but not ours.
func FuzzSealed(f *testing.F) {
	f.Add(seal(sealVersion, stateName, encode(state{
		Generation: 3, Floor: 1, Bootstrap: []string{"a"}, Marks: []mark{{Kind: releaseMark, Name: "a", Sequence: 1}},
		Lists: [][]byte{{1}}, Ledger: &ledgerEnd{Size: 9}, Files: map[string][]byte{"x": {1}},
	})))
	f.Add(seal(1, stateFile1, encode(state1{Floor: 1, Bootstrap: []string{"a"}})))
	f.Add(seal(sealVersion+1, stateName, []byte("later")))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, payload := range [][]byte{b, mustUnseal(b)} {
			bounded(t, len(payload), 8, func() {
				var s state
				var old state1
				var r []release1
				var h []head
				_, _, _, _ = decode(payload, &s), decode(payload, &old), decode(payload, &r), decode(payload, &h)
			})
		}
	})
}

func mustUnseal(b []byte) []byte {
	for version, name := range map[int]string{sealVersion: stateName, 1: stateFile1} {
		if p, err := unseal(version, name, b); err == nil {
			return p
		}
	}
	return nil
}

func FuzzLedger(f *testing.F) {
	v := withLedger(f, newMemDisk())
	l, err := openLedger(v, func(entry) {})
	check(f, err)
	start := *v.get().Ledger
	check(f, l.append(entry{Deed: issued, At: 1, Name: "n"}))
	check(f, l.append(entry{Deed: revoked, At: 2}))
	check(f, l.close())
	good, err := v.dir.read(ledgerNames[0])
	check(f, err)
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Fuzz(func(t *testing.T, b []byte) {
		v := withLedger(t, newMemDisk())
		for _, name := range ledgerNames {
			check(t, v.dir.write(name, b))
		}
		check(t, v.commit(func(next *state) error { next.Ledger = &start; return nil }))
		l, err := openLedger(v, func(entry) {})
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		check(t, l.append(entry{Deed: issued, At: 3}))
		check(t, l.close())
	})
}

// withLedger makes a memory with an empty ledger.
func withLedger(t testing.TB, d disk) *memory {
	t.Helper()
	dir := folder{d, "/trust"}
	check(t, dir.mkdir(issuerDir))
	end, err := newLedger(dir)
	check(t, err)
	v, err := makeMemory(dir, state{Ledger: end, Files: map[string][]byte{hostKeyFile: []byte("key")}})
	check(t, err)
	return v
}
