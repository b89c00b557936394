package exchange

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

func TestManifestComesCheckedWithReleases(t *testing.T) {
	h := newHolding(t, 5*mib, 64*kib)
	h.releases = [][]byte{[]byte("newest"), []byte("older")}
	_, _, s := pair(t, newMemory(h), Config{})

	encoded, releases, err := s.Manifest(t.Context(), h.encoded.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(encoded.Root, h.encoded.Root) || encoded.ID != h.encoded.ID || len(encoded.Segments) != 0 {
		t.Error("the manifest differs")
	}
	if len(releases) != 2 || string(releases[0]) != "newest" || string(releases[1]) != "older" {
		t.Errorf("releases are %q", releases)
	}
	if _, _, err := s.Manifest(t.Context(), content.ID{1}); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("manifest of what the peer lacks: %v", err)
	}
}

func TestManifestOfManySegments(t *testing.T) {
	m := content.Manifest{Files: []content.File{{Path: ".", Mode: fs.ModeDir | 0o755, ModTime: time.Unix(1, 0).UTC()}}}
	for i := range 60_000 {
		name := fmt.Sprintf("file-with-a-name-of-some-length-%08d", i)
		m.Files = append(m.Files, content.File{Path: name, Mode: 0o644, ModTime: time.Unix(1, 0).UTC()})
	}
	encoded, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if len(encoded.Segments) < 2 {
		t.Fatalf("%d segments: not what is to be tested", len(encoded.Segments))
	}
	_, _, s := pair(t, newMemory(&holding{encoded: encoded}), Config{})
	got, _, err := s.Manifest(t.Context(), encoded.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := content.Decode(got.ID, got.Root, got.Segments); err != nil {
		t.Error(err)
	}
}

func TestReleasesOfAName(t *testing.T) {
	library := newMemory()
	for i := range 2 * maxEnvelopes {
		library.names["firefox"] = append(library.names["firefox"], fmt.Appendf(nil, "release %d", i))
	}
	_, _, s := pair(t, library, Config{})
	got, err := s.Releases(t.Context(), "firefox")
	if err != nil || len(got) != maxEnvelopes || string(got[0]) != "release 0" {
		t.Errorf("got %d releases, %v", len(got), err)
	}
	if _, err := s.Releases(t.Context(), "chrome"); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("releases of an unknown name: %v", err)
	}
	if _, err := s.Releases(t.Context(), ""); err == nil {
		t.Error("releases of no name")
	}
}

func TestRequestBringsWhatIsWanted(t *testing.T) {
	h := newHolding(t, 3*mib+5, 64*kib)
	having, fetching, s := pair(t, newMemory(h), Config{})

	all := fetch(t, s, h, 0, All, true)
	some := fetch(t, s, h, 1, 1<<3|1<<15, false)
	list := fetch(t, s, h, 2, 0, true)
	last := fetch(t, s, h, 3, All, false)
	for i, b := range []*basket{all, some, list, last} {
		if err := b.wait(t); err != nil {
			t.Errorf("request %d: %v", i, err)
		}
	}
	if all.got != 1<<16-1 || !bytes.Equal(all.list, h.nodes[0]) {
		t.Errorf("all: got %#x and a list of %d bytes", all.got, len(all.list))
	}
	if some.got != 1<<3|1<<15 || some.list != nil {
		t.Errorf("some: got %#x, list %t", some.got, some.list != nil)
	}
	if list.got != 0 || !bytes.Equal(list.list, h.nodes[2]) {
		t.Errorf("list: got %#x and a list of %d bytes", list.got, len(list.list))
	}
	if last.got != 1 {
		t.Errorf("last: got %#x", last.got)
	}
	want := Counters{Requests: 4, Blocks: 16 + 2 + 1, Bytes: 18*64*kib + 5}
	if got := fetching.Stats(); got.Fetched != want || got.Fetching[s.Peer()] != want {
		t.Errorf("fetched %+v, want %+v", got, want)
	}
	eventually(t, "the server counts the same", func() bool { return having.Stats().Served == want })
}

