package node

import (
	"context"
	"iter"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/discovery/dht"
	"github.com/p2pnode/p2pnode/node/api"
)

// A noticeBoard is a DHT that notes what is announced.
type noticeBoard struct {
	noDHT
	size int // 0: not known

	mu   sync.Mutex
	keys map[content.Hash]bool

	others int // providers of every key
}

func (b *noticeBoard) Find(context.Context, content.Hash) iter.Seq[peer.AddrInfo] {
	return func(yield func(peer.AddrInfo) bool) {
		for i := range b.others {
			if !yield(peer.AddrInfo{ID: peer.ID(strconv.Itoa(i))}) {
				return
			}
		}
	}
}

func (b *noticeBoard) Size() (int, bool) { return b.size, b.size > 0 }

func (b *noticeBoard) Announce(keys ...content.Hash) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range keys {
		b.keys[k] = true
	}
	return nil
}

func (b *noticeBoard) Withdraw(keys ...content.Hash) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range keys {
		delete(b.keys, k)
	}
	return nil
}

func (b *noticeBoard) Retain(_ context.Context, keep func(content.Hash) bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.keys, func(k content.Hash, _ bool) bool { return !keep(k) })
	return nil
}

// What is announced follows the site, its delegates and the size of the enterprise.
func TestAnnouncementsFollowTheStanding(t *testing.T) {
	t.Parallel()
	n, err := New(Config{Data: t.TempDir(), Name: "till-1", Site: "branch", MDNS: []string{"off"}, API: APIOff, Listen: localhost}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := n.dht.Close(); err != nil {
		t.Fatal(err)
	}
	board := &noticeBoard{keys: make(map[content.Hash]bool)}
	n.dht = board
	n.announcing.holder = n.stand(dht.Holder{})
	res, err := local{n}.Add(t.Context(), api.AddRequest{Paths: []string{sample(t, t.TempDir()+"/f", 5<<20, 1)}, Name: "f", Version: "1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	id := mustID(t, res.Content)
	c, ok := n.store.Get(id)
	if !ok {
		t.Fatal("not in the store")
	}
	head, chunk := content.Hash(id), c.Manifest().Chunks[0].Hash
	// check names what is announced of the content and of its first chunk.
	check := func(when string, want ...content.Hash) {
		t.Helper()
		all := []content.Hash{head, dht.SiteKey(head, "branch"), dht.SiteKey(head, "annex"), dht.RegionKey(head, "emea"), chunk}
		for i, k := range all {
			if got := board.keys[k]; got != slices.Contains(want, k) {
				t.Errorf("%s: key %d is announced: %v", when, i, got)
			}
		}
	}
	check("publisher", head, dht.SiteKey(head, "branch"), chunk)

	n.catalogue.remove(id) // now another is the publisher
	n.announce(siteKey("branch"), dht.SiteKey(head, "annex"), content.NameKey("of a content that was removed"))
	n.restand(t.Context(), true)
	check("size not known", dht.SiteKey(head, "branch"))
	if len(board.keys) != 2 || !board.keys[siteKey("branch")] {
		t.Errorf("announced are %v, want the content at the site, and the site", board.keys)
	}
	board.size = 1000
	n.restand(t.Context(), false)
	check("1,000 nodes", head, dht.SiteKey(head, "branch"), chunk)
	board.size = 1100
	if n.restand(t.Context(), false); n.announcing.holder.Nodes != 1000 {
		t.Error("follows an estimate that is hardly another")
	}
	board.size = 2_000_000_000
	n.restand(t.Context(), false)
	check("very many nodes", dht.SiteKey(head, "branch"))
	rare := func(others int, after time.Duration) {
		board.others = others
		n.tellRare(t.Context(), time.Now().Add(after))
	}
	rare(0, 0)
	check("looks up nothing at once", dht.SiteKey(head, "branch"))
	rare(8, rareEvery)
	check("8 others tell", dht.SiteKey(head, "branch"))
	rare(7, rareEvery+time.Minute)
	check("looks again only after a while", dht.SiteKey(head, "branch"))
	rare(7, 3*rareEvery)
	check("7 others tell", head, dht.SiteKey(head, "branch"))
	n.restand(t.Context(), true)
	check("7 others tell, all anew", head, dht.SiteKey(head, "branch"))
	rare(63, 5*rareEvery)
	check("63 others tell", head, dht.SiteKey(head, "branch"))
	rare(64, 7*rareEvery)
	check("64 others tell", dht.SiteKey(head, "branch"))

	board.size = 500
	n.restand(t.Context(), false)
	check("few nodes", head, dht.SiteKey(head, "branch"), chunk)
	n.cfg.Region = "emea"
	n.restand(t.Context(), false)
	check("in a region", head, dht.SiteKey(head, "branch"), dht.RegionKey(head, "emea"), chunk)

	n.announcing.holder.Delegates = []peer.ID{"another"}
	n.unannounce([]content.Hash{chunk, dht.RegionKey(head, "emea")})
	n.restand(t.Context(), false)
	check("delegate now", head, dht.SiteKey(head, "branch"), dht.RegionKey(head, "emea"), chunk)

	n.announcing.holder.Site = "annex"
	n.announce(dht.SiteKey(head, "annex"))
	n.unannounce([]content.Hash{dht.SiteKey(head, "branch")})
	n.restand(t.Context(), false)
	check("moved", head, dht.SiteKey(head, "branch"), dht.RegionKey(head, "emea"), chunk)

	if _, err := (local{n}).remove(c); err != nil {
		t.Fatal(err)
	}
	check("removed")
}

// At a size where a plain key is the publisher's alone, and the publisher is gone, a
// content is found under the key of another site. Holder and leaf are no servers of
// the DHT, and so never met.
func TestContentIsFoundUnderTheKeyOfAnotherSite(t *testing.T) {
	t.Parallel()
	crowded := func(c *Config) { c.nodes = 2_000_000_000 }
	hq := start(t, Config{Name: "hq", Site: "hq", nodes: 2_000_000_000})
	client := func(c *Config) { c.DHT = DHTClient }
	holder := hq.join("holder", "branch", crowded, client)
	other := hq.join("other", "branch", crowded)
	leaf := hq.join("leaf", "annex", crowded, client)
	for _, e := range []*endpoint{holder, leaf} {
		e.node.keeper.dial(t.Context(), peer.AddrInfo{ID: other.node.host.ID(), Addrs: other.node.host.Addrs()})
	}
	file := sample(t, t.TempDir()+"/f", 100_000, 1)
	id := hq.add(api.AddRequest{Paths: []string{file}, Name: "f", Version: "1"}).Content
	holder.get("f", t.TempDir()+"/f")

	named := func(key content.Hash) (ids []peer.ID) {
		for p := range other.node.dht.Find(t.Context(), key) {
			ids = append(ids, p.ID)
		}
		return ids
	}
	for _, key := range []content.Hash{content.Hash(mustID(t, id)), content.NameKey("f")} {
		until(t, patience, func() bool { return slices.Contains(named(dht.SiteKey(key, "branch")), holder.node.host.ID()) })
		if got := named(key); len(got) != 1 || got[0] != hq.node.host.ID() {
			t.Errorf("the plain key names %v, want the publisher alone", got)
		}
	}
	hq.stop()
	until(t, patience, func() bool {
		return slices.Equal(leaf.node.host.Network().Peers(), []peer.ID{other.node.host.ID()})
	})
	leaf.get("f", t.TempDir()+"/f")
}
