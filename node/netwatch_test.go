package node

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/zap"
)

func TestNetworkChangesAreTold(t *testing.T) {
	start := time.Now()
	home, office := []string{"wlan0 192.168.1.7/24"}, []string{"eth0 10.0.0.7/24"}
	view := func(ran, passed time.Duration, links []string) netView {
		return netView{links: links, at: start.Add(ran), wall: start.Round(0).Add(passed)}
	}
	before := view(0, 0, home)
	for _, c := range []struct {
		name string
		now  netView
		want netChange
	}{
		{"nothing", view(watchEvery, watchEvery, home), 0},
		{"a busy machine looks late", view(9*time.Second, 9*time.Second, home), 0},
		{"NTP nudges the clock", view(watchEvery, watchEvery-time.Second, home), 0},
		{"another network", view(watchEvery, watchEvery, office), linksChanged},
		{"a second network", view(watchEvery, watchEvery, append(home[:1:1], office...)), linksChanged},
		{"no network", view(watchEvery, watchEvery, nil), linksChanged},
		{"sleep on Linux", view(watchEvery, 8*time.Hour, home), resumed},
		{"sleep elsewhere", view(8*time.Hour, 8*time.Hour, home), resumed},
		{"stopped by a signal", view(time.Minute, time.Minute, home), resumed},
		{"sleep, and awake in the office", view(watchEvery, 8*time.Hour, office), linksChanged | resumed},
		{"the clock is set back", view(watchEvery, -time.Hour, home), clockSet},
		{"and back by less than we stood still", view(time.Minute, 30*time.Second, home), resumed},
	} {
		if got := c.now.since(before); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestLinksOfContainersConcernNobody(t *testing.T) {
	ipnet := func(s string) net.Addr {
		ip, n, err := net.ParseCIDR(s)
		if err != nil {
			t.Fatal(err)
		}
		n.IP = ip
		return n
	}
	for _, c := range []struct {
		addrs []net.Addr
		want  string
	}{
		{nil, ""},
		{[]net.Addr{ipnet("fe80::1/64")}, ""},
		{[]net.Addr{ipnet("169.254.1.1/16")}, ""},
		{[]net.Addr{ipnet("fe80::1/64"), ipnet("fd00::1/64"), ipnet("10.0.0.1/8")}, "x 10.0.0.1/8 fd00::1/64"},
		{[]net.Addr{ipnet("10.0.0.1/8"), ipnet("fd00::1/64")}, "x 10.0.0.1/8 fd00::1/64"},
	} {
		if got := describeLink("x", c.addrs); got != c.want {
			t.Errorf("%v: %q", c.addrs, got)
		}
	}
}

// In the bubble both clocks go on together: a mend that takes long is the only
// thing that could look like a sleep.
func TestALongMendIsNoSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		mended := 0
		done := make(chan error, 1)
		go func() { done <- watchNetwork(ctx, nil, zap.NewNop(), func() { mended++; time.Sleep(time.Minute) }) }()
		time.Sleep(10 * time.Minute)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if mended > 1 { // once if this machine's network changed under the test
			t.Errorf("mended %d times", mended)
		}
	})
}

func TestPeersInBackOffAreDialledAfterAChange(t *testing.T) {
	t.Parallel()
	h := startHost(t, hostConfig{listen: loopback("tcp/0")})
	closed, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ma.StringCast("/ip4/127.0.0.1/tcp/" + closed.Addr().String()[len("127.0.0.1:"):])
	closed.Close()
	id, err := peer.Decode("12D3KooWEQfa1tUf5m74jPT6wZMPY57q9fGfLNMFx7uaqNtKdTxS") // any
	if err != nil {
		t.Fatal(err)
	}
	unreachable := peer.AddrInfo{ID: id, Addrs: []ma.Multiaddr{addr}}
	dial := func() bool { // reports whether it was tried
		err := h.Connect(t.Context(), unreachable)
		return !errors.Is(err, swarm.ErrDialBackoff)
	}
	if !dial() || dial() {
		t.Fatal("no back-off after a failure")
	}
	clearBackoffs(h)
	if !dial() {
		t.Error("still in back-off")
	}
}

func TestOwnAddressesAreThoseOfTheInterfacesNow(t *testing.T) {
	t.Parallel()
	h := startHost(t, hostConfig{listen: []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/tcp/0")}})
	bound := h.Network().ListenAddresses()
	var own ownAddrs
	stale := []ma.Multiaddr{ma.StringCast("/ip4/10.99.99.99/tcp/1")}
	if got := own.addrs(stale); len(got) != 1 || !got[0].Equal(stale[0]) {
		t.Errorf("before listening: %v", got)
	}
	own.bound.Store(&bound)
	if got := own.addrs(stale); len(got) != 1 || !got[0].Equal(bound[0]) {
		t.Errorf("listening on %v: %v", bound, got)
	}
}
