package node

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/discovery/dht"
)

const (
	// standEvery is how often a node looks whether what it announces is still its to
	// announce. Records live for hours: seconds don't matter.
	standEvery = 10 * time.Second
	// standSettles is the time from a start until the size of the DHT counts for what
	// was here before. A node that has just started knows few others, and would take
	// a large enterprise for a small one. What it announced before is on disk.
	standSettles = time.Minute
)

// announcing has what decides under which keys this node announces: its standing.
type announcing struct {
	mu     sync.Mutex // held while keys are told: none is told by a standing that was
	holder dht.Holder
}

// stand returns what the standing is by what is known now. What is estimated stays
// as it was, unless it is off by a fifth: keys would come and go with it.
func (n *Node) stand(was dht.Holder) dht.Holder {
	here, _ := n.site.Site()
	h := dht.Holder{
		Peer: n.host.ID(), Site: here, Region: n.cfg.Region,
		Delegates: slices.Sorted(slices.Values(n.site.Delegates())), Members: len(n.site.Members()), Nodes: n.cfg.nodes,
	}
	if size, ok := n.dht.Size(); ok && h.Nodes == 0 {
		h.Nodes = size
	}
	if h.Nodes == 0 || near(h.Nodes, was.Nodes) {
		h.Nodes = was.Nodes
	}
	if near(h.Members, was.Members) {
		h.Members = was.Members
	}
	return h
}

// near reports whether two numbers differ by a fifth at most.
func near(a, b int) bool { return 5*max(a-b, b-a) <= max(a, b) }

// sameStanding reports whether two standings lead to the same keys.
func sameStanding(a, b dht.Holder) bool {
	return a.Site == b.Site && a.Region == b.Region && a.Members == b.Members && a.Nodes == b.Nodes && slices.Equal(a.Delegates, b.Delegates)
}

// announceAll has the DHT told of everything in the store, and again as the site,
// its delegates or the size of the enterprise change: what is told already costs
// nothing.
func (n *Node) announceAll(ctx context.Context) error {
	n.announcing.mu.Lock()
	sure := n.announcing.holder
	sure.Nodes = 0
	for _, c := range n.store.List() {
		if ctx.Err() != nil {
			break
		}
		n.announce(n.keysOf(c, sure)...)
	}
	n.announcing.mu.Unlock()
	settled := false
	for sleep(ctx, standEvery) {
		_, known := n.dht.Size()
		first := !settled && known && time.Since(n.started) >= standSettles
		settled = settled || first
		n.restand(ctx, first)
	}
	return nil
}

// restand follows a change of the standing. With all, it tells of everything anew
// and takes back whatever else was told.
func (n *Node) restand(ctx context.Context, all bool) {
	n.announcing.mu.Lock()
	defer n.announcing.mu.Unlock()
	was := n.announcing.holder
	now := n.stand(was)
	if !all && sameStanding(was, now) {
		return
	}
	n.announcing.holder = now
	contents := n.store.List()
	if all {
		n.retain(ctx, contents, now)
	}
	for _, c := range contents {
		if ctx.Err() != nil {
			return
		}
		n.unannounce(without(n.keysOf(c, was), n.keysOf(c, now)))
	}
	for _, c := range contents {
		if ctx.Err() != nil {
			return
		}
		keys := n.keysOf(c, now)
		// A publisher tells of chunks that others don't: of those, some may just
		// have been taken back for another content that has them too.
		if !all && !n.publishes(c.ID()) {
			keys = without(keys, n.keysOf(c, was))
		}
		n.announce(keys...)
	}
}

