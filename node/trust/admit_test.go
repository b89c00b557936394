package trust

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	ic "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/p2p/transport/websocket"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// rogue takes part in exchanges and says what it was told to. It admits anyone.
type rogue struct{ hello []byte }

func (r rogue) enter(ma.Multiaddr) func() { return func() {} }
func (r rogue) refuse(Refusal)            {}
func (r rogue) line(Credential) Line      { return nil }

func (r rogue) dial(c channel, _ ic.PubKey) (Credential, error) {
	if err := writeFrame(c, r.hello); err != nil {
		return Credential{}, err
	}
	_, err := receive(c, hello)
	return Credential{}, err
}

func (r rogue) accept(c channel, _ ic.PubKey, _ ma.Multiaddr) (Credential, error) {
	if _, err := readFrame(c, maxMessage); err != nil {
		return Credential{}, err
	}
	return Credential{}, writeFrame(c, r.hello)
}

func rogueHost(t testing.TB, transport string, key ic.PrivKey, hello []byte) host.Host {
	r := rogue{hello}
	opts := []libp2p.Option{libp2p.Identity(key), libp2p.Security(string(tlsID), tlsFor(r)), libp2p.Transport(tcp.NewTCPTransport)}
	if transport == "quic-v1" {
		opts[2] = libp2p.Transport(quicFor(r))
	}
	return newHostOn(t, []string{transport}, opts...)
}

// watched counts what gets through to a node's swarm and handlers.
type watched struct {
	testNode
	connections, streams atomic.Int64
}

func watch(n testNode) *watched {
	w := &watched{testNode: n}
	n.Network().Notify(&network.NotifyBundle{ConnectedF: func(network.Network, network.Conn) { w.connections.Add(1) }})
	n.SetStreamHandler("/app/1", func(s network.Stream) { w.streams.Add(1); _ = s.Close() })
	return w
}

func (w *watched) untouched(t *testing.T, by peer.ID) {
	t.Helper()
	if c, s := w.connections.Load(), w.streams.Load(); c != 0 || s != 0 {
		t.Fatalf("%d connections reached the swarm, %d streams a handler", c, s)
	}
	if _, ok := w.Of(by); ok {
		t.Error("has a credential")
	}
	if protos, _ := w.Peerstore().GetProtocols(by); len(protos) > 0 {
		t.Errorf("protocols learned: %v", protos)
	}
}

func addrsOf(h host.Host, transport string) peer.AddrInfo {
	return testNode{Host: h}.addrs(transport)
}

// G1: bad credentials are refused in the handshake, on both transports and in
// both directions. At the end the same rogue gets in with a good one.
func TestBadCredentialsNeverReachTheSwarm(t *testing.T) {
	t.Parallel()
	id := newEnterprise(t)
	f := newForger(t, id)
	good := newKey(t)
	bad := f.forgeries()
	if len(bad) < 40 {
		t.Fatalf("%d forgeries, want 40 or more", len(bad))
	}
	t.Logf("%d forgeries", len(bad))
	for _, tr := range transports {
		for _, direction := range []string{"dials us", "is dialed"} {
			t.Run(tr+" "+direction, func(t *testing.T) {
				t.Parallel()
				n := watch(start(t, id, Config{}, false))
				attempt := func(t *testing.T, c forgery) (peer.ID, error) {
					h := rogueHost(t, tr, c.key, c.hello)
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					if direction == "is dialed" {
						n.Peerstore().ClearAddrs(h.ID()) // of a rogue before with this key
						return h.ID(), n.Connect(ctx, addrsOf(h, tr))
					}
					err := h.Connect(ctx, n.addrs(tr))
					if s, serr := h.NewStream(ctx, n.Host.ID(), "/app/1"); serr == nil {
						_, _ = s.Write([]byte("x"))
						_ = s.Close()
					}
					return h.ID(), err
				}
				for _, c := range bad {
					t.Run(c.name, func(t *testing.T) {
						p, err := attempt(t, c)
						if err == nil {
							t.Error("no error on the side that dialed")
						}
						n.untouched(t, p)
					})
				}
				_, err := attempt(t, forgery{"good", good, encode(message{Kind: hello, Chain: f.leaf(good, f.member, nil)})})
				check(t, err)
				within(t, patience, "good credential connects", func() bool { return n.connections.Load() == 1 })
				if len(n.Refused()) == 0 {
					t.Error("nothing in the list of refusals")
				}
			})
		}
	}
}

func TestP256HostKeyIsAdmitted(t *testing.T) {
	t.Parallel()
	id := newEnterprise(t)
	f := newForger(t, id)
	key, _, err := ic.GenerateECDSAKeyPair(rand.Reader)
	check(t, err)
	for _, tr := range transports {
		n := start(t, id, Config{}, false)
		h := rogueHost(t, tr, key, encode(message{Kind: hello, Chain: f.leaf(key, f.member, nil)}))
		check(t, h.Connect(t.Context(), n.addrs(tr)))
	}
}

// The one refused learns why.
func TestRefusalTellsTheReason(t *testing.T) {
	t.Parallel()
	id := newEnterprise(t)
	f := newForger(t, id)
	n := start(t, id, Config{}, false)
	want := map[string]error{"expired": ErrExpired, "not yet valid": ErrNotYetValid, "foreign root": ErrForeignEnterprise, "revoked by serial": ErrRevoked, "stolen": ErrNotAdmitted}
	for _, c := range f.forgeries() {
		if want[c.name] == nil {
			continue
		}
		for _, tr := range transports {
			h := rogueHost(t, tr, c.key, c.hello)
			if err := h.Connect(t.Context(), n.addrs(tr)); !errors.Is(err, want[c.name]) || !errors.Is(err, ErrNotAdmitted) {
				t.Errorf("%s over %s: %v", c.name, tr, err)
			}
		}
		delete(want, c.name)
	}
	if len(want) > 0 {
		t.Errorf("not tried: %v", want)
	}
}

