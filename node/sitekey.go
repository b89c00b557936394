package node

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
)

const (
	// meetEvery is how often this node asks itself whether it is still a delegate and
	// where. The DHT is told and asked seldom: mDNS finds who is on the same subnet
	// within seconds, and the key of a site is for those on another subnet of it.
	meetEvery = 10 * time.Second
	meetAlone = time.Minute      // between two lookups of a delegate that knows nobody here
	meetAgain = 10 * time.Minute // of others
	maxMeet   = 16               // peers that a lookup leads to
)

// siteKey is where the delegates of a site announce themselves.
func siteKey(site string) content.Hash { return content.Sum([]byte("p2pnode site\x00" + site)) }

// meetSite tells the DHT that this node is at its site, as long as it is one of its
// delegates, and looks there for others that say so: two halves of a site on two
// subnets, or any who don't hear each other's multicast, meet this way.
func (n *Node) meetSite(ctx context.Context) error {
	var told content.Hash // zero: nothing
	tell := func(key content.Hash) {
		if key == told {
			return
		}
		if told != (content.Hash{}) {
			if err := n.dht.Withdraw(told); err != nil {
				n.log.Warn("site not withdrawn from the DHT", zap.Error(err))
			}
		}
		if told = key; key != (content.Hash{}) {
			n.announce(key)
		}
	}
	defer func() { tell(content.Hash{}) }()
	next := time.Now()
	for sleep(ctx, meetEvery) {
		if !n.isDelegate() {
			tell(content.Hash{})
			continue
		}
		here, _ := n.site.Site()
		if key := siteKey(here); key != told {
			tell(key)
			next = time.Now()
		}
		if time.Now().Before(next) {
			continue
		}
		n.meetFound(ctx, told)
		pause := meetAgain
		if len(n.site.Members()) == 1 {
			pause = meetAlone
		}
		next = time.Now().Add(pause/2 + rand.N(pause))
	}
	return nil
}

// isDelegate reports whether this node speaks for its site.
func (n *Node) isDelegate() bool { return slices.Contains(n.site.Delegates(), n.host.ID()) }

// meetFound dials those that the DHT names for a key.
func (n *Node) meetFound(ctx context.Context, key content.Hash) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	found := 0
	for p := range n.dht.Find(ctx, key) {
		if _, here := n.site.Of(p.ID); here || p.ID == n.host.ID() {
			continue
		}
		n.keeper.dial(ctx, p)
		if found++; found == maxMeet {
			return
		}
	}
}
