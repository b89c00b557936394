package node

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/node/api"
)

// oneAddress is a network on which nobody can listen.
type oneAddress struct{}

var errNoSocket = errors.New("no socket")

func (oneAddress) ListenUDP(string, *net.UDPAddr) (net.PacketConn, error) { return nil, errNoSocket }
func (oneAddress) Addrs() ([]net.Addr, error) {
	return []net.Addr{&net.IPNet{IP: net.IPv4(10, 1, 2, 3), Mask: net.CIDRMask(24, 32)}}, nil
}

func TestNetworkOfItsOwnIsUsedForQUICAlone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		listen []ma.Multiaddr
		want   string
	}{
		"nothing": {nil, "QUIC only"},
		"TCP too": {loopback("udp/0/quic-v1", "tcp/0"), "QUIC only"},
		"QUIC":    {loopback("udp/0/quic-v1"), errNoSocket.Error()}, // the network was asked, not the machine
	} {
		h, err := newHost(hostConfig{admission: anyone, on: oneAddress{}, listen: c.listen, log: zap.NewNop()})
		if err == nil {
			h.Close()
			t.Fatalf("%s: there is a host", name)
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	addrs, err := interfaceMultiaddrs(oneAddress{})
	if err != nil || len(addrs) != 1 || addrs[0].String() != "/ip4/10.1.2.3" {
		t.Errorf("addresses: %v, %v", addrs, err)
	}
	if v := lookAtNetwork(oneAddress{}); !slices.Equal(v.links, []string{"network 10.1.2.3/24"}) {
		t.Errorf("links: %v", v.links)
	}
}

func TestEndpointWithoutDHTGetsFromWhomItKnows(t *testing.T) {
	t.Parallel()
	hub := start(t, Config{Name: "hub"})
	file := sample(t, filepath.Join(t.TempDir(), "f"), 100_000, 1)
	hub.add(api.AddRequest{Paths: []string{file}, Name: "f", Version: "1"})
	leaf := hub.join("leaf", "default", func(c *Config) { c.DHT = DHTOff })
	out := filepath.Join(t.TempDir(), "out")
	leaf.get("f", out)
	sameFile(t, file, out)
	st, err := leaf.node.API().Status(context.Background())
	if err != nil || slices.Contains(st.Looking, "dht") {
		t.Errorf("looks for others by %v, %v", st.Looking, err)
	}
}
