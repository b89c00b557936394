package node

import (
	"strconv"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
)

func TestKeeperWantsMembersAtOtherSitesToo(t *testing.T) {
	t.Parallel()
	isFar := func(p peer.ID) bool { return p[0] == 'f' }
	for _, c := range []struct{ near, far, server, endpoint int }{
		{0, 0, keepPeers, keepPeers},
		{keepPeers - 2, 0, keepFar, 2},
		{keepPeers - 2, 1, keepFar - 1, 1},
		{100, 1, keepFar - 1, keepPeers - 101},
		{100, keepFar, 0, keepPeers - 100 - keepFar},
	} {
		var connected []peer.ID
		for i := range c.near {
			connected = append(connected, peer.ID("near "+strconv.Itoa(i)))
		}
		for i := range c.far {
			connected = append(connected, peer.ID("far "+strconv.Itoa(i)))
		}
		server, endpoint := &keeper{far: isFar}, &keeper{}
		if got := server.missing(connected); got != c.server {
			t.Errorf("%d near, %d far: a server wants %d more, want %d", c.near, c.far, got, c.server)
		}
		if got := endpoint.missing(connected); got != c.endpoint {
			t.Errorf("%d near, %d far: an endpoint wants %d more, want %d", c.near, c.far, got, c.endpoint)
		}
	}
}
