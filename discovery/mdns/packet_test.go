package mdns

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"golang.org/x/net/dns/dnsmessage"
)

const (
	id1 = "12D3KooWEQfa1tUf5m74jPT6wZMPY57q9fGfLNMFx7uaqNtKdTxS"
	id2 = "12D3KooWSWGWYFJR3qnzk3VDP9bPFe31ZY1VAKwrWgmV68yRGiCB"
)

var (
	acme  = dnsmessage.MustNewName("_p2pnode-0123abcd._udp.local.")
	other = dnsmessage.MustNewName("_p2pnode-ffffffff._udp.local.")
)

func addrInfo(t testing.TB, id string, addrs ...string) peer.AddrInfo {
	t.Helper()
	p, err := peer.Decode(id)
	if err != nil {
		t.Fatal(err)
	}
	info := peer.AddrInfo{ID: p}
	for _, a := range addrs {
		info.Addrs = append(info.Addrs, ma.StringCast(a))
	}
	return info
}

func TestAnswersAreReadBack(t *testing.T) {
	self := addrInfo(t, id1, "/ip4/10.0.0.1/tcp/4740", "/ip4/10.0.0.1/udp/4740/quic-v1", "/ip6/fd00::1/tcp/4740", "/ip6/fd00::1/udp/4740/quic-v1")
	for _, life := range []time.Duration{0, time.Minute, recordLife} {
		packet, err := encodeAnswer(acme, "abcdefghijklmnop", self, life)
		if err != nil {
			t.Fatal(err)
		}
		if len(packet) > 1400 {
			t.Errorf("%d bytes don't fit a frame", len(packet))
		}
		m, err := decode(packet, acme)
		if err != nil {
			t.Fatal(err)
		}
		if m.asks || len(m.known) != 0 || len(m.says) != 1 || m.says[0].life != life || m.says[0].instance != "abcdefghijklmnop" {
			t.Fatalf("read %+v", m)
		}
		if got := m.says[0].info; got.ID != self.ID || !slices.EqualFunc(got.Addrs, self.Addrs, ma.Multiaddr.Equal) {
			t.Errorf("read %v", got)
		}
		if m, err := decode(packet, other); err != nil || len(m.says) != 0 {
			t.Errorf("another enterprise reads %+v, %v", m, err)
		}
	}
}

func TestAnswersNameNobody(t *testing.T) {
	packet, err := encodeAnswer(acme, randomName(), addrInfo(t, id1, "/ip4/10.0.0.1/tcp/4740"), recordLife)
	if err != nil {
		t.Fatal(err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(packet); err != nil {
		t.Fatal(err)
	}
	for _, r := range append(m.Answers, m.Additionals...) {
		label, _, _ := strings.Cut(r.Header.Name.String(), ".")
		if label != "_p2pnode-0123abcd" && len(label) != 16 {
			t.Errorf("says %q", r.Header.Name)
		}
	}
	if a, b := randomName(), randomName(); a == b {
		t.Error("one name twice")
	}
}

func TestQueriesAreReadBack(t *testing.T) {
	now := time.Now()
	self := addrInfo(t, id1, "/ip4/10.0.0.1/tcp/4740", "/ip4/10.0.0.1/udp/4740/quic-v1", "/ip6/2001:db8:1234:5678:9abc:def0:1234:5678/tcp/4740",
		"/ip6/2001:db8:1234:5678:9abc:def0:1234:5678/udp/4740/quic-v1")
	var known []neighbour
	for i := range maxKnown {
		known = append(known, neighbour{instance: fmt.Sprintf("neighbour%07d", i), until: now.Add(time.Minute)})
	}
	packet, err := encodeQuery(acme, "self", self, known, now)
	if err != nil {
		t.Fatal(err)
	}
	if len(packet) > 1400 {
		t.Errorf("%d bytes don't fit a frame", len(packet))
	}
	m, err := decode(packet, acme)
	if err != nil || !m.asks || len(m.says) != 1 || m.says[0].instance != "self" || len(m.says[0].info.Addrs) != 4 || len(m.known) != 1+len(known) || m.known[0] != "self" || m.known[3] != known[2].instance {
		t.Errorf("read %+v, %v", m, err)
	}
	if m, err := decode(packet, other); err != nil || m.asks || len(m.known) != 0 {
		t.Errorf("another enterprise reads %+v, %v", m, err)
	}
}

func TestTextsAreReadStrictly(t *testing.T) {
	good := "dnsaddr=/ip4/10.0.0.1/tcp/4740/p2p/" + id1
	for text, want := range map[string]string{
		good: "/ip4/10.0.0.1/tcp/4740",
		"dnsaddr=/ip6/fd00::1/udp/4740/quic-v1/p2p/" + id1: "/ip6/fd00::1/udp/4740/quic-v1",
		"":                                              "",
		"dnsaddr=":                                      "",
		strings.TrimPrefix(good, dnsaddr):               "",
		"dnsaddr=/ip4/10.0.0.1/tcp/4740":                "",
		"dnsaddr=/ip4/10.0.0.1/tcp/0/p2p/" + id1:        "",
		"dnsaddr=/ip4/10.0.0.1/p2p/" + id1:              "",
		"dnsaddr=/ip4/10.0.0.1/udp/4740/p2p/" + id1:     "",
		"dnsaddr=/ip4/10.0.0.1/tcp/4740/ws/p2p/" + id1:  "",
		"dnsaddr=/dns4/example.com/tcp/4740/p2p/" + id1: "",
		"dnsaddr=/ip4/10.0.0.1/tcp/1/p2p/" + id1 + "/p2p-circuit/p2p/" + id2: "",
		"dnsaddr=/ip6zone/eth0/ip6/fe80::1/tcp/1/p2p/" + id1:                 "",
		"dnsaddr=/unix/etc/passwd":                                           "",
		"dnsaddr=" + strings.Repeat("/ip4/10.0.0.1", 20):                     "",
	} {
		_, addr, ok := parseText(text)
		if ok != (want != "") || ok && addr.String() != want {
			t.Errorf("%q: %v, %v", text, addr, ok)
		}
	}
}

// record adds a TXT record of an instance of acme to a packet under construction.
func textRecord(t testing.TB, b *dnsmessage.Builder, instance string, texts ...string) {
	t.Helper()
	h := dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(instance + "." + acme.String()), Class: dnsmessage.ClassINET, TTL: 1 << 31}
	if err := b.TXTResource(h, dnsmessage.TXTResource{TXT: texts}); err != nil {
		t.Fatal(err)
	}
}

func response(t testing.TB, fill func(b *dnsmessage.Builder)) []byte {
	t.Helper()
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{Response: true})
	b.EnableCompression()
	if err := b.StartAnswers(); err != nil {
		t.Fatal(err)
	}
	fill(&b)
	packet, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return packet
}