// retain takes back what was told, before the start too, and isn't this node's to
// tell: of contents that are gone, and at sites where it was.
func (n *Node) retain(ctx context.Context, contents []*store.Content, h dht.Holder) {
	heads := make(map[content.Hash]struct{})
	for _, c := range contents {
		for _, k := range n.headKeys(c, h) {
			heads[k] = struct{}{}
		}
	}
	if n.isDelegate() {
		heads[siteKey(h.Site)] = struct{}{}
	}
	err := n.dht.Retain(ctx, func(key content.Hash) bool {
		if _, ok := heads[key]; ok {
			return true
		}
		c, _, ok := n.store.Find(key)
		return ok && tellsChunk(key, h, n.publishes(c.ID()))
	})
	if err != nil {
		n.log.Warn("not withdrawn from the DHT", zap.Error(err))
	}
}

// without returns those of keys that aren't among others.
func without(keys, others []content.Hash) []content.Hash {
	among := make(map[content.Hash]struct{}, len(others))
	for _, k := range others {
		among[k] = struct{}{}
	}
	return slices.DeleteFunc(keys, func(k content.Hash) bool { _, ok := among[k]; return ok })
}

// keysOf returns the keys under which a content is announced: its own, those of its
// names and, once it is whole, those of its chunks.
func (n *Node) keysOf(c *store.Content, h dht.Holder) []content.Hash {
	keys := n.headKeys(c, h)
	if !c.Complete() {
		return keys
	}
	publisher := n.publishes(c.ID())
	for _, chunk := range c.Manifest().Chunks {
		if tellsChunk(chunk.Hash, h, publisher) {
			keys = append(keys, chunk.Hash)
		}
	}
	return keys
}

// headKeys returns the keys under which a content itself and its names are announced.
func (n *Node) headKeys(c *store.Content, h dht.Holder) []content.Hash {
	h.Publisher = n.publishes(c.ID())
	keys := h.Keys(content.Hash(c.ID()))
	for _, r := range n.catalogue.of(c.ID()) {
		keys = append(keys, n.keysOfName(r.Name, h)...)
	}
	return keys
}

// tellsChunk reports whether a chunk of a content that is here is announced.
func tellsChunk(chunk content.Hash, h dht.Holder, publisher bool) bool {
	h.Publisher = publisher
	return h.Speaks() && h.Plain(chunk)
}

func (n *Node) keysOfName(name string, h dht.Holder) []content.Hash {
	h.Publisher = slices.ContainsFunc(n.catalogue.named(name), n.signed)
	return h.Keys(content.NameKey(name))
}

// everyKey returns all keys under which a content or name may be announced.
func everyKey(key content.Hash, h dht.Holder) []content.Hash {
	return []content.Hash{key, dht.SiteKey(key, h.Site), dht.RegionKey(key, h.Region)}
}

// publishes reports whether this node is a publisher of a content.
func (n *Node) publishes(id content.ID) bool {
	return slices.ContainsFunc(n.catalogue.of(id), n.signed)
}

func (n *Node) signed(r signedRelease) bool { return r.signer.Peer == n.host.ID() }

// announceContent tells the DHT of a content, as far as it is here.
func (n *Node) announceContent(c *store.Content) {
	n.announcing.mu.Lock()
	defer n.announcing.mu.Unlock()
	n.announce(n.keysOf(c, n.announcing.holder)...)
}

// announceName tells the DHT that a release of a name is here.
func (n *Node) announceName(name string) {
	n.announcing.mu.Lock()
	defer n.announcing.mu.Unlock()
	n.announce(n.keysOfName(name, n.announcing.holder)...)
}

// announce tells the DHT. It is a hint and never a gate, so failing is no error.
func (n *Node) announce(keys ...content.Hash) {
	if err := n.dht.Announce(keys...); err != nil {
		n.log.Warn("not announced", zap.Int("keys", len(keys)), zap.Error(err))
	}
}

func (n *Node) unannounce(keys []content.Hash) {
	if len(keys) == 0 {
		return
	}
	if err := n.dht.Withdraw(keys...); err != nil {
		n.log.Warn("not withdrawn from the DHT", zap.Int("keys", len(keys)), zap.Error(err))
	}
}
