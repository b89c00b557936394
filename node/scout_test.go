package node

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/exchange"
)

// The one whom the DHT names is asked, though it is connected already, and as many
// others as a search asks by itself take its time.
func TestSearchAsksWhomTheDHTNamesBesideManyOthers(t *testing.T) {
	t.Parallel()
	hub := start(t, Config{Name: "hub"})
	hub.add(api.AddRequest{Paths: []string{sample(t, t.TempDir()+"/f", 1000, 1)}, Name: "f", Version: "1"})
	leaf := hub.join("leaf", "branch")
	leaf.meet(1)

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var asked peer.ID
	s := leaf.node.newScout(content.NameKey("f"), func(_ context.Context, x *exchange.Session) {
		asked = x.Peer()
		cancel()
	})
	for i := range maxScouted {
		s.engaged[peer.ID("busy "+strconv.Itoa(i))] = struct{}{}
	}
	s.goFar()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if asked != hub.node.host.ID() {
		t.Errorf("asked %q: want the hub", asked)
	}
}