// G2: a stock libp2p host gets nothing from us and we nothing from it.
func TestStockHostReachesNothing(t *testing.T) {
	t.Parallel()
	n := watch(start(t, newEnterprise(t), Config{}, true))
	stock := map[string]struct {
		transport string
		opts      []libp2p.Option
	}{
		"TLS":   {"tcp", []libp2p.Option{libp2p.Transport(tcp.NewTCPTransport), libp2p.Security(libp2ptls.ID, libp2ptls.New)}},
		"Noise": {"tcp", []libp2p.Option{libp2p.Transport(tcp.NewTCPTransport), libp2p.Security(noise.ID, noise.New)}},
		"QUIC":  {"quic-v1", []libp2p.Option{libp2p.Transport(libp2pquic.NewTransport)}},
		"stock TLS under our protocol": {"tcp", []libp2p.Option{libp2p.Transport(tcp.NewTCPTransport),
			libp2p.Security(string(tlsID), libp2ptls.New)}},
		"WebSocket": {"tcp", []libp2p.Option{libp2p.Transport(websocket.New), libp2p.Security(libp2ptls.ID, libp2ptls.New)}},
	}
	for name, s := range stock {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listen := map[bool]string{true: "/ip4/127.0.0.1/tcp/0/ws", false: "/ip4/127.0.0.1/tcp/0"}[name == "WebSocket"]
			if name == "QUIC" {
				listen = "/ip4/127.0.0.1/udp/0/quic-v1"
			}
			h, err := libp2p.New(append(s.opts, libp2p.ListenAddrStrings(listen), libp2p.DisableRelay(), libp2p.DisableMetrics())...)
			check(t, err)
			defer h.Close()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			to := n.addrs(s.transport)
			if name == "WebSocket" {
				to.Addrs = []ma.Multiaddr{to.Addrs[0].Encapsulate(ma.StringCast("/ws"))}
			}
			begun := time.Now()
			if err := h.Connect(ctx, to); err == nil {
				// The dialer of a channel without an exchange believes it is
				// connected until it is closed.
				within(t, patience, "closed", func() bool { return h.Network().Connectedness(to.ID) != network.Connected })
			}
			if d := time.Since(begun); d > strangerMost {
				t.Errorf("closed after %s", d)
			}
			if protos, _ := h.Peerstore().GetProtocols(to.ID); len(protos) > 0 {
				t.Errorf("it learned our protocols: %v", protos)
			}
			if a := h.Peerstore().Addrs(to.ID); len(a) > 1 {
				t.Errorf("it learned our addresses: %v", a)
			}
			n.untouched(t, h.ID())
			if name != "WebSocket" {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				if err := n.Connect(ctx, peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}); err == nil {
					t.Error("we connected to it")
				}
				n.untouched(t, h.ID())
			}
		})
	}
}

// strangerMost is strangerTime on a busy machine, and less than the 15 s that
// libp2p would give.
const strangerMost = 14 * time.Second

// Whoever says nothing is closed after strangerTime, whatever it does not say.
func TestSilentStrangerIsClosed(t *testing.T) {
	t.Parallel() // it mostly waits
	n := start(t, newEnterprise(t), Config{}, false)
	addr, err := manet.ToNetAddr(n.addrs("tcp").Addrs[0])
	check(t, err)
	var all sync.WaitGroup // no subtests: each would keep a place from tests that work
	for name, say := range map[string]string{
		"nothing":                 "",
		"half of the negotiation": "\x13/multistream/1.0.0\n",
		"a TLS record that never ends": "\x13/multistream/1.0.0\n" + string(rune(len(tlsID)+1)) + string(tlsID) + "\n" +
			"\x16\x03\x01\x40\x00",
	} {
		begun := time.Now()
		c, err := net.Dial("tcp", addr.String())
		check(t, err)
		defer c.Close()
		_, err = c.Write([]byte(say))
		check(t, err)
		check(t, c.SetReadDeadline(begun.Add(patience)))
		all.Go(func() {
			_, _ = io.Copy(io.Discard, c)
			if d := time.Since(begun); d > strangerMost || d < strangerTime {
				t.Errorf("%s: closed after %s, want %s", name, d, strangerTime)
			}
		})
	}
	all.Wait()
}

func TestSlotsKeepRoomForMembers(t *testing.T) {
	var s slots
	s.admitted("10.0.0.1")
	var held []func()
	for i := range strangerSlots {
		free := s.take("10.9.9.9")
		if free == nil {
			t.Fatalf("stranger %d found no slot", i)
		}
		held = append(held, free)
	}
	if s.take("10.9.9.9") != nil || s.take("10.8.8.8") != nil {
		t.Fatal("a stranger too many")
	}
	for i := range memberSlots {
		if s.take("10.0.0.1") == nil {
			t.Fatalf("member %d found no slot", i)
		}
	}
	if s.take("10.0.0.1") != nil {
		t.Fatal("more than all slots are taken")
	}
	held[0]()
	held[0]() // twice does nothing
	if s.take("10.9.9.9") == nil || s.take("10.9.9.9") != nil {
		t.Fatal("giving back one slot did not free one")
	}
	for i := range 2 * maxKnownSources {
		s.admitted(strconv.Itoa(i))
	}
	if len(s.known) > maxKnownSources {
		t.Fatalf("%d sources remembered", len(s.known))
	}
}
