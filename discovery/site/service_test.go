package site

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come, on a machine that may be
// busy with other tests.
const patience = time.Minute

// A place is a host with a service.
type place struct {
	host.Host
	*Service
	addrs atomic.Pointer[[]netip.Prefix]
	stop  func()
}

// An office is services on loopback.
type office struct {
	t         testing.TB
	transport []libp2p.Option
	listen    string
	m         Map

	mu          sync.Mutex
	credentials map[peer.ID]string
}

func newOffice(t testing.TB, transport string) *office {
	o := &office{t: t, credentials: make(map[peer.ID]string), listen: "/ip4/127.0.0.1/tcp/0", transport: []libp2p.Option{libp2p.Transport(tcp.NewTCPTransport)}}
	if transport == "quic" {
		o.listen, o.transport = "/ip4/127.0.0.1/udp/0/quic-v1", []libp2p.Option{libp2p.Transport(libp2pquic.NewTransport)}
	}
	return o
}

func (o *office) credential(p peer.ID) (string, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s, ok := o.credentials[p]
	return s, ok
}

// open starts a node that was admitted for a site.
func (o *office) open(credential string, change ...func(*Config)) *place {
	o.t.Helper()
	h, err := libp2p.New(append(o.transport, libp2p.ListenAddrStrings(o.listen), libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableRelay(), libp2p.DisableMetrics(), libp2p.DisableIdentifyAddressDiscovery())...)
	if err != nil {
		o.t.Fatal(err)
	}
	o.mu.Lock()
	o.credentials[h.ID()] = credential
	n := len(o.credentials)
	o.mu.Unlock()
	p := &place{Host: h}
	p.addrs.Store(&[]netip.Prefix{})
	cfg := Config{
		Credential: o.credential, Addrs: func() []netip.Prefix { return *p.addrs.Load() }, Map: o.m,
		Report: func() Report {
			return Report{Name: fmt.Sprint("n", n), Started: time.Now(), Mains: true, Wired: true, Willing: true, Free: 1 << 40}
		},
	}
	for _, c := range change {
		c(&cfg)
	}
	if p.Service, err = New(h, "/p2pnode/test", cfg, zap.NewNop()); err != nil {
		o.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				o.t.Error(err)
			}
		case <-time.After(patience):
			o.t.Error("Run doesn't end")
		}
		_ = h.Close()
	})
	o.t.Cleanup(p.stop)
	return p
}

func (o *office) connect(a, b *place) {
	o.t.Helper()
	until(o.t, "connected", func() bool {
		return a.Connect(o.t.Context(), peer.AddrInfo{ID: b.ID(), Addrs: b.Host.Addrs()}) == nil
	})
}

// until waits until something is so.
func until(t testing.TB, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !so(); {
		if time.Now().After(end) {
			t.Fatalf("not so: %s", what)
		}
		time.Sleep(5 * time.Millisecond) // the network's time, not ours
	}
}

func names(s *Service) (out []string) {
	for _, m := range s.Members() {
		out = append(out, m.Name)
	}
	return out
}

func agree(places ...*place) bool {
	for _, p := range places {
		if !slices.Equal(p.Delegates(), places[0].Delegates()) || len(p.Delegates()) != min(len(places), Seats) {
			return false
		}
		for _, d := range p.Delegates() {
			if d != p.ID() && p.Network().Connectedness(d) != network.Connected {
				return false
			}
		}
	}
	return true
}

// Five nodes in a chain come to know the same delegates and to be connected to them;
// when one of these goes, the others agree on the next.
func TestChainOfNodesMeetsItsDelegates(t *testing.T) {
	for _, transport := range []string{"tcp", "quic"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t, transport)
			var all []*place
			for i := range 5 {
				all = append(all, o.open("here"))
				if i > 0 {
					o.connect(all[i], all[i-1])
				}
			}
			until(t, "all agree", func() bool { return agree(all...) })
			gone := all[0].Delegates()[1]
			left := slices.DeleteFunc(slices.Clone(all), func(p *place) bool { return p.ID() == gone })
			for _, p := range all {
				if p.ID() == gone {
					p.stop()
				}
			}
			until(t, "the others agree", func() bool { return agree(left...) && !slices.Contains(left[0].Delegates(), gone) })
			for _, p := range left {
				if _, ok := p.Of(gone); ok {
					t.Errorf("%s counts who is gone as a member", p.ID())
				}
			}
		})
	}
}

