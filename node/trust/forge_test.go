package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/url"
	"slices"
	"testing"
	"time"

	ic "github.com/libp2p/go-libp2p/core/crypto"
)

// A forger has the keys of an enterprise and makes credentials that it would not.
type forger struct {
	t            testing.TB
	id           *Identity
	root         *signer
	member, oper *signer
	now          time.Time
}

func newForger(t testing.TB, id *Identity) *forger {
	t.Helper()
	top, err := readSigner(id.memory.dir.read, issuerDir+"/root")
	check(t, err)
	return &forger{t, id, top, id.authority.member, id.authority.oper, time.Now().UTC().Truncate(time.Second)}
}

func newKey(t testing.TB) ic.PrivKey {
	t.Helper()
	k, _, err := ic.GenerateEd25519Key(rand.Reader)
	check(t, err)
	return k
}

// template returns the certificate that a plain member of the enterprise has.
func (f *forger) template() *x509.Certificate {
	f.t.Helper()
	tmpl, err := leafTemplate(f.id.root.memberHost(), Credential{
		Site: "hq", Device: "dev", Name: "node", Roles: Member,
		NotBefore: f.now.Add(-backdate), NotAfter: f.now.Add(leafLife),
	})
	check(f.t, err)
	return tmpl
}

func (f *forger) sign(tmpl *x509.Certificate, by *signer, pub crypto.PublicKey) []byte {
	f.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, by.cert, pub, by.key)
	check(f.t, err)
	return der
}

// leaf makes a chain for key, changed by mod, signed by an issuer.
func (f *forger) leaf(key ic.PrivKey, by *signer, mod func(*x509.Certificate)) [][]byte {
	f.t.Helper()
	tmpl := f.template()
	if mod != nil {
		mod(tmpl)
	}
	std, err := stdKey(key.GetPublic())
	check(f.t, err)
	return [][]byte{f.sign(tmpl, by, std), by.cert.Raw}
}

// someone returns an identity of the enterprise that has no folder.
func (f *forger) someone(by *signer, mod func(*x509.Certificate)) *Identity {
	f.t.Helper()
	key := newKey(f.t)
	p, err := f.id.root.verify(f.leaf(key, by, mod), f.now)
	check(f.t, err)
	return &Identity{root: f.id.root, key: key, clock: f.id.clock, revoked: f.id.revoked, current: p}
}

// asPublisher makes a template that of a publisher.
func (f *forger) asPublisher(c *x509.Certificate) {
	c.URIs = uri("spiffe://" + f.id.root.operatorHost() + "/site/hq/node/pub")
	withGrant(grant{Roles: int(Member | Publisher), Name: "pub"})(c)
}

// issuer makes another member issuer below the root.
func (f *forger) issuer(mod func(*x509.Certificate)) *signer {
	f.t.Helper()
	s, err := newIssuer(f.root, "member", f.id.root.memberHost(), f.now)
	check(f.t, err)
	if mod != nil {
		tmpl := *s.cert
		mod(&tmpl)
		s.cert, err = x509.ParseCertificate(f.sign(&tmpl, f.root, s.key.Public()))
		check(f.t, err)
	}
	return s
}

func uri(s string) []*url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return []*url.URL{u}
}

func withGrant(g any) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		b, err := asn1.Marshal(g)
		if err != nil {
			panic(err)
		}
		c.ExtraExtensions = []pkix.Extension{{Id: oidGrant, Value: b}}
	}
}

// malleate returns the certificate with its ECDSA signature (r, s) as (r, n-s):
// as valid, other bytes.
func malleate(t testing.TB, der []byte) []byte {
	t.Helper()
	var c struct {
		TBS, Alg asn1.RawValue
		Sig      asn1.BitString
	}
	_, err := asn1.Unmarshal(der, &c)
	check(t, err)
	var sig struct{ R, S *big.Int }
	_, err = asn1.Unmarshal(c.Sig.Bytes, &sig)
	check(t, err)
	sig.S.Sub(elliptic.P256().Params().N, sig.S)
	b, err := asn1.Marshal(sig)
	check(t, err)
	c.Sig = asn1.BitString{Bytes: b, BitLength: 8 * len(b)}
	out, err := asn1.Marshal(c)
	check(t, err)
	return out
}

func flip(chain [][]byte, cert, at int) [][]byte {
	chain = slices.Clone(chain)
	b := slices.Clone(chain[cert])
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	chain[cert] = b
	return chain
}

// A forgery is what someone with a key shows in place of a hello.
type forgery struct {
	name  string
	key   ic.PrivKey
	hello []byte
}

