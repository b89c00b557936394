package exchange

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/content"
)

func TestGivenChunks(t *testing.T) {
	id, other := content.ID{1}, content.ID{2}
	g := newGiven(2 * time.Second)
	at := func(s float64) time.Time { return epoch.Add(time.Duration(s * float64(time.Second))) }
	g.give(at(0), "berlin", id, 7)
	g.give(at(1), "berlin", id, 8)
	g.give(at(1), "oslo", id, 8)
	for _, c := range []struct {
		site      string
		id        content.ID
		chunk     uint32
		now       float64
		others    int
		elsewhere bool
	}{
		{"oslo", id, 7, 1, 1, true},
		{"oslo", id, 7, 2, 1, false},   // the pause is over
		{"berlin", id, 7, 1, 0, false}, // it may have lost it
		{"oslo", id, 8, 1, 1, false},
		{"rome", id, 8, 2.9, 2, true},
		{"rome", id, 8, 3, 2, false}, // from when the first was given it, whoever came then
		{"rome", id, 9, 1, 0, false}, // nobody was
		{"rome", other, 7, 1, 0, false},
	} {
		if n := g.others(c.site, c.id, c.chunk); n != c.others {
			t.Errorf("chunk %d for %s: %d other sites were given it, want %d", c.chunk, c.site, n, c.others)
		}
		if e := g.elsewhere(at(c.now), c.site, c.id, c.chunk); e != c.elsewhere {
			t.Errorf("chunk %d for %s after %v s: to be asked elsewhere: %t, want %t", c.chunk, c.site, c.now, e, c.elsewhere)
		}
	}
	// Neither to the same site again nor to another one begins a new pause.
	g.give(at(5), "berlin", id, 7)
	if g.elsewhere(at(5), "oslo", id, 7) || g.others("oslo", id, 7) != 1 {
		t.Error("a chunk that a site was given twice counts twice")
	}
	g.give(at(5), "oslo", id, 7)
	if g.elsewhere(at(5), "rome", id, 7) {
		t.Error("sites that can't reach each other wait for one another")
	}
}

func TestGivenContentsAreBounded(t *testing.T) {
	g := newGiven(time.Hour)
	for i := range 2 * maxGiven {
		g.give(epoch, "berlin", content.ID{0}, 1) // in use all the time
		g.give(epoch, "berlin", content.ID{1, byte(i)}, 1)
	}
	if n := len(g.contents); n != maxGiven {
		t.Errorf("%d contents are remembered, want %d", n, maxGiven)
	}
	if g.others("oslo", content.ID{0}, 1) != 1 || g.others("oslo", content.ID{1, 0}, 1) != 0 {
		t.Error("not the one that was given longest ago is forgotten")
	}
}

// orders notes in which order the chunks of a session ended, and how.
type orders struct {
	mu   sync.Mutex
	came []int
	busy []int
	left sync.WaitGroup
}

type orderSink struct {
	*orders
	chunk int
}

func (s orderSink) List([]byte) error                     { return nil }
func (s orderSink) Block(_ int, _ []byte, release func()) { release() }
func (s orderSink) Unwanted(int)                          {}
func (s orderSink) End(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(err, ErrBusy) {
		s.busy = append(s.busy, s.chunk)
	} else if err == nil {
		s.came = append(s.came, s.chunk)
	}
	s.left.Done()
}