func TestPacketsOfStrangersMeetLimits(t *testing.T) {
	text := func(ip int, id string) string { return fmt.Sprintf("dnsaddr=/ip4/10.0.0.%d/tcp/1/p2p/%s", ip, id) }
	for _, c := range []struct {
		name string
		fill func(b *dnsmessage.Builder)
		want func(m message) bool
	}{
		{"a life has an end", func(b *dnsmessage.Builder) { textRecord(t, b, "a", text(1, id1)) },
			func(m message) bool { return len(m.says) == 1 && m.says[0].life == recordLife }},
		{"one node per instance", func(b *dnsmessage.Builder) { textRecord(t, b, "a", text(1, id1), text(2, id2), text(3, id1)) },
			func(m message) bool { return len(m.says) == 1 && len(m.says[0].info.Addrs) == 2 }},
		{"few addresses", func(b *dnsmessage.Builder) {
			for i := range 50 {
				textRecord(t, b, "a", text(i, id1))
			}
		}, func(m message) bool { return len(m.says) == 1 && len(m.says[0].info.Addrs) == maxAddrs }},
		{"few nodes", func(b *dnsmessage.Builder) {
			for i := range 50 {
				textRecord(t, b, fmt.Sprintf("a%d", i), text(1, id1))
			}
		}, func(m message) bool { return len(m.says) == maxSayings }},
		{"names that don't belong into a packet of ours", func(b *dnsmessage.Builder) {
			textRecord(t, b, "a.b", text(1, id1))
			textRecord(t, b, "a_b", text(1, id1))
		},
			func(m message) bool { return len(m.says) == 0 }},
		{"no address, no saying", func(b *dnsmessage.Builder) { textRecord(t, b, "a", "hello") },
			func(m message) bool { return len(m.says) == 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := decode(response(t, c.fill), acme)
			if err != nil || !c.want(m) {
				t.Errorf("read %+v, %v", m, err)
			}
		})
	}
	many := response(t, func(b *dnsmessage.Builder) {
		for range maxRecords + 1 {
			textRecord(t, b, "a", "x")
		}
	})
	if _, err := decode(many, acme); err == nil {
		t.Error("a packet with too many records was read")
	}
	if _, err := decode(make([]byte, maxPacket+1), acme); err == nil {
		t.Error("a packet that is too large was read")
	}
}

func FuzzDecode(f *testing.F) {
	self := addrInfo(f, id1, "/ip4/10.0.0.1/tcp/4740", "/ip6/fd00::1/udp/4740/quic-v1")
	now := time.Now()
	for _, life := range []time.Duration{0, recordLife} {
		packet, err := encodeAnswer(acme, "abcdefghijklmnop", self, life)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packet)
	}
	query, err := encodeQuery(acme, "self", self, []neighbour{{instance: "abc", until: now.Add(time.Minute)}}, now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(query)
	f.Add(response(f, func(b *dnsmessage.Builder) {
		for i := range 60 {
			textRecord(f, b, fmt.Sprint(i), "dnsaddr="+strings.Repeat("/quic", 49))
		}
	}))
	f.Fuzz(func(t *testing.T, packet []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m, err := decode(packet, acme)
		runtime.ReadMemStats(&after)
		if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(4*len(packet)+64<<10); got > limit {
			t.Fatalf("%d bytes were allocated for %d", got, len(packet))
		}
		if err != nil {
			return
		}
		if len(m.says) > maxSayings || len(m.known) > maxRecords {
			t.Fatalf("%d sayings, %d known", len(m.says), len(m.known))
		}
		for _, s := range m.says {
			if s.life < 0 || s.life > recordLife || len(s.info.Addrs) > maxAddrs {
				t.Fatalf("read %+v", s)
			}
			if s.life == 0 || len(s.instance) > 63 {
				continue
			}
			// What was read can be said again, and is read as the same.
			again, err := encodeAnswer(acme, s.instance, s.info, s.life)
			if err != nil {
				t.Fatalf("%+v can't be said: %v", s, err)
			}
			m, err := decode(again, acme)
			if err != nil || len(m.says) != 1 || m.says[0].info.ID != s.info.ID || !slices.EqualFunc(m.says[0].info.Addrs, s.info.Addrs, ma.Multiaddr.Equal) {
				t.Fatalf("%+v became %+v, %v", s, m, err)
			}
		}
	})
}
