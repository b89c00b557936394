package trust

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// transports are what every test of connections runs on.
var transports = []string{"tcp", "quic-v1"}

// A testNode is an identity with its admission and host.
type testNode struct {
	*Identity
	*Admission
	host.Host
}

func (n testNode) addrs(transport string) peer.AddrInfo {
	info := peer.AddrInfo{ID: n.Host.ID()}
	for _, a := range n.Network().ListenAddresses() {
		if strings.Contains(a.String(), "/"+transport) {
			info.Addrs = append(info.Addrs, a)
		}
	}
	return info
}

func (n testNode) p2pAddrs(t testing.TB, transport string) []string {
	t.Helper()
	info := n.addrs(transport)
	full, err := peer.AddrInfoToP2pAddrs(&info)
	check(t, err)
	var out []string
	for _, a := range full {
		out = append(out, a.String())
	}
	return out
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func logger(t testing.TB) *zap.Logger {
	if !testing.Verbose() {
		return zap.NewNop()
	}
	return zaptest.NewLogger(t)
}

// scratch returns a memory that nothing is in.
func scratch(t testing.TB) *memory {
	t.Helper()
	v, err := makeMemory(folder{osDisk{}, t.TempDir()}, state{Files: map[string][]byte{}})
	check(t, err)
	return v
}

// newEnterprise makes an enterprise of one.
func newEnterprise(t testing.TB, opts ...Option) *Identity {
	t.Helper()
	id, err := Init(t.TempDir(), "hq", "first", opts...)
	check(t, err)
	t.Cleanup(func() { check(t, id.Close()) })
	return id
}

// start makes a node of an identity and, if run is set, runs its admission.
func start(t testing.TB, id *Identity, cfg Config, run bool) testNode {
	t.Helper()
	a := New(id, cfg, logger(t))
	h := newHost(t, a.Options())
	a.Attach(h)
	n := testNode{id, a, h}
	if run {
		runNode(t, n)
	}
	return n
}

func runNode(t testing.TB, n testNode) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func newHost(t testing.TB, opts ...libp2p.Option) host.Host {
	return newHostOn(t, transports, opts...)
}

func newHostOn(t testing.TB, transports []string, opts ...libp2p.Option) host.Host {
	t.Helper()
	for _, tr := range transports {
		opts = append(opts, libp2p.ListenAddrStrings(map[string]string{"tcp": "/ip4/127.0.0.1/tcp/0", "quic-v1": "/ip4/127.0.0.1/udp/0/quic-v1"}[tr]))
	}
	opts = append(opts,
		libp2p.DisableRelay(), libp2p.DisableMetrics(), libp2p.DisableIdentifyAddressDiscovery(),
		libp2p.ResourceManager(&network.NullResourceManager{}))
	h, err := libp2p.New(opts...)
	check(t, err)
	t.Cleanup(func() { check(t, h.Close()) })
	return h
}

// join enrols a new member with the node that runs the issuer.
func join(t testing.TB, issuer testNode, site, name, transport string, opts ...Option) *Identity {
	t.Helper()
	tok, err := issuer.Invite(InviteOptions{Site: site, Bootstrap: issuer.p2pAddrs(t, transport)})
	check(t, err)
	id, err := Enrol(t.Context(), t.TempDir(), tok, EnrolOptions{Name: name}, opts...)
	check(t, err)
	t.Cleanup(func() { check(t, id.Close()) })
	return id
}

// patience is how long a test waits for what must come, on a machine that may be
// busy with other tests.
const patience = time.Minute

func within(t testing.TB, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", d, what)
		}
	}
}

func TestJoinThenConnect(t *testing.T) {
	t.Parallel()
	for _, tr := range transports {
		t.Run(tr, func(t *testing.T) {
			first := start(t, newEnterprise(t), Config{}, true)
			tok, err := first.Invite(InviteOptions{Site: "berlin", Bootstrap: first.p2pAddrs(t, tr)})
			check(t, err)
			parsed, err := ParseToken(tok.String())
			check(t, err)
			dir := t.TempDir()
			id, err := Enrol(t.Context(), dir, parsed, EnrolOptions{Name: "till-7"})
			check(t, err)
			check(t, id.Close())
			id, err = Load(dir)
			check(t, err)
			defer func() { check(t, id.Close()) }()
			c := id.Credential()
			if c.Site != "berlin" || c.Name != "till-7" || c.Roles != Member || id.Enterprise() != first.Enterprise() {
				t.Fatalf("joined as %+v", c)
			}
			second := start(t, id, Config{}, true)
			check(t, second.Connect(t.Context(), first.addrs(tr)))
			got, ok := second.Of(first.Host.ID())
			if !ok || !got.Roles.Has(Issuer|Publisher|Operator|Member) || got.Site != "hq" {
				t.Fatalf("first is known as %+v", got)
			}
			within(t, patience, "first knows second", func() bool {
				got, ok := first.Of(second.Host.ID())
				return ok && got.Device == c.Device
			})
			within(t, patience, "beacon has come", func() bool { b, _ := second.Beacon(); return len(b) > 0 })
			if len(second.Bootstrap()) == 0 {
				t.Error("nothing remembered of where the issuer is")
			}
		})
	}
}
