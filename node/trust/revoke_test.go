package trust

import (
	"crypto/rand"
	"crypto/x509"
	"errors"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
)

// R4, G6 in small: a revocation reaches every node over the connections there
// are, connections with the revoked end, and it can't come back.
func TestRevocationSpreads(t *testing.T) {
	t.Parallel()
	const size = 10
	nodes := []testNode{start(t, newEnterprise(t), Config{}, true)}
	for i := 1; i < size; i++ {
		n := start(t, join(t, nodes[0], "hq", "", transports[i%2]), Config{}, true)
		check(t, n.Connect(t.Context(), nodes[i-1].addrs(transports[i%2]))) // a line
		nodes = append(nodes, n)
	}
	// The one to be revoked doesn't run its admission: it would end things itself.
	bad := start(t, join(t, nodes[0], "hq", "bad", "tcp"), Config{}, false)
	for _, i := range []int{2, 5, size - 1} {
		check(t, bad.Connect(t.Context(), nodes[i].addrs(transports[i%2])))
	}
	within(t, patience, "connected", func() bool { return nodes[5].Network().Connectedness(bad.Host.ID()) == network.Connected })
	begun := time.Now()
	m, err := nodes[0].Admission.Revoke("bad", "stolen")
	check(t, err)
	if m.Revoked == nil || m.Reason != "stolen" {
		t.Errorf("member is now %+v", m)
	}
	within(t, patience, "all know", func() bool {
		return !slices.ContainsFunc(nodes, func(n testNode) bool { return !n.revoked.keyRevoked(bad.Host.ID()) })
	})
	within(t, patience, "all are rid of it", func() bool {
		return !slices.ContainsFunc(nodes, func(n testNode) bool { return n.Network().Connectedness(bad.Host.ID()) == network.Connected })
	})
	t.Logf("in force on %d nodes after %s", size, time.Since(begun))
	for i, n := range nodes {
		bad.Peerstore().ClearAddrs(n.Host.ID())
		if err := bad.Connect(t.Context(), n.addrs(transports[i%2])); !errors.Is(err, ErrRevoked) {
			t.Errorf("node %d: %v", i, err)
		}
	}
	// A list from before is not taken any more, and a new node has the new one.
	late := start(t, join(t, nodes[0], "hq", "late", "tcp"), Config{}, false)
	if !late.revoked.keyRevoked(bad.Host.ID()) {
		t.Error("who joined later doesn't know")
	}
}

func TestListsOnlyGoForward(t *testing.T) {
	t.Parallel()
	id := newEnterprise(t)
	f := newForger(t, id)
	listOf := func(number uint64, by *signer, serials ...int64) []byte {
		var entries []revokedEntry
		for _, s := range serials {
			entries = append(entries, revokedEntry{big.NewInt(s), f.now})
		}
		l, err := signList(by, number, entries, nil, f.now)
		check(t, err)
		return l
	}
	for _, c := range []struct {
		name string
		list []byte
		news bool
	}{
		{"5", listOf(5, f.member, 7), true}, {"5 again, other content", listOf(5, f.member), false}, {"4", listOf(4, f.member), false},
		{"6", listOf(6, f.member, 7, 8), true}, {"0", listOf(0, f.member), false}, {"root's first", listOf(1, f.root), true},
	} {
		news, err := id.revoked.apply(c.list)
		check(t, err)
		if news != c.news {
			t.Errorf("list %s: news is %t", c.name, news)
		}
	}
	heads := id.revoked.heads()
	again := newRevocations(id.root, nil)
	check(t, again.load(id.memory.get().Lists))
	if !slices.Equal(heads, again.heads()) {
		t.Errorf("%v after a restart, were %v", again.heads(), heads)
	}

	other := newForger(t, newEnterprise(t))
	key := newKey(t)
	leaf := f.leaf(key, f.member, nil)
	good := listOf(7, f.member)
	for name, l := range map[string][]byte{
		"foreign": listOf(9, other.member), "foreign root": listOf(9, other.root), "empty": {}, "cut short": good[:len(good)-1],
		"large":                  append(slices.Clone(good), make([]byte, maxList)...),
		"bit flipped":            flip([][]byte{good}, 0, -10)[0],
		"signed by no CA":        encode(list{Issuer: leaf[0], CRL: f.leaf(key, f.member, nil)[0]}),
		"another issuer's":       relabel(t, good, f.oper.cert.Raw),
		"critical extension":     withCritical(t, f),
		"without a number":       {0xa0},
		"certificate as the CRL": encode(list{Issuer: f.member.cert.Raw, CRL: f.member.cert.Raw}),
	} {
		if news, err := id.revoked.apply(l); err == nil || news {
			t.Errorf("%s: taken", name)
		}
	}
}

