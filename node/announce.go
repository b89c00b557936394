package node

import (
	"context"
	"math/rand/v2"
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

	// rareEvery is how often a node looks who else tells of a content that it leaves
	// to others to tell: well within the life of a record, so that a publisher that
	// goes is missed before its records are. It looks up rareAtOnce keys at most every
	// rareLook.
	rareEvery  = 2 * time.Hour
	rareAtOnce = 16
	rareLook   = time.Minute
)

// announcing has what decides under which keys this node announces: its standing.
type announcing struct {
	mu     sync.Mutex // held while keys are told: none is told by a standing that was
	holder dht.Holder
	// rare has the plain keys that others have to tell, once they are looked up, with
	// what was found. Keys of contents that are gone leave it with the next round.
	rare map[content.Hash]rareKey
}

// A rareKey is a plain key that is told if few others do.
type rareKey struct {
	told bool
	next time.Time // when to look again who else does
}

// stand returns what the standing is by what is known now. What is estimated stays
// as it was, unless it is off by a fifth: keys would come and go with it.
// The DHT's size is taken for the enterprise's, as every node serves unless it is
// configured not to: with few servers among many nodes, plain keys would have as many
// times more providers.
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
	looked := time.Now()
	for sleep(ctx, standEvery) {
		_, known := n.dht.Size()
		first := !settled && known && time.Since(n.started) >= standSettles
		settled = settled || first
		n.restand(ctx, first)
		if now := time.Now(); settled && now.Sub(looked) >= rareLook {
			looked = now
			n.tellRare(ctx, now)
		}
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
	keys := n.withRare(h.Keys(content.Hash(c.ID())), content.Hash(c.ID()))
	for _, r := range n.catalogue.of(c.ID()) {
		keys = append(keys, n.keysOfName(r.Name, h)...)
	}
	return keys
}

// withRare adds a plain key to those under which it is announced, if it is rare.
func (n *Node) withRare(keys []content.Hash, plain content.Hash) []content.Hash {
	if n.announcing.rare[plain].told && !slices.Contains(keys, plain) {
		return append(keys, plain)
	}
	return keys
}

// tellRare looks up some of the plain keys that this node leaves to others to tell,
// and tells those that few others do.
func (n *Node) tellRare(ctx context.Context, now time.Time) {
	for _, key := range n.dueRare(now) {
		others := n.countProviders(ctx, key)
		if ctx.Err() != nil {
			return
		}
		n.announcing.mu.Lock()
		if k, ok := n.announcing.rare[key]; ok {
			tell := dht.Rare(others, k.told)
			switch {
			case tell && !k.told:
				n.announce(key)
			case !tell && k.told:
				n.unannounce([]content.Hash{key})
			}
			n.announcing.rare[key] = rareKey{told: tell, next: now.Add(rareEvery)}
		}
		n.announcing.mu.Unlock()
	}
}

// dueRare returns some of the keys that are to be looked up now. New ones are given
// a time of their own within the next round: of many who bring a content at once
// a few look first, and the others find them.
func (n *Node) dueRare(now time.Time) (due []content.Hash) {
	n.announcing.mu.Lock()
	defer n.announcing.mu.Unlock()
	left := make(map[content.Hash]rareKey)
	note := func(key content.Hash, publisher bool) {
		h := n.announcing.holder
		if h.Publisher = publisher; h.Plain(key) {
			return
		}
		k, ok := n.announcing.rare[key]
		if !ok {
			k.next = now.Add(rand.N(rareEvery))
		}
		if _, seen := left[key]; !seen && len(due) < rareAtOnce && !k.next.After(now) {
			due = append(due, key)
		}
		left[key] = k
	}
	for _, c := range n.store.List() {
		note(content.Hash(c.ID()), n.publishes(c.ID()))
		for _, r := range n.catalogue.of(c.ID()) {
			note(content.NameKey(r.Name), n.publishesName(r.Name))
		}
	}
	n.announcing.rare = left
	return due
}

// countProviders returns how many others the DHT names for a key, as far as matters.
func (n *Node) countProviders(ctx context.Context, key content.Hash) (others int) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	for range n.dht.Find(ctx, key) {
		if others++; others == dht.Enough(true) {
			break
		}
	}
	return others
}

// tellsChunk reports whether a chunk of a content that is here is announced.
func tellsChunk(chunk content.Hash, h dht.Holder, publisher bool) bool {
	h.Publisher = publisher
	return h.Speaks() && h.Plain(chunk)
}

func (n *Node) keysOfName(name string, h dht.Holder) []content.Hash {
	h.Publisher = n.publishesName(name)
	return n.withRare(h.Keys(content.NameKey(name)), content.NameKey(name))
}

func (n *Node) publishesName(name string) bool {
	return slices.ContainsFunc(n.catalogue.named(name), n.signed)
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