func TestRequestOfWhatThePeerLacks(t *testing.T) {
	h := newHolding(t, 4*mib, 64*kib).only(0, 2)
	h.verified[2] = 0b1011
	having, fetching, s := pair(t, newMemory(h), Config{})

	part := fetch(t, s, h, 2, All, false)
	hole := fetch(t, s, h, 2, 0b0110, false)
	none := fetch(t, s, h, 1, All, false)
	beyond := newBasket(nil, 0)
	if _, err := s.Request(Request{Content: h.encoded.ID, Chunk: 77, Want: All, Sink: beyond}); err != nil {
		t.Fatal(err)
	}
	other := newBasket(nil, 0)
	if _, err := s.Request(Request{Content: content.ID{9}, Want: All, List: true, Sink: other}); err != nil {
		t.Fatal(err)
	}
	for i, b := range []*basket{part, hole, none, beyond, other} {
		if err := b.wait(t); !errors.Is(err, content.ErrNotFound) {
			t.Errorf("request %d: %v", i, err)
		}
	}
	if part.got != 0b1011 || hole.got != 0b0010 || none.got != 0 {
		t.Errorf("got %#b, %#b, %#b", part.got, hole.got, none.got)
	}
	if err := fetch(t, s, h, 0, All, false).wait(t); err != nil {
		t.Errorf("the session is spoilt: %v", err)
	}
	if got := fetching.Stats().Fetched.Refused; got != 5 {
		t.Errorf("%d refused", got)
	}
	eventually(t, "the server counts the same", func() bool { return having.Stats().Served.Refused == 5 })
}

func TestRequestThatAsksForNothingIsRefused(t *testing.T) {
	_, _, s := pair(t, newMemory(), Config{})
	for _, r := range []Request{{}, {Chunk: -1, Want: 1}, {Chunk: MaxChunks, Want: 1}} {
		if _, err := s.Request(r); err == nil {
			t.Errorf("%+v was sent", r)
		}
	}
}

func TestBadListEndsTheRequest(t *testing.T) {
	h := newHolding(t, 2*mib, 64*kib)
	_, _, s := pair(t, newMemory(h), Config{})
	bad := errors.New("bad list")
	b := newBasket(h, 0)
	b.listErr = bad
	if _, err := s.Request(Request{Content: h.encoded.ID, Want: All, List: true, Sink: b}); err != nil {
		t.Fatal(err)
	}
	if err := b.wait(t); err != bad {
		t.Errorf("ended with %v", err)
	}
	if err := fetch(t, s, h, 1, All, true).wait(t); err != nil {
		t.Error(err)
	}
	if b.got != 0 {
		t.Errorf("blocks came after a bad list: %#x", b.got)
	}
}

func TestCancelEndsARequestSoon(t *testing.T) {
	h := newHolding(t, 4*mib, 64*kib)
	reading, proceed := make(chan struct{}), make(chan struct{})
	var once sync.Once
	h.before = func(chunk, block int) {
		if chunk == 0 && block == 5 {
			once.Do(func() { close(reading) })
			<-proceed
		}
	}
	having, _, s := pair(t, newMemory(h), Config{})
	current, queued := newBasket(h, 0), newBasket(h, 1)
	narrowCurrent, err := s.Request(Request{Content: h.encoded.ID, Chunk: 0, Want: All, Sink: current})
	if err != nil {
		t.Fatal(err)
	}
	narrowQueued, err := s.Request(Request{Content: h.encoded.ID, Chunk: 1, Want: All, Sink: queued})
	if err != nil {
		t.Fatal(err)
	}
	<-reading
	for range 2 {
		narrowCurrent(0)
		narrowQueued(0)
	}
	// The peer is stuck in reading a block: the sinks are told all the same.
	for _, b := range []*basket{current, queued} {
		if err := b.wait(t); !errors.Is(err, ErrCancelled) {
			t.Errorf("ended with %v", err)
		}
	}
	eventually(t, "the server has ended both", func() bool { return having.Stats().Served.Cancelled == 2 })
	close(proceed)
	if err := fetch(t, s, h, 2, All, false).wait(t); err != nil {
		t.Error(err)
	}
	if queued.got != 0 || current.got>>5 != 0 {
		t.Errorf("got %#x and %#x", current.got, queued.got)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) != 0 || s.requests != 0 {
		t.Errorf("%d pending, %d requests", len(s.pending), s.requests)
	}
}

