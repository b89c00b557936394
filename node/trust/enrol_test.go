package trust

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	ic "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
)

// G9: a token for one use, used a hundred times at once, makes one certificate.
func TestSingleUseTokenMakesOneCertificate(t *testing.T) {
	t.Parallel()
	id := newEnterprise(t)
	tok, err := id.Invite(InviteOptions{Site: "hq", Bootstrap: []string{anyAddress}})
	check(t, err)
	var got atomic.Int64
	var all sync.WaitGroup
	for range 100 {
		key := newKey(t)
		all.Go(func() {
			_, err := id.authority.claim(tok.ID[:], tok.Secret[:], "n", key.GetPublic(), time.Now())
			switch {
			case err == nil:
				got.Add(1)
			case !errors.Is(err, ErrTokenUsed):
				t.Error(err)
			}
		})
	}
	all.Wait()
	members, err := id.Members()
	check(t, err)
	if got.Load() != 1 || len(members) != 2 {
		t.Fatalf("%d certificates, %d members", got.Load(), len(members))
	}
}

const anyAddress = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWMiz2yEwEGucQjBY48KNpz88bcv785LYP5Jypxw7hGtUZ"

// The same through the wire, on both transports at once.
func TestSingleUseTokenOverTheWire(t *testing.T) {
	t.Parallel()
	n := start(t, newEnterprise(t), Config{}, false)
	tok, err := n.Invite(InviteOptions{Site: "hq", Bootstrap: n.p2pAddrs(t, "")})
	check(t, err)
	var joined atomic.Int64
	var all sync.WaitGroup
	for i := range 20 {
		dir := t.TempDir()
		own := tok
		own.Bootstrap = tok.Bootstrap[i%2:][:1]
		all.Go(func() {
			id, err := Enrol(t.Context(), dir, own, EnrolOptions{})
			switch {
			case err == nil:
				joined.Add(1)
				_ = id.Close()
			case !errors.Is(err, ErrTokenUsed):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if joined.Load() != 1 {
		t.Fatalf("%d joined", joined.Load())
	}
}

// G9: what an issuer must not sign.
func TestIssuerRefuses(t *testing.T) {
	t.Parallel()
	now := time.Now()
	rsaKey, _, err := ic.GenerateRSAKeyPair(2048, rand.Reader)
	check(t, err)
	secpKey, _, err := ic.GenerateSecp256k1Key(rand.Reader)
	check(t, err)
	for _, c := range []struct {
		name string
		do   func(id *Identity, tok *Token) error
		want error
	}{
		{"wrong secret", func(_ *Identity, tok *Token) error { tok.Secret[15] ^= 1; return nil }, ErrTokenUnknown},
		{"no secret", func(_ *Identity, tok *Token) error { tok.Secret = [secretSize]byte{}; return nil }, ErrTokenUnknown},
		{"unknown id", func(_ *Identity, tok *Token) error { tok.ID[0] ^= 1; return nil }, ErrTokenUnknown},
		{"withdrawn", func(id *Identity, tok *Token) error { return id.Withdraw(*tok) }, ErrTokenUnknown},
		{"another token's secret", func(id *Identity, tok *Token) error {
			o, err := id.Invite(InviteOptions{Site: "hq", Bootstrap: []string{anyAddress}})
			tok.Secret = o.Secret
			return err
		}, ErrTokenUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := newEnterprise(t)
			tok, err := id.Invite(InviteOptions{Site: "hq", Bootstrap: []string{anyAddress}})
			check(t, err)
			check(t, c.do(id, &tok))
			refused(t, id, tok, newKey(t).GetPublic(), now, c.want)
		})
	}
	id := newEnterprise(t)
	tok, err := id.Invite(InviteOptions{Site: "hq", Uses: 100, Expires: time.Hour, Bootstrap: []string{anyAddress}})
	check(t, err)
	refused(t, id, tok, newKey(t).GetPublic(), now.Add(time.Hour+time.Minute), ErrTokenExpired)
	refused(t, id, tok, rsaKey.GetPublic(), now, nil)
	refused(t, id, tok, secpKey.GetPublic(), now, nil)

	// A revoked key doesn't come back with a new token.
	key := newKey(t)
	_, err = id.authority.claim(tok.ID[:], tok.Secret[:], "gone", key.GetPublic(), now)
	check(t, err)
	_, err = id.Revoke("gone", "lost")
	check(t, err)
	refused(t, id, tok, key.GetPublic(), now, ErrRevoked)
}

func refused(t *testing.T, id *Identity, tok Token, key ic.PubKey, now time.Time, want error) {
	t.Helper()
	before, _ := id.Members()
	chain, err := id.authority.claim(tok.ID[:], tok.Secret[:], "n", key, now)
	if chain != nil || err == nil || want != nil && !errors.Is(err, want) {
		t.Errorf("claim: %v, want %v", err, want)
	}
	if after, _ := id.Members(); len(after) != len(before) {
		t.Errorf("%d members, were %d", len(after), len(before))
	}
}

// Site and roles come from the invite, whatever the joiner says.
func TestJoinerDecidesNothing(t *testing.T) {
	t.Parallel()
	n := start(t, newEnterprise(t), Config{}, false)
	for i, name := range []string{"first", "FIRST", strings.Repeat("x", maxName), ""} {
		id := join(t, n, "berlin", name, "tcp")
		c := id.Credential()
		if c.Site != "berlin" || c.Roles != Member || strings.EqualFold(c.Name, "first") || c.Name == "" {
			t.Errorf("%d: %+v", i, c)
		}
	}
	for _, o := range []InviteOptions{
		{}, {Site: "a b"}, {Site: "../x"}, {Site: "hq", Uses: -1}, {Site: "hq", Uses: maxUses + 1}, {Site: "hq", Expires: time.Second},
		{Site: "hq", Expires: maxExpiry + 1}, {Site: "hq", Name: "a/b"}, {Site: "hq", Name: "one", Uses: 2},
		{Site: "hq", Bootstrap: []string{"/ip4/1.2.3.4/tcp/1"}}, {Site: "hq", Bootstrap: make([]string, maxBootstrap+1)},
	} {
		if o.Bootstrap == nil {
			o.Bootstrap = []string{anyAddress}
		}
		if _, err := n.Invite(o); err == nil {
			t.Errorf("invite %+v made", o)
		}
	}
	member := join(t, n, "berlin", "m", "quic-v1")
	if _, err := member.Invite(InviteOptions{Site: "x", Bootstrap: []string{anyAddress}}); !errors.Is(err, ErrNotIssuer) {
		t.Error(err)
	}
	if _, err := member.Members(); !errors.Is(err, ErrNotIssuer) {
		t.Error(err)
	}
	if _, err := member.Revoke("first", ""); !errors.Is(err, ErrNotIssuer) {
		t.Error(err)
	}
}

// thief answers enrolments with what it can get: it counts secrets.
type thief struct {
	rogue
	offer   func(nonce []byte) message
	secrets *atomic.Int64
}

func (s thief) accept(c channel, _ ic.PubKey, _ ma.Multiaddr) (Credential, error) {
	m, err := receive(c, enrol)
	if err != nil {
		return Credential{}, err
	}
	if err := send(c, s.offer(m.Nonce)); err != nil {
		return Credential{}, err
	}
	if _, err := readFrame(c, maxMessage); err == nil {
		s.secrets.Add(1)
	}
	return Credential{}, errServed
}

// G9: no secret is sent to a server that doesn't prove the token's root.
func TestSecretIsOnlyForTheIssuer(t *testing.T) {
	t.Parallel()
	issuer, other := newEnterprise(t), newEnterprise(t)
	f := newForger(t, issuer)
	beaconOf := func(id *Identity, nonce []byte) []byte {
		b, err := id.makeBeacon(nonce)
		check(t, err)
		return b
	}
	key := newKey(t)
	memberChain := f.leaf(key, f.member, nil)
	expired := f.leaf(key, f.oper, func(c *x509.Certificate) {
		c.NotAfter = f.now.Add(-time.Hour)
		c.URIs = uri("spiffe://" + issuer.root.operatorHost() + "/site/hq/node/dev")
		withGrant(grant{Roles: int(allRoles), Name: "n"})(c)
	})
	rootOf := func(id *Identity) []byte { return id.root.cert.Raw }
	offers := map[string]func(nonce []byte) message{
		"another enterprise": func(n []byte) message {
			return message{Kind: offer, Root: rootOf(other), Chain: other.proof().raw, Beacon: beaconOf(other, n)}
		},
		"another root with our chain": func(n []byte) message {
			return message{Kind: offer, Root: rootOf(other), Chain: issuer.proof().raw, Beacon: beaconOf(issuer, n)}
		},
		"our root with another chain": func(n []byte) message {
			return message{Kind: offer, Root: rootOf(issuer), Chain: other.proof().raw, Beacon: beaconOf(other, n)}
		},
		"the issuer's chain, another key": func(n []byte) message {
			return message{Kind: offer, Root: rootOf(issuer), Chain: issuer.proof().raw, Beacon: beaconOf(issuer, n)}
		},
		"an old beacon": func([]byte) message {
			return message{Kind: offer, Root: rootOf(issuer), Chain: issuer.proof().raw, Beacon: beaconOf(issuer, newNonce())}
		},
		"a member that is no issuer": func(n []byte) message {
			return message{Kind: offer, Root: rootOf(issuer), Chain: memberChain, Beacon: beaconOf(issuer, n)}
		},
		"an issuer that ran out": func(n []byte) message {
			return message{Kind: offer, Root: rootOf(issuer), Chain: expired, Beacon: beaconOf(issuer, n)}
		},
		"root with a bit flipped": func(n []byte) message {
			return message{Kind: offer, Root: flip([][]byte{rootOf(issuer)}, 0, 100)[0], Chain: issuer.proof().raw, Beacon: beaconOf(issuer, n)}
		},
		"something else": func([]byte) message { return message{Kind: hello, Chain: issuer.proof().raw} },
		"a refusal":      func([]byte) message { return message{Kind: refuse, Refusal: refusedTokenUnknown} },
	}
	for name, o := range offers {
		for _, tr := range transports {
			t.Run(name+"/"+tr, func(t *testing.T) {
				t.Parallel()
				s := thief{offer: o, secrets: new(atomic.Int64)}
				h := newHost(t, libp2p.Identity(key), libp2p.Security(string(tlsID), tlsFor(s)), libp2p.Transport(tcp.NewTCPTransport), libp2p.Transport(quicFor(s)))
				tok := newToken(issuer.root.hash, nil)
				for _, a := range (testNode{Host: h}).p2pAddrs(t, tr) {
					tok.Bootstrap = append(tok.Bootstrap, ma.StringCast(a))
				}
				dir := t.TempDir()
				if _, err := Enrol(t.Context(), dir, tok, EnrolOptions{}); err == nil {
					t.Error("joined")
				}
				if n := s.secrets.Load(); n != 0 {
					t.Error("the secret was sent")
				}
				if _, err := Load(dir); !errors.Is(err, ErrNoIdentity) {
					t.Error(err)
				}
			})
		}
	}
}

// A crowded issuer has no room for whom it meets first.
type crowded struct {
	*Admission
	away *atomic.Int64
}

func (c crowded) enter(from ma.Multiaddr) func() {
	if c.away.Add(-1) >= 0 {
		return nil
	}
	return c.Admission.enter(from)
}

func TestJoinerThatIsTurnedAwayComesAgain(t *testing.T) {
	t.Parallel()
	for _, tr := range transports {
		t.Run(tr, func(t *testing.T) {
			t.Parallel()
			issuer := newEnterprise(t)
			c := crowded{New(issuer, Config{}, logger(t)), new(atomic.Int64)}
			c.away.Store(1)
			h := newHostOn(t, []string{tr}, libp2p.Identity(issuer.key), libp2p.Security(string(tlsID), tlsFor(c)), libp2p.Transport(tcp.NewTCPTransport), libp2p.Transport(quicFor(c)))
			tok, err := issuer.Invite(InviteOptions{Site: "hq", Bootstrap: testNode{Host: h}.p2pAddrs(t, tr)})
			check(t, err)
			id, err := Enrol(t.Context(), t.TempDir(), tok, EnrolOptions{})
			if err != nil {
				t.Fatal(err)
			}
			check(t, id.Close())
			if c.away.Load() >= 0 {
				t.Error("nobody was turned away")
			}
		})
	}
}

// An answer, and nobody there, are not for want of room.
func TestOnlyWhoIsTurnedAwayComesAgain(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]bool{
		refusedBusy.err(): true, io.EOF: true, wsaConnReset: true, syscall.EPIPE: true,
		&network.ConnError{Remote: true, ErrorCode: network.ConnRateLimited}: true,
		&network.ConnError{Remote: true, ErrorCode: 1}:                       true, // libp2p's full queue
		&network.ConnError{ErrorCode: network.ConnRateLimited}:               false,
		&network.ConnError{Remote: true, ErrorCode: network.ConnGated}:       false,
		refusedTokenUsed.err(): false, refusedForeign.err(): false, syscall.ECONNREFUSED: false, context.DeadlineExceeded: false,
	} {
		if err := fmt.Errorf("join: %w", err); turnedAway(err) != want {
			t.Errorf("%v: turned away is not %t", err, want)
		}
	}
}

// Those who lost the answer ask again with the same key, and it counts once.
func TestJoinAgainAfterLostAnswer(t *testing.T) {
	t.Parallel()
	id := newEnterprise(t)
	tok, err := id.Invite(InviteOptions{Site: "hq", Bootstrap: []string{anyAddress}})
	check(t, err)
	key := newKey(t)
	devices := map[string]bool{}
	for range 2 {
		chain, err := id.authority.claim(tok.ID[:], tok.Secret[:], "n", key.GetPublic(), time.Now())
		check(t, err)
		p, err := id.root.verify(chain, time.Now())
		check(t, err)
		devices[p.Device] = true
	}
	if len(devices) != 1 {
		t.Fatalf("%d devices for one key", len(devices))
	}
	refused(t, id, tok, newKey(t).GetPublic(), time.Now(), ErrTokenUsed)
}

// R8: a device has one live certificate, and gets few new keys a day.
func TestDeviceHasOneLiveCertificate(t *testing.T) {
	t.Parallel()
	n := start(t, newEnterprise(t), Config{}, false)
	claim := func(now time.Time) (*proof, error) {
		tok, err := n.Invite(InviteOptions{Site: "hq", Name: "till", Expires: 48 * time.Hour, Bootstrap: []string{anyAddress}})
		check(t, err)
		chain, err := n.authority.claim(tok.ID[:], tok.Secret[:], "x", newKey(t).GetPublic(), now)
		if err != nil {
			return nil, err
		}
		check(t, n.relist())
		return n.root.verify(chain, now)
	}
	now := time.Now()
	first, err := claim(now)
	check(t, err)
	last := first
	for range maxRekeys {
		p, err := claim(now)
		check(t, err)
		if p.Device != first.Device || p.Name != "till" {
			t.Fatalf("came back as %+v", p.Credential)
		}
		if err := n.revoked.check(last); !errors.Is(err, ErrRevoked) {
			t.Fatal("the certificate before is still good")
		}
		check(t, n.revoked.check(p))
		last = p
	}
	if _, err := claim(now); !errors.Is(err, ErrRekey) {
		t.Fatalf("new key number %d: %v", maxRekeys+1, err)
	}
	_, err = claim(now.Add(rekeyWindow + time.Minute))
	check(t, err)
	if m, _ := n.Members(); len(m) != 2 {
		t.Fatalf("%d members", len(m))
	}
}

func TestJoinRefusesToReplace(t *testing.T) {
	t.Parallel()
	n := start(t, newEnterprise(t), Config{}, false)
	dir := t.TempDir()
	old, err := Init(dir, "home", "mine")
	check(t, err)
	check(t, old.Close())
	if _, err := Init(dir, "home", "mine"); !errors.Is(err, ErrHasIdentity) {
		t.Fatal(err)
	}
	tok, err := n.Invite(InviteOptions{Site: "berlin", Bootstrap: n.p2pAddrs(t, "tcp")})
	check(t, err)
	if _, err := Enrol(t.Context(), dir, tok, EnrolOptions{}); !errors.Is(err, ErrHasIdentity) || !strings.Contains(err.Error(), "--replace") {
		t.Fatal(err)
	}
	id, err := Enrol(t.Context(), dir, tok, EnrolOptions{Replace: true})
	check(t, err)
	defer id.Close()
	if id.Enterprise() != n.Enterprise() {
		t.Error("still in the old enterprise")
	}
	kept, err := filepath.Glob(filepath.Join(dir, "trust.replaced-*", issuerDir, "root.key"))
	check(t, err)
	if len(kept) != 1 {
		t.Error("the old identity is gone")
	}
	if _, err := Load(dir); !errors.Is(err, ErrInUse) {
		t.Errorf("a second one opened it: %v", err)
	}
}

func TestJoinWithNobodyThere(t *testing.T) {
	t.Parallel()
	tok := newToken([32]byte{1}, []ma.Multiaddr{ma.StringCast(anyAddress)})
	if _, err := Enrol(t.Context(), t.TempDir(), tok, EnrolOptions{}); err == nil || errors.Is(err, ErrToken) {
		t.Fatal(err)
	}
	// A member that isn't the issuer tells nothing.
	n := start(t, newEnterprise(t), Config{}, false)
	m := start(t, join(t, n, "x", "m", "tcp"), Config{}, false)
	tok, err := n.Invite(InviteOptions{Site: "y", Bootstrap: m.p2pAddrs(t, "tcp")})
	check(t, err)
	if _, err := Enrol(t.Context(), t.TempDir(), tok, EnrolOptions{}); !errors.Is(err, ErrTokenUnknown) {
		t.Fatal(err)
	}
}

func TestTwoEnterprisesShareNoSecret(t *testing.T) {
	t.Parallel()
	a, b := newEnterprise(t), newEnterprise(t)
	seen := map[string]string{}
	for _, id := range []*Identity{a, b} {
		for _, name := range []string{"host.key", "root.pem", issuerDir + "/root.key", issuerDir + "/member.key", issuerDir + "/operator.key"} {
			raw, err := os.ReadFile(id.memory.dir.join(name))
			check(t, err)
			if at, dup := seen[string(raw)]; dup {
				t.Errorf("%s equals %s", name, at)
			}
			seen[string(raw)] = name
		}
	}
}
