package meter

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/p2pnode/p2pnode/bandwidth"
)

func TestSysfsTellsKindAndSpeed(t *testing.T) {
	for name, want := range map[string]string{
		"gigabit":   "ethernet by sysfs type, 1000000000 by sysfs speed",
		"unplugged": "ethernet by sysfs type, absent",
		"virtio":    "ethernet by sysfs type, absent",
		"wifi":      "wifi by sysfs phy80211, absent",
		"oldwifi":   "wifi by sysfs phy80211, absent",
		"modem":     "cellular by sysfs uevent, absent",
		"wireguard": "virtual by sysfs device, absent",
		"bridge":    "virtual by sysfs device, absent",
		"loopback":  "loopback by sysfs type, absent",
		"gone":      "absent, absent",
	} {
		kind, speed := readSysfs(os.DirFS("testdata/sysfs/" + name))
		if got := show(kind) + ", " + show(speed); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func show[T any](r Reading[T]) string {
	v, ok := r.Value()
	if !ok {
		return "absent"
	}
	return fmt.Sprint(v) + " by " + r.How()
}

func TestVirtualInterfacesHaveNoSpeed(t *testing.T) {
	speed := Read(10*bandwidth.MbitPerSecond, "sysfs speed")
	for kind, want := range map[Kind]string{
		0: show(speed), Ethernet: show(speed), WiFi: show(speed), Cellular: show(speed),
		Virtual: "absent", Loopback: "absent",
	} {
		if got := show(kind.real(speed)); got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
}

func TestNetDevTellsCounts(t *testing.T) {
	b, err := os.ReadFile("testdata/proc/net-dev")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Bytes{
		"lo": {3756226426, 3756226426}, "eth0": {547022792, 1601594}, "docker0": {},
	} {
		if got, err := parseNetDev(b, name); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", name, got, err, want)
		}
	}
	for name, text := range map[string]string{"eth1": string(b), "short": "short: 1 2 3\n", "odd": "odd: x 0 0 0 0 0 0 0 0\n"} {
		if got, err := parseNetDev([]byte(text), name); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestCountIsANumberOrAnError(t *testing.T) {
	for text, want := range map[string]uint64{"0\n": 0, "18446744073709551600": 18446744073709551600, "42\n": 42} {
		if got, err := parseCount([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "\n", "-1", "1 2", "99999999999999999999"} {
		if got, err := parseCount([]byte(text)); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}

// message makes an if_msghdr2 as net/if.h lays it out.
func message(index uint16, ifType byte, baud, in, out uint64) []byte {
	b := make([]byte, ifMsghdr2)
	binary.LittleEndian.PutUint16(b, ifMsghdr2)
	b[2], b[3] = 5, rtmIfinfo2
	binary.LittleEndian.PutUint16(b[12:], index)
	b[32] = ifType
	binary.LittleEndian.PutUint64(b[48:], baud)
	binary.LittleEndian.PutUint64(b[96:], in)
	binary.LittleEndian.PutUint64(b[104:], out)
	return b
}

func TestIflistTellsOneInterface(t *testing.T) {
	list := append(message(1, iftLoop, 0, 7, 7), 8, 0, 5, 0x0c, 0, 0, 0, 0) // and a message of 8 bytes about an address
	list = append(list, message(4, 6, 1e9, 1<<40, 5)...)
	list = append(list, message(5, iftCellular, ^uint64(0), 1, 2)...)
	for index, want := range map[int]string{
		1: "{7 7}, loopback by iflist2, absent",
		4: "{1099511627776 5}, absent, 1000000000 by iflist2",
		5: "{1 2}, cellular by iflist2, absent",
	} {
		i, err := parseIflist(list, index)
		if got := fmt.Sprintf("%v, %s, %s", i.bytes, show(i.kind()), show(i.speed())); err != nil || got != want {
			t.Errorf("%d: %s, %v, want %s", index, got, err, want)
		}
	}
	if i, err := parseIflist(list, 9); err == nil {
		t.Errorf("9: %v", i)
	}
	if i, err := parseIflist(list[:len(list)-1], 5); err == nil {
		t.Errorf("a cut list: %v", i)
	}
}

func FuzzIflist(f *testing.F) {
	f.Add(message(4, 6, 1e9, 1, 2), 4)
	f.Add([]byte{0, 0, 5, rtmIfinfo2}, 0)
	f.Fuzz(func(_ *testing.T, b []byte, index int) {
		// It ends, and reads nothing past the end.
		_, _ = parseIflist(b, index)
	})
}

func TestCounterThatBeganAnewLosesNothing(t *testing.T) {
	if got, want := (Bytes{5, 30}).Since(Bytes{100, 10}), (Bytes{5, 20}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestOthersAreWhatIsNotOurs(t *testing.T) {
	for _, c := range []struct {
		what             string
		total, own, want Bytes
	}{
		{"nothing of ours", Bytes{1000, 500}, Bytes{}, Bytes{1000, 500}},
		// 1000 packets of 1448 bytes, and 500 acknowledgements.
		{"only ours", Bytes{1514000, 33000}, Bytes{1448000, 0}, Bytes{}},
		{"only ours, counted without headers", Bytes{1448000, 0}, Bytes{1448000, 0}, Bytes{}},
		{"ours and a call", Bytes{1514000 + 40000, 33000 + 40000}, Bytes{1448000, 0}, Bytes{15500, 36800}},
	} {
		if got := Others(c.total, c.own); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

func TestTowardLoopbackIsLoopback(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "127.0.0.7"} {
		i, local, err := Toward(netip.MustParseAddr(addr))
		if err != nil {
			t.Fatal(err)
		}
		if !local.IsLoopback() || i.Name == "" || len(i.Addrs) == 0 {
			t.Errorf("%s: %+v by %s", addr, i, local)
		}
		if k, ok := i.Kind.Value(); ok && (k != Loopback || i.Down.How() != "") {
			t.Errorf("%s: %s by %s, %s", addr, k, i.Kind.How(), show(i.Down))
		}
	}
}

func TestOwnCountsByAddressAndLink(t *testing.T) {
	o := NewOwn()
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1")
	o.Account(a, bandwidth.LAN).In(10)
	o.Account(a, bandwidth.WAN).Out(20)
	o.Account(netip.MustParseAddr("::ffff:10.0.0.1"), bandwidth.WAN).In(1)
	o.Account(b.WithZone("eth0"), bandwidth.WAN).Out(300)
	o.Account(b, bandwidth.Link(99)).In(4000)
	for what, got := range map[string][2]Bytes{
		"lan":           {o.Over(bandwidth.LAN), {10, 0}},
		"wan":           {o.Over(bandwidth.WAN), {1, 320}},
		"no class":      {o.Over(0), {4000, 0}},
		"another class": {o.Over(99), {}},
		"first":         {o.On([]netip.Addr{a}), {11, 20}},
		"both":          {o.On([]netip.Addr{a, b}), {4011, 320}},
		"another":       {o.On([]netip.Addr{netip.MustParseAddr("10.0.0.2")}), {}},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %v, want %v", what, got[0], got[1])
		}
	}
}

func TestOwnHasABound(t *testing.T) {
	o := NewOwn()
	addr := netip.MustParseAddr("10.0.0.1")
	for range 1000 {
		o.Account(addr, bandwidth.WAN).In(1)
		addr = addr.Next()
	}
	if len(o.accounts) > ownAddrs+1 {
		t.Errorf("%d addresses are counted", len(o.accounts))
	}
	if got := o.Over(bandwidth.WAN).In; got != 1000 {
		t.Errorf("%d bytes of 1000", got)
	}
}

func BenchmarkAccount(b *testing.B) {
	a := NewOwn().Account(netip.MustParseAddr("10.0.0.1"), bandwidth.WAN)
	for b.Loop() {
		a.In(1448)
	}
}

func BenchmarkToward(b *testing.B) {
	for b.Loop() {
		if _, _, err := Toward(netip.MustParseAddr("127.0.0.1")); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCounter(b *testing.B) {
	i, _, err := Toward(netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		b.Fatal(err)
	}
	c, err := OpenCounter(i)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Read(); err != nil {
			b.Fatal(err)
		}
	}
}
