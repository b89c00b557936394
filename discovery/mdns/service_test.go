package mdns

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestInterfacesAreChosen(t *testing.T) {
	const up = net.FlagUp | net.FlagMulticast
	ifaces := []net.Interface{
		{Name: "lo", Flags: up | net.FlagLoopback}, {Name: "eth0", Flags: up}, {Name: "wlan0", Flags: up},
		{Name: "down0", Flags: net.FlagMulticast}, {Name: "tun0", Flags: up | net.FlagPointToPoint}, {Name: "dummy0", Flags: net.FlagUp},
	}
	for _, c := range []struct{ cfg, want []string }{
		{[]string{"auto"}, []string{"eth0", "wlan0"}},
		{[]string{"wlan0", "tun0", "nosuch"}, []string{"wlan0", "tun0"}},
	} {
		var got []string
		for _, i := range ifaces {
			if (Config{Interfaces: c.cfg}).uses(i) {
				got = append(got, i.Name)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v: %v", c.cfg, got)
		}
	}
}

func TestOnlyAddressesOfAnInterfaceAreToldThere(t *testing.T) {
	on := []netip.Prefix{netip.MustParsePrefix("10.0.0.7/24"), netip.MustParsePrefix("fd00::7/64"), netip.MustParsePrefix("fe80::7/64")}
	for _, c := range []struct{ listen, want []string }{
		{[]string{"/ip4/0.0.0.0/tcp/4740", "/ip6/::/udp/4740/quic-v1"}, []string{"/ip4/10.0.0.7/tcp/4740", "/ip6/fd00::7/udp/4740/quic-v1"}},
		{[]string{"/ip4/10.0.0.7/tcp/1", "/ip4/192.168.1.1/tcp/1", "/ip4/127.0.0.1/tcp/1"}, []string{"/ip4/10.0.0.7/tcp/1"}},
		{[]string{"/ip4/127.0.0.1/tcp/1"}, nil},
		{[]string{"/ip4/10.0.0.7/tcp/1/ws"}, nil},
	} {
		var listen []ma.Multiaddr
		for _, l := range c.listen {
			listen = append(listen, ma.StringCast(l))
		}
		var got []string
		for _, a := range reachable(listen, on) {
			got = append(got, a.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v: %v", c.listen, got)
		}
	}
}

func TestAddressesElsewhereAreNotDialled(t *testing.T) {
	l := &link{prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.7/24"), netip.MustParsePrefix("fe80::7/64")}}
	info := addrInfo(t, id1, "/ip4/10.0.0.9/tcp/1", "/ip4/10.0.1.9/tcp/1", "/ip4/127.0.0.1/tcp/1", "/ip6/fd00::1/tcp/1")
	l.keepNear(&info)
	if len(info.Addrs) != 1 || info.Addrs[0].String() != "/ip4/10.0.0.9/tcp/1" {
		t.Errorf("kept %v", info.Addrs)
	}
	if !within(l.prefixes, netip.MustParseAddr("fe80::1%eth0")) || within(l.prefixes, netip.Addr{}) {
		t.Error("a sender on the link isn't told from one elsewhere")
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []Config{{}, {Enterprise: "acme", Interfaces: []string{"auto", "eth0"}}} {
		if _, err := New(nil, c, nil, zap.NewNop()); err == nil {
			t.Errorf("%+v passed", c)
		}
	}
}

// A service without interfaces works, waits for better times, and hands on
// what its links would hear, at a bounded rate.
func TestCallbackIsCalledAtABoundedRate(t *testing.T) {
	h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.NoTransports, libp2p.DisableMetrics())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	synctest.Test(t, func(t *testing.T) {
		calls := make(chan peer.AddrInfo, 1000)
		s, err := New(h, Config{Enterprise: "acme"}, func(_ context.Context, info peer.AddrInfo) { calls <- info }, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		s.limit = rate.NewLimiter(s.limit.Limit(), s.limit.Burst()) // begins in the bubble's time
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- s.Run(ctx) }()
		s.Refresh()
		s.Refresh()
		stranger := addrInfo(t, id1, "/ip4/10.0.0.1/tcp/1")
		for range 60 {
			for range 50 {
				s.offer(stranger)
			}
			s.offer(peer.AddrInfo{ID: h.ID(), Addrs: stranger.Addrs})
			s.offer(peer.AddrInfo{ID: stranger.ID})
			time.Sleep(time.Second)
		}
		if n := len(calls); n < foundPerMinute || n > foundPerMinute+foundBurst {
			t.Errorf("%d calls in a minute", n)
		}
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
}