func TestNarrowedRequestBringsWhatIsKept(t *testing.T) {
	h := newHolding(t, 4*mib, 64*kib)
	reading, proceed := make(chan struct{}), make(chan struct{})
	var once sync.Once
	h.before = func(chunk, block int) {
		if chunk == 0 && block == 2 {
			once.Do(func() { close(reading) })
			<-proceed
		}
	}
	having, _, s := pair(t, newMemory(h), Config{})
	ask := func(chunk int) (*basket, func(uint64)) {
		b := newBasket(h, chunk)
		narrow, err := s.Request(Request{Content: h.encoded.ID, Chunk: chunk, Want: All, Sink: b})
		if err != nil {
			t.Fatal(err)
		}
		return b, narrow
	}
	current, narrowCurrent := ask(0)
	queued, narrowQueued := ask(1)
	last, cancelLast := ask(2)
	<-reading
	narrowCurrent(0b0111_1111)
	narrowCurrent(0b1001_1111) // what was given up isn't wanted again
	narrowQueued(0b0010_0110)
	cancelLast(0)
	eventually(t, "the server has read that", func() bool { return having.Stats().Served.Cancelled == 1 })
	close(proceed)
	for _, b := range []*basket{current, queued} {
		if err := b.wait(t); err != nil {
			t.Errorf("ended with %v", err)
		}
	}
	_ = last.wait(t)
	if current.got != 0b0001_1111 || queued.got != 0b0010_0110 {
		t.Errorf("got %#b and %#b", current.got, queued.got)
	}
	narrowCurrent(1) // it is over
	if err := fetch(t, s, h, 3, All, true).wait(t); err != nil {
		t.Error(err)
	}
	if sent := having.Stats().Served.Bytes; sent >= 2*mib {
		t.Errorf("%d bytes were sent", sent)
	}
}

