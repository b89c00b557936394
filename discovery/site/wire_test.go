package site

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"
)

func someMember(n int) Member {
	return Member{
		Peer:  testID(n),
		Addrs: []ma.Multiaddr{ma.StringCast("/ip4/10.0.0.1/tcp/4740"), ma.StringCast("/ip6/fd00::1/udp/4740/quic-v1")},
		Report: Report{
			Name: "till-7", Started: time.Unix(1_700_000_000, 0), Uptime: Steady, Mains: true, Willing: true, Free: 1 << 33, Sits: time.Unix(1_700_000_100, 0),
		},
	}
}

func TestWhatIsSaidIsHeard(t *testing.T) {
	m := someMember(1)
	for _, zero := range []bool{false, true} {
		if zero {
			m.Report, m.Addrs = Report{}, nil
		}
		s, err := decodeFrame(m.Peer, encodeFrame(kindHello, sayHello("berlin", m))[2:])
		if err != nil || s.site != "berlin" || !s.about.same(m) {
			t.Errorf("%+v became %+v, %v", m, s, err)
		}
	}
	var all []candidate
	for i := range maxKnown {
		c := someMember(i)
		c.Name = strings.Repeat("x", maxName)
		for len(c.Addrs) < maxAddrs {
			c.Addrs = append(c.Addrs, c.Addrs[1])
		}
		all = append(all, candidate{[]byte(c.Peer), sayHello(strings.Repeat("b", 63), c)})
	}
	full := encodeFrame(kindKnown, all)
	b, err := readFrame(bytes.NewReader(full))
	if err != nil {
		t.Fatalf("a full list of %d bytes: %v", len(full), err)
	}
	if s, err := decodeFrame("", b); err != nil || len(s.known) != maxKnown || s.known[7].Peer != testID(7) {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestWhatBreaksTheProtocolIsRefused(t *testing.T) {
	change := func(f func(*hello)) []byte {
		h := sayHello("berlin", someMember(1))
		f(&h)
		return encodeFrame(kindHello, h)[2:]
	}
	list := func(ids ...string) []byte {
		var all []candidate
		for _, id := range ids {
			all = append(all, candidate{[]byte(id), sayHello("berlin", someMember(1))})
		}
		return encodeFrame(kindKnown, all)[2:]
	}
	addr := func(s string) []byte {
		return change(func(h *hello) { h.Addrs = [][]byte{ma.StringCast(s).Bytes()} })
	}
	one := string(testID(1))
	good := change(func(h *hello) {})
	for what, b := range map[string][]byte{
		"nothing": {}, "an unknown kind": {9}, "a beat with a payload": {3, 0}, "a question with a payload": {4, 0}, "half a hello": good[:20], "more than a hello": append(slices.Clone(good), 0),
		"no site":                   change(func(h *hello) { h.Site = "" }),
		"a long name":               change(func(h *hello) { h.Name = strings.Repeat("x", maxName+1) }),
		"a name that isn't printed": change(func(h *hello) { h.Name = "a\x1bb" }),
		"unknown flags":             change(func(h *hello) { h.Flags = 8 }),
		"unknown uptime":            change(func(h *hello) { h.Uptime = 3 }),
		"negative disk":             change(func(h *hello) { h.Free = -1 }),
		"a far future":              change(func(h *hello) { h.Sits = maxTime + 1 }),
		"many addresses":            change(func(h *hello) { h.Addrs = slices.Repeat(h.Addrs, 5) }),
		"no address":                change(func(h *hello) { h.Addrs = [][]byte{{1, 2, 3}} }),
		"a name to look up":         addr("/dns4/example.org/tcp/1"),
		"a relay":                   addr("/ip4/10.0.0.1/tcp/1/p2p-circuit"),
		"bare UDP":                  addr("/ip4/10.0.0.1/udp/1"),
		"no peer id":                list("x"),
		"a peer twice":              list(one, one),
		"nine candidates":           list(string(testID(0)), one, string(testID(2)), string(testID(3)), string(testID(4)), string(testID(5)), string(testID(6)), string(testID(7)), string(testID(8))),
	} {
		if s, err := decodeFrame("p", b); err == nil {
			t.Errorf("%s was taken: %+v", what, s)
		}
	}
	if _, err := readFrame(bytes.NewReader(binary.BigEndian.AppendUint16(nil, maxFrame+1))); err == nil {
		t.Error("a longer frame was read")
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(encodeFrame(kindHello, sayHello("berlin", someMember(1)))[2:])
	f.Add(encodeFrame(kindKnown, []candidate{{[]byte(testID(1)), sayHello("berlin", someMember(1))}})[2:])
	f.Add(beatFrame[2:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxFrame {
			return
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s, err := decodeFrame("p", b)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > uint64(32*len(b)+64<<10) {
			t.Errorf("%d bytes made it allocate %d", len(b), n)
		}
		if err != nil {
			return
		}
		var again []byte
		switch s.kind {
		case kindBeat:
			again = beatFrame
		case kindAsk:
			again = askFrame
		case kindHello:
			again = encodeFrame(kindHello, sayHello(s.site, s.about))
		case kindKnown, kindSome:
			if len(s.known) > maxKnown {
				t.Errorf("%d candidates", len(s.known))
			}
			return // each with a site of its own
		}
		if !bytes.Equal(again[2:], b) {
			t.Errorf("%x became %x", b, again[2:])
		}
	})
}
