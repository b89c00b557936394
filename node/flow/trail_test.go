package flow

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/discovery"
)

func trailID(n int) content.ID { return content.ID(content.Sum([]byte{byte(n), byte(n >> 8)})) }

// Where a chunk came from is known long after the ring forgot what was decided of it.
func TestArrivalsOutliveDecisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, id := NewRing(0), trailID(0)
		const chunks = 10_000
		began := time.Now()
		for i := range chunks {
			time.Sleep(20 * time.Millisecond)
			from, link := peer.ID("near"), bandwidth.LAN
			if i%3 == 0 {
				from, link = "far", bandwidth.WAN
				r.Add(Decision{time.Now(), id, i, "", Carry, discovery.IsCarrier, 0})
			}
			r.Add(Decision{time.Now(), id, i, from, Ask, discovery.Faster, link}, Decision{time.Now(), id, i, from, Got, discovery.Delivered, link})
		}
		if first := r.All()[0].Chunk; first < chunks/2 {
			t.Errorf("the ring remembers chunk %d: this test shows nothing", first)
		}
		all := r.Arrivals(id)
		if len(all) < chunks {
			t.Fatalf("%d arrivals", len(all))
		}
		for i, a := range all[:chunks] {
			want := Arrival{began.Add(time.Duration(i+1) * 20 * time.Millisecond), "near", bandwidth.LAN, discovery.Faster, false, false, false, false}
			if i%3 == 0 {
				want.Peer, want.Link, want.Carried = "far", bandwidth.WAN, true
			}
			if !a.Time.Equal(want.Time) {
				t.Fatalf("chunk %d came at %v, want %v", i, a.Time, want.Time)
			}
			if a.Time = want.Time; a != want {
				t.Fatalf("chunk %d: %+v, want %+v", i, a, want)
			}
		}
		if got := len(r.Arrivals(trailID(1))); got != 0 {
			t.Errorf("%d arrivals of what never came", got)
		}
		if size := unsafe.Sizeof(footprint{}); size != 8 {
			t.Errorf("a footprint takes %d bytes", size)
		}
	})
}

// What led to an arrival is told with it, and is forgotten when the chunk comes anew.
func TestArrivalTellsWhatLedToIt(t *testing.T) {
	id := trailID(0)
	say := func(p peer.ID, v Verb, why discovery.Reason) Decision {
		return Decision{time.Now(), id, 3, p, v, why, bandwidth.WAN}
	}
	for name, tt := range map[string]struct {
		said []Decision
		want Arrival
	}{
		"asked only":  {[]Decision{say("a", Ask, discovery.Faster)}, Arrival{}},
		"alone":       {[]Decision{{Verb: Alone, Chunk: NoChunk, Content: id}, say("a", Ask, discovery.Untried), say("a", Got, discovery.Delivered)}, Arrival{Peer: "a", Link: bandwidth.WAN, Why: discovery.Untried, Alone: true}},
		"alone once":  {[]Decision{{Verb: Alone, Chunk: NoChunk, Content: id}, {Verb: Finish, Chunk: NoChunk, Content: id}, say("a", Ask, discovery.Untried), say("a", Got, discovery.Delivered)}, Arrival{Peer: "a", Link: bandwidth.WAN, Why: discovery.Untried}},
		"late":        {[]Decision{say("a", Ask, discovery.Untried), say("a", Doubt, discovery.Stalled), say("b", Ask, discovery.Hedge), say("b", Got, discovery.Delivered)}, Arrival{Peer: "b", Link: bandwidth.WAN, Why: discovery.Hedge, Late: true}},
		"first after": {[]Decision{say("a", Ask, discovery.Untried), say("b", Ask, discovery.Hedge), say("a", Got, discovery.Delivered)}, Arrival{Peer: "a", Link: bandwidth.WAN}},
		"taken over":  {[]Decision{say("", Carry, discovery.IsCarrier), say("a", Ask, discovery.Untried), say("", Yield, discovery.TakenOver), say("b", Got, discovery.Delivered)}, Arrival{Peer: "b", Link: bandwidth.WAN, Carried: true, TakenOver: true}},
		"came again":  {[]Decision{say("", Carry, discovery.IsCarrier), say("a", Got, discovery.Delivered), say("b", Ask, discovery.OnlySource), say("b", Got, discovery.Delivered)}, Arrival{Peer: "b", Link: bandwidth.WAN, Why: discovery.OnlySource}},
	} {
		r := NewRing(0)
		r.Add(tt.said...)
		var got Arrival
		if all := r.Arrivals(id); len(all) > 3 {
			got = all[3]
		}
		if (got.Time.IsZero()) != (tt.want == Arrival{}) {
			t.Errorf("%s: arrived at %v", name, got.Time)
		}
		if got.Time = (time.Time{}); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

// However many contents, chunks and sources there are, what is kept of them is bounded,
// and what came last is kept.
func TestTrailsAreBounded(t *testing.T) {
	r := NewRing(1)
	const contents = maxTrails + 50
	for n := range contents {
		r.Add(Decision{Content: trailID(n), Chunk: 8191, Peer: "a", Verb: Got})
	}
	if r.trails.chunks > maxTrailed || len(r.trails.byID) > maxTrails {
		t.Errorf("%d chunks of %d contents", r.trails.chunks, len(r.trails.byID))
	}
	if r.Arrivals(trailID(0)) != nil || len(r.Arrivals(trailID(contents-1))) != 8192 {
		t.Error("it forgot the wrong ones")
	}
	id := trailID(contents)
	for i := range maxTrailers + 10 {
		r.Add(Decision{Content: id, Chunk: i, Peer: peer.ID(rune(i)), Verb: Got}, Decision{Content: id, Chunk: beyond, Verb: Got})
	}
	all := r.Arrivals(id)
	if n := slices.IndexFunc(all, func(a Arrival) bool { return a.Peer == "" }); n != maxTrailers || all[n].Time.IsZero() {
		t.Errorf("chunk %d of an unknown source: %+v", n, all[n])
	}
}

const beyond = maxTrailChunk + 1 // more than a manifest lists