func TestSinkMayCancelFromItsBlocks(t *testing.T) {
	h := newHolding(t, mib, 64*kib)
	_, _, s := pair(t, newMemory(h), Config{})
	b := &canceller{basket: newBasket(h, 0), ready: make(chan struct{})}
	narrow, err := s.Request(Request{Content: h.encoded.ID, Want: All, Sink: b})
	if err != nil {
		t.Fatal(err)
	}
	b.narrow = narrow
	close(b.ready)
	if err := b.wait(t); err != nil && !errors.Is(err, ErrCancelled) {
		t.Error(err)
	}
	if _, err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

type canceller struct {
	*basket
	ready  chan struct{}
	narrow func(uint64)
}

func (c *canceller) Block(index int, data []byte, release func()) {
	<-c.ready
	c.narrow(0)
	c.basket.Block(index, data, release)
}

func TestRequestsAreBounded(t *testing.T) {
	h := newHolding(t, 2*mib, 64*kib)
	proceed := make(chan struct{})
	h.before = func(int, int) { <-proceed }
	_, _, s := pair(t, newMemory(h), Config{})
	var baskets []*basket
	for range maxRequests {
		baskets = append(baskets, fetch(t, s, h, 0, 1, false))
	}
	if _, err := s.Request(Request{Content: h.encoded.ID, Want: 1, Sink: newBasket(h, 0)}); !errors.Is(err, ErrBusy) {
		t.Errorf("one too many: %v", err)
	}
	// Answers overtake blocks, but not the one that is being read.
	done := make(chan error, 1)
	go func() {
		_, _, err := s.Manifest(t.Context(), h.encoded.ID)
		done <- err
	}()
	close(proceed)
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, b := range baskets {
		if err := b.wait(t); err != nil {
			t.Error(err)
		}
	}
	if err := fetch(t, s, h, 0, 1, false).wait(t); err != nil {
		t.Error(err)
	}
}

func TestSlowSinkStopsTheReading(t *testing.T) {
	h := newHolding(t, 8*mib, 64*kib)
	_, fetching, s := pair(t, newMemory(h), Config{Held: 5})
	hold := make(chan struct{})
	var baskets []*basket
	for c := range 8 {
		b := newBasket(h, c)
		b.hold = hold
		if _, err := s.Request(Request{Content: h.encoded.ID, Chunk: c, Want: All, Sink: b}); err != nil {
			t.Fatal(err)
		}
		baskets = append(baskets, b)
	}
	eventually(t, "five blocks are held", func() bool { return fetching.Stats().Fetched.Blocks == 5 })
	time.Sleep(50 * time.Millisecond) // for more to come, if they did
	if n := fetching.Stats().Fetched.Blocks; n != 5 {
		t.Errorf("%d blocks were read", n)
	}
	close(hold)
	for _, b := range baskets {
		if err := b.wait(t); err != nil {
			t.Error(err)
		}
	}
}

// What all peers together have sent and nobody has released is bounded too.
func TestSlowSinksStopTheReadingOfAll(t *testing.T) {
	h := newHolding(t, 8*mib, 64*kib)
	at := newHost(t)
	fetching := newExchange(t, at, newMemory(), Config{Held: 5, HeldAll: 12})
	hold := make(chan struct{})
	var baskets []*basket
	for range 4 {
		from := newHost(t)
		connect(t, at, from)
		newExchange(t, from, newMemory(h), Config{})
		s := open(t, fetching, from.ID())
		for c := range 2 {
			b := newBasket(h, c)
			b.hold = hold
			if _, err := s.Request(Request{Content: h.encoded.ID, Chunk: c, Want: All, Sink: b}); err != nil {
				t.Fatal(err)
			}
			baskets = append(baskets, b)
		}
	}
	eventually(t, "twelve blocks are held", func() bool { return fetching.Stats().Fetched.Blocks == 12 })
	time.Sleep(50 * time.Millisecond) // for more to come, if they did
	if n := fetching.Stats().Fetched.Blocks; n != 12 {
		t.Errorf("%d blocks were read", n)
	}
	close(hold)
	for _, b := range baskets {
		if err := b.wait(t); err != nil {
			t.Error(err)
		}
	}
}

func TestSessionIsSharedAndReopened(t *testing.T) {
	h := newHolding(t, 2*mib, 64*kib)
	a, b := newHost(t), newHost(t)
	connect(t, b, a)
	having := newExchange(t, a, newMemory(h), Config{})
	fetching := newExchange(t, b, newMemory(), Config{})

	sessions := make(chan *Session, 8)
	for range cap(sessions) {
		go func() {
			s, err := fetching.Session(t.Context(), a.ID())
			if err != nil {
				t.Error(err)
			}
			sessions <- s
		}()
	}
	first := <-sessions
	for range cap(sessions) - 1 {
		if s := <-sessions; s != first {
			t.Error("there are two sessions")
		}
	}
	if err := fetch(t, first, h, 0, All, true).wait(t); err != nil {
		t.Fatal(err)
	}

	proceed := make(chan struct{})
	h.before = func(int, int) { <-proceed }
	left := fetch(t, first, h, 1, All, true)
	eventually(t, "the server has it", func() bool { return having.Stats().Served.Requests == 2 })
	for _, c := range a.Network().ConnsToPeer(b.ID()) {
		c.Close()
	}
	if err := left.wait(t); !errors.Is(err, ErrGone) {
		t.Errorf("the connection went, the request ended with %v", err)
	}
	close(proceed)
	<-first.Done()
	if !errors.Is(first.Err(), ErrGone) {
		t.Errorf("the session ended with %v", first.Err())
	}
	if _, err := first.Request(Request{Content: h.encoded.ID, Want: All, Sink: left}); !errors.Is(err, ErrGone) {
		t.Errorf("request on an ended session: %v", err)
	}
	if _, err := first.Ping(t.Context()); !errors.Is(err, ErrGone) {
		t.Errorf("ping on an ended session: %v", err)
	}
	eventually(t, "the connection is gone on both sides", func() bool {
		return len(a.Network().Conns()) == 0 && len(b.Network().Conns()) == 0
	})
	connect(t, b, a)
	second := open(t, fetching, a.ID())
	if second == first {
		t.Fatal("the same session again")
	}
	if err := fetch(t, second, h, 1, All, true).wait(t); err != nil {
		t.Error(err)
	}
	if got := fetching.Stats().Fetched.Blocks; got != 32 {
		t.Errorf("%d blocks counted over both sessions", got)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if err := second.Err(); !errors.Is(err, ErrGone) || errors.Is(err, ErrProtocol) {
		t.Errorf("after Close: %v", err)
	}
}

func TestSessionWithNobody(t *testing.T) {
	x := newExchange(t, newHost(t), newMemory(), Config{})
	if _, err := x.Session(t.Context(), peer.ID("nobody")); err == nil {
		t.Error("a session with nobody")
	}
	stranger := newHost(t) // has no exchange
	connect(t, x.host, stranger)
	if _, err := x.Session(t.Context(), stranger.ID()); err == nil {
		s, _ := x.Session(t.Context(), stranger.ID())
		if _, err := s.Ping(t.Context()); err == nil {
			t.Error("a session with who has no exchange")
		}
	}
	idle, err := New(newHost(t), prefix, newMemory(), Config{}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := idle.Session(ctx, stranger.ID()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a session before Run: %v", err)
	}
}

func TestBothDirectionsAtOnce(t *testing.T) {
	h, g := newHolding(t, 16*mib, 64*kib), newHolding(t, 16*mib+1, 64*kib)
	a, b := newHost(t), newHost(t)
	connect(t, b, a)
	xa := newExchange(t, a, newMemory(h), Config{})
	xb := newExchange(t, b, newMemory(g), Config{})
	var wg sync.WaitGroup
	wg.Go(func() { transfer(t, open(t, xb, a.ID()), h) })
	wg.Go(func() { transfer(t, open(t, xa, b.ID()), g) })
	wg.Wait()
}

func TestTransferOfManySizes(t *testing.T) {
	h := newHolding(t, 64*mib, 61*kib+7)
	_, _, s := pair(t, newMemory(h), Config{})
	transfer(t, s, h)
	g := newHolding(t, 9*mib, content.MaxBlock)
	_, _, s = pair(t, newMemory(g), Config{})
	transfer(t, s, g)
}

func TestTransferOverQUIC(t *testing.T) {
	const listen = "/ip4/127.0.0.1/udp/0/quic-v1"
	h := newHolding(t, 8*mib, 64*kib)
	a, b := newHostOn(t, listen, libp2p.Transport(libp2pquic.NewTransport)), newHostOn(t, listen, libp2p.Transport(libp2pquic.NewTransport))
	connect(t, b, a)
	newExchange(t, a, newMemory(h), Config{})
	s := open(t, newExchange(t, b, newMemory(), Config{}), a.ID())
	transfer(t, s, h)
}

// transfer fetches all of h in random order, some requests cancelled or narrowed and
// asked again.
func transfer(t *testing.T, s *Session, h *holding) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var baskets []*basket
	for _, c := range rand.New(rand.NewPCG(seed, 0)).Perm(len(h.nodes)) {
		if c%7 == 3 {
			b := newBasket(h, c)
			narrow, err := s.Request(Request{Content: h.encoded.ID, Chunk: c, Want: All, Sink: b})
			if err != nil {
				t.Error(err)
				return
			}
			narrow(uint64(c%2) * 0b1011) // cancels every other
			if err := b.wait(t); err != nil && !errors.Is(err, ErrCancelled) {
				t.Error(err)
			}
		}
		baskets = append(baskets, fetch(t, s, h, c, All, c%2 == 0))
	}
	for _, b := range baskets {
		if err := b.wait(t); err != nil {
			t.Errorf("chunk %d: %v", b.chunk, err)
		}
		if b.got != 1<<len(h.blocks[b.chunk])-1 {
			t.Errorf("chunk %d: got %#x", b.chunk, b.got)
		}
	}
}

func TestPing(t *testing.T) {
	_, _, s := pair(t, newMemory(), Config{})
	d, err := s.Ping(t.Context())
	if err != nil || d <= 0 || d > patience {
		t.Errorf("took %v, %v", d, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Ping(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("ping without time: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []Config{{Sessions: -1}, {Held: -1}, {HeldAll: -1}, {Slots: -1}, {Courtesy: -1}, {Stall: -1}} {
		if _, err := New(nil, prefix, newMemory(), c, zap.NewNop()); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
