package exchange

import (
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/content"
)

// maxGiven bounds the contents of which it is remembered what other sites were given;
// of a content of 10,000 chunks a site takes 2 kB, the chunks 400 kB.
const maxGiven = 64

// nearPause is for how long a chunk that went to one neighbour is left to be had there.
// It is longer than a request waits behind the rest, which with eight peers at 250 Mbit/s
// is about a second: what was asked for before it was given shall not be given again.
// Whoever asks later gets it.
const nearPause = 5 * time.Second

// given remembers which chunks went to which other sites, so that each goes to one of
// them first and the sites have something to pass on to each other: a publisher's
// uplink then carries a content about once, and not once for each site. It has no lock
// and no clock.
type given struct {
	pause    time.Duration // from when a chunk was first given, for which it isn't to a second site
	contents map[content.ID]*givenContent
	uses     uint64
}

type givenContent struct {
	sites  map[string]*roaring.Bitmap // what each was given
	chunks map[uint32]givenChunk
	used   uint64 // by given.uses
}

type givenChunk struct {
	sites int       // how many were given it
	first time.Time // when the first of them was
}

func newGiven(pause time.Duration) *given {
	return &given{pause: pause, contents: make(map[content.ID]*givenContent)}
}

// others returns how many sites beside that one were given a chunk.
func (g *given) others(site string, id content.ID, chunk uint32) int {
	c := g.contents[id]
	if c == nil {
		return 0
	}
	n := c.chunks[chunk].sites
	if b := c.sites[site]; b != nil && b.Contains(chunk) {
		n--
	}
	return n
}

// elsewhere reports whether a chunk that site hasn't been given went to another one so
// lately that it should ask there. Whoever was given it before gets it again: it may
// have lost it. Once the pause is over, sites that still ask can't reach each other,
// and all get it.
func (g *given) elsewhere(now time.Time, site string, id content.ID, chunk uint32) bool {
	c := g.contents[id]
	if c == nil {
		return false
	}
	if b := c.sites[site]; b != nil && b.Contains(chunk) {
		return false
	}
	at := c.chunks[chunk]
	return at.sites > 0 && now.Sub(at.first) < g.pause
}

// give notes that a chunk goes to a site.
func (g *given) give(now time.Time, site string, id content.ID, chunk uint32) {
	c := g.contents[id]
	if c == nil {
		g.makeRoom()
		c = &givenContent{sites: make(map[string]*roaring.Bitmap), chunks: make(map[uint32]givenChunk)}
		g.contents[id] = c
	}
	g.uses++
	c.used = g.uses
	b := c.sites[site]
	if b == nil {
		b = roaring.New()
		c.sites[site] = b
	}
	if b.CheckedAdd(chunk) {
		at := c.chunks[chunk]
		if at.sites++; at.sites == 1 {
			at.first = now
		}
		c.chunks[chunk] = at
	}
}

// makeRoom forgets the content that was given longest ago if there are too many.
func (g *given) makeRoom() {
	if len(g.contents) < maxGiven {
		return
	}
	var oldest content.ID
	least := ^uint64(0)
	for id, c := range g.contents {
		if c.used < least {
			oldest, least = id, c.used
		}
	}
	delete(g.contents, oldest)
}

// A courtesy holds servers to given. A nil one holds them to nothing.
type courtesy struct {
	site func(peer.ID) string
	near func(peer.ID) bool

	mu    sync.Mutex
	given *given // to sites
	peers *given // to neighbours
}

func newCourtesy(c Config) *courtesy {
	if c.Site == nil && c.Near == nil {
		return nil
	}
	return &courtesy{site: c.Site, near: c.Near, given: newGiven(c.Courtesy), peers: newGiven(nearPause)}
}

// of returns what is remembered for p, and by which name; nil if nothing is.
func (y *courtesy) of(p peer.ID) (g *given, name string) {
	if y.site != nil {
		if name = y.site(p); name != "" {
			return y.given, name
		}
	}
	if y.near != nil && y.near(p) {
		return y.peers, string(p)
	}
	return nil, ""
}

// choose returns which of the requests of p that wait comes first, and whether it is to
// be answered busy: a neighbour's only while others want something, too. They are in
// the order asked; there is one at least.
func (y *courtesy) choose(p peer.ID, requests []*job, others func() bool) (first int, busy bool) {
	if y == nil || requests[0].worker.(*sending).holding != nil { // it has begun
		return 0, false
	}
	g, name := y.of(p)
	if g == nil {
		return 0, false
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	least := -1
	for i, j := range requests {
		a := j.worker.(*sending).ask
		if n := g.others(name, a.content, a.chunk); least < 0 || n < least {
			first, least = i, n
		}
		if least == 0 {
			return first, false
		}
	}
	a := requests[first].worker.(*sending).ask
	return first, g.elsewhere(time.Now(), name, a.content, a.chunk) && (g == y.given || others())
}

// gave notes that some of a chunk was sent to p.
func (y *courtesy) gave(p peer.ID, a ask) {
	if y == nil {
		return
	}
	if g, name := y.of(p); g != nil {
		y.mu.Lock()
		defer y.mu.Unlock()
		g.give(time.Now(), name, a.content, a.chunk)
	}
}