func relabel(t *testing.T, raw, issuer []byte) []byte {
	var l list
	check(t, decode(raw, &l))
	l.Issuer = issuer
	return encode(l)
}

func withCritical(t *testing.T, f *forger) []byte {
	tmpl := &x509.RevocationList{Number: big.NewInt(99), ThisUpdate: f.now, NextUpdate: f.now.Add(listLife)}
	tmpl.ExtraExtensions = append(tmpl.ExtraExtensions, f.template().ExtraExtensions[0])
	tmpl.ExtraExtensions[0].Critical = true
	crl, err := x509.CreateRevocationList(rand.Reader, tmpl, f.member.cert, f.member.key)
	check(t, err)
	return encode(list{Issuer: f.member.cert.Raw, CRL: crl})
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	n := start(t, newEnterprise(t), Config{}, false)
	a := join(t, n, "x", "a", "tcp")
	join(t, n, "x", "b", "tcp")
	for _, who := range []string{"", "nobody", "first", n.Credential().Device, n.Host.ID().String()} {
		if _, err := n.Identity.Revoke(who, ""); err == nil {
			t.Errorf("revoked %q", who)
		}
	}
	for _, who := range []string{"B", a.Credential().Peer.String()} {
		_, err := n.Identity.Revoke(who, "r")
		check(t, err)
		if _, err := n.Identity.Revoke(who, "r"); !errors.Is(err, ErrUnknownMember) {
			t.Errorf("%q again: %v", who, err)
		}
	}
	all, err := n.Members()
	check(t, err)
	gone := 0
	for _, m := range all {
		if m.Revoked != nil {
			gone++
		}
	}
	if len(all) != 3 || gone != 2 || n.authority.unlisted(n.revoked) {
		t.Errorf("%+v", all)
	}
	// A revocation in the ledger whose lists were not signed any more is caught up.
	join(t, n, "x", "c", "tcp")
	_, err = n.authority.revoke("c", "", n.Host.ID(), time.Now())
	check(t, err)
	if !n.authority.unlisted(n.revoked) {
		t.Fatal("not noticed")
	}
	_, err = n.refresh()
	check(t, err)
	if n.authority.unlisted(n.revoked) {
		t.Error("not caught up")
	}
}

// A connection ends when the credential it was admitted with does.
func TestConnectionEndsWithCredential(t *testing.T) {
	t.Parallel() // it mostly waits
	id := newEnterprise(t)
	f := newForger(t, id)
	n := watch(start(t, id, Config{}, true))
	key := newKey(t)
	var h host.Host
	for life := 2 * time.Second; n.connections.Load() == 0; life *= 2 { // on a slow machine it ends before it is used
		end := time.Now().Add(life)
		chain := f.leaf(key, f.member, func(c *x509.Certificate) { c.NotAfter = end })
		h = rogueHost(t, "tcp", key, encode(message{Kind: hello, Chain: chain}))
		if err := h.Connect(t.Context(), n.addrs("tcp")); err != nil && !errors.Is(err, ErrExpired) || life > patience {
			t.Fatalf("with %s to live: %v", life, err)
		}
		for n.connections.Load() == 0 && time.Now().Before(end) {
			time.Sleep(5 * time.Millisecond)
		}
	}
	n.notify() // Run looks when the next one ends
	within(t, patience, "ended", func() bool { return n.Network().Connectedness(h.ID()) != network.Connected })
}

// G7: 10,000 revoked devices, with their keys.
func manyRevoked(t testing.TB, f *forger) []byte {
	var entries []revokedEntry
	var keys []keyTag
	for range 10_000 {
		var k keyTag
		rand.Read(k[:])
		entries, keys = append(entries, revokedEntry{newSerial(), f.now}), append(keys, k)
	}
	l, err := signList(f.member, 2000, entries, keys, f.now)
	check(t, err)
	return l
}

func TestListOfTenThousandFits(t *testing.T) {
	t.Parallel()
	id := newEnterprise(t)
	l := manyRevoked(t, newForger(t, id))
	if len(l) > 512<<10 {
		t.Errorf("%d bytes", len(l))
	}
	news, err := id.revoked.apply(l)
	check(t, err)
	if !news {
		t.Error("no news")
	}
	t.Logf("%d bytes", len(l))
}

func BenchmarkLoadTenThousandRevoked(b *testing.B) {
	id := newEnterprise(b)
	l := manyRevoked(b, newForger(b, id))
	b.ReportMetric(float64(len(l)), "bytes")
	for b.Loop() {
		if _, err := id.revoked.parse(l); err != nil {
			b.Fatal(err)
		}
	}
}