// A publisher gives each chunk to one site first; who asks from its own site is not
// concerned.
func TestChunksGoToOneSiteFirst(t *testing.T) {
	const chunks = 8
	h := newHolding(t, chunks*64*kib, 4*kib)
	sites := map[peer.ID]string{}
	gate := make(chan struct{}) // closed when all is asked
	h.before = func(int, int) { <-gate }
	having := newHost(t)
	hosts := map[string]host.Host{"berlin": newHost(t), "oslo": newHost(t), "": newHost(t)}
	for site, at := range hosts {
		sites[at.ID()] = site
	}
	newExchange(t, having, newMemory(h), Config{
		Slots: 1, Courtesy: time.Hour, Site: func(p peer.ID) string { return sites[p] },
	})
	get := func(site string, want ...int) *orders {
		t.Helper()
		at := hosts[site]
		connect(t, at, having)
		s := open(t, newExchange(t, at, newMemory(), Config{}), having.ID())
		o := &orders{}
		for _, c := range want {
			o.left.Add(1)
			if _, err := s.Request(Request{Content: h.encoded.ID, Chunk: c, Want: All, Sink: orderSink{o, c}}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Ping(t.Context()); err != nil { // all of it has been read there
			t.Fatal(err)
		}
		select {
		case <-gate:
		default:
			close(gate)
		}
		o.left.Wait()
		return o
	}
	first := get("berlin", 3, 1, 2)
	if !slices.Equal(first.came, []int{3, 1, 2}) || first.busy != nil {
		t.Errorf("the first site got %v, and %v busy; want all in the order asked", first.came, first.busy)
	}
	second := get("oslo", 1, 5, 3, 6)
	if !slices.Equal(second.came, []int{5, 6}) {
		t.Errorf("the second site got %v, want what the first hasn't: 5 6", second.came)
	}
	if !slices.Equal(second.busy, []int{1, 3}) {
		t.Errorf("the second site was told that it is busy for %v, want 1 3", second.busy)
	}
	own := get("", 1, 5, 3, 6)
	if !slices.Equal(own.came, []int{1, 5, 3, 6}) {
		t.Errorf("this site got %v, want all in the order asked", own.came)
	}
}

// While others want something, a chunk goes to one neighbour, and the next gets what
// nobody was given.
func TestChunksGoToOneNeighbourFirst(t *testing.T) {
	const chunks, held = 8, 7
	h := newHolding(t, chunks*64*kib, 4*kib)
	begun, gate := make(chan struct{}), make(chan struct{})
	var once sync.Once
	h.before = func(chunk, _ int) {
		if chunk == held {
			once.Do(func() { close(begun) })
			<-gate
		}
	}
	having := newHost(t)
	newExchange(t, having, newMemory(h), Config{Near: func(peer.ID) bool { return true }})
	get := func(want ...int) *orders {
		t.Helper()
		at := newHost(t)
		connect(t, at, having)
		s := open(t, newExchange(t, at, newMemory(), Config{}), having.ID())
		o := &orders{}
		for _, c := range want {
			o.left.Add(1)
			if _, err := s.Request(Request{Content: h.encoded.ID, Chunk: c, Want: All, Sink: orderSink{o, c}}); err != nil {
				t.Fatal(err)
			}
		}
		return o
	}
	first := get(1)
	first.left.Wait()
	slow := get(held) // has its turn until the gate opens
	<-begun
	second := get(1, 5)
	second.left.Wait()
	close(gate)
	slow.left.Wait()
	if !slices.Equal(second.came, []int{5}) || !slices.Equal(second.busy, []int{1}) {
		t.Errorf("got %v, and %v busy; want 5, which nobody was given, and 1 to be had elsewhere", second.came, second.busy)
	}
}

// Who is alone in asking gets all, and so does who was given it before.
func TestNeighbourAloneGetsAll(t *testing.T) {
	y := newCourtesy(Config{Near: func(p peer.ID) bool { return p != "far" }})
	id := content.ID{1}
	y.gave("a", ask{content: id, chunk: 1})
	for _, c := range []struct {
		peer   peer.ID
		others bool
		busy   bool
	}{{"b", true, true}, {"b", false, false}, {"a", true, false}, {"far", true, false}} {
		jobs := []*job{{worker: &sending{ask: ask{content: id, chunk: 1}}}}
		if _, busy := y.choose(c.peer, jobs, func() bool { return c.others }); busy != c.busy {
			t.Errorf("chunk for %s while others ask: %t: busy %t, want %t", c.peer, c.others, busy, c.busy)
		}
	}
}
