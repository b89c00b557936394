package deciders

import (
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
)

// split is today with one thing changed: of what other sites have, a node sees only
// the chunks that it carries for its site. Who carries a chunk is drawn by hash
// among the nodes of the site that are on (rendezvous hashing), and all are taken
// to know who is from their next Tick on; until then they bring nothing. It is the
// plainest way to share the work of a site, and
// shows how a decider stands in front of another one.
type split struct {
	Decider
	world World
	sites []splitSite
	nodes []splitNode
}

type splitSite struct {
	members  []int32 // that are on
	version  int     // of members
	carriers []int32 // of each chunk
	drawn    int     // the version that carriers is of
}

type splitNode struct {
	seen int // the version of the site that is in force
	far  []splitFar
}

// A splitFar is a source in another site.
type splitFar struct {
	source int32
	chunks *roaring.Bitmap
}

func newSplit(w World) (Decider, error) {
	inner, err := newToday(w)
	return &split{
		Decider: inner, world: w,
		sites: make([]splitSite, len(w.Plan().Sites)), nodes: make([]splitNode, len(w.Plan().Wish)),
	}, err
}

// Told implements Decider.
func (s *split) Told(at time.Duration, n int32, ev Event, do *Orders) {
	site, x := &s.sites[s.world.SiteOf(n)], &s.nodes[n]
	switch ev.Kind {
	case Start:
		i, _ := slices.BinarySearch(site.members, n)
		site.members = slices.Insert(site.members, i, n)
		site.version++
	case Stop:
		if i, ok := slices.BinarySearch(site.members, n); ok {
			site.members = slices.Delete(site.members, i, i+1)
		}
		site.version++
		*x = splitNode{}
	case Leave:
		x.far = slices.DeleteFunc(x.far, func(f splitFar) bool { return f.source == ev.Source })
	case Tick:
		if x.seen != site.version { // who carries what has changed
			x.seen = site.version
			for _, f := range x.far {
				s.Decider.Told(at, n, Event{Kind: Have, Far: true, Source: f.source, Chunks: s.carried(n, f.chunks)}, do)
			}
		}
	case Join, Have:
		if ev.Far {
			x.know(ev.Source, ev.Chunks)
			ev.Chunks = s.carried(n, ev.Chunks)
		}
	}
	s.Decider.Told(at, n, ev, do)
}

func (x *splitNode) know(src int32, chunks *roaring.Bitmap) {
	for i := range x.far {
		if x.far[i].source == src {
			x.far[i].chunks = chunks
			return
		}
	}
	x.far = append(x.far, splitFar{src, chunks})
}

// carried returns those of the chunks that node n carries: none before its site has
// settled.
func (s *split) carried(n int32, chunks *roaring.Bitmap) *roaring.Bitmap {
	out := roaring.New()
	site := &s.sites[s.world.SiteOf(n)]
	if s.nodes[n].seen != site.version {
		return out
	}
	if site.drawn != site.version {
		site.draw(s.world.Plan().Chunks)
	}
	for c, carrier := range site.carriers {
		if carrier == n && chunks.Contains(uint32(c)) {
			out.Add(uint32(c))
		}
	}
	return out
}

// draw chooses the carriers.
func (t *splitSite) draw(chunks int) {
	t.carriers, t.drawn = t.carriers[:0], t.version
	for c := range chunks {
		best, most := int32(-1), uint64(0)
		for _, n := range t.members {
			if w := mix(uint64(c)<<32 | uint64(n)); best < 0 || w > most {
				best, most = n, w
			}
		}
		t.carriers = append(t.carriers, best)
	}
}

// mix is the finalizer of splitmix64 (Steele, Lea, Flood, OOPSLA 2014).
func mix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