// forgeries returns bad credentials, each for a key of its own.
func (f *forger) forgeries() []forgery {
	f.t.Helper()
	var out []forgery
	raw := func(name string, key ic.PrivKey, hello []byte) {
		out = append(out, forgery{name, key, hello})
	}
	show := func(name string, key ic.PrivKey, chain [][]byte) {
		raw(name, key, encode(message{Kind: hello, Chain: chain}))
	}
	chain := func(name string, by *signer, mod func(*x509.Certificate)) {
		key := newKey(f.t)
		show(name, key, f.leaf(key, by, mod))
	}
	leaf := func(name string, mod func(*x509.Certificate)) { chain(name, f.member, mod) }
	host := f.id.root.memberHost()

	// Time.
	leaf("expired", func(c *x509.Certificate) { c.NotAfter = f.now.Add(-time.Minute) })
	leaf("not yet valid", func(c *x509.Certificate) { c.NotBefore = f.now.Add(time.Hour) })
	chain("expired issuer", f.issuer(func(c *x509.Certificate) { c.NotAfter = f.now.Add(-time.Minute) }), nil)
	chain("issuer not yet valid", f.issuer(func(c *x509.Certificate) { c.NotBefore = f.now.Add(time.Hour) }), nil)

	// Whose.
	other := newForger(f.t, newEnterprise(f.t))
	k := newKey(f.t)
	show("foreign root", k, other.leaf(k, other.member, nil))
	top, err := newRoot(f.now)
	check(f.t, err)
	look, err := newIssuer(top, "member", host, f.now)
	check(f.t, err)
	chain("foreign root that looks like ours", look, nil)
	k = newKey(f.t)
	show("our issuer's certificate, foreign signature", k, [][]byte{f.leaf(k, look, nil)[0], f.member.cert.Raw})
	show("stolen", newKey(f.t), f.leaf(newKey(f.t), f.member, nil))
	show("stolen from the issuer", newKey(f.t), f.id.proof().raw)
	k = newKey(f.t)
	good := f.leaf(k, f.member, nil)
	mateKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(f.t, err)
	mate := &signer{parse(f.t, f.sign(f.template(), f.member, mateKey.Public())), mateKey}
	show("signed by a member", k, [][]byte{f.sign(f.template(), mate, mustStd(k)), mate.cert.Raw})
	alone := &signer{f.template(), mateKey}
	show("self-signed", k, [][]byte{f.sign(alone.cert, alone, mateKey.Public()), f.member.cert.Raw})

	// Bytes.
	for _, at := range []int{0, 5, 40, len(good[0]) / 2, -1, -20, -70} {
		show("leaf with a bit flipped", k, flip(good, 0, at))
	}
	for _, at := range []int{0, 60, -1} {
		show("issuer with a bit flipped", k, flip(good, 1, at))
	}
	show("leaf cut short", k, [][]byte{good[0][:len(good[0])-1], good[1]})
	show("leaf with bytes behind it", k, [][]byte{append(slices.Clone(good[0]), 0), good[1]})
	show("leaf empty", k, [][]byte{{}, good[1]})
	show("no chain", k, nil)
	show("leaf alone", k, good[:1])
	show("issuer alone", k, good[1:])
	show("out of order", k, [][]byte{good[1], good[0]})
	show("wrong issuer beside it", k, [][]byte{good[0], f.oper.cert.Raw})
	show("root beside it", k, [][]byte{good[0], f.root.cert.Raw})
	show("root as third", k, [][]byte{good[0], good[1], f.root.cert.Raw})
	show("ten certificates", k, slices.Repeat(good, 5))
	show("too many bytes", k, f.leaf(k, f.member, func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 25, 7}, Value: make([]byte, maxChainBytes)})
	}))

	// The message around the chain.
	m := encode(message{Kind: hello, Chain: good})
	raw("message empty", k, nil)
	raw("message cut short", k, m[:len(m)-1])
	raw("message with bytes behind it", k, append(slices.Clone(m), 0))
	raw("message too large", k, make([]byte, maxMessage+1))
	raw("message of no kind", k, encode(message{Chain: good}))
	raw("message of another kind", k, encode(message{Kind: welcome, Chain: good}))
	raw("message with a secret in it", k, encode(message{Kind: hello, Chain: good, Secret: make([]byte, secretSize)}))
	raw("message of indefinite length", k, append(append([]byte{0xbf}, m[1:]...), 0xff))
	raw("message with a key twice", k, append(append([]byte{m[0] + 1}, m[1:]...), 0x01, 0x01))
	raw("message with an unknown key", k, append(append([]byte{m[0] + 1}, m[1:]...), 0x18, 0x63, 0x01))
	raw("message with long integers", k, append([]byte{m[0], 0x18, 0x01}, m[2:]...))

	// Profile.
	leaf("no URI", func(c *x509.Certificate) { c.URIs = nil })
	leaf("two URIs", func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) })
	leaf("a DNS name too", func(c *x509.Certificate) { c.DNSNames = []string{"host.example"} })
	leaf("an e-mail address too", func(c *x509.Certificate) { c.EmailAddresses = []string{"a@host.example"} })
	leaf("other trust domain", func(c *x509.Certificate) { c.URIs = uri("spiffe://member.other.p2pnode.internal/site/hq/node/dev") })
	leaf("host below ours", func(c *x509.Certificate) { c.URIs = uri("spiffe://x." + host + "/site/hq/node/dev") })
	leaf("host is the trust domain", func(c *x509.Certificate) { c.URIs = uri("spiffe://" + f.id.root.domain + "/site/hq/node/dev") })
	leaf("operator's host from the member issuer", func(c *x509.Certificate) {
		c.URIs = uri("spiffe://" + f.id.root.operatorHost() + "/site/hq/node/dev")
	})
	chain("member's host from the operator issuer", f.oper, nil)
	for _, u := range []string{
		"https://" + host + "/site/hq/node/dev", "spiffe://" + host + ":1/site/hq/node/dev", "spiffe://me@" + host + "/site/hq/node/dev",
		"spiffe://" + host + "/site/hq/node/dev?a", "spiffe://" + host + "/site/hq/node/dev#a", "spiffe://" + host + "/site/hq/node/",
		"spiffe://" + host + "/site/HQ/node/dev", "spiffe://" + host + "/site/h%71/node/dev", "spiffe://" + host + "/site/../node/dev",
		"spiffe://" + host + "/site/hq/node/dev/x", "spiffe://" + host,
	} {
		leaf("URI "+u, func(c *x509.Certificate) { c.URIs = uri(u) })
	}
	leaf("a CA", func(c *x509.Certificate) { c.IsCA, c.MaxPathLenZero = true, true })
	leaf("key usage of a CA", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign })
	leaf("no key usage", func(c *x509.Certificate) { c.KeyUsage = 0 })
	for _, eku := range [][]x509.ExtKeyUsage{nil, {x509.ExtKeyUsageAny}, {x509.ExtKeyUsageClientAuth}, {x509.ExtKeyUsageServerAuth},
		{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageCodeSigning}, {x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageClientAuth}} {
		leaf("extended key usage", func(c *x509.Certificate) { c.ExtKeyUsage = eku })
	}
	leaf("unknown critical extension", func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 25, 7}, Critical: true, Value: []byte{5, 0}})
	})
	leaf("no roles", func(c *x509.Certificate) { c.ExtraExtensions = nil })
	leaf("roles without member", withGrant(grant{Roles: int(Publisher), Name: "n"}))
	leaf("publisher from the member issuer", withGrant(grant{Roles: int(Member | Publisher), Name: "n"}))
	leaf("all roles from the member issuer", withGrant(grant{Roles: int(allRoles), Name: "n"}))
	leaf("unknown role", withGrant(grant{Roles: int(Member) | 1<<6, Name: "n"}))
	leaf("negative roles", withGrant(grant{Roles: -1, Name: "n"}))
	leaf("roles of another form", withGrant([]int{1}))
	leaf("name that is a path", withGrant(grant{Roles: int(Member), Name: "../n"}))
	leaf("name too long", withGrant(grant{Roles: int(Member), Name: string(make([]byte, 200))}))

	// Keys.
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	check(f.t, err)
	show("RSA", k, [][]byte{f.sign(f.template(), f.member, rsaKey.Public()), good[1]})
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	check(f.t, err)
	show("P-384", k, [][]byte{f.sign(f.template(), f.member, p384.Public()), good[1]})

	f.revoked(show)
	return out
}