// A node that says another site is none of this one, whatever its credential says;
// one that hasn't said anything is where its credential says.
func TestPeersAreWhereTheySay(t *testing.T) {
	o := newOffice(t, "tcp")
	a, b := o.open("here"), o.open("here")
	moved := o.open("here", func(c *Config) { c.Site = "there" })
	mute := o.open("here")
	mute.stop()
	o.connect(a, b)
	o.connect(a, moved)
	until(t, "they know", func() bool {
		return len(a.Members()) == 2 && len(b.Members()) == 2 && !a.IsHere(moved.ID()) && !moved.IsHere(a.ID())
	})
	if id, from := moved.Site(); id != "there" || from != FromConfig {
		t.Errorf("at %s by %s", id, from)
	}
	if got := names(moved.Service); len(got) != 1 {
		t.Errorf("%q at the other site", got)
	}
	if !a.IsHere(b.ID()) || !a.IsHere(a.ID()) || !a.IsHere(mute.ID()) || a.IsHere("nobody") {
		t.Error("who is here isn't known")
	}
	if m, ok := a.Of(b.ID()); !ok || m.Name != "n2" || !m.Willing || len(m.Addrs) == 0 {
		t.Errorf("%+v %v", m, ok)
	}
}

// A node whose network changes is at another site at once, and everyone knows, also
// those at sites it wasn't at before.
func TestNodeThatMovesIsAtAnotherSite(t *testing.T) {
	o := newOffice(t, "tcp")
	o.m = parsed(t, "10.1.0.0/16 berlin\n10.2.0.0/16 bonn\n")
	at := func(prefix string) *place {
		p := o.open("nowhere")
		p.move(prefix)
		return p
	}
	berlin, bonn, laptop := at("10.1.0.1/16"), at("10.2.0.1/16"), at("10.1.0.7/16")
	o.connect(laptop, berlin)
	o.connect(bonn, laptop)
	until(t, "the laptop is in Berlin", func() bool {
		return berlin.IsHere(laptop.ID()) && laptop.IsHere(berlin.ID()) && len(berlin.Members()) == 2 && !bonn.IsHere(laptop.ID()) && !laptop.IsHere(bonn.ID())
	})
	changed := laptop.Changed()
	laptop.move("10.2.0.7/16")
	<-changed
	until(t, "the laptop is in Bonn", func() bool {
		return !berlin.IsHere(laptop.ID()) && !laptop.IsHere(berlin.ID()) && len(berlin.Members()) == 1 &&
			bonn.IsHere(laptop.ID()) && laptop.IsHere(bonn.ID()) && agree(bonn, laptop)
	})
	if id, from := laptop.Site(); id != "bonn" || from != FromMap {
		t.Errorf("at %s by %s", id, from)
	}
}

func (p *place) move(prefix string) {
	p.addrs.Store(&[]netip.Prefix{netip.MustParsePrefix(prefix)})
	p.Refresh()
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{
		Addrs: func() []netip.Prefix { return nil }, Credential: func(peer.ID) (string, bool) { return "", false },
		Report: func() Report { return Report{} },
	}
	bad := good
	bad.Site = "Not a site"
	for _, c := range []Config{{}, bad} {
		if _, err := New(nil, "/p2pnode/test", c, zap.NewNop()); err == nil {
			t.Errorf("%+v passed", c)
		}
	}
}

// Another map holds at once, and what it says less than the configuration.
func TestAnotherMapMovesANode(t *testing.T) {
	o := newOffice(t, "tcp")
	p := o.open("branch")
	p.addrs.Store(&[]netip.Prefix{netip.MustParsePrefix("10.1.2.3/24")})
	m, err := ParseMap([]byte("10.1.0.0/16 berlin"))
	if err != nil {
		t.Fatal(err)
	}
	p.SetMap(m)
	until(t, "moved", func() bool {
		id, from := p.Site()
		return id == "berlin" && from == FromMap
	})
	p.SetMap(Map{})
	until(t, "moved back", func() bool {
		id, from := p.Site()
		return id == "branch" && from == FromCredential
	})
}
