package wan

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ipPacket returns a packet with ports, whatever proto is.
func ipPacket(src, dst string, proto uint8, sport, dport uint16, dscp uint8) []byte {
	from, to := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	var b []byte
	if from.Is4() {
		b = append([]byte{0x45, dscp << 2, 0, 28, 0, 0, 0, 0, 64, proto, 0, 0}, append(from.AsSlice(), to.AsSlice()...)...)
	} else {
		b = binary.BigEndian.AppendUint32(nil, 6<<28|uint32(dscp)<<22)
		b = append(b, 0, 8, proto, 64)
		b = append(b, append(from.AsSlice(), to.AsSlice()...)...)
	}
	b = binary.BigEndian.AppendUint16(b, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	return append(b, 0, 0, 0, 0)
}

func mustClass(t *testing.T, text string) Class {
	t.Helper()
	c, err := ParseClass(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClassMatches(t *testing.T) {
	v4 := ipPacket("10.1.0.2", "10.2.0.3", protoUDP, 5060, 4001, 46)
	v6 := ipPacket("fd00::1", "fd01::2", protoTCP, 4001, 443, 1)
	for _, c := range []struct {
		class string
		v4    bool
		v6    bool
	}{
		{"all", true, true},
		{"x proto=udp", true, false},
		{"x proto=tcp", false, true},
		{"x proto=6", false, true},
		{"x port=5060", true, false},
		{"x port=4001", true, true},
		{"x sport=4001", false, true},
		{"x dport=4001", true, false},
		{"x dscp=46", true, false},
		{"x dscp=1", false, true},
		{"x dscp=0", false, false},
		{"x src=10.1.0.0/16", true, false},
		{"x dst=10.1.0.0/16", false, false},
		{"x host=10.2.0.3", true, false},
		{"x host=fd01::/64", false, true},
		{"x host=10.2.0.3 port=443", false, false},
	} {
		class := []Class{mustClass(t, c.class)}
		if got := classify(class, v4) == 0; got != c.v4 {
			t.Errorf("%s: IPv4 packet: %v", c.class, got)
		}
		if got := classify(class, v6) == 0; got != c.v6 {
			t.Errorf("%s: IPv6 packet: %v", c.class, got)
		}
	}
}

func TestFirstClassThatMatchesCounts(t *testing.T) {
	classes := []Class{mustClass(t, "voice port=5060"), mustClass(t, "udp proto=udp"), mustClass(t, "ping proto=icmp")}
	for _, c := range []struct {
		packet []byte
		want   int
	}{
		{ipPacket("10.0.0.1", "10.0.0.2", protoUDP, 1, 5060, 0), 0},
		{ipPacket("10.0.0.1", "10.0.0.2", protoUDP, 1, 2, 0), 1},
		{ipPacket("10.0.0.1", "10.0.0.2", protoTCP, 1, 2, 0), 3},
		{ipPacket("10.0.0.1", "10.0.0.2", protoICMP, 0, 5060, 0), 2}, // no port
		{ipPacket("fd00::1", "fd00::2", protoICMPv6, 0, 0, 0), 2},
		{[]byte("not an IP packet, though long enough"), 3},
		{nil, 3},
	} {
		if got := classify(classes, c.packet); got != c.want {
			t.Errorf("%x: class %d, want %d", c.packet, got, c.want)
		}
	}
	later := ipPacket("10.0.0.1", "10.0.0.2", protoUDP, 1, 5060, 0)
	later[7] = 9 // a fragment from the middle: what looks like ports is data
	if got := classify(classes, later); got != 1 {
		t.Errorf("fragment: class %d, want 1", got)
	}
}

func TestClassSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "want a name first"},
		{"port=80", "want a name first"},
		{"other port=80", "another name"},
		{"x port=0", "1 to 65535"},
		{"x port", "1 to 65535"},
		{"x proto=sctp", "tcp, udp, icmp or a number"},
		{"x dscp=64", "0 to 63"},
		{"x host=example.org", "address or a prefix"},
		{"x color=red", "want one of src="},
	} {
		if got, err := ParseClass(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, %v; want an error with %q", c.text, got, err, c.want)
		}
	}
}

func FuzzParseClass(f *testing.F) {
	f.Add("voice proto=udp port=5060 dscp=46")
	f.Add("branch src=10.2.0.0/16 dst=fd00::1 host=::/0 sport=1 dport=2")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseClass(text)
		if err != nil {
			return
		}
		again, err := ParseClass(c.String())
		if err != nil {
			t.Fatalf("%q prints as %q: %v", text, c, err)
		}
		if d := cmp.Diff(c, again, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
			t.Fatalf("%q prints as %q, which reads as (-before +after):\n%s", text, c, d)
		}
	})
}

func FuzzClassify(f *testing.F) {
	f.Add(ipPacket("10.1.0.2", "10.2.0.3", protoUDP, 5060, 4001, 46))
	f.Add(ipPacket("fd00::1", "fd01::2", protoTCP, 4001, 443, 1))
	f.Fuzz(func(t *testing.T, packet []byte) {
		all, ports := Class{Name: "all"}, Class{Name: "ports", SPort: 1}
		h, ok := parse(packet)
		if got := classify([]Class{ports, all}, packet); ok && got != 0 && got != 1 || !ok && got != 2 {
			t.Fatalf("class %d of a packet that was read: %v", got, ok)
		}
		if ok && (h.src.Is4() != h.dst.Is4() || !h.src.IsValid()) {
			t.Fatalf("addresses %v and %v", h.src, h.dst)
		}
	})
}
