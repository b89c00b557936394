package exchange

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"

	"github.com/p2pnode/p2pnode/content"
)

// G42: a member that asks on a hundred streams, for as much as it may on each and for
// the largest blocks there are, gets its share of what a node sends and no more. The
// others ask for less, of the smallest.
func TestGreedyMemberGetsItsShare(t *testing.T) {
	const others, each = 5, 4 * mib
	large, small := newHolding(t, 16*mib, content.MaxBlock), newHolding(t, 4*mib, 16*kib)
	having := newExchange(t, newHost(t), newMemory(large, small), Config{Slots: 2})

	greedy := newHost(t)
	for range 99 {
		stream := client(t, greedy, having.host)
		var all []byte
		for id := uint32(1); id <= maxRequests; id++ {
			all = append(all, asking(id, large.encoded.ID, id%uint32(len(large.nodes)), All)...)
		}
		_, _ = stream.Write(all) // the one before it ends, and what it was to bring
		readOne(stream, true)
	}
	took := taking(t, greedy, having, large, maxRequests)
	var shares []*atomic.Int64
	for range others {
		shares = append(shares, taking(t, newHost(t), having, small, 64))
	}
	begun := func(counts ...*atomic.Int64) bool {
		for _, c := range counts {
			if c.Load() < mib {
				return false
			}
		}
		return true
	}
	eventually(t, "all are served", func() bool { return begun(append(shares, took)...) })
	before, start := took.Load(), make([]int64, others)
	for i, s := range shares {
		start[i] = s.Load()
	}
	var sum int64
	eventually(t, "the others have had enough to tell", func() bool {
		sum = 0
		for i, s := range shares {
			sum += s.Load() - start[i]
		}
		return sum >= others*each
	})
	got := took.Load() - before
	share := float64(got) / float64(got+sum)
	t.Logf("%.1f %% of what %d were sent", 100*share, others+1)
	if most := 1.0/(others+1) + 0.10; share > most {
		t.Errorf("the greedy one got %.1f %%, want at most %.1f %%", 100*share, 100*most)
	}
}

// taking has a peer fetch a content's chunks again and again, so many at one time,
// until the test ends. It returns how many bytes have come.
func taking(t *testing.T, at host.Host, from *Exchange, h *holding, atOnce int) *atomic.Int64 {
	t.Helper()
	connect(t, at, from.host)
	s := open(t, newExchange(t, at, newMemory(), Config{}), from.host.ID())
	asked := make(chan struct{}, atOnce)
	c := &counter{asked: asked}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case asked <- struct{}{}:
			case <-s.Done():
				return
			}
			if _, err := s.Request(Request{Content: h.encoded.ID, Chunk: i % len(h.nodes), Want: All, Sink: c}); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return &c.bytes
}

// Who asks for much and reads nothing holds nobody up, though one only is served at a
// time.
func TestSlowReaderHoldsUpNobody(t *testing.T) {
	h := newHolding(t, 32*mib, 64*kib)
	having := newExchange(t, newHost(t), newMemory(h), Config{Slots: 1})
	for range 3 {
		stream := client(t, newHost(t), having.host)
		var all []byte
		for id := uint32(1); id <= 64; id++ {
			all = append(all, asking(id, h.encoded.ID, id%32, All)...)
		}
		if _, err := stream.Write(all); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the three can't take more", func() bool {
		before := having.Stats().Served.Bytes
		time.Sleep(10 * time.Millisecond)
		return before > 0 && having.Stats().Served.Bytes == before
	})
	at := newHost(t)
	connect(t, at, having.host)
	s := open(t, newExchange(t, at, newMemory(), Config{}), having.host.ID())
	start := time.Now()
	var baskets []*basket
	for chunk := range 32 {
		baskets = append(baskets, fetch(t, s, h, chunk, All, true))
	}
	for _, b := range baskets {
		if err := b.wait(t); err != nil {
			t.Error(err)
		}
	}
	if took := time.Since(start); took > having.config.Stall/2 {
		t.Errorf("32 MiB took %v", took)
	}
}

// What is asked of several contents on one stream comes by turns: none of the flows
// hears nothing while all of another one's is sent.
func TestContentsComeByTurns(t *testing.T) {
	first, second, third := newHolding(t, 3*mib, 64*kib), newHolding(t, 2*mib, 64*kib), newHolding(t, mib, 64*kib)
	reading, proceed := make(chan struct{}), make(chan struct{})
	var order []string // by the one goroutine that reads
	for name, h := range map[string]*holding{"a": first, "b": second, "c": third} {
		h.before = func(chunk, block int) {
			if order = append(order, fmt.Sprint(name, chunk)); len(order) == 1 {
				close(reading)
				<-proceed
			}
		}
	}
	having, _, s := pair(t, newMemory(first, second, third), Config{})
	var baskets []*basket
	ask := func(h *holding, chunk int, want uint64) {
		b := newBasket(h, chunk)
		if _, err := s.Request(Request{Content: h.encoded.ID, Chunk: chunk, Want: want, Sink: b}); err != nil {
			t.Fatal(err)
		}
		baskets = append(baskets, b)
	}
	ask(first, 0, 0b111)
	<-reading
	ask(first, 1, 0b1)
	ask(second, 0, 0b11)
	ask(third, 0, 0b11)
	ask(second, 1, 0b11)
	eventually(t, "all requests are queued", func() bool {
		having.mu.Lock()
		defer having.mu.Unlock()
		for server := range having.servers {
			server.mu.Lock()
			n := server.counts[requestJob]
			server.mu.Unlock()
			return n == 5
		}
		return false
	})
	close(proceed)
	for _, b := range baskets {
		if err := b.wait(t); err != nil {
			t.Error(err)
		}
	}
	if got, want := strings.Join(order, " "), "a0 b0 c0 a0 b0 c0 a0 b1 a1 b1"; got != want {
		t.Errorf("read %s, want %s", got, want)
	}
}