// revoked shows credentials that were good until the lists of this enterprise
// said otherwise.
func (f *forger) revoked(show func(string, ic.PrivKey, [][]byte)) {
	f.t.Helper()
	bySerial, byKey, byRoot := newKey(f.t), newKey(f.t), newKey(f.t)
	first := f.leaf(bySerial, f.member, nil)
	gone := f.issuer(nil)
	serial := parse(f.t, first[0]).SerialNumber
	tag, _ := tagOfKey(byKey.GetPublic())
	member, err := signList(f.member, 1000, []revokedEntry{{serial, f.now}}, []keyTag{tag}, f.now)
	check(f.t, err)
	top, err := signList(f.root, 1000, []revokedEntry{{gone.cert.SerialNumber, f.now}}, nil, f.now)
	check(f.t, err)
	for _, l := range [][]byte{member, top} {
		news, err := f.id.revoked.apply(l)
		check(f.t, err)
		if !news {
			f.t.Fatal("list is no news")
		}
	}
	show("revoked by serial", bySerial, first)
	show("revoked by serial, signature re-encoded", bySerial, [][]byte{malleate(f.t, first[0]), first[1]})
	show("revoked by key", byKey, f.leaf(byKey, f.member, nil))
	show("revoked by key, new certificate re-encoded", byKey, [][]byte{malleate(f.t, f.leaf(byKey, f.member, nil)[0]), f.member.cert.Raw})
	show("issuer revoked by the root", byRoot, f.leaf(byRoot, gone, nil))
}

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	check(t, err)
	return c
}

func mustStd(k ic.PrivKey) crypto.PublicKey {
	std, err := stdKey(k.GetPublic())
	if err != nil {
		panic(err)
	}
	return std
}
