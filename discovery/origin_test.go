package discovery

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
)

func TestPeerName(t *testing.T) {
	const id = "12D3KooWRYB4BrUopyJXLyhzVVk3yPPvjQKBPkXcubTfcYXuZPJi"
	p, err := peer.Decode(id)
	if err != nil {
		t.Fatal(err)
	}
	if got := PeerName(p); got != id {
		t.Error(got)
	}
	if got := PeerName(OriginPeer("files.example.com:443")); got != "origin:files.example.com:443" {
		t.Error(got)
	}
	if got := PeerName(""); got != "" {
		t.Error(got)
	}
}
