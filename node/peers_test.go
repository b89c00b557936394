package node

import (
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/zap"
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
		server, endpoint := &keeper{far: isFar, near: make(map[peer.ID]bool)}, &keeper{}
		if got, onlyFar := server.missing(connected); got != c.server || onlyFar != (c.server > c.endpoint) {
			t.Errorf("%d near, %d far: a server wants %d more, only far %v, want %d", c.near, c.far, got, onlyFar, c.server)
		}
		if got, onlyFar := endpoint.missing(connected); got != c.endpoint || onlyFar {
			t.Errorf("%d near, %d far: an endpoint wants %d more, only far %v, want %d", c.near, c.far, got, onlyFar, c.endpoint)
		}
	}
}

func TestKeeperLeavesNeighboursAloneWhenOnlyOthersAreMissing(t *testing.T) {
	t.Parallel()
	h, err := libp2p.New(libp2p.NoListenAddrs)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ids := make([]peer.ID, keepPeers+1)
	book := openBook(filepath.Join(t.TempDir(), "peers"))
	for i := range ids {
		ids[i] = peer.ID("member " + strconv.Itoa(i))
		book.met(ids[i], loopback("tcp/4740"), time.Now())
	}
	neighbours, stranger := ids[:keepPeers], ids[keepPeers]
	k := newKeeper(h, book, nil, func(peer.ID) bool { return false }, zap.NewNop())
	n, onlyFar := k.missing(neighbours)

	// The neighbours are gone, as far as the host knows; none of them is dialled.
	if due := k.due(time.Now(), n, onlyFar); len(due) != 1 || due[0].ID != stranger {
		t.Errorf("dialled: %v", due)
	}
	k.Wake() // the network changed: perhaps this node is elsewhere now
	if due := k.due(time.Now(), len(ids), onlyFar); len(due) != len(ids) {
		t.Errorf("after a change of the network %d of %d are dialled", len(due), len(ids))
	}
}
