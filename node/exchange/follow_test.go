package exchange

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/p2pnode/p2pnode/content"
)

func TestFollowTellsWhatCame(t *testing.T) {
	h := newHolding(t, 100*64*kib, 4*kib).only(1, 3)
	_, _, s := pair(t, newMemory(h), Config{})
	f := followed(t, s, h)
	f.next(t, 1, 3)
	h.add(0)
	f.next(t, 0, 1, 3)
	began := time.Now()
	for c := 10; c < 60; c++ {
		h.add(c)
	}
	eventually(t, "all are told", func() bool { return f.latest().GetCardinality() == 53 })
	if n, most := f.calls(), 4+int(time.Since(began)/Spread); n > most {
		t.Errorf("50 chunks in a moment took %d maps, want at most %d", n, most)
	}
	h.drop(3)
	eventually(t, "a loss is told", func() bool { return !f.latest().Contains(3) && f.latest().GetCardinality() == 52 })
	f.stop()
	f.stop()
	n := f.calls()
	h.add(3)
	if _, err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.calls() != n {
		t.Error("a map came after stop")
	}
	eventually(t, "the follow is forgotten", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.pending) == 0 && s.follows == 0
	})
}

// What is here is told in small buffers, since it is told to all peers at once.
func TestTellingTakesSmallBuffers(t *testing.T) {
	h := newHolding(t, 100*64*kib, 4*kib).only(1)
	having, _, s := pair(t, newMemory(h), Config{})
	f := followed(t, s, h)
	f.next(t, 1)
	h.add(0)
	f.next(t, 0, 1)
	if n := having.buffers.made.Load(); n == 0 || n >= outSize {
		t.Errorf("two maps of a few bytes took buffers of %d", n)
	}
}

func TestFollowOfWhatComesLater(t *testing.T) {
	h := newHolding(t, 10*mib, 64*kib).only()
	library := newMemory()
	having, _, s := pair(t, library, Config{})
	f := followed(t, s, h)
	f.next(t) // an empty map: the peer has answered
	library.put(h)
	having.Arrived()
	h.add(4)
	eventually(t, "the chunk is told", func() bool { return f.latest().Contains(4) })
	f.stop()
}

func TestFollowsAreBounded(t *testing.T) {
	_, _, s := pair(t, newMemory(), Config{})
	var stops []func()
	for range maxFollows {
		stop, err := s.Follow(content.ID{1}, 1, func(*roaring.Bitmap) {})
		if err != nil {
			t.Fatal(err)
		}
		stops = append(stops, stop)
	}
	if _, err := s.Follow(content.ID{1}, 1, func(*roaring.Bitmap) {}); !errors.Is(err, ErrBusy) {
		t.Errorf("one too many: %v", err)
	}
	for _, stop := range stops {
		stop()
	}
	eventually(t, "there is room again", func() bool {
		stop, err := s.Follow(content.ID{1}, 1, func(*roaring.Bitmap) {})
		if err == nil {
			stop()
		}
		return err == nil
	})
	if _, err := s.Follow(content.ID{1}, MaxChunks+1, nil); err == nil {
		t.Error("a content of more chunks than any has")
	}
}

// follower is what a follow told.
type follower struct {
	stop func()
	maps chan *roaring.Bitmap

	mu   sync.Mutex
	last *roaring.Bitmap
	n    int
}

func followed(t *testing.T, s *Session, h *holding) *follower {
	t.Helper()
	f := &follower{maps: make(chan *roaring.Bitmap, 1000), last: roaring.New()}
	stop, err := s.Follow(h.encoded.ID, len(h.nodes), func(m *roaring.Bitmap) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.last, f.n = m, f.n+1
		f.maps <- m
	})
	if err != nil {
		t.Fatal(err)
	}
	f.stop = stop
	return f
}

func (f *follower) next(t *testing.T, want ...uint32) {
	t.Helper()
	select {
	case m := <-f.maps:
		if !m.Equals(roaring.BitmapOf(want...)) {
			t.Errorf("map is %v, want %v", m, want)
		}
	case <-time.After(patience):
		t.Fatal("no map comes")
	}
}

func (f *follower) latest() *roaring.Bitmap {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

func (f *follower) calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}
